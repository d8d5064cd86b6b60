/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "erofs/image.h"

/*
 * merge - the union of a stack of layers as one tree: whiteouts and opaque
 * marks applied, implied directories, links to lower layers and entries below
 * a lower layer's symlinks resolved inside the root (docs/SEMANTICS.md).
 *
 * @images: lowest first, each the index of a single layer, or (first only) a chain already merged.
 * @ret_devices: the devices of the result, to be passed to erofs_write() (free() it); a layer that
 * occurs twice has its devices once. -EBADMSG with a message that names layer @i and the entry when
 * a layer cannot be applied (link to nothing, symlink loop, parent that is a file).
 */
int erofs_merge(struct erofs_image *const *images, size_t n_images, struct erofs_tree **ret_tree,
		struct erofs_device **ret_devices, size_t *ret_n_devices, struct err *err)
	__attribute__((warn_unused_result));
