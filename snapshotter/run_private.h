/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "oci/document.h"
#include "snapshotter/run.h"
#include "snapshotter/runtime.h"
#include "snapshotter/runtime_config.h"
#include "snapshotter/snapshot_private.h"

/* A container as far as it is prepared: shared by run.c, run_config.c and run_volumes.c. */
struct run {
	struct snap_store *store;
	const struct snap_run_options *opt;
	struct snap_row row;
	struct oci_image *image; /* owned; NULL: the snapshot stands on none */
	struct runtime runtime; /* of 'snap run' */
	const char *dir; /* the bundle, absolute */
	int dir_fd; /* borrowed */
	int lock_fd; /* the snapshot's, of 'snap run'; borrowed */
	const char *root; /* where the snapshot is mounted, absolute */
	int root_fd; /* of it, owned */
	char id[32];
	bool terminal;
	struct runtime_bind *binds; /* owned array of owned strings */
	size_t n_binds;
	char **made; /* mount points that the runtime will make, parents first; owned */
	size_t n_made;
};

/* Adds to ->binds; copies the strings. */
int run_bind(struct run *run, const char *source, const char *destination, bool read_only,
	     bool nodev, struct err *err) __attribute__((warn_unused_result));
/* The caller's volumes, and those that the image declares: folders beside the upper. */
int run_volumes(struct run *run, struct err *err) __attribute__((warn_unused_result));
/* Host files that a container in the host's network needs; then config.json in the bundle. */
int run_config(struct run *run, const char *root, struct err *err)
	__attribute__((warn_unused_result));
/* Notes which mount points are not there yet, and takes away what the runtime made of them. */
int run_note_mount_points(struct run *run, struct err *err) __attribute__((warn_unused_result));
void run_remove_mount_points(struct run *run);
