/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <dirent.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>

#define OVL_XATTR_CAPS "security.capability"

/*
 * sys - every system call that touches a real layer, in one family: results
 * are 0 (or a count, or an fd) or -errno, EINTR is retried, each call can be
 * traced, and tests can make the n-th one fail.
 *
 * An object is named by (fd, name): the entry @name of the directory @fd, or,
 * when @name is "", the object that @fd itself is (an O_PATH fd). Nothing is
 * ever followed out of the directory: the last component is not followed and
 * @name has no '/' in it. Any thread.
 */

/* Faults, for tests alone: nothing that a user says leads here. */
#define OVL_FAULT_KILL (-1)
struct ovl_fault {
	atomic_uint at; /* the n-th call from now on (1: the next); 0: none */
	atomic_uint calls; /* made since; counted while there is a fault */
	atomic_int error; /* what it fails with, positive; OVL_FAULT_KILL: the process ends there */
	atomic_bool stays; /* the calls after it fail, too */
};
/* From now on @f says which call fails; it may be shared with another process. NULL: our own. */
void ovl_fault_use(struct ovl_fault *f);
/* One more call: the errno that it is to fail with instead of being made, or 0. */
int ovl_fault_hit(struct ovl_fault *f);
/* From now on the @n-th call (1 = the next) fails with @error (positive); 0 takes the fault away.
 */
void ovl_fault_set(unsigned int n, int error);
/* Calls made since the last ovl_fault_set(). */
unsigned int ovl_fault_count(void);
/* One debug line for each call. */
void ovl_trace_set(bool on);

#define OVL_MUST __attribute__((warn_unused_result))

/* Opens (@name may not be ""): openat2 beneath @fd, no symlinks, O_CLOEXEC. Returns the fd, owned.
 */
int ovl_sys_open(int fd, const char *name, int flags, mode_t mode) OVL_MUST;
int ovl_sys_opendir(int fd, const char *name, DIR **ret) OVL_MUST; /* a symlink is none */
/* Opens the object that the O_PATH fd @fd is once more, with other flags. */
int ovl_sys_reopen(int fd, int flags) OVL_MUST;
int ovl_sys_stat(int fd, const char *name, struct stat *ret) OVL_MUST;
int ovl_sys_mkdir(int fd, const char *name, mode_t mode) OVL_MUST;
int ovl_sys_mknod(int fd, const char *name, mode_t mode, dev_t dev) OVL_MUST;
int ovl_sys_symlink(const char *target, int fd, const char *name) OVL_MUST;
int ovl_sys_link(int fd, const char *name, int to_fd, const char *to_name) OVL_MUST;
int ovl_sys_unlink(int fd, const char *name, int flags) OVL_MUST;
int ovl_sys_rename(int fd, const char *name, int to_fd, const char *to_name,
		   unsigned int flags) OVL_MUST;
/* Length of the target, not NUL-terminated. */
ssize_t ovl_sys_readlink(int fd, const char *name, char *buf, size_t size) OVL_MUST;
/* Not for symlinks. */
int ovl_sys_chmod(int fd, const char *name, mode_t mode) OVL_MUST;
int ovl_sys_chown(int fd, const char *name, uid_t uid, gid_t gid) OVL_MUST;
int ovl_sys_utimens(int fd, const char *name, const struct timespec ts[2]) OVL_MUST;

ssize_t ovl_sys_getxattr(int fd, const char *name, const char *xattr, void *buf,
			 size_t size) OVL_MUST;
ssize_t ovl_sys_listxattr(int fd, const char *name, char *buf, size_t size) OVL_MUST;
int ovl_sys_setxattr(int fd, const char *name, const char *xattr, const void *value, size_t size,
		     int flags) OVL_MUST;
int ovl_sys_removexattr(int fd, const char *name, const char *xattr) OVL_MUST;

int ovl_sys_truncate(int fd, off_t size) OVL_MUST;
int ovl_sys_fsync(int fd, bool data_only) OVL_MUST;
int ovl_sys_syncfs(int fd) OVL_MUST;
int ovl_sys_fallocate(int fd, int mode, off_t off, off_t len) OVL_MUST;
off_t ovl_sys_lseek(int fd, off_t off, int whence) OVL_MUST;
ssize_t ovl_sys_copy_range(int in, off_t in_off, int out, off_t out_off, size_t len) OVL_MUST;
/* The data of a copy-up: reflink, copy_file_range or read and write; holes stay holes. */
int ovl_sys_copy_data(int in, off_t in_off, int out, uint64_t len) OVL_MUST;
/* stx_attributes of statx(2); 0 when they cannot be had. */
uint64_t ovl_sys_attributes(int fd, const char *name);
int ovl_sys_ioctl(int fd, unsigned int cmd, void *data) OVL_MUST;
int ovl_sys_statvfs(int fd, struct statvfs *ret) OVL_MUST;
