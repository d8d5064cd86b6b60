/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/lazy_table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "erofs/image.h"
#include "oci/limits.h"
#include "oci/toc.h"
#include "overlay/lazy.h"
#include "snapshotter/lazy_import.h"
#include "snapshotter/lazy_private.h"
#include "snapshotter/remake.h"

static int fetch(const struct import_job *job, uint64_t from, int fd, struct err *err)
{
	const struct oci_descriptor *desc = &job->layer->desc;

	const struct oci_range want = {
		.from = from, .len = desc->size - from, .fd = fd, .seconds = ovl_lazy_seconds()};

	return oci_source_range(job->lazy->source, desc, &want, err);
}

/* Where in the blob the table starts, with what is in front of it. */
static int find_start(const struct import_job *job, int blob_fd, uint64_t *ret, struct err *err)
{
	const struct oci_layer_ref *ref = job->layer;
	uint64_t size = ref->desc.size;
	uint8_t footer[OCI_TOC_FOOTER];
	int r;

	if (ref->toc.kind == OCI_TOC_BAD || size <= OCI_TOC_FOOTER)
		return err_msg(err, -EBADMSG,
			       "its annotations speak of a table of contents that cannot be");
	if (ref->toc.kind == OCI_TOC_ZSTD_CHUNKED) {
		if (ref->toc.off < OCI_TOC_SKIPPABLE || ref->toc.off >= size)
			return err_msg(err, -EBADMSG,
				       "its table of contents is said to be outside");
		*ret = ref->toc.off - OCI_TOC_SKIPPABLE;
		return 0;
	}
	r = fetch(job, size - OCI_TOC_FOOTER, blob_fd, err);
	if (r < 0)
		return r;
	r = io_pread_full(blob_fd, footer, sizeof(footer), (off_t)(size - OCI_TOC_FOOTER));
	return r < 0 ? err_set(err, r, "read 'blob'") : oci_toc_footer(footer, size, ret, err);
}

int lazy_table_fetch(const struct import_job *job, int index_fd, int blob_fd, struct strbuf *spans,
		     struct oci_layer_result *ret, uint64_t *ret_fetched, struct err *err)
{
	struct oci_toc_job toc = {.layer = job->layer,
				  .blob_fd = blob_fd,
				  .limits = job->limits,
				  .index_fd = index_fd};
	uint64_t size = job->layer->desc.size;
	int r = find_start(job, blob_fd, &toc.start, err);

	if (r == 0 && size - toc.start > OCI_TOC_MAX)
		r = err_msg(err, -EOPNOTSUPP, "its table of contents is of more than %u bytes",
			    OCI_TOC_MAX);
	if (r == 0)
		r = fetch(job, toc.start, blob_fd, err);
	if (r == 0)
		r = oci_toc_in(&toc, spans, ret, err);
	*ret_fetched = size - toc.start;
	return r;
}

static int new_file(int dir, const char *name)
{
	return openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
}

/*
 * The layer as an ordinary one. The pull's budgets were for the table: its tar may have twice of
 * what that has, besides what any may.
 */
