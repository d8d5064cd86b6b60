/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "overlay/fs.h"

/*
 * pin - how an object of the upper is found that has no known name any more and is still in use:
 * by an fd, and when there are many of these, by a name in work/work, where it is swept should we
 * be killed. So fds are bounded, however many files are open and removed.
 *
 *	pin = ovl_pin_locked(fs, n, dirfd, name);     before the name goes
 *	... unlink ...
 *	n->pin = steal_fd(&pin);                      or: ovl_pin_drop(fs, n, pin)
 *
 * A pin is what ovl_node->pin has. All with fs->tree held for writing, or for a node that nobody
 * else knows; a node has one pin at a time.
 */
#define OVL_PIN_NONE   (-1)
#define OVL_PIN_PARKED (-2) /* at ovl_pin_name() in work/work */
#define OVL_PIN_NAME   24

void ovl_pin_name(const struct ovl_node *n, char buf[OVL_PIN_NAME]);
/* For the object of @n (may be NULL) at (@fd, @name), which is about to go; or OVL_PIN_NONE. */
int ovl_pin_locked(struct ovl_fs *fs, struct ovl_node *n, int fd, const char *name) OVL_MUST;
/* For what is open as @fd and has no name. -errno. */
int ovl_pin_file(struct ovl_fs *fs, struct ovl_node *n, int fd, int *ret) OVL_MUST;
/* What was built as @temp in work/work is @n's from now, under no name, or fails with -errno. */
int ovl_pin_temp_locked(struct ovl_fs *fs, struct ovl_node *n, const char *temp) OVL_MUST;
/* Of @n, which has one. */
int ovl_pin_stat(struct ovl_fs *fs, const struct ovl_node *n, struct stat *ret) OVL_MUST;
void ovl_pin_drop(struct ovl_fs *fs, const struct ovl_node *n, int pin);
