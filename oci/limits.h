/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>

#include "oci/layer_in.h"

/* The most a layer's tar, or its side file, can have: 2^32 blocks of 512 bytes. */
#define OCI_TAR_SIZE_MAX (1ULL << 41)

/* @from (NULL: none) with the defaults put in. */
void oci_limits_fill(const struct oci_limits *from, struct oci_limits *ret);
/* Says which budget is used up, and by which flag it is raised. Returns -E2BIG. */
int oci_limit_hit(struct err *err, const char *name, uint64_t value) __attribute__((cold));
/* The budgets of a tar's size, and of it against its blob's; bytes. */
int oci_limits_check(const struct oci_limits *limits, uint64_t tar, uint64_t blob, struct err *err)
	__attribute__((warn_unused_result));
/* Is it the hint of one of these? */
bool oci_limit_is_hint(const char *text);
