/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/import.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "snapshotter/blob_share.h"
#include "snapshotter/lazy.h"
#include "snapshotter/lazy_import.h"
#include "snapshotter/lazy_table.h"
#include "snapshotter/snapshot_private.h"

struct import_added {
	struct import_added *next;
	char layer[65];
	struct digest blob;
};

int import_begin(struct snap_store *store, struct import *ret, struct err *err)
{
	int lock = store_lock(store, "gc", LOCK_SH, err);

	if (lock < 0)
		return lock;
	memset(ret, 0, sizeof(*ret));
	ret->store = store;
	ret->gc_lock = lock;
	(void)pthread_mutex_init(&ret->db_lock, NULL);
	return 0;
}

/* A layer nobody names: rows first, then what they named. */
static int forget_layer(struct snap_store *store, const struct import_added *a, struct err *err)
{
	char path[STORE_PATH_MAX];
	int64_t blobs = 0, layers = 0;
	int r = db_begin(store->db, err);

	if (r == 0)
		r = db_run_count(store->db,
				 "DELETE FROM layer_blobs WHERE digest = ?1 AND NOT EXISTS"
				 " (SELECT 1 FROM manifest_layers WHERE blob = ?1)",
				 DB_ARGS(db_text(a->blob.text)), &blobs, err);
	if (r == 0)
		r = db_run_count(store->db,
				 "DELETE FROM layers WHERE id = ?1 AND NOT EXISTS"
				 " (SELECT 1 FROM layer_blobs WHERE layer = ?1) AND NOT EXISTS"
				 " (SELECT 1 FROM chain_layers WHERE layer = ?1) AND NOT EXISTS"
				 " (SELECT 1 FROM manifest_layers WHERE layer = ?1)",
				 DB_ARGS(db_text(a->layer)), &layers, err);
	if (r == 0)
		r = db_commit(store->db, err);
	db_rollback(store->db);
	if (r == 0 && blobs > 0) {
		store_blob_path(&a->blob, path);
		r = store_discard(store, path, err);
	}
	if (r == 0 && layers > 0) {
		store_layer_path(a->layer, NULL, path);
		r = store_discard(store, path, err);
	}
	return r;
}

void import_end(struct import *im)
{
	struct err err = ERR_INIT;
	int lock = -1;

	if (!im->store)
		return;
	closep(&im->gc_lock);
	/* others may count on a layer we added: when somebody is at work it stays until the next gc
	 */
	lock = store_lock(im->store, "gc", LOCK_EX | LOCK_NB, &err);
	while (im->added) {
		struct import_added *a = im->added;

		im->added = a->next;
		if (lock >= 0 && !im->named && !im->stays && forget_layer(im->store, a, &err) < 0)
			log_warn("layer %s stays until 'snap gc': %s", a->layer, err.msg);
		free(a);
	}
	if (lock >= 0)
		store_clean_locks(im->store);
	closep(&lock);
	(void)pthread_mutex_destroy(&im->db_lock);
	im->store = NULL;
}