static int remake(struct lazy_layer *l, struct snap_store *store, struct remade *m, struct err *err)
{
	int from cleanup_close = openat(l->dir_fd, "blob", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	int index cleanup_close = openat(l->dir_fd, "index", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct erofs_image *img cleanup_erofs_image = NULL;
	struct oci_layer_ref ref = {.desc = l->desc,
				    .diff_id = *oci_spans_tar(l->spans),
				    .compression = oci_spans_compression(l->spans)};
	struct oci_limits limits;
	int r;

	if (from < 0 || index < 0)
		return err_set(err, -errno, "open 'blob' and 'index'");
	r = erofs_image_open(index, &img, err);
	if (r < 0)
		return r;
	oci_limits_fill(NULL, &limits);
	limits.bytes += 2 * oci_spans_tar_size(l->spans);
	limits.entries += 2 * erofs_image_inodes(img);
	limits.ratio = limits.depth = UINT64_MAX;
	limits.xattr_bytes = limits.header_bytes = limits.meta_bytes = UINT64_MAX;
	r = layer_remake(store, from, &ref, &limits, m, err);
	if (r == -E2BIG)
		return err_msg(err, -EBADMSG, "its tar has far more than its table of contents");
	return r < 0 ? r : remade_sync(m, err);
}

static int compare(struct lazy_layer *l, struct remade *m, struct err *err)
{
	int index cleanup_close = openat(l->dir_fd, "index", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	if (index < 0)
		return err_set(err, -errno, "open 'index'");
	return lazy_table_compare(index, l->data_fd, m->index, m->data, err);
}

/* Where the ordinary layer is not in the store already. */
static int place(struct snap_store *store, struct remade *m, const char *id, struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	char path[STORE_PATH_MAX];
	int r = db_query(store->db, "SELECT 1 FROM layers WHERE id = ?", DB_ARGS(db_text(id)),
			 &rows, err);

	if (r == 0)
		r = db_next(rows, err);
	if (r != 0)
		return r < 0 ? r : 0;
	db_rows_end(steal_ptr(&rows));
	store_layer_path(id, NULL, path);
	r = store_discard(store, path, err);
	if (r == 0)
		r = store_publish(&m->tmp, "l", path, err);
	return r < 0 ? r
		     : db_run(store->db,
			      "INSERT INTO layers VALUES (?, ?, ?, ?, ?, 'complete') ON CONFLICT "
			      "(id)"
			      " DO NOTHING",
			      DB_ARGS(db_text(id), db_text(m->result.tar.text),
				      db_int((int64_t)m->result.tar_size),
				      db_int((int64_t)m->result.side_size),
				      db_int((int64_t)m->result.entries)),
			      err);
}

/* The chain's index over the ordinary layer instead: both are right, so who opens either is. */
static int remake_chain(struct snap_store *store, const char *chain, const char *from,
			const char *to, struct err *err)
{
	struct store_tmp t cleanup_store_tmp = STORE_TMP_INIT;
	struct db_rows *rows cleanup_db_rows = NULL;
	char **ids cleanup_free = calloc(OCI_LAYERS_MAX, sizeof(*ids));
	char path[STORE_PATH_MAX], folder[STORE_PATH_MAX];
	int fd cleanup_close = -1, dir cleanup_close = -1, r;
	uint64_t inodes;
	size_t n = 0;

	r = !ids ? err_set(err, -ENOMEM, "merge")
		 : db_query(store->db,
			    "SELECT layer FROM chain_layers WHERE chain = ? ORDER BY pos",
			    DB_ARGS(db_text(chain)), &rows, err);
	while (r == 0 && n < OCI_LAYERS_MAX && (r = db_next(rows, err)) > 0) {
		const char *id = db_col_text(rows, 0);

		ids[n] = strdup(strcmp(id, from) == 0 ? to : id);
		r = ids[n] ? 0 : err_set(err, -ENOMEM, "merge");
		n += r == 0;
	}
	db_rows_end(steal_ptr(&rows));
	if (r == 0)
		r = store_tmp_new(store, &t, err);
	if (r == 0) {
		fd = new_file(t.fd, "index");
		r = fd < 0 ? err_set(err, -errno, "make a file in '%s/tmp'", store->root) : 0;
	}
	if (r == 0)
		r = chain_merge(store, (const char *const *)ids, n, fd, &inodes, err);
	while (n > 0)
		free(ids[--n]);
	if (r < 0)
		return r;
	store_chain_path(chain, "index", path);
	store_chain_path(chain, NULL, folder);
	dir = openat(store->root_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fsync(fd) < 0 || dir < 0 || renameat(t.fd, "index", store->root_fd, path) < 0 ||
	    fsync(dir) < 0)
		return err_set(err, -errno, "replace '%s/%s'", store->root, path);
	return 0;
}

static int remake_chains(struct snap_store *store, const char *from, const char *to,
			 struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	char(*chains)[65] cleanup_free = NULL;
	size_t n = 0;
	int r = db_query(store->db, "SELECT DISTINCT chain FROM chain_layers WHERE layer = ?",
			 DB_ARGS(db_text(from)), &rows, err);

	while (r == 0 && (r = db_next(rows, err)) > 0) {
		void *grown = reallocarray(chains, n + 1, sizeof(*chains));

		if (!grown)
			return err_set(err, -ENOMEM, "merge");
		chains = grown;
		(void)snprintf(chains[n++], sizeof(*chains), "%s", db_col_text(rows, 0));
		r = 0;
	}
	db_rows_end(steal_ptr(&rows));
	for (size_t i = 0; i < n && r == 0; i++) {
		char name[80];
		int lock cleanup_close = -1;

		(void)snprintf(name, sizeof(name), "chain-%.64s", chains[i]);
		lock = store_lock(store, name, LOCK_EX, err);
		r = lock < 0 ? lock : remake_chain(store, chains[i], from, to, err);
	}
	return r;
}

static int switch_rows(struct snap_store *store, const char *from, const char *to, struct err *err)
{
	static const char *const changes[] = {
		"UPDATE chain_layers SET layer = ?2 WHERE layer = ?1",
		"UPDATE manifest_layers SET layer = ?2 WHERE layer = ?1",
		"UPDATE layer_blobs SET layer = ?2 WHERE layer = ?1",
	};
	int r = db_begin(store->db, err);

	for (size_t i = 0; r == 0 && i < sizeof(changes) / sizeof(changes[0]); i++)
		r = db_run(store->db, changes[i], DB_ARGS(db_text(from), db_text(to)), err);
	if (r == 0)
		r = db_commit(store->db, err);
	db_rollback(store->db);
	return r;
}

/* Somebody who brings in an image just now may count on it: then it is the next filler's, or gc's.
 */
static int drop_layer(struct snap_store *store, const char *id, int gc, struct err *err)
{
	char path[STORE_PATH_MAX];
	int64_t n = 0;
	int r;

	if (flock(gc, LOCK_EX | LOCK_NB) < 0)
		return 0;
	r = db_run_count(store->db,
			 "DELETE FROM layers WHERE id = ?1 AND id NOT IN (" STORE_NAMED_LAYERS ")",
			 DB_ARGS(db_text(id)), &n, err);
	store_layer_path(id, NULL, path);
	return r < 0 || n == 0 ? r : store_discard(store, path, err);
}

/* 0: an earlier filler has switched, and only what is left of the layer is to go. */
static int is_named(struct snap_store *store, const char *id, struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	int r = db_query(store->db,
			 "SELECT 1 FROM (" STORE_NAMED_LAYERS ") WHERE layer = ?1 LIMIT 1",
			 DB_ARGS(db_text(id)), &rows, err);

	return r < 0 ? r : db_next(rows, err);
}

/* Under the lock of the layer that it becomes; @id: what that is called. */
static int replace_locked(struct lazy_layer *l, struct snap_store *store, const char *id,
			  struct err *err)
{
	struct remade m CLEANUP(remade_release) = REMADE_INIT;
	int r = remake(l, store, &m, err);

	if (r == 0)
		r = compare(l, &m, err);
	if (r == 0)
		r = lazy_publish_blob(l, err);
	if (r == 0)
		r = place(store, &m, id, err);
	if (r == 0)
		r = remake_chains(store, l->id, id, err);
	if (r == 0)
		r = switch_rows(store, l->id, id, err);
	if (r == 0)
		log_info("layer %s is %s now", l->id, id);
	return r;
}

int lazy_table_finish(struct lazy_layer *l, struct snap_store *store, int gc, struct err *err)
{
	const char *id = digest_hex(oci_spans_tar(l->spans));
	char name[160];
	int lock cleanup_close = -1, r;

	(void)snprintf(name, sizeof(name), "layer-%s", id);
	lock = store_lock(store, name, LOCK_EX, err);
	r = lock < 0 ? lock : is_named(store, l->id, err);
	if (r > 0)
		r = replace_locked(l, store, id, err);
	return r < 0 ? r : drop_layer(store, l->id, gc, err);
}

/* 1: it was replaced. */
static int adopt(struct snap_store *store, const char *from, const char *to,
		 const struct digest *blob, struct err *err)
{
	struct lazy_layer *l CLEANUP(lazy_layer_closep) = NULL;
	char path[STORE_PATH_MAX];
	int fd cleanup_close = -1, r = lazy_layer_open(store, from, &l, err);

	if (r == -ENOENT)
		return 0;
	if (r == 0)
		r = lazy_refuse_condemned(l->present, from, err);
	if (r < 0 || !oci_spans_is_by_table(l->spans) || !digest_equal(&l->desc.digest, blob))
		return r;
	store_blob_path(blob, path);
	fd = openat(store->root_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, -errno, "open '%s/%s'", store->root, path);
	r = io_copy_range(fd, 0, l->blob_fd, 0, l->desc.size, false);
	if (r < 0)
		return err_set(err, r, "write layer %s", from);
	/* those who have it mounted read what it has */
	r = lazy_inflate(l, 0, oci_spans_count(l->spans), path, err);
	if (r == 0)
		r = replace_locked(l, store, to, err);
	return r < 0 ? r : 1;
}

int lazy_table_adopt(struct snap_store *store, const struct oci_layer_ref *ref, const char *id,
		     struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	char from[65];
	int r;

	do {
		r = db_query(store->db,
			     "SELECT l.id FROM layers l WHERE l.diff_id = ?1 AND l.id != ?2 AND"
			     " l.state = 'lazy' AND EXISTS (SELECT 1 FROM manifest_layers m WHERE"
			     " m.layer = l.id AND m.blob = ?3)",
			     DB_ARGS(db_text(ref->diff_id.text), db_text(id),
				     db_text(ref->desc.digest.text)),
			     &rows, err);
		if (r == 0)
			r = db_next(rows, err);
		if (r <= 0)
			return r;
		(void)snprintf(from, sizeof(from), "%s", db_col_text(rows, 0));
		db_rows_end(steal_ptr(&rows));
		r = adopt(store, from, id, &ref->desc.digest, err);
	} while (r > 0);
	return r;
}
