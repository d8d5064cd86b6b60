/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "snapshotter/store.h"

/*
 * df - who owns which bytes of the store's directory. The parts add up to what
 * du says of it; what is mounted below (chains in run/, containers) is not of
 * it and not counted.
 */
struct snap_df_part {
	const char *what; /* static: "blobs", "layers", "chains", "snapshots", "tmp", "rest" */
	uint64_t count; /* things of that kind; of "rest": files and directories */
	uint64_t size; /* bytes on disk */
};
#define SNAP_DF_PARTS 6
struct snap_df {
	struct snap_df_part parts[SNAP_DF_PARTS];
	uint64_t size; /* of all parts together */
	/* Blobs that are not here, by choice (--no-blobs), while their layers are. */
	uint64_t left_out, left_out_size;
	/* Bytes on disk that a pull needed at most, so far, beyond what it kept. */
	uint64_t pull_temporary;
};
/* Files that may come and go meanwhile; no lock is taken. */
int snap_df(struct snap_store *store, struct snap_df *ret, struct err *err)
	__attribute__((warn_unused_result));
