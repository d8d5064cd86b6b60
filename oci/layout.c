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

#define MARKER_MAX 65536

static bool is_folder(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int oci_layout_split(const char *spec, char **ret_dir, char **ret_tag)
{
	const char *colon = strrchr(spec, ':');
	char *dir cleanup_free = NULL, *tag = NULL;

	if (colon && colon > spec && oci_tag_is_valid(colon + 1)) {
		dir = strndup(spec, (size_t)(colon - spec));
		if (!dir)
			return -ENOMEM;
		if (is_folder(dir) || !is_folder(spec)) {
			tag = strdup(colon + 1);
			if (!tag)
				return -ENOMEM;
		}
	}
	if (!tag) {
		free(dir);
		dir = strdup(spec);
		if (!dir)
			return -ENOMEM;
	}
	*ret_dir = steal_ptr(&dir);
	*ret_tag = tag;
	return 0;
}

int oci_layout_check(int dirfd, const char *dir, struct err *err)
{
	struct json *doc cleanup_json = NULL;
	char *text cleanup_free = NULL;
	const char *version;
	struct oci_quoted q;
	size_t len;
	int r = io_read_file(dirfd, "oci-layout", MARKER_MAX, &text, &len);

	if (r == -ENOENT) {
		(void)err_msg(err, r, "'%s' is no OCI layout: it has no 'oci-layout' file", dir);
		return r;
	}
	if (r < 0)
		return err_set(err, r, "read '%s/oci-layout'", dir);
	r = json_parse(text, len, &doc, err);
	if (r < 0)
		return err_wrap(err, r, "'%s/oci-layout'", dir);
	version = json_string(json_get(doc, "imageLayoutVersion"));
	if (!version || strcmp(version, "1.0.0") != 0)
		return err_msg(err, -EBADMSG,
			       "'%s' is an OCI layout of version %s: only 1.0.0 is known", dir,
			       oci_quote(&q, version));
	return 0;
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
