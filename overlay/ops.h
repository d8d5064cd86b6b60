/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "overlay/node.h"
#include "overlay/source.h"

/*
 * ops - what a request asks of the engine, one function each: 0 or -errno, and
 * the disk changes by one rename (or link) at the end or not at all. No protocol
 * here: session_ops.c decodes and replies. Any thread; no locks held.
 */

/* Who asks, by the numbers that are seen. Permissions are the kernel's business
 * (default_permissions); this is for new objects.
 */
struct ovl_cred {
	uid_t uid;
	gid_t gid;
	mode_t umask;
	bool (*in_group)(void *ctx, gid_t gid); /* supplementary groups; asked rarely */
	void *ctx;
};

/* namei */
/* -ENOENT when there is no such name. The node is the kernel's (one look-up more). */
int ovl_lookup(struct ovl_fs *fs, struct ovl_node *parent, const char *name, struct ovl_node **ret,
	       struct stat *ret_st) OVL_MUST;

/* inode */
int ovl_getattr(struct ovl_fs *fs, struct ovl_node *n, struct stat *ret) OVL_MUST;
/* After a change that an error could not take back: memory that was short is asked for once more.
 */
int ovl_getattr_done(struct ovl_fs *fs, struct ovl_node *n, struct stat *ret) OVL_MUST;
/* What of a stat as it is on disk is ours to say: number, link count, mapped owners. Once only. */
void ovl_fix_stat(struct ovl_fs *fs, struct ovl_node *n, struct stat *st);
enum ovl_set {
	OVL_SET_MODE = 1 << 0,
	OVL_SET_UID = 1 << 1,
	OVL_SET_GID = 1 << 2,
	OVL_SET_SIZE = 1 << 3,
	OVL_SET_ATIME = 1 << 4,
	OVL_SET_MTIME = 1 << 5,
	OVL_SET_ATIME_NOW = 1 << 6,
	OVL_SET_MTIME_NOW = 1 << 7,
	OVL_SET_KILL =
		1 << 8, /* take set-user-id away, and set-group-id where the group may execute */
};
struct ovl_file;
/* @file: an open handle for a size, may be NULL, as @cred may be. */
int ovl_setattr(struct ovl_fs *fs, struct ovl_node *n, const struct stat *attr, unsigned int set,
		struct ovl_file *file, const struct ovl_cred *cred, struct stat *ret) OVL_MUST;
/* Returns the length; @buf is NUL-terminated. */
int ovl_readlink(struct ovl_fs *fs, struct ovl_node *n, char *buf, size_t size) OVL_MUST;
int ovl_statfs(struct ovl_fs *fs, struct statvfs *ret) OVL_MUST;
/*
 * Gives (fd, name) its owner and mode: by chown, or by user.containers.override_stat where we may
 * not. @mode: all 12 bits. -EPERM for what cannot have an xattr.
 */
int ovl_set_owner(struct ovl_fs *fs, int fd, const char *name, mode_t type, uid_t uid, gid_t gid,
		  mode_t mode) OVL_MUST;

/* xattr: as getxattr(2) and listxattr(2). */
ssize_t ovl_getxattr(struct ovl_fs *fs, struct ovl_node *n, const char *name, void *buf,
		     size_t size) OVL_MUST;
ssize_t ovl_listxattr(struct ovl_fs *fs, struct ovl_node *n, char *buf, size_t size) OVL_MUST;
int ovl_setxattr(struct ovl_fs *fs, struct ovl_node *n, const char *name, const void *value,
		 size_t size, int flags, const struct ovl_cred *cred) OVL_MUST;
int ovl_removexattr(struct ovl_fs *fs, struct ovl_node *n, const char *name) OVL_MUST;
/* A mark of a union or a container tool in its stored form: not to be copied up. */
bool ovl_xattr_is_mark(const char *stored_name);

/* fileattr: the flags of chattr(1), on regular files and directories */
/*
 * FS_IOC_GETFLAGS, FS_IOC_SETFLAGS (uint32_t), FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR (struct
 * fsxattr) on @data. Whether the asker may is the kernel's business. -ENOTTY, -EOPNOTSUPP.
 */
