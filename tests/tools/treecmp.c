/* SPDX-License-Identifier: Apache-2.0 */
#include "treecmp.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { BUF = 256 * 1024, XATTR_MAX = 64 * 1024 };

/* First path under which an inode with several links was seen. */
struct seen {
	struct seen *next;
	dev_t dev;
	ino_t ino;
	char *path;
};

struct seen_table {
	struct seen **bucket;
	size_t size, used;
};

struct cmp {
	const struct treecmp_options *opt;
	struct treecmp_result *result;
	struct seen_table seen[2];
	char *path; /* of the entry at hand */
	size_t path_len, path_size;
	char *buf[2];
	char *names[2], *value[2];
};

struct names {
	char **v;
	size_t n, size;
};

static void names_release(struct names *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i]);
	free(l->v);
}
#define cleanup_names CLEANUP(names_release)

static void print_bytes(FILE *out, const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c < 0x20 || c >= 0x7f || c == '\\')
			(void)fprintf(out, "\\x%02x", c);
		else
			(void)fputc(c, out);
	}
}

/* Counts a difference; true when it is still to be printed. */
static bool differ(struct cmp *c, const char *what)
{
	if (c->result->differences++ >= c->opt->limit || !c->opt->out)
		return false;
	print_bytes(c->opt->out, c->path_len ? c->path : ".", c->path_len ? c->path_len : 1);
	(void)fprintf(c->opt->out, ": %s: ", what);
	return true;
}

static void differ_number(struct cmp *c, const char *what, uint64_t a, uint64_t b)
{
	if (a != b && differ(c, what))
		(void)fprintf(c->opt->out, "%" PRIu64 " | %" PRIu64 "\n", a, b);
}

static void differ_text(struct cmp *c, const char *what, const char *a, size_t a_len, const char *b,
			size_t b_len)
{
	if (!differ(c, what))
		return;
	print_bytes(c->opt->out, a, a_len > 200 ? 200 : a_len);
	(void)fputs(" | ", c->opt->out);
	print_bytes(c->opt->out, b, b_len > 200 ? 200 : b_len);
	(void)fputc('\n', c->opt->out);
}

static int trouble(struct cmp *c, int side, const char *what, int r)
{
	if (c->opt->out) {
		print_bytes(c->opt->out, c->path_len ? c->path : ".",
			    c->path_len ? c->path_len : 1);
		(void)fprintf(c->opt->out, ": cannot %s (%s): %s\n", what, side ? "B" : "A",
			      strerror(-r));
	}
	return r;
}

static int path_push(struct cmp *c, const char *name, size_t *ret_old)
{
	size_t len = strlen(name), need = c->path_len + len + 2;

	if (need > c->path_size) {
		char *p = realloc(c->path, need * 2);

		if (!p)
			return -ENOMEM;
		c->path = p;
		c->path_size = need * 2;
	}
	*ret_old = c->path_len;
	if (c->path_len)
		c->path[c->path_len++] = '/';
	memcpy(c->path + c->path_len, name, len + 1);
	c->path_len += len;
	return 0;
}

