/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "snapshotter/filter.h"
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

static int add_label(struct snap_info *info, struct db_rows *rows, int col, struct err *err)
{
	struct snap_label *p;

	if (db_col_null(rows, col))
		return 0;
	p = reallocarray(info->labels, info->n_labels + 1, sizeof(*info->labels));
	if (!p)
		return err_set(err, -ENOMEM, "labels");
	info->labels = p;
	p += info->n_labels++;
	p->key = db_col_dup(rows, col);
	p->value = db_col_dup(rows, col + 1);
	return p->key && p->value ? 0 : err_set(err, -ENOMEM, "labels");
}

/* A row for each label of each snapshot, those of one snapshot behind each other. */
#define INFO_QUERY                                                                                 \
	"SELECT s.id, s.key, s.kind, s.created, s.updated, p.key, s.image, l.key, l.value FROM"    \
	" snapshots s LEFT JOIN snapshots p ON p.id = s.parent LEFT JOIN labels l ON l.snapshot"   \
	" = s.id"
#define LABEL_COLUMN 7

static int info_read(struct db_rows *rows, struct snap_info *info, struct err *err)
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
	return info->key ? 0 : err_set(err, -ENOMEM, "snapshot");
}

int snap_stat(struct snap_store *store, const char *key, struct snap_info *ret, struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	struct snap_info info = {.key = NULL};
	int r = db_query(store->db, INFO_QUERY " WHERE s.key = ? ORDER BY l.key",
			 DB_ARGS(db_blob(key, strlen(key))), &rows, err);

	while (r >= 0 && (r = db_next(rows, err)) > 0) {
		if (!info.key)
			r = info_read(rows, &info, err);
		if (r >= 0)
			r = add_label(&info, rows, LABEL_COLUMN, err);
	}
	if (r == 0 && !info.key)
		r = err_msg(err, -ENOENT, "no snapshot '%s'", key);
	if (r < 0) {
		snap_info_release(&info);
		return r;
	}
	*ret = info;
	return 0;
}

struct infos {
	struct snap_info *all;
	size_t n, cap;
};

static void infos_release(struct infos *list)
{
	for (size_t i = 0; i < list->n; i++)
		snap_info_release(&list->all[i]);
	free(list->all);
}

static int add_row(struct infos *list, struct db_rows *rows, struct err *err)
{
	struct snap_info *last = list->n > 0 ? &list->all[list->n - 1] : NULL;

	if (last && last->id == db_col_int(rows, 0))
		return add_label(last, rows, LABEL_COLUMN, err);
	if (list->n == list->cap) {
		size_t cap = list->cap ? list->cap * 2 : 64;
		struct snap_info *p = reallocarray(list->all, cap, sizeof(*p));

		if (!p)
			return err_set(err, -ENOMEM, "snapshots");
		list->all = p;
		list->cap = cap;
	}
	last = &list->all[list->n++];
	memset(last, 0, sizeof(*last));
	return info_read(rows, last, err) < 0 ? -ENOMEM : add_label(last, rows, LABEL_COLUMN, err);
}

int snap_walk(struct snap_store *store, const struct snap_filter *filter, snap_info_fn fn,
	      void *ctx, struct err *err)
{
	struct infos list CLEANUP(infos_release) = {.all = NULL};
	struct db_rows *rows = NULL;
	int r = db_query(store->db,
			 INFO_QUERY " WHERE ?1 IS NULL OR s.owner = ?1 ORDER BY s.key, l.key",
			 DB_ARGS(db_text(store->owner)), &rows, err);

	/* all at first: a caller that asks the store meanwhile must not meet a lock */
	while (r >= 0 && (r = db_next(rows, err)) > 0)
		r = add_row(&list, rows, err);
	db_rows_end(rows);
	for (size_t i = 0; i < list.n && r == 0; i++) {
		if (snap_filter_match(filter, &list.all[i]))
			r = fn(ctx, &list.all[i], err);
	}
	return r;
}
