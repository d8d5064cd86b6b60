/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "oci/layer_in.h"
#include "snapshotter/blob.h"
#include "snapshotter/fsck_private.h"
#include "snapshotter/lazy.h"
#include "snapshotter/remake.h"

/* Content against its digest, and what was made of it against what it gives when made anew. */

#define COMPARE_BUFFER (1u << 17)

/* 1: the two files have the same bytes. */
static int same_content(int a, int b)
{
	char *buf cleanup_free = malloc(2 * COMPARE_BUFFER);
	struct stat sa, sb;

	if (!buf)
		return -ENOMEM;
	if (fstat(a, &sa) < 0 || fstat(b, &sb) < 0)
		return -errno;
	if (sa.st_size != sb.st_size)
		return 0;
	for (off_t pos = 0; pos < sa.st_size;) {
		size_t n = sa.st_size - pos < COMPARE_BUFFER ? (size_t)(sa.st_size - pos)
							     : COMPARE_BUFFER;
		int r = io_pread_full(a, buf, n, pos);

		if (r == 0)
			r = io_pread_full(b, buf + COMPARE_BUFFER, n, pos);
		if (r < 0)
			return r;
		if (memcmp(buf, buf + COMPARE_BUFFER, n) != 0)
			return 0;
		pos += (off_t)n;
	}
	return 1;
}

static int drop(struct fsck *f, const char *path, const char *kind, const char *name,
		const char *what, struct err *err)
{
	int r;

	if (!f->repair)
		return fsck_report(f, SNAP_FSCK_BROKEN, kind, name, err, "%s", what);
	r = store_discard(f->store, path, err);
	return r < 0 ? r
		     : fsck_report(f, SNAP_FSCK_BROKEN, kind, name, err,
				   "%s; removed: pull the image again", what);
}

