/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <sys/stat.h>

#include "overlay/overlay.h"

/*
 * changes - what an upper directory changes in its lower stack: the contents
 * of a new layer. Costs what changed, not what the image holds: walks the
 * upper, looks names up below. A renamed directory (redirect) is the one
 * exception: what moved with it is walked too.
 */
enum ovl_change_kind {
	OVL_ADDED, /* nothing was there */
	OVL_CHANGED, /* something was there; it is now as described (type changes included) */
	OVL_DELETED, /* a whiteout; only ->path is set. Never for a name nothing below has */
	OVL_OPAQUE, /* behind the directory's own event: hide all that lower layers have in it */
};

struct ovl_change_xattr {
	const char *name;
	const void *value;
	size_t len;
};

struct ovl_change {
	enum ovl_change_kind kind;
	const char *path; /* bytes, relative to the root, no leading '/'; "" = the root itself */
	struct stat st; /* st_ino: the number a container sees; st_nlink likewise */
	const char *target; /* symlinks */
	const char *hardlink; /* path of the event before that is the same inode, or NULL */
	const struct ovl_change_xattr *xattrs; /* sorted by name, private ones left out */
	size_t n_xattrs;
	/*
	 * regular files without ->hardlink: content at [data_off, data_off + st.st_size), borrowed;
	 * -1: nothing but zeros. Others: -1.
	 */
	int data_fd;
	off_t data_off;
};

typedef int (*ovl_change_fn)(void *ctx, const struct ovl_change *change, struct err *err);

struct ovl_changes_options {
	bool expand_opaque; /* instead of OVL_OPAQUE: one OVL_DELETED for each lower name hidden */
};

/*
 * Parents before children, names in byte order, deletions of a directory before its additions.
 * Reads while the overlay may be mounted. @c: lowers and upper are used. Stops at the first
 * non-zero return of @fn and returns it.
 */
int ovl_changes_walk(const struct ovl_config *c, const struct ovl_changes_options *opt,
		     ovl_change_fn fn, void *ctx, struct err *err)
	__attribute__((warn_unused_result));
