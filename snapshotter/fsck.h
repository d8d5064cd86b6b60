/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "snapshotter/store.h"

/*
 * fsck - re-verifies the store: the database, every blob and every layer's tar
 * against its digest, every index against one made anew, every row against
 * its folder. Nothing is believed because it was right once.
 */
enum snap_fsck_severity {
	SNAP_FSCK_LEFTOVER, /* harmless: 'snap gc' takes it */
	SNAP_FSCK_REPAIRED,
	SNAP_FSCK_BROKEN,
};
struct snap_fsck_finding {
	enum snap_fsck_severity severity;
	const char *kind; /* "database", "blob", "layer", "chain", "manifest", "snapshot" */
	const char *name; /* digest or key */
	const char *what; /* is wrong, and what was done or is to be done */
};
typedef int (*snap_fsck_fn)(void *ctx, const struct snap_fsck_finding *f, struct err *err);

struct snap_fsck_result {
	uint64_t checked, broken, repaired, leftover; /* things, findings */
};
enum snap_fsck_flags { SNAP_FSCK_REPAIR = 1 << 0 };

/*
 * @names: KEYs, REFs or digests (blob, layer or manifest) that are looked at; none: all. Success
 * means that it could look; what it found is in @ret. -ENOENT: a name that is none.
 */
int snap_fsck(struct snap_store *store, char *const *names, size_t n_names, unsigned int flags,
	      snap_fsck_fn fn, void *ctx, struct snap_fsck_result *ret, struct err *err)
	__attribute__((warn_unused_result));
