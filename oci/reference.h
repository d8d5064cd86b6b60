/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>

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

/*
 * "localhost/NAME:TAG" made of a folder's name and a tag: lower case, what no reference may have is
 * replaced by '-'. Returned owned; NULL when out of memory.
 */
char *oci_reference_for_folder(const char *folder, const char *tag);
