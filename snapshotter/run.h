/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "snapshotter/mount.h"

/*
 * run - a command in a container that has a snapshot as its root file system,
 * made by an OCI runtime (runc, crun); and the bundle of it for any other.
 *
 * The container shares the caller's network. Everything that is mounted for it
 * is in the mount namespace of the calling process, which snap_userns_enter()
 * made: nothing stays mounted, however the process ends.
 */
struct snap_run_options {
	const char *name; /* of the snapshot that is made of an image; NULL: one is thought up */
	const char *runtime; /* NULL: the better one that is there */
	const char *workdir, *user; /* NULL: the image's */
	const char *const *env; /* "K=V", or "K" for the caller's own */
	size_t n_env;
	const char *const *volumes; /* "HOST:CONTAINER[:ro]" */
	size_t n_volumes;
	const char *const *command; /* instead of the image's Cmd */
	size_t n_command;
	enum snap_engine engine;
	const char *record; /* file: what is read of the layers, in order; NULL: nowhere */
	bool remove; /* the snapshot that was made of an image goes when its command ends */
	bool speak; /* say also what the runtime said already */
};

/*
 * @what: a snapshot, or an image of which one is made. *@ret as runtime_run() has it; it is set to
 * 125 at first, so that it holds when this fails.
 */
int snap_run(struct snap_store *store, const char *what, const struct snap_run_options *opt,
	     int *ret, struct err *err) __attribute__((warn_unused_result));

/*
 * Writes @dir/config.json and mounts snapshot @key at @dir/rootfs: 'snap umount' takes it away.
 * -EEXIST: there is a bundle; -EPERM: an ordinary user outside of 'snap unshare'.
 */
int snap_bundle(struct snap_store *store, const char *key, const char *dir,
		const struct snap_run_options *opt, struct snap_mount_result *ret, struct err *err)
	__attribute__((warn_unused_result));
