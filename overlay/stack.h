/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "overlay/lower.h"

/*
 * stack - the lower layers as one: what a name is in all of them together, along whiteouts, opaque
 * directories, redirects, and from a file without data (metacopy) down to where its data are.
 *
 *	r = ovl_stack_lookup(&stack, dir->objs, dir->n, "etc", NULL, OVL_WANT_ANY, &below);
 *	... below.found, below.st, below.set.objs[0] ...
 *	ovl_below_release(&below);
 *
 * Nothing is remembered, and layers do not change: any thread, no locks.
 */
struct ovl_stack {
	struct ovl_layer **layers; /* uppermost first; heights numbered from the bottom */
	size_t n;
	bool nofollow; /* what a layer says of another place is not believed: -EPERM */
};

/* Lower directories that are one directory in the union, uppermost first. */
struct ovl_dirset {
	struct ovl_obj **objs; /* owned, as are the references in it */
	size_t n;
};
void ovl_dirset_release(struct ovl_dirset *d);
#define cleanup_dirset __attribute__((cleanup(ovl_dirset_release)))

/* What a name is in lower layers. */
struct ovl_below {
	bool found; /* something is there */
	struct stat st; /* of the uppermost object; ->st_blocks of where the data are */
	uint64_t origin; /* of the same (overlay/lower.h) */
	/*
	 * A directory: all that is merged into it. Else the object, and behind it another one when
	 * that has the data. For OVL_WANT_DATA what has the data alone.
	 */
	struct ovl_dirset set;
};
#define OVL_BELOW_INIT                                                                             \
	{                                                                                          \
		.found = false                                                                     \
	}
void ovl_below_release(struct ovl_below *b);
#define cleanup_below __attribute__((cleanup(ovl_below_release)))
static inline bool ovl_below_is_dir(const struct ovl_below *b)
{
	return b->found && S_ISDIR(b->st.st_mode);
}

enum ovl_want {
	OVL_WANT_ANY, /* what is uppermost */
	OVL_WANT_DIR, /* there is a directory above: what can be merged with it */
	OVL_WANT_DATA, /* there is a file above that has no data of its own (metacopy): its data */
};

/*
 * Looks @name up in the @n directories @dirs of one union; with @redirect (what the object above
 * says: a name, or a path from the roots, "/a/b") that instead. Not found is 0 with ->found unset,
 * but for data that are missing: -EIO, as for a redirect that is no name. -EPERM with ->nofollow.
 */
int ovl_stack_lookup(const struct ovl_stack *s, struct ovl_obj *const *dirs, size_t n,
		     const char *name, const char *redirect, enum ovl_want want,
		     struct ovl_below *ret) OVL_MUST;
