/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/strbuf.h"
#include "erofs/merge_private.h"

/*
 * Each layer is laid over the tree of those below it, in steps:
 *
 *	1. links to lower files are looked up, while the tree is still the lower layers' alone;
 *	2. every directory of the layer is merged, breadth-first;
 *	3. what lies below symlinks of lower layers, once the layer itself is in place;
 *	4. links that were not found in step 1, which only steps 2 and 3 made reachable.
 *
 * Nothing recurses: an image may nest as deep as it likes. inode->scratch is the
 * number of the layer that made or touched an inode.
 */

/* The path of entry @name of directory @parent, for messages. */
static int entry_path(const struct merge *m, size_t parent, const char *name, size_t len,
		      struct strbuf *ret)
{
	const struct work **up cleanup_free = NULL;
	size_t depth = 0, i;
	int r = 0;

	for (i = parent; m->works[i].parent != i; i = m->works[i].parent)
		depth++;
	up = calloc(depth + 1, sizeof(const struct work *));
	if (!up)
		return -ENOMEM;
	for (i = parent, depth = 0; m->works[i].parent != i; i = m->works[i].parent)
		up[depth++] = &m->works[i];
	while (depth-- && r == 0) {
		r = strbuf_add(ret, up[depth]->name, up[depth]->len);
		if (r == 0)
			r = strbuf_addc(ret, '/');
	}
	return r < 0 ? r : strbuf_add(ret, name, len);
}

/* Reports @code for an entry; @why is NULL for what the errno says. */
int merge_refuse(const struct merge *m, int code, size_t parent, const char *name, size_t len,
		 const char *why)
{
	struct strbuf path CLEANUP(strbuf_release) = STRBUF_INIT;

	if (code == -ENOMEM || entry_path(m, parent, name, len, &path) < 0)
		return err_set(m->err, -ENOMEM, "merge layer %zu", m->layer + 1);
	if (why)
		return err_msg(m->err, code, "layer %zu of %zu: '%s': %s", m->layer + 1,
			       m->n_layers, path.s, why);
	return err_set(m->err, code, "layer %zu of %zu: '%s'", m->layer + 1, m->n_layers, path.s);
}

static int push_later(struct laters *l, uint64_t nid, size_t parent, const char *name, size_t len)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 64;
		struct later *v = reallocarray(l->v, cap, sizeof(*v));

		if (!v)
			return -ENOMEM;
		l->v = v;
		l->cap = cap;
	}
	l->v[l->n++] = (struct later){.nid = nid, .name = name, .len = len, .parent = parent};
	return 0;
}

int merge_push_work(struct merge *m, struct work w)
{
	if (m->n_works == m->cap_works) {
		size_t cap = m->cap_works ? m->cap_works * 2 : 256;
		struct work *v = reallocarray(m->works, cap, sizeof(*v));

		if (!v)
			return -ENOMEM;
		m->works = v;
		m->cap_works = cap;
	}
	m->works[m->n_works++] = w;
	return 0;
}

struct xattr_copy {
	struct erofs_tree *tree;
	struct erofs_inode *inode;
};

static int copy_xattr(void *ctx, const char *name, const void *value, size_t len)
{
	struct xattr_copy *c = ctx;

	return erofs_inode_set_xattr(c->tree, c->inode, name, value, len);
}

/* Permissions, owner, time and xattrs; the type stays. */
static int set_metadata(struct merge *m, struct erofs_inode *inode, const struct erofs_stat *st)
{
	struct xattr_copy c = {.tree = m->tree, .inode = inode};

	inode->mode = (inode->mode & S_IFMT) | (st->mode & 07777);
	inode->uid = st->uid;
	inode->gid = st->gid;
	inode->mtime = st->mtime;
	inode->mtime_nsec = st->mtime_nsec;
	inode->scratch = m->gen;
	/* Tar writers leave xattrs out of link entries: saying nothing is no removal there. */
	if (!(st->flags & EROFS_I_LINK) || st->xattr_len)
		inode->xattrs = NULL;
	return st->xattr_len ? erofs_image_xattr_each(m->img, st, copy_xattr, &c) : 0;
}

