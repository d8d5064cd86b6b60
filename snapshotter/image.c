/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "snapshotter/image_private.h"
#include "snapshotter/lazy.h"

void snap_image_info_release(struct snap_image_info *info)
{
	free(info->ref);
	info->ref = NULL;
}

static void copy_text(char *to, size_t size, const char *text)
{
	(void)snprintf(to, size, "%s", text ? text : "");
}

#define LATEST ":latest" /* the tag that goes without saying, here and there */

#define IMAGE_QUERY                                                                                \
	"SELECT i.ref, m.digest, m.config, m.media_type, m.size, m.config_size, m.chain, "         \
	"m.created,"                                                                               \
	" m.platform, m.layers, m.blob_bytes, (SELECT count(w.whole) FROM manifest_layers w"       \
	" WHERE w.manifest = m.digest), (SELECT w.whole FROM manifest_layers w WHERE"              \
	" w.manifest = m.digest AND w.whole IS NOT NULL ORDER BY w.pos LIMIT 1)"                   \
	" FROM images i JOIN manifests m ON m.digest = i.manifest"

static int read_row(struct db_rows *rows, struct snap_image_info *ret, struct err *err)
{
	const char *manifest = db_col_text(rows, 1), *config = db_col_text(rows, 2);

	if (!manifest || !config || digest_parse(manifest, &ret->manifest) < 0 ||
	    digest_parse(config, &ret->config) < 0)
		return err_msg(err, -EUCLEAN, "an image's row is damaged");
	copy_text(ret->media_type, sizeof(ret->media_type), db_col_text(rows, 3));
	ret->manifest_size = (uint64_t)db_col_int(rows, 4);
	ret->config_size = (uint64_t)db_col_int(rows, 5);
	copy_text(ret->chain, sizeof(ret->chain), db_col_text(rows, 6));
	copy_text(ret->created, sizeof(ret->created), db_col_text(rows, 7));
	copy_text(ret->platform, sizeof(ret->platform), db_col_text(rows, 8));
	ret->n_layers = (size_t)db_col_int(rows, 9);
	ret->size = (uint64_t)db_col_int(rows, 10) + ret->manifest_size + ret->config_size;
	ret->n_whole = (size_t)db_col_int(rows, 11);
	copy_text(ret->whole, sizeof(ret->whole), db_col_text(rows, 12));
	ret->ref = db_col_dup(rows, 0);
	return ret->ref ? 0 : err_set(err, -ENOMEM, "image");
}

/* How much of its layers is here. */
static int read_progress(struct snap_store *store, struct snap_image_info *info, struct err *err)
{
	struct lazy_progress p = {.needed = 0};
	int r = info->chain[0] ? lazy_chain_progress(store, info->chain, &p, err) : 0;

	info->n_lazy = p.layers;
	info->needed = p.needed;
	info->fetched = p.fetched;
	return r;
}

/* 1: found. */
static int find_exactly(struct snap_store *store, const char *ref, struct snap_image_info *ret,
			struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	int r = db_query(store->db, IMAGE_QUERY " WHERE i.ref = ?", DB_ARGS(db_text(ref)), &rows,
			 err);

	if (r == 0)
		r = db_next(rows, err);
	if (r > 0) {
		r = read_row(rows, ret, err);
		if (r == 0)
			r = read_progress(store, ret, err);
		return r < 0 ? r : 1;
	}
	return r;
}

static bool has_tag(const char *ref)
{
	const char *slash = strrchr(ref, '/');

	return strpbrk(slash ? slash : ref, ":@") != NULL;
}

static bool ends_with_latest(const char *ref)
{
	size_t len = strlen(ref);

	return len > strlen(LATEST) && strcmp(ref + len - strlen(LATEST), LATEST) == 0;
}

int snap_image_find(struct snap_store *store, const char *name, struct snap_image_info *ret,
		    struct err *err)
{
	char *tagged cleanup_free = NULL;
	int r = find_exactly(store, name, ret, err);

	if (r == 0 && (!has_tag(name) || ends_with_latest(name))) {
		int len = (int)strlen(name);
		bool cut = ends_with_latest(name);

		if (asprintf(&tagged, "%.*s%s", cut ? len - (int)strlen(LATEST) : len, name,
			     cut ? "" : LATEST) < 0)
			return err_set(err, -ENOMEM, "image");
		r = find_exactly(store, tagged, ret, err);
	}
	if (r < 0)
		return r;
	if (r > 0)
		return 0;
	(void)err_msg(err, -ENOENT, "no image '%s'", name);
	err_hint(err, "'snap images' lists what there is, 'snap pull' brings one in");
	return -ENOENT;
}

int snap_image_exists(struct snap_store *store, const char *ref)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	int r = db_query(store->db, "SELECT 1 FROM images WHERE ref = ?", DB_ARGS(db_text(ref)),
			 &rows, NULL);

	return r < 0 ? r : db_next(rows, NULL);
}

int snap_image_walk(struct snap_store *store, snap_image_fn fn, void *ctx, struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	int r = db_query(store->db, IMAGE_QUERY " ORDER BY i.ref", DB_NONE, &rows, err);

	while (r >= 0 && (r = db_next(rows, err)) > 0) {
		struct snap_image_info info cleanup_snap_image_info = {.ref = NULL};

		r = read_row(rows, &info, err);
		if (r == 0)
			r = read_progress(store, &info, err);
		if (r == 0)
			r = fn(ctx, &info, err);
		if (r != 0)
			return r;
	}
	return r;
}

