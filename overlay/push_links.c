/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "overlay/namei.h"
#include "overlay/ops.h"
#include "overlay/pin.h"
#include "overlay/push.h"

/*
 * A file with hard links that was copied up is found under names that the upper does not have, by
 * its number, through work/links. A layer has no such index: so each of them is made, and then the
 * index goes. In the same way a file of the upper, none of whose names is known, gets one.
 */
struct walk {
	struct ovl_fs *fs;
	struct ovl_node *dir; /* that is read now */
	struct ovl_node **todo; /* directories: references */
	size_t n, cap;
};

static void walk_release(struct walk *w)
{
	for (size_t i = 0; i < w->n; i++)
		ovl_node_unref(w->fs, w->todo[i]);
	free(w->todo);
	ovl_node_unref(w->fs, w->dir);
}

static int add_dir(struct walk *w, struct ovl_node *n)
{
	if (w->n == w->cap) {
		size_t cap = w->cap ? w->cap * 2 : 64;
		struct ovl_node **todo = reallocarray(w->todo, cap, sizeof(struct ovl_node *));

		if (!todo)
			return -ENOMEM;
		w->todo = todo;
		w->cap = cap;
	}
	w->todo[w->n++] = ovl_node_ref(w->fs, n);
	return 0;
}

static bool is_nameless(const struct ovl_fs *fs, const struct ovl_node *n)
{
	return n != fs->root && !n->at.parent && !ovl_node_has(n, OVL_NODE_ORPHAN);
}

static bool is_wanted(struct ovl_fs *fs, const struct ovl_dirent *e)
{
	struct ovl_node *n;
	bool wanted;

	if (e->type == DT_DIR || ovl_links_find(fs->numbers, e->ino - fs->base))
		return true;
	n = ovl_node_find(fs, e->ino - fs->base);
	wanted = n && is_nameless(fs, n);
	ovl_node_unref(fs, n);
	return wanted;
}

static int visit(void *ctx, const struct ovl_dirent *de)
{
	struct ovl_entry e cleanup_entry = OVL_ENTRY_INIT;
	struct walk *w = ctx;
	struct ovl_node *n;
	bool indexed;
	int r;

	if (strcmp(de->name, ".") == 0 || strcmp(de->name, "..") == 0 || !is_wanted(w->fs, de))
		return 0;
	r = ovl_resolve(w->fs, w->dir, de->name, &e);
	if (r < 0 || !e.found)
		return r;
	indexed = e.indexed;
	r = ovl_node_get(w->fs, w->dir, de->name, &e, false, &n);
	if (r < 0)
		return r;
	if (S_ISDIR(n->type))
		r = add_dir(w, n);
	else if (indexed)
		r = ovl_copy_up(w->fs, w->dir, OVL_COPY_ALL);
	if (r == 0 && indexed)
		r = ovl_copy_up_name(w->fs, n, w->dir, de->name);
	ovl_node_unref(w->fs, n);
	return r;
}

static int walk_tree(struct ovl_fs *fs)
{
	struct walk w CLEANUP(walk_release) = {.fs = fs};
	int r = add_dir(&w, fs->root);

	while (r == 0 && w.n > 0) {
		ovl_node_unref(fs, w.dir);
		w.dir = w.todo[--w.n];
		r = ovl_dir_each(fs, w.dir, visit, &w);
	}
	return r;
}

/* Whether work/links/NUMBER may have more names in the union than in the upper. */
static int lacks_names(struct ovl_fs *fs, uint64_t number)
{
	char name[24];
	struct stat st;
	int r;

	snprintf(name, sizeof(name), "%" PRIu64, number);
	r = ovl_sys_stat(fs->links_fd, name, &st);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	/* one of its names is this one; what is no file may have no mark that counts */
	return !S_ISREG(st.st_mode) ||
	       ovl_nlink_get(fs, fs->links_fd, name, st.st_nlink) != (int)st.st_nlink - 1;
}

static int needs_walk(struct ovl_fs *fs, const uint64_t *links, size_t n_links)
{
	int r = 0;

	for (size_t i = 0; i < n_links && r == 0; i++)
		r = lacks_names(fs, links[i]);
	for (size_t i = 0; i < fs->table.n_buckets && r == 0; i++)
		for (const struct ovl_node *n = fs->table.buckets[i]; n; n = n->hash_next)
			r |= is_nameless(fs, n);
	return r;
}

/* No name in the union is its own: an object that is in use, and removed. */
static int orphan(struct ovl_fs *fs, struct ovl_node *n)
{
	char name[24];
	int fd;

	if (ovl_node_has(n, OVL_NODE_INDEXED)) {
		snprintf(name, sizeof(name), "%" PRIu64, n->number);
		fd = ovl_sys_open(fs->links_fd, name, O_PATH, 0);
		if (fd < 0)
			return fd;
		atomic_fetch_add(&fs->pins, 1);
		n->pin = fd;
	}
	n->nlink = 0;
	ovl_node_set(n, OVL_NODE_ORPHAN);
	ovl_node_unhash(fs, n);
	return 0;
}

/*
 * How many more names the union has than the upper has of it (of a layer's inode those count, too,
 * that are hidden there), for who reads it as a layer.
 */
static int save_more(struct ovl_fs *fs, int fd, long more)
{
	const char *mark = fs->mark[OVL_MARK_NLINK];
	char value[24];
	int r, len = snprintf(value, sizeof(value), "U%+ld", more);

	if (more != 0 && ovl_sys_setxattr(fd, "", mark, value, (size_t)len, 0) == 0)
		return 0;
	r = ovl_sys_removexattr(fd, "", mark);
	return r == -ENODATA || r == -EPERM || r == -EOPNOTSUPP ? 0 : r;
}

/* It is found by its own names from now on. */
static int retire(struct ovl_fs *fs, uint64_t number)
{
	struct ovl_node *n = ovl_node_find(fs, number);
	cleanup_close int fd = -1;
	char name[24];
	struct stat st;
	int r, names;

	snprintf(name, sizeof(name), "%" PRIu64, number);
	r = fd = ovl_sys_open(fs->links_fd, name, O_PATH, 0);
	if (r >= 0)
		r = ovl_sys_stat(fd, "", &st);
	if (r == 0) {
		names = ovl_nlink_get(fs, fs->links_fd, name, st.st_nlink);
		r = ovl_sys_unlink(fs->links_fd, name, 0);
		if (r == 0)
			r = save_more(fs, fd, (long)names - (long)st.st_nlink + 1);
	}
	if (r < 0 && r != -ENOENT)
		goto out;
	r = 0;
	ovl_links_remove(fs->numbers, number);
	if (n)
		ovl_node_clear(n, OVL_NODE_INDEXED | OVL_NODE_LINKED);
out:
	ovl_node_unref(fs, n);
	return r;
}

int ovl_push_links(struct ovl_fs *fs)
{
	cleanup_free uint64_t *links = NULL;
	size_t n;
	int r = ovl_links_list(fs->numbers, &links, &n);

	if (r == 0)
		r = needs_walk(fs, links, n);
	if (r > 0)
		r = walk_tree(fs);
	for (size_t i = 0; i < fs->table.n_buckets; i++)
		for (struct ovl_node *node = fs->table.buckets[i]; node && r == 0;
		     node = node->hash_next)
			if (is_nameless(fs, node) && ovl_node_has(node, OVL_NODE_UPPER))
				r = orphan(fs, node);
	for (size_t i = 0; i < n && r == 0; i++)
		r = retire(fs, links[i]);
	return r;
}
