/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/faults/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/strbuf.h"

#define OLD	 1500000000 /* what is older was given its time by the test */
#define SEEN_MAX 256

struct walk {
	struct strbuf out;
	unsigned int flags;
	struct {
		uint64_t ino;
		char *path;
	} seen[SEEN_MAX]; /* files with more than one name */
	unsigned int n_seen;
};

static int add_xattr(struct walk *w, const char *path, const char *name)
{
	char value[1024];
	ssize_t n = lgetxattr(path, name, value, sizeof(value));
	int r;

	if (n < 0)
		return -errno;
	r = strbuf_addf(&w->out, " %s=", name);
	for (ssize_t i = 0; r == 0 && i < n; i++)
		r = strbuf_addf(&w->out, "%02x", (unsigned char)value[i]);
	return r;
}

static int compare_names(const void *a, const void *b)
{
	const char *const *x = a, *const *y = b;

	return strcmp(*x, *y);
}

static int add_xattrs(struct walk *w, const char *path)
{
	char names[2048], *v[64];
	ssize_t len = llistxattr(path, names, sizeof(names));
	size_t n = 0;
	int r = 0;

	if (len < 0)
		return errno == EOPNOTSUPP ? 0 : -errno;
	for (char *p = names; p < names + len && n < 64; p += strlen(p) + 1)
		v[n++] = p;
	qsort(v, n, sizeof(*v), compare_names);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = add_xattr(w, path, v[i]);
	return r;
}

static int add_content(struct walk *w, const char *path)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t hash = UINT64_C(14695981039346656037);
	unsigned char buf[2048];
	ssize_t n;

	if (fd < 0)
		return -errno;
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		for (ssize_t i = 0; i < n; i++)
			hash = (hash ^ buf[i]) * UINT64_C(1099511628211);
	return n < 0 ? -errno : strbuf_addf(&w->out, " content %016" PRIx64, hash);
}

/* The first name of the same file, for all names that follow. */
static int add_same(struct walk *w, const char *path, const struct stat *st)
{
	unsigned int i;

	for (i = 0; i < w->n_seen && w->seen[i].ino != st->st_ino; i++)
		;
	if (i < w->n_seen)
		return strbuf_addf(&w->out, " same as %s", w->seen[i].path);
	if (i == SEEN_MAX)
		return -ENOSPC;
	w->seen[i].ino = st->st_ino;
	w->seen[i].path = strdup(path);
	w->n_seen++;
	return w->seen[i].path ? 0 : -ENOMEM;
}

static int add_object(struct walk *w, const char *path, const char *shown)
{
	bool plain, dir;
	struct stat st;
	char target[4096];
	ssize_t n;
	int r;

	if (lstat(path, &st) < 0)
		return -errno;
	dir = S_ISDIR(st.st_mode);
	plain = dir || S_ISREG(st.st_mode);
	r = strbuf_addf(&w->out, "%s mode %o owner %u:%u", shown, st.st_mode, st.st_uid, st.st_gid);
	if (r == 0 && !dir)
		r = strbuf_addf(&w->out, " size %lld rdev %x", (long long)st.st_size,
				(unsigned int)st.st_rdev);
	if (r == 0 && !dir && st.st_mtim.tv_sec < OLD)
		r = strbuf_addf(&w->out, " mtime %lld.%09ld", (long long)st.st_mtim.tv_sec,
				st.st_mtim.tv_nsec);
	if (r == 0 && w->flags & TREE_NUMBERS && (plain || !(w->flags & TREE_PLAIN_NUMBERS))) {
		if (st.st_ino <= UINT32_MAX)
			r = strbuf_addf(&w->out, " ino %llu", (unsigned long long)st.st_ino);
		if (r == 0 && !dir)
			r = strbuf_addf(&w->out, " links %u", (unsigned int)st.st_nlink);
		if (r == 0 && !dir)
			r = add_same(w, shown, &st);
	}
	if (r == 0 && S_ISREG(st.st_mode))
		r = add_content(w, path);
	if (r == 0 && S_ISLNK(st.st_mode)) {
		n = readlink(path, target, sizeof(target));
		r = n < 0 ? -errno : strbuf_addf(&w->out, " to %.*s", (int)n, target);
	}
	if (r == 0)
		r = add_xattrs(w, path);
	return r == 0 ? strbuf_addc(&w->out, '\n') : r;
}

static int not_dots(const struct dirent *de)
{
	return strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0;
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int walk(struct walk *w, const char *path, size_t skip)
{
	struct dirent **v = NULL;
	struct stat st;
	int n, r = add_object(w, path, path[skip] ? path + skip + 1 : ".");

	if (r < 0)
		fprintf(stderr, "%s: %s\n", path, strerror(-r));
	if (r < 0 || lstat(path, &st) < 0 || !S_ISDIR(st.st_mode))
		return r;
	n = scandir(path, &v, not_dots, by_bytes);
	if (n < 0) {
		r = -errno;
		fprintf(stderr, "%s: list: %s\n", path, strerror(-r));
	}
	for (int i = 0; i < n; i++) {
		cleanup_free char *child = NULL;

		if (r == 0 && asprintf(&child, "%s/%s", path, v[i]->d_name) < 0)
			r = -ENOMEM;
		if (r == 0)
			r = walk(w, child, skip);
		free(v[i]);
	}
	free(v);
	return r;
}

char *tree_describe(const char *root, unsigned int flags)
{
	struct walk w = {.out = STRBUF_INIT, .flags = flags};
	int r = walk(&w, root, strlen(root));

	for (unsigned int i = 0; i < w.n_seen; i++)
		free(w.seen[i].path);
	if (r == 0)
		return strbuf_steal(&w.out);
	strbuf_release(&w.out);
	return NULL;
}

static bool has_line(const char *text, const char *line, size_t len)
{
	for (const char *p = text; *p; p = strchr(p, '\n') + 1)
		if (strncmp(p, line, len) == 0)
			return true;
	return false;
}

void tree_diff(const char *got, const char *wanted)
{
	const char *const text[2] = {wanted, got};

	for (int i = 0; i < 2; i++)
		for (const char *p = text[i]; *p; p = strchr(p, '\n') + 1) {
			size_t len = (size_t)(strchr(p, '\n') - p) + 1;

			if (!has_line(text[!i], p, len))
				fprintf(stderr, "  %c %.*s", i ? '+' : '-', (int)len, p);
		}
}
