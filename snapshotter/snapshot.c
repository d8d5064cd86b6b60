/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "snapshotter/image.h"
#include "snapshotter/image_private.h"
#include "snapshotter/running.h"
#include "snapshotter/snapshot_private.h"

/* Inode numbers are batch * 2^32 + n and stay below 2^63. */
#define BATCH_MAX ((int64_t)1 << 31)

int snap_key_check(const char *key, const char *what, struct err *err)
{
	if (key[0] != '\0')
		return 0;
	return err_msg(err, -EINVAL, "%s may not be empty", what);
}

/*
 * ENOENT, EEXIST, EBUSY and EINVAL say something of the request (snapshotter/store.h). A system
 * call that fails so in the middle of the work says something of the machine.
 */
static int internal(int r)
{
	return r == -ENOENT || r == -EEXIST || r == -EBUSY || r == -EINVAL ? -EIO : r;
}

static int key_is_free(struct snap_store *store, const char *key, struct err *err)
{
	struct snap_row row;
	int r = snap_row_find(store, key, &row, NULL);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return snap_row_find(store, key, &row, err); /* for its message */
	return err_msg(err, -EEXIST, "snapshot '%s' exists already", key);
}

struct parent {
	struct snap_row row; /* id 0: not a snapshot */
	char *image; /* REF */
	char chain[65], manifest[DIGEST_TEXT_MAX + 1]; /* the image's */
};

static int find_parent(struct snap_store *store, const char *name, struct parent *ret,
		       struct err *err)
{
	struct snap_image_info info cleanup_snap_image_info = {.ref = NULL};
	struct snap_row row;
	int r = snap_row_find(store, name, &row, NULL), image;

	if (r == 0 && row.kind == SNAP_COMMITTED) {
		ret->row = row;
		return 0;
	}
	if (r < 0 && r != -ENOENT)
		return snap_row_find(store, name, &row, err);
	image = snap_image_find(store, name, &info, NULL);
	if (image == 0) {
		memcpy(ret->chain, info.chain, sizeof(ret->chain));
		memcpy(ret->manifest, info.manifest.text, sizeof(info.manifest.text));
		ret->image = steal_ptr(&info.ref);
		return 0;
	}
	if (r == 0)
		return err_msg(err, -EINVAL, "parent '%s' is not committed, it is %s", name,
			       snap_kind_name(row.kind));
	(void)err_msg(err, -ENOENT, "parent '%s' is neither a committed snapshot nor an image",
		      name);
	err_hint(err, "'snap images' and 'snap ls' list what there is");
	return -ENOENT;
}

static int take_batches(struct snap_store *store, size_t count, int64_t *ret, struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	int64_t first;
	int r = db_query(store->db, "SELECT value FROM meta WHERE name = 'next_batch'", DB_NONE,
			 &rows, err);

	if (r == 0)
		r = db_next(rows, err);
	if (r < 0)
		return r;
	first = r > 0 ? db_col_int(rows, 0) : -1;
	if (first < 1 || first > BATCH_MAX - (int64_t)count)
		return err_msg(err, -EOVERFLOW, "the store has no inode numbers left");
	*ret = first;
	return db_run(store->db, "UPDATE meta SET value = ? WHERE name = 'next_batch'",
		      DB_ARGS(db_int(first + (int64_t)count)), err);
}

/*
 * tmp/<own>/s/{upper,work}. Not synced: the folder it is moved to is, after it, and ext4, XFS and
 * btrfs write what was made earlier no later than that (docs/ARCHITECTURE.md, "store").
 */
static int build_folder(struct store_tmp *t, enum snap_kind kind, const struct snap_stack *stack,
			struct err *err)
{
	int upper cleanup_close = -1, r = store_mkdir(t->fd, "s", 0700);

	if (r == 0 && kind == SNAP_ACTIVE) {
		r = store_mkdir(t->fd, "s/upper", 0755);
		if (r == 0)
			r = store_mkdir(t->fd, "s/work", 0700);
	}
	if (r < 0)
		return err_set(err, r, "make the snapshot's folder");
	if (kind != SNAP_ACTIVE)
		return 0;
	upper = openat(t->fd, "s/upper", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (upper < 0)
		return err_set(err, -errno, "open the snapshot's folder");
	return snap_dir_attributes(t->store, stack, "", upper, err);
}

static int insert_row(struct snap_store *store, enum snap_kind kind, const char *key,
		      const struct parent *p, const struct snap_stack *stack, int64_t *ret_id,
		      struct err *err)
{
	size_t lowers = stack->n_dirs + (stack->chain[0] ? 1 : 0);
	int64_t now = store_now(), batch = 0;
	int r;

