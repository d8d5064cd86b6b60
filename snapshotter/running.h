/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "snapshotter/snapshot_private.h"

/*
 * running - what a snapshot's files owe to namespaces: a container that runs in
 * one keeps it locked, because its mount is seen in the container's namespace
 * alone; and one that was mounted as root of a user namespace has owners that
 * mean something there alone, which a file beside its upper remembers.
 */

/* Locks it for this process until the fd (owned) is closed. -EBUSY: a container runs in it. */
int snap_running_lock(struct snap_store *store, const struct snap_row *row, struct err *err)
	__attribute__((warn_unused_result));
/* -EBUSY: a container runs in it, @err names the process. */
int snap_running_check(struct snap_store *store, const struct snap_row *row, struct err *err)
	__attribute__((warn_unused_result));
/* A pidfd (owned) of who runs a container in @key; -ESRCH: nobody, or no such snapshot. */
int snap_running(struct snap_store *store, const char *key) __attribute__((warn_unused_result));

/* Remembers that @row was mounted in a user namespace; nothing to do outside of one. */
int snap_mark_inside(struct snap_store *store, const struct snap_row *row, struct err *err)
	__attribute__((warn_unused_result));
/* Was @key, or one that it stands on, written to in a user namespace? */
bool snap_written_inside(struct snap_store *store, const char *key);
