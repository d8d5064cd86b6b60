/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stddef.h>

/*
 * quote - names from layers and documents, made fit for a message: what is not
 * printable ASCII becomes \xHH, so that no terminal obeys it, and what is too
 * long ends in "...".
 */
struct oci_quoted {
	char text[160];
};
/* @q->text, in single quotes. NULL for @s gives "(none)". */
const char *oci_quote_len(struct oci_quoted *q, const char *s, size_t len);
const char *oci_quote(struct oci_quoted *q, const char *s);
