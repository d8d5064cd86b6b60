/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "snapshotter/als.h"
#include "snapshotter/als_private.h"
#include "snapshotter/filler.h"
#include "snapshotter/image.h"
#include "snapshotter/lazy.h"

#define OF_PLACE                                                                                   \
	"SELECT m.manifest, m.pos, l.id, l.diff_id, l.tar_size, b.size FROM manifest_layers m"     \
	" JOIN layers l ON l.id = m.layer JOIN layer_blobs b ON b.digest = m.blob "

/* Where the layer is in use, else in the image of that name, else in any. */
static const char *const queries[] = {
	OF_PLACE "JOIN layer_uses u ON u.manifest = m.manifest AND u.pos = m.pos"
		 " WHERE u.digest = ?1 AND u.ref = ?2 AND m.blob = ?1",
	OF_PLACE "JOIN images i ON i.manifest = m.manifest"
		 " WHERE m.blob = ?1 AND i.ref = ?2 ORDER BY m.pos LIMIT 1",
	OF_PLACE "WHERE m.blob = ?1 AND length(?2) >= 0 ORDER BY m.manifest, m.pos LIMIT 1",
};

static int read_place(struct db_rows *rows, const struct digest *blob, struct als_place *ret,
		      struct err *err)
{
	int r;

	memset(ret, 0, sizeof(*ret));
	r = digest_parse(db_col_text(rows, 0), &ret->manifest);
	if (r == 0)
		r = digest_parse(db_col_text(rows, 3), &ret->diff_id);
	if (r < 0)
		return err_msg(err, -EUCLEAN, "the store's database has a damaged digest");
	ret->pos = (size_t)db_col_int(rows, 1);
	ret->blob = *blob;
	(void)snprintf(ret->layer, sizeof(ret->layer), "%s", db_col_text(rows, 2));
	ret->tar_size = (uint64_t)db_col_int(rows, 4);
	ret->blob_size = (uint64_t)db_col_int(rows, 5);
	return 0;
}

int als_find(struct snap_store *store, const char *ref, const struct digest *blob,
	     struct als_place *ret, struct err *err)
{
	for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
		struct db_rows *rows cleanup_db_rows = NULL;
		int r = db_query(store->db, queries[i],
				 DB_ARGS(db_text(blob->text), db_text(ref ? ref : "")), &rows, err);

		if (r == 0)
			r = db_next(rows, err);
		if (r < 0)
			return r;
		if (r > 0)
			return read_place(rows, blob, ret, err);
	}
	return -ENOENT;
}

int als_stack(struct snap_store *store, const struct als_place *place, char (**ret)[65],
	      size_t *ret_n, struct err *err)
{
	struct snap_layer_info *layers cleanup_free = NULL;
	char(*ids)[65];
	size_t n = 0;
	int r = snap_image_layers(store, &place->manifest, &layers, &n, err);

	if (r < 0)
		return r;
	if (place->pos >= n)
		return err_msg(err, -EUCLEAN, "manifest %s has lost layers", place->manifest.text);
	ids = calloc(place->pos + 1, sizeof(*ids));
	if (!ids)
		return err_set(err, -ENOMEM, "layers of %s", place->manifest.text);
	for (size_t i = 0; i <= place->pos; i++)
		memcpy(ids[i], layers[i].id, sizeof(ids[i]));
	*ret = ids;
	*ret_n = place->pos + 1;
	return 0;
}

int als_use(struct snap_store *store, const char *ref, const struct digest *blob, bool more,
	    struct err *err)
{
	struct als_place place;
	int r = db_begin(store->db, err);

