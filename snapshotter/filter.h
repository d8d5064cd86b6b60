/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "snapshotter/snapshot.h"

/*
 * filter - which snapshots a list shows, in containerd's filter language:
 *
 *	filter   := selector (',' selector)*              all must hold; empty: everything
 *	selector := path [('==' | '!=' | '~=') value]     without an operator: the field is there
 *	path     := field ('.' field)*                    field: [A-Za-z0-9_]+ or quoted
 *	value    := quoted, or a word without ',' and white space
 *	quoted   := "Go string"; after ~= also /.../ and |...|
 *
 * Fields are name, parent, kind (view, active, committed) and labels.KEY, where KEY may be quoted
 * (labels."a.b/c"). Several filters: any of them. ~= is a regular expression that may match
 * anywhere; one that is none matches nothing. != holds for a field that is not there.
 *
 *	r = snap_filter_parse(texts, n, &f, &err);
 *	if (snap_filter_match(f, &info)) ...
 *	snap_filter_free(f);
 *
 * A filter is used by one thread at a time.
 */
struct snap_filter;

/* -EINVAL with the place of the mistake. @n may be 0: matches everything. */
int snap_filter_parse(const char *const *texts, size_t n, struct snap_filter **ret, struct err *err)
	__attribute__((warn_unused_result));
/* NULL matches everything. */
bool snap_filter_match(const struct snap_filter *f, const struct snap_info *info);
void snap_filter_free(struct snap_filter *f);
static inline void snap_filter_freep(struct snap_filter **f)
{
	snap_filter_free(*f);
}
#define cleanup_snap_filter __attribute__((cleanup(snap_filter_freep)))