int fsck_blob(struct fsck *f, const char *digest, struct err *err)
{
	char path[STORE_PATH_MAX];
	struct digest want, is;
	int fd cleanup_close = -1, r;

	f->result.checked++;
	if (digest_parse(digest, &want) < 0)
		return fsck_report(f, SNAP_FSCK_BROKEN, "blob", digest, err, "this is no digest");
	store_blob_path(&want, path);
	fd = openat(f->store->root_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT) {
		/* a lazy layer's has not come yet, another's is not to be here */
		r = lazy_blob_is_to_come(f->store, &want, err);
		if (r == 0)
			r = blob_is_left_out(f->store, &want, err);
		if (r != 0)
			return r < 0 ? r : 0;
		/* or came in between: it takes its place before the row says so */
		fd = openat(f->store->root_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	}
	if (fd < 0)
		return fsck_report(f, SNAP_FSCK_BROKEN, "blob", digest, err,
				   "cannot be read: %s; pull the image again", strerror(errno));
	r = digest_fd(digest_algorithm(&want), fd, &is);
	if (r < 0)
		return fsck_report(f, SNAP_FSCK_BROKEN, "blob", digest, err, "cannot be read: %s",
				   strerror(-r));
	if (digest_equal(&want, &is))
		return 0;
	return drop(f, path, "blob", digest, "its content is something else", err);
}

/* A layer made anew, from its own tar or from its blob. */
static int remake(struct fsck *f, int from, const struct oci_layer_ref *ref, struct remade *m,
		  struct err *err)
{
	int r = layer_remake(f->store, from, ref, &no_limits, m, err);

	return r == 0 && f->repair ? remade_sync(m, err) : r;
}

static int open_file(struct fsck *f, const char *id, const char *name)
{
	char path[STORE_PATH_MAX];

	store_layer_path(id, name, path);
	return openat(f->store->root_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
}

/* What verified bytes are, by their first ones; the digests are checked in any case. */
static enum oci_compression layer_compression(int fd)
{
	unsigned char magic[4];

	if (fd < 0 || io_pread_full(fd, magic, sizeof(magic), 0) < 0)
		return OCI_PLAIN;
	if (magic[0] == 0x1f && magic[1] == 0x8b)
		return OCI_GZIP;
	/* RFC 8878, 3.1.1 and 3.1.2: a frame, or a skippable one */
	if ((magic[0] == 0x28 && magic[1] == 0xb5 && magic[2] == 0x2f && magic[3] == 0xfd) ||
	    ((magic[0] & 0xf0) == 0x50 && magic[1] == 0x2a && magic[2] == 0x4d && magic[3] == 0x18))
		return OCI_ZSTD;
	return OCI_PLAIN;
}

/* The whole folder from the blob; @what is what was wrong with it. */
static int layer_from_blob(struct fsck *f, const char *id, const char *what, struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	struct remade m CLEANUP(remade_release) = REMADE_INIT;
	struct oci_layer_ref ref = {.compression = OCI_PLAIN};
	struct err why = ERR_INIT;
	char path[STORE_PATH_MAX];
	int fd cleanup_close = -1, r;

	store_layer_path(id, NULL, path);
	if (!f->repair)
		return fsck_report(f, SNAP_FSCK_BROKEN, "layer", id, err, "%s", what);
	r = db_query(f->store->db,
		     "SELECT b.digest, b.size, l.diff_id FROM layer_blobs b JOIN layers l ON"
		     " l.id = b.layer WHERE l.id = ? ORDER BY b.kept DESC",
		     DB_ARGS(db_text(id)), &rows, err);
	if (r == 0)
		r = db_next(rows, err);
	if (r < 0)
		return r;
	if (r == 0 || digest_parse(db_col_text(rows, 0), &ref.desc.digest) < 0 ||
	    digest_parse(db_col_text(rows, 2), &ref.diff_id) < 0)
		return drop(f, path, "layer", id, what, err);
	ref.desc.size = (uint64_t)db_col_int(rows, 1);
	db_rows_end(steal_ptr(&rows));
	store_blob_path(&ref.desc.digest, path);
	fd = openat(f->store->root_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	ref.compression = layer_compression(fd);
	r = fd < 0 ? -ENOENT : remake(f, fd, &ref, &m, &why);
	store_layer_path(id, NULL, path);
	if (r < 0)
		return drop(f, path, "layer", id, what, err);
	r = store_discard(f->store, path, err);
	if (r == 0)
		r = store_publish(&m.tmp, "l", path, err);
	return r < 0 ? r
		     : fsck_report(f, SNAP_FSCK_REPAIRED, "layer", id, err,
				   "%s; made anew from its blob", what);
}

/* The tar is right: is what was made of it? */
static int compare_index(struct fsck *f, const char *id, struct remade *m, struct err *err)
{
	int index cleanup_close = open_file(f, id, "index");
	int side cleanup_close = open_file(f, id, "side");
	bool has_side = m->result.side_size > 0;
	char path[STORE_PATH_MAX];
	int r;

	if (index >= 0 && same_content(index, m->index) > 0 && (side >= 0) == has_side &&
	    (!has_side || same_content(side, m->side) > 0))
		return 0;
	if (!f->repair)
		return fsck_report(f, SNAP_FSCK_BROKEN, "layer", id, err,
				   "its index is not the one that its tar gives");
	store_layer_path(id, NULL, path);
	r = store_discard(f->store, path, err);
	if (r == 0)
		r = store_publish(&m->tmp, "l", path, err);
	return r < 0 ? r
		     : fsck_report(f, SNAP_FSCK_REPAIRED, "layer", id, err,
				   "its index was not the one that its tar gives; made anew");
}

int fsck_layer(struct fsck *f, const char *id, struct err *err)
{
	struct remade m CLEANUP(remade_release) = REMADE_INIT;
	struct oci_layer_ref ref = {.compression = OCI_PLAIN};
	struct err why = ERR_INIT;
	char text[DIGEST_TEXT_MAX + 1], what[512];
	int data cleanup_close = -1, r;
	struct digest is;
	struct stat st;

	r = fsck_lazy(f, id, err);
	if (r != 0)
		return r < 0 ? r : 0;
	f->result.checked++;
	(void)snprintf(text, sizeof(text), "sha256:%.64s", id);
	if (digest_parse(text, &ref.diff_id) < 0)
		return fsck_report(f, SNAP_FSCK_BROKEN, "layer", id, err, "this is no digest");
	data = open_file(f, id, "data");
	if (data < 0 || fstat(data, &st) < 0) {
		(void)snprintf(what, sizeof(what), "its tar cannot be read: %s", strerror(errno));
		return layer_from_blob(f, id, what, err);
	}
	r = digest_fd(DIGEST_SHA256, data, &is);
	if (r < 0 || !digest_equal(&is, &ref.diff_id))
		return layer_from_blob(f, id, "its tar is not what its name says", err);
	ref.desc.digest = ref.diff_id;
	ref.desc.size = (uint64_t)st.st_size;
	if (lseek(data, 0, SEEK_SET) < 0)
		return err_set(err, -errno, "read layer %s", id);
	r = remake(f, data, &ref, &m, &why);
	if (r == -ENOSPC || r == -ENOMEM)
		return err_msg(err, r, "%s", why.msg);
	if (r < 0)
		return fsck_report(f, SNAP_FSCK_BROKEN, "layer", id, err,
				   "no index can be made: %.300s", why.msg);
	return compare_index(f, id, &m, err);
}

int fsck_chain(struct fsck *f, const char *id, struct err *err)
{
	struct fsck_names layers CLEANUP(fsck_names_release) = {.n = 0};
	struct store_tmp t cleanup_store_tmp = STORE_TMP_INIT;
	struct err why = ERR_INIT;
	char path[STORE_PATH_MAX];
	int fd cleanup_close = -1, is cleanup_close = -1, r;
	uint64_t inodes;

	f->result.checked++;
	r = fsck_select(f, "SELECT layer FROM chain_layers WHERE chain = ? ORDER BY pos", id,
			&layers, err);
	if (r == 0)
		r = store_tmp_new(f->store, &t, err);
	if (r == 0)
		r = store_mkdir(t.fd, "c", 0700) < 0 ? err_set(err, -errno, "make a folder") : 0;
	if (r < 0)
		return r;
	fd = openat(t.fd, "c/index", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(err, -errno, "make a file in '%s/tmp'", f->store->root);
	r = chain_merge(f->store, (const char *const *)layers.names, layers.n, fd, &inodes, &why);
	if (r == -ENOSPC || r == -ENOMEM) { /* that says nothing of the chain */
		*err = why;
		return err_wrap(err, r, "merge the layers of chain %s again", id);
	}
	if (r < 0)
		return fsck_report(f, SNAP_FSCK_BROKEN, "chain", id, err,
				   "its layers cannot be merged: %.300s", why.msg);
	store_chain_path(id, "index", path);
	is = openat(f->store->root_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (is >= 0 && same_content(is, fd) > 0)
		return 0;
	if (!f->repair)
		return fsck_report(f, SNAP_FSCK_BROKEN, "chain", id, err,
				   is < 0 ? "its index is missing"
					  : "its index is not the one that its layers give");
	store_chain_path(id, NULL, path);
	if (fsync(fd) < 0)
		return err_set(err, -errno, "sync");
	r = store_discard(f->store, path, err);
	if (r == 0)
		r = store_publish(&t, "c", path, err);
	return r < 0 ? r
		     : fsck_report(f, SNAP_FSCK_REPAIRED, "chain", id, err,
				   "its index was made anew");
}
