/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/running.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "snapshotter/userns.h"

#define KEEPER_MS 15000 /* it gives a container three seconds, and then ends it */

/* A folder's file of its own, so that nothing is left of it when the snapshot goes. */
static int open_lock(struct snap_store *store, int64_t id, int flags)
{
	char path[STORE_PATH_MAX];
	int fd;

	store_snapshot_path(id, "running", path);
	fd = openat(store->root_fd, path, flags | O_NOFOLLOW | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : fd;
}

/* Who holds it: 0 for nobody. */
static pid_t holder(struct snap_store *store, int64_t id)
{
	int fd cleanup_close = open_lock(store, id, O_RDONLY);
	char text[24] = "";
	ssize_t n;

	if (fd < 0 || flock(fd, LOCK_SH | LOCK_NB) == 0 || errno != EWOULDBLOCK)
		return 0;
	n = pread(fd, text, sizeof(text) - 1, 0);
	return n > 0 ? (pid_t)strtol(text, NULL, 10) : -1;
}

/*
 * The same, once the keeper of one that was killed is done: for that is what its lock means when
 * the process itself is gone.
 */
static pid_t live_holder(struct snap_store *store, int64_t id)
{
	const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};

	for (int waited = 0;; waited += 20) {
		pid_t pid = holder(store, id);

		if (pid <= 0 || kill(pid, 0) == 0 || errno != ESRCH || waited >= KEEPER_MS)
			return pid;
		(void)nanosleep(&pause, NULL);
	}
}

static int busy(pid_t pid, struct err *err)
{
	if (pid > 0)
		return err_msg(err, -EBUSY, "a container runs in it (process %d)", pid);
	return err_msg(err, -EBUSY, "a container runs in it");
}

int snap_running_lock(struct snap_store *store, const struct snap_row *row, struct err *err)
{
	int fd cleanup_close = open_lock(store, row->id, O_RDWR | O_CREAT);
	char text[24];

	if (fd < 0)
		return err_set(err, fd, "lock the snapshot for its container");
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		pid_t pid = live_holder(store, row->id);

		if (pid != 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
			return busy(pid, err);
	}
	(void)snprintf(text, sizeof(text), "%d\n", getpid());
	if (ftruncate(fd, 0) < 0 || io_pwrite_full(fd, text, strlen(text), 0) < 0)
		return err_set(err, -errno, "write the snapshot's lock");
	return steal_fd(&fd);
}

int snap_running_check(struct snap_store *store, const struct snap_row *row, struct err *err)
{
	pid_t pid = live_holder(store, row->id);

	return pid != 0 ? busy(pid, err) : 0;
}

int snap_running(struct snap_store *store, const char *key)
{
	struct snap_row row;
	pid_t pid;
	int fd;

	if (snap_row_find(store, key, &row, NULL) < 0)
		return -ESRCH;
	pid = holder(store, row.id);
	if (pid <= 0)
		return -ESRCH;
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	return fd < 0 ? -ESRCH : fd;
}

int snap_mark_inside(struct snap_store *store, const struct snap_row *row, struct err *err)
{
	char path[STORE_PATH_MAX];
	int fd cleanup_close = -1;

	if (row->kind != SNAP_ACTIVE || !snap_userns_inside())
		return 0;
	store_snapshot_path(row->id, "userns", path);
	fd = openat(store->root_fd, path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	return fd < 0 ? err_set(err, -errno, "write '%s/%s'", store->root, path) : 0;
}

static bool is_marked(struct snap_store *store, int64_t id)
{
	char path[STORE_PATH_MAX];

	store_snapshot_path(id, "userns", path);
	return faccessat(store->root_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

bool snap_written_inside(struct snap_store *store, const char *key)
{
	struct snap_stack stack cleanup_snap_stack = {.dirs = NULL};
	struct snap_row row;
	bool marked;

	if (snap_row_find(store, key, &row, NULL) < 0 ||
	    snap_stack_load(store, &row, &stack, NULL) < 0)
		return false;
	marked = is_marked(store, row.id);
	for (size_t i = 0; i < stack.n_dirs && !marked; i++)
		marked = is_marked(store, stack.dirs[i]);
	return marked;
}
