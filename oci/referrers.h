/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/strbuf.h"
#include "oci/source.h"

/*
 * referrers - artifacts that refer to an image by its manifest's digest (distribution specification
 * 1.1). Private to oci/: oci_source_referrer() and oci_dest_referrer() are what others use.
 */
struct oci_source_ops;

#define OCI_REFERRERS_TAG_MAX 140
/* The tag that has the list where there is no API for it: "sha256-HEX". */
void oci_referrers_tag(const struct digest *subject, char ret[OCI_REFERRERS_TAG_MAX]);
/* Is it such a tag? What it names is no image. */
bool oci_referrers_is_tag(const char *tag);
int oci_referrers_find(const struct oci_source_ops *ops, void *impl,
		       const struct oci_descriptor *subject, const char *type, char **ret,
		       struct err *err) __attribute__((warn_unused_result));
/*
 * The list @old (@len 0: none yet) with @desc in it, instead of others of @type. Appended.
 */
int oci_referrers_add(const char *old, size_t len, const struct oci_descriptor *desc,
		      const char *type, struct strbuf *out, struct err *err)
	__attribute__((warn_unused_result));
