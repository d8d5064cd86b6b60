/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "snapshotter/rootfs.h"
#include "snapshotter/snapshot_private.h"

/*
 * Mounts in ROOT/run. @ret (owned by the caller) is where: absolute. A mount that is there and
 * lives is used, a dead one replaced.
 */
int held_snapshot(struct snap_store *store, const char *key, int64_t id, enum snap_engine engine,
		  char **ret, struct err *err) __attribute__((warn_unused_result));
int held_chain(struct snap_store *store, const char *chain, char **ret, struct err *err)
	__attribute__((warn_unused_result));
/* What a snapshot's mount holds in the kernel's caches goes to its upper; fine without one. */
int held_flush(struct snap_store *store, int64_t id, struct err *err)
	__attribute__((warn_unused_result));
/* Who has it mounted elsewhere keeps it. Failures are logged: the mount stays for the next prune.
 */
void held_drop_snapshot(struct snap_store *store, int64_t id);
/* Unless an active snapshot or a view stands on it. */
void held_drop_chain(struct snap_store *store, const char *chain);
