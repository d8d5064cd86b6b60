/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/err.h"

/*
 * io - whole reads and writes, anchored paths, files that appear at once.
 *
 * Paths from outside are walked from a directory fd by io_open_beneath() and
 * never resolved as strings. All fds are opened with O_CLOEXEC.
 */

/* All @len bytes or -errno; short input is -ENODATA. */
int io_read_full(int fd, void *buf, size_t len) __attribute__((warn_unused_result));
int io_pread_full(int fd, void *buf, size_t len, off_t pos) __attribute__((warn_unused_result));
int io_write_full(int fd, const void *buf, size_t len) __attribute__((warn_unused_result));
int io_pwrite_full(int fd, const void *buf, size_t len, off_t pos)
	__attribute__((warn_unused_result));

/*
 * Opens @path (relative, '/' allowed) below @dirfd: no symlink, no "..", no
 * magic link, no way out (openat2 with RESOLVE_BENEATH|NO_SYMLINKS|NO_MAGICLINKS).
 * The last component may be opened itself when it is a symlink with O_PATH|O_NOFOLLOW.
 * Returns the fd (owned) or -errno; -ELOOP for a symlink on the way.
 */
int io_open_beneath(int dirfd, const char *path, int flags, mode_t mode)
	__attribute__((warn_unused_result));

/*
 * Opens what is there already at @path as a process would whose root is @root_fd: symlinks and ".."
 * are followed and lead nowhere out of it. Returns the fd (owned) or -errno.
 */
int io_open_in_root(int root_fd, const char *path, int flags) __attribute__((warn_unused_result));

/* mkdir -p below @dirfd, new directories with @mode whatever the umask. */
int io_mkdir_p(int dirfd, const char *path, mode_t mode) __attribute__((warn_unused_result));

/* Removes the tree at @name in @dirfd; fine when it is not there. Never follows a symlink. */
int io_remove_tree(int dirfd, const char *name) __attribute__((warn_unused_result));

/*
 * A file that appears at once: made under a name of its own in @dirfd, written
 * by the caller through ->fd, then io_tmp_publish() syncs it, renames it to its
 * place and syncs that directory. io_tmp_release() removes what was not published.
 */
struct io_tmp {
	int fd; /* owned; O_RDWR */
	int dirfd; /* borrowed */
	char name[40]; /* empty once published */
};
#define IO_TMP_INIT                                                                                \
	{                                                                                          \
		.fd = -1, .dirfd = -1                                                              \
	}
int io_tmp_create(int dirfd, mode_t mode, struct io_tmp *ret) __attribute__((warn_unused_result));
/* Replaces what stands at @name in @to_dirfd (same file system). */
int io_tmp_publish(struct io_tmp *t, int to_dirfd, const char *name)
	__attribute__((warn_unused_result));
void io_tmp_release(struct io_tmp *t);
#define cleanup_io_tmp __attribute__((cleanup(io_tmp_release)))

/* fsync of the directory @dirfd itself. */
int io_sync_dir(int dirfd) __attribute__((warn_unused_result));

/* The whole file at @path below @dirfd as a NUL-terminated string (free() it), at most @max bytes:
 * -EFBIG. */
int io_read_file(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len)
	__attribute__((warn_unused_result));

/* The same for a file of the system at @path, symlinks followed. Nothing from outside is a @path.
 */
int io_read_path(const char *path, size_t max, char **ret, size_t *ret_len)
	__attribute__((warn_unused_result));

/*
 * Copies @len bytes by reflink, copy_file_range or read/write, whatever works
 * first; holes are kept when @sparse. Both files keep their positions.
 */
int io_copy_range(int from, off_t from_pos, int to, off_t to_pos, uint64_t len, bool sparse)
	__attribute__((warn_unused_result));