static void path_pop(struct cmp *c, size_t old)
{
	c->path_len = old;
	c->path[old] = '\0';
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int read_names(int dir, struct names *l)
{
	cleanup_closedir DIR *d = NULL;
	cleanup_close int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *e;

	if (fd < 0)
		return -errno;
	d = fdopendir(fd);
	if (!d)
		return -errno;
	(void)steal_fd(&fd);
	while (errno = 0, (e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (l->n == l->size) {
			size_t size = l->size ? l->size * 2 : 32;
			char **v = reallocarray(l->v, size, sizeof(*v));

			if (!v)
				return -ENOMEM;
			l->v = v;
			l->size = size;
		}
		l->v[l->n] = strdup(e->d_name);
		if (!l->v[l->n])
			return -ENOMEM;
		l->n++;
	}
	if (errno)
		return -errno;
	if (l->n)
		qsort(l->v, l->n, sizeof(*l->v), by_bytes);
	return 0;
}

static size_t seen_slot(const struct seen_table *t, dev_t dev, ino_t ino)
{
	return (size_t)((ino * UINT64_C(0x9e3779b97f4a7c15) ^ dev) >> 13) & (t->size - 1);
}

static int seen_grow(struct seen_table *t)
{
	struct seen_table n = {.size = t->size ? t->size * 2 : 1024, .used = t->used};

	n.bucket = calloc(n.size, sizeof(*n.bucket));
	if (!n.bucket)
		return -ENOMEM;
	for (size_t i = 0; i < t->size; i++) {
		while (t->bucket[i]) {
			struct seen *s = t->bucket[i];
			size_t slot = seen_slot(&n, s->dev, s->ino);

			t->bucket[i] = s->next;
			s->next = n.bucket[slot];
			n.bucket[slot] = s;
		}
	}
	free(t->bucket);
	*t = n;
	return 0;
}

/* The first path of this inode: @path itself when it is new. NULL: out of memory. */
static const char *seen_first(struct seen_table *t, const struct stat *st, const char *path)
{
	struct seen *s;
	size_t slot;

	if (t->used >= t->size && seen_grow(t) < 0)
		return NULL;
	slot = seen_slot(t, st->st_dev, st->st_ino);
	for (s = t->bucket[slot]; s; s = s->next)
		if (s->dev == st->st_dev && s->ino == st->st_ino)
			return s->path;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	*s = (struct seen){t->bucket[slot], st->st_dev, st->st_ino, strdup(path)};
	if (!s->path) {
		free(s);
		return NULL;
	}
	t->bucket[slot] = s;
	t->used++;
	return s->path;
}

static void seen_release(struct seen_table *t)
{
	for (size_t i = 0; i < t->size; i++) {
		while (t->bucket[i]) {
			struct seen *s = t->bucket[i];

			t->bucket[i] = s->next;
			free(s->path);
			free(s);
		}
	}
	free(t->bucket);
}

static ssize_t read_full(int fd, char *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = read(fd, buf + done, len - done);

		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static int compare_content(struct cmp *c, const int dir[2], const char *name)
{
	cleanup_close int fd_a = openat(dir[0], name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	cleanup_close int fd_b = -EBADF;
	uint64_t at = 0;

	if (fd_a < 0)
		return trouble(c, 0, "open", -errno);
	fd_b = openat(dir[1], name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd_b < 0)
		return trouble(c, 1, "open", -errno);
	for (;;) {
		ssize_t a = read_full(fd_a, c->buf[0], BUF), b;

		if (a < 0)
			return trouble(c, 0, "read", (int)a);
		b = read_full(fd_b, c->buf[1], BUF);
		if (b < 0)
			return trouble(c, 1, "read", (int)b);
		if (a != b || memcmp(c->buf[0], c->buf[1], (size_t)a) != 0) {
			ssize_t i = 0;

			while (i < a && i < b && c->buf[0][i] == c->buf[1][i])
				i++;
			differ_text(c, "content", c->buf[0] + i, a - i > 16 ? 16 : (size_t)(a - i),
				    c->buf[1] + i, b - i > 16 ? 16 : (size_t)(b - i));
			if (c->opt->out && c->result->differences <= c->opt->limit)
				(void)fprintf(c->opt->out, "\tfrom byte %" PRIu64 "\n",
					      at + (uint64_t)i);
			return 0;
		}
		c->result->bytes += (unsigned long long)a;
		at += (uint64_t)a;
		if (a < BUF)
			return 0;
	}
}

static bool xattr_left_out(const struct cmp *c, const char *name)
{
	for (size_t i = 0; i < c->opt->n_no_xattr; i++)
		if (!strncmp(name, c->opt->no_xattr[i], strlen(c->opt->no_xattr[i])))
			return true;
	return false;
}

/* Names of the xattrs of the object behind the magic link, sorted. */
static int xattr_names(struct cmp *c, int side, const char *link, struct names *l)
{
	ssize_t len = listxattr(link, c->names[side], XATTR_MAX);

	if (len < 0)
		return errno == ENOTSUP ? 0 : -errno;
	for (char *p = c->names[side]; p < c->names[side] + len; p += strlen(p) + 1) {
		char **v;

		if (xattr_left_out(c, p))
			continue;
		v = reallocarray(l->v, l->n + 1, sizeof(*v));
		if (!v)
			return -ENOMEM;
		l->v = v;
		v[l->n] = strdup(p);
		if (!v[l->n])
			return -ENOMEM;
		l->n++;
	}
	if (l->n)
		qsort(l->v, l->n, sizeof(*l->v), by_bytes);
	return 0;
}

static int compare_xattr_value(struct cmp *c, const char link[2][64], const char *name)
{
	ssize_t len[2];

	for (int s = 0; s < 2; s++) {
		len[s] = getxattr(link[s], name, c->value[s], XATTR_MAX);
		if (len[s] < 0)
			len[s] = -errno;
	}
	/* an empty security.capability is listed and cannot be read, on every file system */
	if (len[0] < 0 && len[0] == len[1])
		return 0;
	for (int s = 0; s < 2; s++)
		if (len[s] < 0)
			return trouble(c, s, name, (int)len[s]);
	if (len[0] != len[1] || memcmp(c->value[0], c->value[1], (size_t)len[0]) != 0) {
		char what[300];

		(void)snprintf(what, sizeof(what), "xattr %s", name);
		differ_text(c, what, c->value[0], (size_t)len[0], c->value[1], (size_t)len[1]);
	}
	return 0;
}

static int compare_xattrs(struct cmp *c, const int fd[2])
{
	cleanup_names struct names a = {0};
	cleanup_names struct names b = {0};
	char link[2][64];
	size_t i = 0, j = 0;
	int r;

	/* O_PATH fds have no f*xattr; the magic link leads to the very inode, symlinks too */
	for (int s = 0; s < 2; s++) {
		(void)snprintf(link[s], sizeof(link[s]), "/proc/self/fd/%d", fd[s]);
		r = xattr_names(c, s, link[s], s ? &b : &a);
		if (r < 0)
			return trouble(c, s, "list xattrs", r);
	}
	while (i < a.n || j < b.n) {
		int order = i == a.n ? 1 : j == b.n ? -1 : strcmp(a.v[i], b.v[j]);

		if (order < 0) {
			differ_text(c, "xattr", a.v[i], strlen(a.v[i]), "none", 4);
			i++;
		} else if (order > 0) {
			differ_text(c, "xattr", "none", 4, b.v[j], strlen(b.v[j]));
			j++;
		} else {
			r = compare_xattr_value(c, (const char(*)[64])link, a.v[i]);
			if (r < 0)
				return r;
			i++;
			j++;
		}
	}
	return 0;
}

static int compare_symlink(struct cmp *c, const int fd[2])
{
	ssize_t len[2];

	for (int s = 0; s < 2; s++) {
		len[s] = readlinkat(fd[s], "", c->buf[s], BUF);
		if (len[s] < 0)
			return trouble(c, s, "readlink", -errno);
	}
	if (len[0] != len[1] || memcmp(c->buf[0], c->buf[1], (size_t)len[0]) != 0)
		differ_text(c, "target", c->buf[0], (size_t)len[0], c->buf[1], (size_t)len[1]);
	return 0;
}

static bool is_recent(const struct cmp *c, const struct timespec *t)
{
	const struct timespec *r = c->opt->recent;

	return r && (t->tv_sec > r->tv_sec || (t->tv_sec == r->tv_sec && t->tv_nsec >= r->tv_nsec));
}

static void compare_mtime(struct cmp *c, const struct stat st[2])
{
	const struct timespec *a = &st[0].st_mtim, *b = &st[1].st_mtim;

	if ((c->opt->ignore & TREECMP_MTIME) ||
	    (S_ISDIR(st[0].st_mode) && (c->opt->ignore & TREECMP_DIR_MTIME)))
		return;
	if (is_recent(c, a) && is_recent(c, b))
		return;
	if ((a->tv_sec != b->tv_sec || a->tv_nsec != b->tv_nsec) && differ(c, "mtime"))
		(void)fprintf(c->opt->out, "%lld.%09ld | %lld.%09ld\n", (long long)a->tv_sec,
			      a->tv_nsec, (long long)b->tv_sec, b->tv_nsec);
}

static const char *type_name(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "file";
	case S_IFDIR:
		return "directory";
	case S_IFLNK:
		return "symlink";
	case S_IFCHR:
		return "char device";
	case S_IFBLK:
		return "block device";
	case S_IFIFO:
		return "fifo";
	case S_IFSOCK:
		return "socket";
	default:
		return "?";
	}
}

static void compare_metadata(struct cmp *c, const struct stat st[2])
{
	unsigned int ignore = c->opt->ignore;

	if (!(ignore & TREECMP_MODE) && st[0].st_mode != st[1].st_mode && differ(c, "mode"))
		(void)fprintf(c->opt->out, "%04o | %04o\n", st[0].st_mode & 07777,
			      st[1].st_mode & 07777);
	if (!(ignore & TREECMP_OWNER)) {
		differ_number(c, "uid", st[0].st_uid, st[1].st_uid);
		differ_number(c, "gid", st[0].st_gid, st[1].st_gid);
	}
	compare_mtime(c, st);
	if (S_ISDIR(st[0].st_mode))
		return;
	if (S_ISREG(st[0].st_mode) || S_ISLNK(st[0].st_mode))
		differ_number(c, "size", (uint64_t)st[0].st_size, (uint64_t)st[1].st_size);
	if (!(ignore & TREECMP_NLINK))
		differ_number(c, "links", st[0].st_nlink, st[1].st_nlink);
	if ((S_ISCHR(st[0].st_mode) || S_ISBLK(st[0].st_mode)) && st[0].st_rdev != st[1].st_rdev &&
	    differ(c, "device"))
		(void)fprintf(c->opt->out, "%u:%u | %u:%u\n", major(st[0].st_rdev),
			      minor(st[0].st_rdev), major(st[1].st_rdev), minor(st[1].st_rdev));
}

/* @ret_new: this pair of inodes was not compared under an earlier name. */
static int compare_link_sets(struct cmp *c, const struct stat st[2], bool *ret_new)
{
	const char *first[2];

	*ret_new = true;
	if (S_ISDIR(st[0].st_mode) || (st[0].st_nlink < 2 && st[1].st_nlink < 2))
		return 0;
	for (int s = 0; s < 2; s++) {
		first[s] = seen_first(&c->seen[s], &st[s], c->path);
		if (!first[s])
			return -ENOMEM;
	}
	if (strcmp(first[0], first[1]) != 0) {
		if (!(c->opt->ignore & TREECMP_LINKS))
			differ_text(c, "hard link of", first[0], strlen(first[0]), first[1],
				    strlen(first[1]));
	} else if (strcmp(first[0], c->path) != 0) {
		*ret_new = false;
	}
	return 0;
}

static int compare_dir(struct cmp *c, const int dir[2]);

static int compare_entry(struct cmp *c, const int dir[2], const char *name)
{
	cleanup_close int a = -EBADF;
	cleanup_close int b = -EBADF;
	struct stat st[2];
	bool fresh;
	int r = 0, fd[2];

	c->result->entries++;
	a = openat(dir[0], name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (a < 0 || fstat(a, &st[0]) < 0)
		return trouble(c, 0, "stat", -errno);
	b = openat(dir[1], name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (b < 0 || fstat(b, &st[1]) < 0)
		return trouble(c, 1, "stat", -errno);
	fd[0] = a;
	fd[1] = b;
	if ((st[0].st_mode & S_IFMT) != (st[1].st_mode & S_IFMT)) {
		if (differ(c, "type"))
			(void)fprintf(c->opt->out, "%s | %s\n", type_name(st[0].st_mode),
				      type_name(st[1].st_mode));
		return 0;
	}
	r = compare_link_sets(c, st, &fresh);
	if (r < 0)
		return trouble(c, 0, "remember", r);
	if (!fresh)
		return 0;
	if (c->path_len || !(c->opt->ignore & TREECMP_ROOT)) {
		compare_metadata(c, st);
		if (!(c->opt->ignore & TREECMP_XATTR))
			r = compare_xattrs(c, fd);
	}
	if (r == 0 && S_ISLNK(st[0].st_mode))
		r = compare_symlink(c, fd);
	if (r == 0 && S_ISREG(st[0].st_mode) && !(c->opt->ignore & TREECMP_CONTENT) &&
	    st[0].st_size == st[1].st_size)
		r = compare_content(c, dir, name);
	if (r == 0 && S_ISDIR(st[0].st_mode))
		r = compare_dir(c, fd);
	return r;
}

static int compare_dir(struct cmp *c, const int dir[2])
{
	cleanup_names struct names a = {0};
	cleanup_names struct names b = {0};
	size_t i = 0, j = 0, old;
	int r;

	r = read_names(dir[0], &a);
	if (r < 0)
		return trouble(c, 0, "list", r);
	r = read_names(dir[1], &b);
	if (r < 0)
		return trouble(c, 1, "list", r);
	while (i < a.n || j < b.n) {
		int order = i == a.n ? 1 : j == b.n ? -1 : strcmp(a.v[i], b.v[j]);
		const char *name = order <= 0 ? a.v[i] : b.v[j];

		r = path_push(c, name, &old);
		if (r < 0)
			return r;
		if (order == 0)
			r = compare_entry(c, dir, name);
		else if (differ(c, "only in"))
			(void)fprintf(c->opt->out, "%s\n", order < 0 ? "A" : "B");
		path_pop(c, old);
		if (r < 0)
			return r;
		i += order <= 0;
		j += order >= 0;
	}
	return 0;
}

int treecmp_run(int a, int b, const struct treecmp_options *opt, struct treecmp_result *ret)
{
	struct cmp c = {.opt = opt, .result = ret};
	int r = -ENOMEM;

	*ret = (struct treecmp_result){0};
	for (int s = 0; s < 2; s++) {
		c.buf[s] = malloc(BUF);
		c.names[s] = malloc(XATTR_MAX);
		c.value[s] = malloc(XATTR_MAX);
		if (!c.buf[s] || !c.names[s] || !c.value[s])
			goto out;
	}
	c.path_size = 4096;
	c.path = calloc(1, c.path_size);
	if (c.path)
		r = compare_entry(&c, (const int[2]){a, b}, ".");
out:
	for (int s = 0; s < 2; s++) {
		free(c.buf[s]);
		free(c.names[s]);
		free(c.value[s]);
		seen_release(&c.seen[s]);
	}
	free(c.path);
	return r;
}

unsigned int treecmp_ignore_parse(const char *word)
{
	static const struct {
		const char *word;
		unsigned int bit;
	} words[] = {
		{"mtime", TREECMP_MTIME},     {"mode", TREECMP_MODE},
		{"owner", TREECMP_OWNER},     {"nlink", TREECMP_NLINK},
		{"links", TREECMP_LINKS},     {"xattr", TREECMP_XATTR},
		{"content", TREECMP_CONTENT}, {"dir-mtime", TREECMP_DIR_MTIME},
		{"root", TREECMP_ROOT},
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (!strcmp(word, words[i].word))
			return words[i].bit;
	return 0;
}
