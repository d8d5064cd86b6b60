/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stddef.h>

#include "oci/document.h"

/*
 * compress - a stream of bytes into plain, gzip or zstd, by several threads,
 * with the same result for any number of them.
 *
 * gzip: every MiB of input is a member of its own (RFC 1952, 2.2: a file is a
 * series of members), so that the work is cut by position and never by timing.
 * zstd: the library's own workers, at least one, which cut in the same way.
 * Other versions of the libraries may give other bytes.
 *
 *	r = oci_compress_new(OCI_GZIP, 0, 0, sink, ctx, &c, err);
 *	r = oci_compress_write(c, data, len, err); ...
 *	r = oci_compress_finish(c, err);
 *	oci_compress_free(c);
 *
 * One thread calls; @sink is called by that thread only, in order.
 */
struct oci_compress;
/* 0 or -errno with @err set. */
typedef int (*oci_compress_sink_fn)(void *ctx, const void *data, size_t len, struct err *err);

/*
 * @level: 0 is the default (gzip 6, zstd 3); gzip 1-12, zstd 1-22. @threads: 0 is the number of
 * CPUs this process may use. -EINVAL for a level that is none.
 */
int oci_compress_new(enum oci_compression how, int level, unsigned int threads,
		     oci_compress_sink_fn sink, void *ctx, struct oci_compress **ret,
		     struct err *err) __attribute__((warn_unused_result));
int oci_compress_write(struct oci_compress *c, const void *data, size_t len, struct err *err)
	__attribute__((warn_unused_result));
int oci_compress_finish(struct oci_compress *c, struct err *err)
	__attribute__((warn_unused_result));
void oci_compress_free(struct oci_compress *c); /* NULL is fine; also without a finish */
