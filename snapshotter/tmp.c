/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "snapshotter/store_private.h"

/* Is @name in tmp/ still what @fd is? A sweep may have come between making and locking it. */
static bool still_there(int tmp_fd, const char *name, int fd)
{
	struct stat a, b;

	return fstat(fd, &a) == 0 && fstatat(tmp_fd, name, &b, AT_SYMLINK_NOFOLLOW) == 0 &&
	       a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

int store_tmp_new(struct snap_store *store, struct store_tmp *ret, struct err *err)
{
	static _Atomic unsigned int sequence;
	struct store_tmp t = {.store = store, .fd = -1};

	for (;;) {
		struct timespec now;
		int r;

		(void)clock_gettime(CLOCK_REALTIME, &now);
		(void)snprintf(t.name, sizeof(t.name), "%d-%u-%llx", getpid(), sequence++,
			       (unsigned long long)now.tv_sec << 30 | (unsigned long)now.tv_nsec);
		r = store_mkdir(store->tmp_fd, t.name, 0700);
		if (r == -EEXIST || r == -ENOENT) /* taken, or swept before its mode was set */
			continue;
		if (r < 0)
			return err_set(err, r, "make '%s/tmp/%s'", store->root, t.name);
		t.fd = openat(store->tmp_fd, t.name,
			      O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (t.fd < 0 && errno == ENOENT)
			continue;
		if (t.fd < 0)
			return err_set(err, -errno, "open '%s/tmp/%s'", store->root, t.name);
		if (flock(t.fd, LOCK_EX | LOCK_NB) == 0 && still_there(store->tmp_fd, t.name, t.fd))
			break;
		closep(&t.fd);
	}
	*ret = t;
	return 0;
}

void store_tmp_release(struct store_tmp *t)
{
	if (t->fd < 0)
		return;
	if (io_remove_tree(t->store->tmp_fd, t->name) < 0)
		log_info("'%s/tmp/%s' stays until the next command", t->store->root, t->name);
	closep(&t->fd);
}

int store_scratch(struct snap_store *store, const char *name, struct store_tmp **ret,
		  struct err *err)
{
	struct store_tmp *t = store->scratch;
	int r;

	if (!t) {
		t = malloc(sizeof(*t));
		r = t ? store_tmp_new(store, t, err) : err_set(err, -ENOMEM, "store");
		if (r < 0) {
			free(t);
			return r;
		}
		store->scratch = t;
	}
	r = io_remove_tree(t->fd, name);
	if (r < 0)
		return err_set(err, r, "remove '%s/tmp/%s/%s'", store->root, t->name, name);
	*ret = t;
	return 0;
}

/* Names of io_remove_tree() carry their owner's process number; it holds no lock. */
static bool is_being_removed(const char *name)
{
	int pid;

	return sscanf(name, ".remove-%d-", &pid) == 1 && (kill(pid, 0) == 0 || errno == EPERM);
}

/* 1: it was a dead process's. */
static int sweep_one(struct snap_store *store, const char *name, store_tmp_fn fn, void *ctx)
{
	int fd cleanup_close =
		openat(store->tmp_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	int r;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (is_being_removed(name))
		return 0;
	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0)
		return 0;
	if (fn) /* while nobody else can think that it is his to take */
		return fn(ctx, store->tmp_fd, name);
	r = io_remove_tree(store->tmp_fd, name);
	return r < 0 && r != -ENOENT ? r : 1;
}

int store_tmp_sweep(struct snap_store *store, store_tmp_fn fn, void *ctx)
{
	DIR *dir cleanup_closedir = NULL;
	struct dirent *d;
	int fd = openat(store->tmp_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), count = 0;

	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return -errno;
	while ((errno = 0, d = readdir(dir))) {
		int r;

		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		r = sweep_one(store, d->d_name, fn, ctx);
		if (r < 0)
			return r;
		count += r;
	}
	return errno ? -errno : count;
}

/* The directory of a path below the root. */
static int open_parent(struct snap_store *store, const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	char dir[STORE_PATH_MAX];
	int fd;

	(void)snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) : 1,
		       slash ? path : ".");
	fd = openat(store->root_fd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*ret_name = slash ? slash + 1 : path;
	return fd < 0 ? -errno : fd;
}

int store_publish(struct store_tmp *t, const char *from, const char *to, struct err *err)
{
	struct snap_store *store = t->store;
	const char *name;
	int dir cleanup_close = open_parent(store, to, &name), r;

	if (dir < 0)
		return err_set(err, dir, "open the folder of '%s/%s'", store->root, to);
	if (renameat2(t->fd, from, dir, name, RENAME_NOREPLACE) < 0) {
		/* file systems without the flag: nothing of ours replaces a folder that has content
		 */
		if (errno != EINVAL || renameat(t->fd, from, dir, name) < 0)
			return err_set(err, errno == ENOTEMPTY ? -EEXIST : -errno,
				       "put '%s/%s' in place", store->root, to);
	}
	r = io_sync_dir(dir);
	return r < 0 ? err_set(err, r, "sync the folder of '%s/%s'", store->root, to) : 0;
}

int store_publish_file(struct store_tmp *t, const char *from, const char *to, struct err *err)
{
	const char *name;
	int dir cleanup_close = open_parent(t->store, to, &name), r;

	if (dir < 0)
		return err_set(err, dir, "open the folder of '%s/%s'", t->store->root, to);
	if (renameat(t->fd, from, dir, name) < 0)
		return err_set(err, -errno, "put '%s/%s' in place", t->store->root, to);
	r = io_sync_dir(dir);
	return r < 0 ? err_set(err, r, "sync the folder of '%s/%s'", t->store->root, to) : 0;
}

int store_discard(struct snap_store *store, const char *path, struct err *err)
{
	struct store_tmp t cleanup_store_tmp = STORE_TMP_INIT;
	int r = store_tmp_new(store, &t, err);

	if (r < 0)
		return r;
	if (renameat(store->root_fd, path, t.fd, "x") < 0 && errno != ENOENT)
		return err_set(err, -errno, "remove '%s/%s'", store->root, path);
	r = io_remove_tree(t.fd, "x");
	return r < 0 ? err_set(err, r, "remove '%s/%s'", store->root, path) : 0;
}
