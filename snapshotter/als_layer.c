/* SPDX-License-Identifier: Apache-2.0 */
#include <endian.h>
#include <errno.h>
#include <linux/capability.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/strbuf.h"
#include "erofs/image.h"
#include "overlay/whiteout.h"
#include "snapshotter/als_private.h"

/* A layer's folder, opened once for all the stacks that it is in. */
struct opened {
	struct ovl_layer *layer;
	char id[65];
	size_t refs;
	struct opened *next;
};

struct als_layers {
	pthread_mutex_t lock; /* of the list and its refs */
	struct opened *list;
	char *root;
	struct als_ids ids; /* borrowed maps */
};

/* What stands elsewhere: the object @nid has what (from, at) has. */
struct borrowed {
	uint64_t nid;
	size_t from; /* position in the stack */
	uint64_t at;
};

struct ids {
	uint32_t *v;
	size_t n, cap;
};

struct als_layer {
	struct als_layers *all;
	struct opened **stack; /* lowest first */
	size_t n;
	struct borrowed *borrowed; /* by ->nid */
	size_t n_borrowed, cap_borrowed;
	struct ids uids, gids;
};

struct als_layers *als_layers_new(const char *root, const struct als_ids *ids)
{
	struct als_layers *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->root = strdup(root);
	if (!a->root) {
		free(a);
		return NULL;
	}
	a->ids = *ids;
	(void)pthread_mutex_init(&a->lock, NULL);
	return a;
}

void als_layers_free(struct als_layers *a)
{
	if (!a)
		return;
	(void)pthread_mutex_destroy(&a->lock);
	free(a->root);
	free(a);
}

static int open_one(struct als_layers *a, const char *id, struct opened **ret, struct err *err)
{
	struct strbuf path CLEANUP(strbuf_release) = STRBUF_INIT;
	struct opened *o;
	int r;

	for (o = a->list; o; o = o->next)
		if (strcmp(o->id, id) == 0) {
			o->refs++;
			*ret = o;
			return 0;
		}
	r = strbuf_addf(&path, "%s/layers/sha256/%s/index", a->root, id);
	o = r == 0 ? calloc(1, sizeof(*o)) : NULL;
	if (!o)
		return err_set(err, -ENOMEM, "layer %s", id);
	r = ovl_layer_open(path.s, NULL, &o->layer, err);
	if (r == 0 && !o->layer->image) {
		ovl_layer_close(o->layer);
		r = err_msg(err, -EUCLEAN, "layer %s has no index", id);
	}
	if (r < 0) {
		free(o);
		return r;
	}
	(void)snprintf(o->id, sizeof(o->id), "%s", id);
	o->refs = 1;
	o->next = a->list;
	a->list = o;
	*ret = o;
	return 0;
}

static void close_one(struct als_layers *a, struct opened *o)
{
	if (--o->refs > 0)
		return;
	for (struct opened **p = &a->list; *p; p = &(*p)->next)
		if (*p == o) {
			*p = o->next;
			break;
		}
	ovl_layer_close(o->layer);
	free(o);
}

static const struct erofs_image *image_of(const struct als_layer *l, size_t i)
{
	return l->stack[i]->layer->image;
}

/* ---- what only the layers below can say ---- */

struct found {
	size_t from;
	uint64_t nid;
	struct erofs_stat st;
};

/*
 * @path in layer @i alone. 1: there; 0: not, look further down; -ENOENT: not, and nothing below
 * counts. @ret_last: it is there, and nothing below counts.
 */
