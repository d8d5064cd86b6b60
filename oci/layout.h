/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <sys/types.h>

#include "base/strbuf.h"
#include "oci/document.h"
#include "oci/media.h"

/*
 * layout - the folder form of images (image specification, image-layout.md):
 * "oci-layout", "index.json", "blobs/ALGORITHM/HEX".
 */

#define OCI_LAYOUT_MARKER     "{\"imageLayoutVersion\":\"1.0.0\"}"
#define OCI_LAYOUT_MARKER_MAX 65536
#define OCI_LAYOUT_EMPTY_INDEX                                                                     \
	"{\"schemaVersion\":2,\"mediaType\":\"" OCI_MEDIA_INDEX "\",\"manifests\":[]}"

/*
 * Takes "PATH[:TAG]" apart: the last colon starts a tag when a valid tag follows, unless only the
 * whole names a file of @type (S_IFDIR, or S_IFREG for an archive). Both returned owned; the tag is
 * NULL when there is none. -ENOMEM.
 */
int oci_layout_split(const char *spec, mode_t type, char **ret_path, char **ret_tag)
	__attribute__((warn_unused_result));

/* The marker file's text is of version 1.0.0. -EBADMSG. */
int oci_layout_check(const char *text, size_t len, const char *dir, struct err *err)
	__attribute__((warn_unused_result));
/* The same of a folder's marker file. -ENOENT: it has none. */
int oci_layout_check_dir(int dirfd, const char *dir, struct err *err)
	__attribute__((warn_unused_result));

/*
 * Appends to @out the index @old as it was, members we do not know included, with @image under @tag
 * instead of what had that tag. @ref: its full reference, or NULL. -ENOMEM.
 */
int oci_layout_index_add(const struct json *old, const struct oci_image *image, const char *tag,
			 const char *ref, struct strbuf *out) __attribute__((warn_unused_result));

/* "blobs/ALGORITHM/HEX" */
#define OCI_BLOB_PATH_MAX (6 + 7 + 128)
void oci_layout_blob_path(const struct digest *digest, char ret[OCI_BLOB_PATH_MAX + 1]);

/*
 * Opens the blob of @desc: a regular file of the right size, no symlink anywhere. Its content is
 * not verified. Returns the fd (owned). -ENOENT, -EBADMSG.
 */
int oci_layout_open_blob(int dirfd, const char *dir, const struct oci_descriptor *desc, int *ret_fd,
			 struct err *err) __attribute__((warn_unused_result));