/* A regular file's data is one run, however many chunks describe it. */
static int set_extent(struct merge *m, struct erofs_inode *inode, const struct erofs_stat *st)
{
	struct erofs_extent first = {0};

	inode->size = st->size;
	for (uint64_t pos = 0; pos < st->size;) {
		struct erofs_extent e;
		int r = erofs_image_map(m->img, st, pos, &e);

		if (r < 0)
			return r;
		if (pos == 0)
			first = e;
		if (e.device != first.device || (e.device && e.offset != first.offset + pos))
			return -EUCLEAN;
		pos += e.len;
	}
	if (first.device) {
		inode->device = m->devices.maps[m->layer][first.device - 1];
		inode->offset = first.offset;
	}
	return 0;
}

static int set_target(struct merge *m, struct erofs_inode *inode, const struct erofs_stat *st)
{
	char target[EROFS_TARGET_MAX + 1];
	const char *s;
	int r = erofs_image_symlink(m->img, st, &s);

	if (r < 0)
		return r;
	memcpy(target, s, st->size);
	target[st->size] = '\0';
	return strlen(target) == st->size ? erofs_inode_set_target(m->tree, inode, target)
					  : -EUCLEAN;
}

static int copy_inode(struct merge *m, const struct erofs_stat *st, struct erofs_inode **ret)
{
	struct erofs_inode *inode = erofs_inode_new(m->tree, st->mode);
	int r;

	if (!inode)
		return -ENOMEM;
	r = set_metadata(m, inode, st);
	inode->rdev_major = st->rdev_major;
	inode->rdev_minor = st->rdev_minor;
	if (r == 0 && S_ISREG(st->mode))
		r = set_extent(m, inode, st);
	if (r == 0 && S_ISLNK(st->mode))
		r = set_target(m, inode, st);
	if (r == 0)
		*ret = inode;
	return r;
}

/* Makes the directory of @index, and those above it, when nobody did yet. */
int merge_materialize(struct merge *m, size_t index, struct erofs_inode **ret)
{
	size_t at = index;

	while (!m->works[index].dst) {
		struct work *w, *up;
		struct erofs_inode *dir;
		int r;

		/* the topmost one that is missing */
		for (at = index; !m->works[m->works[at].parent].dst; at = m->works[at].parent)
			;
		w = &m->works[at];
		up = &m->works[w->parent];
		dir = erofs_dir_find(up->dst, w->name, w->len);
		if (dir && !dir->dir)
			return -ENOTDIR;
		if (!dir) {
			dir = erofs_inode_new(m->tree, S_IFDIR | 0755);
			if (!dir)
				return -ENOMEM;
			dir->scratch = m->gen;
			r = erofs_dir_add(m->tree, up->dst, w->name, w->len, dir);
			if (r < 0)
				return r;
		}
		w->dst = dir;
	}
	*ret = m->works[index].dst;
	return 0;
}

/* Puts @inode at the name, in place of what is there. */
static int place(struct merge *m, size_t parent, const char *name, size_t len,
		 struct erofs_inode *inode)
{
	struct erofs_inode *dir;
	int r = merge_materialize(m, parent, &dir);

	if (r == 0 && erofs_dir_find(dir, name, len))
		r = erofs_dir_remove(m->tree, dir, name, len);
	if (r == 0)
		r = erofs_dir_add(m->tree, dir, name, len, inode);
	return r;
}

/* Takes the lower layers' entries out of @top, and out of those below it that this layer is in. */
int merge_hide_lower(struct merge *m, struct erofs_inode *top)
{
	struct erofs_inode **dirs cleanup_free = NULL;
	size_t n = 0, cap = 0;
	struct erofs_inode *dir = top;

	if (!m->late) { /* nothing of this layer can be below a directory before its own turn */
		erofs_dir_clear(m->tree, top);
		return 0;
	}
	for (;;) {
		const struct erofs_dirent *e;
		size_t count;

		e = erofs_dir_entries(dir, &count);
		if (n + count > cap) {
			struct erofs_inode **v =
				reallocarray(dirs, n + count, sizeof(struct erofs_inode *));

			if (!v)
				return -ENOMEM;
			dirs = v;
			cap = n + count;
		}
		for (size_t i = 0; i < count; i++) {
			/* removal leaves the array in place until the next call of entries() */
			if (e[i].inode->scratch != m->gen)
				(void)!erofs_dir_remove(m->tree, dir, e[i].name, e[i].len);
			else if (e[i].inode->dir)
				dirs[n++] = e[i].inode;
		}
		if (n == 0)
			return 0;
		dir = dirs[--n];
	}
}

