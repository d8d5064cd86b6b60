/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"

static atomic_bool tracing;
static struct ovl_fault own_fault;
static struct ovl_fault *fault = &own_fault; /* set before there is a second thread */

void ovl_fault_use(struct ovl_fault *f)
{
	fault = f ? f : &own_fault;
}

void ovl_fault_set(unsigned int n, int error)
{
	atomic_store(&fault->error, error);
	atomic_store(&fault->calls, 0);
	atomic_store(&fault->at, n);
}

unsigned int ovl_fault_count(void)
{
	return atomic_load(&fault->calls);
}

void ovl_trace_set(bool on)
{
	atomic_store(&tracing, on);
}

int ovl_fault_hit(struct ovl_fault *f)
{
	unsigned int at = atomic_load_explicit(&f->at, memory_order_relaxed), call;
	int error;

	if (__builtin_expect(at == 0, 1))
		return 0;
	call = atomic_fetch_add(&f->calls, 1) + 1;
	if (call != at && !(call > at && atomic_load(&f->stays)))
		return 0;
	error = atomic_load(&f->error);
	if (error == OVL_FAULT_KILL)
		(void)kill(getpid(), SIGKILL);
	return error;
}

static long sys_trace(const char *call, int fd, const char *name, long r)
{
	if (__builtin_expect(atomic_load_explicit(&tracing, memory_order_relaxed), 0))
		log_debug("%s(%d, %s) = %ld", call, fd, name, r);
	return r;
}

/* Makes the call, again after EINTR, and turns its result into >= 0 or -errno. */
#define SYS_CALL(what, fd, name, expr)                                                             \
	({                                                                                         \
		long _r;                                                                           \
		int _fault = ovl_fault_hit(fault);                                                 \
		if (_fault) {                                                                      \
			_r = -_fault;                                                              \
		} else {                                                                           \
			do                                                                         \
				_r = (long)(expr);                                                 \
			while (_r < 0 && errno == EINTR);                                          \
			if (_r < 0)                                                                \
				_r = -errno;                                                       \
		}                                                                                  \
		sys_trace(what, fd, name, _r);                                                     \
	})

/*
 * The calls that take no directory fd (xattrs, chmod of an O_PATH fd) go by the
 * magic link of the fd: it leads to the very object, wherever that is by now.
 */
#define SYS_PATH_MAX (32 + 256)

static int sys_path(char *buf, int fd, const char *name)
{
	int n = *name ? snprintf(buf, SYS_PATH_MAX, "/proc/self/fd/%d/%s", fd, name)
		      : snprintf(buf, SYS_PATH_MAX, "/proc/self/fd/%d", fd);

	return n < 0 || n >= SYS_PATH_MAX ? -ENAMETOOLONG : 0;
}

int ovl_sys_open(int fd, const char *name, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned int)(flags | O_CLOEXEC | O_NOFOLLOW),
		.mode = flags & (O_CREAT | O_TMPFILE) & ~O_DIRECTORY ? mode : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	int r;

	/* A plain object at the end needs O_PATH for symlinks, which openat2 then does not follow.
	 */
	r = (int)SYS_CALL("open", fd, name, syscall(SYS_openat2, fd, name, &how, sizeof(how)));
	return r;
}

int ovl_sys_opendir(int fd, const char *name, DIR **ret)
{
	int r, dir = ovl_sys_open(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);

	if (dir < 0)
		return dir;
	*ret = fdopendir(dir);
	if (*ret)
		return 0;
	r = -errno;
	(void)close(dir);
	return r;
}

int ovl_sys_reopen(int fd, int flags)
{
	char path[SYS_PATH_MAX];
	int r = sys_path(path, fd, "");

	if (r < 0)
		return r;
	return (int)SYS_CALL("reopen", fd, "", open(path, flags | O_CLOEXEC));
}

int ovl_sys_stat(int fd, const char *name, struct stat *ret)
{
	return (int)SYS_CALL("stat", fd, name,
			     fstatat(fd, name, ret, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH));
}

int ovl_sys_mkdir(int fd, const char *name, mode_t mode)
{
	return (int)SYS_CALL("mkdir", fd, name, mkdirat(fd, name, mode));
}

int ovl_sys_mknod(int fd, const char *name, mode_t mode, dev_t dev)
{
	return (int)SYS_CALL("mknod", fd, name, mknodat(fd, name, mode, dev));
}

int ovl_sys_symlink(const char *target, int fd, const char *name)
{
	return (int)SYS_CALL("symlink", fd, name, symlinkat(target, fd, name));
}

int ovl_sys_link(int fd, const char *name, int to_fd, const char *to_name)
{
	char path[SYS_PATH_MAX];
	int r;

	if (*name)
		return (int)SYS_CALL("link", to_fd, to_name, linkat(fd, name, to_fd, to_name, 0));
	r = sys_path(path, fd, "");
	if (r < 0)
		return r;
	return (int)SYS_CALL("link", to_fd, to_name,
			     linkat(AT_FDCWD, path, to_fd, to_name, AT_SYMLINK_FOLLOW));
}

int ovl_sys_unlink(int fd, const char *name, int flags)
{
	return (int)SYS_CALL("unlink", fd, name, unlinkat(fd, name, flags));
}

int ovl_sys_rename(int fd, const char *name, int to_fd, const char *to_name, unsigned int flags)
{
	return (int)SYS_CALL("rename", to_fd, to_name, renameat2(fd, name, to_fd, to_name, flags));
}