int ovl_fileattr(struct ovl_fs *fs, struct ovl_node *n, unsigned int cmd, void *data) OVL_MUST;
/* The length of what @cmd is about; 0: it is none of them. */
size_t ovl_fileattr_size(unsigned int cmd);
/* -EPERM when @n is protected by one of @by (OVL_NODE_IMMUTABLE, OVL_NODE_APPEND). */
int ovl_check_protected(struct ovl_node *n, unsigned int by) OVL_MUST;
/* The same of an object of the upper as bits of that kind, from its mark. */
unsigned int ovl_protection_read(struct ovl_fs *fs, int fd, const char *name);
/* Sets or takes away the mark. */
int ovl_protection_write(struct ovl_fs *fs, int fd, const char *name, unsigned int by) OVL_MUST;
/* By what the object is protected now. */
unsigned int ovl_protection(struct ovl_node *n);

/* copy_up */
#define OVL_COPY_ALL  UINT64_MAX
#define OVL_COPY_META (UINT64_MAX - 1) /* all, but a file's data may stay below */
/* After it @n and its parents are in the upper, with the first @keep bytes of its data. -EROFS. */
int ovl_copy_up(struct ovl_fs *fs, struct ovl_node *n, uint64_t keep) OVL_MUST;
/* What @from has of xattrs, without marks, to (@fd, @to). */
int ovl_copy_xattrs(const struct ovl_source *from, int fd, const char *to) OVL_MUST;
/*
 * Before the name @name in @parent of a file with hard links goes: sees to it that the name is one
 * of the upper's and that the inode's link count goes with it.
 */
int ovl_copy_up_name(struct ovl_fs *fs, struct ovl_node *n, struct ovl_node *parent,
		     const char *name) OVL_MUST;
/* With fs->tree held for writing: the link count of an INDEXED node as relative to its inode's. */
int ovl_nlink_save_locked(struct ovl_fs *fs, struct ovl_node *n, bool relative) OVL_MUST;
#define OVL_TEMP_NAME 24
void ovl_temp_name(struct ovl_fs *fs, char buf[OVL_TEMP_NAME]);
/* Removes what is at @name in work/work, whatever it is. */
void ovl_temp_remove(struct ovl_fs *fs, const char *name);

/* dir */
struct ovl_new {
	mode_t mode; /* type and permissions as asked for, without umask */
	dev_t rdev;
	const char *target; /* symlinks */
};
/* The node is the kernel's. @ret_file: NULL, or the new regular file opened with @flags. */
int ovl_create(struct ovl_fs *fs, struct ovl_node *parent, const char *name,
	       const struct ovl_new *what, const struct ovl_cred *cred, struct ovl_node **ret,
	       struct stat *ret_st, int flags, struct ovl_file **ret_file) OVL_MUST;
/*
 * A regular file without a name, of @parent's owner and ACL rules. The node is the kernel's; the
 * file goes with its last look-up, or with us. -EOPNOTSUPP where the upper has no O_TMPFILE.
 */
int ovl_tmpfile(struct ovl_fs *fs, struct ovl_node *parent, mode_t mode,
		const struct ovl_cred *cred, struct ovl_node **ret, struct stat *ret_st,
		struct ovl_file **ret_file) OVL_MUST;
/* @n gets one look-up more. */
int ovl_link(struct ovl_fs *fs, struct ovl_node *n, struct ovl_node *parent, const char *name,
	     struct stat *ret_st) OVL_MUST;
int ovl_unlink(struct ovl_fs *fs, struct ovl_node *parent, const char *name) OVL_MUST;
int ovl_rmdir(struct ovl_fs *fs, struct ovl_node *parent, const char *name) OVL_MUST;
/* dir.c, for rename.c. -EINVAL, -ENAMETOOLONG for a name nothing can be made under. */
int ovl_check_new_name(const char *name) OVL_MUST;
/* With fs->tree held for writing, after (@parent, @name) is gone from disk. Takes @pin
 * (overlay/pin.h). */
void ovl_removed_locked(struct ovl_fs *fs, struct ovl_node *n, struct ovl_node *parent,
			const char *name, nlink_t upper_nlink, int pin);
/*
 * Makes an upper directory that has whiteouts only an empty opaque one of the same number. What was
 * there is @temp in the work directory then, for the caller to bring back or to remove; empty when
 * it fails.
 */
int ovl_clear_dir(struct ovl_fs *fs, struct ovl_node *parent, const char *name, uint64_t number,
		  char temp[OVL_TEMP_NAME]) OVL_MUST;
int ovl_clear_dir_undo(struct ovl_fs *fs, struct ovl_node *parent, const char *name,
		       const char *temp) OVL_MUST;
