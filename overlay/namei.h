/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "overlay/node.h"

/*
 * namei - what a name is, on disk, through the whole stack: whiteouts, opaque
 * directories, redirects, numbers. Nothing is remembered.
 */

/* -ENOENT is no error here: ->found says it. -ENAMETOOLONG beyond 255 bytes. Any thread, no locks
 * held. */
int ovl_resolve(struct ovl_fs *fs, struct ovl_node *parent, const char *name,
		struct ovl_entry *ret) OVL_MUST;
/* 1 when a lower layer shows @name in @parent, were there no upper; else 0. */
int ovl_lower_has(struct ovl_fs *fs, struct ovl_node *parent, const char *name) OVL_MUST;

/* Whether upper entries of the upper directory @dir may have origins; reads the mark once. */
bool ovl_is_impure(struct ovl_fs *fs, struct ovl_node *dir);
/* Says on disk that they may. */
int ovl_mark_impure(struct ovl_fs *fs, struct ovl_node *dir) OVL_MUST;
/* The number that the upper object (fd, name) was given when it was copied up; -ENODATA. */
int ovl_origin_get(struct ovl_fs *fs, int fd, const char *name, uint64_t *ret) OVL_MUST;
int ovl_origin_set(struct ovl_fs *fs, int fd, const char *name, uint64_t number,
		   ino_t ino) OVL_MUST;
/* The number of an upper object by its stat, origin and place. @ret_origin: it has an origin. */
int ovl_upper_number(struct ovl_fs *fs, bool impure, int fd, const char *name, ino_t ino, dev_t dev,
		     uint64_t *ret, bool *ret_origin) OVL_MUST;
/*
 * The number of an object of layer @l by its stat and what the layer says of its origin (0:
 * nothing).
 */
int ovl_below_number(struct ovl_fs *fs, const struct ovl_layer *l, uint64_t ino, dev_t dev,
		     uint64_t origin, uint64_t *ret) OVL_MUST;
/* Names in the union of a copied-up hard link, whose inode has @real names. */
int ovl_nlink_get(struct ovl_fs *fs, int fd, const char *name, nlink_t real);
