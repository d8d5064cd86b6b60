/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "snapshotter/store.h"

/*
 * userns - the user and mount namespaces in which an ordinary user's containers
 * live: the user is root there, and the ranges that /etc/subuid and /etc/subgid
 * give are the ids from 1 on (newuidmap(1)). Without ranges there is the one id.
 * What is mounted there is seen there alone and goes with the last process.
 *
 * To be called before the store is opened and by a process of one thread.
 */

/*
 * Root (of any namespace) gets a mount namespace of its own only. -EPERM, -ENOSPC, -EINVAL: this
 * machine gives no namespaces; 'snap doctor' says more.
 */
int snap_userns_enter(struct err *err) __attribute__((warn_unused_result));
/* Did this process enter by itself? Then mounts that it finds are of the namespace outside. */
bool snap_userns_entered(void);
/* Is this process in a user namespace other than the first? */
bool snap_userns_inside(void);
/* How many ids from 0 on exist here without a gap. @map: "uid_map" or "gid_map". */
uint64_t snap_userns_ids(const char *map);
/* Is the id known here? */
bool snap_userns_has(const char *map, uint32_t id);
/* Can supplementary groups be set? */
bool snap_userns_setgroups(void);

/*
 * Changes to the namespaces that snapshot @key needs: those of the container that runs in it, or,
 * for an ordinary user, new ones when it was written to in such. 1: changed, the store has to be
 * opened anew; 0: nothing to do, or no such snapshot. Closes *@store before it changes them.
 */
int snap_userns_follow(struct snap_store **store, const char *key, struct err *err)
	__attribute__((warn_unused_result));

struct ovl_idmap;
/*
 * How ids of such a namespace are called in this one, for the calling user: 0 is the user, then the
 * ranges. Adds to the maps. -ENOENT: there are no ranges; then 0 alone.
 */
int userns_host_ids(struct ovl_idmap *uids, struct ovl_idmap *gids, struct err *err)
	__attribute__((warn_unused_result));

/* One line of subuid(5). */
struct userns_range {
	uint64_t start, count;
};
#define USERNS_RANGES_MAX 300 /* the kernel takes 340 lines */
/*
 * The ranges of @user, by name or number, in @text. Lines that are none are passed over. Returns
 * how many.
 */
size_t userns_ranges_parse(const char *text, const char *user, uid_t uid,
			   struct userns_range ret[USERNS_RANGES_MAX]);
