/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "erofs/image_private.h"
#include "erofs/merge.h"
#include "erofs/tree_private.h"

/* merge_private - what merge.c (applies a layer) and its helpers share. */

/* nid -> inode of the result, for inodes with several names. Open addressing. */
struct nid_map {
	struct nid_slot {
		uint64_t nid;
		struct erofs_inode *inode; /* NULL: free */
	} * slots;
	size_t n, mask;
};
struct erofs_inode *nid_map_find(const struct nid_map *m, uint64_t nid);
int nid_map_put(struct nid_map *m, uint64_t nid, struct erofs_inode *inode)
	__attribute__((warn_unused_result));

/*
 * Walks @path from @start in the merged tree as a process with root @root would: symlinks on the
 * way followed, ".." clamped at the root, the last component followed when @follow_last. @create:
 * missing directories come into being, 0755 root:root, mtime 0, ->scratch = @gen.
 * -ENOENT, -ENOTDIR, -ELOOP (over 40 symlinks), -ENAMETOOLONG, -ENOMEM.
 */
struct merge_path {
	struct erofs_tree *tree;
	struct erofs_inode *start;
	bool follow_last, create;
	uint64_t gen;
};
int merge_resolve(const struct merge_path *p, const char *path, struct erofs_inode **ret)
	__attribute__((warn_unused_result));

/* The union of the devices of the images, and for each image its numbers there. */
struct device_union {
	struct erofs_device *devices;
	size_t n;
	uint16_t **maps; /* maps[image][device - 1] */
	size_t n_maps;
};
int device_union_make(struct erofs_image *const *images, size_t n_images, struct device_union *ret,
		      struct err *err) __attribute__((warn_unused_result));
void device_union_release(struct device_union *u);
