/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "oci/index.h"

/*
 * resolve - from a descriptor of an index or manifest down to the image for a
 * platform, whatever the transport. Nothing is parsed before its digest and
 * size held.
 */
#define OCI_INDEX_DEPTH_MAX 4 /* nested indexes */

/*
 * Reads the document of @desc: exactly its size, NUL-terminated behind it (free() it). Need not
 * verify the digest: resolve does.
 */
struct oci_fetcher {
	int (*fetch)(void *ctx, const struct oci_descriptor *desc, char **ret, struct err *err);
	void *ctx;
};

/* As fetcher->fetch, with size limit and digest checked. -EBADMSG. */
int oci_fetch_verified(const struct oci_fetcher *f, const struct oci_descriptor *desc, char **ret,
		       struct err *err) __attribute__((warn_unused_result));

/* The entry of @index that runs best on @platform. -ENOENT (@err lists what there is). */
int oci_index_choose(const struct oci_index *index, const struct oci_platform *platform,
		     const struct oci_index_entry **ret, struct err *err)
	__attribute__((warn_unused_result));

/* An image that says what it is for must run on @platform: -ENOENT. */
int oci_image_check_platform(const struct oci_image *image, const struct oci_platform *platform,
			     struct err *err) __attribute__((warn_unused_result));

int oci_resolve(const struct oci_fetcher *f, const struct oci_descriptor *start,
		const struct oci_platform *platform, struct oci_image **ret, struct err *err)
	__attribute__((warn_unused_result));
