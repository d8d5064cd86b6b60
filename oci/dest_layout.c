/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/strbuf.h"
#include "oci/layout.h"
#include "oci/media.h"
#include "oci/reference.h"
#include "oci/referrers.h"
#include "oci/source_private.h"

#define COPY_CHUNK (1u << 18)

struct layout {
	char *dir, *tag; /* tag may be NULL */
	int fd;
};

static void dest_close(void *impl)
{
	struct layout *l = impl;

	if (!l)
		return;
	free(l->dir);
	free(l->tag);
	if (l->fd >= 0)
		(void)close(l->fd);
	free(l);
}
DEFINE_CLEANUP(struct layout *, dest_close)

/*
 * The lock of the layout: held while index.json is read and written anew, so that of two pushes
 * none loses the other's tag. On a description of its own: threads of one process exclude each
 * other too. Released by closing.
 */
static int lock_layout(const struct layout *l, int *ret_fd, struct err *err)
{
	int fd = openat(l->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_set(err, -errno, "open layout '%s'", l->dir);
	while (flock(fd, LOCK_EX) < 0) {
		int r = -errno;

		if (r == -EINTR)
			continue;
		(void)close(fd);
		return err_set(err, r, "lock layout '%s'", l->dir);
	}
	*ret_fd = fd;
	return 0;
}

/*
 * A temporary file that says by a lock of its own that its maker lives, so that sweep() can tell
 * what a killed push left behind. The sweep may win the race for a file just made: then it is gone
 * from its folder, and another is made.
 */
static int tmp_create(const struct layout *l, struct io_tmp *ret)
{
	for (;;) {
		struct io_tmp t cleanup_io_tmp = IO_TMP_INIT;
		struct stat st;
		int r = io_tmp_create(l->fd, 0644, &t);

		if (r < 0)
			return r;
		if (flock(t.fd, LOCK_EX | LOCK_NB) < 0 && errno != EWOULDBLOCK)
			return -errno;
		if (fstat(t.fd, &st) < 0)
			return -errno;
		if (st.st_nlink == 0)
			continue;
		*ret = t;
		t = (struct io_tmp)IO_TMP_INIT;
		return 0;
	}
}

/* Removes temporary files whose makers are dead. Errors do not matter: they stay, as they did
 * before. */
static void sweep(const struct layout *l)
{
	int fd = openat(l->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir cleanup_closedir = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *d;

	if (!dir) {
		if (fd >= 0)
			(void)close(fd);
		return;
	}
	while ((d = readdir(dir))) {
		int f cleanup_close = -1;

		if (strncmp(d->d_name, "tmp-", 4) != 0)
			continue;
		f = openat(l->fd, d->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (f >= 0 && flock(f, LOCK_EX | LOCK_NB) == 0)
			(void)unlinkat(l->fd, d->d_name, 0);
	}
}

/* Has the folder nothing but what a push that was killed early may have left? */
static int folder_is_fresh(const struct layout *l, bool *ret)
{
	int fd = openat(l->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir cleanup_closedir = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *d;

	if (!dir) {
		int r = -errno;

		if (fd >= 0)
			(void)close(fd);
		return r;
	}
	*ret = true;
	while ((d = readdir(dir))) {
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0 &&
		    strncmp(d->d_name, "tmp-", 4) != 0)
			*ret = false;
	}
	return 0;
}

static int put_text(const struct layout *l, const char *name, const char *text, size_t len,
		    struct err *err)
{
	struct io_tmp tmp cleanup_io_tmp = IO_TMP_INIT;
	int r = tmp_create(l, &tmp);

	if (r == 0)
		r = io_write_full(tmp.fd, text, len);
	if (r == 0)
		r = io_tmp_publish(&tmp, l->fd, name);
	return r < 0 ? err_set(err, r, "write '%s/%s'", l->dir, name) : 0;
}

static int mkdir_parents(const char *path)
{
	char *copy cleanup_free = strdup(path);

	if (!copy)
		return -ENOMEM;
	for (char *p = copy + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(copy, 0777) < 0 && errno != EEXIST)
			return -errno;
		*p = '/';
	}
	return mkdir(copy, 0777) < 0 && errno != EEXIST ? -errno : 0;
}

/* Makes it a layout when it is none yet. The marker comes last: before it, it is no layout. */
static int make_layout(const struct layout *l, struct err *err)
{
	int lock cleanup_close = -1;
	bool fresh = false;
	int r = lock_layout(l, &lock, err);

	if (r < 0)
		return r;
	if (faccessat(l->fd, "oci-layout", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return oci_layout_check_dir(l->fd, l->dir, err);
	r = folder_is_fresh(l, &fresh);
	if (r < 0)
		return err_set(err, r, "read '%s'", l->dir);
	if (!fresh)
		return err_msg(err, -ENOTEMPTY, "'%s' is neither an OCI layout nor empty", l->dir);
	r = put_text(l, "oci-layout", OCI_LAYOUT_MARKER, strlen(OCI_LAYOUT_MARKER), err);
	if (r < 0)
		return r;
	return put_text(l, "index.json", OCI_LAYOUT_EMPTY_INDEX, strlen(OCI_LAYOUT_EMPTY_INDEX),
			err);
}

static int dest_open(const char *rest, const struct oci_remote *remote, void **ret_impl,
		     struct err *err)
{
	struct layout *l CLEANUP(dest_closep) = calloc(1, sizeof(*l));
	int r;

	(void)remote;
	if (!l)
		return err_set(err, -ENOMEM, "open layout");
	l->fd = -1;
	if (*rest == '\0')
		return err_msg(err, -EINVAL, "'oci:' needs a folder: oci:DIR[:TAG]");
	r = oci_layout_split(rest, S_IFDIR, &l->dir, &l->tag);
	if (r == 0)
		r = mkdir_parents(l->dir);
	if (r < 0)
		return err_set(err, r, "make layout '%s'", l->dir ? l->dir : rest);
	l->fd = open(l->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (l->fd < 0)
		return err_set(err, -errno, "open layout '%s'", l->dir);
	r = make_layout(l, err);
	if (r < 0)
		return r;
	sweep(l);
	*ret_impl = steal_ptr(&l);
	return 0;
}

static bool dest_has(void *impl, const struct oci_descriptor *desc)
{
	const struct layout *l = impl;
	int fd cleanup_close = -1;

	return oci_layout_open_blob(l->fd, l->dir, desc, &fd, NULL) == 0;
}

/* The folder of @digest's algorithm, opened without following a symlink. */
static int blob_folder(const struct layout *l, const struct digest *digest, struct err *err)
{
	static const char *const names[] = {
		[DIGEST_SHA256] = "blobs/sha256", [DIGEST_SHA512] = "blobs/sha512"};
	const char *name = names[digest_algorithm(digest)];
	int fd;

	if (mkdirat(l->fd, "blobs", 0777) < 0 && errno != EEXIST)
		return err_set(err, -errno, "make '%s/blobs'", l->dir);
	if (mkdirat(l->fd, name, 0777) < 0 && errno != EEXIST)
		return err_set(err, -errno, "make '%s/%s'", l->dir, name);
	fd = io_open_beneath(l->fd, name, O_RDONLY | O_DIRECTORY, 0);
	return fd < 0 ? err_set(err, fd, "open '%s/%s'", l->dir, name) : fd;
}

/* Copies all of @fd, from its start, to @to while hashing. */
static int copy_hashed(int fd, int to, const struct oci_descriptor *desc, struct digest *ret,
		       uint64_t *ret_size)
{
	struct hash *h cleanup_hash = hash_new(digest_algorithm(&desc->digest));
	char *buf cleanup_free = malloc(COPY_CHUNK);
	uint64_t pos = 0;
	int r = 0;

	if (!h || !buf)
		return -ENOMEM;
	/* one byte beyond the size is enough to know that it is too long */
	while (r == 0 && pos <= desc->size) {
		ssize_t n = pread(fd, buf, COPY_CHUNK, (off_t)pos);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		r = hash_update(h, buf, (size_t)n);
		if (r == 0)
			r = io_write_full(to, buf, (size_t)n);
		pos += (uint64_t)n;
	}
	*ret_size = pos;
	return r < 0 ? r : hash_final(h, ret);
}

static int dest_blob(void *impl, const struct oci_descriptor *desc, int fd, struct err *err)
{
	const struct layout *l = impl;
	struct io_tmp tmp cleanup_io_tmp = IO_TMP_INIT;
	int folder cleanup_close = -1;
	struct digest got;
	uint64_t size = 0;
	int r;

	folder = blob_folder(l, &desc->digest, err);
	if (folder < 0)
		return folder;
	r = tmp_create(l, &tmp);
	if (r == 0)
		r = copy_hashed(fd, tmp.fd, desc, &got, &size);
	if (r < 0)
		return err_set(err, r, "write blob %s to '%s'", desc->digest.text, l->dir);
	if (size != desc->size || !digest_equal(&got, &desc->digest))
		return err_msg(err, -EBADMSG, "blob %s: %s does not match", desc->digest.text,
			       size != desc->size ? "size" : "digest");
	r = io_tmp_publish(&tmp, folder, digest_hex(&desc->digest));
	return r < 0 ? err_set(err, r, "write blob %s to '%s'", desc->digest.text, l->dir) : 0;
}

static int put_document(const struct layout *l, const struct oci_descriptor *desc, const char *text,
			struct err *err)
{
	struct io_tmp tmp cleanup_io_tmp = IO_TMP_INIT;
	int folder cleanup_close = -1;
	struct digest got;
	int r;

	r = digest_buffer(digest_algorithm(&desc->digest), text, strlen(text), &got);
	if (r < 0)
		return err_set(err, r, "digest of %s", desc->digest.text);
	if (strlen(text) != desc->size || !digest_equal(&got, &desc->digest))
		return err_msg(err, -EBADMSG, "document %s does not match its descriptor",
			       desc->digest.text);
	folder = blob_folder(l, &desc->digest, err);
	if (folder < 0)
		return folder;
	r = tmp_create(l, &tmp);
	if (r == 0)
		r = io_write_full(tmp.fd, text, (size_t)desc->size);
	if (r == 0)
		r = io_tmp_publish(&tmp, folder, digest_hex(&desc->digest));
	return r < 0 ? err_set(err, r, "write %s to '%s'", desc->digest.text, l->dir) : 0;
}

static int set_tag(const struct layout *l, const struct oci_image *image, const char *tag,
		   const char *ref, struct err *err)
{
	struct strbuf out CLEANUP(strbuf_release) = STRBUF_INIT;
	struct json *old cleanup_json = NULL;
	char *text cleanup_free = NULL;
	int lock cleanup_close = -1;
	size_t len = 0;
	int r = lock_layout(l, &lock, err);

	if (r < 0)
		return r;
	r = io_read_file(l->fd, "index.json", JSON_SIZE_MAX, &text, &len);
	if (r < 0 && r != -ENOENT)
		return err_set(err, r, "read '%s/index.json'", l->dir);
	/* none: a push was killed between the marker and the first index */
	r = r == 0 ? json_parse(text, len, &old, err)
		   : json_parse(OCI_LAYOUT_EMPTY_INDEX, strlen(OCI_LAYOUT_EMPTY_INDEX), &old, err);
	if (r < 0)
		return err_wrap(err, r, "'%s/index.json'", l->dir);
	if (json_type(old) != JSON_OBJECT)
		return err_msg(err, -EBADMSG, "'%s/index.json' is no object", l->dir);
	r = oci_layout_index_add(old, image, tag, ref, &out);
	if (r < 0)
		return err_set(err, r, "write '%s/index.json'", l->dir);
	return put_text(l, "index.json", out.s, out.len, err);
}

static int dest_image(void *impl, const struct oci_image *image, const char *ref, struct err *err)
{
	const struct layout *l = impl;
	char own[OCI_TAG_MAX + 1];
	const char *tag = l->tag;
	int r;

	if (!tag)
		tag = ref && oci_reference_tag(ref, own) ? own : "latest";
	for (size_t i = 0; i < image->n_layers; i++) {
		if (!dest_has(impl, &image->layers[i].desc))
			return err_msg(err, -ENOENT, "layer %s has not been written to '%s'",
				       image->layers[i].desc.digest.text, l->dir);
	}
	r = put_document(l, &image->config_desc, image->config, err);
	if (r == 0)
		r = put_document(l, &image->manifest_desc, image->manifest, err);
	return r < 0 ? r : set_tag(l, image, tag, ref, err);
}

/* What the tag of the schema names now, or nothing. */
static int read_referrers(struct layout *l, const struct oci_descriptor *subject,
			  struct strbuf *out, struct err *err)
{
	struct oci_source *src cleanup_oci_source = NULL;
	char *spec cleanup_free = NULL;
	int r;

	if (asprintf(&spec, "oci:%s", l->dir) < 0) {
		spec = NULL;
		return err_set(err, -ENOMEM, "referrers");
	}
	r = oci_source_open(spec, NULL, &src, err);
	if (r == 0)
		r = oci_source_referrers(src, &subject->digest, out, NULL);
	return r == -ENOENT ? 0 : r;
}

/* The artifact, the list with it in it, and the tag of the list. */
static int dest_refer(void *impl, const struct oci_descriptor *desc, const char *text,
		      const struct oci_descriptor *subject, const char *type, struct err *err)
{
	struct layout *l = impl;
	struct strbuf old CLEANUP(strbuf_release) = STRBUF_INIT;
	struct strbuf list CLEANUP(strbuf_release) = STRBUF_INIT;
	char tag[OCI_REFERRERS_TAG_MAX];
	struct oci_image as = {.manifest = NULL};
	int r = put_document(l, desc, text, err);

	if (r == 0)
		r = read_referrers(l, subject, &old, err);
	if (r == 0)
		r = oci_referrers_add(old.s, old.len, desc, type, &list, err);
	if (r < 0)
		return r;
	strcpy(as.manifest_desc.media_type, OCI_MEDIA_INDEX);
	as.manifest_desc.size = list.len;
	r = digest_buffer(DIGEST_SHA256, list.s, list.len, &as.manifest_desc.digest);
	if (r < 0)
		return err_set(err, r, "referrers");
	r = put_document(l, &as.manifest_desc, list.s, err);
	oci_referrers_tag(&subject->digest, tag);
	return r < 0 ? r : set_tag(l, &as, tag, NULL, err);
}

const struct oci_dest_ops oci_dest_layout = {
	.name = "oci",
	.open = dest_open,
	.close = dest_close,
	.has = dest_has,
	.blob = dest_blob,
	.image = dest_image,
	.refer = dest_refer,
};
