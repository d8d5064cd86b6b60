/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "snapshotter/store.h"

/*
 * filler - the process that brings what lazy layers of a store miss: on demand of their mounts,
 * over the socket ROOT/run/fill (overlay/lazy.h has the messages), and in the background. One a
 * store, held by a lock; it alone has to do with networks, credentials and foreign bytes, so a
 * mount needs none of that. It holds no state that the layers' folders do not have: killed, it is
 * started again by the next mount that misses something, and goes on.
 */
/*
 * Serves until nothing has been asked for some time and nothing is left to be done in the
 * background. @background: goes there once the socket is open (0 in the parent: it may end).
 * 0 too when another one serves already.
 */
int snap_filler_serve(const char *root, bool background, struct err *err)
	__attribute__((warn_unused_result));
/* Sees to it that one runs and looks at the store. */
int snap_filler_wake(struct snap_store *store, struct err *err) __attribute__((warn_unused_result));

/* The whole of one layer, verified: what is left of it is fetched first. */
int snap_filler_complete(struct snap_store *store, const char *layer, struct err *err)
	__attribute__((warn_unused_result));
/* All layers of the image @name, complete. @ret_layers: that were not. */
int snap_fill(struct snap_store *store, const char *name, size_t *ret_layers, struct err *err)
	__attribute__((warn_unused_result));
