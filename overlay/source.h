/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "overlay/lower.h"

/*
 * source - an object that is read as it is stored, wherever it is: in a real directory (the upper)
 * or in a lower layer. What copy-up and the walk over changes read from. Borrows all; any thread.
 */
struct ovl_source {
	int fd; /* with @name, as overlay/sys.h has it; not used with @lower */
	const char *name;
	struct ovl_obj *lower;
	struct ovl_obj
		*data; /* what has the contents instead (metacopy); NULL: the object itself */
};

/* @override: the xattr that may have owners and modes of a real one; NULL: none. */
int ovl_source_stat(const struct ovl_source *s, const char *override, struct stat *ret) OVL_MUST;
/*
 * The value of xattr @name, or the list of names when @name is NULL, in memory of its size (malloc)
 * with a NUL behind it. -ENODATA, -EOPNOTSUPP; -EAGAIN when it grows again and again.
 */
int ovl_source_xattr(const struct ovl_source *s, const char *name, char **ret,
		     size_t *ret_len) OVL_MUST;
