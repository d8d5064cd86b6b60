/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "snapshotter/mount_private.h"
#include "snapshotter/snapshot.h"
#include "snapshotter/snapshot_private.h"

int snap_labels_check(const struct snap_label *labels, size_t n, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		if (labels[i].key[0] == '\0')
			return err_msg(err, -EINVAL, "a label needs a key");
		if (strlen(labels[i].key) + strlen(labels[i].value) > SNAP_LABEL_MAX)
			return err_msg(err, -EINVAL, "label '%.64s': key and value exceed %d bytes",
				       labels[i].key, SNAP_LABEL_MAX);
		if (mount_label_check(&labels[i], err) < 0)
			return -EINVAL;
	}
	return 0;
}

int snap_labels_write(struct snap_store *store, int64_t id, const struct snap_label *labels,
		      size_t n, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		struct db_value key = db_blob(labels[i].key, strlen(labels[i].key));
		int r;

		if (labels[i].value[0] == '\0')
			r = db_run(store->db, "DELETE FROM labels WHERE snapshot = ? AND key = ?",
				   DB_ARGS(db_int(id), key), err);
		else
			r = db_run(store->db, "INSERT OR REPLACE INTO labels VALUES (?, ?, ?)",
				   DB_ARGS(db_int(id), key,
					   db_blob(labels[i].value, strlen(labels[i].value))),
				   err);
		if (r < 0)
			return r;
	}
	return 0;
}

int snap_labels_clear(struct snap_store *store, int64_t id, struct err *err)
{
	return db_run(store->db, "DELETE FROM labels WHERE snapshot = ?", DB_ARGS(db_int(id)), err);
}

int snap_label_get(struct snap_store *store, int64_t id, const char *key, char **ret,
		   struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	int r = db_query(store->db, "SELECT value FROM labels WHERE snapshot = ? AND key = ?",
			 DB_ARGS(db_int(id), db_blob(key, strlen(key))), &rows, err);

	*ret = NULL;
	if (r == 0)
		r = db_next(rows, err);
	if (r > 0) {
		*ret = db_col_dup(rows, 0);
		r = *ret ? 0 : err_set(err, -ENOMEM, "labels");
	}
	return r;
}

static int touch(struct snap_store *store, int64_t id, struct err *err)
{
	/* later than before whatever the clock does: who compares times shall see a change */
	return db_run(store->db, "UPDATE snapshots SET updated = max(?, updated + 1) WHERE id = ?",
		      DB_ARGS(db_int(store_now()), db_int(id)), err);
}

int snap_set_labels(struct snap_store *store, const char *key, const struct snap_label *labels,
		    size_t n_labels, unsigned int flags, struct err *err)
{
	struct snap_row row;
	int r = snap_labels_check(labels, n_labels, err);

	if (r == 0)
		r = db_begin(store->db, err);
	if (r < 0)
		return r;
	r = snap_row_find(store, key, &row, err);
	if (r == 0 && flags & SNAP_LABELS_REPLACE)
		r = snap_labels_clear(store, row.id, err);
	if (r == 0)
		r = snap_labels_write(store, row.id, labels, n_labels, err);
	if (r == 0)
		r = touch(store, row.id, err);
	if (r == 0)
		r = db_commit(store->db, err);
	db_rollback(store->db);
	return r < 0 ? err_wrap(err, r, "label '%s'", key) : 0;
}

/* The value for a key among those given; an empty one, which removes, when it is not there. */
static char *value_of(const struct snap_label *labels, size_t n, const char *key)
{
	static char none[1];

	for (size_t i = 0; i < n; i++) {
		if (strcmp(labels[i].key, key) == 0)
			return labels[i].value;
	}
	return none;
}

int snap_update(struct snap_store *store, const char *key, const struct snap_label *labels,
		size_t n_labels, const char *const *paths, size_t n_paths, struct err *err)
{
	struct snap_label *chosen cleanup_free = NULL;
	unsigned int flags = n_paths == 0 ? SNAP_LABELS_REPLACE : 0;
	size_t n = 0;

	for (size_t i = 0; i < n_paths; i++) {
		if (strcmp(paths[i], "labels") == 0)
			flags = SNAP_LABELS_REPLACE;
		else if (strncmp(paths[i], "labels.", 7) != 0)
			return err_msg(err, -EINVAL, "cannot update '%s' field on snapshot '%s'",
				       paths[i], key);
	}
	if (flags & SNAP_LABELS_REPLACE)
		return snap_set_labels(store, key, labels, n_labels, flags, err);
	chosen = calloc(n_paths + 1, sizeof(*chosen));
	if (!chosen)
		return err_set(err, -ENOMEM, "labels");
	for (; n < n_paths; n++) {
		/* only read, though its type says otherwise */
		chosen[n].key = (char *)(uintptr_t)(paths[n] + 7);
		chosen[n].value = value_of(labels, n_labels, chosen[n].key);
	}
	return snap_set_labels(store, key, chosen, n, 0, err);
}
