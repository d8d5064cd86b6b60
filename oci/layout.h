/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>

#include "oci/document.h"

/*
 * layout - the folder form of images (image specification, image-layout.md):
 * "oci-layout", "index.json", "blobs/ALGORITHM/HEX".
 */

/*
 * Takes "DIR[:TAG]" apart: the last colon starts a tag when a valid tag follows, unless only the
 * whole names a folder. Both returned owned; the tag is NULL when there is none. -ENOMEM.
 */
int oci_layout_split(const char *spec, char **ret_dir, char **ret_tag)
	__attribute__((warn_unused_result));

/* The marker file is there and of version 1.0.0. -ENOENT: no marker. -EBADMSG. */
int oci_layout_check(int dirfd, const char *dir, struct err *err)
	__attribute__((warn_unused_result));

/* "blobs/ALGORITHM/HEX" */
#define OCI_BLOB_PATH_MAX (6 + 7 + 128)
void oci_layout_blob_path(const struct digest *digest, char ret[OCI_BLOB_PATH_MAX + 1]);

/*
 * Opens the blob of @desc: a regular file of the right size, no symlink anywhere. Its content is
 * not verified. Returns the fd (owned). -ENOENT, -EBADMSG.
 */
int oci_layout_open_blob(int dirfd, const char *dir, const struct oci_descriptor *desc, int *ret_fd,
			 struct err *err) __attribute__((warn_unused_result));
