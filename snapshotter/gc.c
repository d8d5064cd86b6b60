/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/gc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "snapshotter/rootfs.h"
#include "snapshotter/snapshot_private.h"

/*
 * Two transactions. The first removes rows; once it holds, nothing names what the second one
 * finds. The second excludes a prepare that has its folder in place and its row not yet: folders
 * without a row are moved to tmp/ under it, and deleted after it.
 */
static const char *const sweep_rows[] = {
	"DELETE FROM manifests WHERE digest NOT IN (SELECT manifest FROM images) AND digest NOT IN"
	" (SELECT manifest FROM snapshots WHERE manifest IS NOT NULL) AND digest NOT IN"
	" (SELECT manifest FROM layer_uses)",
	"DELETE FROM chains WHERE id NOT IN (SELECT chain FROM manifests WHERE chain IS NOT NULL)"
	" AND id NOT IN (SELECT chain FROM snapshots WHERE chain IS NOT NULL)",
	"DELETE FROM layer_blobs WHERE digest NOT IN (SELECT blob FROM manifest_layers)",
	"DELETE FROM layers WHERE id NOT IN (" STORE_NAMED_LAYERS ")",
};

struct gc {
	struct snap_store *store;
	bool dry_run;
	snap_gc_fn fn;
	void *ctx;
	struct store_tmp tmp; /* where it all goes */
	struct snap_gc_result result;
};

struct place {
	const char *folder, *kind, *query, *why;
	const char *prefix; /* of the name in the database */
};

static const struct place places[] = {
	{"blobs/sha256", "blob",
	 "SELECT 1 FROM layer_blobs WHERE digest = ?1 UNION ALL"
	 " SELECT 1 FROM manifests WHERE digest = ?1 OR config = ?1",
	 "no image or snapshot refers to it", "sha256:"},
	{"blobs/sha512", "blob",
	 "SELECT 1 FROM layer_blobs WHERE digest = ?1 UNION ALL"
	 " SELECT 1 FROM manifests WHERE digest = ?1 OR config = ?1",
	 "no image or snapshot refers to it", "sha512:"},
	{"layers/sha256", "layer", "SELECT 1 FROM layers WHERE id = ?1",
	 "no image or snapshot refers to it", ""},
	{"chains/sha256", "chain", "SELECT 1 FROM chains WHERE id = ?1",
	 "no image or snapshot refers to it", ""},
	{"snapshots", "snapshot", "SELECT 1 FROM snapshots WHERE id = ?1",
	 "left by a process that was killed", ""},
};

static int bytes_of(int dir, const char *name, uint64_t *ret)
{
	struct snap_usage usage;
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	*ret = (uint64_t)st.st_blocks * 512;
	if (S_ISDIR(st.st_mode) && usage_of_tree(dir, name, &usage, NULL) == 0)
		*ret = usage.size;
	return 0;
}

static int take_away(struct gc *gc, int dir, const char *entry, struct snap_gc_item *item,
		     struct err *err)
{
	char aside[32];
	int r = bytes_of(dir, entry, &item->bytes);

	if (r < 0)
		return r == -ENOENT ? 0 : err_set(err, r, "%s '%s'", item->kind, entry);
	r = gc->fn ? gc->fn(gc->ctx, item, err) : 0;
	if (r != 0)
		return r;
	gc->result.items++;
	gc->result.bytes += item->bytes;
	if (gc->dry_run)
		return 0;
	(void)snprintf(aside, sizeof(aside), "%llu", (unsigned long long)gc->result.items);
	if (renameat(dir, entry, gc->tmp.fd, aside) < 0)
		return err_set(err, -errno, "remove %s '%s'", item->kind, entry);
	return 0;
}

static int is_named(struct gc *gc, const struct place *p, const char *entry, struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	char name[DIGEST_TEXT_MAX + 64];
	int r;

	(void)snprintf(name, sizeof(name), "%s%.160s", p->prefix, entry);
	r = db_query(gc->store->db, p->query, DB_ARGS(db_text(name)), &rows, err);
	return r < 0 ? r : db_next(rows, err);
}

