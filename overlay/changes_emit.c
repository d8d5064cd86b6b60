/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "overlay/changes_private.h"
#include "overlay/mark.h"
#include "overlay/whiteout.h"

/* Behind the prefix of the union's own names: stored by a user of a mount, not by the union. */
#define ESCAPE	   "overlay."
#define TARGET_MAX 4096
#define OWN_ORIGIN "snap.origin"

int ovl_change_failed(struct ovl_emitter *e, int r, const char *what, struct err *err)
{
	return err_set(err, r, "%s '/%s'", what, e->path.s);
}

void ovl_xattrs_release(struct ovl_xattrs *x)
{
	for (size_t i = 0; i < x->n_values; i++)
		free(x->values[i]);
	free(x->values);
	free(x->v);
	free(x->names);
	free(x->redirect);
	*x = (struct ovl_xattrs){.n = 0};
}

static bool starts_with(const char *s, const char *prefix)
{
	while (*prefix)
		if (*s++ != *prefix++)
			return false;
	return true;
}

/* Length of the prefix of the union's own names; 0: it has none. */
static size_t own_prefix(const char *name)
{
	static const char *const prefixes[] = {OVL_XATTR_TRUSTED, OVL_XATTR_USER};

	for (size_t i = 0; i < 2; i++)
		if (starts_with(name, prefixes[i]))
			return strlen(prefixes[i]);
	return 0;
}

static int read_mark(const struct ovl_source *from, const char *name, const char *mark,
		     struct ovl_xattrs *x)
{
	char *value cleanup_free = NULL;
	size_t len;
	int r;

	if (strcmp(mark, "metacopy") == 0)
		x->metacopy = true;
	if (strcmp(mark, "opaque") != 0 && strcmp(mark, "redirect") != 0)
		return 0;
	r = ovl_source_xattr(from, name, &value, &len);
	if (r)
		return r;
	if (strcmp(mark, "opaque") == 0) {
		/* The kernel also writes "x": whiteouts as files in here, nothing hidden. */
		x->opaque |= len == 1 && value[0] == 'y';
	} else if (len > 0 && !x->redirect) {
		x->redirect = steal_ptr(&value);
	}
	return 0;
}

static int compare_xattrs(const void *a, const void *b)
{
	const struct ovl_change_xattr *x = a, *y = b;

	return strcmp(x->name, y->name);
}

static int read_one(const struct ovl_source *from, char *name, struct ovl_xattrs *x)
{
	size_t own = own_prefix(name), len;
	int r;

	if (own && !starts_with(name + own, ESCAPE))
		return read_mark(from, name, name + own, x);
	/* What another machine's policy said of a file is no part of an image. */
	if ((!own && ovl_xattr_is_private(name)) || strcmp(name, "security.selinux") == 0)
		return 0;
	r = ovl_source_xattr(from, name, &x->values[x->n_values], &len);
	/* Removed since it was listed. */
	if (r == -ENODATA)
		return 0;
	if (r)
		return r;
	if (own)
		memmove(name + own, name + own + strlen(ESCAPE),
			strlen(name + own + strlen(ESCAPE)) + 1);
	x->v[x->n++] = (struct ovl_change_xattr){
		.name = name, .value = x->values[x->n_values], .len = len};
	x->n_values++;
	return 0;
}

int ovl_xattrs_read(const struct ovl_source *from, struct ovl_xattrs *ret)
{
	struct ovl_xattrs x cleanup_xattrs = {.n = 0};
	size_t len = 0, count = 0;
	int r = ovl_source_xattr(from, NULL, &x.names, &len);

	if (r == -ENOTSUP)
		r = 0;
	if (r)
		return r;
	for (size_t i = 0; i < len; i++)
		count += x.names[i] == '\0';
	x.v = calloc(count + 1, sizeof(*x.v));
	x.values = calloc(count + 1, sizeof(*x.values));
	if (!x.v || !x.values)
		return -ENOMEM;
	for (size_t at = 0, n; at < len && !r; at += n) {
		n = strlen(x.names + at) + 1;
		r = read_one(from, x.names + at, &x);
	}
	if (r)
		return r;
	if (x.n > 1)
		qsort(x.v, x.n, sizeof(*x.v), compare_xattrs);
	*ret = x;
	x = (struct ovl_xattrs){.n = 0};
	return 0;
}

bool ovl_xattrs_equal(const struct ovl_xattrs *a, const struct ovl_xattrs *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (strcmp(a->v[i].name, b->v[i].name) != 0 || a->v[i].len != b->v[i].len ||
		    memcmp(a->v[i].value, b->v[i].value, a->v[i].len) != 0)
			return false;
	return true;
}

/* An inode with several names, by where it is; its first path. */
struct inode {
	uint64_t space, ino;
	char *path;
};

static int compare_inodes(const void *a, const void *b)
{
	const struct inode *x = a, *y = b;

	if (x->space != y->space)
		return x->space < y->space ? -1 : 1;
	return (x->ino > y->ino) - (x->ino < y->ino);
}

