/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "overlay/fs.h"

/*
 * push - a stack that is mounted gets a layer: [U | L1..Ln] becomes [U2 | U | L1..Ln]. What the
 * kernel knows goes on: nodes, their numbers, open files, current folders. From then on nothing of
 * U changes; a kill at any instant leaves U with the work directory it had, and U2 above U with its
 * own, both to be mounted.
 *
 *	ovl_session_io_stop(&fs->io);
 *	r = ovl_push_layer(fs, "/a/upper2", "/a/work2", &err);
 *	ovl_session_io_go(&fs->io);
 *
 * Orders come through the work directory, which nobody sees who sees the mount: a path in an ioctl
 * would be for whoever is root in there.
 */

/*
 * @upper and @work: empty directories on the file system of the upper that there is. On failure the
 * mount is as it was and @work is empty. No request may be under way. -EBUSY: the kernel has files
 * of the upper open itself (passthrough); -EOVERFLOW: no more inode numbers are ours.
 */
int ovl_push_layer(struct ovl_fs *fs, const char *upper, const char *work,
		   struct err *err) OVL_MUST;

/* push_links.c: sees to it that the upper has every name of what is in it, and empties work/links.
 */
int ovl_push_links(struct ovl_fs *fs) OVL_MUST;

/* In the work directory of an upper that was pushed: the inodes of the frozen lowers, from the top.
 */
#define OVL_FROZEN_FILE "frozen"
/* How many of @c's lowers are frozen, by what its work directory says. */
size_t ovl_push_count(const struct ovl_config *c);

/* push_order.c: an order is waiting in the work directory: does it. -ENOTTY: there is none. */
bool ovl_order_is(unsigned int cmd); /* of an ioctl */
int ovl_order_obey(struct ovl_fs *fs) OVL_MUST;
/* What a mount before us left of orders. */
void ovl_order_sweep(int work_base_fd);
