/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "overlay/lower.h"
#include "overlay/mark.h"
#include "overlay/whiteout.h"

/* A directory as a layer, with the marks of the kernel's overlayfs, of the layer (AUFS) form and of
 * fuse-overlayfs. */

static const void *obj_parent(const void *key)
{
	return ((const struct ovl_obj *)key)->parent;
}

static const char *obj_name(const void *key)
{
	return ((const struct ovl_obj *)key)->name;
}

static const struct ovl_real_chain obj_chain = {.parent = obj_parent, .name = obj_name};

static int dir_fd(struct ovl_obj *dir, struct ovl_dirfd **ret)
{
	return ovl_real_open(dir->layer->fds, &obj_chain, dir, dir->layer->fd, ret);
}

/* (fd, name) of any object: an entry of its parent; the root is its own fd. */
static int obj_at(struct ovl_obj *o, struct ovl_dirfd **ret, const char **ret_name)
{
	*ret_name = o->parent ? o->name : "";
	return dir_fd(o->parent ? o->parent : o, ret);
}

/* A file ".wh.NAME" beside NAME. */
static bool has_wh_file(int fd, const char *name)
{
	char wh[OVL_WH_PREFIX_LEN + 256];
	struct stat st;
	size_t len = strlen(name);

	if (len > 255 - OVL_WH_PREFIX_LEN)
		return false;
	memcpy(wh, OVL_WH_PREFIX, OVL_WH_PREFIX_LEN);
	memcpy(wh + OVL_WH_PREFIX_LEN, name, len + 1);
	return ovl_sys_stat(fd, wh, &st) == 0;
}

/* What the mark of a layer that says "elsewhere" says, of a directory or of a file without data. */
static int read_redirect(const struct ovl_layer *l, int fd, const char *name, struct ovl_found *f)
{
	char xattr[64], value[4096];
	ssize_t n;

	snprintf(xattr, sizeof(xattr), "%sredirect", l->marks);
	n = ovl_sys_getxattr(fd, name, xattr, value, sizeof(value) - 1);
	if (n <= 0)
		return 0;
	value[n] = '\0';
	f->redirect = strdup(value);
	return f->redirect ? 0 : -ENOMEM;
}

/* The marks of a directory: opaque in any form, redirect. One listxattr says that there are none.
 */
static int read_dir_marks(const struct ovl_layer *l, int fd, const char *name, struct ovl_found *f)
{
	static const char *const opaque[] = {OVL_XATTR_TRUSTED "opaque", OVL_XATTR_USER "opaque",
					     "user.fuseoverlayfs.opaque"};
	cleanup_close int dir = -1;
	struct stat st;
	char value;
	ssize_t n;
	int r;

	n = ovl_sys_listxattr(fd, name, NULL, 0);
	if (n < 0 && n != -ENOTSUP)
		return (int)n;
	for (size_t i = 0; n > 0 && i < sizeof(opaque) / sizeof(*opaque); i++)
		if (ovl_sys_getxattr(fd, name, opaque[i], &value, 1) == 1 && value == 'y')
			f->flags |= OVL_FOUND_OPAQUE;
	r = n > 0 ? read_redirect(l, fd, name, f) : 0;
	if (r < 0 || f->flags & OVL_FOUND_OPAQUE)
		return r;
	dir = ovl_sys_open(fd, name, O_PATH | O_DIRECTORY, 0);
	if (dir < 0)
		return dir;
	if (ovl_sys_stat(dir, OVL_WH_OPAQUE, &st) == 0 || has_wh_file(fd, name))
		f->flags |= OVL_FOUND_OPAQUE;
	return 0;
}

/* Of a regular file. An empty one has no data anywhere. */
static int read_file_marks(const struct ovl_layer *l, int fd, const char *name, struct ovl_found *f)
{
	char xattr[64];
	int r;

	snprintf(xattr, sizeof(xattr), "%smetacopy", l->marks);
	r = f->st.st_size > 0 ? ovl_metacopy_read(fd, name, xattr) : 0;
	if (r <= 0)
		return r;
	f->flags |= OVL_FOUND_METACOPY;
	return read_redirect(l, fd, name, f);
}

