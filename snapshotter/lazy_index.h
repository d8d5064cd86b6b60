/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "oci/source.h"
#include "snapshotter/store.h"

/*
 * lazy_index - the lazy index of an image: for each layer what is needed to use it before its bytes
 * are here, as an OCI artifact that refers to the image. Another store that pulls the image with
 * --lazy from where the artifact is finds it by the manifest's digest.
 */
enum snap_index_state {
	SNAP_INDEX_READY, /* it is made */
	SNAP_INDEX_MISSING, /* it can be made from the blob */
	SNAP_INDEX_NEVER, /* such a layer is always fetched whole; ->why says why */
};
struct snap_index_layer {
	struct digest blob;
	uint64_t blob_size, tar_size; /* bytes */
	uint64_t size; /* of its part of the index, when READY; bytes */
	uint64_t spans;
	enum snap_index_state state;
	char why[160];
};
/* Of the image @ref, lowest layer first; free() @ret. @make: what is missing is made. */
int snap_index_layers(struct snap_store *store, const char *ref, bool make,
		      struct snap_index_layer **ret, size_t *ret_n, struct err *err)
	__attribute__((warn_unused_result));

struct snap_index_result {
	struct digest manifest, subject; /* of the artifact, of the image */
	size_t layers, left_out;
	uint64_t size; /* bytes of the artifact's blobs */
};
/* Makes what is missing and copies it to @dest (oci:DIR or docker://), where the image should be.
 */
int snap_index_push(struct snap_store *store, const char *ref, const char *dest,
		    const struct oci_remote *remote, struct snap_index_result *ret, struct err *err)
	__attribute__((warn_unused_result));
