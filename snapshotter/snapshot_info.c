/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "snapshotter/snapshot.h"
#include "snapshotter/snapshot_private.h"

/* Reading rows: nothing here changes the store. */

const char *snap_kind_name(enum snap_kind kind)
{
	switch (kind) {
	case SNAP_VIEW:
		return "view";
	case SNAP_ACTIVE:
		return "active";
	case SNAP_COMMITTED:
		return "committed";
	}
	return "unknown";
}

static void copy_text(char *to, size_t size, const char *text)
{
	(void)snprintf(to, size, "%s", text ? text : "");
}

#define ROW_COLUMNS "id, coalesce(parent, 0), kind, batch, size, inodes, chain, manifest"

static int row_read(struct db_rows *rows, struct snap_row *ret, struct err *err)
{
	int64_t kind = db_col_int(rows, 2);

	if (kind < SNAP_VIEW || kind > SNAP_COMMITTED)
		return err_msg(err, -EUCLEAN, "a snapshot of unknown kind %lld", (long long)kind);
	ret->id = db_col_int(rows, 0);
	ret->parent = db_col_int(rows, 1);
	ret->kind = (enum snap_kind)kind;
	ret->batch = db_col_int(rows, 3);
	ret->usage.size = (uint64_t)db_col_int(rows, 4);
	ret->usage.inodes = (uint64_t)db_col_int(rows, 5);
	copy_text(ret->chain, sizeof(ret->chain), db_col_text(rows, 6));
	copy_text(ret->manifest, sizeof(ret->manifest), db_col_text(rows, 7));
	return 0;
}

int snap_row_find(struct snap_store *store, const char *key, struct snap_row *ret, struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	int r = db_query(store->db, "SELECT " ROW_COLUMNS " FROM snapshots WHERE key = ?",
			 DB_ARGS(db_blob(key, strlen(key))), &rows, err);

	if (r == 0)
		r = db_next(rows, err);
	if (r < 0)
		return r;
	return r > 0 ? row_read(rows, ret, err) : err_msg(err, -ENOENT, "no snapshot '%s'", key);
}

int snap_row_get(struct snap_store *store, int64_t id, struct snap_row *ret, struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	int r = db_query(store->db, "SELECT " ROW_COLUMNS " FROM snapshots WHERE id = ?",
			 DB_ARGS(db_int(id)), &rows, err);

	if (r == 0)
		r = db_next(rows, err);
	if (r < 0)
		return r;
	return r > 0 ? row_read(rows, ret, err)
		     : err_msg(err, -ENOENT, "no snapshot of number %lld", (long long)id);
}

void snap_info_release(struct snap_info *info)
{
	free(info->key);
	free(info->parent);
	for (size_t i = 0; i < info->n_labels; i++) {
		free(info->labels[i].key);
		free(info->labels[i].value);
	}
	free(info->labels);
	memset(info, 0, sizeof(*info));
}

static int read_labels(struct snap_store *store, struct snap_info *info, struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	int r = db_query(store->db, "SELECT key, value FROM labels WHERE snapshot = ? ORDER BY key",
			 DB_ARGS(db_int(info->id)), &rows, err);

	while (r >= 0 && (r = db_next(rows, err)) > 0) {
		struct snap_label *p =
			reallocarray(info->labels, info->n_labels + 1, sizeof(*info->labels));

		if (!p)
			return err_set(err, -ENOMEM, "labels");
		info->labels = p;
		p += info->n_labels++;
		p->key = db_col_dup(rows, 0);
		p->value = db_col_dup(rows, 1);
		if (!p->key || !p->value)
			return err_set(err, -ENOMEM, "labels");
	}
	return r;
}

#define INFO_QUERY                                                                                 \
	"SELECT s.id, s.key, s.kind, s.created, s.updated, p.key, s.image FROM snapshots s"        \
	" LEFT JOIN snapshots p ON p.id = s.parent"

static int info_read(struct snap_store *store, struct db_rows *rows, struct snap_info *info,
		     struct err *err)
{
	info->id = db_col_int(rows, 0);
	info->key = db_col_dup(rows, 1);
	info->kind = (enum snap_kind)db_col_int(rows, 2);
	info->created = db_col_int(rows, 3);
	info->updated = db_col_int(rows, 4);
	info->parent_is_image = db_col_null(rows, 5) && !db_col_null(rows, 6);
	if (!db_col_null(rows, 5) || info->parent_is_image) {
		info->parent = db_col_dup(rows, info->parent_is_image ? 6 : 5);
		if (!info->parent)
			return err_set(err, -ENOMEM, "snapshot");
	}
	return info->key ? read_labels(store, info, err) : err_set(err, -ENOMEM, "snapshot");
}

int snap_stat(struct snap_store *store, const char *key, struct snap_info *ret, struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	struct snap_info info = {.key = NULL};
	int r = db_query(store->db, INFO_QUERY " WHERE s.key = ?",
			 DB_ARGS(db_blob(key, strlen(key))), &rows, err);

	if (r == 0)
		r = db_next(rows, err);
	if (r < 0)
		return r;
	if (r == 0)
		return err_msg(err, -ENOENT, "no snapshot '%s'", key);
	r = info_read(store, rows, &info, err);
	if (r < 0) {
		snap_info_release(&info);
		return r;
	}
	*ret = info;
	return 0;
}

int snap_walk(struct snap_store *store, snap_info_fn fn, void *ctx, struct err *err)
{
	struct db_rows *rows = NULL;
	struct snap_info *all = NULL;
	size_t n = 0, cap = 0;
	int r = db_query(store->db, INFO_QUERY " ORDER BY s.key", DB_NONE, &rows, err);

	/* all at first: a caller that asks the store meanwhile must not meet a lock */
	while (r >= 0 && (r = db_next(rows, err)) > 0) {
		if (n == cap) {
			struct snap_info *p;

			cap = cap ? cap * 2 : 64;
			p = reallocarray(all, cap, sizeof(*all));
			if (!p) {
				r = err_set(err, -ENOMEM, "snapshots");
				break;
			}
			all = p;
		}
		memset(&all[n], 0, sizeof(*all));
		r = info_read(store, rows, &all[n++], err);
	}
	db_rows_end(rows);
	for (size_t i = 0; i < n && r == 0; i++)
		r = fn(ctx, &all[i], err);
	for (size_t i = 0; i < n; i++)
		snap_info_release(&all[i]);
	free(all);
	return r;
}
