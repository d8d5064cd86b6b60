/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "oci/document.h"

/*
 * spans - a layer's blob cut into pieces that can be had one by one (docs/FORMAT.md, "spans"). A
 * span is a run of the tar, a digest of it, the bytes of the blob that it is made of, and what an
 * inflater has to know to start there.
 *
 *	r = oci_spans_make(&ref, blob_fd, tar_size, &text, err);     once, from a blob that is here
 *	r = oci_spans_parse(text.s, text.len, &spans, err);          what is in a file, checked
 *	r = oci_spans_inflate(spans, i, blob_fd, data_fd, err);      -EBADMSG: not what was promised
 *	oci_spans_free(spans);
 *
 * gzip is cut at blocks of deflate and between members, zstd between frames, a plain tar anywhere.
 * A span has the size asked for, or as much more as it takes to come to such a place: a blob of one
 * zstd frame is one span. No number of a file is believed. After parsing, any number of threads.
 */
#define OCI_SPANS_MAX	   (1u << 20)
#define OCI_SPANS_SIZE_MAX (1u << 30) /* bytes of a file of them */
#define OCI_SPAN_LONGEST   (64u << 20) /* bytes that a lazy layer may have in one piece */

struct oci_span {
	uint64_t out, out_len; /* in the tar, bytes; out_len > 0 */
	uint64_t in, in_len; /* in the blob, bytes; neighbours may share one */
	uint8_t digest[32]; /* sha256 of the tar's bytes */
	uint8_t bits; /* of the first byte that belong to this span: the upper ones; 0: all */
	bool fresh; /* a member, frame or plain tar starts here */
	uint32_t window_raw, window_len; /* bytes, raw and compressed */
	uint64_t window_off;
	/*
	 * Made of a table of contents: the span's pieces, each with a digest of its own, each in a
	 * member or frame that starts at its in, behind skip bytes of what that inflates to.
	 */
	size_t first_piece, n_pieces;
	uint64_t skip;
	bool starts; /* a piece: the first one of its span */
};

struct oci_spans;

/* The size of a span that suits a tar of that size, bytes. */
uint64_t oci_spans_size_for(uint64_t tar_size);
/*
 * Reads the blob once, from its start (pread), appends the file to @out. Its size and digest, and
 * the diff id, are checked. @tar_size: what the tar has. -EBADMSG, -EOPNOTSUPP: a diff id of
 * another kind than sha256.
 */
int oci_spans_make(const struct oci_layer_ref *ref, int blob_fd, uint64_t tar_size,
		   uint64_t span_size, struct strbuf *out, struct err *err)
	__attribute__((warn_unused_result));
/* Copies. -EBADMSG: damaged, or it contradicts itself. */
int oci_spans_parse(const void *data, size_t len, struct oci_spans **ret, struct err *err)
	__attribute__((warn_unused_result));
void oci_spans_free(struct oci_spans *s);
static inline void oci_spans_freep(struct oci_spans **s)
{
	oci_spans_free(*s);
}
#define cleanup_oci_spans __attribute__((cleanup(oci_spans_freep)))

size_t oci_spans_count(const struct oci_spans *s); /* at least 1 */
const struct oci_span *oci_spans_get(const struct oci_spans *s, size_t i); /* borrowed */
enum oci_compression oci_spans_compression(const struct oci_spans *s);
uint64_t oci_spans_tar_size(const struct oci_spans *s);
uint64_t oci_spans_blob_size(const struct oci_spans *s);
const struct digest *oci_spans_blob(const struct oci_spans *s); /* of the blob */
const struct digest *oci_spans_tar(const struct oci_spans *s); /* sha256 of the tar */
/* Made of a table of contents: "the tar" above is the file that its contents are put into. */
bool oci_spans_is_by_table(const struct oci_spans *s);
/* What the layer's folder is called: the tar's sha256, but not with a table. */
const struct digest *oci_spans_layer(const struct oci_spans *s);

/*
 * Span @i from the blob's bytes, which @blob_fd has where the blob has them, to where the tar has
 * them in @data_fd. Only after 0 may it be read there. -EBADMSG: the bytes are not right.
 */
int oci_spans_inflate(const struct oci_spans *s, size_t i, int blob_fd, int data_fd,
		      struct err *err) __attribute__((warn_unused_result));
/* Does @data_fd have the right bytes there? 1: yes, 0: no, or -errno. */
int oci_spans_verify(const struct oci_spans *s, size_t i, int data_fd)
	__attribute__((warn_unused_result));
