/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "snapshotter/mount_private.h"
#include "snapshotter/mountinfo.h"
#include "snapshotter/running.h"

#define SERVER_DECIDES_MS 10000
#define SERVER_EXIT_MS                                                                             \
	30000 /* it has everything written when the mount is gone; this is its exit */

int snap_engine_parse(const char *text, enum snap_engine *ret, struct err *err)
{
	for (int e = SNAP_ENGINE_AUTO; e <= SNAP_ENGINE_KERNEL; e++) {
		if (strcmp(text, snap_engine_name((enum snap_engine)e)) == 0) {
			*ret = (enum snap_engine)e;
			return 0;
		}
	}
	return err_msg(err, -EINVAL, "'%s' is no engine: auto, fuse or kernel", text);
}

const char *snap_engine_name(enum snap_engine engine)
{
	switch (engine) {
	case SNAP_ENGINE_AUTO:
		return "auto";
	case SNAP_ENGINE_FUSE:
		return "fuse";
	case SNAP_ENGINE_KERNEL:
		return "kernel";
	}
	return "unknown";
}

/* A server that was killed leaves a mount that answers ENOTCONN to everybody. */
static bool is_dead(const char *target)
{
	struct statx st;

	/* the kernel keeps attributes without end and would answer for the dead: ask the server */
	return statx(AT_FDCWD, target, AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &st) < 0 &&
	       (errno == ENOTCONN || errno == ECONNABORTED);
}

static int clear_old_mount(struct snap_store *store, const struct snap_row *row, struct err *err)
{
	/* one mount on top of another of the same snapshot: each is looked at */
	for (;;) {
		char *at cleanup_free = NULL;
		int r = snap_mounted_at(store, row->id, &at, err);

		if (r <= 0)
			return r;
		if (!is_dead(at)) {
			(void)err_msg(err, -EBUSY, "it is mounted at '%s'", at);
			err_hint(err, "'snap umount %s' first", at);
			return -EBUSY;
		}
		log_warn("replacing the dead mount at '%s'", at);
		r = unmount_target(at, true, err);
		if (r < 0)
			return r;
	}
}

/* A server holds the work directory of its snapshot from before its mount is seen until after. */
static bool has_server(struct snap_store *store, int64_t id)
{
	char path[STORE_PATH_MAX];
	int fd cleanup_close = -1;

	store_snapshot_path(id, "work", path);
	fd = openat(store->root_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

/*
 * A server without a mount comes or goes: one whose 'snap mount' was killed still brings its mount
 * up, and then that is the one. Who does not come to a decision is told of by the engine.
 */
static int settle_old_mount(struct snap_store *store, const struct snap_row *row, struct err *err)
{
	const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};

	for (int waited = 0; waited < SERVER_DECIDES_MS; waited += 10) {
		bool served = has_server(store, row->id);
		int r = clear_old_mount(store, row, err);

		if (r < 0 || !served)
			return r;
		(void)nanosleep(&pause, NULL);
	}
	return 0;
}

/* Two 'snap mount' of one snapshot at once: the second waits and sees the first one's mount. */
static int lock_snapshot(struct snap_store *store, int64_t id, struct err *err)
{
	char path[STORE_PATH_MAX];
	int fd cleanup_close = -1;

	store_snapshot_path(id, NULL, path);
	fd = openat(store->root_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, -errno, "open '%s/%s'", store->root, path);
	while (flock(fd, LOCK_EX) < 0) {
		if (errno != EINTR)
			return err_set(err, -errno, "lock '%s/%s'", store->root, path);
	}
	return steal_fd(&fd);
}

static int mount_locked(const struct mount_request *q, enum snap_engine engine,
			struct snap_mount_result *ret, struct err *err)
{
	struct err why = ERR_INIT;
	int r;

	ret->engine = SNAP_ENGINE_FUSE;
	(void)snprintf(ret->reason, sizeof(ret->reason), "asked for");
	if (engine == SNAP_ENGINE_FUSE)
		return mount_by_fuse(q, err);
	if (engine == SNAP_ENGINE_AUTO && geteuid() != 0) {
		(void)snprintf(ret->reason, sizeof(ret->reason), "the kernel mounts for root only");
		return mount_by_fuse(q, err);
	}
	r = mount_by_kernel(q, engine == SNAP_ENGINE_KERNEL ? err : &why);
	if (r == 0 || engine == SNAP_ENGINE_KERNEL) {
		ret->engine = SNAP_ENGINE_KERNEL;
		if (engine == SNAP_ENGINE_AUTO)
			(void)snprintf(ret->reason, sizeof(ret->reason),
				       "root, and this kernel mounts EROFS from files");
		return r;
	}
	(void)snprintf(ret->reason, sizeof(ret->reason), "not by the kernel: %.450s", why.msg);
	return mount_by_fuse(q, err);
}

/* Owners that a user namespace gave mean nothing outside of it, and may not even be read there. */
static int check_owners(struct snap_store *store, const char *key, struct err *err)
{
	if (geteuid() == 0 || !snap_written_inside(store, key))
		return 0;
	(void)err_msg(err, -EPERM, "it was written to in the user namespace");
	err_hint(err, "mount it in 'snap unshare', or use 'snap run'");
	return -EPERM;
}

int snap_mount(struct snap_store *store, const char *key, const char *target,
	       enum snap_engine engine, const char *options, struct snap_mount_result *ret,
	       struct err *err)
{
	struct snap_row row;
	int r = snap_row_find(store, key, &row, err);

	if (r == 0)
		r = snap_running_check(store, &row, err);
	if (r == 0)
		r = check_owners(store, key, err);
	return r < 0 ? err_wrap(err, r, "mount '%s'", key)
		     : mount_for_container(store, key, target, engine, options, ret, err);
}

int mount_for_container(struct snap_store *store, const char *key, const char *target,
			enum snap_engine engine, const char *options, struct snap_mount_result *ret,
			struct err *err)
{
	struct snap_mount m cleanup_snap_mount = {.type = NULL};
	struct snap_mount_result result = {.engine = engine};
	struct mount_request q = {.store = store, .mount = &m, .options = options};
	char *path cleanup_free = NULL;
	int lock cleanup_close = -1, r;
	struct snap_row row;

	r = snap_row_find(store, key, &row, err);
	if (r == 0)
		r = snap_mounts(store, key, &m, err);
	if (r < 0)
		return err_wrap(err, r, "mount '%s'", key);
	lock = lock_snapshot(store, row.id, err);
	r = lock < 0 ? lock : settle_old_mount(store, &row, err);
	if (r == 0)
		r = snap_mark_inside(store, &row, err);
	if (r < 0)
		return err_wrap(err, r, "mount '%s'", key);
	path = realpath(target, NULL);
	if (!path)
		return err_set(err, -errno, "mount '%s' at '%s'", key, target);
	q.row = &row;
	q.target = path;
	r = mount_locked(&q, engine, &result, err);
	if (r < 0)
		return err_wrap(err, r, "mount '%s' at '%s'", key, target);
	*ret = result;
	return 0;
}

static int wait_for_servers(int *fds, size_t n, struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < n; i++) {
		struct pollfd p = {.fd = fds[i], .events = POLLIN};
		int got;

		do
			got = poll(&p, 1, SERVER_EXIT_MS);
		while (got < 0 && errno == EINTR);
		if (got == 0)
			r = err_msg(err, -ETIMEDOUT,
				    "it is unmounted, but its server does not end");
		(void)close(fds[i]);
	}
	return r;
}

