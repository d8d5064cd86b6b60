/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "overlay/ops.h"
#include "overlay/quota.h"
#include "overlay/record.h"

/*
 * Open files. A handle belongs to a node, not to where its data happened to be: one opened for
 * reading on a lower file reads the copy as soon as there is one.
 */
struct ovl_file {
	struct ovl_node *node; /* a reference */
	struct ovl_data lower; /* what it was opened on; stays open for readers under way */
	pthread_mutex_t lock; /* one thread opens the copy */
	atomic_int fd; /* in the upper; -1: not yet */
	atomic_uint pushes; /* fs->pushes that ->lower and ->fd are of */
	int flags; /* that ->fd is opened with */
	bool writable;
	atomic_uint
		uses; /* the kernel closes after the last answer: said so for the language, too */
};

/* What of the flags is for the object below; the rest is done by the kernel, or means nothing to it
 * (its own flag for exec among them, which openat2 refuses). */
#define FLAGS_BELOW (O_ACCMODE | O_SYNC | O_DSYNC)

static int open_upper(struct ovl_fs *fs, struct ovl_node *n, int flags)
{
	struct ovl_at at cleanup_at = OVL_AT_INIT;
	int r;

	flags &= FLAGS_BELOW;
	if (fs->volatile_)
		flags &= ~(O_SYNC | O_DSYNC);
	pthread_rwlock_rdlock(&fs->tree);
	r = ovl_at_get_locked(fs, n, &at);
	if (r == 0)
		r = *at.name ? ovl_sys_open(at.fd, at.name, flags | O_NONBLOCK, 0)
			     : ovl_sys_reopen(at.fd, flags | O_NONBLOCK);
	pthread_rwlock_unlock(&fs->tree);
	return r;
}

int ovl_file_new(struct ovl_fs *fs, struct ovl_node *n, int fd, struct ovl_file **ret)
{
	struct ovl_file *f = calloc(1, sizeof(*f));

	if (!f) {
		if (fd >= 0)
			(void)close(fd);
		return -ENOMEM;
	}
	f->node = ovl_node_ref(fs, n);
	f->lower.fd = -1;
	atomic_init(&f->fd, fd);
	atomic_init(&f->pushes, fs->pushes);
	f->flags = fd >= 0 ? fcntl(fd, F_GETFL) & FLAGS_BELOW : O_RDONLY;
	f->writable = (f->flags & O_ACCMODE) != O_RDONLY;
	pthread_mutex_init(&f->lock, NULL);
	*ret = f;
	return 0;
}

/* The data of a file whose own are not in the upper; of one that is there as far as it is long. */
static int open_lower(struct ovl_fs *fs, struct ovl_node *n, struct ovl_data *ret)
{
	struct stat st;
	int r = ovl_lower_open(ovl_node_data(n), ret);

	if (r < 0 || !ovl_node_has(n, OVL_NODE_UPPER))
		return r;
	r = ovl_getattr(fs, n, &st);
	if (r == 0 && ret->size > (uint64_t)st.st_size)
		ret->size = (uint64_t)st.st_size;
	if (r < 0)
		ovl_data_release(ret);
	return r;
}

