/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "erofs/image.h"
#include "overlay/lazy.h"
#include "overlay/lower.h"
#include "overlay/whiteout.h"

/* An EROFS index as a layer: everything but file contents comes from the mapped image, without a
 * call. */

static int index_inode(struct ovl_obj *o, struct erofs_stat *ret)
{
	return erofs_image_inode(o->layer->image, o->nid, ret);
}

static void fill_stat(const struct erofs_stat *es, struct stat *st)
{
	memset(st, 0, sizeof(*st));
	st->st_ino = es->nid;
	st->st_mode = es->mode;
	st->st_nlink = es->nlink;
	st->st_uid = es->uid;
	st->st_gid = es->gid;
	st->st_rdev = makedev(es->rdev_major, es->rdev_minor);
	st->st_size = (off_t)es->size;
	st->st_blksize = 4096;
	st->st_blocks = (blkcnt_t)((es->size + 511) / 512);
	st->st_mtim.tv_sec = es->mtime;
	st->st_mtim.tv_nsec = es->mtime_nsec;
	st->st_atim = st->st_ctim = st->st_mtim;
}

static int index_lookup(struct ovl_obj *dir, const char *name, struct ovl_found *ret)
{
	struct erofs_stat es;
	struct ovl_obj *o;
	uint64_t nid;
	int r = index_inode(dir, &es);

	if (r < 0)
		return r;
	r = erofs_image_lookup(dir->layer->image, &es, name, strlen(name), &nid);
	if (r < 0)
		return r;
	r = erofs_image_inode(dir->layer->image, nid, &es);
	if (r < 0)
		return r;
	memset(ret, 0, sizeof(*ret));
	fill_stat(&es, &ret->st);
	if (ovl_stat_is_whiteout(&ret->st)) {
		ret->flags = OVL_FOUND_WHITEOUT;
		return 0;
	}
	/* What only a merge can resolve has no place in a mounted stack. */
	if (es.flags & EROFS_I_LINK)
		return -EUCLEAN;
	if (es.flags & EROFS_I_OPAQUE)
		ret->flags |= OVL_FOUND_OPAQUE;
	o = ovl_obj_new(dir->layer);
	if (!o)
		return -ENOMEM;
	o->nid = nid;
	ret->obj = o;
	return 0;
}

static int index_stat(struct ovl_obj *o, struct stat *ret)
{
	struct erofs_stat es;
	int r = index_inode(o, &es);

	if (r < 0)
		return r;
	fill_stat(&es, ret);
	return 0;
}

struct index_dir_ctx {
	const struct erofs_image *image;
	ovl_lower_dir_fn fn;
	void *ctx;
};

static int index_entry(void *ctx, const char *name, size_t len, uint64_t nid, unsigned int type,
		       uint64_t next)
{
	const struct index_dir_ctx *c = ctx;
	struct ovl_lower_entry e = {.ino = nid, .type = type, .next = next};
	char buf[256];
	struct erofs_stat es;

	if (len >= sizeof(buf))
		return -EUCLEAN;
	memcpy(buf, name, len);
	buf[len] = '\0';
	e.name = buf;
	if (type == DT_CHR && erofs_image_inode(c->image, nid, &es) == 0)
		e.whiteout = es.rdev_major == 0 && es.rdev_minor == 0;
	return c->fn(c->ctx, &e);
}

static int index_readdir(struct ovl_obj *dir, uint64_t pos, ovl_lower_dir_fn fn, void *ctx)
{
	struct index_dir_ctx c = {.image = dir->layer->image, .fn = fn, .ctx = ctx};
	struct erofs_stat es;
	int r = index_inode(dir, &es);

	if (r < 0)
		return r;
	return erofs_image_readdir(dir->layer->image, &es, pos, index_entry, &c);
}

static ssize_t index_readlink(struct ovl_obj *o, char *buf, size_t size)
{
	struct erofs_stat es;
	const char *target;
	int r = index_inode(o, &es);

	if (r == 0)
		r = erofs_image_symlink(o->layer->image, &es, &target);
	if (r < 0)
		return r;
	if (size > es.size)
		size = es.size;
	memcpy(buf, target, size);
	return (ssize_t)size;
}

/* The name spaces that the kernel knows: of another one nothing can ever be there. */
static bool is_known_space(const char *name)
{
	static const char *const spaces[] = {"user.", "trusted.", "security.", "system.posix_acl_"};

	for (size_t i = 0; i < sizeof(spaces) / sizeof(*spaces); i++)
		if (strncmp(name, spaces[i], strlen(spaces[i])) == 0)
			return true;
	return false;
}

static ssize_t index_getxattr(struct ovl_obj *o, const char *name, void *buf, size_t size)
{
	struct erofs_stat es;
	const void *value;
	size_t len;
	int r = is_known_space(name) ? index_inode(o, &es) : -EOPNOTSUPP;

	if (r == 0)
		r = erofs_image_getxattr(o->layer->image, &es, name, &value, &len);
	if (r < 0)
		return r;
	if (size == 0)
		return (ssize_t)len;
	if (len > size)
		return -ERANGE;
	memcpy(buf, value, len);
	return (ssize_t)len;
}

