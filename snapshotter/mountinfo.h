/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stddef.h>

#include "base/err.h"

/*
 * mountinfo - this mount namespace's table, /proc/self/mountinfo (proc(5)).
 */
enum mountinfo_field { MOUNTINFO_SOURCE, MOUNTINFO_TARGET };

/*
 * Looks for the last mount whose @field is exactly @value. 1: found, 0: none. The outputs may be
 * NULL; both are to be freed.
 */
int mountinfo_find(enum mountinfo_field field, const char *value, char **ret_target,
		   char **ret_source, struct err *err) __attribute__((warn_unused_result));

/* Where our engines' mounts are, in the order of the table; free() each and the array. */
int mountinfo_ours(char ***ret, size_t *ret_n) __attribute__((warn_unused_result));