static int find_in(const struct als_layer *l, size_t i, const char *path, struct found *ret,
		   bool *ret_last)
{
	const struct erofs_image *img = image_of(l, i);
	bool last = false;
	uint64_t nid = erofs_image_root(img);
	int r = erofs_image_inode(img, nid, &ret->st);

	for (size_t len; r == 0 && *path; path += len) {
		path += strspn(path, "/");
		len = strcspn(path, "/");
		if (len == 0)
			break;
		if (!S_ISDIR(ret->st.mode))
			return -ENOENT;
		last |= (ret->st.flags & EROFS_I_OPAQUE) != 0;
		r = erofs_image_lookup(img, &ret->st, path, len, &nid);
		if (r == -ENOENT)
			return last ? -ENOENT : 0;
		if (r == 0)
			r = erofs_image_inode(img, nid, &ret->st);
		if (r == 0 && S_ISCHR(ret->st.mode) && ret->st.rdev_major == 0 &&
		    ret->st.rdev_minor == 0)
			return -ENOENT;
	}
	if (r < 0)
		return r;
	*ret_last = last || (ret->st.flags & EROFS_I_OPAQUE) != 0;
	ret->from = i;
	ret->nid = nid;
	return 1;
}

/* What the union of the layers below @below has at @path. -ENOENT. */
static int find_below(const struct als_layer *l, size_t below, const char *path, struct found *ret)
{
	char *link cleanup_free = NULL;
	bool have = false;

	while (below-- > 0) {
		struct found f;
		bool last = false;
		int r = find_in(l, below, path, &f, &last);

		if (r == -ENOENT)
			break;
		if (r < 0)
			return r;
		if (r == 0)
			continue;
		if (f.st.flags & EROFS_I_LINK) { /* further down, under another name */
			free(link);
			link = NULL;
			r = erofs_image_link_target(image_of(l, below), &f.st, &link);
			if (r < 0)
				return r;
			path = link;
			continue;
		}
		/* a directory that is there by its entries alone looks as it does below */
		if (have && !S_ISDIR(f.st.mode))
			break;
		*ret = f;
		have = true;
		if (last || !S_ISDIR(f.st.mode) || !(f.st.flags & EROFS_I_IMPLIED))
			break;
	}
	return have ? 0 : -ENOENT;
}

static int borrow(struct als_layer *l, uint64_t nid, const struct found *f)
{
	if (l->n_borrowed == l->cap_borrowed) {
		size_t cap = l->cap_borrowed ? 2 * l->cap_borrowed : 16;
		struct borrowed *v = reallocarray(l->borrowed, cap, sizeof(*v));

		if (!v)
			return -ENOMEM;
		l->borrowed = v;
		l->cap_borrowed = cap;
	}
	l->borrowed[l->n_borrowed++] = (struct borrowed){.nid = nid, .from = f->from, .at = f->nid};
	return 0;
}

static int compare_borrowed(const void *a, const void *b)
{
	const struct borrowed *x = a, *y = b;

	return x->nid < y->nid ? -1 : x->nid > y->nid;
}

/* ---- one walk of the layer when it is opened ---- */

struct directory {
	uint64_t nid;
	char *path;
};

struct walk {
	struct als_layer *l;
	const struct erofs_image *img;
	struct directory *todo;
	size_t n, cap;
	struct strbuf path; /* of the directory at hand */
};

static int add_id(struct ids *s, uint32_t id)
{
	size_t lo = 0, hi = s->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->v[mid] < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo < s->n && s->v[lo] == id)
		return 0;
	if (s->n == s->cap) {
		size_t cap = s->cap ? 2 * s->cap : 8;
		uint32_t *v = reallocarray(s->v, cap, sizeof(*v));

		if (!v)
			return -ENOMEM;
		s->v = v;
		s->cap = cap;
	}
	memmove(s->v + lo + 1, s->v + lo, (s->n - lo) * sizeof(*s->v));
	s->v[lo] = id;
	s->n++;
	return 0;
}

static int push_directory(struct walk *w, uint64_t nid, const char *path)
{
	char *copy;

	if (w->n >= erofs_image_inodes(w->img)) /* no tree has more */
		return -EUCLEAN;
	if (w->n == w->cap) {
		size_t cap = w->cap ? 2 * w->cap : 64;
		struct directory *v = reallocarray(w->todo, cap, sizeof(*v));

		if (!v)
			return -ENOMEM;
		w->todo = v;
		w->cap = cap;
	}
	copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	w->todo[w->n++] = (struct directory){.nid = nid, .path = copy};
	return 0;
}

