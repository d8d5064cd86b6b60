/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/layer_out.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "oci/compress.h"
#include "oci/media.h"
#include "oci/tar_out.h"

#define COPY_SIZE (256u << 10)
/* The marks of the image specification, layer.md, "Whiteouts". */
#define MARK_PREFIX "/.wh."
#define MARK_OPAQUE "/.wh..wh..opq"

struct oci_layer_writer {
	int fd, tar_fd; /* borrowed */
	enum oci_compression compression;
	bool has_clamp;
	int64_t clamp;
	struct hash *tar_hash, *blob_hash;
	uint64_t blob_size;
	struct oci_compress *compress;
	struct strbuf header; /* reused */
	unsigned char *buf;
};

static int blob_bytes(void *ctx, const void *data, size_t len, struct err *err)
{
	struct oci_layer_writer *w = ctx;
	int r = io_write_full(w->fd, data, len);

	if (r)
		return err_set(err, r, "write the layer");
	r = hash_update(w->blob_hash, data, len);
	if (r)
		return err_set(err, r, "hash the layer");
	w->blob_size += len;
	return 0;
}

static int tar_bytes(struct oci_layer_writer *w, const void *data, size_t len, struct err *err)
{
	int r = hash_update(w->tar_hash, data, len);

	if (r)
		return err_set(err, r, "hash the layer");
	if (w->tar_fd >= 0) {
		r = io_write_full(w->tar_fd, data, len);
		if (r)
			return err_set(err, r, "write the layer's tar");
	}
	return oci_compress_write(w->compress, data, len, err);
}

void oci_layer_writer_free(struct oci_layer_writer *w)
{
	if (!w)
		return;
	oci_compress_free(w->compress);
	hash_free(w->tar_hash);
	hash_free(w->blob_hash);
	strbuf_release(&w->header);
	free(w->buf);
	free(w);
}

int oci_layer_writer_new(int fd, const struct oci_layer_writer_options *opt,
			 struct oci_layer_writer **ret, struct err *err)
{
	struct oci_layer_writer *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return err_set(err, -ENOMEM, "start a layer");
	w->fd = fd;
	w->tar_fd = opt->tar_fd;
	w->compression = opt->compression;
	w->has_clamp = opt->has_clamp;
	w->clamp = opt->clamp_mtime;
	strbuf_init(&w->header);
	w->tar_hash = hash_new(DIGEST_SHA256);
	w->blob_hash = hash_new(DIGEST_SHA256);
	w->buf = malloc(COPY_SIZE);
	r = w->tar_hash && w->blob_hash && w->buf ? 0 : -ENOMEM;
	if (r)
		(void)err_set(err, r, "start a layer");
	else
		r = oci_compress_new(opt->compression, opt->level, opt->threads, blob_bytes, w,
				     &w->compress, err);
	if (r) {
		oci_layer_writer_free(w);
		return r;
	}
	*ret = w;
	return 0;
}

static int write_zeros(struct oci_layer_writer *w, size_t len, struct err *err)
{
	static const char zeros[2 * OCI_TAR_BLOCK];

	return len ? tar_bytes(w, zeros, len, err) : 0;
}

/* Holes are written out as zeros: the one form that needs nothing of the reader; they compress
 * away. */
static int write_content(struct oci_layer_writer *w, const struct oci_tar_entry *e, struct err *err)
{
	uint64_t left = oci_tar_content_size(e);
	size_t tail = (size_t)(left % OCI_TAR_BLOCK), n;
	off_t pos = e->data_off;
	int r;

	while (left > 0) {
		n = left < COPY_SIZE ? (size_t)left : COPY_SIZE;
		r = 0;
		if (e->data_fd < 0)
			memset(w->buf, 0, n);
		else
			r = io_pread_full(e->data_fd, w->buf, n, pos);
		if (r == -ENODATA)
			return err_msg(err, -EAGAIN, "'%s' became shorter while it was read",
				       e->path);
		if (r)
			return err_set(err, r, "read '%s'", e->path);
		r = tar_bytes(w, w->buf, n, err);
		if (r)
			return r;
		pos += (off_t)n;
		left -= n;
	}
	return write_zeros(w, tail ? OCI_TAR_BLOCK - tail : 0, err);
}

