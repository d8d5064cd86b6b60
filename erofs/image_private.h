/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "erofs/format.h"
#include "erofs/image.h"

/* image_private - the mapped image, shared by the reader's files. */
struct erofs_image {
	const char *map;
	uint64_t size; /* bytes of map */
	uint64_t meta; /* where nid 0 would be */
	uint64_t xattrs; /* the shared area */
	uint64_t root, inos;
	struct erofs_device *devices; /* owned */
	size_t n_devices;
};

/* @len bytes at @off, or NULL when they are not all inside. */
static inline const void *image_at(const struct erofs_image *img, uint64_t off, uint64_t len)
{
	uint64_t end;

	if (__builtin_add_overflow(off, len, &end) || end > img->size)
		return NULL;
	return img->map + off;
}

/* enum erofs_inode_flags of the marks among the xattrs; checks all of them. */
int image_read_marks(const struct erofs_image *img, const struct erofs_stat *st, uint16_t *ret)
	__attribute__((warn_unused_result));