/* 0 or -ENOTEMPTY, by what is seen. */
int ovl_check_empty(struct ovl_fs *fs, struct ovl_node *dir) OVL_MUST;

/* rename: @flags as renameat2(2), without RENAME_WHITEOUT. */
int ovl_rename(struct ovl_fs *fs, struct ovl_node *parent, const char *name,
	       struct ovl_node *to_parent, const char *to_name, unsigned int flags) OVL_MUST;

/* acl: what a new object gets from its directory's default ACL (POSIX.1e draft 17, 23.2). */
/*
 * @acl: the default ACL as stored. Changes *mode by it and fills @ret (malloc) with the access ACL;
 * NULL when the mode says it all. -EINVAL for no ACL.
 */
int ovl_acl_inherit(const void *acl, size_t len, mode_t *mode, void **ret,
		    size_t *ret_len) OVL_MUST;

/* readdir */
struct ovl_dirent {
	const char *name; /* borrowed until the next call */
	uint64_t ino; /* as seen in st_ino */
	unsigned int type; /* DT_ */
	uint64_t next; /* offset behind it */
};
typedef int (*ovl_dir_fn)(void *ctx, const struct ovl_dirent *e);
/*
 * From offset @off until @fn returns non-zero: positive is no error. 0: the first; it is read anew
 * then. Whoever goes on to the end, where @fn is not called at all, sees one state of the
 * directory.
 */
int ovl_dir_read(struct ovl_fs *fs, struct ovl_node *n, uint64_t off, ovl_dir_fn fn,
		 void *ctx) OVL_MUST;
/* All entries as they are now, until @fn returns non-zero, which is the result. */
int ovl_dir_each(struct ovl_fs *fs, struct ovl_node *n, ovl_dir_fn fn, void *ctx) OVL_MUST;
int ovl_dir_sync(struct ovl_fs *fs, struct ovl_node *n) OVL_MUST;

/* file */
int ovl_open(struct ovl_fs *fs, struct ovl_node *n, int flags, struct ovl_file **ret) OVL_MUST;
void ovl_close(struct ovl_fs *fs, struct ovl_file *f);
/* A handle for an fd that is open already; takes @fd, also on failure. */
int ovl_file_new(struct ovl_fs *fs, struct ovl_node *n, int fd, struct ovl_file **ret) OVL_MUST;
struct ovl_span {
	int fd; /* borrowed while the handle is open; -1: zeros */
	off_t off;
	size_t len; /* at most what was asked for */
};
/* Where the bytes at @off are: for reading. */
int ovl_read_map(struct ovl_fs *fs, struct ovl_file *f, off_t off, size_t len,
		 struct ovl_span *ret) OVL_MUST;
/* The fd in the upper of a handle, borrowed; -1: it is on a lower file. */
int ovl_file_fd(struct ovl_file *f);
/* The upper fd of a handle opened for writing, borrowed: after a push, of a copy. -EBADF. */
int ovl_write_fd(struct ovl_fs *fs, struct ovl_file *f) OVL_MUST;
/*
 * What a change through a mapping leaves alone on every file system, and write(2), by which it
 * comes to the upper, ends: the capabilities of @fd, before it and after it.
 */
struct ovl_caps {
	ssize_t len; /* <= 0: none */
	char value[64];
};
void ovl_caps_get(int fd, struct ovl_caps *ret);
int ovl_caps_put(int fd, const struct ovl_caps *caps) OVL_MUST;
/* The same as @ret->fd, with room for @ret->len of @len bytes (overlay/quota.h). */
struct ovl_quota_change;
int ovl_write_begin(struct ovl_fs *fs, struct ovl_file *f, off_t off, size_t len,
		    struct ovl_quota_change *ret) OVL_MUST;
int ovl_fsync(struct ovl_fs *fs, struct ovl_file *f, bool data_only) OVL_MUST;
int ovl_fallocate(struct ovl_fs *fs, struct ovl_file *f, int mode, off_t off, off_t len) OVL_MUST;
int ovl_lseek(struct ovl_fs *fs, struct ovl_file *f, off_t off, int whence, off_t *ret) OVL_MUST;
ssize_t ovl_copy_range(struct ovl_fs *fs, struct ovl_file *in, off_t in_off, struct ovl_file *out,
		       off_t out_off, size_t len) OVL_MUST;