/* An implied directory where the lower layers have something else. */
static int imply_over_other(struct merge *m, size_t parent, const char *name, size_t len,
			    uint64_t nid, const struct erofs_inode *old)
{
	int r = merge_has_real_entry(m, nid);

	if (r <= 0) /* only whiteouts, of what cannot be there */
		return S_ISLNK(old->mode) && r == 0
			       ? push_later(&m->below_links, nid, parent, name, len)
			       : r;
	if (!S_ISLNK(old->mode))
		return merge_refuse(m, -EBADMSG, parent, name, len,
				    "has entries below it, but is no directory in a lower layer");
	return push_later(&m->below_links, nid, parent, name, len);
}

static int merge_dir(struct merge *m, size_t parent, const char *name, size_t len,
		     const struct erofs_stat *st)
{
	struct erofs_inode *up = m->works[parent].dst;
	struct erofs_inode *old = up ? erofs_dir_find(up, name, len) : NULL;
	struct work w = {.nid = st->nid, .name = name, .len = len, .parent = parent};
	int r = 0;

	if (!first_visit(m->visited, st->nid))
		return -EUCLEAN;
	if (old && old->dir) {
		if (st->flags & EROFS_I_OPAQUE)
			r = merge_hide_lower(m, old);
		old->scratch = m->gen;
		if (r == 0 && !(st->flags & EROFS_I_IMPLIED))
			r = set_metadata(m, old, st);
		w.dst = old;
	} else if (st->flags & EROFS_I_IMPLIED) {
		if (old)
			return imply_over_other(m, parent, name, len, st->nid, old);
	} else {
		r = copy_inode(m, st, &w.dst);
		if (r == 0)
			r = place(m, parent, name, len, w.dst);
	}
	return r < 0 ? r : merge_push_work(m, w);
}

/* A name for @inode of a lower layer, with the metadata of the entry. */
int merge_link_inode(struct merge *m, size_t parent, const char *name, size_t len,
		     const struct erofs_stat *st, struct erofs_inode *inode)
{
	const struct erofs_inode *up = m->works[parent].dst;
	int r;

	if (inode->nlink == 1 && up && erofs_dir_find(up, name, len) == inode)
		return merge_refuse(m, -EBADMSG, parent, name, len, "hard link to itself");
	r = set_metadata(m, inode, st);
	return r < 0 ? r : place(m, parent, name, len, inode);
}

static int merge_other(struct merge *m, size_t parent, const char *name, size_t len,
		       const struct erofs_stat *st)
{
	struct erofs_inode *inode = st->nlink != 1 ? nid_map_find(&m->inodes, st->nid) : NULL;
	int r;

	if (st->flags & EROFS_I_LINK) {
		inode = nid_map_find(&m->inodes, st->nid);
		return inode ? merge_link_inode(m, parent, name, len, st, inode)
			     : push_later(&m->links, st->nid, parent, name, len);
	}
	if (!inode) {
		r = copy_inode(m, st, &inode);
		if (r == 0 && st->nlink != 1)
			r = nid_map_put(&m->inodes, st->nid, inode);
		if (r < 0)
			return r;
	}
	return place(m, parent, name, len, inode);
}

struct step {
	struct merge *m;
	size_t dir; /* index of the work */
};