static int sweep_place(struct gc *gc, const struct place *p, struct err *err)
{
	int fd = openat(gc->store->root_fd, p->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *dir cleanup_closedir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;

	if (!dir)
		return err_set(err, -errno, "read '%s/%s'", gc->store->root, p->folder);
	while (r >= 0 && (errno = 0, d = readdir(dir))) {
		char name[DIGEST_TEXT_MAX + 64];
		struct snap_gc_item item = {.kind = p->kind, .name = name, .why = p->why};

		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		(void)snprintf(name, sizeof(name), "%s%.160s", p->prefix, d->d_name);
		r = is_named(gc, p, d->d_name, err);
		if (r == 0)
			r = take_away(gc, fd, d->d_name, &item, err);
		else if (r > 0)
			r = 0;
		if (r != 0)
			return r;
	}
	return r;
}

/* A snapshot that was committed while it was mounted still has its work directory. */
static int sweep_work(struct gc *gc, struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	int r = db_query(gc->store->db, "SELECT id FROM snapshots WHERE kind = ?",
			 DB_ARGS(db_int(SNAP_COMMITTED)), &rows, err);

	while (r >= 0 && (r = db_next(rows, err)) > 0) {
		struct snap_gc_item item = {.kind = "work", .why = "the snapshot is committed"};
		char path[STORE_PATH_MAX], name[24];
		int64_t id = db_col_int(rows, 0);

		store_snapshot_path(id, "work", path);
		(void)snprintf(name, sizeof(name), "%lld", (long long)id);
		item.name = name;
		if (faccessat(gc->store->root_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		r = snap_mounted_at(gc->store, id, NULL, err);
		if (r == 0)
			r = take_away(gc, gc->store->root_fd, path, &item, err);
		else if (r > 0)
			r = 0;
		if (r != 0)
			return r;
	}
	return r;
}

/* Mounts, and their places, that a killed server or 'snap mount' left. */
static int sweep_mounts(struct gc *gc, struct err *err)
{
	int fd = openat(gc->store->root_fd, "run", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *dir cleanup_closedir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;

	if (!dir)
		return err_set(err, -errno, "read '%s/run'", gc->store->root);
	while (r == 0 && (d = readdir(dir))) {
		struct snap_gc_item item = {
			.kind = "mount", .name = d->d_name, .why = "no snapshot needs it"};

		r = snap_rootfs_is_left(gc->store, d->d_name, err);
		if (r <= 0)
			continue;
		r = gc->fn ? gc->fn(gc->ctx, &item, err) : 0;
		if (r != 0)
			break;
		gc->result.items++;
		if (!gc->dry_run)
			snap_rootfs_drop(gc->store, d->d_name);
	}
	return r;
}

struct dead {
	struct gc *gc;
	struct err *err;
};

static int take_dead(void *ctx, int tmp_fd, const char *name)
{
	struct snap_gc_item item = {
		.kind = "tmp", .name = name, .why = "left by a process that was killed"};
	struct dead *d = ctx;
	int r = take_away(d->gc, tmp_fd, name, &item, d->err);

	return r > 0 ? -ECANCELED : r;
}

/* What was being made: most commands have swept it before they begin. */
static int sweep_tmp(struct gc *gc, struct err *err)
{
	struct dead d = {.gc = gc, .err = err};
	int r = store_tmp_sweep(gc->store, take_dead, &d);

	if (r < 0 && !err->msg[0])
		(void)err_set(err, r, "read '%s/tmp'", gc->store->root);
	return r < 0 ? r : 0;
}

static int sweep_files(struct gc *gc, struct err *err)
{
	int r = sweep_mounts(gc, err);

	if (r == 0)
		r = sweep_tmp(gc, err);

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]) && r == 0; i++)
		r = sweep_place(gc, &places[i], err);
	return r == 0 ? sweep_work(gc, err) : r;
}

static int collect(struct gc *gc, struct err *err)
{
	struct db *db = gc->store->db;
	int r = db_begin(db, err);

	for (size_t i = 0; i < sizeof(sweep_rows) / sizeof(sweep_rows[0]) && r == 0; i++)
		r = db_run(db, sweep_rows[i], DB_NONE, err);
	if (r == 0 && !gc->dry_run) {
		r = db_commit(db, err);
		if (r == 0)
			r = db_begin(db, err);
	}
	if (r == 0)
		r = sweep_files(gc, err);
	db_rollback(db); /* nothing was written since, or it shall not be */
	return r;
}

int snap_gc(struct snap_store *store, unsigned int flags, snap_gc_fn fn, void *ctx,
	    struct snap_gc_result *ret, struct err *err)
{
	struct gc gc = {
		.store = store,
		.dry_run = flags & SNAP_GC_DRY_RUN,
		.fn = fn,
		.ctx = ctx,
		.tmp = STORE_TMP_INIT,
	};
	int lock cleanup_close = store_lock(store, "gc", LOCK_EX, err), r;

	if (lock < 0)
		return lock;
	r = store_tmp_new(store, &gc.tmp, err);
	if (r == 0)
		r = collect(&gc, err);
	store_tmp_release(&gc.tmp);
	if (r == 0 && !gc.dry_run)
		store_clean_locks(store);
	if (r == 0)
		*ret = gc.result;
	return r < 0 ? err_wrap(err, r, "gc") : r;
}

int snap_gc_snapshots(struct snap_store *store, struct err *err)
{
	struct gc gc = {.store = store, .tmp = STORE_TMP_INIT};
	size_t last = sizeof(places) / sizeof(places[0]) - 1;
	int r = store_tmp_new(store, &gc.tmp, err);

	if (r == 0)
		r = db_begin(store->db, err);
	if (r == 0)
		r = sweep_place(&gc, &places[last], err);
	db_rollback(store->db);
	store_tmp_release(&gc.tmp);
	if (r == 0)
		r = store_tmp_sweep(store, NULL, NULL);
	return r < 0 ? err_wrap(err, r, "cleanup") : 0;
}
