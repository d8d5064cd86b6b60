/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/err.h"
#include "snapshotter/containerd/fetch.h"
#include "snapshotter/mount.h"

/*
 * server - 'snap serve': containerd's proxy snapshotter on a unix socket.
 *
 * One thread does all connections, workers run the calls (containerd/pool.h). It holds no state
 * that the store does not: it may be killed and started again at any time, and file systems that
 * it mounted stay.
 */
struct snap_serve_options {
	const char *root; /* the store; NULL: the default one */
	const char *address; /* of the socket, "unix://" in front of it is fine */
	enum snap_engine engine;
	bool fuse_helper; /* containerd starts snapfs, by mount.fuse3(8) */
	struct fetch_options fetch; /* borrowed, as all of this, until it returns */
};

/*
 * Serves until SIGTERM or SIGINT; then what is under way is finished, for at most ten seconds.
 * -EADDRINUSE: another server has the socket.
 */
int snap_serve(const struct snap_serve_options *opt, struct err *err)
	__attribute__((warn_unused_result));
