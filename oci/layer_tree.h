/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "erofs/tree.h"
#include "oci/layer_in.h"
#include "oci/tar_member.h"

/*
 * layer_tree - the entries of one layer as a tree, by the rules of
 * docs/SEMANTICS.md, "layers": whiteouts, opaque directories, hard links,
 * implied parents, paths through symlinks. Feed it entries, then finish.
 */
enum oci_layer_device { OCI_DEVICE_DATA = 1, OCI_DEVICE_SIDE = 2 };

struct oci_layer_tree;
/* @limits (filled) is borrowed. NULL: no memory. */
struct oci_layer_tree *oci_layer_tree_new(const struct oci_limits *limits);
void oci_layer_tree_free(struct oci_layer_tree *lt);
static inline void oci_layer_tree_freep(struct oci_layer_tree **lt)
{
	oci_layer_tree_free(*lt);
}
#define cleanup_oci_layer_tree __attribute__((cleanup(oci_layer_tree_freep)))

/* @side: where in the side file a sparse member's content begins. -EBADMSG, -E2BIG. */
int oci_layer_tree_add(struct oci_layer_tree *lt, const struct oci_tar_member *m, uint64_t side,
		       struct err *err) __attribute__((warn_unused_result));
/*
 * What can be told only when all entries are there: which links lead to a lower layer, what a
 * whiteout of a directory with new entries means. @ret_inodes: how many there are, the root too.
 */
int oci_layer_tree_finish(struct oci_layer_tree *lt, uint64_t *ret_inodes, struct err *err)
	__attribute__((warn_unused_result));
struct erofs_tree *oci_layer_tree_get(struct oci_layer_tree *lt); /* borrowed */