/* A mark of one letter, "y". */
static bool has_mark(const struct ovl_layer *l, int fd, const char *name, const char *mark)
{
	char xattr[64], value;

	snprintf(xattr, sizeof(xattr), "%s%s", l->marks, mark);
	return ovl_sys_getxattr(fd, name, xattr, &value, 1) == 1 && value == 'y';
}

/* The number that an object of a frozen layer was given when it was copied up; 0: none. */
static int read_origin(const struct ovl_layer *l, int fd, const char *name, uint64_t *ret)
{
	char xattr[64], value[24];
	ssize_t n;

	snprintf(xattr, sizeof(xattr), "%ssnap.origin", l->marks);
	n = ovl_sys_getxattr(fd, name, xattr, value, sizeof(value));
	if (n < 0)
		return n == -ENODATA || n == -ENOTSUP || n == -ERANGE ? 0 : (int)n;
	if (ovl_mark_number(value, (size_t)n, ret) < 0)
		*ret = 0;
	return 0;
}

/* Of a frozen layer: names that the union has besides those in here (overlay/push_links.c). */
static void read_nlink(const struct ovl_layer *l, int fd, const char *name, struct stat *st)
{
	char xattr[64], value[24];
	ssize_t n;

	if (!l->frozen || S_ISDIR(st->st_mode))
		return;
	snprintf(xattr, sizeof(xattr), "%ssnap.nlink", l->marks);
	n = ovl_sys_getxattr(fd, name, xattr, value, sizeof(value));
	if (n > 0)
		st->st_nlink = (nlink_t)ovl_mark_nlink(value, (size_t)n, st->st_nlink);
}

static int dir_lookup(struct ovl_obj *dir, const char *name, struct ovl_found *ret)
{
	struct ovl_found f cleanup_found = OVL_FOUND_INIT;
	cleanup_dirfd struct ovl_dirfd *d = NULL;
	struct ovl_obj *o;
	const char *hidden;
	size_t hidden_len;
	int r;

	if (ovl_wh_classify(name, strlen(name), &hidden, &hidden_len) != OVL_WH_NONE)
		return -ENOENT;
	r = dir_fd(dir, &d);
	if (r < 0)
		return r;
	r = ovl_sys_stat(d->fd, name, &f.st);
	if (r == -ENOENT && has_wh_file(d->fd, name)) {
		f.flags = OVL_FOUND_WHITEOUT;
		r = 0;
	} else if (r == 0 && ovl_stat_is_whiteout(&f.st)) {
		f.flags = OVL_FOUND_WHITEOUT;
	}
	if (r < 0)
		return r;
	if (!(f.flags & OVL_FOUND_WHITEOUT)) {
		if (S_ISDIR(f.st.st_mode))
			r = read_dir_marks(dir->layer, d->fd, name, &f);
		else if (S_ISREG(f.st.st_mode))
			r = read_file_marks(dir->layer, d->fd, name, &f);
		if (r < 0)
			return r;
		if (dir->layer->frozen)
			r = read_origin(dir->layer, d->fd, name, &f.origin);
		if (r < 0)
			return r;
		/* As it was when this was an upper: in a pure directory nothing has one. */
		if (f.origin > 0 && !has_mark(dir->layer, d->fd, "", "impure"))
			f.origin = 0;
		if (f.origin > 0)
			read_nlink(dir->layer, d->fd, name, &f.st);
		ovl_override_read(d->fd, name, dir->layer->override, &f.st);
		o = ovl_obj_new(dir->layer);
		if (!o)
			return -ENOMEM;
		f.obj = o;
		o->name = strdup(name);
		o->parent = ovl_obj_ref(dir);
		if (!o->name)
			return -ENOMEM;
	}
	*ret = f;
	f.obj = NULL;
	f.redirect = NULL;
	return 0;
}