static int look_at(struct walk *w, uint64_t nid, const char *path)
{
	char *target cleanup_free = NULL;
	struct found f;
	struct erofs_stat st;
	int r = erofs_image_inode(w->img, nid, &st);

	if (r < 0)
		return r;
	if (st.flags & EROFS_I_LINK) {
		r = erofs_image_link_target(w->img, &st, &target);
		if (r == 0)
			r = find_below(w->l, w->l->n - 1, target, &f);
		if (r == 0)
			r = borrow(w->l, nid, &f);
		if (r < 0)
			return r == -ENOENT ? -EUCLEAN : r; /* a pull sees to it that it is there */
		st = f.st;
	} else if (S_ISDIR(st.mode) && st.flags & EROFS_I_IMPLIED && !(st.flags & EROFS_I_OPAQUE)) {
		r = find_below(w->l, w->l->n - 1, path, &f);
		if (r == 0 && S_ISDIR(f.st.mode)) {
			r = borrow(w->l, nid, &f);
			st.uid = f.st.uid;
			st.gid = f.st.gid;
		}
		if (r < 0 && r != -ENOENT)
			return r;
	}
	r = add_id(&w->l->uids, st.uid);
	if (r == 0)
		r = add_id(&w->l->gids, st.gid);
	if (r == 0 && S_ISDIR(st.mode))
		r = push_directory(w, nid, path);
	return r;
}

static int walk_entry(void *ctx, const char *name, size_t len, uint64_t nid, unsigned int type,
		      uint64_t next)
{
	struct walk *w = ctx;
	size_t before = w->path.len;
	int r = strbuf_addc(&w->path, '/');

	(void)type;
	(void)next;
	if (r == 0)
		r = strbuf_add(&w->path, name, len);
	if (r == 0)
		r = look_at(w, nid, w->path.s);
	strbuf_truncate(&w->path, before);
	return r;
}

static int walk_layer(struct als_layer *l)
{
	struct walk w = {.l = l, .img = image_of(l, l->n - 1), .path = STRBUF_INIT};
	int r = look_at(&w, erofs_image_root(w.img), "");

	for (size_t i = 0; r == 0 && i < w.n; i++) {
		struct erofs_stat st;

		strbuf_reset(&w.path);
		r = strbuf_adds(&w.path, w.todo[i].path);
		if (r == 0)
			r = erofs_image_inode(w.img, w.todo[i].nid, &st);
		if (r == 0)
			r = erofs_image_readdir(w.img, &st, 0, walk_entry, &w);
	}
	for (size_t i = 0; i < w.n; i++)
		free(w.todo[i].path);
	free(w.todo);
	strbuf_release(&w.path);
	if (r == 0 && l->n_borrowed > 0)
		qsort(l->borrowed, l->n_borrowed, sizeof(*l->borrowed), compare_borrowed);
	return r;
}

int als_layer_open(struct als_layers *a, const char (*ids)[65], size_t n, struct als_layer **ret,
		   struct err *err)
{
	struct als_layer *l = calloc(1, sizeof(*l));
	int r = 0;

	if (!l)
		return err_set(err, -ENOMEM, "open layer");
	l->all = a;
	l->stack = calloc(n, sizeof(struct opened *));
	if (!l->stack) {
		free(l);
		return err_set(err, -ENOMEM, "open layer");
	}
	(void)pthread_mutex_lock(&a->lock);
	for (; l->n < n && r == 0; l->n += r == 0)
		r = open_one(a, ids[l->n], &l->stack[l->n], err);
	(void)pthread_mutex_unlock(&a->lock);
	if (r == 0) {
		r = walk_layer(l);
		if (r < 0)
			(void)err_set(err, r, "layer %s", ids[n - 1]);
	}
	if (r < 0) {
		als_layer_close(l);
		return r;
	}
	*ret = l;
	return 0;
}

void als_layer_close(struct als_layer *l)
{
	if (!l)
		return;
	(void)pthread_mutex_lock(&l->all->lock);
	for (size_t i = 0; i < l->n; i++)
		close_one(l->all, l->stack[i]);
	(void)pthread_mutex_unlock(&l->all->lock);
	free(l->stack);
	free(l->borrowed);
	free(l->uids.v);
	free(l->gids.v);
	free(l);
}

