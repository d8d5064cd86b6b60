/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "oci/document.h"

/*
 * index - an image index or docker manifest list, and the index.json of a
 * layout, as an array of entries. An entry's descriptor is checked when it is
 * chosen, not before: one bad neighbour does not make the others unusable.
 */
struct oci_index_entry {
	const struct json *v; /* borrowed from the index */
	const char *media_type; /* "" when it has none; borrowed */
	const char *ref_name; /* org.opencontainers.image.ref.name, or NULL; borrowed */
	const char *image_name; /* io.containerd.image.name, or NULL; borrowed */
	struct oci_platform platform;
	bool has_platform;
	bool is_image; /* a manifest or an index, and no attestation (platform unknown/unknown) */
};

struct oci_index {
	struct json *doc;
	struct oci_index_entry *entries;
	size_t n;
};
#define OCI_INDEX_INIT                                                                             \
	{                                                                                          \
		.n = 0                                                                             \
	}
/* @media_type: what its descriptor said; NULL for the index.json of a layout. -EBADMSG. */
int oci_index_parse(const char *text, size_t len, const char *media_type, struct oci_index *ret,
		    struct err *err) __attribute__((warn_unused_result));
void oci_index_release(struct oci_index *index);
#define cleanup_oci_index __attribute__((cleanup(oci_index_release)))
