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
/* Files that may come and go meanwhile; no lock is taken. */
int snap_df(struct snap_store *store, struct snap_df_part ret[SNAP_DF_PARTS], struct err *err)
	__attribute__((warn_unused_result));
