/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "tests/load/load.h"

void region_note(struct region *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(r->last[r->ops % LOAD_LAST], sizeof(r->last[0]), fmt, ap);
	va_end(ap);
}

void region_fail(struct region *r, const char *fmt, ...)
{
	char what[400];
	va_list ap;

	if (r->failed)
		return;
	r->failed = true;
	va_start(ap, fmt);
	(void)vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	flockfile(stdout);
	(void)printf("loadop: region %u, operation %lu: %s\n", r->id, r->ops, what);
	for (unsigned long i = r->ops < LOAD_LAST ? 0 : r->ops - LOAD_LAST + 1; i <= r->ops; i++)
		(void)printf("  %lu: %s\n", i, r->last[i % LOAD_LAST]);
	(void)fflush(stdout);
	funlockfile(stdout);
}

bool region_expect(struct region *r, int want, long got)
{
	int e = got < 0 ? errno : 0;

	if (e == want)
		return true;
	region_fail(r, "answer %s, must be %s", e ? err_name(-e) : "success",
		    want ? err_name(-want) : "success");
	return false;
}

int region_init(struct region *r, unsigned int id, uint64_t seed)
{
	*r = (struct region){.id = id, .rng = {seed * 1000 + id}, .root = -1};
	for (int i = 0; i < LOAD_HANDLES; i++)
		r->handles[i].fd = -1;
	r->top = node_new(NODE_DIR, 0755);
	r->scratch = malloc(LOAD_FILE_MAX);
	if (!r->top || !r->scratch)
		return -1;
	r->top->links = 1; /* it is nobody's entry, and stays */
	return 0;
}

void region_release(struct region *r)
{
	r->top->links = 0;
	node_free_tree(r->top);
	free(r->scratch);
}

static void forget_numbers(struct node *n)
{
	n->ino = 0;
	for (size_t i = 0; i < n->n_entries; i++)
		forget_numbers(n->entries[i].node);
}

void region_enter(struct region *r, int root)
{
	r->root = root;
	forget_numbers(r->top);
}

void region_leave(struct region *r)
{
	for (int i = 0; i < LOAD_HANDLES; i++) {
		if (r->handles[i].fd >= 0 && !r->failed)
			handle_check(r, &r->handles[i]);
		handle_close(r, &r->handles[i]);
	}
	(void)close(r->root);
	r->root = -1;
}

static void place_at(struct place *p, struct node *dir, const char *name)
{
	p->dir = dir;
	(void)snprintf(p->name, sizeof(p->name), "%s", name);
	p->index = node_find(dir, name);
	node_path(dir, name, p->path);
}

static struct node *pick_dir(struct region *r)
{
	struct node *dir = r->top;

	while (dir->n_entries && rng_percent(&r->rng, 75)) {
		struct node *n =
			dir->entries[rng_below(&r->rng, (unsigned int)dir->n_entries)].node;

		if (n->type == NODE_DIR)
			dir = n;
		else if (rng_percent(&r->rng, 40))
			break;
	}
	return dir;
}

bool region_pick(struct region *r, struct place *p)
{
	struct node *dir = pick_dir(r);
	unsigned int i;

	if (!dir->n_entries)
		dir = r->top;
	if (!dir->n_entries)
		return false;
	i = rng_below(&r->rng, (unsigned int)dir->n_entries);
	place_at(p, dir, dir->entries[i].name);
	return true;
}

bool region_pick_type(struct region *r, enum node_type type, struct place *p)
{
	for (int i = 0; i < 8; i++)
		if (region_pick(r, p) && p->dir->entries[p->index].node->type == type)
			return true;
	return false;
}

void region_pick_new(struct region *r, struct place *p)
{
	char name[LOAD_NAME];

	(void)snprintf(name, sizeof(name), "n%u", rng_below(&r->rng, 24));
	place_at(p, pick_dir(r), name);
}

void region_step(struct region *r)
{
	r->ops++;
	region_note(r, "nothing");
	if (rng_percent(&r->rng, 55))
		file_step(r);
	else
		tree_step(r);
}

