/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "oci/source.h"
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

static int push_blob(struct snap_store *store, struct oci_dest *dest,
		     const struct oci_descriptor *desc, struct err *err)
{
	char path[STORE_PATH_MAX];
	int fd cleanup_close = -1, r;

	if (oci_dest_has(dest, desc))
		return 0;
	r = mount_blob(store, dest, desc, err);
	if (r != 0)
		return r < 0 ? r : 0;
	store_blob_path(&desc->digest, path);
	fd = openat(store->root_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		r = err_set(err, -errno, "open '%s/%s'", store->root, path);
		err_hint(err, "'snap fill' it when it is lazy; 'snap fsck' says what is missing");
		return r;
	}
	return oci_dest_blob(dest, desc, fd, err);
}

int snap_push(struct snap_store *store, const char *ref, const char *spec,
	      const struct oci_remote *remote, struct digest *ret_manifest, struct err *err)
{
	struct snap_image_info info cleanup_snap_image_info = {.ref = NULL};
	struct oci_image *image cleanup_oci_image = NULL;
	struct oci_dest *dest cleanup_oci_dest = NULL;
	int gc cleanup_close =
		store_lock(store, "gc", LOCK_SH, err); /* what we read stays meanwhile */
	int r = gc < 0 ? gc : snap_image_find(store, ref, &info, err);

	if (r == 0)
		r = snap_image_load(store, &info.manifest, &image, err);
	if (r == 0)
		r = oci_dest_open(spec, remote, &dest, err);
	for (size_t i = 0; r == 0 && i < image->n_layers; i++)
		r = push_blob(store, dest, &image->layers[i].desc, err);
	if (r == 0)
		r = oci_dest_image(dest, image, info.ref, err);
	if (r < 0)
		return err_wrap(err, r, "push '%s' to '%s'", ref, spec);
	if (ret_manifest)
		*ret_manifest = info.manifest;
	return 0;
}
