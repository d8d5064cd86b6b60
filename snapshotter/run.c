/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "snapshotter/image.h"
#include "snapshotter/mount_private.h"
#include "snapshotter/run_private.h"
#include "snapshotter/running.h"
#include "snapshotter/userns.h"

#define STATUS_NOT_STARTED 125

static void run_release(struct run *run)
{
	for (size_t i = 0; i < run->n_binds; i++) {
		free((char *)(uintptr_t)run->binds[i].source);
		free((char *)(uintptr_t)run->binds[i].destination);
	}
	for (size_t i = 0; i < run->n_made; i++)
		free(run->made[i]);
	free(run->binds);
	free(run->made);
	closep(&run->root_fd);
	oci_image_free(run->image);
}

static int make_id(char *id, size_t size, struct err *err)
{
	unsigned char random[6];

	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return err_set(err, -errno, "random number");
	(void)snprintf(id, size, "run-%02x%02x%02x%02x%02x%02x", random[0], random[1], random[2],
		       random[3], random[4], random[5]);
	return 0;
}

/* A snapshot's image is the one at the bottom of what it stands on. */
static int load_image(struct run *run, struct err *err)
{
	struct snap_stack stack cleanup_snap_stack = {.dirs = NULL};
	struct digest manifest;
	int r = snap_stack_load(run->store, &run->row, &stack, err);

	if (r < 0 || !stack.manifest[0])
		return r;
	if (digest_parse(stack.manifest, &manifest) < 0)
		return err_msg(err, -EUCLEAN, "a snapshot's row is damaged");
	return snap_image_load(run->store, &manifest, &run->image, err);
}