/* ---- what it looks like ---- */

/* Where the object's own properties are. */
static int locate(const struct als_layer *l, uint64_t nid, struct found *ret)
{
	const struct borrowed key = {.nid = nid},
			      *b = l->n_borrowed ? bsearch(&key, l->borrowed, l->n_borrowed,
							   sizeof(key), compare_borrowed)
						 : NULL;

	ret->from = b ? b->from : l->n - 1;
	ret->nid = b ? b->at : nid;
	return erofs_image_inode(image_of(l, ret->from), ret->nid, &ret->st);
}

uint64_t als_layer_root(const struct als_layer *l)
{
	return erofs_image_root(image_of(l, l->n - 1));
}

int als_layer_lookup(const struct als_layer *l, uint64_t dir, const char *name, uint64_t *ret)
{
	const struct erofs_image *img = image_of(l, l->n - 1);
	struct erofs_stat st;
	int r = erofs_image_inode(img, dir, &st);

	return r < 0 ? r : erofs_image_lookup(img, &st, name, strlen(name), ret);
}

int als_layer_stat(const struct als_layer *l, uint64_t nid, struct stat *ret)
{
	struct ovl_obj o = {.layer = NULL};
	struct found f;
	int r = locate(l, nid, &f);

	if (r < 0)
		return r;
	o.layer = l->stack[f.from]->layer;
	o.nid = f.nid;
	r = ovl_lower_stat(&o, ret);
	if (r < 0)
		return r;
	ret->st_ino = nid;
	if (l->all->ids.mapped) {
		ret->st_uid = ovl_idmap_show(&l->all->ids.uids, ret->st_uid);
		ret->st_gid = ovl_idmap_show(&l->all->ids.gids, ret->st_gid);
	}
	return 0;
}

struct list {
	als_dir_fn fn;
	void *ctx;
};

static int list_one(void *ctx, const char *name, size_t len, uint64_t nid, unsigned int type,
		    uint64_t next)
{
	const struct list *l = ctx;
	char text[256];

	if (len >= sizeof(text))
		return -EUCLEAN;
	memcpy(text, name, len);
	text[len] = '\0';
	return l->fn(l->ctx, text, nid, type, next);
}

int als_layer_readdir(const struct als_layer *l, uint64_t dir, uint64_t pos, als_dir_fn fn,
		      void *ctx)
{
	const struct erofs_image *img = image_of(l, l->n - 1);
	struct list list = {.fn = fn, .ctx = ctx};
	struct erofs_stat st;
	int r = erofs_image_inode(img, dir, &st);

	return r < 0 ? r : erofs_image_readdir(img, &st, pos, list_one, &list);
}

ssize_t als_layer_readlink(const struct als_layer *l, uint64_t nid, char *buf, size_t size)
{
	struct ovl_obj o = {.layer = l->stack[l->n - 1]->layer};
	struct found f;
	int r = locate(l, nid, &f);

	o.layer = r < 0 ? o.layer : l->stack[f.from]->layer;
	o.nid = f.nid;
	return r < 0 ? r : ovl_lower_readlink(&o, buf, size);
}

/* Of a file system that an ordinary user mounts the kernel's overlayfs reads other marks. */
static const char *opaque_mark(const struct als_layer *l)
{
	return l->all->ids.mapped ? "user.overlay.opaque" : "trusted.overlay.opaque";
}

static bool is_opaque(const struct als_layer *l, uint64_t nid)
{
	struct erofs_stat st;

	return erofs_image_inode(image_of(l, l->n - 1), nid, &st) == 0 && S_ISDIR(st.mode) &&
	       (st.flags & EROFS_I_OPAQUE);
}

/*
 * A file's capabilities are meant for root of who uses the layer: kernels outside of the first
 * user namespace take only those that say whose (capabilities(7), version 3).
 */
