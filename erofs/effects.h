/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "erofs/image.h"

/*
 * effects - what each layer of a stack does to what is below it. Counted are names, directories
 * too: "adds" had no name before, "hides" have none any more, "changes" are another thing under
 * the same name (contents, type, mode, owner, time, xattrs; of a directory its mode, owner and
 * xattrs). A directory that hides one below counts with all that was in it.
 *
 * Bytes are those of regular files whose data the layer brings; several names of one file count
 * once, a sparse file in full. Wasted are those that the stack below stores and that nobody sees
 * any more because of this layer.
 */
struct erofs_effect {
	uint64_t adds, changes, hides; /* names */
	uint64_t bytes, wasted;
};

/*
 * @images: lowest first, each the index of a single layer; @ret: one for each. Costs what a merge
 * of as many stacks does: memory for two trees. -EBADMSG as erofs_merge().
 */
int erofs_effects(struct erofs_image *const *images, size_t n, struct erofs_effect *ret,
		  struct err *err) __attribute__((warn_unused_result));
