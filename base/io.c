/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

#define COPY_BUFFER (1u << 18)

int io_read_full(int fd, void *buf, size_t len)
{
	char *p = buf;

	while (len > 0) {
		ssize_t n = read(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int io_pread_full(int fd, void *buf, size_t len, off_t pos)
{
	char *p = buf;

	while (len > 0) {
		ssize_t n = pread(fd, p, len, pos);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA;
		p += n;
		pos += n;
		len -= (size_t)n;
	}
	return 0;
}

int io_write_full(int fd, const void *buf, size_t len)
{
	const char *p = buf;

	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int io_pwrite_full(int fd, const void *buf, size_t len, off_t pos)
{
	const char *p = buf;

	while (len > 0) {
		ssize_t n = pwrite(fd, p, len, pos);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		pos += n;
		len -= (size_t)n;
	}
	return 0;
}

static int open_resolved(int dirfd, const char *path, struct open_how *how)
{
	long fd;

	/* EAGAIN: a rename raced with the walk and the kernel could not tell (openat2(2)) */
	do
		fd = syscall(SYS_openat2, dirfd, path, how, sizeof(*how));
	while (fd < 0 && (errno == EAGAIN || errno == EINTR));
	return fd < 0 ? -errno : (int)fd;
}

int io_open_beneath(int dirfd, const char *path, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned int)(flags | O_CLOEXEC),
		.mode = (flags & (O_CREAT | __O_TMPFILE)) ? mode : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};

	return open_resolved(dirfd, path, &how);
}

int io_open_in_root(int root_fd, const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned int)(flags | O_CLOEXEC),
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};

	return open_resolved(root_fd, path, &how);
}

int io_mkdir_p(int dirfd, const char *path, mode_t mode)
{
	char *copy cleanup_free = strdup(path);
	char *p;

	if (!copy)
		return -ENOMEM;
	for (p = copy; *p == '/'; p++)
		;
	for (;;) {
		char *end = strchrnul(p, '/'), c = *end;

		*end = '\0';
		if (mkdirat(dirfd, copy, mode) == 0) {
			if (fchmodat(dirfd, copy, mode, 0) < 0)
				return -errno;
		} else if (errno != EEXIST) {
			return -errno;
		}
		*end = c;
		if (c == '\0')
			return 0;
		for (p = end + 1; *p == '/'; p++)
			;
		if (*p == '\0')
			return 0;
	}
}

static int open_subdir(int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	/* our own directories may have lost their r-x bits from inside a container */
	if (fd < 0 && errno == EACCES && fchmodat(dirfd, name, 0700, 0) == 0)
		fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int unlink_entry(int dirfd, const char *name)
{
	if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
		return 0;
	return errno == EPERM ? -EISDIR : -errno;
}

/* Moves the subdirectories of @sub up into @top, so that no depth costs an fd or a stack frame. */
static int empty_dir(int top, const char *name, unsigned long *counter)
{
	DIR *dir cleanup_closedir = NULL;
	struct dirent *d;
	int fd = open_subdir(top, name), r;
	char aside[48];

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	dir = fdopendir(fd);
	if (!dir) {
		r = -errno;
		(void)close(fd);
		return r;
	}
	while ((errno = 0, d = readdir(dir))) {
		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		r = d->d_type == DT_DIR ? -EISDIR : unlink_entry(dirfd(dir), d->d_name);
		if (r == -EISDIR) {
			if (unlinkat(dirfd(dir), d->d_name, AT_REMOVEDIR) == 0)
				continue;
			(void)snprintf(aside, sizeof(aside), ".remove.%d.%lu", getpid(),
				       (*counter)++);
			if (renameat2(dirfd(dir), d->d_name, top, aside, RENAME_NOREPLACE) < 0) {
				if (errno == EACCES &&
				    fchmodat(dirfd(dir), d->d_name, 0700, 0) == 0 &&
				    renameat2(dirfd(dir), d->d_name, top, aside,
					      RENAME_NOREPLACE) == 0)
					continue;
				return -errno;
			}
		} else if (r < 0) {
			return r;
		}
	}
	return errno ? -errno : 0;
}

int io_remove_tree(int dirfd, const char *name)
{
	static _Atomic unsigned int sequence;
	unsigned long made = 0, done = 0;
	char top_name[48];
	int top cleanup_close = -1, r;
	struct stat st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISDIR(st.st_mode))
		return unlinkat(dirfd, name, 0) < 0 && errno != ENOENT ? -errno : 0;
	if (unlinkat(dirfd, name, AT_REMOVEDIR) == 0)
		return 0;
	/* a directory of ours to collect in: beside the victim, on its file system */
	(void)snprintf(top_name, sizeof(top_name), ".remove-%d-%u", getpid(), sequence++);
	if (mkdirat(dirfd, top_name, 0700) < 0)
		return -errno;
	top = open_subdir(dirfd, top_name);
	if (top < 0)
		return top;
	if (renameat2(dirfd, name, top, ".remove.0", 0) < 0) {
		r = -errno;
		goto out;
	}
	for (made = 1, r = 0; done < made && r == 0; done++) {
		char aside[48];

		if (done == 0)
			(void)snprintf(aside, sizeof(aside), ".remove.0");
		else
			(void)snprintf(aside, sizeof(aside), ".remove.%d.%lu", getpid(), done);
		r = empty_dir(top, aside, &made);
		if (r == 0 && unlinkat(top, aside, AT_REMOVEDIR) < 0)
			r = -errno;
	}
out:
	if (unlinkat(dirfd, top_name, AT_REMOVEDIR) < 0 && r == 0)
		r = -errno;
	return r;
}

