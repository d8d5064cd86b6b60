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

/* A directory of the layer whose entries are still to be merged. */
struct work {
	uint64_t nid;
	const char *name; /* in the image's mapping, not NUL-terminated */
	size_t len;
	size_t parent; /* index of its work; the root's is its own */
	struct erofs_inode *dst; /* NULL: implied, and nothing made it necessary yet */
};

/* An entry whose merging waits for step 3 or 4. */
struct later {
	uint64_t nid;
	const char *name;
	size_t len, parent;
};

struct laters {
	struct later *v;
	size_t n, cap;
};

struct merge {
	struct erofs_tree *tree;
	struct device_union devices;
	struct err *err;
	size_t n_layers;
	/* of the layer in work: */
	const struct erofs_image *img;
	size_t layer; /* from 0 */
	uint64_t gen;
	bool late; /* steps 3 and 4: marks must spare what this layer made */
	struct work *works;
	size_t n_works, cap_works;
	unsigned char *visited; /* a bit for each nid that is a directory */
	struct nid_map inodes; /* those with several names */
	struct laters below_links, links;
};

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
static int refuse(const struct merge *m, int code, size_t parent, const char *name, size_t len,
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

static int push_work(struct merge *m, struct work w)
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

/* A directory has one name: a second one, or a loop, comes from a damaged image. */
static bool first_visit(unsigned char *visited, uint64_t nid)
{
	unsigned char bit = (unsigned char)(1u << (nid & 7));
	bool first = !(visited[nid >> 3] & bit);

	visited[nid >> 3] |= bit;
	return first;
}

static bool is_whiteout(const struct erofs_stat *st)
{
	return S_ISCHR(st->mode) && st->rdev_major == 0 && st->rdev_minor == 0;
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
static int materialize(struct merge *m, size_t index, struct erofs_inode **ret)
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
	int r = materialize(m, parent, &dir);

	if (r == 0 && erofs_dir_find(dir, name, len))
		r = erofs_dir_remove(m->tree, dir, name, len);
	if (r == 0)
		r = erofs_dir_add(m->tree, dir, name, len, inode);
	return r;
}

/* Takes the lower layers' entries out of @top, and out of those below it that this layer is in. */
static int hide_lower(struct merge *m, struct erofs_inode *top)
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

struct real {
	const struct erofs_image *img;
	uint64_t *dirs;
	size_t n, cap;
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
	if (r < 0 || is_whiteout(&st))
		return r;
	if (!S_ISDIR(st.mode) || !(st.flags & EROFS_I_IMPLIED))
		return 1;
	if (f->n == f->cap) {
		size_t cap = f->cap ? f->cap * 2 : 16;
		uint64_t *dirs = reallocarray(f->dirs, cap, sizeof(*dirs));

		if (!dirs)
			return -ENOMEM;
		f->dirs = dirs;
		f->cap = cap;
	}
	f->dirs[f->n++] = nid;
	return 0;
}

/* 1 when the implied directory has an entry that is no whiteout, 0, or -errno. */
static int has_real_entry(const struct merge *m, uint64_t nid)
{
	unsigned char *visited cleanup_free = calloc(m->img->size / EROFS_SLOT_SIZE / 8 + 1, 1);
	struct real f = {.img = m->img};
	int r = visited ? 0 : -ENOMEM;

	while (r == 0) {
		struct erofs_stat st;

		r = first_visit(visited, nid) ? erofs_image_inode(m->img, nid, &st) : -EUCLEAN;
		if (r == 0)
			r = erofs_image_readdir(m->img, &st, 0, find_real, &f);
		if (f.n == 0)
			break;
		nid = f.dirs[--f.n];
	}
	free(f.dirs);
	return r;
}

/* An implied directory where the lower layers have something else. */
static int imply_over_other(struct merge *m, size_t parent, const char *name, size_t len,
			    uint64_t nid, const struct erofs_inode *old)
{
	int r = has_real_entry(m, nid);

	if (r <= 0) /* only whiteouts, of what cannot be there */
		return S_ISLNK(old->mode) && r == 0
			       ? push_later(&m->below_links, nid, parent, name, len)
			       : r;
	if (!S_ISLNK(old->mode))
		return refuse(m, -EBADMSG, parent, name, len,
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
			r = hide_lower(m, old);
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
	return r < 0 ? r : push_work(m, w);
}

/* A name for @inode of a lower layer, with the metadata of the entry. */
static int link_inode(struct merge *m, size_t parent, const char *name, size_t len,
		      const struct erofs_stat *st, struct erofs_inode *inode)
{
	const struct erofs_inode *up = m->works[parent].dst;
	int r;

	if (inode->nlink == 1 && up && erofs_dir_find(up, name, len) == inode)
		return refuse(m, -EBADMSG, parent, name, len, "hard link to itself");
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
		return inode ? link_inode(m, parent, name, len, st, inode)
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
	} else if (is_whiteout(&st)) {
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
		return refuse(m, -EBADMSG, s->dir, name, len, "its parent is no directory");
	return r < 0 ? refuse(m, r, s->dir, name, len, NULL) : 0;
}

/* Steps 2 and 3: merges directories @from on, and those that come to the list meanwhile. */
static int run(struct merge *m, size_t from)
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

static int merge_below_link(struct merge *m, struct later l)
{
	struct work w = {.nid = l.nid, .name = l.name, .len = l.len, .parent = l.parent};
	struct merge_path p = {.tree = m->tree, .follow_last = true, .gen = m->gen};
	char name[256];
	int real = has_real_entry(m, l.nid), r;

	if (real < 0)
		return refuse(m, real, l.parent, l.name, l.len, NULL);
	memcpy(name, l.name, l.len);
	name[l.len] = '\0';
	p.create = real > 0;
	r = materialize(m, l.parent, &p.start);
	if (r == 0)
		r = merge_resolve(&p, name, &w.dst);
	if (r == 0 && !w.dst->dir)
		r = -ENOTDIR;
	if (r == -ELOOP)
		return refuse(m, -EBADMSG, l.parent, l.name, l.len,
			      "entries below a symlink that leads in a circle");
	if (r < 0 && !real)
		return 0; /* whiteouts of nothing */
	if (r == -ENOTDIR || r == -ENAMETOOLONG || r == -EINVAL)
		return refuse(m, -EBADMSG, l.parent, l.name, l.len,
			      "entries below a symlink that leads to no directory");
	if (r == 0) {
		struct erofs_stat st;

		r = erofs_image_inode(m->img, l.nid, &st);
		if (r == 0 && st.flags & EROFS_I_OPAQUE)
			r = hide_lower(m, w.dst);
		w.dst->scratch = m->gen;
	}
	if (r == 0)
		r = push_work(m, w);
	return r < 0 ? refuse(m, r, l.parent, l.name, l.len, NULL) : run(m, m->n_works - 1);
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
static int merge_links(struct merge *m)
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
					return refuse(m, -EBADMSG, l.parent, l.name, l.len,
						      "hard link to a directory");
				if (r == 0)
					r = nid_map_put(&m->inodes, l.nid, inode);
			}
			if (r == 0)
				r = link_inode(m, l.parent, l.name, l.len, &st, inode);
			if (r < 0)
				return r == -EBADMSG ? r
						     : refuse(m, r, l.parent, l.name, l.len, NULL);
		}
	} while (left && left < before);
	if (left)
		return refuse(m, -EBADMSG, m->links.v[0].parent, m->links.v[0].name,
			      m->links.v[0].len, "hard link to nothing");
	return 0;
}

