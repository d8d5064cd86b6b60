/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "snapshotter/mount.h"

/*
 * rootfs - snapshots as one mount that somebody else makes: containerd mounts by itself what it is
 * told. What is best for each:
 *
 *	nothing below                   bind of the upper
 *	committed directories below     overlay of them, by the kernel
 *	an image's chain below          the same over the chain's EROFS mount, made once for all
 *	what the kernel does not do     bind of a mount that snapfs holds, a process of its own; or,
 *					when asked for, what mount.fuse3(8) starts snapfs with
 *
 * A key of an extraction ("extract-...") is an overlay wherever it can be: containerd's differ then
 * mounts nothing and writes into the upper.
 *
 * What is mounted lies in ROOT/run: s<ID> for a snapshot, c<CHAIN> for a chain. There is no other
 * record: whoever comes after a server that was killed finds it there. A snapshot's mount goes with
 * its removal or commit, a chain's with the last snapshot that stands on it.
 */
struct snap_rootfs { /* what this machine can do, asked once */
	enum snap_engine engine; /* as asked for */
	bool overlay, erofs; /* the kernel mounts them, and may be asked to */
	bool helper; /* what is FUSE's is told as "fuse3.snapfs"; set after snap_rootfs_init() */
	char reason[512]; /* what is used and why, for a person */
};
/* -EOPNOTSUPP: @engine is the kernel's, and it cannot. Probes by mounting. */
int snap_rootfs_init(struct snap_store *store, enum snap_engine engine, struct snap_rootfs *ret,
		     struct err *err) __attribute__((warn_unused_result));

#define SNAP_ROOTFS_OPTIONS_MAX 16
struct snap_rootfs_mount {
	const char *type; /* "bind", "overlay" or "fuse3.snapfs"; static */
	char *source;
	char *options[SNAP_ROOTFS_OPTIONS_MAX];
	size_t n_options;
};
void snap_rootfs_mount_release(struct snap_rootfs_mount *m);
#define cleanup_snap_rootfs_mount __attribute__((cleanup(snap_rootfs_mount_release)))

/* Makes what has to be mounted for it. Any number of times. Errors of snap_mounts(). */
int snap_rootfs_mounts(struct snap_store *store, const struct snap_rootfs *fs, const char *key,
		       struct snap_rootfs_mount *ret, struct err *err)
	__attribute__((warn_unused_result));
/* snap_commit() and snap_remove(), mounted or not, and what was mounted for it goes. */
int snap_rootfs_commit(struct snap_store *store, const char *name, const char *key,
		       const char *parent, const struct snap_label *labels, size_t n_labels,
		       struct err *err) __attribute__((warn_unused_result));
/* @ret_id: what snap_rootfs_discard() is to be told, once whoever waits has been answered. */
int snap_rootfs_remove(struct snap_store *store, const char *key, int64_t *ret_id, struct err *err)
	__attribute__((warn_unused_result));
/* Takes the content of a removed snapshot away; a failure is logged, and gc's. */
void snap_rootfs_discard(struct snap_store *store, int64_t id);
/* 1: what is called @name in ROOT/run is a mount, or the place of one, that no snapshot needs. */
int snap_rootfs_is_left(struct snap_store *store, const char *name, struct err *err)
	__attribute__((warn_unused_result));
void snap_rootfs_drop(struct snap_store *store, const char *name);
/* Takes the mounts in ROOT/run away that no snapshot needs: what a killed server left. */
int snap_rootfs_prune(struct snap_store *store, struct err *err)
	__attribute__((warn_unused_result));
