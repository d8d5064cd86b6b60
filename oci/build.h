/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "oci/document.h"

/*
 * build - the documents of a new image: an older one's (or none's) config with
 * one more layer, a history line, and changes in the words of a Dockerfile.
 */
struct oci_build {
	const struct oci_image *base; /* NULL: from nothing */
	const struct oci_layer_ref *layer; /* NULL: metadata only (an empty_layer history line) */
	const char *message; /* history comment of the layer's line, else of the last one; NULL */
	const char *author; /* NULL */
	const char *created_by; /* history of the layer; NULL: "snap commit" */
	const char *const *changes; /* "CMD ...", "ENV K=V", ENTRYPOINT, WORKDIR, USER, LABEL,
				       EXPOSE, VOLUME, STOPSIGNAL */
	size_t n_changes;
	int64_t created; /* seconds since 1970 */
	struct oci_platform platform; /* used when there is no base */
};
/* -EINVAL for a change that is none (@err quotes it). */
int oci_build_image(const struct oci_build *build, struct oci_image **ret, struct err *err)
	__attribute__((warn_unused_result));
