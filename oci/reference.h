/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>

#include "base/digest.h"

/*
 * reference - names of images: "HOST[:PORT]/NAME[:TAG][@DIGEST]" (grammar of
 * the distribution specification and of distribution/reference).
 */
bool oci_tag_is_valid(const char *tag); /* [A-Za-z0-9_][A-Za-z0-9._-]{0,127} */

/* Has it a host in front ("localhost", or with '.' or ':'), a name, and nothing a reference may not
 * have? */
bool oci_reference_is_full(const char *ref);

/* The tag inside @ref, NUL-terminated only at the end of @ref or at '@': copied into @ret. False:
 * none. */
#define OCI_TAG_MAX 128
bool oci_reference_tag(const char *ref, char ret[OCI_TAG_MAX + 1]);

/* A registry's reference, taken apart: "[HOST[:PORT]/]NAME[:TAG][@DIGEST]". */
struct oci_reference {
	char host[256]; /* as given: "docker.io" when there was none */
	char name[256]; /* "library/" is put in front of a single word at docker.io */
	char tag[OCI_TAG_MAX + 1]; /* "latest" when there is neither tag nor digest; may be empty */
	struct digest digest; /* empty text when there is none */
};
/* -EINVAL: outside of the grammar. */
int oci_reference_parse(const char *text, struct oci_reference *ret)
	__attribute__((warn_unused_result));
/* "HOST/NAME:TAG" or "HOST/NAME@DIGEST": owned; NULL when out of memory. */
char *oci_reference_format(const struct oci_reference *r);

/*
 * "localhost/NAME:TAG" made of a folder's name and a tag: lower case, what no reference may have is
 * replaced by '-'. Returned owned; NULL when out of memory.
 */
char *oci_reference_for_folder(const char *folder, const char *tag);
