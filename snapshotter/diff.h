/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "oci/document.h"
#include "overlay/changes.h"
#include "snapshotter/snapshot.h"

/*
 * diff, commit to an image - what a container changed, as a layer. Costs what
 * changed. The snapshot may be mounted: what its mount holds back is flushed
 * first, what is written meanwhile may be in it or not.
 */
struct snap_layer_options {
	enum oci_compression compression;
	int level; /* 0: the default of the compression */
	bool has_timestamp;
	int64_t timestamp; /* seconds since 1970: later mtimes are cut to it; created */
};

/* The layer of the active or committed snapshot @key to @fd. @ret may be NULL. */
int snap_diff(struct snap_store *store, const char *key, int fd,
	      const struct snap_layer_options *opt, struct oci_layer_ref *ret, struct err *err)
	__attribute__((warn_unused_result));
/* Its changes, opaque directories as the deletions they stand for. */
int snap_diff_list(struct snap_store *store, const char *key, ovl_change_fn fn, void *ctx,
		   struct err *err) __attribute__((warn_unused_result));

struct snap_commit_options {
	struct snap_layer_options layer;
	const char *message, *author; /* NULL: none */
	const char
		*created_by; /* of the snapshot's own layer; NULL: its label says so, or nothing */
	const char *const *changes; /* as oci/build.h has them */
	size_t n_changes;
	bool check; /* make the layer twice; -EAGAIN when the two differ */
	bool no_blobs; /* the tars of the new layers are kept alone */
};
struct snap_commit_result {
	struct digest manifest;
	size_t layers, new_layers;
	uint64_t new_bytes; /* of the new layers' blobs */
};
/*
 * A new image @ref of what is below the active snapshot @key, one more layer for each committed
 * snapshot between and one for its own changes (none when there are none). @key stays as it is.
 * In the image's history a layer was created by what the label SNAP_LABEL_CREATED_BY of its
 * snapshot says.
 */
int snap_commit_image(struct snap_store *store, const char *ref, const char *key,
		      const struct snap_commit_options *opt, struct snap_commit_result *ret,
		      struct err *err) __attribute__((warn_unused_result));
