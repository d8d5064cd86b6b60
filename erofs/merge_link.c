/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "erofs/merge_private.h"

/* What a layer says through lower layers: hard links to their files, entries below their symlinks.
 */

int nid_list_push(struct nid_list *l, uint64_t nid)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 64;
		uint64_t *v = reallocarray(l->v, cap, sizeof(*v));

		if (!v)
			return -ENOMEM;
		l->v = v;
		l->cap = cap;
	}
	l->v[l->n++] = nid;
	return 0;
}

struct real {
	const struct erofs_image *img;
	struct nid_list dirs;
};

static int find_real(void *ctx, const char *name, size_t len, uint64_t nid, unsigned int type,
		     uint64_t next)
{
	struct real *f = ctx;
	struct erofs_stat st;
	int r = erofs_image_inode(f->img, nid, &st);

	(void)name;
	(void)len;
	(void)type;
	(void)next;
	if (r < 0 || stat_is_whiteout(&st))
		return r;
	if (!S_ISDIR(st.mode) || !(st.flags & EROFS_I_IMPLIED))
		return 1;
	return nid_list_push(&f->dirs, nid);
}

/* 1 when the implied directory has an entry that is no whiteout, 0, or -errno. */
int merge_has_real_entry(const struct merge *m, uint64_t nid)
{
	unsigned char *visited cleanup_free = visited_new(m->img);
	struct real f = {.img = m->img};
	int r = visited ? 0 : -ENOMEM;

	while (r == 0) {
		struct erofs_stat st;

		r = first_visit(visited, nid) ? erofs_image_inode(m->img, nid, &st) : -EUCLEAN;
		if (r == 0)
			r = erofs_image_readdir(m->img, &st, 0, find_real, &f);
		if (f.dirs.n == 0)
			break;
		nid = f.dirs.v[--f.dirs.n];
	}
	free(f.dirs.v);
	return r;
}

static int merge_below_link(struct merge *m, struct later l)
{
	struct work w = {.nid = l.nid, .name = l.name, .len = l.len, .parent = l.parent};
	struct merge_path p = {.tree = m->tree, .follow_last = true, .gen = m->gen};
	char name[256];
	int real = merge_has_real_entry(m, l.nid), r;

	if (real < 0)
		return merge_refuse(m, real, l.parent, l.name, l.len, NULL);
	memcpy(name, l.name, l.len);
	name[l.len] = '\0';
	p.create = real > 0;
	r = merge_materialize(m, l.parent, &p.start);
	if (r == 0)
		r = merge_resolve(&p, name, &w.dst);
	if (r == 0 && !w.dst->dir)
		r = -ENOTDIR;
	if (r == -ELOOP)
		return merge_refuse(m, -EBADMSG, l.parent, l.name, l.len,
				    "entries below a symlink that leads in a circle");
	if (r < 0 && !real)
		return 0; /* whiteouts of nothing */
	if (r == -ENOTDIR || r == -ENAMETOOLONG || r == -EINVAL)
		return merge_refuse(m, -EBADMSG, l.parent, l.name, l.len,
				    "entries below a symlink that leads to no directory");
	if (r == 0) {
		struct erofs_stat st;

		r = erofs_image_inode(m->img, l.nid, &st);
		if (r == 0 && st.flags & EROFS_I_OPAQUE)
			r = merge_hide_lower(m, w.dst);
		w.dst->scratch = m->gen;
	}
	if (r == 0)
		r = merge_push_work(m, w);
	return r < 0 ? merge_refuse(m, r, l.parent, l.name, l.len, NULL)
		     : merge_run(m, m->n_works - 1);
}

/* Step 3. The list grows when such a directory has another one below it. */
int merge_below_links(struct merge *m)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < m->below_links.n; i++)
		r = merge_below_link(m, m->below_links.v[i]);
	return r;
}

