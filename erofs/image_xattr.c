/* SPDX-License-Identifier: Apache-2.0 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "erofs/image_private.h"

#define NAME_MAX_LEN (sizeof("system.posix_acl_default") + 255)
#define TRUSTED	     4

struct xattr {
	const char *suffix; /* not NUL-terminated */
	const char *value;
	uint32_t size; /* of the whole entry, padded */
	uint16_t value_len;
	uint8_t index, suffix_len;
};

/* The entry at @off, which must end at or before @end. */
static int get_xattr(const struct erofs_image *img, uint64_t off, uint64_t end, struct xattr *ret)
{
	const struct erofs_disk_xattr *d;
	uint32_t used;

	if (off > end || end - off < sizeof(*d))
		return -EUCLEAN;
	d = image_at(img, off, sizeof(*d));
	if (!d)
		return -EUCLEAN;
	ret->index = d->name_index;
	ret->suffix_len = d->name_len;
	ret->value_len = le16toh(d->value_size);
	used = (uint32_t)sizeof(*d) + ret->suffix_len + ret->value_len;
	if (used > end - off || !image_at(img, off, used))
		return -EUCLEAN;
	ret->suffix = img->map + off + sizeof(*d);
	ret->value = ret->suffix + ret->suffix_len;
	ret->size = (used + 3) & ~3u;
	if (!erofs_xattr_prefix(ret->index) || memchr(ret->suffix, '\0', ret->suffix_len))
		return -EUCLEAN;
	return 0;
}

static bool suffix_is(const struct xattr *x, const char *s)
{
	return x->suffix_len == strlen(s) && memcmp(x->suffix, s, x->suffix_len) == 0;
}

/* 0 for an xattr that the user sees. */
static uint16_t mark_of(const struct xattr *x)
{
	if (x->index != TRUSTED)
		return 0;
	if (suffix_is(x, EROFS_OPAQUE_SUFFIX))
		return EROFS_I_OPAQUE;
	if (suffix_is(x, EROFS_IMPLIED_SUFFIX))
		return EROFS_I_IMPLIED;
	if (suffix_is(x, EROFS_LINK_SUFFIX))
		return EROFS_I_LINK;
	return 0;
}

typedef int (*raw_fn)(void *ctx, const struct xattr *x);

/* Every xattr, marks included: the shared ones first. */
static int each_raw(const struct erofs_image *img, const struct erofs_stat *st, raw_fn fn,
		    void *ctx)
{
	const struct erofs_disk_xattr_body *body = image_at(img, st->xattr_off, st->xattr_len);
	uint64_t off = st->xattr_off + sizeof(*body), end = st->xattr_off + st->xattr_len;
	struct xattr x;
	int r;

	if (st->xattr_len == 0)
		return 0;
	if (!body || st->xattr_len < sizeof(*body) ||
	    st->xattr_len - sizeof(*body) < body->shared_count * 4u)
		return -EUCLEAN;
	for (uint32_t i = 0; i < body->shared_count; i++, off += 4) {
		uint32_t id;

		memcpy(&id, img->map + off, 4);
		r = get_xattr(img, img->xattrs + (uint64_t)le32toh(id) * 4, img->size, &x);
		if (r == 0)
			r = fn(ctx, &x);
		if (r)
			return r;
	}
	while (off < end) {
		r = get_xattr(img, off, end, &x);
		if (r == 0)
			r = fn(ctx, &x);
		if (r)
			return r;
		off += x.size;
	}
	return 0;
}

static int add_mark(void *ctx, const struct xattr *x)
{
	*(uint16_t *)ctx |= mark_of(x);
	return 0;
}

int image_read_marks(const struct erofs_image *img, const struct erofs_stat *st, uint16_t *ret)
{
	uint16_t flags = 0;
	int r = each_raw(img, st, add_mark, &flags);

	if (r < 0)
		return r;
	/* A mark on an inode of the wrong type means nothing, and must not confuse a merge. */
	if (!S_ISDIR(st->mode))
		flags &= (uint16_t) ~(EROFS_I_OPAQUE | EROFS_I_IMPLIED);
	if (!S_ISREG(st->mode))
		flags &= (uint16_t)~EROFS_I_LINK;
	*ret = flags;
	return 0;
}

struct find {
	const char *suffix;
	uint8_t index;
	struct xattr found;
};

static int match(void *ctx, const struct xattr *x)
{
	struct find *f = ctx;

	if (x->index != f->index || !suffix_is(x, f->suffix))
		return 0;
	f->found = *x;
	return 1;
}

static int find_raw(const struct erofs_image *img, const struct erofs_stat *st, const char *name,
		    struct xattr *ret)
{
	struct find f = {0};
	int r;

	if (st->xattr_len == 0 || erofs_xattr_split(name, &f.index, &f.suffix) < 0)
		return -ENODATA;
	r = each_raw(img, st, match, &f);
	if (r <= 0)
		return r < 0 ? r : -ENODATA;
	*ret = f.found;
	return 0;
}

int erofs_image_getxattr(const struct erofs_image *img, const struct erofs_stat *st,
			 const char *name, const void **ret_value, size_t *ret_len)
{
	struct xattr x;
	int r = find_raw(img, st, name, &x);

	if (r < 0)
		return r;
	if (mark_of(&x))
		return -ENODATA;
	*ret_value = x.value;
	*ret_len = x.value_len;
	return 0;
}

struct each {
	erofs_image_xattr_fn fn;
	void *ctx;
};

static int call_each(void *ctx, const struct xattr *x)
{
	const struct each *e = ctx;
	const char *prefix = erofs_xattr_prefix(x->index);
	size_t len = strlen(prefix);
	char name[NAME_MAX_LEN + 1];

	if (mark_of(x))
		return 0;
	memcpy(name, prefix, len);
	memcpy(name + len, x->suffix, x->suffix_len);
	name[len + x->suffix_len] = '\0';
	return e->fn(e->ctx, name, x->value, x->value_len);
}

int erofs_image_xattr_each(const struct erofs_image *img, const struct erofs_stat *st,
			   erofs_image_xattr_fn fn, void *ctx)
{
	struct each e = {.fn = fn, .ctx = ctx};

	return each_raw(img, st, call_each, &e);
}

int erofs_image_link_target(const struct erofs_image *img, const struct erofs_stat *st, char **ret)
{
	struct xattr x;
	char *s;
	int r;

	if (!(st->flags & EROFS_I_LINK))
		return -EINVAL;
	r = find_raw(img, st, EROFS_MARK_LINK, &x);
	if (r < 0)
		return r;
	if (x.value_len == 0 || x.value_len > EROFS_TARGET_MAX ||
	    memchr(x.value, '\0', x.value_len))
		return -EUCLEAN;
	s = strndup(x.value, x.value_len);
	if (!s)
		return -ENOMEM;
	*ret = s;
	return 0;
}
