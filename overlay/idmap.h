/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * idmap - owners that are stored as one number and shown as another, as
 * fuse-overlayfs has it: `uidmapping=STORED:SHOWN:COUNT[:STORED:SHOWN:COUNT...]`
 * for every layer, the upper included.
 *
 *	struct ovl_idmap m = OVL_IDMAP_INIT;
 *	r = ovl_idmap_parse(&m, ":0:100000:65536");
 *	st.st_uid = ovl_idmap_show(&m, st.st_uid);
 *	r = ovl_idmap_store(&m, asked, &stored);
 *	ovl_idmap_release(&m);
 *
 * Without ranges every number is its own. No locks: it does not change while it is used.
 */
struct ovl_id_range {
	uint32_t stored, shown, count;
};

struct ovl_idmap {
	struct ovl_id_range *ranges; /* owned */
	size_t n;
	bool squash; /* all are shown as @squash_to */
	uint32_t squash_to;
};
#define OVL_IDMAP_INIT                                                                             \
	{                                                                                          \
		.ranges = NULL                                                                     \
	}
#define OVL_ID_OVERFLOW UINT32_C(65534) /* shown for what no range has */

/*
 * Adds the ranges of @text: triples of decimal numbers between colons, empty fields between them
 * are skipped. -EINVAL for anything else, for a count of 0, for ranges that overlap on either side
 * or leave 32 bits; -ENOMEM. The map is as it was on failure.
 */
int ovl_idmap_parse(struct ovl_idmap *m, const char *text) __attribute__((warn_unused_result));
void ovl_idmap_release(struct ovl_idmap *m);
int ovl_idmap_copy(const struct ovl_idmap *from, struct ovl_idmap *to)
	__attribute__((warn_unused_result));

/* What a stored number is seen as. */
uint32_t ovl_idmap_show(const struct ovl_idmap *m, uint32_t stored);
/* What @shown is kept as. -EINVAL when no range has it. Squashing is for what is seen only. */
int ovl_idmap_store(const struct ovl_idmap *m, uint32_t shown, uint32_t *ret)
	__attribute__((warn_unused_result));

/*
 * The ids in a POSIX ACL (linux/posix_acl_xattr.h), in place: to be shown, or to be stored
 * (-EINVAL as above). What is no ACL is left alone, for the file system to refuse.
 */
int ovl_idmap_acl(const struct ovl_idmap *uids, const struct ovl_idmap *gids, void *acl, size_t len,
		  bool store) __attribute__((warn_unused_result));