	/* the lowers, the upper, and two for numbers that fit nowhere (docs/SEMANTICS.md) */
	r = take_batches(store, (lowers ? lowers : 1) + 3, &batch, err);
	if (r < 0)
		return r;
	r = db_run(store->db,
		   "INSERT INTO snapshots (key, kind, parent, image, manifest, chain, created, "
		   "updated,"
		   " batch, owner) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		   DB_ARGS(db_blob(key, strlen(key)), db_int(kind),
			   p->row.id ? db_int(p->row.id) : db_text(NULL), db_text(p->image),
			   db_text(p->manifest[0] ? p->manifest : NULL),
			   db_text(p->chain[0] ? p->chain : NULL), db_int(now), db_int(now),
			   db_int(batch), db_text(store->owner)),
		   err);
	if (r == 0)
		*ret_id = db_last_id(store->db);
	return r;
}

/* A killed prepare may have left the folder of a number that was never given out. */
static int place_folder(struct store_tmp *t, int64_t id, struct err *err)
{
	char path[STORE_PATH_MAX];
	int r;

	store_snapshot_path(id, NULL, path);
	r = store_publish(t, "s", path, err);
	if (r != -EEXIST)
		return r;
	r = store_discard(t->store, path, err);
	return r < 0 ? r : store_publish(t, "s", path, err);
}

/* What a prepare needs, gathered without a transaction: what it says is looked at again in it. */
static int prepare_build(struct snap_store *store, struct store_tmp *own, enum snap_kind kind,
			 const struct parent *p, struct snap_stack *stack, struct store_tmp **ret,
			 struct err *err)
{
	struct snap_row below = {.id = 0};
	int r;

	below.parent = p->row.id;
	memcpy(below.chain, p->chain, sizeof(below.chain));
	memcpy(below.manifest, p->manifest, sizeof(below.manifest));
	r = snap_stack_load(store, &below, stack, err);
	*ret = own;
	/* a server makes many; a command's handle may be shared with a child that outlives it */
	if (r == 0)
		r = store->owner ? store_scratch(store, "s", ret, err)
				 : store_tmp_new(store, own, err);
	if (r == 0)
		r = build_folder(*ret, kind, stack, err);
	return internal(r);
}

/* Has the parent, or the chain of an image, gone meanwhile? */
static int parent_is_there(struct snap_store *store, const char *name, const struct parent *p,
			   struct err *err)
{
	struct parent now = {.image = NULL};
	int r = find_parent(store, name, &now, err);

	free(now.image);
	if (r == 0 && (now.row.id != p->row.id || strcmp(now.manifest, p->manifest) != 0))
		r = err_msg(err, -EAGAIN, "parent '%s' was replaced meanwhile", name);
	return r;
}

static int prepare_commit(struct store_tmp *t, enum snap_kind kind, const char *key,
			  const struct parent *p, const struct snap_stack *stack,
			  const struct snap_label *labels, size_t n_labels, struct err *err)
{
	struct snap_store *store = t->store;
	int64_t id = 0;
	int r = insert_row(store, kind, key, p, stack, &id, err);

	if (r == 0)
		r = snap_labels_write(store, id, labels, n_labels, err);
	if (r == 0)
		r = place_folder(t, id, err);
	if (r == 0)
		r = db_commit(store->db, err);
	return internal(r);
}

