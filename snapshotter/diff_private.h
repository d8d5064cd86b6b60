/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "snapshotter/diff.h"
#include "snapshotter/snapshot_private.h"

/* Writes the layer that the config's upper makes over its lowers. @ret_events: 0 means no change.
 */
int diff_write(const struct ovl_config *c, int fd, const struct snap_layer_options *opt,
	       struct oci_layer_ref *ret, uint64_t *ret_events, struct err *err)
	__attribute__((warn_unused_result));
/* What a live mount of the snapshot holds in the kernel's caches goes to its upper. */
int diff_flush_mount(struct snap_store *store, int64_t id, struct err *err)
	__attribute__((warn_unused_result));