struct scan {
	struct merge *m;
	struct real dirs;
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
	if (S_ISDIR(st.mode)) {
		struct real *d = &s->dirs;

		if (d->n == d->cap) {
			size_t cap = d->cap ? d->cap * 2 : 256;
			uint64_t *dirs = reallocarray(d->dirs, cap, sizeof(*dirs));

			if (!dirs)
				return -ENOMEM;
			d->dirs = dirs;
			d->cap = cap;
		}
		d->dirs[d->n++] = nid;
		return 0;
	}
	if (!(st.flags & EROFS_I_LINK) || nid_map_find(&s->m->inodes, nid))
		return 0;
	r = resolve_link(s->m, &st, &inode);
	if (r < 0)
		return is_nothing(r) ? 0 : r;
	return inode->dir ? 0 : nid_map_put(&s->m->inodes, nid, inode);
}

/* Step 1. */
static int scan_links(struct merge *m)
{
	unsigned char *visited cleanup_free = NULL;
	struct scan s = {.m = m};
	uint64_t nid = m->img->root;
	int r = 0;

	/* A layer with links has the mark's name somewhere: the others save the walk. */
	if (!memmem(m->img->map, m->img->size, EROFS_MARK_LINK + sizeof("trusted"),
		    strlen(EROFS_MARK_LINK) - sizeof("trusted")))
		return 0;
	visited = calloc(m->img->size / EROFS_SLOT_SIZE / 8 + 1, 1);
	if (!visited)
		r = -ENOMEM;
	while (r == 0) {
		struct erofs_stat st;

		r = first_visit(visited, nid) ? erofs_image_inode(m->img, nid, &st) : -EUCLEAN;
		if (r == 0)
			r = erofs_image_readdir(m->img, &st, 0, scan_entry, &s);
		if (s.dirs.n == 0)
			break;
		nid = s.dirs.dirs[--s.dirs.n];
	}
	free(s.dirs.dirs);
	return r < 0 ? err_set(m->err, r, "layer %zu of %zu: its index", m->layer + 1, m->n_layers)
		     : 0;
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
		r = push_work(m, (struct work){.nid = st.nid, .name = "", .dst = root});
	if (r < 0)
		return err_set(m->err, r, "layer %zu of %zu: root directory", m->layer + 1,
			       m->n_layers);
	(void)first_visit(m->visited, st.nid);
	return 0;
}

static int merge_layer(struct merge *m)
{
	int r;

	m->visited = calloc(m->img->size / EROFS_SLOT_SIZE / 8 + 1, 1);
	if (!m->visited)
		return err_set(m->err, -ENOMEM, "merge layer %zu", m->layer + 1);
	m->late = false;
	r = scan_links(m);
	if (r == 0)
		r = merge_root(m);
	if (r == 0)
		r = run(m, 0);
	m->late = true;
	for (size_t i = 0; r == 0 && i < m->below_links.n; i++)
		r = merge_below_link(m, m->below_links.v[i]);
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
