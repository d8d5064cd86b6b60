/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * tree - a file system tree in memory: what a layer or a chain of layers is
 * before it is written as an EROFS image (erofs/write.h).
 *
 *	struct erofs_tree *t = erofs_tree_new();
 *	struct erofs_inode *f = erofs_inode_new(t, S_IFREG | 0644);
 *	f->size = 5; f->device = 1; f->offset = 1536;
 *	r = erofs_dir_add(t, erofs_tree_root(t), "hello", 5, f);
 *
 * The tree owns every inode made in it; all are freed with it. Several names
 * may lead to one non-directory inode (hard links: nlink is counted by the
 * tree). Names are bytes: no '/' and no NUL, 1 to 255 of them, neither "." nor "..".
 * One thread at a time. Memory: about 150 bytes an inode and the names.
 */

struct erofs_xattr {
	struct erofs_xattr *next;
	const char *name; /* full name, "user.x" */
	const void *value;
	size_t len;
};

struct erofs_inode {
	uint32_t mode; /* type and permissions */
	uint32_t uid, gid;
	uint32_t
		nlink; /* names that lead here; directories: 2 + subdirectories. Kept by the tree */
	uint32_t rdev_major, rdev_minor;
	int64_t mtime; /* seconds */
	uint32_t mtime_nsec; /* below 10^9 */
	uint16_t device; /* regular files: 0 = no data stored, reads as zeros; else the device */
	uint16_t flags; /* enum erofs_inode_flags */
	uint64_t size; /* bytes; symlinks: of the target */
	uint64_t offset; /* in the device, a multiple of 512 */
	const char *target; /* symlinks, NUL-terminated, owned by the tree */
	struct erofs_xattr *xattrs; /* no name twice; owned by the tree */
	struct erofs_dir *dir; /* directories only; private to the tree */
	uint64_t scratch; /* the writer's and the merge's own */
};

enum erofs_inode_flags {
	/*
	 * What a layer alone cannot resolve; only in the tree and index of a single layer,
	 * written as private xattrs (docs/FORMAT.md), resolved and gone after a merge.
	 */
	EROFS_I_IMPLIED = 1 << 0, /* directory without an entry of its own */
	EROFS_I_OPAQUE = 1 << 1, /* directory that hides what lower layers have in it */
	EROFS_I_LINK = 1 << 2, /* hard link to a lower layer's file: ->target is its path from
				  the root, the other fields are the metadata it takes on */
};

/* A whiteout in a layer's tree: a character device 0:0, as the kernel's overlayfs has it. */
bool erofs_inode_is_whiteout(const struct erofs_inode *inode);

struct erofs_tree;
struct erofs_tree *erofs_tree_new(void); /* with a root 0755 root:root, mtime 0; NULL: no memory */
void erofs_tree_free(struct erofs_tree *t);
struct erofs_inode *erofs_tree_root(struct erofs_tree *t);
/* A new inode without a name, all else zero; NULL when out of memory. Directories start empty. */
struct erofs_inode *erofs_inode_new(struct erofs_tree *t, uint32_t mode);

/* Copies @target. */
int erofs_inode_set_target(struct erofs_tree *t, struct erofs_inode *inode, const char *target)
	__attribute__((warn_unused_result));
/* Copies both; replaces a value of the same name. */
int erofs_inode_set_xattr(struct erofs_tree *t, struct erofs_inode *inode, const char *name,
			  const void *value, size_t len) __attribute__((warn_unused_result));
/* No such name is no error. */
void erofs_inode_remove_xattr(struct erofs_inode *inode, const char *name);

/* NULL when there is none. */
struct erofs_inode *erofs_dir_find(const struct erofs_inode *dir, const char *name, size_t len);
/* Copies @name. -EEXIST, -EINVAL for a name that is none, -EMLINK, -ENOMEM. A directory has one
 * name at most. */
int erofs_dir_add(struct erofs_tree *t, struct erofs_inode *dir, const char *name, size_t len,
		  struct erofs_inode *inode) __attribute__((warn_unused_result));
/* Takes the name away; what hangs below it goes with it when it was the last name. -ENOENT. */
int erofs_dir_remove(struct erofs_tree *t, struct erofs_inode *dir, const char *name, size_t len)
	__attribute__((warn_unused_result));
/* Takes every name away. */
void erofs_dir_clear(struct erofs_tree *t, struct erofs_inode *dir);
size_t erofs_dir_count(const struct erofs_inode *dir);
/* NULL for the root, and for a directory without a name. */
struct erofs_inode *erofs_dir_parent(const struct erofs_inode *dir);

/* Entries in byte order of their names. The directory must not change meanwhile. */
typedef int (*erofs_dir_fn)(void *ctx, const char *name, size_t len, struct erofs_inode *inode);
/* Stops at the first non-zero return of @fn and returns it. -ENOMEM when it cannot sort. */
int erofs_dir_each(const struct erofs_inode *dir, erofs_dir_fn fn, void *ctx)
	__attribute__((warn_unused_result));
