/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "oci/layer_in.h"
#include "snapshotter/lazy_private.h"
#include "snapshotter/lazy_table.h"
#include "snapshotter/remake.h"

/*
 * The end of laziness. Each span was held against a digest that came with the index; now the tar is
 * held against its own name, and the index, which somebody else made, against the one that this tar
 * gives here. Only then is it a layer like any other.
 */

/* The index that the tar gives, in an unnamed file; the tar's digest holds then. */
static int remake(struct lazy_layer *l, int index_fd, struct err *err)
{
	int nowhere cleanup_close = open("/dev/null", O_WRONLY | O_CLOEXEC);
	int side cleanup_close = memfd_create("side", MFD_CLOEXEC);
	int from cleanup_close = openat(l->dir_fd, "data", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct oci_layer_ref ref = {.compression = OCI_PLAIN, .diff_id = *oci_spans_tar(l->spans)};
	struct oci_layer_result result;
	struct oci_layer_job job = {.blob_fd = from,
				    .layer = &ref,
				    .limits = &no_limits,
				    .data_fd = nowhere,
				    .side_fd = side,
				    .index_fd = index_fd,
				    .copy_fd = -1};

	if (nowhere < 0 || side < 0 || from < 0)
		return err_set(err, -errno, "verify layer");
	ref.desc.digest = ref.diff_id;
	ref.desc.size = oci_spans_tar_size(l->spans);
	return oci_layer_in(&job, &result, err);
}

static int same_index(struct lazy_layer *l, int index_fd, struct err *err)
{
	int fd cleanup_close = openat(l->dir_fd, "index", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct digest a, b;
	int r;

	if (fd < 0)
		return err_set(err, -errno, "open 'index'");
	r = digest_fd(DIGEST_SHA256, fd, &a);
	if (r == 0)
		r = digest_fd(DIGEST_SHA256, index_fd, &b);
	if (r < 0)
		return err_set(err, r, "read 'index'");
	return digest_equal(&a, &b)
		       ? 0
		       : err_msg(err, -EBADMSG, "the index that came is not the one its tar gives");
}

static int check_tar(struct lazy_layer *l, struct snap_store *store, struct err *err)
{
	struct store_tmp t cleanup_store_tmp = STORE_TMP_INIT;
	int fd cleanup_close = -1, r = store_tmp_new(store, &t, err);

	if (r < 0)
		return r;
	fd = openat(t.fd, "index", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(err, -errno, "make a file in '%s/tmp'", store->root);
	r = remake(l, fd, err);
	return r < 0 ? r : same_index(l, fd, err);
}

/*
 * The blob's digest. Bits of a byte that two spans share, and what is behind the last of deflate,
 * no span's digest covers: then it is fetched once more, as a whole.
 */
int lazy_check_blob(struct lazy_layer *l, struct err *err)
{
	struct digest is;
	int r;

	for (size_t n = 0;; n++) {
		r = digest_fd(digest_algorithm(&l->desc.digest), l->blob_fd, &is);
		if (r < 0)
			return err_set(err, r, "read blob");
		if (digest_equal(&is, &l->desc.digest))
			return 0;
		if (n == l->n_places)
			return err_msg(err, -EIO, "blob %s: digest does not match: it is %s",
				       l->desc.digest.text, is.text);
		log_warn("blob %s: digest does not match: fetched again", l->desc.digest.text);
		r = lazy_fetch(
			l,
			&(struct oci_range){.len = l->desc.size, .fd = l->blob_fd, .seconds = 60},
			n, err);
		if (r < 0)
			return r;
	}
}

int lazy_publish_blob(struct lazy_layer *l, struct err *err)
{
	char path[STORE_PATH_MAX], *slash;
	int dir cleanup_close = -1;

	if (fdatasync(l->data_fd) < 0 || fdatasync(l->blob_fd) < 0)
		return err_set(err, -errno, "sync layer");
	store_blob_path(&l->desc.digest, path);
	if (linkat(l->dir_fd, "blob", l->root_fd, path, 0) < 0 && errno != EEXIST)
		return err_set(err, -errno, "make '%s'", path);
	slash = strrchr(path, '/');
	*slash = '\0';
	dir = openat(l->root_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || io_sync_dir(dir) < 0)
		return err_set(err, -EIO, "sync '%s'", path);
	return 0;
}

static int set_state(struct snap_store *store, const char *id, const char *state, struct err *err)
{
	return db_run(store->db, "UPDATE layers SET state = ? WHERE id = ?",
		      DB_ARGS(db_text(state), db_text(id)), err);
}

/*
 * Without the map it is an ordinary layer: that goes first. What a kill leaves of the others is
 * removed by the next filler.
 */
static int drop_files(int dir, struct err *err)
{
	if (unlinkat(dir, "present", 0) < 0 && errno != ENOENT)
		return err_set(err, -errno, "remove 'present'");
	lazy_drop_rest(dir);
	return io_sync_dir(dir) < 0 ? err_set(err, -EIO, "sync layer") : 0;
}

void lazy_drop_rest(int dir)
{
	(void)unlinkat(dir, "blob", 0);
	(void)unlinkat(dir, "source", 0);
	(void)unlinkat(dir, "plan", 0);
}

static int condemn(struct lazy_layer *l, struct err *err)
{
	erofs_presence_condemn(l->present);
	log_error("layer %s, from '%s', is not what its lazy index says: %s. Nothing of it is read "
		  "any more; 'snap rmi' the image and pull it without --lazy",
		  l->id, l->places[0].spec, err->msg);
	return err_msg(err, -EUCLEAN, "layer %s is not what its lazy index says", l->id);
}

static int finish(struct lazy_layer *l, struct snap_store *store, int gc, struct err *err)
{
	int r;

	if (oci_spans_is_by_table(l->spans)) {
		r = lazy_check_blob(l, err);
		if (r < 0)
			return r;
		r = lazy_table_finish(l, store, gc, err);
		return r == -EBADMSG ? condemn(l, err) : r;
	}
	r = check_tar(l, store, err);
	if (r == -EBADMSG)
		return condemn(l, err);
	if (r == 0)
		r = lazy_check_blob(l, err);
	if (r == 0)
		r = lazy_publish_blob(l, err);
	if (r == 0)
		r = set_state(store, l->id, "complete", err);
	return r < 0 ? r : drop_files(l->dir_fd, err);
}

int lazy_layer_finish(struct lazy_layer *l, struct snap_store *store, struct err *err)
{
	/* what we make and name is not collected in between */
	int gc cleanup_close = store_lock(store, "gc", LOCK_SH, err);
	int r = gc < 0 ? gc : 0;

	if (r < 0 || !lazy_layer_is_there(l))
		return r < 0 ? r : err_msg(err, -ENOENT, "layer %s is gone", l->id);
	/* a pull gave it its bytes, and made it an ordinary one */
	if (faccessat(l->dir_fd, "present", F_OK, 0) < 0 && errno == ENOENT)
		return 0;
	r = finish(l, store, gc, err);
	if (r < 0)
		return r == -EUCLEAN ? r : err_wrap(err, r, "layer %s", l->id);
	log_info("layer %s is complete", l->id);
	return 0;
}

int lazy_refuse_condemned(const struct erofs_presence *p, const char *id, struct err *err)
{
	return erofs_presence_is_condemned(p)
		       ? err_msg(err, -EUCLEAN,
				 "layer %s is not what its lazy index says: 'snap rmi' the images "
				 "that have it, then 'snap gc'",
				 id)
		       : 0;
}

int lazy_layer_adopt(struct snap_store *store, const char *id, int data_fd, struct err *err)
{
	char path[STORE_PATH_MAX];
	int dir cleanup_close = -1, data cleanup_close = -1, map cleanup_close = -1, r;
	struct erofs_presence *p cleanup_erofs_presence = NULL;

	store_layer_path(id, NULL, path);
	dir = openat(store->root_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	map = dir < 0 ? -1 : openat(dir, "present", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (map < 0)
		return errno == ENOENT ? 0 : err_set(err, -errno, "open '%s'", path);
	data = openat(dir, "data", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (data < 0)
		return err_set(err, -errno, "open '%s/data'", path);
	r = erofs_presence_open(map, true, &p, err);
	if (r == 0)
		r = lazy_refuse_condemned(p, id, err);
	if (r < 0)
		return r;
	/* the same bytes as those that are there: who reads meanwhile sees no difference */
	r = io_copy_range(data_fd, 0, data, 0, erofs_presence_size(p), false);
	if (r < 0 || fdatasync(data) < 0)
		return err_set(err, r < 0 ? r : -errno, "write layer %s", id);
	if (erofs_presence_is_stale(p))
		erofs_presence_renew(p);
	for (size_t i = 0; i < erofs_presence_count(p); i++)
		erofs_presence_set(p, i, true);
	r = set_state(store, id, "complete", err);
	return r < 0 ? r : drop_files(dir, err);
}