/* The inode a link entry leads to in the tree as it is: -ENOENT and the like when none. */
static int resolve_link(struct merge *m, const struct erofs_stat *st, struct erofs_inode **ret)
{
	struct merge_path p = {.tree = m->tree, .start = erofs_tree_root(m->tree)};
	char *target cleanup_free = NULL;
	int r = erofs_image_link_target(m->img, st, &target);

	return r < 0 ? r : merge_resolve(&p, target, ret);
}

static bool is_nothing(int r)
{
	return r == -ENOENT || r == -ENOTDIR || r == -ELOOP || r == -ENAMETOOLONG;
}

/* Step 4: links may lead to links, so until a round finds no more. */
int merge_links(struct merge *m)
{
	size_t left = m->links.n, before;

	do {
		before = left;
		left = 0;
		for (size_t i = 0; i < before; i++) {
			struct later l = m->links.v[i];
			struct erofs_inode *inode = nid_map_find(&m->inodes, l.nid);
			struct erofs_stat st;
			int r = erofs_image_inode(m->img, l.nid, &st);

			if (r == 0 && !inode) {
				r = resolve_link(m, &st, &inode);
				if (is_nothing(r)) {
					m->links.v[left++] = l;
					continue;
				}
				if (r == 0 && inode->dir)
					return merge_refuse(m, -EBADMSG, l.parent, l.name, l.len,
							    "hard link to a directory");
				if (r == 0)
					r = nid_map_put(&m->inodes, l.nid, inode);
			}
			if (r == 0)
				r = merge_link_inode(m, l.parent, l.name, l.len, &st, inode);
			if (r < 0)
				return r == -EBADMSG
					       ? r
					       : merge_refuse(m, r, l.parent, l.name, l.len, NULL);
		}
	} while (left && left < before);
	if (left)
		return merge_refuse(m, -EBADMSG, m->links.v[0].parent, m->links.v[0].name,
				    m->links.v[0].len, "hard link to nothing");
	return 0;
}

struct scan {
	struct merge *m;
	struct nid_list dirs;
};

static int scan_entry(void *ctx, const char *name, size_t len, uint64_t nid, unsigned int type,
		      uint64_t next)
{
	struct scan *s = ctx;
	struct erofs_inode *inode;
	struct erofs_stat st;
	int r = erofs_image_inode(s->m->img, nid, &st);

	(void)name;
	(void)len;
	(void)type;
	(void)next;
	if (r < 0)
		return r;
	if (S_ISDIR(st.mode))
		return nid_list_push(&s->dirs, nid);
	if (!(st.flags & EROFS_I_LINK) || nid_map_find(&s->m->inodes, nid))
		return 0;
	r = resolve_link(s->m, &st, &inode);
	if (r < 0)
		return is_nothing(r) ? 0 : r;
	return inode->dir ? 0 : nid_map_put(&s->m->inodes, nid, inode);
}

/* Step 1. */
int merge_scan_links(struct merge *m)
{
	unsigned char *visited cleanup_free = NULL;
	struct scan s = {.m = m};
	uint64_t nid = m->img->root;
	int r = 0;

	/* A layer with links has the mark's name somewhere: the others save the walk. */
	if (!memmem(m->img->map, m->img->size, EROFS_LINK_SUFFIX, strlen(EROFS_LINK_SUFFIX)))
		return 0;
	visited = visited_new(m->img);
	if (!visited)
		r = -ENOMEM;
	while (r == 0) {
		struct erofs_stat st;

		r = first_visit(visited, nid) ? erofs_image_inode(m->img, nid, &st) : -EUCLEAN;
		if (r == 0)
			r = erofs_image_readdir(m->img, &st, 0, scan_entry, &s);
		if (s.dirs.n == 0)
			break;
		nid = s.dirs.v[--s.dirs.n];
	}
	free(s.dirs.v);
	return r < 0 ? err_set(m->err, r, "layer %zu of %zu: its index", m->layer + 1, m->n_layers)
		     : 0;
}