int oci_layer_writer_entry(struct oci_layer_writer *w, const struct oci_tar_entry *e,
			   struct err *err)
{
	struct oci_tar_entry copy = *e;
	int r;

	if (S_ISSOCK(e->st.st_mode)) {
		log_info("'%s' is a socket: left out, no tar can hold one", e->path);
		return 0;
	}
	if (w->has_clamp && (copy.st.st_mtim.tv_sec > w->clamp ||
			     (copy.st.st_mtim.tv_sec == w->clamp && copy.st.st_mtim.tv_nsec > 0))) {
		copy.st.st_mtim.tv_sec = w->clamp;
		copy.st.st_mtim.tv_nsec = 0;
	}
	strbuf_reset(&w->header);
	r = oci_tar_header(&copy, &w->header, err);
	if (!r)
		r = tar_bytes(w, w->header.s, w->header.len, err);
	return r ? r : write_content(w, e, err);
}

/* An empty file of nobody's in particular: only its name says something. */
static int write_mark(struct oci_layer_writer *w, const char *path, struct err *err)
{
	const struct oci_tar_entry e = {
		.path = path,
		.st = {.st_mode = S_IFREG | 0600},
		.data_fd = -1,
	};

	return oci_layer_writer_entry(w, &e, err);
}

int oci_layer_writer_whiteout(struct oci_layer_writer *w, const char *path, struct err *err)
{
	struct strbuf mark CLEANUP(strbuf_release) = STRBUF_INIT;
	const char *slash = strrchr(path, '/');
	const char *base = slash ? slash + 1 : path;
	int r;

	if (!*base)
		return err_msg(err, -EINVAL, "'%s': no name to white out", path);
	r = strbuf_add(&mark, path, (size_t)(base - path));
	if (!r)
		r = strbuf_addf(&mark, "%s%s", &MARK_PREFIX[1], base);
	return r ? err_set(err, r, "whiteout of '%s'", path) : write_mark(w, mark.s, err);
}

int oci_layer_writer_opaque(struct oci_layer_writer *w, const char *path, struct err *err)
{
	struct strbuf mark CLEANUP(strbuf_release) = STRBUF_INIT;
	int r = strbuf_addf(&mark, "%s%s", path, *path ? MARK_OPAQUE : &MARK_OPAQUE[1]);

	return r ? err_set(err, r, "opaque mark of '%s'", path) : write_mark(w, mark.s, err);
}

int oci_layer_writer_finish(struct oci_layer_writer *w, struct oci_layer_ref *ret, struct err *err)
{
	static const char *const types[] = {
		[OCI_PLAIN] = OCI_MEDIA_LAYER,
		[OCI_GZIP] = OCI_MEDIA_LAYER "+gzip",
		[OCI_ZSTD] = OCI_MEDIA_LAYER "+zstd",
	};
	struct oci_layer_ref ref = {.compression = w->compression};
	int r;

	/* POSIX.1-2017, pax: two blocks of zeros are the end. */
	r = write_zeros(w, (size_t)(2 * OCI_TAR_BLOCK), err);
	if (!r)
		r = oci_compress_finish(w->compress, err);
	if (r)
		return r;
	r = hash_final(w->tar_hash, &ref.diff_id);
	if (!r)
		r = hash_final(w->blob_hash, &ref.desc.digest);
	if (r)
		return err_set(err, r, "hash the layer");
	ref.desc.size = w->blob_size;
	memcpy(ref.desc.media_type, types[w->compression], strlen(types[w->compression]) + 1);
	*ret = ref;
	return 0;
}
