/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/blob.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "oci/repack.h"

void blob_release(struct blob *blob)
{
	closep(&blob->fd);
}

/* A layer that is here without its blob. */
struct bare {
	char id[65];
	int level;
};

/* 1: it is so by choice. */
static int find_bare(struct snap_store *store, const struct digest *blob, struct bare *ret,
		     struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	int r = db_query(store->db,
			 "SELECT l.id, b.level FROM layer_blobs b JOIN layers l ON l.id = b.layer"
			 " WHERE b.digest = ? AND NOT b.kept AND l.state = 'complete'",
			 DB_ARGS(db_text(blob->text)), &rows, err);

	if (r == 0)
		r = db_next(rows, err);
	if (r <= 0)
		return r;
	(void)snprintf(ret->id, sizeof(ret->id), "%s", db_col_text(rows, 0));
	ret->level = (int)db_col_int(rows, 1);
	return 1;
}

int blob_is_left_out(struct snap_store *store, const struct digest *blob, struct err *err)
{
	struct bare bare;

	return find_bare(store, blob, &bare, err);
}

static int no_blob(struct snap_store *store, const char *path, struct err *err)
{
	int r = err_set(err, -ENOENT, "open '%s/%s'", store->root, path);

	err_hint(err, "'snap fill' it when it is lazy; 'snap fsck' says what is missing");
	return r;
}

static int refuse(const struct oci_layer_ref *layer, const struct oci_repacked *got,
		  struct err *err)
{
	(void)err_msg(err, -ENOENT,
		      "blob %s is not kept, and its tar compressed again is another one, %s",
		      layer->desc.digest.text, got->blob.text);
	err_hint(err, "'snap pull' the image again without --no-blobs; 'snap push --recompress' "
		      "pushes it with other digests");
	return -ENOENT;
}

static int repack(struct snap_store *store, const struct oci_layer_ref *layer,
		  const struct bare *bare, int tar, bool other, struct blob *ret, struct err *err)
{
	/* without a name once it is open */
	struct store_tmp tmp cleanup_store_tmp = STORE_TMP_INIT;
	struct blob blob cleanup_blob = BLOB_INIT;
	struct oci_repacked got;
	int r = store_tmp_new(store, &tmp, err);

	if (r < 0)
		return r;
	blob.fd = openat(tmp.fd, "blob", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (blob.fd < 0)
		return err_set(err, -errno, "make a file in '%s/tmp'", store->root);
	r = oci_repack(tar, blob.fd, layer->compression, bare->level,
		       digest_algorithm(&layer->desc.digest), &got, err);
	if (r < 0)
		return err_wrap(err, r, "layer %s", bare->id);
	if (strcmp(digest_hex(&got.tar), bare->id) != 0) {
		(void)err_msg(err, -EBADMSG, "the tar of layer %s is not what its name says",
			      bare->id);
		err_hint(err, "'snap fsck --repair', then pull the image again");
		return -EBADMSG;
	}
	if (!other && !digest_equal(&got.blob, &layer->desc.digest))
		return refuse(layer, &got, err);
	ret->desc = layer->desc;
	ret->desc.digest = got.blob;
	ret->desc.size = got.size;
	ret->fd = steal_fd(&blob.fd);
	return 0;
}

int blob_open(struct snap_store *store, const struct oci_layer_ref *layer, bool other,
	      struct blob *ret, struct err *err)
{
	char path[STORE_PATH_MAX], at[STORE_PATH_MAX];
	int fd cleanup_close = -1, r;
	struct bare bare;

	store_blob_path(&layer->desc.digest, path);
	fd = openat(store->root_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno != ENOENT)
		return err_set(err, -errno, "open '%s/%s'", store->root, path);
	r = fd < 0 ? find_bare(store, &layer->desc.digest, &bare, err) : 0;
	if (r < 0)
		return r;
	if (r > 0) {
		store_layer_path(bare.id, "data", at);
		fd = openat(store->root_fd, at, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			return err_set(err, -errno, "open '%s/%s'", store->root, at);
		if (layer->compression != OCI_PLAIN)
			return repack(store, layer, &bare, fd, other, ret, err);
	}
	if (fd < 0)
		return no_blob(store, path, err);
	/* as it is: who takes it checks its digest */
	ret->desc = layer->desc;
	ret->fd = steal_fd(&fd);
	return 0;
}
