/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/digest.h"
#include "base/err.h"
#include "oci/tar_member.h"

/*
 * toc_text - reads the JSON of a table of contents, piece by piece, and hands out each entry as the
 * tar's member that it describes, and each chunk of a file behind it. The reader's alone
 * (oci/reader.h); what it says is held against the rules of layers by oci/toc_make.c.
 *
 *	t = toc_text_new(&out);
 *	r = toc_text_push(t, text, len, err);       ...
 *	r = toc_text_finish(t, err);
 *	toc_text_free(t);
 */
struct toc_chunk {
	uint64_t in; /* in the blob: where a gzip member or zstd frame starts */
	uint64_t skip; /* bytes of what that inflates to that are in front of the chunk */
	uint64_t at, len; /* in the file; len 0: all that is left of it */
	char digest[DIGEST_TEXT_MAX + 1]; /* as it stands there; empty: none */
};

struct toc_text_out {
	/* @m and all it points to: for the time of the call. */
	int (*member)(void *ctx, const struct oci_tar_member *m, struct err *err);
	int (*chunk)(void *ctx, const struct toc_chunk *c, struct err *err);
	void *ctx;
};

struct toc_text;
struct toc_text *toc_text_new(const struct toc_text_out *out);
/* -EBADMSG: it is no table; else what a function of the output returned. */
int toc_text_push(struct toc_text *t, const void *text, size_t len, struct err *err)
	__attribute__((warn_unused_result));
int toc_text_finish(struct toc_text *t, struct err *err) __attribute__((warn_unused_result));
void toc_text_free(struct toc_text *t); /* NULL is fine */