ssize_t ovl_sys_readlink(int fd, const char *name, char *buf, size_t size)
{
	return SYS_CALL("readlink", fd, name, readlinkat(fd, name, buf, size));
}

int ovl_sys_chmod(int fd, const char *name, mode_t mode)
{
	char path[SYS_PATH_MAX];
	int r;

	if (*name)
		return (int)SYS_CALL("chmod", fd, name, fchmodat(fd, name, mode, 0));
	r = sys_path(path, fd, "");
	if (r < 0)
		return r;
	return (int)SYS_CALL("chmod", fd, name, chmod(path, mode));
}

int ovl_sys_chown(int fd, const char *name, uid_t uid, gid_t gid)
{
	return (int)SYS_CALL("chown", fd, name,
			     fchownat(fd, name, uid, gid, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH));
}

int ovl_sys_utimens(int fd, const char *name, const struct timespec ts[2])
{
	char path[SYS_PATH_MAX];
	int r;

	if (*name)
		return (int)SYS_CALL("utimens", fd, name,
				     utimensat(fd, name, ts, AT_SYMLINK_NOFOLLOW));
	r = sys_path(path, fd, "");
	if (r < 0)
		return r;
	return (int)SYS_CALL("utimens", fd, name, utimensat(AT_FDCWD, path, ts, 0));
}

ssize_t ovl_sys_getxattr(int fd, const char *name, const char *xattr, void *buf, size_t size)
{
	char path[SYS_PATH_MAX];
	int r = sys_path(path, fd, name);

	if (r < 0)
		return r;
	if (!*name)
		return SYS_CALL("getxattr", fd, xattr, getxattr(path, xattr, buf, size));
	return SYS_CALL("getxattr", fd, xattr, lgetxattr(path, xattr, buf, size));
}

ssize_t ovl_sys_listxattr(int fd, const char *name, char *buf, size_t size)
{
	char path[SYS_PATH_MAX];
	int r = sys_path(path, fd, name);

	if (r < 0)
		return r;
	if (!*name)
		return SYS_CALL("listxattr", fd, name, listxattr(path, buf, size));
	return SYS_CALL("listxattr", fd, name, llistxattr(path, buf, size));
}

int ovl_sys_setxattr(int fd, const char *name, const char *xattr, const void *value, size_t size,
		     int flags)
{
	char path[SYS_PATH_MAX];
	int r = sys_path(path, fd, name);

	if (r < 0)
		return r;
	if (!*name)
		return (int)SYS_CALL("setxattr", fd, xattr,
				     setxattr(path, xattr, value, size, flags));
	return (int)SYS_CALL("setxattr", fd, xattr, lsetxattr(path, xattr, value, size, flags));
}

int ovl_sys_removexattr(int fd, const char *name, const char *xattr)
{
	char path[SYS_PATH_MAX];
	int r = sys_path(path, fd, name);

	if (r < 0)
		return r;
	if (!*name)
		return (int)SYS_CALL("removexattr", fd, xattr, removexattr(path, xattr));
	return (int)SYS_CALL("removexattr", fd, xattr, lremovexattr(path, xattr));
}

int ovl_sys_truncate(int fd, off_t size)
{
	return (int)SYS_CALL("truncate", fd, "", ftruncate(fd, size));
}

int ovl_sys_fsync(int fd, bool data_only)
{
	return (int)SYS_CALL("fsync", fd, "", data_only ? fdatasync(fd) : fsync(fd));
}

int ovl_sys_syncfs(int fd)
{
	return (int)SYS_CALL("syncfs", fd, "", syncfs(fd));
}

int ovl_sys_fallocate(int fd, int mode, off_t off, off_t len)
{
	return (int)SYS_CALL("fallocate", fd, "", fallocate(fd, mode, off, len));
}

off_t ovl_sys_lseek(int fd, off_t off, int whence)
{
	return SYS_CALL("lseek", fd, "", lseek(fd, off, whence));
}

ssize_t ovl_sys_copy_range(int in, off_t in_off, int out, off_t out_off, size_t len)
{
	return SYS_CALL("copy_file_range", out, "",
			copy_file_range(in, &in_off, out, &out_off, len, 0));
}

int ovl_sys_copy_data(int in, off_t in_off, int out, uint64_t len)
{
	bool armed = atomic_load_explicit(&fault->at, memory_order_relaxed) != 0;
	int error = ovl_fault_hit(fault), r = 0;

	/* Many calls in one: so it can fail at its beginning, and in its middle. */
	if (__builtin_expect(armed && error == 0, 0)) {
		r = io_copy_range(in, in_off, out, 0, len / 2, true);
		error = ovl_fault_hit(fault);
	}
	if (error)
		r = -error;
	if (r == 0)
		r = io_copy_range(in, in_off, out, 0, len, true);
	return (int)sys_trace("copy_data", out, "", r);
}

uint64_t ovl_sys_attributes(int fd, const char *name)
{
	struct statx x = {.stx_attributes = 0};

	/* one that cannot be asked is not changed either: what is done with it next says why */
	(void)statx(fd, name, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH, 0, &x);
	return x.stx_attributes;
}

int ovl_sys_ioctl(int fd, unsigned int cmd, void *data)
{
	return (int)SYS_CALL("ioctl", fd, "", ioctl(fd, cmd, data));
}

int ovl_sys_statvfs(int fd, struct statvfs *ret)
{
	return (int)SYS_CALL("statvfs", fd, "", fstatvfs(fd, ret));
}