static void compare_xattr(struct region *r, const struct node *n, int fd, const char *path)
{
	unsigned char value[LOAD_XATTR + 1];
	char link[64];
	ssize_t len;

	if (n->type == NODE_SYMLINK)
		return;
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = getxattr(link, "user.load", value, sizeof(value));
	if (len < 0 && errno != ENODATA)
		region_fail(r, "%s: getxattr: %s", path, err_name(-errno));
	else if (len != n->xattr_len || (len > 0 && memcmp(value, n->xattr, (size_t)len) != 0))
		region_fail(r, "%s: its xattr differs: %zd bytes, must be %d", path, len,
			    n->xattr_len);
}

static void compare_content(struct region *r, const struct node *n, int dir, const char *name,
			    const char *path)
{
	cleanup_close int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	size_t at = 0;
	ssize_t got;

	if (fd < 0) {
		region_fail(r, "%s: open: %s", path, err_name(-errno));
		return;
	}
	while (at < LOAD_FILE_MAX && (got = read(fd, r->scratch + at, LOAD_FILE_MAX - at)) > 0)
		at += (size_t)got;
	if (at != n->size) {
		region_fail(r, "%s: %zu bytes are read, must be %zu", path, at, n->size);
		return;
	}
	for (size_t i = 0; i < at; i++) {
		if (r->scratch[i] != n->data[i]) {
			region_fail(r, "%s: content differs at %zu of %zu: %02x, must be %02x",
				    path, i, at, r->scratch[i], n->data[i]);
			return;
		}
	}
}

static void compare_dir(struct region *r, struct node *n, int fd, const char *path);

static void compare_node(struct region *r, struct node *n, int dir, const char *name,
			 const char *path)
{
	static const mode_t types[] = {
		[NODE_FILE] = S_IFREG, [NODE_DIR] = S_IFDIR, [NODE_SYMLINK] = S_IFLNK};
	cleanup_close int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	char target[LOAD_NAME * 2] = "";
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		region_fail(r, "%s: %s", path, err_name(-errno));
		return;
	}
	if ((st.st_mode & S_IFMT) != types[n->type] ||
	    (n->type != NODE_SYMLINK && (st.st_mode & 07777) != n->mode))
		region_fail(r, "%s: mode %o, must be %o", path, st.st_mode,
			    types[n->type] | n->mode);
	if (n->type != NODE_DIR && st.st_nlink != n->links)
		region_fail(r, "%s: %lu links, must be %u", path, (unsigned long)st.st_nlink,
			    n->links);
	if (n->ino && n->ino != st.st_ino)
		region_fail(r, "%s: inode %lu, was %lu", path, (unsigned long)st.st_ino,
			    (unsigned long)n->ino);
	n->ino = st.st_ino;
	compare_xattr(r, n, fd, path);
	switch (n->type) {
	case NODE_FILE:
		if ((size_t)st.st_size != n->size)
			region_fail(r, "%s: size %lld, must be %zu", path, (long long)st.st_size,
				    n->size);
		compare_content(r, n, dir, name, path);
		break;
	case NODE_SYMLINK:
		if (readlinkat(dir, name, target, sizeof(target) - 1) < 0 ||
		    strcmp(target, n->target) != 0)
			region_fail(r, "%s: leads to '%s', must be '%s'", path, target, n->target);
		break;
	case NODE_DIR: {
		cleanup_close int sub =
			openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		if (sub < 0)
			region_fail(r, "%s: open: %s", path, err_name(-errno));
		else
			compare_dir(r, n, sub, path);
		break;
	}
	}
}

/* @fd is a directory that nothing else reads from. */
static void compare_dir(struct region *r, struct node *n, int fd, const char *path)
{
	cleanup_closedir DIR *d = fdopendir(dup(fd));
	struct dirent *e;
	size_t found = 0;

	while (d && (errno = 0, e = readdir(d)) && !r->failed) {
		char child[LOAD_PATH];
		int i;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		(void)snprintf(child, sizeof(child), "%.700s/%.255s", path, e->d_name);
		i = node_find(n, e->d_name);
		if (i < 0) {
			region_fail(r, "%s is listed, and must not be there", child);
			return;
		}
		found++;
		compare_node(r, n->entries[i].node, fd, e->d_name, child);
	}
	if (!d || errno)
		region_fail(r, "%s: readdir: %s", path, err_name(-errno));
	if (found != n->n_entries)
		region_fail(r, "%s: %zu entries are listed, must be %zu", path, found,
			    n->n_entries);
}

void region_compare(struct region *r)
{
	cleanup_close int fd = openat(r->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		region_fail(r, "open: %s", err_name(-errno));
	else
		compare_dir(r, r->top, fd, ".");
}
