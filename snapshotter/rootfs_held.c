/* SPDX-License-Identifier: Apache-2.0 */
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
#include "base/log.h"
#include "snapshotter/mount_private.h"
#include "snapshotter/rootfs_private.h"

enum state { NOTHING, DEAD, LIVE };

/* Is a mount at this directory of ours, and does it answer? */
static enum state look(const char *path)
{
	struct statx st;

	/* the kernel keeps attributes without end and would answer for a dead server */
	if (statx(AT_FDCWD, path, AT_STATX_FORCE_SYNC | AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS,
		  &st) < 0)
		return errno == ENOTCONN || errno == ECONNABORTED ? DEAD : NOTHING;
	return st.stx_attributes & STATX_ATTR_MOUNT_ROOT ? LIVE : NOTHING;
}

static int path_of(struct snap_store *store, char kind, const char *name, char **ret,
		   struct err *err)
{
	if (asprintf(ret, "%s/run/%c%s", store->root, kind, name) < 0)
		return err_set(err, -ENOMEM, "mount");
	return 0;
}

static void take_away(const char *path)
{
	struct err err = ERR_INIT;

	while (look(path) != NOTHING) {
		if (unmount_target(path, true, &err) < 0) {
			log_warn("'%s' stays mounted: %s", path, err.msg);
			return;
		}
	}
	(void)rmdir(path);
}

static int make_directory(const char *path, struct err *err)
{
	return mkdir(path, 0700) < 0 && errno != EEXIST ? err_set(err, -errno, "make '%s'", path)
							: 0;
}

static void id_text(int64_t id, char ret[24])
{
	(void)snprintf(ret, 24, "%lld", (long long)id);
}

int held_snapshot(struct snap_store *store, const char *key, int64_t id, enum snap_engine engine,
		  char **ret, struct err *err)
{
	struct snap_mount_result result;
	char *path cleanup_free = NULL, name[24];
	int r;

	id_text(id, name);
	r = path_of(store, 's', name, &path, err);
	if (r == 0 && look(path) == DEAD)
		take_away(path);
	if (r == 0 && look(path) != LIVE) {
		r = make_directory(path, err);
		if (r == 0)
			r = snap_mount(store, key, path, engine, "dev,suid", &result, err);
		if (r == -EBUSY && look(path) == LIVE) /* another worker was faster */
			r = 0;
		if (r == 0)
			log_info("'%s' at '%s': %s, %s", key, path, snap_engine_name(result.engine),
				 result.reason);
	}
	if (r == 0)
		*ret = steal_ptr(&path);
	return r;
}

int held_flush(struct snap_store *store, int64_t id, struct err *err)
{
	char *path cleanup_free = NULL, name[24];
	int fd cleanup_close = -1, r;

	id_text(id, name);
	r = path_of(store, 's', name, &path, err);
	if (r < 0 || look(path) != LIVE)
		return r;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 || syncfs(fd) < 0 ? err_set(err, -errno, "sync '%s'", path) : 0;
}

void held_drop_snapshot(struct snap_store *store, int64_t id)
{
	char *path cleanup_free = NULL, name[24];

	id_text(id, name);
	if (path_of(store, 's', name, &path, NULL) == 0)
		take_away(path);
}

int held_chain(struct snap_store *store, const char *chain, char **ret, struct err *err)
{
	char *path cleanup_free = NULL, *index cleanup_free = NULL, file[STORE_PATH_MAX];
	int lock cleanup_close = store_lock(store, "mounts", LOCK_EX, err);
	int r = lock < 0 ? lock : path_of(store, 'c', chain, &path, err);

	store_chain_path(chain, "index", file);
	if (r == 0 && asprintf(&index, "%s/%s", store->root, file) < 0)
		r = err_set(err, -ENOMEM, "mount");
	if (r == 0 && look(path) != LIVE) {
		r = make_directory(path, err);
		if (r == 0)
			r = mount_chain_index(index, path, err);
	}
	if (r == 0)
		*ret = steal_ptr(&path);
	return r;
}

/* Does an active snapshot or a view stand on the chain, directly or over committed ones? */
static int chain_is_used(struct snap_store *store, const char *chain, struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	int r = db_query(store->db,
			 "WITH RECURSIVE up(id) AS (SELECT id FROM snapshots WHERE chain = ?1"
			 " UNION SELECT s.id FROM snapshots s JOIN up ON s.parent = up.id)"
			 " SELECT 1 FROM up JOIN snapshots USING (id) WHERE kind != ?2 LIMIT 1",
			 DB_ARGS(db_text(chain), db_int(SNAP_COMMITTED)), &rows, err);

	return r < 0 ? r : db_next(rows, err);
}

void held_drop_chain(struct snap_store *store, const char *chain)
{
	/* a snapshot's row is there before its chain is mounted: under the lock none is missed */
	int lock cleanup_close = store_lock(store, "mounts", LOCK_EX, NULL);
	char *path cleanup_free = NULL;

	if (lock < 0 || path_of(store, 'c', chain, &path, NULL) < 0)
		return;
	if (chain_is_used(store, chain, NULL) == 0)
		take_away(path);
}

static int snapshot_is_mountable(struct snap_store *store, int64_t id, struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	int r = db_query(store->db, "SELECT 1 FROM snapshots WHERE id = ? AND kind != ?",
			 DB_ARGS(db_int(id), db_int(SNAP_COMMITTED)), &rows, err);

	return r < 0 ? r : db_next(rows, err);
}

/* The number at the end of a name; -1: none. */
static int64_t number_of(const char *text)
{
	char *end;
	long long id = text[0] >= '0' && text[0] <= '9' ? strtoll(text, &end, 10) : -1;

	return id < 0 || *end ? -1 : id;
}

int snap_rootfs_is_left(struct snap_store *store, const char *name, struct err *err)
{
	int64_t id = number_of(name[0] == 's' ? name + 1 : name);
	int r;

	if (name[0] == 'c' && strlen(name) == 65)
		r = chain_is_used(store, name + 1, err);
	else if (id >= 0) /* without a letter: of a 'snap mount' that was killed on its way */
		r = snapshot_is_mountable(store, id, err);
	else
		return 0;
	return r < 0 ? r : r == 0;
}

void snap_rootfs_drop(struct snap_store *store, const char *name)
{
	char *path cleanup_free = NULL;

	if (name[0] == 'c')
		held_drop_chain(store, name + 1);
	else if (asprintf(&path, "%s/run/%s", store->root, name) > 0)
		take_away(path);
}

static int prune_one(struct snap_store *store, const char *name, struct err *err)
{
	int r = snap_rootfs_is_left(store, name, err);

	if (r > 0)
		snap_rootfs_drop(store, name);
	return r < 0 ? r : 0;
}

int snap_rootfs_prune(struct snap_store *store, struct err *err)
{
	int fd = openat(store->root_fd, "run", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *dir cleanup_closedir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;

	if (!dir)
		return err_set(err, -errno, "read '%s/run'", store->root);
	while (r == 0 && (d = readdir(dir)))
		r = prune_one(store, d->d_name, err);
	return r;
}