int ovl_open(struct ovl_fs *fs, struct ovl_node *n, int flags, struct ovl_file **ret)
{
	bool write = (flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC;
	struct ovl_data lower = {.fd = -1};
	int fd = -1, r = 0;

	if (!S_ISREG(n->type))
		return S_ISDIR(n->type) ? -EISDIR : S_ISLNK(n->type) ? -ELOOP : -ENXIO;
	if (write)
		r = ovl_check_protected(n, flags & O_APPEND && !(flags & O_TRUNC)
						   ? OVL_NODE_IMMUTABLE
						   : OVL_NODE_IMMUTABLE | OVL_NODE_APPEND);
	if (write && r == 0)
		r = ovl_copy_up(fs, n, flags & O_TRUNC ? 0 : OVL_COPY_ALL);
	if (r < 0)
		return r;
	if (ovl_node_has_data(n))
		r = fd = open_upper(fs, n, flags);
	else
		r = open_lower(fs, n, &lower);
	if (r >= 0 && flags & O_TRUNC) {
		struct ovl_quota_change change = OVL_QUOTA_CHANGE_INIT;

		r = ovl_quota_begin(fs, n, fd, 0, 0, &change);
		if (r == 0)
			r = ovl_sys_truncate(fd, 0);
		ovl_quota_end(&change);
		if (r < 0)
			(void)close(fd);
	}
	if (r < 0)
		return r;
	r = ovl_file_new(fs, n, fd, ret);
	if (r < 0)
		ovl_data_release(&lower);
	else
		(*ret)->lower = lower;
	return r;
}

static void end_use(struct ovl_file **f)
{
	(void)atomic_fetch_add_explicit(&(*f)->uses, 1, memory_order_acq_rel);
}
/* Behind everything that a function does with @f: an addition, so that the end sees all of them. */
#define USE(f) struct ovl_file *use_ __attribute__((cleanup(end_use), unused)) = (f)

/*
 * libfuse has read from it for the last answer, and behind that answer the kernel asks to close
 * it: an order that ThreadSanitizer does not see. By its name the tests tell it so.
 */
static __attribute__((noinline)) void close_answered(int fd)
{
	(void)close(fd);
}

void ovl_close(struct ovl_fs *fs, struct ovl_file *f)
{
	int fd = atomic_load(&f->fd);

	(void)atomic_load_explicit(&f->uses, memory_order_acquire);
	if (fd >= 0)
		close_answered(fd);
	ovl_data_release(&f->lower);
	pthread_mutex_destroy(&f->lock);
	ovl_node_unref(fs, f->node);
	free(f);
}

/* After a push: what was the upper is a layer. With f->lock. */
static int open_again_locked(struct ovl_fs *fs, struct ovl_file *f)
{
	struct ovl_data lower = {.fd = -1};
	int fd = -1, r, old = atomic_load(&f->fd);

	if (ovl_node_has_data(f->node))
		r = fd = open_upper(fs, f->node, f->flags);
	else
		r = open_lower(fs, f->node, &lower);
	if (r < 0)
		return r;
	/* Nobody else has them: no request lasts over a push, and those after it come here first.
	 */
	if (old >= 0)
		(void)close(old);
	ovl_data_release(&f->lower);
	f->lower = lower;
	atomic_store_explicit(&f->fd, fd, memory_order_release);
	return 0;
}

static int follow_push(struct ovl_fs *fs, struct ovl_file *f)
{
	int r = 0;

	if (atomic_load_explicit(&f->pushes, memory_order_acquire) == fs->pushes)
		return 0;
	pthread_mutex_lock(&f->lock);
	if (atomic_load(&f->pushes) != fs->pushes)
		r = open_again_locked(fs, f);
	if (r == 0)
		atomic_store_explicit(&f->pushes, fs->pushes, memory_order_release);
	pthread_mutex_unlock(&f->lock);
	return r;
}

/* The copy, by which the node has data. */
static int open_copy(struct ovl_fs *fs, struct ovl_file *f)
{
	int fd;

	pthread_mutex_lock(&f->lock);
	fd = atomic_load(&f->fd);
	if (fd < 0) {
		fd = open_upper(fs, f->node, f->flags);
		if (fd >= 0)
			atomic_store_explicit(&f->fd, fd, memory_order_release);
	}
	pthread_mutex_unlock(&f->lock);
	return fd;
}

/* The fd in the upper to read from; -1: the lower one is still right. */
static int read_fd(struct ovl_fs *fs, struct ovl_file *f, int *ret)
{
	int fd, r = follow_push(fs, f);

	if (r < 0)
		return r;
	fd = atomic_load_explicit(&f->fd, memory_order_acquire);
	if (fd < 0 && ovl_node_has_data(f->node)) {
		fd = open_copy(fs, f);
		if (fd < 0)
			return fd;
	}
	*ret = fd;
	return 0;
}

int ovl_read_map(struct ovl_fs *fs, struct ovl_file *f, off_t off, size_t len, struct ovl_span *ret)
{
	USE(f);
	uint64_t left;
	int fd, r = read_fd(fs, f, &fd);

	if (r < 0)
		return r;
	if (off < 0)
		return -EINVAL;
	*ret = (struct ovl_span){.fd = fd, .off = off, .len = len};
	if (fd >= 0)
		return 0;
	/* In the lower layer: its size does not change. */
	left = (uint64_t)off < f->lower.size ? f->lower.size - (uint64_t)off : 0;
	if (ret->len > left)
		ret->len = (size_t)left;
	ret->fd = f->lower.fd;
	ret->off = (off_t)(f->lower.off + f->lower.size - left); /* past the end: at the end */
	ovl_record_read(fs, f->node, &f->lower, (uint64_t)off, ret->len);
	return ovl_data_need(&f->lower, (uint64_t)off, ret->len);
}

void ovl_caps_get(int fd, struct ovl_caps *ret)
{
	ret->len = ovl_sys_getxattr(fd, "", OVL_XATTR_CAPS, ret->value, sizeof(ret->value));
}

int ovl_caps_put(int fd, const struct ovl_caps *caps)
{
	return caps->len <= 0 ? 0
			      : ovl_sys_setxattr(fd, "", OVL_XATTR_CAPS, caps->value,
						 (size_t)caps->len, 0);
}

int ovl_write_begin(struct ovl_fs *fs, struct ovl_file *f, off_t off, size_t len,
		    struct ovl_quota_change *ret)
{
	int fd = ovl_write_fd(fs, f);

	return fd < 0 ? fd : ovl_quota_begin(fs, f->node, fd, off, len, ret);
}

int ovl_file_fd(struct ovl_file *f)
{
	return atomic_load(&f->fd);
}

int ovl_write_fd(struct ovl_fs *fs, struct ovl_file *f)
{
	USE(f);
	int fd, r = f->writable ? follow_push(fs, f) : -EBADF;

	if (r < 0)
		return r;
	fd = atomic_load(&f->fd);
	if (fd < 0) {
		r = ovl_copy_up(fs, f->node, OVL_COPY_ALL);
		fd = r < 0 ? r : open_copy(fs, f);
	}
	return fd;
}

int ovl_fsync(struct ovl_fs *fs, struct ovl_file *f, bool data_only)
{
	USE(f);
	int fd, r = read_fd(fs, f, &fd);

	if (r == 0 && fd < 0 && !fs->volatile_ && ovl_node_has(f->node, OVL_NODE_UPPER)) {
		/* Its data are below, but not what else was changed. */
		cleanup_close int own = open_upper(fs, f->node, O_RDONLY);

		return own < 0 ? own : ovl_sys_fsync(own, data_only);
	}
	if (r < 0 || fd < 0 || fs->volatile_)
		return r;
	return ovl_sys_fsync(fd, data_only);
}

int ovl_fallocate(struct ovl_fs *fs, struct ovl_file *f, int mode, off_t off, off_t len)
{
	bool makes_room = !(
		mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE));
	size_t want = makes_room && len > 0 ? (size_t)len : 0;
	struct ovl_quota_change c = OVL_QUOTA_CHANGE_INIT;
	int r = ovl_check_protected(f->node, mode & ~FALLOC_FL_KEEP_SIZE
						     ? OVL_NODE_IMMUTABLE | OVL_NODE_APPEND
						     : OVL_NODE_IMMUTABLE);

	if (r == 0)
		r = ovl_write_begin(fs, f, want ? off : 0, want, &c);
	if (r == 0 && c.len < want)
		r = -ENOSPC;
	if (r == 0)
		r = ovl_sys_fallocate(c.fd, mode, off, len);
	ovl_quota_end(&c);
	return r;
}