struct index_list_ctx {
	char *buf;
	size_t size, len;
};

static int index_list_one(void *ctx, const char *name, const void *value, size_t value_len)
{
	struct index_list_ctx *c = ctx;
	size_t n = strlen(name) + 1;

	(void)value;
	(void)value_len;
	if (c->size > 0) {
		if (n > c->size - c->len)
			return -ERANGE;
		memcpy(c->buf + c->len, name, n);
	}
	c->len += n;
	return 0;
}

static ssize_t index_listxattr(struct ovl_obj *o, char *buf, size_t size)
{
	struct index_list_ctx c = {.buf = buf, .size = size};
	struct erofs_stat es;
	int r = index_inode(o, &es);

	if (r == 0)
		r = erofs_image_xattr_each(o->layer->image, &es, index_list_one, &c);
	return r < 0 ? r : (ssize_t)c.len;
}

static int index_open(struct ovl_obj *o, struct ovl_data *ret)
{
	struct erofs_extent x;
	struct erofs_stat es;
	int r = index_inode(o, &es);

	if (r < 0)
		return r;
	*ret = (struct ovl_data){.fd = -1, .size = es.size};
	if (es.size == 0)
		return 0;
	r = erofs_image_map(o->layer->image, &es, 0, &x);
	if (r < 0)
		return r;
	if (x.device == 0)
		return 0;
	/* Our own indexes keep a file in one piece (docs/FORMAT.md); nothing else is read. */
	if (x.len < es.size || x.device > erofs_image_device_count(o->layer->image))
		return -EUCLEAN;
	ret->fd = o->layer->device_fds[x.device - 1];
	ret->lazy = o->layer->lazies[x.device - 1];
	ret->tag = o->layer->tags[x.device - 1];
	ret->off = x.offset;
	return 0;
}

static int index_statvfs(struct ovl_layer *l, struct statvfs *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->f_bsize = ret->f_frsize = 512;
	ret->f_files = erofs_image_inodes(l->image);
	ret->f_namemax = 255;
	return 0;
}

static void index_release(struct ovl_obj *o)
{
	free(o);
}

static void index_close(struct ovl_layer *l)
{
	size_t n = l->image ? erofs_image_device_count(l->image) : 0;

	for (size_t i = 0; l->device_fds && i < n; i++)
		if (l->device_fds[i] >= 0)
			(void)close(l->device_fds[i]);
	free(l->device_fds);
	for (size_t i = 0; l->lazies && i < n; i++)
		ovl_lazy_close(l->lazies[i]);
	free(l->lazies);
	free(l->tags);
	erofs_image_close(l->image);
}

static const struct ovl_layer_ops index_ops = {
	.lookup = index_lookup,
	.stat = index_stat,
	.readdir = index_readdir,
	.readlink = index_readlink,
	.getxattr = index_getxattr,
	.listxattr = index_listxattr,
	.open = index_open,
	.statvfs = index_statvfs,
	.release = index_release,
	.close = index_close,
};

int ovl_data_need(const struct ovl_data *d, uint64_t off, uint64_t len)
{
	if (!d->lazy || off >= d->size)
		return 0;
	return ovl_lazy_need(d->lazy, d->off + off, len < d->size - off ? len : d->size - off);
}

bool ovl_layer_is_lazy(const struct ovl_layer *l)
{
	size_t n = l->image ? erofs_image_device_count(l->image) : 0;

	for (size_t i = 0; l->lazies && i < n; i++)
		if (l->lazies[i])
			return true;
	return false;
}

/* Which of the devices are not all here yet. A side file always is. */
static int open_lazies(struct ovl_layer *l, const char *path, struct err *err)
{
	size_t n = erofs_image_device_count(l->image);
	char *absolute cleanup_free = realpath(path, NULL);
	int r = 0;

	l->lazies = calloc(n ? n : 1, sizeof(*l->lazies));
	l->tags = calloc(n ? n : 1, sizeof(*l->tags));
	if (!l->lazies || !l->tags || !absolute)
		return err_set(err, absolute ? -ENOMEM : -errno, "open '%s'", path);
	for (size_t i = 1; i <= n && r == 0; i++) {
		const struct erofs_device *dev = erofs_image_device(l->image, i);
		const struct erofs_device *before = erofs_image_device(l->image, i - 1);

		if (before && strcmp(before->tag, dev->tag) == 0)
			continue;
		l->tags[i - 1] = dev->tag;
		r = ovl_lazy_open(absolute, dev->tag, &l->lazies[i - 1], err);
	}
	return r;
}

int ovl_layer_open_index(int fd_in, const char *path, struct ovl_layer *l, struct err *err)
{
	cleanup_close int fd = fd_in;
	int r;

	l->ops = &index_ops;
	l->streams = true;
	r = erofs_image_open(fd, &l->image, err);
	if (r < 0)
		return r;
	r = erofs_open_devices(l->image, path, &l->device_fds, err);
	if (r == 0)
		r = open_lazies(l, path, err);
	if (r < 0)
		return r;
	l->root = ovl_obj_new(l);
	if (!l->root)
		return err_set(err, -ENOMEM, "open index");
	l->root->nid = erofs_image_root(l->image);
	return 0;
}
