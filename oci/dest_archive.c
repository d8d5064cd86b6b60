/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/strbuf.h"
#include "oci/layout.h"
#include "oci/reference.h"
#include "oci/source_private.h"
#include "oci/tar_out.h"

#define COPY_CHUNK (1u << 18)

/*
 * An OCI layout in a tar: blobs as they come, the index behind them, the whole renamed into place
 * at the end. The same image gives the same bytes: no times, no owners.
 */
struct archive {
	char *file, *name, *tag; /* name: the last component; tag may be NULL */
	int dirfd;
	struct io_tmp tmp;
	struct digest *blobs; /* that are in it */
	size_t n, cap;
};

static void archive_close(void *impl)
{
	struct archive *a = impl;

	if (!a)
		return;
	io_tmp_release(&a->tmp);
	if (a->dirfd >= 0)
		(void)close(a->dirfd);
	free(a->file);
	free(a->name);
	free(a->tag);
	free(a->blobs);
	free(a);
}
DEFINE_CLEANUP(struct archive *, archive_close)

static int split_name(struct archive *a, struct err *err)
{
	char *one cleanup_free = strdup(a->file), *two cleanup_free = strdup(a->file);
	struct stat st;

	if (!one || !two)
		return err_set(err, -ENOMEM, "open '%s'", a->file);
	if (stat(a->file, &st) == 0 && !S_ISREG(st.st_mode))
		return err_msg(err, -EINVAL, "'%s' is there and no regular file", a->file);
	a->name = strdup(basename(one));
	if (!a->name)
		return err_set(err, -ENOMEM, "open '%s'", a->file);
	if (strchr(a->name, '/') || strcmp(a->name, ".") == 0 || strcmp(a->name, "..") == 0)
		return err_msg(err, -EINVAL, "'%s' is no file's name", a->file);
	a->dirfd = open(dirname(two), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return a->dirfd < 0 ? err_set(err, -errno, "open the folder of '%s'", a->file) : 0;
}

static int archive_open(const char *rest, const struct oci_remote *remote, void **ret_impl,
			struct err *err)
{
	struct archive *a CLEANUP(archive_closep) = calloc(1, sizeof(*a));
	int r;

	(void)remote;
	if (!a)
		return err_set(err, -ENOMEM, "open archive");
	a->dirfd = -1;
	a->tmp = (struct io_tmp)IO_TMP_INIT;
	if (*rest == '\0')
		return err_msg(err, -EINVAL, "'oci-archive:' needs a file: oci-archive:FILE[:TAG]");
	r = oci_layout_split(rest, S_IFREG, &a->file, &a->tag);
	if (r < 0)
		return err_set(err, r, "open archive");
	r = split_name(a, err);
	if (r < 0)
		return r;
	r = io_tmp_create(a->dirfd, 0644, &a->tmp);
	if (r < 0)
		return err_set(err, r, "make '%s'", a->file);
	*ret_impl = steal_ptr(&a);
	return 0;
}

static bool archive_has(void *impl, const struct oci_descriptor *desc)
{
	const struct archive *a = impl;

	for (size_t i = 0; i < a->n; i++) {
		if (digest_equal(&a->blobs[i], &desc->digest))
			return true;
	}
	return false;
}

static int write_header(const struct archive *a, const char *path, uint64_t size, struct err *err)
{
	struct strbuf head CLEANUP(strbuf_release) = STRBUF_INIT;
	struct oci_tar_entry e = {
		.path = path,
		.st = {.st_mode = S_IFREG | 0644, .st_size = (off_t)size, .st_nlink = 1},
		.data_fd = -1,
	};
	int r = oci_tar_header(&e, &head, err);

	if (r < 0)
		return r;
	r = io_write_full(a->tmp.fd, head.s, head.len);
	return r < 0 ? err_set(err, r, "write '%s'", a->file) : 0;
}

static int write_padding(const struct archive *a, uint64_t size, size_t more, struct err *err)
{
	static const char zeros[3 * OCI_TAR_BLOCK];
	size_t n = (size_t)(-size % OCI_TAR_BLOCK) + more;
	int r = io_write_full(a->tmp.fd, zeros, n);

	return r < 0 ? err_set(err, r, "write '%s'", a->file) : 0;
}

static int remember(struct archive *a, const struct digest *digest, struct err *err)
{
	if (a->n == a->cap) {
		size_t cap = a->cap ? 2 * a->cap : 16;
		struct digest *more = reallocarray(a->blobs, cap, sizeof(*more));

		if (!more)
			return err_set(err, -ENOMEM, "write '%s'", a->file);
		a->blobs = more;
		a->cap = cap;
	}
	a->blobs[a->n++] = *digest;
	return 0;
}

static int copy_hashed(const struct archive *a, int fd, const struct oci_descriptor *desc,
		       struct err *err)
{
	struct hash *h cleanup_hash = hash_new(digest_algorithm(&desc->digest));
	char *buf cleanup_free = malloc(COPY_CHUNK);
	struct digest got;
	uint64_t pos = 0;
	int r = 0;

	if (!h || !buf)
		return err_set(err, -ENOMEM, "write '%s'", a->file);
	while (r == 0 && pos < desc->size) {
		size_t want =
			desc->size - pos < COPY_CHUNK ? (size_t)(desc->size - pos) : COPY_CHUNK;

		r = io_pread_full(fd, buf, want, (off_t)pos);
		if (r == -ENODATA)
			return err_msg(err, -EBADMSG, "blob %s: size does not match",
				       desc->digest.text);
		if (r == 0)
			r = hash_update(h, buf, want);
		if (r == 0)
			r = io_write_full(a->tmp.fd, buf, want);
		pos += want;
	}
	if (r == 0)
		r = hash_final(h, &got);
	if (r < 0)
		return err_set(err, r, "write blob %s to '%s'", desc->digest.text, a->file);
	if (!digest_equal(&got, &desc->digest))
		return err_msg(err, -EBADMSG, "blob %s: digest does not match", desc->digest.text);
	return 0;
}

static int archive_blob(void *impl, const struct oci_descriptor *desc, int fd, struct err *err)
{
	struct archive *a = impl;
	char path[OCI_BLOB_PATH_MAX + 1];
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return err_set(err, -errno, "stat blob %s", desc->digest.text);
	if ((uint64_t)st.st_size != desc->size)
		return err_msg(err, -EBADMSG, "blob %s: size does not match", desc->digest.text);
	oci_layout_blob_path(&desc->digest, path);
	r = write_header(a, path, desc->size, err);
	if (r == 0)
		r = copy_hashed(a, fd, desc, err);
	if (r == 0)
		r = write_padding(a, desc->size, 0, err);
	return r < 0 ? r : remember(a, &desc->digest, err);
}

static int put_text(const struct archive *a, const char *path, const char *text, size_t len,
		    struct err *err)
{
	int r = write_header(a, path, len, err);

	if (r < 0)
		return r;
	r = io_write_full(a->tmp.fd, text, len);
	return r < 0 ? err_set(err, r, "write '%s'", a->file) : write_padding(a, len, 0, err);
}

static int put_document(struct archive *a, const struct oci_descriptor *desc, const char *text,
			struct err *err)
{
	char path[OCI_BLOB_PATH_MAX + 1];
	struct digest got;
	int r;

	if (archive_has(a, desc))
		return 0;
	r = digest_buffer(digest_algorithm(&desc->digest), text, (size_t)desc->size, &got);
	if (r < 0)
		return err_set(err, r, "digest of %s", desc->digest.text);
	if (!digest_equal(&got, &desc->digest))
		return err_msg(err, -EBADMSG, "document %s does not match its descriptor",
			       desc->digest.text);
	oci_layout_blob_path(&desc->digest, path);
	r = put_text(a, path, text, (size_t)desc->size, err);
	return r < 0 ? r : remember(a, &desc->digest, err);
}

static int put_index(const struct archive *a, const struct oci_image *image, const char *tag,
		     const char *ref, struct err *err)
{
	struct strbuf out CLEANUP(strbuf_release) = STRBUF_INIT;
	struct json *none cleanup_json = NULL;
	int r = json_parse(OCI_LAYOUT_EMPTY_INDEX, strlen(OCI_LAYOUT_EMPTY_INDEX), &none, err);

	if (r < 0)
		return r;
	r = oci_layout_index_add(none, image, tag, ref, &out);
	if (r < 0)
		return err_set(err, r, "write '%s'", a->file);
	r = put_text(a, "oci-layout", OCI_LAYOUT_MARKER, strlen(OCI_LAYOUT_MARKER), err);
	return r < 0 ? r : put_text(a, "index.json", out.s, out.len, err);
}

static int archive_image(void *impl, const struct oci_image *image, const char *ref,
			 struct err *err)
{
	struct archive *a = impl;
	char own[OCI_TAG_MAX + 1];
	const char *tag = a->tag;
	int r;

	if (!tag)
		tag = ref && oci_reference_tag(ref, own) ? own : "latest";
	for (size_t i = 0; i < image->n_layers; i++) {
		if (!archive_has(a, &image->layers[i].desc))
			return err_msg(err, -ENOENT, "layer %s has not been written to '%s'",
				       image->layers[i].desc.digest.text, a->file);
	}
	r = put_document(a, &image->config_desc, image->config, err);
	if (r == 0)
		r = put_document(a, &image->manifest_desc, image->manifest, err);
	if (r == 0)
		r = put_index(a, image, tag, ref, err);
	if (r == 0) /* the end of a tar: two blocks of zeros */
		r = write_padding(a, 0, 2 * OCI_TAR_BLOCK, err);
	if (r < 0)
		return r;
	r = io_tmp_publish(&a->tmp, a->dirfd, a->name);
	return r < 0 ? err_set(err, r, "write '%s'", a->file) : 0;
}

const struct oci_dest_ops oci_dest_archive = {
	.name = "oci-archive",
	.open = archive_open,
	.close = archive_close,
	.has = archive_has,
	.blob = archive_blob,
	.image = archive_image,
};
