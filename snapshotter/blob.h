/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "oci/document.h"
#include "snapshotter/store_private.h"

/*
 * blob - a layer's blob as it goes out of the store: the one that came in, or,
 * where none was kept (--no-blobs), one made again of the layer's tar.
 */
struct blob {
	int fd; /* owned; a file, to be read from its start */
	struct oci_descriptor desc; /* what it is */
};
#define BLOB_INIT                                                                                  \
	{                                                                                          \
		.fd = -1                                                                           \
	}
void blob_release(struct blob *blob);
#define cleanup_blob __attribute__((cleanup(blob_release)))

/* 1: the layer of the blob is here, and the blob is not to be (--no-blobs). */
int blob_is_left_out(struct snap_store *store, const struct digest *blob, struct err *err)
	__attribute__((warn_unused_result));
/*
 * @other: one with another digest will do, for the same tar. -ENOENT without it: the blob is not
 * kept, and compressing the tar again gives another one; or it is lazy, or lost.
 */
int blob_open(struct snap_store *store, const struct oci_layer_ref *layer, bool other,
	      struct blob *ret, struct err *err) __attribute__((warn_unused_result));