static int merge_entry(void *ctx, const char *name, size_t len, uint64_t nid, unsigned int type,
		       uint64_t next)
{
	const struct step *s = ctx;
	struct merge *m = s->m;
	struct erofs_stat st;
	int r = erofs_image_inode(m->img, nid, &st);

	(void)type;
	(void)next;
	if (r < 0) {
		/* reported below */
	} else if (stat_is_whiteout(&st)) {
		struct erofs_inode *dir = m->works[s->dir].dst;
		struct erofs_inode *old = dir ? erofs_dir_find(dir, name, len) : NULL;

		if (old && !(m->late && old->scratch == m->gen))
			r = erofs_dir_remove(m->tree, dir, name, len);
	} else if (S_ISDIR(st.mode)) {
		r = merge_dir(m, s->dir, name, len, &st);
	} else {
		r = merge_other(m, s->dir, name, len, &st);
	}
	if (r == -EBADMSG) /* refused, with its message */
		return r;
	if (r == -ENOTDIR)
		return merge_refuse(m, -EBADMSG, s->dir, name, len, "its parent is no directory");
	return r < 0 ? merge_refuse(m, r, s->dir, name, len, NULL) : 0;
}

/* Steps 2 and 3: merges directories @from on, and those that come to the list meanwhile. */
int merge_run(struct merge *m, size_t from)
{
	for (size_t i = from; i < m->n_works; i++) {
		struct step s = {.m = m, .dir = i};
		struct erofs_stat st;
		int r = erofs_image_inode(m->img, m->works[i].nid, &st);

		if (r == 0)
			r = erofs_image_readdir(m->img, &st, 0, merge_entry, &s);
		if (r == -EUCLEAN && !(m->err && m->err->code))
			return err_msg(m->err, r, "layer %zu of %zu: its index is damaged",
				       m->layer + 1, m->n_layers);
		if (r < 0)
			return r;
	}
	return 0;
}

static int merge_root(struct merge *m)
{
	struct erofs_inode *root = erofs_tree_root(m->tree);
	struct erofs_stat st;
	int r = erofs_image_inode(m->img, m->img->root, &st);

	if (r == 0 && st.flags & EROFS_I_OPAQUE)
		erofs_dir_clear(m->tree, root);
	if (r == 0 && !(st.flags & EROFS_I_IMPLIED))
		r = set_metadata(m, root, &st);
	if (r == 0)
		r = merge_push_work(m, (struct work){.nid = st.nid, .name = "", .dst = root});
	if (r < 0)
		return err_set(m->err, r, "layer %zu of %zu: root directory", m->layer + 1,
			       m->n_layers);
	(void)first_visit(m->visited, st.nid);
	return 0;
}

static int merge_layer(struct merge *m)
{
	int r;

	m->visited = visited_new(m->img);
	if (!m->visited)
		return err_set(m->err, -ENOMEM, "merge layer %zu", m->layer + 1);
	m->late = false;
	r = merge_scan_links(m);
	if (r == 0)
		r = merge_root(m);
	if (r == 0)
		r = merge_run(m, 0);
	m->late = true;
	if (r == 0)
		r = merge_below_links(m);
	if (r == 0)
		r = merge_links(m);
	free(m->visited);
	free(m->inodes.slots);
	m->visited = NULL;
	m->inodes = (struct nid_map){0};
	m->n_works = m->below_links.n = m->links.n = 0;
	return r;
}

int erofs_merge(struct erofs_image *const *images, size_t n_images, struct erofs_tree **ret_tree,
		struct erofs_device **ret_devices, size_t *ret_n_devices, struct err *err)
{
	struct merge m = {.err = err, .n_layers = n_images};
	int r = device_union_make(images, n_images, &m.devices, err);

	if (r < 0)
		return r;
	m.tree = erofs_tree_new();
	if (!m.tree)
		r = err_set(err, -ENOMEM, "merge");
	for (size_t i = 0; r == 0 && i < n_images; i++) {
		m.img = images[i];
		m.layer = i;
		m.gen = i + 1;
		r = merge_layer(&m);
	}
	free(m.works);
	free(m.below_links.v);
	free(m.links.v);
	if (r == 0) {
		*ret_n_devices = m.devices.n;
		*ret_devices = steal_ptr(&m.devices.devices);
		*ret_tree = m.tree;
	} else {
		erofs_tree_free(m.tree);
	}
	device_union_release(&m.devices);
	return r;
}
