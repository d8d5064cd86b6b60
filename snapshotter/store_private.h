/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/digest.h"
#include "snapshotter/db.h"
#include "snapshotter/store.h"

/* What the files of the snapshotter share and nobody else sees. */
#define STORE_VERSION 5
#define STORE_PATH_MAX                                                                             \
	320 /* of a path below the root: "layers/sha256/<64 hex>/index" and the like */

/* Row of meta: bytes on disk that a pull needed at most beyond what it kept; none: 0. */
#define STORE_PULL_TEMPORARY "pull_temporary"

/* Layers that something counts on: gc, and who replaces one, remove no others. */
#define STORE_NAMED_LAYERS                                                                         \
	"SELECT layer FROM chain_layers UNION ALL SELECT layer FROM manifest_layers UNION ALL"     \
	" SELECT layer FROM layer_blobs"

struct store_tmp;

struct snap_store {
	char *root;
	int root_fd, tmp_fd, snapshots_fd;
	struct db *db;
	struct store_tmp *scratch; /* of store_scratch() */
	const char *owner; /* of what this handle prepares and lists; NULL: nobody in particular */
	char uuid[17]; /* tells the mounts of one store from those of another */
};

/*
 * A directory of this process's own in tmp/, held by a lock on it, so that the
 * sweep of another process leaves it alone and takes it once its owner is dead.
 */
struct store_tmp {
	struct snap_store *store;
	int fd; /* the directory; the lock hangs on it */
	char name[64];
};
#define STORE_TMP_INIT                                                                             \
	{                                                                                          \
		.fd = -1                                                                           \
	}
int store_tmp_new(struct snap_store *store, struct store_tmp *ret, struct err *err)
	__attribute__((warn_unused_result));
/* Removes it with what is left in it. */
void store_tmp_release(struct store_tmp *t);
#define cleanup_store_tmp __attribute__((cleanup(store_tmp_release)))
/*
 * One that stays with the handle, for work that is done often. Borrowed. What an earlier user left
 * under @name in it is gone.
 */
int store_scratch(struct snap_store *store, const char *name, struct store_tmp **ret,
		  struct err *err) __attribute__((warn_unused_result));
/*
 * What dead processes left in tmp/ is removed, or with @fn: told, and left to it. Stops at a
 * negative return of @fn. Returns how many there were, or -errno.
 */
typedef int (*store_tmp_fn)(void *ctx, int tmp_fd, const char *name);
int store_tmp_sweep(struct snap_store *store, store_tmp_fn fn, void *ctx);

/* Renames @from in @t to @to below the root and syncs the directory that has it. -EEXIST. */
int store_publish(struct store_tmp *t, const char *from, const char *to, struct err *err)
	__attribute__((warn_unused_result));
/* Takes @path below the root out of sight and removes it; fine when it is not there. */
int store_discard(struct snap_store *store, const char *path, struct err *err)
	__attribute__((warn_unused_result));
/* mkdir with exactly @mode. */
int store_mkdir(int dirfd, const char *name, unsigned int mode) __attribute__((warn_unused_result));
/* As store_publish(), for a file that may stand there already with the same content. */
int store_publish_file(struct store_tmp *t, const char *from, const char *to, struct err *err)
	__attribute__((warn_unused_result));
/*
 * Serialises work on one thing over processes and threads: flock(2) with @operation on
 * locks/@name. Returns the fd that holds it (owned); -EWOULDBLOCK with LOCK_NB.
 * Order: "gc" first (shared by who brings things in, exclusive for who takes them away), then
 * "layer-*" or "chain-*", then a transaction.
 */
int store_lock(struct snap_store *store, const char *name, int operation, struct err *err)
	__attribute__((warn_unused_result));

/* Removes the lock files that only holders of "gc" use: to be called with "gc" held exclusively. */
void store_clean_locks(struct snap_store *store);

/* "blobs/sha256/<hex>" and "{layers,chains}/sha256/<hex>[/file]", below the root. */
void store_blob_path(const struct digest *d, char ret[STORE_PATH_MAX]);
void store_layer_path(const char *id, const char *file, char ret[STORE_PATH_MAX]);
void store_chain_path(const char *id, const char *file, char ret[STORE_PATH_MAX]);
/* "snapshots/<id>[/file]" */
void store_snapshot_path(int64_t id, const char *file, char ret[STORE_PATH_MAX]);

int64_t store_now(void); /* ns since 1970 */
