/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "snapshotter/store.h"

/*
 * unpack - an image as a plain tree of files, for who needs one: what 'umoci raw unpack' makes.
 *
 * Every object is made in a directory that is held open, by openat2(2) beneath the tree's root and
 * without symlinks, with O_EXCL and O_NOFOLLOW, and is given its owner, attributes and times
 * through its own descriptor: another process that swaps names meanwhile breaks the tree at most,
 * and leads nothing out of it. Directories are 0700 until everything is in them.
 *
 * An owner that the caller may not give is kept in user.containers.override_stat ("soft"), as
 * containers/storage and snapfs have it; device nodes that he may not make are left out.
 */
struct snap_unpack_result {
	uint64_t entries; /* names, without the root */
	uint64_t bytes; /* of regular files, each once */
	uint64_t soft_owners; /* files and directories whose owner is in an xattr */
	uint64_t left_out; /* device nodes */
};

/*
 * The image @ref becomes the tree at @dir, which is made, or is an empty directory. @threads of
 * them write files (0: one for each processor, at most 8). Nothing is left when it fails. -ENOENT:
 * no such image; -ENOTEMPTY, -ENOTDIR: of @dir.
 */
int snap_unpack(struct snap_store *store, const char *ref, const char *dir, unsigned int threads,
		struct snap_unpack_result *ret, struct err *err)
	__attribute__((warn_unused_result));
