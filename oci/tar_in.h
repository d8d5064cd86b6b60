/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/err.h"
#include "oci/layer_in.h"
#include "oci/tar_member.h"

/*
 * tar_in - reads a tar: libarchive parses it, the strict reader (oci/tar_check.h)
 * sees the same bytes, and what both say of a member must be equal. A tar that
 * two readers take for different things is an attack on one of them, so it is
 * refused. The rules that libarchive is lenient about are the strict reader's.
 *
 * Nothing is extracted here, and libarchive gets bytes only: formats other than
 * tar, filters and its writing side are never asked for. The data of
 * members is not copied: the handler is told where in the tar it lies. That of
 * sparse members alone is handed out, piece by piece.
 */
struct oci_tar_io {
	/* The next bytes, valid until the next call; length 0 at the end. */
	int (*next)(void *ctx, const void **ret_data, size_t *ret_len, struct err *err);
	/* @m and all it points to: for the time of the call. */
	int (*member)(void *ctx, const struct oci_tar_member *m, struct err *err);
	/* a piece of the data of the sparse member told last; @pos is in the file */
	int (*sparse_data)(void *ctx, const void *data, size_t len, uint64_t pos, struct err *err);
	void *ctx;
};

/*
 * Reads to the end, what is behind the tar's end too. @limits are filled. -EBADMSG: a rule is
 * broken, or the readers differ; -E2BIG: a budget is used up; else what a function of @io returned.
 */
int oci_tar_in(const struct oci_tar_io *io, const struct oci_limits *limits, struct err *err)
	__attribute__((warn_unused_result));
