/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/err.h"
#include "oci/layer_in.h"
#include "oci/tar_member.h"

/*
 * tar_check - the strict reader of a tar, pushed to: POSIX ustar and pax (POSIX
 * 1003.1, pax), GNU long names, base-256 numbers and sparse members (GNU tar
 * manual, "Tar Internals"), as docs/SEMANTICS.md, "layers", has it. It is there
 * for the rules that libarchive does not tell about, and is the second opinion
 * on every member (oci/tar_in.h, its only user).
 *
 *	oci_tar_check_new(member, ctx, limits, &t);
 *	while (more) oci_tar_check_push(t, buf, len, err);
 *	oci_tar_check_finish(t, err);
 *
 * Data is skipped: it is told where in the tar it lies.
 */
/* @m and all it points to: for the time of the call. */
typedef int oci_tar_member_fn(void *ctx, const struct oci_tar_member *m, struct err *err);

struct oci_tar_check;
/* @limits (filled) is borrowed until free. -ENOMEM. */
int oci_tar_check_new(oci_tar_member_fn *member, void *ctx, const struct oci_limits *limits,
		      struct oci_tar_check **ret) __attribute__((warn_unused_result));
void oci_tar_check_free(struct oci_tar_check *t);
/* -EBADMSG: a rule is broken; -E2BIG: a budget is used up; else what @member returned. */
int oci_tar_check_push(struct oci_tar_check *t, const void *data, size_t len, struct err *err)
	__attribute__((warn_unused_result));
int oci_tar_check_finish(struct oci_tar_check *t, struct err *err)
	__attribute__((warn_unused_result));
