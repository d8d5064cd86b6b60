/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "snapshotter/mount.h"
#include "snapshotter/snapshot_private.h"

/* What is to be mounted: the same for both engines. */
struct mount_request {
	struct snap_store *store;
	const struct snap_row *row;
	const struct snap_mount *mount; /* as 'snap mounts' prints it */
	const char *target; /* absolute */
	const char *options; /* more of them, or NULL */
};

/* As snap_mount(), by the holder of snap_running_lock(). */
int mount_for_container(struct snap_store *store, const char *key, const char *target,
			enum snap_engine engine, const char *options, struct snap_mount_result *ret,
			struct err *err) __attribute__((warn_unused_result));
int mount_by_fuse(const struct mount_request *q, struct err *err)
	__attribute__((warn_unused_result));
/* -EOPNOTSUPP, -ENODEV, -EPERM: this machine or user cannot. */
int mount_by_kernel(const struct mount_request *q, struct err *err)
	__attribute__((warn_unused_result));
/* The EROFS mount of the index @index at the directory @at. */
int mount_chain_index(const char *index, const char *at, struct err *err)
	__attribute__((warn_unused_result));
/* Can the kernel mount overlayfs with an upper in this store? 0 or -errno. */
int mount_probe_overlay(struct snap_store *store, struct err *err)
	__attribute__((warn_unused_result));
/* Can the kernel mount an index from a file? Tries it on one made for the purpose. 0 or -errno. */
int mount_probe_kernel(struct snap_store *store, struct err *err)
	__attribute__((warn_unused_result));

/*
 * mount_labels.c: what a snapshot's labels ask of its mount, as options of the engine behind what
 * @out holds: ",uidmapping=...,gidmapping=...,quota_bytes=N" of containerd.io/snapshot/uidmapping,
 * gidmapping and max-size, or nothing. Only FUSE does it. -EINVAL: a mapping that is none, which
 * mount_label_check() refuses before it is in the store.
 */
struct strbuf;
/* Appends: ':' separates layers, ',' options, '\' escapes both and itself. */
int mount_add_path(struct strbuf *out, const char *path) __attribute__((warn_unused_result));
#define MOUNT_LABELS_NEED_FUSE                                                                     \
	"its labels map its owners or limit its size, and the kernel engine does neither"
int mount_label_check(const struct snap_label *label, struct err *err)
	__attribute__((warn_unused_result));
int mount_label_options(struct snap_store *store, int64_t id, struct strbuf *out, struct err *err)
	__attribute__((warn_unused_result));

/* Takes the mount at @target away. @lazy: also when it is in use or dead. */
int unmount_target(const char *target, bool lazy, struct err *err)
	__attribute__((warn_unused_result));
/*
 * Runs @argv and waits; its standard error's last line becomes the message when it fails. -ENOENT:
 * no such program.
 */
int run_program(const char *const argv[], struct err *err) __attribute__((warn_unused_result));

/* The processes that serve the mount with this source: pidfds (owned, free() the array). */
int mount_servers(const char *source, int **ret_pidfds, size_t *ret_n)
	__attribute__((warn_unused_result));
