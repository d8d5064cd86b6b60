/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <sys/file.h>

#include "base/cleanup.h"
#include "oci/repack.h"
#include "oci/source.h"
#include "snapshotter/blob.h"
#include "snapshotter/image_private.h"
#include "snapshotter/pull.h"

/* Other images with the blob may have been pulled from, or pushed to, the same registry. 1: taken.
 */
static int mount_blob(struct snap_store *store, struct oci_dest *dest,
		      const struct oci_descriptor *desc, struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	int r = db_query(store->db,
			 "SELECT DISTINCT i.ref FROM images i JOIN manifest_layers m"
			 " ON m.manifest = i.manifest WHERE m.blob = ? LIMIT 32",
			 DB_ARGS(db_text(desc->digest.text)), &rows, err);

	while (r == 0 && (r = db_next(rows, err)) > 0) {
		if (oci_dest_mount(dest, desc, db_col_text(rows, 0)))
			return 1;
		r = 0;
	}
	return r;
}

/* @ret: what stands for the layer at @dest now. */
static int push_blob(struct snap_store *store, struct oci_dest *dest,
		     const struct oci_layer_ref *layer, bool recompress, struct oci_descriptor *ret,
		     struct err *err)
{
	struct blob blob cleanup_blob = BLOB_INIT;
	int r;

	*ret = layer->desc;
	if (oci_dest_has(dest, &layer->desc))
		return 0;
	r = mount_blob(store, dest, &layer->desc, err);
	if (r != 0)
		return r < 0 ? r : 0;
	r = blob_open(store, layer, recompress, &blob, err);
	if (r < 0)
		return r;
	*ret = blob.desc;
	return oci_dest_blob(dest, &blob.desc, blob.fd, err);
}

/* Layers, then the documents: of @image, or of what it has become. */
static int push_image(struct snap_store *store, struct oci_dest *dest,
		      const struct oci_image *image, const char *ref, bool recompress,
		      struct snap_push_result *ret, struct err *err)
{
	struct oci_descriptor *blobs cleanup_free = calloc(image->n_layers + 1, sizeof(*blobs));
	struct oci_image *other cleanup_oci_image = NULL;
	int r = blobs ? 0 : err_set(err, -ENOMEM, "layers");

	for (size_t i = 0; r == 0 && i < image->n_layers; i++) {
		r = push_blob(store, dest, &image->layers[i], recompress, &blobs[i], err);
		ret->recompressed += !digest_equal(&blobs[i].digest, &image->layers[i].desc.digest);
	}
	if (r == 0 && ret->recompressed)
		r = oci_image_replace_blobs(image, blobs, &other, err);
	if (r < 0)
		return r;
	ret->image = image->manifest_desc.digest;
	ret->manifest = other ? other->manifest_desc.digest : ret->image;
	return oci_dest_image(dest, other ? other : image, ref, err);
}

int snap_push(struct snap_store *store, const char *ref, const char *spec,
	      const struct snap_push_options *opt, struct snap_push_result *ret, struct err *err)
{
	const struct snap_push_options none = {.remote = NULL};
	struct snap_push_result result = {.recompressed = 0};
	struct snap_image_info info cleanup_snap_image_info = {.ref = NULL};
	struct oci_image *image cleanup_oci_image = NULL;
	struct oci_dest *dest cleanup_oci_dest = NULL;
	int gc cleanup_close =
		store_lock(store, "gc", LOCK_SH, err); /* what we read stays meanwhile */
	int r = gc < 0 ? gc : snap_image_find(store, ref, &info, err);

	opt = opt ? opt : &none;
	if (r == 0)
		r = snap_image_load(store, &info.manifest, &image, err);
	if (r == 0)
		r = oci_dest_open(spec, opt->remote, &dest, err);
	if (r == 0)
		r = push_image(store, dest, image, info.ref, opt->recompress, &result, err);
	if (r < 0)
		return err_wrap(err, r, "push '%s' to '%s'", ref, spec);
	if (ret)
		*ret = result;
	return 0;
}