int snap_prepare(struct snap_store *store, enum snap_kind kind, const char *key, const char *parent,
		 const struct snap_label *labels, size_t n_labels, struct err *err)
{
	struct store_tmp own cleanup_store_tmp = STORE_TMP_INIT, *t = NULL;
	struct snap_stack stack cleanup_snap_stack = {.dirs = NULL};
	struct parent p = {.image = NULL};
	bool has_parent = parent && parent[0];
	int r = snap_key_check(key, "a snapshot's key", err);

	if (r == 0)
		r = snap_labels_check(labels, n_labels, err);
	if (r == 0 && has_parent)
		r = find_parent(store, parent, &p, err);
	if (r == 0)
		r = key_is_free(store, key, err);
	if (r == 0)
		r = prepare_build(store, &own, kind, &p, &stack, &t, err);
	if (r == 0)
		r = db_begin(store->db, err);
	if (r < 0)
		goto out;
	if (has_parent)
		r = parent_is_there(store, parent, &p, err);
	if (r == 0)
		r = key_is_free(store, key, err);
	if (r == 0)
		r = prepare_commit(t, kind, key, &p, &stack, labels, n_labels, err);
	db_rollback(store->db);
out:
	free(p.image);
	return r < 0 ? err_wrap(err, r, "prepare '%s'", key) : 0;
}

/* A committed one keeps only its upper; a live mount still needs its work directory. */
static void drop_work(struct snap_store *store, int64_t id)
{
	char path[STORE_PATH_MAX];

	store_snapshot_path(id, "work", path);
	if (snap_mounted_at(store, id, NULL, NULL) == 0 && store_discard(store, path, NULL) < 0)
		log_info("'%s/%s' stays until the next gc", store->root, path);
}

