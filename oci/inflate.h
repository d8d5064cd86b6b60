/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "oci/document.h"

/*
 * inflate - a layer's bytes out of a blob's: gzip (RFC 1952, several members,
 * zero padding behind the last), zstd (RFC 8878, several frames) or plain.
 * Whatever else is in the stream is an error; so are a wrong checksum and a
 * stream that ends early.
 *
 *	while (input) { set in/in_len; do { set out/out_len; oci_inflate_step(); } while (out was
 *filled); } oci_inflate_finish();
 *
 * One thread at a time.
 */
#define OCI_ZSTD_WINDOW_LOG_MAX 27 /* 128 MiB */

struct oci_inflate;
struct oci_inflate_io {
	const uint8_t *in; /* advanced by what was used */
	size_t in_len;
	uint8_t *out; /* advanced by what was made */
	size_t out_len;
};

struct oci_inflate *oci_inflate_new(enum oci_compression compression); /* NULL: no memory */
void oci_inflate_free(struct oci_inflate *z);
static inline void oci_inflate_freep(struct oci_inflate **z)
{
	oci_inflate_free(*z);
}
#define cleanup_oci_inflate __attribute__((cleanup(oci_inflate_freep)))

/* Goes on until the input is used up or the output full. -EBADMSG. */
int oci_inflate_step(struct oci_inflate *z, struct oci_inflate_io *io, struct err *err)
	__attribute__((warn_unused_result));
/* The input is at its end: was that the end of the stream? -EBADMSG. */
int oci_inflate_finish(const struct oci_inflate *z, struct err *err)
	__attribute__((warn_unused_result));
