/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <sys/statvfs.h>
#include <sys/types.h>

#include "overlay/fs.h"

/*
 * quota - a bound on what the upper holds, kept by the engine itself: no file system, no privilege
 * is needed for it. It is the project quota that docker and podman set on XFS for a container:
 * what exceeds it is ENOSPC, and statfs(2) shows it as the size of the file system.
 *
 *	r = ovl_quota_begin(fs, node, fd, off, len, &c);      before something is written
 *	n = pwrite(fd, data, c.len, off);                     c.len: what fits, at least 1 byte
 *	ovl_quota_end(&c);                                    whatever came of it
 *
 * Counted are the blocks of regular files (st_blocks, so holes are free, and a preallocation is
 * not), and every object but whiteouts: something can always be deleted. Directories' own blocks,
 * symlinks and xattrs are counted as objects only. Read from the disk at each mount, by a walk of
 *the upper, and kept up by what this mount does; nothing of it is stored.
 *
 * Without a quota (fs->quota NULL) all of this does nothing.
 */
struct ovl_quota;

#define OVL_QUOTA_BLOCK 4096 /* what file systems give out; larger ones are seen afterwards */
static inline uint64_t ovl_quota_round(uint64_t bytes)
{
	return (bytes + OVL_QUOTA_BLOCK - 1) / OVL_QUOTA_BLOCK * OVL_QUOTA_BLOCK;
}

/* Counts what is in the upper and in work/links. -errno of the walk. */
int ovl_quota_open(struct ovl_fs *fs, uint64_t max_bytes, uint64_t max_inodes) OVL_MUST;
void ovl_quota_close(struct ovl_fs *fs);
/* The upper is an empty one now: what it held counts no more, but for what has no name. */
void ovl_quota_restart(struct ovl_fs *fs);

struct ovl_quota_change {
	struct ovl_fs *fs;
	struct ovl_node *node; /* NULL: nothing is counted */
	int fd;
	uint64_t reserved;
	size_t len; /* of @len, what may be written */
};
/*
 * Room for @len bytes at @off of the upper file @fd, which is @node's. -ENOSPC: not for one byte.
 * Holds a lock that nothing else is taken under, until ovl_quota_end().
 */
int ovl_quota_begin(struct ovl_fs *fs, struct ovl_node *node, int fd, off_t off, size_t len,
		    struct ovl_quota_change *ret) OVL_MUST;
void ovl_quota_end(struct ovl_quota_change *c);
#define OVL_QUOTA_CHANGE_INIT                                                                      \
	{                                                                                          \
		.node = NULL                                                                       \
	}

/* An object, and bytes of data with it, that will be made; given back when it was not. -ENOSPC. */
int ovl_quota_take(struct ovl_fs *fs, uint64_t bytes) OVL_MUST;
void ovl_quota_give(struct ovl_fs *fs, uint64_t bytes);
/* The same for an object that is there already. */
int ovl_quota_take_bytes(struct ovl_fs *fs, uint64_t bytes) OVL_MUST;
void ovl_quota_give_bytes(struct ovl_fs *fs, uint64_t bytes);
/*
 * The copy-up of @node took @reserved bytes, and made a file of @blocks (of 512 bytes) that nobody
 * can have open yet. What it has taken now.
 */
uint64_t ovl_quota_copied(struct ovl_fs *fs, struct ovl_node *node, uint64_t reserved,
			  blkcnt_t blocks);

/* The last name of @node is gone, ->pin is set: what it holds is known when it is freed. */
void ovl_quota_unnamed(struct ovl_fs *fs, struct ovl_node *node);
/* @node is freed: gives back what an object without a name held. */
void ovl_quota_freed(struct ovl_fs *fs, struct ovl_node *node);

/* Makes @st (of the upper's file system) that of the quota. */
void ovl_quota_statvfs(struct ovl_fs *fs, struct statvfs *st);