static void inode_free(void *p)
{
	struct inode *i = p;

	free(i->path);
	free(i);
}

void ovl_emitter_release(struct ovl_emitter *e)
{
	tdestroy(e->inodes, inode_free);
	e->inodes = NULL;
	strbuf_release(&e->path);
}

/* The path that the same inode was sent with; NULL for the first, which is noted. */
static int first_path(struct ovl_emitter *e, uint64_t space, uint64_t ino, const char **ret)
{
	struct inode *i = calloc(1, sizeof(*i));
	struct inode **found;

	if (!i)
		return -ENOMEM;
	*i = (struct inode){.space = space, .ino = ino, .path = strdup(e->path.s)};
	found = i->path ? tsearch(i, &e->inodes, compare_inodes) : NULL;
	if (!found) {
		inode_free(i);
		return -ENOMEM;
	}
	*ret = *found == i ? NULL : (*found)->path;
	if (*found != i)
		inode_free(i);
	return 0;
}

static int read_target(const struct ovl_source *from, char *buf, size_t size)
{
	ssize_t n = from->lower ? ovl_lower_readlink(from->lower, buf, size - 1)
				: ovl_sys_readlink(from->fd, from->name, buf, size - 1);

	if (n < 0)
		return (int)n;
	buf[n] = '\0';
	return 0;
}

/* The number a container sees: the one it had below, or one of the upper's own. */
static uint64_t shown_number(const struct ovl_emitter *e, const struct ovl_source *from,
			     const struct stat *st)
{
	char buf[24];
	uint64_t number;
	ssize_t n;

	if (from->lower)
		return e->base + ovl_lower_number(from->lower->layer->batch, st->st_ino);
	n = ovl_sys_getxattr(from->fd, from->name, OVL_XATTR_TRUSTED OWN_ORIGIN, buf, sizeof(buf));
	if (n <= 0)
		n = ovl_sys_getxattr(from->fd, from->name, OVL_XATTR_USER OWN_ORIGIN, buf,
				     sizeof(buf));
	if (n > 0 && ovl_mark_number(buf, (size_t)n, &number) == 0)
		return e->base + number;
	return e->base + ovl_lower_number(e->upper_batch, st->st_ino);
}

static int open_data(const struct ovl_source *from, const struct stat *st, struct ovl_data *ret)
{
	struct ovl_obj *lower = from->data ? from->data : from->lower;

	if (lower) {
		int r = ovl_lower_open(lower, ret);

		/* A copy without data may have been cut off since. */
		if (r == 0 && ret->size > (uint64_t)st->st_size)
			ret->size = (uint64_t)st->st_size;
		return r < 0 ? r : ovl_data_need(ret, 0, ret->size);
	}
	*ret = (struct ovl_data){.fd = -1, .size = (uint64_t)st->st_size};
	ret->fd = ovl_sys_open(from->fd, from->name, O_RDONLY | O_NONBLOCK, 0);
	if (ret->fd < 0)
		return ret->fd;
	ret->owned = true;
	return 0;
}

int ovl_emit_mark(struct ovl_emitter *e, enum ovl_change_kind kind, struct err *err)
{
	const struct ovl_change change = {.kind = kind, .path = e->path.s, .data_fd = -1};

	return e->fn(e->ctx, &change, err);
}

int ovl_emit_object(struct ovl_emitter *e, enum ovl_change_kind kind, const struct ovl_source *from,
		    const struct stat *st, const struct ovl_xattrs *xattrs, struct err *err)
{
	struct ovl_change c = {.kind = kind,
			       .path = e->path.s,
			       .st = *st,
			       .xattrs = xattrs->v,
			       .n_xattrs = xattrs->n,
			       .data_fd = -1};
	struct ovl_data data = {.fd = -1};
	char target[TARGET_MAX + 1];
	uint64_t space = 0;
	int r = 0;

	/* No path of a layer is longer (docs/SEMANTICS.md, "layers"). */
	if (e->path.len >= PATH_MAX)
		return ovl_change_failed(e, -ENAMETOOLONG, "layer entry", err);
	c.st.st_ino = shown_number(e, from, st);
	if (!S_ISDIR(st->st_mode) && st->st_nlink > 1) {
		/* 0 is the upper's file system; a lower layer is told by its batch. */
		space = from->lower ? (uint64_t)from->lower->layer->batch + 1 : 0;
		r = first_path(e, space, st->st_ino, &c.hardlink);
	}
	if (!r && S_ISLNK(st->st_mode)) {
		r = read_target(from, target, sizeof(target));
		c.target = target;
	}
	if (!r && S_ISREG(st->st_mode) && !c.hardlink) {
		r = open_data(from, st, &data);
		c.data_fd = data.fd;
		c.data_off = (off_t)data.off;
	}
	if (r)
		return ovl_change_failed(e, r, "read", err);
	r = e->fn(e->ctx, &c, err);
	ovl_data_release(&data);
	return r;
}