/* @ret_source: what the mount table calls it. */
static int find_mount(struct snap_store *store, const char *what, char **ret_target,
		      char **ret_source, struct err *err)
{
	struct snap_row row;
	char *path cleanup_free = NULL;
	int r = snap_row_find(store, what, &row, NULL);

	if (r == 0) {
		r = snap_mount_source(store, row.id, ret_source);
		if (r < 0)
			return err_set(err, r, "mount table");
		r = mountinfo_find(MOUNTINFO_SOURCE, *ret_source, ret_target, NULL, err);
		return r != 0 ? r : err_msg(err, -ENOENT, "snapshot '%s' is not mounted", what);
	}
	path = realpath(what, NULL);
	/* a dead mount cannot be resolved: then its name has to be the table's */
	r = mountinfo_find(MOUNTINFO_TARGET, path ? path : what, ret_target, ret_source, err);
	if (r > 0 && strncmp(*ret_source, "snap:", 5) != 0)
		return err_msg(err, -EINVAL, "what is mounted at '%s' is no snapshot", what);
	return r != 0 ? r
		      : err_msg(err, -ENOENT, "'%s' is neither a snapshot nor where one is mounted",
				what);
}

int snap_umount(struct snap_store *store, const char *what, struct err *err)
{
	char *target cleanup_free = NULL, *source cleanup_free = NULL;
	int *servers cleanup_free = NULL;
	size_t n = 0;
	int r = find_mount(store, what, &target, &source, err);

	if (r < 0)
		return err_wrap(err, r, "umount '%s'", what);
	if (mount_servers(source, &servers, &n) < 0)
		log_info("cannot see the mount's server in /proc: not waiting for it");
	r = unmount_target(target, is_dead(target), err);
	if (r == 0)
		r = wait_for_servers(servers, n, err);
	else
		for (size_t i = 0; i < n; i++)
			(void)close(servers[i]);
	return r < 0 ? err_wrap(err, r, "umount '%s'", what) : 0;
}

void snap_engine_choice(struct snap_store *store, struct snap_mount_result *ret)
{
	struct err why = ERR_INIT;

	ret->engine = SNAP_ENGINE_FUSE;
	if (geteuid() != 0) {
		(void)snprintf(ret->reason, sizeof(ret->reason), "the kernel mounts for root only");
	} else if (mount_probe_kernel(store, &why) < 0) {
		(void)snprintf(ret->reason, sizeof(ret->reason), "not by the kernel: %.450s",
			       why.msg);
	} else {
		ret->engine = SNAP_ENGINE_KERNEL;
		(void)snprintf(ret->reason, sizeof(ret->reason),
			       "root, and this kernel mounts EROFS from files");
	}
}