int io_tmp_create(int dirfd, mode_t mode, struct io_tmp *ret)
{
	static _Atomic unsigned int sequence;
	struct timespec now;
	int fd;

	do {
		(void)clock_gettime(CLOCK_MONOTONIC, &now);
		(void)snprintf(ret->name, sizeof(ret->name), "tmp-%d-%u-%lx", getpid(), sequence++,
			       (unsigned long)now.tv_nsec);
		fd = openat(dirfd, ret->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			    mode);
	} while (fd < 0 && errno == EEXIST);
	if (fd < 0) {
		ret->name[0] = '\0';
		ret->fd = -1;
		return -errno;
	}
	ret->fd = fd;
	ret->dirfd = dirfd;
	return 0;
}

int io_tmp_publish(struct io_tmp *t, int to_dirfd, const char *name)
{
	if (fsync(t->fd) < 0 || renameat(t->dirfd, t->name, to_dirfd, name) < 0)
		return -errno;
	t->name[0] = '\0';
	return io_sync_dir(to_dirfd);
}

void io_tmp_release(struct io_tmp *t)
{
	int saved = errno;

	if (t->name[0] != '\0')
		(void)unlinkat(t->dirfd, t->name, 0);
	t->name[0] = '\0';
	if (t->fd >= 0)
		(void)close(t->fd);
	t->fd = -1;
	errno = saved;
}

int io_sync_dir(int dirfd)
{
	int fd cleanup_close = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int read_all(int fd, size_t max, char **ret, size_t *ret_len)
{
	char *buf cleanup_free = NULL;
	size_t size = 0, cap = 0;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	for (;;) {
		ssize_t n;

		if (size == cap) {
			char *p;

			cap = cap ? cap * 2 : (size_t)(st.st_size < 4096 ? 4096 : st.st_size + 1);
			if (cap > max + 1)
				cap = max + 1;
			if (size == cap)
				return -EFBIG;
			p = realloc(buf, cap + 1);
			if (!p)
				return -ENOMEM;
			buf = p;
		}
		n = read(fd, buf + size, cap - size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		size += (size_t)n;
	}
	if (size > max)
		return -EFBIG;
	if (!buf) {
		buf = malloc(1);
		if (!buf)
			return -ENOMEM;
	}
	buf[size] = '\0';
	*ret = steal_ptr(&buf);
	*ret_len = size;
	return 0;
}

int io_read_file(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len)
{
	int fd cleanup_close = io_open_beneath(dirfd, path, O_RDONLY | O_NONBLOCK, 0);

	return fd < 0 ? fd : read_all(fd, max, ret, ret_len);
}

int io_read_path(const char *path, size_t max, char **ret, size_t *ret_len)
{
	int fd cleanup_close = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	return fd < 0 ? -errno : read_all(fd, max, ret, ret_len);
}

static int copy_by_buffer(int from, off_t from_pos, int to, off_t to_pos, uint64_t len)
{
	char *buf cleanup_free = malloc(COPY_BUFFER);

	if (!buf)
		return -ENOMEM;
	while (len > 0) {
		size_t want = len < COPY_BUFFER ? (size_t)len : COPY_BUFFER;
		int r = io_pread_full(from, buf, want, from_pos);

		if (r == 0)
			r = io_pwrite_full(to, buf, want, to_pos);
		if (r < 0)
			return r;
		from_pos += (off_t)want;
		to_pos += (off_t)want;
		len -= want;
	}
	return 0;
}

static int copy_extent(int from, off_t from_pos, int to, off_t to_pos, uint64_t len)
{
	while (len > 0) {
		ssize_t n = copy_file_range(from, &from_pos, to, &to_pos, (size_t)len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EXDEV || errno == EOPNOTSUPP || errno == ENOSYS ||
			      errno == EINVAL || errno == EBADF))
			return copy_by_buffer(from, from_pos, to, to_pos, len);
		if (n < 0)
			return -errno;
		if (n == 0) /* some file systems give 0 for what read() can read */
			return copy_by_buffer(from, from_pos, to, to_pos, len);
		len -= (uint64_t)n;
	}
	return 0;
}

int io_copy_range(int from, off_t from_pos, int to, off_t to_pos, uint64_t len, bool sparse)
{
	struct file_clone_range clone = {
		.src_fd = from,
		.src_offset = (uint64_t)from_pos,
		.src_length = len,
		.dest_offset = (uint64_t)to_pos,
	};
	off_t end = from_pos + (off_t)len, pos = from_pos;
	struct stat st;

	if (len == 0)
		return 0;
	if (ioctl(to, FICLONERANGE, &clone) == 0)
		return 0;
	if (!sparse)
		return copy_extent(from, from_pos, to, to_pos, len);
	while (pos < end) {
		off_t data = lseek(from, pos, SEEK_DATA), hole;
		int r;

		if (data < 0 && errno == ENXIO)
			break;
		if (data < 0 || data > end)
			data = data < 0 ? pos : end;
		if (data == end)
			break;
		hole = lseek(from, data, SEEK_HOLE);
		if (hole < 0 || hole > end)
			hole = end;
		r = copy_extent(from, data, to, to_pos + (data - from_pos),
				(uint64_t)(hole - data));
		if (r < 0)
			return r;
		pos = hole;
	}
	/* a hole at the end: only the length is missing */
	if (fstat(to, &st) < 0)
		return -errno;
	if (st.st_size < to_pos + (off_t)len && ftruncate(to, to_pos + (off_t)len) < 0)
		return -errno;
	return 0;
}