static ssize_t own_capabilities(const struct als_layer *l, void *buf, ssize_t len, size_t size)
{
	struct vfs_ns_cap_data cap;

	if (!l->all->ids.mapped || len != (ssize_t)XATTR_CAPS_SZ_2)
		return len;
	memcpy(&cap, buf, XATTR_CAPS_SZ_2);
	if ((le32toh(cap.magic_etc) & VFS_CAP_REVISION_MASK) != VFS_CAP_REVISION_2)
		return len;
	cap.magic_etc = htole32((le32toh(cap.magic_etc) & ~(uint32_t)VFS_CAP_REVISION_MASK) |
				VFS_CAP_REVISION_3);
	cap.rootid = htole32(ovl_idmap_show(&l->all->ids.uids, 0));
	if (size < sizeof(cap))
		return -ERANGE;
	memcpy(buf, &cap, sizeof(cap));
	return (ssize_t)sizeof(cap);
}

#define CAPABILITIES "security.capability"

ssize_t als_layer_getxattr(const struct als_layer *l, uint64_t nid, const char *name, void *buf,
			   size_t size)
{
	struct ovl_obj o = {.layer = NULL};
	char caps[sizeof(struct vfs_ns_cap_data)];
	struct found f;
	ssize_t n;
	int r;

	if (strcmp(name, opaque_mark(l)) == 0) {
		if (!is_opaque(l, nid))
			return -ENODATA;
		if (size > 0)
			memcpy(buf, "y", 1);
		return 1;
	}
	r = locate(l, nid, &f);
	if (r < 0)
		return r;
	o.layer = l->stack[f.from]->layer;
	o.nid = f.nid;
	if (strcmp(name, CAPABILITIES) == 0) {
		n = ovl_lower_getxattr(&o, name, caps, sizeof(caps));
		if (n > 0)
			n = own_capabilities(l, caps, n, sizeof(caps));
		if (n > 0 && size > 0 && (size_t)n > size)
			return -ERANGE;
		if (n > 0 && size > 0)
			memcpy(buf, caps, (size_t)n);
		return n;
	}
	n = ovl_lower_getxattr(&o, name, buf, size);
	if (n > 0 && size > 0 && l->all->ids.mapped &&
	    strncmp(name, "system.posix_acl_", strlen("system.posix_acl_")) == 0)
		r = ovl_idmap_acl(&l->all->ids.uids, &l->all->ids.gids, buf, (size_t)n, false);
	return r < 0 ? r : n;
}

ssize_t als_layer_listxattr(const struct als_layer *l, uint64_t nid, char *buf, size_t size)
{
	struct ovl_obj o = {.layer = NULL};
	const char *mark = opaque_mark(l);
	size_t more = is_opaque(l, nid) ? strlen(mark) + 1 : 0;
	struct found f;
	ssize_t n;
	int r = locate(l, nid, &f);

	if (r < 0)
		return r;
	if (size > 0 && more > size)
		return -ERANGE;
	o.layer = l->stack[f.from]->layer;
	o.nid = f.nid;
	if (size > 0 && more == size) /* 0 asks for the length */
		n = ovl_lower_listxattr(&o, NULL, 0) > 0 ? -ERANGE : 0;
	else
		n = ovl_lower_listxattr(&o, size > 0 ? buf + more : NULL,
					size > 0 ? size - more : 0);
	if (n < 0)
		return n;
	if (size > 0)
		memcpy(buf, mark, more);
	return n + (ssize_t)more;
}

int als_layer_data(const struct als_layer *l, uint64_t nid, struct ovl_data *ret)
{
	struct ovl_obj o = {.layer = NULL};
	struct found f;
	int r = locate(l, nid, &f);

	if (r < 0)
		return r;
	if (!S_ISREG(f.st.mode))
		return S_ISDIR(f.st.mode) ? -EISDIR : -EINVAL;
	o.layer = l->stack[f.from]->layer;
	o.nid = f.nid;
	return ovl_lower_open(&o, ret);
}

size_t als_layer_uids(const struct als_layer *l, const uint32_t **ret)
{
	*ret = l->uids.v;
	return l->uids.n;
}

size_t als_layer_gids(const struct als_layer *l, const uint32_t **ret)
{
	*ret = l->gids.v;
	return l->gids.n;
}