static int open_root(struct run *run, struct err *err)
{
	run->root_fd = open(run->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return run->root_fd < 0 ? err_set(err, -errno, "open '%s'", run->root) : 0;
}

static int mount_options(struct run *run, struct strbuf *ret, struct err *err)
{
	int r = strbuf_adds(ret, "suid");

	if (r == 0 && run->opt->record)
		r = strbuf_adds(ret, ",record=");
	if (r == 0 && run->opt->record)
		r = mount_add_path(ret, run->opt->record);
	return r < 0 ? err_set(err, r, "mount") : 0;
}

/* Below ->dir; one that is mounted already, and of this namespace, is used where it is. */
static int mount_root(struct run *run, const char *key, char **ret_root, bool *ret_mounted,
		      struct err *err)
{
	struct strbuf options CLEANUP(strbuf_release) = STRBUF_INIT;
	struct snap_mount_result result;
	char *at cleanup_free = NULL;
	int r = snap_mounted_at(run->store, run->row.id, &at, err);

	if (r < 0)
		return r;
	if (r > 0 && run->opt->record) {
		(void)err_msg(err, -EBUSY, "it is mounted at '%s', without --record", at);
		err_hint(err, "'snap umount %s' first", at);
		return -EBUSY;
	}
	if (r > 0 && !snap_userns_entered()) {
		*ret_root = steal_ptr(&at);
		return 0;
	}
	if (r > 0) {
		(void)err_msg(err, -EBUSY, "it is mounted at '%s', outside of the user namespace",
			      at);
		err_hint(err, "'snap umount %s' first, or do both in 'snap unshare'", at);
		return -EBUSY;
	}
	if (mkdirat(run->dir_fd, "rootfs", 0755) < 0 && errno != EEXIST)
		return err_set(err, -errno, "make '%s/rootfs'", run->dir);
	if (asprintf(ret_root, "%s/rootfs", run->dir) < 0) {
		*ret_root = NULL;
		return err_set(err, -ENOMEM, "mount");
	}
	r = mount_options(run, &options, err);
	if (r == 0)
		r = mount_for_container(run->store, key, *ret_root,
					run->opt->record ? SNAP_ENGINE_FUSE : run->opt->engine,
					options.s, &result, err);
	*ret_mounted = r == 0;
	if (r == 0)
		log_info("engine %s: %s", snap_engine_name(result.engine), result.reason);
	return r;
}

static void unmount_root(struct run *run, const char *key)
{
	struct err why = ERR_INIT;

	closep(&run->root_fd);
	if (snap_umount(run->store, key, &why) < 0) {
		log_warn("%s: it goes with this process", why.msg);
		(void)umount2(run->root, MNT_DETACH | UMOUNT_NOFOLLOW);
	}
}

/* With the snapshot's lock held: mounts it, runs the command, and leaves nothing but what it wrote.
 */
static int run_in(struct run *run, const char *key, int *ret, struct err *err)
{
	struct store_tmp tmp cleanup_store_tmp = STORE_TMP_INIT;
	char *root cleanup_free = NULL, *dir cleanup_free = NULL;
	bool mounted = false;
	int r = store_tmp_new(run->store, &tmp, err);

	if (r < 0)
		return r;
	if (asprintf(&dir, "%s/tmp/%s", run->store->root, tmp.name) < 0)
		return err_set(err, -ENOMEM, "run");
	run->dir = dir;
	run->dir_fd = tmp.fd;
	r = mount_root(run, key, &root, &mounted, err);
	if (r < 0)
		return r;
	run->root = root;
	r = open_root(run, err);
	if (r == 0)
		r = run_volumes(run, err);
	if (r == 0)
		r = run_config(run, root, err);
	if (r == 0) {
		const struct runtime_place place = {dir, tmp.fd, run->lock_fd};

		if (snap_userns_entered() && snap_userns_ids("uid_map") == 1)
			log_warn("no subordinate ids: the container has one id, root; 'snap "
				 "doctor' says "
				 "how to mend it");
		r = runtime_run(&run->runtime, &place, run->id, run->opt->speak, ret, err);
		run_remove_mount_points(run);
	}
	if (mounted)
		unmount_root(run, key);
	return r;
}

/* 1: the snapshot was made of an image; 0: it was there. */
static int find_or_prepare(struct run *run, const char *what, char **ret_key, struct err *err)
{
	int r = snap_row_find(run->store, what, &run->row, NULL);

	if (r == 0 && run->opt->name)
		return err_msg(err, -EINVAL, "'%s' is a snapshot: it has its name", what);
	if (r == 0 && run->row.kind == SNAP_COMMITTED) {
		(void)err_msg(err, -EBUSY, "snapshot '%s' is committed", what);
		err_hint(err, "'snap prepare' one on it");
		return -EBUSY;
	}
	*ret_key = strdup(r == 0 ? what : run->opt->name ? run->opt->name : run->id);
	if (!*ret_key)
		return err_set(err, -ENOMEM, "run");
	if (r == 0)
		return 0;
	r = snap_prepare(run->store, SNAP_ACTIVE, *ret_key, what, NULL, 0, err);
	if (r == 0)
		r = snap_row_find(run->store, *ret_key, &run->row, err);
	return r < 0 ? r : 1;
}

int snap_run(struct snap_store *store, const char *what, const struct snap_run_options *opt,
	     int *ret, struct err *err)
{
	struct run run CLEANUP(run_release) = {.store = store, .opt = opt, .root_fd = -1};
	char *key cleanup_free = NULL;
	int lock cleanup_close = -1, r, made;

	*ret = STATUS_NOT_STARTED;
	run.terminal = isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;
	r = runtime_find(opt->runtime, &run.runtime, err);
	if (r == 0)
		r = make_id(run.id, sizeof(run.id), err);
	made = r < 0 ? r : find_or_prepare(&run, what, &key, err);
	if (made < 0)
		return err_wrap(err, made, "run '%s'", what);
	lock = snap_running_lock(store, &run.row, err);
	run.lock_fd = lock;
	r = lock < 0 ? lock : load_image(&run, err);
	if (r == 0)
		r = run_in(&run, key, ret, err);
	if (lock >= 0)
		(void)flock(lock, LOCK_UN); /* the keeper has the descriptor as well */
	closep(&lock);
	/* one that never ran has nothing that anybody would want to keep */
	if (made && (opt->remove || (r < 0 && *ret == STATUS_NOT_STARTED))) {
		struct err why = ERR_INIT;

		if (snap_remove(store, key, 0, r < 0 ? &why : err) < 0 && r == 0)
			r = -EIO;
	}
	return r < 0 ? err_wrap(err, r, "run '%s'", what) : 0;
}

int snap_bundle(struct snap_store *store, const char *key, const char *dir,
		const struct snap_run_options *opt, struct snap_mount_result *ret, struct err *err)
{
	struct run run CLEANUP(run_release) = {.store = store, .opt = opt, .root_fd = -1};
	char *full cleanup_free = NULL, *root cleanup_free = NULL;
	int fd cleanup_close = -1, r;

	if (geteuid() != 0) {
		(void)err_msg(err, -EPERM,
			      "a bundle's root file system is mounted in the user namespace");
		err_hint(err, "make and run it inside of 'snap unshare'");
		return -EPERM;
	}
	/* what is mounted at rootfs is not ours to decide: any runtime may take the bundle */
	r = runtime_find(opt->runtime, &run.runtime, opt->runtime ? err : NULL);
	if (r == -ENOENT)
		r = 0;
	if (r == 0)
		r = make_id(run.id, sizeof(run.id), err);
	if (r == 0)
		r = snap_row_find(store, key, &run.row, err);
	if (r == 0)
		r = load_image(&run, err);
	if (r == 0 && mkdir(dir, 0700) < 0 && errno != EEXIST)
		r = err_set(err, -errno, "make '%s'", dir);
	full = r == 0 ? realpath(dir, NULL) : NULL;
	if (full)
		fd = open(full, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r == 0 && fd < 0)
		r = err_set(err, -errno, "open '%s'", dir);
	if (r == 0 && faccessat(fd, "config.json", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		r = err_msg(err, -EEXIST, "'%s' is a bundle already", dir);
	if (r == 0 && mkdirat(fd, "rootfs", 0755) < 0 && errno != EEXIST)
		r = err_set(err, -errno, "make '%s/rootfs'", dir);
	if (r < 0 || asprintf(&root, "%s/rootfs", full) < 0)
		return err_wrap(err, r < 0 ? r : -ENOMEM, "bundle of '%s'", key);
	r = snap_mount(store, key, root, opt->engine, "suid", ret, err);
	if (r < 0)
		return err_wrap(err, r, "bundle of '%s'", key);
	run.dir = full;
	run.dir_fd = fd;
	run.root = root;
	r = open_root(&run, err);
	if (r == 0)
		r = run_volumes(&run, err);
	if (r == 0)
		r = run_config(&run, "rootfs", err);
	if (r < 0)
		unmount_root(&run, key);
	return r < 0 ? err_wrap(err, r, "bundle of '%s'", key) : 0;
}