static int commit_sync(struct snap_store *store, int64_t id, struct err *err)
{
	char path[STORE_PATH_MAX];
	int fd cleanup_close = -1;

	store_snapshot_path(id, "upper", path);
	fd = openat(store->root_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 || syncfs(fd) < 0 ? err_set(err, -errno, "sync '%s/%s'", store->root, path)
					: 0;
}

static int commit_check(struct snap_store *store, const char *name, const char *key,
			struct snap_row *ret, struct err *err)
{
	int r = snap_row_find(store, key, ret, err);

	if (r == 0)
		r = key_is_free(store, name, err);
	if (r == 0 && snap_image_exists(store, name) > 0)
		r = err_msg(err, -EEXIST, "'%s' is the name of an image", name);
	if (r == 0 && ret->kind != SNAP_ACTIVE)
		r = err_msg(err, -EBUSY, "snapshot '%s' is not active, it is %s", key,
			    snap_kind_name(ret->kind));
	return r;
}

/* Outside of the transaction: this costs time, and others shall not wait for it. */
static int commit_gather(struct snap_store *store, const struct snap_row *row, unsigned int flags,
			 struct snap_usage *ret, struct err *err)
{
	char path[STORE_PATH_MAX];
	int r = snap_keep_links(store, row, err);

	store_snapshot_path(row->id, "upper", path);
	if (r == 0)
		r = usage_of_tree(store->root_fd, path, ret, err);
	if (r == 0 && flags & SNAP_COMMIT_SYNC)
		r = commit_sync(store, row->id, err);
	return internal(r);
}

/* In the transaction that commits it: a snapshot that was prepared on nothing gets a parent. */
static int commit_parent(struct snap_store *store, const struct snap_row *row, const char *name,
			 struct err *err)
{
	struct parent p = {.image = NULL};
	int r = find_parent(store, name, &p, err);
	bool alone = row->parent == 0 && row->manifest[0] == '\0';
	bool same = row->parent == p.row.id && strcmp(row->manifest, p.manifest) == 0;

	if (r == 0 && !alone && !same)
		r = err_msg(err, -EINVAL, "it was prepared on another parent than '%s'", name);
	else if (r == 0 && alone)
		r = db_run(store->db,
			   "UPDATE snapshots SET parent = ?, image = ?, manifest = ?, chain = ? "
			   "WHERE id = ?",
			   DB_ARGS(p.row.id ? db_int(p.row.id) : db_text(NULL), db_text(p.image),
				   db_text(p.manifest[0] ? p.manifest : NULL),
				   db_text(p.chain[0] ? p.chain : NULL), db_int(row->id)),
			   err);
	free(p.image);
	return r;
}

static int commit_row(struct snap_store *store, const char *name, int64_t id,
		      const struct snap_usage *usage, const struct snap_label *labels,
		      size_t n_labels, struct err *err)
{
	int64_t now = store_now();
	int r = db_run(store->db,
		       "UPDATE snapshots SET key = ?, kind = ?, created = ?, updated = ?, size "
		       "= ?, inodes = ? WHERE id = ?",
		       DB_ARGS(db_blob(name, strlen(name)), db_int(SNAP_COMMITTED), db_int(now),
			       db_int(now), db_int((int64_t)usage->size),
			       db_int((int64_t)usage->inodes), db_int(id)),
		       err);

	if (r == 0)
		r = snap_labels_clear(store, id, err);
	if (r == 0)
		r = snap_labels_write(store, id, labels, n_labels, err);
	if (r == 0)
		r = db_commit(store->db, err);
	return internal(r);
}

int snap_commit(struct snap_store *store, const char *name, const char *key, const char *parent,
		const struct snap_label *labels, size_t n_labels, unsigned int flags,
		struct err *err)
{
	struct snap_usage usage;
	struct snap_row row = {.id = 0};
	int64_t id = 0;
	int r = snap_key_check(name, "a snapshot's name", err);

	if (r == 0)
		r = snap_labels_check(labels, n_labels, err);
	if (r == 0)
		r = commit_check(store, name, key, &row, err);
	if (r == 0) {
		id = row.id;
		r = commit_gather(store, &row, flags, &usage, err);
	}
	if (r == 0)
		r = db_begin(store->db, err);
	if (r < 0)
		goto out;
	r = commit_check(store, name, key, &row, err);
	if (r == 0 && row.id != id)
		r = err_msg(err, -EBUSY, "snapshot '%s' was replaced meanwhile", key);
	if (r == 0 && parent && parent[0])
		r = commit_parent(store, &row, parent, err);
	if (r == 0)
		r = commit_row(store, name, id, &usage, labels, n_labels, err);
	db_rollback(store->db);
	if (r == 0 && !(flags & SNAP_COMMIT_KEEP_WORK))
		drop_work(store, id);
out:
	return r < 0 ? err_wrap(err, r, "commit '%s' as '%s'", key, name) : 0;
}

static int has_children(struct snap_store *store, int64_t id, struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	int r = db_query(store->db, "SELECT 1 FROM snapshots WHERE parent = ? LIMIT 1",
			 DB_ARGS(db_int(id)), &rows, err);

	return r < 0 ? r : db_next(rows, err);
}

static int refuse_mounted(struct snap_store *store, int64_t id, struct err *err)
{
	char *target cleanup_free = NULL;
	int r = snap_mounted_at(store, id, &target, err);

	if (r <= 0)
		return internal(r);
	r = err_msg(err, -EBUSY, "it is mounted at '%s'", target);
	err_hint(err, "'snap umount %s' first", target);
	return r;
}

int snap_remove(struct snap_store *store, const char *key, unsigned int flags, struct err *err)
{
	char path[STORE_PATH_MAX];
	struct snap_row row = {.id = 0};
	int r = db_begin(store->db, err);

	if (r < 0)
		return r;
	r = snap_row_find(store, key, &row, err);
	if (r == 0)
		r = has_children(store, row.id, err);
	if (r > 0)
		r = err_msg(err, -EBUSY, "cannot remove snapshot with child");
	if (r == 0 && !(flags & SNAP_REMOVE_MOUNTED))
		r = snap_running_check(store, &row, err);
	if (r == 0 && !(flags & SNAP_REMOVE_MOUNTED))
		r = refuse_mounted(store, row.id, err);
	if (r == 0) {
		r = db_run(store->db, "DELETE FROM snapshots WHERE id = ?", DB_ARGS(db_int(row.id)),
			   err);
		if (r == 0)
			r = db_commit(store->db, err);
		r = internal(r);
	}
	db_rollback(store->db);
	if (r < 0)
		return err_wrap(err, r, "failed to remove '%s'", key);
	if (flags & SNAP_REMOVE_KEEP_FOLDER)
		return 0;
	store_snapshot_path(row.id, NULL, path);
	r = store_discard(store, path, err);
	return r < 0 ? err_wrap(err, internal(r), "failed to remove '%s'", key) : 0;
}

int snap_usage(struct snap_store *store, const char *key, struct snap_usage *ret, struct err *err)
{
	char path[STORE_PATH_MAX];
	struct snap_row row;
	int r = snap_row_find(store, key, &row, err);

	if (r < 0)
		return r;
	if (row.kind != SNAP_ACTIVE) {
		*ret = row.usage;
		return 0;
	}
	store_snapshot_path(row.id, "upper", path);
	return internal(usage_of_tree(store->root_fd, path, ret, err));
}
