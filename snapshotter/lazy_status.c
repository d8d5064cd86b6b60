/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "snapshotter/lazy_private.h"
#include "snapshotter/snapshot_private.h"

/* How much of what is lazy is here: looked at, not touched. */

static int open_status(struct snap_store *store, const char *id, struct lazy_layer *l,
		       struct err *err)
{
	char path[STORE_PATH_MAX];
	int dir cleanup_close = -1, fd cleanup_close = -1, r;

	store_layer_path(id, NULL, path);
	dir = openat(store->root_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	fd = dir < 0 ? -1 : openat(dir, "present", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ENOENT : err_set(err, -errno, "open '%s'", path);
	r = erofs_presence_open(fd, false, &l->present, err);
	if (r == 0)
		r = lazy_read_spans(dir, &l->spans, err);
	if (r == 0)
		r = lazy_source_read(dir, l, err);
	(void)snprintf(l->id, sizeof(l->id), "%s", id);
	return r < 0 ? r : lazy_check_files(l, err);
}

int lazy_status(struct snap_store *store, const char *id, struct lazy_status *ret, struct err *err)
{
	struct lazy_layer l = {.data_fd = -1, .blob_fd = -1};
	struct lazy_status s = {.size = 0};
	int r = open_status(store, id, &l, err);

	if (r == 0) {
		s.size = l.desc.size;
		s.spans = oci_spans_count(l.spans);
		s.condemned = erofs_presence_is_condemned(l.present);
		for (size_t i = 0; i < s.spans; i++) {
			const struct oci_span *x = oci_spans_get(l.spans, i);
			const struct oci_span *next = oci_spans_get(l.spans, i + 1);

			if (!erofs_presence_has(l.present, i))
				continue;
			s.present++;
			s.fetched += (next ? next->in : s.size) - x->in;
		}
		*ret = s;
	}
	for (size_t i = 0; i < l.n_places; i++) {
		free(l.places[i].spec);
		free(l.places[i].authfile);
	}
	erofs_presence_close(l.present);
	oci_spans_free(l.spans);
	if (r == -ENOENT)
		return 0;
	return r < 0 ? err_wrap(err, r, "layer %s", id) : 1;
}

int lazy_blob_is_to_come(struct snap_store *store, const struct digest *blob, struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	int r = db_query(store->db,
			 "SELECT 1 FROM layer_blobs b JOIN layers l ON l.id = b.layer"
			 " WHERE b.digest = ? AND l.state != 'complete'",
			 DB_ARGS(db_text(blob->text)), &rows, err);

	return r < 0 ? r : db_next(rows, err);
}

int lazy_chain_progress(struct snap_store *store, const char *chain, struct lazy_progress *ret,
			struct err *err)
{
	struct lazy_progress p = {.needed = 0};
	struct db_rows *rows cleanup_db_rows = NULL;
	int r = db_query(store->db,
			 "SELECT c.layer, l.state, (SELECT max(size) FROM layer_blobs b WHERE"
			 " b.layer = c.layer) FROM chain_layers c JOIN layers l ON l.id = c.layer"
			 " WHERE c.chain = ? ORDER BY c.pos",
			 DB_ARGS(db_text(chain)), &rows, err);

	while (r == 0 && (r = db_next(rows, err)) > 0) {
		uint64_t size = (uint64_t)db_col_int(rows, 2);
		struct lazy_status s = {.size = size, .fetched = size};

		r = 0;
		if (strcmp(db_col_text(rows, 1), "complete") != 0) {
			r = lazy_status(store, db_col_text(rows, 0), &s, err);
			if (r < 0)
				return r;
			p.layers += r > 0;
			r = 0;
		}
		p.needed += s.size;
		p.fetched += s.fetched;
	}
	if (r == 0)
		*ret = p;
	return r;
}

int lazy_refuse_kernel(struct snap_store *store, const char *chain, struct err *err)
{
	struct lazy_progress p;
	int r = lazy_chain_progress(store, chain, &p, err);

	if (r == 0 && p.layers > 0)
		r = err_msg(err, -EOPNOTSUPP,
			    "%zu of its layers are lazy, and the kernel cannot wait for them",
			    p.layers);
	return r;
}

/* Of the image that a snapshot, or one below it, was prepared from. */
static int read_whole(struct snap_store *store, const char *key, struct lazy_progress *ret,
		      struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	int r = db_query(store->db,
			 "WITH RECURSIVE below(id) AS (SELECT id FROM snapshots WHERE key = ?"
			 " UNION SELECT s.parent FROM snapshots s JOIN below b ON s.id = b.id"
			 " WHERE s.parent IS NOT NULL) SELECT w.whole FROM below b JOIN snapshots s"
			 " ON s.id = b.id JOIN manifest_layers w ON w.manifest = s.manifest"
			 " WHERE w.whole IS NOT NULL ORDER BY w.pos",
			 DB_ARGS(db_blob(key, strlen(key))), &rows, err);

	while (r == 0 && (r = db_next(rows, err)) > 0) {
		if (ret->whole++ == 0)
			(void)snprintf(ret->why, sizeof(ret->why), "%s", db_col_text(rows, 0));
		r = 0;
	}
	return r;
}

int lazy_snapshot_progress(struct snap_store *store, const char *key, struct lazy_progress *ret,
			   struct err *err)
{
	struct snap_stack stack cleanup_snap_stack = {.dirs = NULL};
	struct snap_row row;
	int r = snap_row_find(store, key, &row, err);

	if (r == 0)
		r = snap_stack_load(store, &row, &stack, err);
	if (r < 0 || !stack.chain[0])
		return r;
	r = lazy_chain_progress(store, stack.chain, ret, err);
	return r < 0 ? r : read_whole(store, key, ret, err);
}
