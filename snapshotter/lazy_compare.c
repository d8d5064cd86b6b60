/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "erofs/image.h"
#include "snapshotter/lazy_table.h"

#define COMPARE_BUFFER (1u << 17)

/* A layer as its table of contents has it beside the one that its tar gave. */
struct side {
	struct erofs_image *img;
	int data;
};

struct compare {
	struct side a, b; /* the table's, the tar's */
	uint8_t *buf;
	struct err *err;
};

static int differs(struct compare *c, const char *what)
{
	return err_msg(c->err, -EBADMSG, "its table of contents and its tar differ in %s", what);
}

static int read_side(const struct side *s, const struct erofs_stat *st, uint64_t pos, uint8_t *to,
		     size_t len)
{
	struct erofs_extent e;
	int r = erofs_image_map(s->img, st, pos, &e);

	if (r < 0)
		return r;
	if (e.device != 1 || e.len < len)
		return -EBADMSG;
	return io_pread_full(s->data, to, len, (off_t)e.offset);
}

static int compare_data(struct compare *c, const struct erofs_stat *a, const struct erofs_stat *b)
{
	for (uint64_t pos = 0; pos < a->size; pos += COMPARE_BUFFER) {
		size_t n =
			a->size - pos < COMPARE_BUFFER ? (size_t)(a->size - pos) : COMPARE_BUFFER;
		int r = read_side(&c->a, a, pos, c->buf, n);

		if (r == 0)
			r = read_side(&c->b, b, pos, c->buf + COMPARE_BUFFER, n);
		if (r == -EBADMSG)
			return differs(c, "where contents are");
		if (r < 0)
			return err_set(c->err, r, "read layer");
		if (memcmp(c->buf, c->buf + COMPARE_BUFFER, n) != 0)
			return differs(c, "contents");
	}
	return 0;
}

/* eStargz rounds times to seconds. */
static bool same_time(const struct erofs_stat *a, const struct erofs_stat *b)
{
	if (a->mtime_nsec)
		return a->mtime == b->mtime && a->mtime_nsec == b->mtime_nsec;
	return a->mtime == b->mtime || (b->mtime_nsec && a->mtime == b->mtime + 1);
}

struct xattrs {
	struct compare *c;
	const struct erofs_stat *other;
	size_t n;
	bool look;
};

static int on_xattr(void *ctx, const char *name, const void *value, size_t len)
{
	struct xattrs *x = ctx;
	const void *theirs;
	size_t their_len;

	x->n++;
	if (!x->look)
		return 0;
	return erofs_image_getxattr(x->c->b.img, x->other, name, &theirs, &their_len) == 0 &&
			       len == their_len && memcmp(value, theirs, len) == 0
		       ? 0
		       : differs(x->c, "xattrs");
}

static int compare_xattrs(struct compare *c, const struct erofs_stat *a, const struct erofs_stat *b)
{
	struct xattrs x = {.c = c, .other = b, .look = true}, y = {.c = c};
	int r = erofs_image_xattr_each(c->a.img, a, on_xattr, &x);

	if (r == 0)
		r = erofs_image_xattr_each(c->b.img, b, on_xattr, &y);
	return r == 0 && x.n != y.n ? differs(c, "xattrs") : r;
}

static int compare_links(struct compare *c, const struct erofs_stat *a, const struct erofs_stat *b)
{
	char *x cleanup_free = NULL, *y cleanup_free = NULL;
	const char *p = NULL, *q = NULL;
	int r = 0;

	if (S_ISLNK(a->mode)) {
		r = erofs_image_symlink(c->a.img, a, &p);
		if (r == 0)
			r = erofs_image_symlink(c->b.img, b, &q);
		if (r == 0 && memcmp(p, q, (size_t)a->size) != 0)
			return differs(c, "targets");
	} else if (a->flags & EROFS_I_LINK) {
		r = erofs_image_link_target(c->a.img, a, &x);
		if (r == 0)
			r = erofs_image_link_target(c->b.img, b, &y);
		if (r == 0 && strcmp(x, y) != 0)
			return differs(c, "links");
	}
	return r < 0 ? err_set(c->err, r, "read index") : 0;
}

struct dir {
	struct compare *c;
	const struct erofs_stat *other; /* NULL: only counts */
	size_t n;
};

static int compare_inodes(struct compare *c, uint64_t a_nid, uint64_t b_nid);

static int on_name(void *ctx, const char *name, size_t len, uint64_t nid, unsigned int type,
		   uint64_t next)
{
	struct dir *d = ctx;
	uint64_t other;

	(void)type;
	(void)next;
	d->n++;
	if (!d->other)
		return 0;
	if (erofs_image_lookup(d->c->b.img, d->other, name, len, &other) < 0)
		return differs(d->c, "names");
	return compare_inodes(d->c, nid, other);
}

/* Recursive: as deep as the budget "depth", which is at most 4096. */
static int compare_inodes(struct compare *c, uint64_t a_nid, uint64_t b_nid)
{
	struct erofs_stat a, b;
	int r = erofs_image_inode(c->a.img, a_nid, &a);

	if (r == 0)
		r = erofs_image_inode(c->b.img, b_nid, &b);
	if (r < 0)
		return err_set(c->err, r, "read index");
	if (a.mode != b.mode || a.uid != b.uid || a.gid != b.gid || a.nlink != b.nlink ||
	    a.rdev_major != b.rdev_major || a.rdev_minor != b.rdev_minor || a.flags != b.flags ||
	    (!S_ISDIR(a.mode) && a.size != b.size) || !same_time(&a, &b))
		return differs(c, "metadata");
	r = compare_xattrs(c, &a, &b);
	if (r == 0)
		r = compare_links(c, &a, &b);
	if (r == 0 && S_ISREG(a.mode))
		r = compare_data(c, &a, &b);
	if (r == 0 && S_ISDIR(a.mode)) {
		struct dir x = {.c = c, .other = &b}, y = {.c = c};

		r = erofs_image_readdir(c->a.img, &a, 0, on_name, &x);
		if (r == 0)
			r = erofs_image_readdir(c->b.img, &b, 0, on_name, &y);
		if (r == 0 && x.n != y.n)
			r = differs(c, "names");
	}
	return r;
}

int lazy_table_compare(int a, int a_data, int b, int b_data, struct err *err)
{
	struct compare c = {.a.data = a_data, .b.data = b_data, .err = err};
	int r = erofs_image_open(a, &c.a.img, err);

	if (r == 0)
		r = erofs_image_open(b, &c.b.img, err);
	c.buf = malloc(2 * COMPARE_BUFFER);
	if (r == 0 && !c.buf)
		r = err_set(err, -ENOMEM, "compare");
	if (r == 0 && erofs_image_device_count(c.b.img) > 1)
		r = err_msg(err, -EBADMSG,
			    "its tar has sparse files, of which its table knows nothing");
	if (r == 0)
		r = compare_inodes(&c, erofs_image_root(c.a.img), erofs_image_root(c.b.img));
	free(c.buf);
	erofs_image_close(c.a.img);
	erofs_image_close(c.b.img);
	return r;
}
