/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/strbuf.h"
#include "oci/document.h"
#include "oci/layer_in.h"

/*
 * toc - the table of contents that an eStargz or zstd:chunked blob has at its end: each entry's
 * metadata, and where in the blob its content is, chunk by chunk, with digests. A layer's index and
 * spans are made of it without the rest of the blob (docs/FORMAT.md, "Tables of contents").
 *
 *	oci_toc_hint_read(annotations, compression, &ref.toc);      when the manifest is parsed
 *	r = oci_toc_footer(...)                                     eStargz: where the table is
 *	r = oci_toc_in(&job, &spans, &result, err);
 *
 * It is inflated and parsed by a process without privileges (oci/reader.h), verified against the
 * annotation, and held against the rules and budgets of layers. It does not say where in the tar a
 * content lies: until the whole layer is here, contents have places of their own, in a file that is
 * not the tar.
 */
#define OCI_TOC_FOOTER	  51 /* bytes of eStargz's */
#define OCI_TOC_MAX	  (256u << 20) /* bytes of a table */
#define OCI_TOC_SKIPPABLE 8 /* zstd:chunked's is in a skippable frame: RFC 8878, 3.1.2 */

/* @annotations may be NULL. Never fails: see enum oci_toc_kind. */
void oci_toc_hint_read(const struct json *annotations, enum oci_compression compression,
		       struct oci_toc_hint *ret);
/* @footer: the last OCI_TOC_FOOTER bytes of the blob. -EBADMSG. */
int oci_toc_footer(const uint8_t footer[OCI_TOC_FOOTER], uint64_t blob_size, uint64_t *ret_start,
		   struct err *err) __attribute__((warn_unused_result));

struct oci_toc_job {
	const struct oci_layer_ref *layer;
	int blob_fd; /* has the bytes of the blob from start to its end, where the blob has them */
	uint64_t start; /* behind all that is content */
	const struct oci_limits *limits; /* NULL: defaults */
	int index_fd; /* O_RDWR, empty: receives the index */
};
/*
 * Appends the file of spans to @spans. @ret->tar is the name of the layer while it is made of the
 * table, @ret->tar_size the size of the file that contents are in. -EBADMSG: it is wrong;
 * -EOPNOTSUPP: it says too little, or too much; -E2BIG: a budget is used up.
 */
int oci_toc_in(const struct oci_toc_job *job, struct strbuf *spans, struct oci_layer_result *ret,
	       struct err *err) __attribute__((warn_unused_result));
