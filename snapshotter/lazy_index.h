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
/*
 * Makes what is missing and copies it to @dest (oci:DIR or docker://), where the image should be.
 * @list: NULL, or a file that a run recorded: what to fetch first, which goes with it.
 */
int snap_index_push(struct snap_store *store, const char *ref, const char *dest, const char *list,
		    const struct oci_remote *remote, struct snap_index_result *ret, struct err *err)
	__attribute__((warn_unused_result));

struct snap_index_import {
	size_t layers, known, left_out; /* taken; had already; not in it, or no good */
};
/*
 * Takes what the index at @source, made elsewhere, has for layers of the image @ref that are here:
 * each span is inflated from our own blob first, so that what is published later holds. @expect:
 * digest of the artifact's manifest, or NULL: any. @left_out: NULL, or told of layers it leaves
 * out. -ENOENT: there is none there; -EPERM: another than the expected one.
 */
int snap_index_import(struct snap_store *store, const char *ref, const char *source,
		      const struct oci_remote *remote, const struct digest *expect,
		      void (*left_out)(const struct digest *blob, const char *why),
		      struct snap_index_import *ret, struct err *err)
	__attribute__((warn_unused_result));