static int dir_stat(struct ovl_obj *o, struct stat *ret)
{
	cleanup_dirfd struct ovl_dirfd *d = NULL;
	const char *name;
	int r = obj_at(o, &d, &name);

	if (r == 0)
		r = ovl_sys_stat(d->fd, name, ret);
	if (r == 0) {
		read_nlink(o->layer, d->fd, name, ret);
		ovl_override_read(d->fd, name, o->layer->override, ret);
	}
	return r;
}

static int open_dir(struct ovl_obj *dir, DIR **ret)
{
	cleanup_dirfd struct ovl_dirfd *d = NULL;
	int r = dir_fd(dir, &d);

	return r < 0 ? r : ovl_sys_opendir(d->fd, ".", ret);
}

/* @impure: of a frozen layer, entries may have an origin. */
static int emit(const struct ovl_layer *l, bool impure, int fd, const struct dirent *de,
		ovl_lower_dir_fn fn, void *ctx)
{
	struct ovl_lower_entry e = {.name = de->d_name, .ino = de->d_ino, .type = de->d_type};
	const char *hidden;
	size_t hidden_len;
	struct stat st;
	int r = 0;

	switch (ovl_wh_classify(de->d_name, strlen(de->d_name), &hidden, &hidden_len)) {
	case OVL_WH_FILE:
		/* An entry of that name beside it counts; the mark is for lower layers then. */
		if (ovl_sys_stat(fd, hidden, &st) == 0)
			return 0;
		e.name = hidden;
		e.whiteout = true;
		return fn(ctx, &e);
	case OVL_WH_OPQ:
	case OVL_WH_META:
	case OVL_WH_BAD:
		return 0;
	case OVL_WH_NONE:
		break;
	}
	if (e.type == DT_CHR || e.type == DT_UNKNOWN) {
		if (ovl_sys_stat(fd, e.name, &st) < 0)
			return 0;
		e.whiteout = ovl_stat_is_whiteout(&st);
		e.type = IFTODT(st.st_mode);
	}
	if (impure && !e.whiteout)
		r = read_origin(l, fd, e.name, &e.origin);
	return r < 0 ? r : fn(ctx, &e);
}

static int dir_readdir(struct ovl_obj *dir, uint64_t pos, ovl_lower_dir_fn fn, void *ctx)
{
	const struct ovl_layer *l = dir->layer;
	cleanup_closedir DIR *d = NULL;
	struct dirent *de;
	bool impure = false;
	int r;

	if (pos != 0)
		return -EINVAL;
	r = open_dir(dir, &d);
	if (r == 0 && l->frozen)
		impure = has_mark(l, dirfd(d), "", "impure");
	while (r == 0) {
		errno = 0;
		de = readdir(d);
		if (!de)
			return -errno;
		if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0)
			r = emit(l, impure, dirfd(d), de, fn, ctx);
	}
	return r;
}

static ssize_t dir_readlink(struct ovl_obj *o, char *buf, size_t size)
{
	cleanup_dirfd struct ovl_dirfd *d = NULL;
	const char *name;
	int r = obj_at(o, &d, &name);

	return r < 0 ? r : ovl_sys_readlink(d->fd, name, buf, size);
}

static ssize_t dir_getxattr(struct ovl_obj *o, const char *xattr, void *buf, size_t size)
{
	cleanup_dirfd struct ovl_dirfd *d = NULL;
	const char *name;
	int r = obj_at(o, &d, &name);

	return r < 0 ? r : ovl_sys_getxattr(d->fd, name, xattr, buf, size);
}

static ssize_t dir_listxattr(struct ovl_obj *o, char *buf, size_t size)
{
	cleanup_dirfd struct ovl_dirfd *d = NULL;
	const char *name;
	int r = obj_at(o, &d, &name);

	return r < 0 ? r : ovl_sys_listxattr(d->fd, name, buf, size);
}

