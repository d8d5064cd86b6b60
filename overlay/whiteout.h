/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/*
 * whiteout - the marks of a union on disk and in layers. The kernel's
 * (Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories")
 * are the only ones written; the layer form (image specification, layer.md,
 * "Whiteouts") is read and written in tars, and read in directories.
 */
#define OVL_WH_PREFIX	  ".wh."
#define OVL_WH_PREFIX_LEN 4
#define OVL_WH_OPAQUE	  ".wh..wh..opq"

/* Marks kept in xattrs: "trusted.overlay." for root, "user.overlay." for everybody else. */
#define OVL_XATTR_TRUSTED "trusted.overlay."
#define OVL_XATTR_USER	  "user.overlay."

static inline bool ovl_stat_is_whiteout(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

enum ovl_wh_kind {
	OVL_WH_NONE, /* an ordinary name */
	OVL_WH_FILE, /* hides the name behind the prefix */
	OVL_WH_OPQ, /* makes its directory opaque */
	OVL_WH_META, /* AUFS bookkeeping (".wh..wh.*"): to be ignored */
	OVL_WH_BAD, /* ".wh.", ".wh..", ".wh...": names nothing */
};
/* What the layer form makes of a name. @ret_name: for OVL_WH_FILE, the name it hides (borrowed). */
enum ovl_wh_kind ovl_wh_classify(const char *name, size_t len, const char **ret_name,
				 size_t *ret_len);

/* An xattr by which a union, a container tool or XFS keeps its own books: never part of an image.
 */
bool ovl_xattr_is_private(const char *name);
