/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "snapshotter/snapshot.h"

/*
 * mount - a snapshot's root file system at a directory, by one of two engines:
 * FUSE (snapfs; anybody) or the kernel (EROFS below overlayfs; root). Both read
 * the same files and write the same upper.
 */
enum snap_engine { SNAP_ENGINE_AUTO, SNAP_ENGINE_FUSE, SNAP_ENGINE_KERNEL };
/* "auto", "fuse", "kernel"; -EINVAL. */
int snap_engine_parse(const char *text, enum snap_engine *ret, struct err *err)
	__attribute__((warn_unused_result));
const char *snap_engine_name(enum snap_engine engine);

struct snap_mount_result {
	enum snap_engine engine; /* the one that was used */
	char reason[512]; /* why this one */
};

/*
 * Live when it returns. @options: NULL, or more options of the engine ("ro,dev,suid"). A dead mount
 * of the snapshot is replaced. -ENOENT, -EBUSY: mounted already (@err names where), or committed.
 */
int snap_mount(struct snap_store *store, const char *key, const char *target,
	       enum snap_engine engine, const char *options, struct snap_mount_result *ret,
	       struct err *err) __attribute__((warn_unused_result));
/*
 * @what: a key, or a directory where a snapshot is mounted. When it returns the mount and its
 * server are gone. -ENOENT, -EINVAL: nothing of snap's is mounted there; -EBUSY: in use.
 */
int snap_umount(struct snap_store *store, const char *what, struct err *err)
	__attribute__((warn_unused_result));
/* What SNAP_ENGINE_AUTO would be, without mounting a snapshot. */
void snap_engine_choice(struct snap_store *store, struct snap_mount_result *ret);