static bool has(const struct snap_store *store, const char *path)
{
	return faccessat(store->root_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool folder_is_there(const struct snap_store *store, const char *id)
{
	char path[STORE_PATH_MAX];

	store_layer_path(id, "data", path);
	if (!has(store, path))
		return false;
	store_layer_path(id, "index", path);
	return has(store, path);
}

/* Are its contents to come yet? */
static bool is_lazy(const struct snap_store *store, const char *id)
{
	char path[STORE_PATH_MAX];

	store_layer_path(id, "present", path);
	return has(store, path);
}

/* May the blob be missing? @lazy: what is read is here, and nobody asked for more just now. */
static bool is_enough(const struct import *im, bool kept, bool lazy)
{
	return !kept && (im->no_blobs || lazy);
}

/* 1: the blob and its layer are in the store, rows and files. */
static int find_layer(struct import *im, const struct oci_layer_ref *ref, bool lazy,
		      struct import_layer *ret, struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	const char *id;
	char path[STORE_PATH_MAX];
	int r = db_query(
		im->store->db,
		"SELECT l.id, l.tar_size, b.kept FROM layer_blobs b JOIN layers l ON l.id = b.layer"
		" WHERE b.digest = ? AND b.size = ? AND l.diff_id = ?",
		DB_ARGS(db_text(ref->desc.digest.text), db_int((int64_t)ref->desc.size),
			db_text(ref->diff_id.text)),
		&rows, err);

	if (r == 0)
		r = db_next(rows, err);
	if (r <= 0)
		return r;
	id = db_col_text(rows, 0);
	store_blob_path(&ref->desc.digest, path);
	if (!id || strlen(id) != 64 || !folder_is_there(im->store, id))
		return 0;
	if (is_lazy(im->store, id)
		    ? !lazy
		    : !has(im->store, path) && !is_enough(im, db_col_int(rows, 2) != 0, lazy))
		return 0;
	memcpy(ret->id, id, 65);
	ret->tar_size = (uint64_t)db_col_int(rows, 1);
	ret->is_new = false;
	return 1;
}

static int find_layer_locked(struct import *im, const struct oci_layer_ref *ref, bool lazy,
			     struct import_layer *ret, struct err *err)
{
	int r;

	(void)pthread_mutex_lock(&im->db_lock);
	r = find_layer(im, ref, lazy, ret, err);
	(void)pthread_mutex_unlock(&im->db_lock);
	return r;
}

struct work {
	struct store_tmp tmp;
	struct oci_blob blob;
	int copy, data, side, index, dir;
	bool keep; /* the blob, and not its tar alone */
};

static void work_release(struct work *w)
{
	oci_blob_release(&w->blob);
	closep(&w->copy);
	closep(&w->data);
	closep(&w->side);
	closep(&w->index);
	closep(&w->dir);
	store_tmp_release(&w->tmp);
}

static int new_file(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	return fd < 0 ? -errno : fd;
}

static int make_files(struct work *w, struct snap_store *store, struct err *err)
{
	int r = store_tmp_new(store, &w->tmp, err);

	if (r < 0)
		return r;
	r = store_mkdir(w->tmp.fd, "l", 0700);
	if (r < 0)
		return err_set(err, r, "make a folder in '%s/tmp'", store->root);
	w->dir = openat(w->tmp.fd, "l", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	w->data = new_file(w->dir, "data");
	w->side = new_file(w->dir, "side");
	w->index = new_file(w->dir, "index");
	if (w->data < 0 || w->side < 0 || w->index < 0)
		return err_msg(err, w->data < 0 ? w->data : -EIO, "cannot make files in '%s/tmp'",
			       store->root);
	return 0;
}

/*
 * The blob's place in our folder. A file as it is may give its blocks, or itself: what is read and
 * verified is then what the store will have. Any other's bytes are copied as they are read.
 */
static int make_copy(struct work *w, struct snap_store *store, struct err *err)
{
	enum blob_share shared = BLOB_SHARE_NOT;
	int r = w->blob.bounded || w->blob.stream
			? 0
			: blob_share(w->blob.fd, w->tmp.fd, "blob", &shared);

	if (r == 0 && shared == BLOB_SHARE_CLONED) {
		closep(&w->blob.fd);
		w->blob.fd = openat(w->tmp.fd, "blob", O_RDONLY | O_CLOEXEC);
		r = w->blob.fd < 0 ? -errno : 0;
	} else if (r == 0 && shared == BLOB_SHARE_NOT) {
		w->copy = new_file(w->tmp.fd, "blob");
		r = w->copy < 0 ? w->copy : 0;
	}
	return r < 0 ? err_set(err, r, "make a file in '%s/tmp'", store->root) : 0;
}

static int open_blob(struct work *w, struct snap_store *store, const struct import_job *job,
		     struct err *err)
{
	int r;

	if (!job->own) {
		r = job->open(job->ctx, &job->layer->desc, &w->blob, err);
		return r < 0 || !w->keep ? r : make_copy(w, store, err);
	}
	w->blob.fd = openat(job->own->fd, job->own_name, O_RDONLY | O_CLOEXEC);
	return w->blob.fd < 0 ? err_set(err, -errno, "open the new layer") : 0;
}

/* Everything on disk before it gets a name. */
static int sync_all(struct work *w, uint64_t side_size, struct err *err)
{
	if (side_size == 0 && unlinkat(w->dir, "side", 0) < 0)
		return err_set(err, -errno, "remove an empty file");
	if (fdatasync(w->data) < 0 || fdatasync(w->index) < 0 ||
	    (side_size > 0 && fdatasync(w->side) < 0) ||
	    (w->keep && fdatasync(w->copy >= 0 ? w->copy : w->blob.fd) < 0) || fsync(w->dir) < 0)
		return err_set(err, -errno, "sync the layer");
	return 0;
}

static int insert_rows(struct import *im, const struct oci_layer_ref *ref,
		       const struct oci_layer_result *result, const struct import_row *row,
		       struct err *err)
{
	struct db *db = im->store->db;
	struct import_added *a = calloc(1, sizeof(*a));
	int r = a ? db_begin(db, err) : err_set(err, -ENOMEM, "layer");

	if (r == 0)
		r = db_run(db,
			   "INSERT INTO layers VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO"
			   " NOTHING",
			   DB_ARGS(db_text(row->id), db_text(ref->diff_id.text),
				   db_int((int64_t)result->tar_size),
				   db_int((int64_t)result->side_size),
				   db_int((int64_t)result->entries), db_text(row->state)),
			   err);
	if (r == 0)
		r = db_run(db,
			   "INSERT INTO layer_blobs VALUES (?, ?, ?, ?, ?) ON CONFLICT (digest) DO "
			   "UPDATE SET size = excluded.size, layer = excluded.layer,"
			   " kept = excluded.kept, level = excluded.level",
			   DB_ARGS(db_text(ref->desc.digest.text), db_int((int64_t)ref->desc.size),
				   db_text(row->id), db_int(row->kept), db_int(row->level)),
			   err);
	if (r == 0)
		r = db_commit(db, err);
	db_rollback(db);
	if (r < 0) {
		free(a);
		return r;
	}
	memcpy(a->layer, row->id, 65);
	a->blob = ref->desc.digest;
	a->next = im->added;
	im->added = a;
	return 0;
}

int import_rows(struct import *im, const struct oci_layer_ref *ref,
		const struct oci_layer_result *result, const struct import_row *row,
		struct err *err)
{
	int r;

	(void)pthread_mutex_lock(&im->db_lock);
	r = insert_rows(im, ref, result, row, err);
	(void)pthread_mutex_unlock(&im->db_lock);
	return r;
}

/* The layer's folder, unless it is there: a row says that it is good, without one it is replaced.
 */
int import_place(struct import *im, struct store_tmp *tmp, const char *name, const char *id,
		 int data_fd, struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	char path[STORE_PATH_MAX];
	int r, known;

	/* one of the same tar that is lazy: it gets the bytes */
	if (data_fd >= 0 && is_lazy(im->store, id)) {
		(void)pthread_mutex_lock(&im->db_lock);
		r = lazy_layer_adopt(im->store, id, data_fd, err);
		(void)pthread_mutex_unlock(&im->db_lock);
		if (r < 0)
			return r;
	}
	(void)pthread_mutex_lock(&im->db_lock);
	r = db_query(im->store->db, "SELECT 1 FROM layers WHERE id = ?", DB_ARGS(db_text(id)),
		     &rows, err);
	known = r == 0 ? db_next(rows, err) : r;
	db_rows_end(steal_ptr(&rows));
	(void)pthread_mutex_unlock(&im->db_lock);
	if (known < 0)
		return known;
	if (known && folder_is_there(im->store, id))
		return 0;
	store_layer_path(id, NULL, path);
	r = store_discard(im->store, path, err);
	return r < 0 ? r : store_publish(tmp, name, path, err);
}

/* A source that failed explains why the blob was too short, or what else the reader made of it. */
static int blob_end(struct work *w, int r, struct err *err)
{
	struct err why = ERR_INIT;
	int failed;

	if (!w->blob.stream)
		return r;
	failed = oci_blob_finish(&w->blob, &why);
	if (failed < 0 && err)
		*err = why;
	return failed < 0 ? failed : r;
}

/* A lazy layer that goes by a table of the blob takes it over (lazy_table_adopt()). */
static int wants_blob(struct import *im, const struct import_job *job, bool *ret, struct err *err)
{
	int r = 0;

	if (im->no_blobs) {
		(void)pthread_mutex_lock(&im->db_lock);
		r = lazy_blob_is_to_come(im->store, &job->layer->desc.digest, err);
		(void)pthread_mutex_unlock(&im->db_lock);
	}
	*ret = !im->no_blobs || r > 0;
	return r < 0 ? r : 0;
}

static int publish_blob(struct import *im, struct work *w, const struct import_job *job,
			struct import_row *row, struct err *err)
{
	char path[STORE_PATH_MAX];

	store_blob_path(&job->layer->desc.digest, path);
	row->kept = w->keep || has(im->store, path);
	if (!w->keep)
		return 0;
	return job->own ? store_publish_file(job->own, job->own_name, path, err)
			: store_publish_file(&w->tmp, "blob", path, err);
}

/* The layer was there already, of another blob: what was made of this one goes. */
static uint64_t thrown_away(const struct work *w)
{
	const int files[] = {w->data, w->side, w->index};
	uint64_t bytes = 0;
	struct stat st;

	if (faccessat(w->tmp.fd, "l", F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		bytes += fstat(files[i], &st) < 0 ? 0 : (uint64_t)st.st_blocks * 512;
	return bytes;
}

static int bring_in(struct import *im, const struct import_job *job, struct import_layer *ret,
		    struct err *err)
{
	struct work w CLEANUP(work_release) = {.tmp = STORE_TMP_INIT,
					       .blob = OCI_BLOB_INIT,
					       .copy = -1,
					       .data = -1,
					       .side = -1,
					       .index = -1,
					       .dir = -1};
	struct oci_layer_result result = {.entries = 0};
	char id[65];
	struct import_row row = {.id = id, .state = "complete", .level = job->level};
	int r = wants_blob(im, job, &w.keep, err);

	if (r == 0)
		r = make_files(&w, im->store, err);
	if (r == 0)
		r = open_blob(&w, im->store, job, err);
	if (r < 0)
		return r;
	r = oci_layer_in(
		&(struct oci_layer_job){
			.blob_fd = w.blob.fd,
			.bounded = w.blob.bounded,
			.layer = job->layer,
			.limits = job->limits,
			.data_fd = w.data,
			.side_fd = w.side,
			.index_fd = w.index,
			.copy_fd = w.copy,
			.progress = job->progress,
			.cancel = job->cancel,
		},
		&result, err);
	r = blob_end(&w, r, err);
	if (r == 0)
		r = sync_all(&w, result.side_size, err);
	if (r < 0)
		return r;
	memcpy(id, digest_hex(&result.tar), 65);
	r = publish_blob(im, &w, job, &row, err);
	if (r == 0)
		r = import_place(im, &w.tmp, "l", id, w.data, err);
	if (r < 0)
		return r;
	r = import_rows(im, job->layer, &result, &row, err);
	if (r == 0) {
		(void)pthread_mutex_lock(&im->db_lock);
		r = lazy_table_adopt(im->store, job->layer, id, err);
		(void)pthread_mutex_unlock(&im->db_lock);
	}
	if (r == 0) {
		memcpy(ret->id, id, sizeof(ret->id));
		ret->tar_size = result.tar_size;
		ret->is_new = true;
		ret->temporary = thrown_away(&w);
		ret->fetched = job->layer->desc.size;
		if (im->whole)
			(void)snprintf(ret->whole, sizeof(ret->whole), "%s", im->whole);
	}
	return r;
}

int import_layer(struct import *im, const struct import_job *job, struct import_layer *ret,
		 struct err *err)
{
	char name[160];
	int lock cleanup_close = -1, r;

	(void)snprintf(name, sizeof(name), "layer-%s", digest_hex(&job->layer->diff_id));
	lock = store_lock(im->store, name, LOCK_EX, err);
	if (lock < 0)
		return lock;
	r = find_layer_locked(im, job->layer, job->lazy != NULL, ret, err);
	if (r > 0 && job->progress)
		*job->progress += job->layer->desc.size;
	if (r == 0 && job->lazy)
		r = lazy_import_layer(im, job, ret, err);
	if (r == 0)
		r = bring_in(im, job, ret, err);
	return r < 0 ? r : 0;
}

static int put_document(struct snap_store *store, const struct oci_descriptor *desc,
			const char *text, struct err *err)
{
	struct store_tmp t cleanup_store_tmp = STORE_TMP_INIT;
	char path[STORE_PATH_MAX];
	int fd cleanup_close = -1, r;

	r = store_tmp_new(store, &t, err);
	if (r < 0)
		return r;
	fd = new_file(t.fd, "d");
	if (fd >= 0)
		r = io_write_full(fd, text, desc->size);
	if (fd >= 0 && r == 0 && fsync(fd) < 0)
		r = -errno;
	if (fd < 0 || r < 0)
		return err_set(err, fd < 0 ? fd : r, "write %s", desc->digest.text);
	store_blob_path(&desc->digest, path);
	return store_publish_file(&t, "d", path, err);
}

static int check_ref(struct snap_store *store, const char *ref, struct err *err)
{
	struct snap_row row;
	int r;

	if (ref[0] == '\0')
		return err_msg(err, -EINVAL, "an image's REF may not be empty");
	r = snap_row_find(store, ref, &row, NULL);
	if (r == 0 && row.kind == SNAP_COMMITTED)
		return err_msg(err, -EEXIST, "'%s' is the name of a committed snapshot", ref);
	return r < 0 && r != -ENOENT ? snap_row_find(store, ref, &row, err) : 0;
}

static int name_image(struct snap_store *store, const struct oci_image *image, const char *ref,
		      struct err *err)
{
	int r = check_ref(store, ref, err);

	return r < 0 ? r
		     : db_run(store->db, "INSERT OR REPLACE INTO images VALUES (?, ?, ?)",
			      DB_ARGS(db_text(ref), db_text(image->manifest_desc.digest.text),
				      db_int(store_now())),
			      err);
}

int chain_insert(struct db *db, const char *chain, uint64_t inodes,
		 const struct import_layer *layers, size_t n, struct err *err)
{
	int r = db_run(db, "INSERT OR IGNORE INTO chains VALUES (?, ?)",
		       DB_ARGS(db_text(chain), db_int((int64_t)inodes)), err);

	for (size_t i = 0; i < n && r == 0; i++)
		r = db_run(db, "INSERT OR IGNORE INTO chain_layers VALUES (?, ?, ?)",
			   DB_ARGS(db_text(chain), db_int((int64_t)i), db_text(layers[i].id)), err);
	return r;
}

static int insert_manifest(struct db *db, const struct oci_image *image, const char *chain,
			   const struct import_layer *layers, struct err *err)
{
	const struct oci_platform *p = &image->platform;
	char platform[104];
	uint64_t bytes = 0;
	int r;

	(void)snprintf(platform, sizeof(platform), "%s/%s%s%s", p->os, p->architecture,
		       p->variant[0] ? "/" : "", p->variant);
	for (size_t i = 0; i < image->n_layers; i++)
		bytes += image->layers[i].desc.size;
	r = db_run(db, "INSERT OR IGNORE INTO manifests VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		   DB_ARGS(db_text(image->manifest_desc.digest.text),
			   db_text(image->manifest_desc.media_type),
			   db_int((int64_t)image->manifest_desc.size),
			   db_text(image->config_desc.digest.text),
			   db_int((int64_t)image->config_desc.size), db_text(chain),
			   db_text(image->created), db_text(platform),
			   db_int((int64_t)image->n_layers), db_int((int64_t)bytes)),
		   err);
	for (size_t i = 0; i < image->n_layers && r == 0; i++)
		r = db_run(db, "INSERT OR IGNORE INTO manifest_layers VALUES (?, ?, ?, ?, ?)",
			   DB_ARGS(db_text(image->manifest_desc.digest.text), db_int((int64_t)i),
				   db_text(layers[i].id),
				   db_text(image->layers[i].desc.digest.text),
				   db_text(layers[i].whole[0] ? layers[i].whole : NULL)),
			   err);
	return r;
}

int import_image(struct import *im, const struct oci_image *image,
		 const struct import_layer *layers, const char *ref, struct err *err)
{
	struct snap_store *store = im->store;
	struct digest *diff_ids cleanup_free = calloc(image->n_layers + 1, sizeof(*diff_ids));
	char chain[65] = "";
	uint64_t inodes = 0;
	int r = diff_ids ? check_ref(store, ref, err) : err_set(err, -ENOMEM, "image");

	for (size_t i = 0; r == 0 && i < image->n_layers; i++)
		diff_ids[i] = image->layers[i].diff_id;
	if (r == 0 && image->n_layers > 0)
		r = chain_build(store, diff_ids, layers, image->n_layers, chain, &inodes, err);
	if (r == 0)
		r = put_document(store, &image->config_desc, image->config, err);
	if (r == 0)
		r = put_document(store, &image->manifest_desc, image->manifest, err);
	if (r == 0)
		r = db_begin(store->db, err);
	if (r < 0)
		return r;
	if (chain[0])
		r = chain_insert(store->db, chain, inodes, layers, image->n_layers, err);
	if (r == 0)
		r = insert_manifest(store->db, image, chain[0] ? chain : NULL, layers, err);
	if (r == 0)
		r = name_image(store, image, ref, err);
	if (r == 0)
		r = db_commit(store->db, err);
	db_rollback(store->db);
	if (r == 0)
		im->named = true;
	return r;
}

/* Rows are the truth, but what they name may have been damaged by hand: then it is brought in
 * again. */
static int is_complete(const struct import *im, const struct oci_image *image, const char *chain,
		       bool lazy, struct err *err)
{
	struct snap_store *store = im->store;
	struct snap_layer_info *layers cleanup_free = NULL;
	char path[STORE_PATH_MAX];
	size_t n = 0;
	int r = snap_image_layers(store, &image->manifest_desc.digest, &layers, &n, err);
	bool whole = r == 0 && n == image->n_layers;

	if (whole && chain[0]) {
		store_chain_path(chain, "index", path);
		whole = has(store, path);
	}
	store_blob_path(&image->config_desc.digest, path);
	whole = whole && has(store, path);
	store_blob_path(&image->manifest_desc.digest, path);
	whole = whole && has(store, path);
	for (size_t i = 0; whole && i < n; i++) {
		store_blob_path(&layers[i].blob, path);
		whole = folder_is_there(store, layers[i].id) &&
			(is_lazy(store, layers[i].id)
				 ? lazy
				 : has(store, path) || is_enough(im, layers[i].kept, lazy));
	}
	return r < 0 ? r : whole;
}

int import_known(struct import *im, const struct oci_image *image, const char *ref, bool lazy,
		 struct err *err)
{
	struct snap_store *store = im->store;
	struct db_rows *rows cleanup_db_rows = NULL;
	char chain[65] = "";
	int r = db_query(store->db, "SELECT chain FROM manifests WHERE digest = ?",
			 DB_ARGS(db_text(image->manifest_desc.digest.text)), &rows, err);

	if (r == 0)
		r = db_next(rows, err);
	if (r <= 0)
		return r;
	(void)snprintf(chain, sizeof(chain), "%s",
		       db_col_null(rows, 0) ? "" : db_col_text(rows, 0));
	db_rows_end(steal_ptr(&rows));
	r = is_complete(im, image, chain, lazy, err);
	if (r <= 0)
		return r;
	r = db_begin(store->db, err);
	if (r == 0)
		r = name_image(store, image, ref, err);
	if (r == 0)
		r = db_commit(store->db, err);
	db_rollback(store->db);
	if (r < 0)
		return r;
	im->named = true;
	return 1;
}
