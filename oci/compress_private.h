/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "oci/compress.h"

/* A compression: what the front in compress.c calls, with its own state in front of it. */
struct oci_compress_ops {
	int (*write)(struct oci_compress *c, const void *data, size_t len, struct err *err);
	int (*finish)(struct oci_compress *c, struct err *err);
	void (*free)(struct oci_compress *c);
};

struct oci_compress {
	const struct oci_compress_ops *ops;
	oci_compress_sink_fn sink;
	void *ctx;
};

/* @level and @threads are checked and at least 1. */
int oci_compress_gzip_new(int level, unsigned int threads, struct oci_compress **ret,
			  struct err *err) __attribute__((warn_unused_result));
int oci_compress_zstd_new(int level, unsigned int threads, struct oci_compress **ret,
			  struct err *err) __attribute__((warn_unused_result));
