/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdint.h>

#include "base/err.h"
#include "erofs/tree.h"

/*
 * write - puts a tree on disk as an EROFS image of metadata only: 512-byte
 * blocks, regular files chunk-based into extra devices (Linux kernel,
 * Documentation/filesystems/erofs.rst; docs/FORMAT.md). The same tree and
 * devices always give the same bytes.
 */
#define EROFS_BLOCK_BITS  9
#define EROFS_DEVICE_MAX  4096
#define EROFS_TAG_HEX_LEN 64

/*
 * One extra device. @tag is the lower-case hex sha256 of the layer's tar. The
 * first device with a tag is that layer's tar ("data"); a second one directly
 * behind it with the same tag is the layer's side file ("side"), which has
 * the sparse members in their full, holed length.
 */
struct erofs_device {
	char tag[EROFS_TAG_HEX_LEN + 1];
	uint64_t size; /* bytes; rounded up to a block in the image */
};

/*
 * Writes the image to @fd from position 0 (truncates it first). Not synced. Removed or unreachable
 * inodes are left out. -EFBIG when a limit of the format is reached (@err says which).
 */
int erofs_write(struct erofs_tree *t, const struct erofs_device *devices, size_t n_devices, int fd,
		struct err *err) __attribute__((warn_unused_result));