static int dir_open(struct ovl_obj *o, struct ovl_data *ret)
{
	cleanup_dirfd struct ovl_dirfd *d = NULL;
	struct stat st;
	const char *name;
	int fd, r = obj_at(o, &d, &name);

	if (r < 0)
		return r;
	fd = ovl_sys_open(d->fd, name, O_RDONLY | O_NONBLOCK, 0);
	if (fd < 0)
		return fd;
	r = ovl_sys_stat(fd, "", &st);
	if (r < 0) {
		(void)close(fd);
		return r;
	}
	*ret = (struct ovl_data){.fd = fd, .owned = true, .size = (uint64_t)st.st_size};
	return 0;
}

static int dir_fileattr(struct ovl_obj *o, unsigned int cmd, void *data)
{
	cleanup_dirfd struct ovl_dirfd *d = NULL;
	cleanup_close int fd = -1;
	const char *name;
	int r = obj_at(o, &d, &name);

	if (r == 0)
		r = fd = ovl_sys_open(d->fd, *name ? name : ".", O_RDONLY | O_NONBLOCK, 0);
	r = r < 0 ? r : ovl_sys_ioctl(fd, cmd, data);
	/* A layer may be on a file system that has none. */
	return r == -ENOTTY || r == -EOPNOTSUPP ? 0 : r;
}

static uint64_t dir_attributes(struct ovl_obj *o)
{
	cleanup_dirfd struct ovl_dirfd *d = NULL;
	const char *name;
	char xattr[64], value[32];
	uint64_t have;
	ssize_t n;

	if (obj_at(o, &d, &name) < 0)
		return 0;
	have = ovl_sys_attributes(d->fd, name);
	if (!o->layer->frozen)
		return have;
	snprintf(xattr, sizeof(xattr), "%sprotattr", o->layer->marks);
	n = ovl_sys_getxattr(d->fd, name, xattr, value, sizeof(value));
	return have | ovl_mark_protection(value, n > 0 ? (size_t)n : 0);
}

static int dir_statvfs(struct ovl_layer *l, struct statvfs *ret)
{
	return ovl_sys_statvfs(l->fd, ret);
}

static void dir_release(struct ovl_obj *o)
{
	/* A loop, not recursion: chains may be as deep as directories are. */
	for (;;) {
		struct ovl_obj *parent = o->parent;

		ovl_real_forget(o->layer->fds, o);
		free(o->name);
		free(o);
		if (!parent ||
		    atomic_fetch_sub_explicit(&parent->refs, 1, memory_order_acq_rel) != 1)
			return;
		o = parent;
	}
}

static void dir_close(struct ovl_layer *l)
{
	if (l->fd >= 0)
		(void)close(l->fd);
	if (l->lock_fd >= 0)
		(void)close(l->lock_fd);
}

static const struct ovl_layer_ops dir_ops = {
	.lookup = dir_lookup,
	.stat = dir_stat,
	.readdir = dir_readdir,
	.readlink = dir_readlink,
	.getxattr = dir_getxattr,
	.listxattr = dir_listxattr,
	.open = dir_open,
	.fileattr = dir_fileattr,
	.attributes = dir_attributes,
	.statvfs = dir_statvfs,
	.release = dir_release,
	.close = dir_close,
};

int ovl_layer_open_dir(int fd, struct ovl_layer *l, struct err *err)
{
	struct stat st;

	l->ops = &dir_ops;
	l->fd = fd;
	if (fstat(fd, &st) < 0)
		return err_set(err, -errno, "stat");
	l->dev = st.st_dev;
	l->override = ovl_override_find(fd);
	l->marks = ovl_marks_prefix();
	l->root = ovl_obj_new(l);
	return l->root ? 0 : err_set(err, -ENOMEM, "open directory");
}
