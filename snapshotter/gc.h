/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "snapshotter/store.h"

/*
 * gc - takes away what nothing refers to: manifests without a REF or snapshot,
 * chains and layers without a manifest, blobs, folders that a killed process
 * left. Waits for pulls and commits that are under way.
 */
struct snap_gc_item {
	const char *kind; /* "blob", "layer", "chain", "snapshot", "work", "mount", "tmp" */
	const char *name; /* digest, number of the snapshot's folder, or name in ROOT/run */
	uint64_t bytes; /* on disk */
	const char *why;
};
typedef int (*snap_gc_fn)(void *ctx, const struct snap_gc_item *item, struct err *err);

struct snap_gc_result {
	uint64_t items, bytes;
};
enum snap_gc_flags { SNAP_GC_DRY_RUN = 1 << 0 };
/*
 * Only folders of snapshots without a row, which a killed process left. Waits for nobody; nothing
 * that is pulled or removed by name is touched.
 */
int snap_gc_snapshots(struct snap_store *store, struct err *err)
	__attribute__((warn_unused_result));
/* @fn (may be NULL) hears of everything before it goes; a non-zero return stops. */
int snap_gc(struct snap_store *store, unsigned int flags, snap_gc_fn fn, void *ctx,
	    struct snap_gc_result *ret, struct err *err) __attribute__((warn_unused_result));
