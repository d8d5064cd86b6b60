/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * store - the folder that holds images, layers and snapshots, and the database
 * that gives them names (docs/ARCHITECTURE.md, "store").
 *
 *	r = snap_store_open(NULL, &store, &err);        the default root; made when it is not there
 *	r = snap_prepare(store, "key", "debian:12", ...);                snapshotter/snapshot.h
 *	snap_store_close(store);
 *
 * Any number of processes at once, one thread for each opened store. Content
 * is built in tmp/, synced, renamed into place; the row that names it comes
 * last: a process killed at any instant leaves nothing that is not swept by
 * the next snap_store_open().
 *
 * Errors of the whole snapshotter, as containerd has them:
 *	-ENOENT NotFound, -EEXIST AlreadyExists, -EBUSY FailedPrecondition,
 *	-EINVAL InvalidArgument, -EAGAIN Unavailable (try again); everything else is the system's.
 */
struct snap_store;

/*
 * @root: NULL for $SNAP_ROOT, else /var/lib/snap for root and $XDG_DATA_HOME/snap (or
 * ~/.local/share/snap) for others. -EPROTONOSUPPORT when the store is of a newer version.
 */
/* The same, but what a killed process left in tmp/ stays: for gc, which tells of it. */
int snap_store_open_as_it_is(const char *root, struct snap_store **ret, struct err *err)
	__attribute__((warn_unused_result));
int snap_store_open(const char *root, struct snap_store **ret, struct err *err)
	__attribute__((warn_unused_result));
void snap_store_close(struct snap_store *store);
static inline void snap_store_closep(struct snap_store **store)
{
	snap_store_close(*store);
}
#define cleanup_snap_store __attribute__((cleanup(snap_store_closep)))

/*
 * What is prepared through this handle belongs to @owner (borrowed, static), and snap_walk() shows
 * only what does: containerd removes every listed snapshot that it does not know. NULL: anybody's.
 */
void snap_store_set_owner(struct snap_store *store, const char *owner);

/* Absolute, without symlinks; borrowed. */
const char *snap_store_root(const struct snap_store *store);
