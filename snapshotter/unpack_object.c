/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "overlay/lower.h"
#include "overlay/sys.h"
#include "snapshotter/unpack_private.h"

void unpack_target_init(struct unpack_target *t)
{
	t->uid = geteuid();
	t->gid = getegid();
	t->root = t->uid == 0;
}

static int copy_data(const struct unpack_target *t, int fd, const struct erofs_stat *st)
{
	uint64_t pos = 0;
	int r = 0;

	while (r == 0 && pos < st->size) {
		struct erofs_extent e;

		r = erofs_image_map(t->img, st, pos, &e);
		if (r < 0)
			return r;
		if (e.len == 0 || e.device > erofs_image_device_count(t->img))
			return -EUCLEAN;
		if (e.device > 0)
			r = io_copy_range(t->devices[e.device - 1], (off_t)e.offset, fd, (off_t)pos,
					  e.len, true);
		pos += e.len;
	}
	/* a hole at the end */
	return r == 0 && ftruncate(fd, (off_t)st->size) < 0 ? -errno : r;
}

/* 1: the owner cannot be given, and is to be kept in an xattr. */
static int set_owner(const struct unpack_target *t, int fd, const struct erofs_stat *st)
{
	if (st->uid == t->uid && st->gid == t->gid)
		return 0;
	if (fchownat(fd, "", st->uid, st->gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	return errno == EPERM || errno == EINVAL ? 1 : -errno;
}

struct xattrs {
	const struct unpack_target *t;
	int fd;
	const char *failed;
};

static int set_xattr(void *ctx, const char *name, const void *value, size_t len)
{
	struct xattrs *x = ctx;
	int r = ovl_sys_setxattr(x->fd, "", name, value, len, 0);

	/* what an ordinary user cannot set, and what the file system does not have for anybody's */
	if (r == -EPERM && !x->t->root &&
	    (strncmp(name, "trusted.", 8) == 0 || strncmp(name, "security.", 9) == 0))
		return 0;
	if (r < 0)
		x->failed = name;
	return r;
}

static int set_times(int fd, const struct erofs_stat *st)
{
	const struct timespec mtime = {.tv_sec = st->mtime, .tv_nsec = st->mtime_nsec};
	const struct timespec ts[2] = {mtime, mtime};

	return ovl_sys_utimens(fd, "", ts);
}

/* Owner before xattrs and mode: chown takes capabilities and set-id bits away. */
int unpack_attributes(struct unpack_target *t, int fd, const struct erofs_stat *st, struct err *err)
{
	struct xattrs x = {.t = t, .fd = fd};
	mode_t mode = st->mode & 07777;
	int soft = set_owner(t, fd, st), r;
	char value[64];

	if (soft < 0)
		return err_set(err, soft, "chown");
	r = erofs_image_xattr_each(t->img, st, set_xattr, &x);
	if (r < 0)
		return err_set(err, r, "xattr '%s'", x.failed ? x.failed : "");
	if (soft) {
		(void)snprintf(value, sizeof(value), "%u:%u:0%o", st->uid, st->gid, mode);
		if (fsetxattr(fd, OVL_XATTR_OVERRIDE, value, strlen(value), 0) < 0)
			return err_set(err, -errno, "keep the owner");
		atomic_fetch_add(&t->soft_owners, 1);
		mode = (mode & 0777) | (S_ISDIR(st->mode) ? 0700 : 0600);
	}
	if (fchmod(fd, mode) < 0)
		return err_set(err, -errno, "chmod");
	r = set_times(fd, st);
	return r < 0 ? err_set(err, r, "set times") : 0;
}

int unpack_file(struct unpack_target *t, int dirfd, const char *name, const struct erofs_stat *st,
		struct err *err)
{
	int fd cleanup_close =
		openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int r;

	if (fd < 0)
		return err_set(err, -errno, "make file '%s'", name);
	r = copy_data(t, fd, st);
	if (r < 0)
		return err_set(err, r, "data of '%s'", name);
	atomic_fetch_add(&t->bytes, st->size);
	r = unpack_attributes(t, fd, st, err);
	return r < 0 ? err_wrap(err, r, "file '%s'", name) : 0;
}

bool unpack_is_left_out(const struct unpack_target *t, const struct erofs_stat *st)
{
	return !t->root && (S_ISCHR(st->mode) || S_ISBLK(st->mode));
}

static int make_symlink(const struct unpack_target *t, int dirfd, const char *name,
			const struct erofs_stat *st)
{
	char target[4096 + 1];
	const char *text;
	int r = erofs_image_symlink(t->img, st, &text);

	if (r < 0)
		return r;
	if (st->size >= sizeof(target))
		return -ENAMETOOLONG;
	memcpy(target, text, st->size);
	target[st->size] = '\0';
	return symlinkat(target, dirfd, name) < 0 ? -errno : 0;
}

/* What was made a moment ago, and nothing that was put in its place. */
static int open_made(const struct unpack_target *t, int dirfd, const char *name,
		     const struct erofs_stat *want)
{
	int fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == (want->mode & S_IFMT) &&
	    st.st_nlink == 1 && st.st_uid == t->uid)
		return fd;
	(void)close(fd);
	return -ESTALE;
}

int unpack_special(struct unpack_target *t, int dirfd, const char *name,
		   const struct erofs_stat *st, struct err *err)
{
	struct xattrs x = {.t = t};
	int fd cleanup_close = -1, r;

	if (unpack_is_left_out(t, st)) {
		atomic_fetch_add(&t->left_out, 1);
		return 0;
	}
	if (S_ISLNK(st->mode))
		r = make_symlink(t, dirfd, name, st);
	else
		r = mknodat(dirfd, name, (st->mode & S_IFMT) | 0600,
			    makedev(st->rdev_major, st->rdev_minor)) < 0
			    ? -errno
			    : 0;
	if (r < 0)
		return err_set(err, r, "make it");
	fd = open_made(t, dirfd, name, st);
	if (fd < 0)
		return err_set(err, fd, "open it");
	r = set_owner(t, fd, st); /* none of these can keep it elsewhere */
	x.fd = fd;
	if (r >= 0)
		r = erofs_image_xattr_each(t->img, st, set_xattr, &x);
	if (r >= 0 && !S_ISLNK(st->mode))
		r = ovl_sys_chmod(fd, "", st->mode & 07777);
	if (r >= 0)
		r = set_times(fd, st);
	return r < 0 ? err_set(err, r, "attributes") : 0;
}
