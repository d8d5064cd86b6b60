/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "oci/document.h"

/*
 * repack - a blob again, of a layer's tar whose blob was not kept. Compressing is
 * no function of the tar alone: other programs, levels and versions give other
 * bytes, and so a blob with another digest that stands for the same tar.
 */
struct oci_repacked {
	struct digest blob, tar; /* tar: sha256 */
	uint64_t size; /* bytes of the blob */
};
/*
 * All of @tar_fd, from its start, compressed to @fd from its position on. @level: as
 * oci/compress.h has it; @alg: of the blob's digest.
 */
int oci_repack(int tar_fd, int fd, enum oci_compression how, int level, enum digest_alg alg,
	       struct oci_repacked *ret, struct err *err) __attribute__((warn_unused_result));

/*
 * @image with other blobs for the same tars: @blobs has one for each layer (digest and size count),
 * that of the image where nothing is to change. The config stays, and so do the diff ids; what the
 * manifest says of the replaced bytes themselves (annotations of tables of contents, other places
 * to get them from) goes.
 */
int oci_image_replace_blobs(const struct oci_image *image, const struct oci_descriptor *blobs,
			    struct oci_image **ret, struct err *err)
	__attribute__((warn_unused_result));
