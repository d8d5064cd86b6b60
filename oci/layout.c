/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/layout.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "oci/media.h"
#include "oci/quote.h"
#include "oci/reference.h"

#define REF_NAME   "org.opencontainers.image.ref.name"
#define IMAGE_NAME "io.containerd.image.name"

static bool is_there(const char *path, mode_t type)
{
	struct stat st;

	return stat(path, &st) == 0 && (st.st_mode & S_IFMT) == type;
}

int oci_layout_split(const char *spec, mode_t type, char **ret_path, char **ret_tag)
{
	const char *colon = strrchr(spec, ':');
	char *path cleanup_free = NULL, *tag = NULL;

	if (colon && colon > spec && oci_tag_is_valid(colon + 1)) {
		path = strndup(spec, (size_t)(colon - spec));
		if (!path)
			return -ENOMEM;
		if (is_there(path, type) || !is_there(spec, type)) {
			tag = strdup(colon + 1);
			if (!tag)
				return -ENOMEM;
		}
	}
	if (!tag) {
		free(path);
		path = strdup(spec);
		if (!path)
			return -ENOMEM;
	}
	*ret_path = steal_ptr(&path);
	*ret_tag = tag;
	return 0;
}

int oci_layout_check(const char *text, size_t len, const char *dir, struct err *err)
{
	struct json *doc cleanup_json = NULL;
	const char *version;
	struct oci_quoted q;
	int r = json_parse(text, len, &doc, err);

	if (r < 0)
		return err_wrap(err, r, "'%s/oci-layout'", dir);
	version = json_string(json_get(doc, "imageLayoutVersion"));
	if (!version || strcmp(version, "1.0.0") != 0)
		return err_msg(err, -EBADMSG,
			       "'%s' is an OCI layout of version %s: only 1.0.0 is known", dir,
			       oci_quote(&q, version));
	return 0;
}

int oci_layout_check_dir(int dirfd, const char *dir, struct err *err)
{
	char *text cleanup_free = NULL;
	size_t len;
	int r = io_read_file(dirfd, "oci-layout", OCI_LAYOUT_MARKER_MAX, &text, &len);

	if (r == -ENOENT) {
		(void)err_msg(err, r, "'%s' is no OCI layout: it has no 'oci-layout' file", dir);
		return r;
	}
	if (r < 0)
		return err_set(err, r, "read '%s/oci-layout'", dir);
	return oci_layout_check(text, len, dir, err);
}

void oci_layout_blob_path(const struct digest *digest, char ret[OCI_BLOB_PATH_MAX + 1])
{
	(void)snprintf(ret, OCI_BLOB_PATH_MAX + 1, "blobs/%s/%s",
		       digest_algorithm_name(digest_algorithm(digest)), digest_hex(digest));
}

int oci_layout_open_blob(int dirfd, const char *dir, const struct oci_descriptor *desc, int *ret_fd,
			 struct err *err)
{
	char path[OCI_BLOB_PATH_MAX + 1];
	int fd cleanup_close = -1;
	struct stat st;

	oci_layout_blob_path(&desc->digest, path);
	/* O_NONBLOCK: a fifo put there must not hang us; it means nothing for a regular file */
	fd = io_open_beneath(dirfd, path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW, 0);
	if (fd == -ENOENT && oci_media_of(desc->media_type).kind == OCI_KIND_FOREIGN)
		return err_msg(err, -ENOENT,
			       "layer %s is not distributed with the image ('%s'), and not in '%s'",
			       desc->digest.text, desc->media_type, dir);
	if (fd == -ENOENT)
		return err_msg(err, -ENOENT, "blob %s is missing in '%s'", desc->digest.text, dir);
	if (fd == -ELOOP)
		return err_msg(err, -EBADMSG, "blob %s in '%s' is behind a symlink: refused",
			       desc->digest.text, dir);
	if (fd < 0)
		return err_set(err, fd, "open '%s/%s'", dir, path);
	if (fstat(fd, &st) < 0)
		return err_set(err, -errno, "stat '%s/%s'", dir, path);
	if (!S_ISREG(st.st_mode))
		return err_msg(err, -EBADMSG, "'%s/%s' is not a regular file", dir, path);
	if ((uint64_t)st.st_size != desc->size)
		return err_msg(err, -EBADMSG, "blob %s: size is %" PRIu64 ", it should be %" PRIu64,
			       desc->digest.text, (uint64_t)st.st_size, desc->size);
	*ret_fd = steal_fd(&fd);
	return 0;
}

static void write_entry(struct json_writer *w, const struct oci_image *image, const char *tag,
			const char *ref)
{
	json_w_object(w);
	json_w_key(w, "mediaType");
	json_w_string(w, image->manifest_desc.media_type);
	json_w_key(w, "digest");
	json_w_string(w, image->manifest_desc.digest.text);
	json_w_key(w, "size");
	json_w_uint(w, image->manifest_desc.size);
	if (image->platform.os[0] && image->platform.architecture[0]) {
		json_w_key(w, "platform");
		json_w_object(w);
		json_w_key(w, "architecture");
		json_w_string(w, image->platform.architecture);
		json_w_key(w, "os");
		json_w_string(w, image->platform.os);
		if (image->platform.variant[0]) {
			json_w_key(w, "variant");
			json_w_string(w, image->platform.variant);
		}
		json_w_end(w);
	}
	json_w_key(w, "annotations");
	json_w_object(w);
	if (ref && oci_reference_is_full(ref)) {
		json_w_key(w, IMAGE_NAME);
		json_w_string(w, ref);
	}
	json_w_key(w, REF_NAME);
	json_w_string(w, tag);
	json_w_end(w);
	json_w_end(w);
}

static bool entry_is_named(const struct json *entry, const char *tag)
{
	const char *name = json_string(json_get(json_get(entry, "annotations"), REF_NAME));

	return name && strcmp(name, tag) == 0;
}

int oci_layout_index_add(const struct json *old, const struct oci_image *image, const char *tag,
			 const char *ref, struct strbuf *out)
{
	struct json_writer *w = json_writer_new(0);
	bool had = false;

	if (!w)
		return -ENOMEM;
	json_w_object(w);
	for (size_t i = 0; i < json_len(old); i++) {
		const char *key = json_key_at(old, i);
		const struct json *v = json_at(old, i);

		json_w_key(w, key);
		if (strcmp(key, "manifests") != 0) {
			json_w_value(w, v);
			continue;
		}
		had = true;
		json_w_array(w);
		for (size_t k = 0; k < json_len(v); k++) {
			if (!entry_is_named(json_at(v, k), tag))
				json_w_value(w, json_at(v, k));
		}
		write_entry(w, image, tag, ref);
		json_w_end(w);
	}
	if (!had) {
		json_w_key(w, "manifests");
		json_w_array(w);
		write_entry(w, image, tag, ref);
		json_w_end(w);
	}
	json_w_end(w);
	return json_writer_finish(w, out);
}
