/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "oci/spans.h"

/* The file, all numbers little-endian; docs/FORMAT.md has it in words. */
#define SPANS_MAGIC   "SNAPSPAN"
#define SPANS_VERSION 1u
#define SPANS_TABLE   2u /* the version that is made of a table of contents */
#define SPANS_HEADER  256u
#define SPANS_ENTRY   72u
#define SPANS_TRAILER 32u
#define SPANS_WINDOW  32768u /* RFC 1951: as far back as deflate looks */

struct oci_spans {
	enum oci_compression compression;
	uint64_t blob_size, tar_size;
	struct digest blob, tar;
	size_t n;
	struct oci_span *spans;
	bool by_table;
	struct digest layer;
	uint64_t tail; /* in the blob: the spans end here; what is behind came with the table */
	struct oci_span *pieces;
	size_t n_pieces;
	uint8_t *windows; /* all of them, compressed */
	uint64_t windows_size;
};

/* The raw bytes of a sha256. */
void spans_raw_digest(const struct digest *d, uint8_t ret[32]);
/* @raw as a digest. */
void spans_text_digest(const uint8_t raw[32], struct digest *ret);
/* Appends the whole file. */
int spans_write(const struct oci_spans *s, struct strbuf *out) __attribute__((warn_unused_result));