static int read_layer(struct db_rows *rows, struct snap_layer_info *l, struct err *err)
{
	const char *diff_id = db_col_text(rows, 1), *blob = db_col_text(rows, 2);

	if (!diff_id || !blob || digest_parse(diff_id, &l->diff_id) < 0 ||
	    digest_parse(blob, &l->blob) < 0)
		return err_msg(err, -EUCLEAN, "a layer's row is damaged");
	copy_text(l->id, sizeof(l->id), db_col_text(rows, 0));
	l->blob_size = (uint64_t)db_col_int(rows, 3);
	l->tar_size = (uint64_t)db_col_int(rows, 4);
	l->side_size = (uint64_t)db_col_int(rows, 5);
	l->entries = (uint64_t)db_col_int(rows, 6);
	copy_text(l->state, sizeof(l->state), db_col_text(rows, 7));
	copy_text(l->whole, sizeof(l->whole), db_col_text(rows, 8));
	l->kept = db_col_int(rows, 9) != 0;
	return 0;
}

static int fill_chain_ids(struct snap_layer_info *layers, size_t n, struct err *err)
{
	struct digest *ids cleanup_free = calloc(n ? n : 1, sizeof(*ids)), chain;

	if (!ids)
		return err_set(err, -ENOMEM, "layers");
	for (size_t i = 0; i < n; i++) {
		int r;

		ids[i] = layers[i].diff_id;
		r = i == 0 ? (chain = ids[0], 0)
			   : oci_chain_id((struct digest[]){chain, ids[i]}, 2, &chain);
		if (r < 0)
			return err_set(err, r, "chain id");
		memcpy(layers[i].chain, chain.text, sizeof(chain.text));
	}
	return 0;
}

int snap_image_layers(struct snap_store *store, const struct digest *manifest,
		      struct snap_layer_info **ret, size_t *ret_n, struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	struct snap_layer_info *layers cleanup_free = NULL;
	size_t n = 0;
	int r = db_query(
		store->db,
		"SELECT l.id, l.diff_id, b.digest, b.size, l.tar_size, l.side_size, l.entries,"
		" l.state, m.whole, b.kept FROM manifest_layers m JOIN layers l ON l.id = m.layer"
		" JOIN layer_blobs b ON b.digest = m.blob WHERE m.manifest = ? ORDER BY m.pos",
		DB_ARGS(db_text(manifest->text)), &rows, err);

	while (r >= 0 && (r = db_next(rows, err)) > 0) {
		struct snap_layer_info *p = reallocarray(layers, n + 1, sizeof(*layers));

		if (!p)
			return err_set(err, -ENOMEM, "layers");
		layers = p;
		memset(&layers[n], 0, sizeof(*layers));
		r = read_layer(rows, &layers[n++], err);
	}
	if (r == 0)
		r = fill_chain_ids(layers, n, err);
	if (r < 0)
		return r;
	*ret = steal_ptr(&layers);
	*ret_n = n;
	return 0;
}

static int read_document(struct snap_store *store, const struct digest *digest, uint64_t size,
			 char **ret, struct err *err)
{
	char path[STORE_PATH_MAX], *text cleanup_free = NULL;
	struct digest is;
	size_t len;
	int r;

	store_blob_path(digest, path);
	r = io_read_file(store->root_fd, path, JSON_SIZE_MAX, &text, &len);
	if (r < 0) {
		r = err_set(err, r, "read '%s/%s'", store->root, path);
	} else {
		r = digest_buffer(digest_algorithm(digest), text, len, &is);
		if (r < 0)
			return err_set(err, r, "digest");
		if (len == size && digest_equal(&is, digest)) {
			*ret = steal_ptr(&text);
			return 0;
		}
		r = err_msg(err, -EBADMSG, "'%s/%s' is not what its name says", store->root, path);
	}
	err_hint(err, "pull the image again");
	return r;
}

int snap_image_load(struct snap_store *store, const struct digest *manifest, struct oci_image **ret,
		    struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	struct oci_descriptor desc = {.digest = *manifest};
	char *text cleanup_free = NULL, *config cleanup_free = NULL;
	struct digest config_digest;
	uint64_t config_size;
	int r = db_query(
		store->db,
		"SELECT media_type, size, config, config_size FROM manifests WHERE digest = ?",
		DB_ARGS(db_text(manifest->text)), &rows, err);

	if (r == 0)
		r = db_next(rows, err);
	if (r < 0)
		return r;
	if (r == 0)
		return err_msg(err, -ENOENT, "no manifest %s", manifest->text);
	copy_text(desc.media_type, sizeof(desc.media_type), db_col_text(rows, 0));
	desc.size = (uint64_t)db_col_int(rows, 1);
	config_size = (uint64_t)db_col_int(rows, 3);
	if (digest_parse(db_col_text(rows, 2), &config_digest) < 0)
		return err_msg(err, -EUCLEAN, "an image's row is damaged");
	r = read_document(store, manifest, desc.size, &text, err);
	if (r == 0)
		r = read_document(store, &config_digest, config_size, &config, err);
	if (r == 0)
		r = oci_image_parse(&desc, text, desc.size, config, config_size, ret, err);
	return r;
}

int snap_image_remove(struct snap_store *store, const char *ref, struct err *err)
{
	struct snap_image_info info cleanup_snap_image_info = {.ref = NULL};
	int r = db_begin(store->db, err);

	if (r == 0)
		r = snap_image_find(store, ref, &info, err);
	if (r == 0)
		r = db_run(store->db, "DELETE FROM images WHERE ref = ?",
			   DB_ARGS(db_text(info.ref)), err);
	if (r == 0)
		r = db_commit(store->db, err);
	db_rollback(store->db);
	return r;
}