/* SEEK_DATA and SEEK_HOLE in the part of a device file that is this file. */
static int seek_lower(const struct ovl_data *d, off_t off, int whence, off_t *ret)
{
	off_t r;

	if (off < 0 || (uint64_t)off >= d->size)
		return -ENXIO;
	/* what is not here yet is a hole in the layer's file and none of this one */
	if (d->fd < 0 || d->lazy) {
		if (d->lazy) {
			*ret = whence == SEEK_DATA ? off : (off_t)d->size;
			return 0;
		}
		if (whence == SEEK_DATA)
			return -ENXIO;
		*ret = off;
		return 0;
	}
	r = ovl_sys_lseek(d->fd, (off_t)d->off + off, whence);
	if (r < 0)
		return (int)r;
	r -= (off_t)d->off;
	if ((uint64_t)r >= d->size) {
		if (whence == SEEK_DATA)
			return -ENXIO;
		r = (off_t)d->size;
	}
	*ret = r;
	return 0;
}

int ovl_lseek(struct ovl_fs *fs, struct ovl_file *f, off_t off, int whence, off_t *ret)
{
	USE(f);
	int fd, r = read_fd(fs, f, &fd);
	off_t at;

	if (r < 0)
		return r;
	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return -EINVAL;
	if (fd < 0)
		return seek_lower(&f->lower, off, whence, ret);
	at = ovl_sys_lseek(fd, off, whence);
	if (at < 0)
		return (int)at;
	*ret = at;
	return 0;
}

/* Where no file system does it for us. */
static ssize_t copy_by_hand(int in, off_t in_off, int out, off_t out_off, size_t len)
{
	char buf[8192];
	ssize_t n, done = 0;

	/* A part is an answer too, and no request may last for ever. */
	if (len > 64 << 20)
		len = 64 << 20;

	while (len > 0) {
		n = pread(in, buf, len < sizeof(buf) ? len : sizeof(buf), in_off + done);
		if (n <= 0)
			return done > 0 || n == 0 ? done : -errno;
		n = pwrite(out, buf, (size_t)n, out_off + done);
		if (n < 0)
			return done > 0 ? done : -errno;
		done += n;
		len -= (size_t)n;
	}
	return done;
}

ssize_t ovl_copy_range(struct ovl_fs *fs, struct ovl_file *in, off_t in_off, struct ovl_file *out,
		       off_t out_off, size_t len)
{
	struct ovl_quota_change c = OVL_QUOTA_CHANGE_INIT;
	struct ovl_span from;
	int r = ovl_read_map(fs, in, in_off, len, &from);
	ssize_t n;

	if (r < 0)
		return r;
	/* Zeros are not worth a way of their own: the kernel falls back to read and write. */
	if (from.fd < 0)
		return -EOPNOTSUPP;
	if (from.len == 0)
		return 0;
	r = ovl_write_begin(fs, out, out_off, from.len, &c);
	if (r < 0)
		return r;
	n = ovl_sys_copy_range(from.fd, from.off, c.fd, out_off, c.len);
	if (n == -EXDEV || n == -EINVAL || n == -ENOSYS || n == -EOPNOTSUPP)
		n = copy_by_hand(from.fd, from.off, c.fd, out_off, c.len);
	ovl_quota_end(&c);
	return n;
}
