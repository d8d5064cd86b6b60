/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/err.h"
#include "snapshotter/containerd/fetch.h"
#include "snapshotter/mount.h"
#include "snapshotter/rootfs.h"

/*
 * pool - threads that run calls, each with a store of its own: one that waits for a mount, a disk
 * or another process keeps nobody else waiting.
 */
struct call;
struct pool;

/* @rootfs is borrowed and not changed. */
int pool_new(const char *root, const struct snap_rootfs *rootfs, const struct fetch_options *fetch,
	     struct pool **ret, struct err *err) __attribute__((warn_unused_result));
/* Takes a reference of the call. -EAGAIN: too many wait. */
int pool_submit(struct pool *p, struct call *c) __attribute__((warn_unused_result));
/* Waits for what runs; what waits is dropped. */
void pool_free(struct pool *p);
