/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>

#include "base/err.h"

/*
 * als - an additional layer store (containers/storage, "additionallayerstores"): podman, buildah
 * and CRI-O find the layers of this store's images in it and copy none.
 *
 *	MOUNTPOINT/BASE64(REF)/DIGEST/{diff,info,blob}       and without BASE64(REF) the same
 *
 * `diff` is the layer as a directory, in the marks of the kernel's overlayfs; `info` what
 * containers/storage wants to know of it, as JSON; `blob` the compressed bytes as they came.
 * Opening `use` there for writing counts a use, rmdir of DIGEST ends one; both fail with ENOENT,
 * which is how a store says that it counts. gc leaves images with a layer in use alone.
 *
 * One mount serves all images, those that come later too. What is lazy is filled when it is read.
 */
struct snap_als_options {
	const char *root; /* of the store; NULL: the default */
	const char *mountpoint;
	bool foreground; /* else 0 is returned once the mount is live, and it goes on behind */
};
/* Serves until it is unmounted, or SIGTERM, SIGINT or SIGHUP. By a process of one thread. */
int snap_als(const struct snap_als_options *o, struct err *err) __attribute__((warn_unused_result));
/* The end of every use of the image @ref's layers: what a lost podman store has left. -ENOENT. */
struct snap_store;
int snap_als_release(struct snap_store *store, const char *ref, struct err *err)
	__attribute__((warn_unused_result));