	if (r < 0)
		return r;
	r = als_find(store, ref, blob, &place, err);
	if (r == 0 && more)
		r = db_run(store->db,
			   "INSERT INTO layer_uses VALUES (?1, ?2, ?3, ?4, 1) ON CONFLICT (ref, "
			   "digest) DO UPDATE SET count = count + 1",
			   DB_ARGS(db_text(ref ? ref : ""), db_text(blob->text),
				   db_text(place.manifest.text), db_int((int64_t)place.pos)),
			   err);
	else if (r == 0) {
		const struct db_value args[] = {db_text(ref ? ref : ""), db_text(blob->text)};

		r = db_run(store->db,
			   "UPDATE layer_uses SET count = count - 1 WHERE ref = ? AND digest = ?",
			   args, 2, err);
		if (r == 0)
			r = db_run(store->db, "DELETE FROM layer_uses WHERE count <= 0", DB_NONE,
				   err);
	}
	if (r == 0)
		r = db_commit(store->db, err);
	db_rollback(store->db);
	return r;
}

int snap_als_release(struct snap_store *store, const char *ref, struct err *err)
{
	int64_t changed = 0;
	int r = db_run_count(store->db, "DELETE FROM layer_uses WHERE ref = ?",
			     DB_ARGS(db_text(ref)), &changed, err);

	if (r == 0 && changed == 0)
		return err_msg(err, -ENOENT, "no layer of '%s' is in use", ref);
	return r;
}

static void write_ids(struct json_writer *w, const char *key, const uint32_t *ids, size_t n)
{
	json_w_key(w, key);
	json_w_array(w);
	for (size_t i = 0; i < n; i++)
		json_w_uint(w, ids[i]);
	json_w_end(w);
}

/* containers/storage, pkg/archive: Compression. */
static int compression_of(struct snap_store *store, const struct als_place *p, int *ret,
			  struct err *err)
{
	static const int theirs[] = {[OCI_PLAIN] = 0, [OCI_GZIP] = 2, [OCI_ZSTD] = 4};
	struct oci_image *image cleanup_oci_image = NULL;
	int r = snap_image_load(store, &p->manifest, &image, err);

	if (r == 0 && p->pos >= image->n_layers)
		r = err_msg(err, -EUCLEAN, "manifest %s has lost layers", p->manifest.text);
	if (r == 0)
		*ret = theirs[image->layers[p->pos].compression];
	return r;
}

int als_info(struct snap_store *store, const struct als_place *place, const struct als_layer *l,
	     struct strbuf *ret, struct err *err)
{
	struct json_writer *w;
	const uint32_t *ids;
	int compression = 0, r;
	size_t n;

	r = compression_of(store, place, &compression, err);
	if (r < 0)
		return r;
	w = json_writer_new(0);
	json_w_object(w);
	json_w_key(w, "compressed-diff-digest");
	json_w_string(w, place->blob.text);
	json_w_key(w, "compressed-size");
	json_w_uint(w, place->blob_size);
	json_w_key(w, "diff-digest");
	json_w_string(w, place->diff_id.text);
	json_w_key(w, "diff-size");
	json_w_uint(w, place->tar_size);
	json_w_key(w, "compression");
	json_w_int(w, compression);
	n = als_layer_uids(l, &ids);
	write_ids(w, "uidset", ids, n);
	n = als_layer_gids(l, &ids);
	write_ids(w, "gidset", ids, n);
	json_w_end(w);
	r = json_writer_finish(w, ret);
	return r < 0 ? err_set(err, r, "info of layer %s", place->blob.text) : 0;
}

static int open_blob(struct snap_store *store, const struct als_place *place)
{
	char path[STORE_PATH_MAX];
	int fd;

	store_blob_path(&place->blob, path);
	fd = openat(store->root_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

bool als_has_blob(struct snap_store *store, const struct als_place *place)
{
	struct lazy_status status;
	char path[STORE_PATH_MAX];

	store_blob_path(&place->blob, path);
	return faccessat(store->root_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
	       lazy_status(store, place->layer, &status, NULL) == 1;
}

int als_blob(struct snap_store *store, const struct als_place *place, int *ret, struct err *err)
{
	struct lazy_status status;
	int fd = open_blob(store, place), r;

	if (fd == -ENOENT) {
		r = lazy_status(store, place->layer, &status, err);
		if (r > 0)
			r = snap_filler_complete(store, place->layer, err);
		if (r < 0)
			return r;
		fd = open_blob(store, place);
	}
	if (fd < 0)
		return err_set(err, fd, "blob %s", place->blob.text);
	*ret = fd;
	return 0;
}
