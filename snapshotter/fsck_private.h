/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "snapshotter/fsck.h"
#include "snapshotter/import.h"
#include "snapshotter/snapshot_private.h"

/* A list of names read from the database at once, so that no statement is open during long work. */
struct fsck_names {
	char **names;
	size_t n;
};
void fsck_names_release(struct fsck_names *l);

struct fsck {
	struct snap_store *store;
	bool repair;
	snap_fsck_fn fn;
	void *ctx;
	struct snap_fsck_result result;
};

/* Tells the caller; counts. 0, or what the caller's function said. */
int fsck_report(struct fsck *f, enum snap_fsck_severity severity, const char *kind,
		const char *name, struct err *err, const char *fmt, ...)
	__attribute__((format(printf, 6, 7), warn_unused_result));

int fsck_blob(struct fsck *f, const char *digest, struct err *err)
	__attribute__((warn_unused_result));
/* fsck_lazy.c: 1: the layer is lazy, and was looked at; 0: it is not. */
int fsck_lazy(struct fsck *f, const char *id, struct err *err) __attribute__((warn_unused_result));
int fsck_layer(struct fsck *f, const char *id, struct err *err) __attribute__((warn_unused_result));
int fsck_chain(struct fsck *f, const char *id, struct err *err) __attribute__((warn_unused_result));
int fsck_manifest(struct fsck *f, const char *digest, struct err *err)
	__attribute__((warn_unused_result));
int fsck_snapshot(struct fsck *f, const char *key, struct err *err)
	__attribute__((warn_unused_result));
/* First column of every row as a name. */
int fsck_select(struct fsck *f, const char *sql, const char *arg, struct fsck_names *ret,
		struct err *err) __attribute__((warn_unused_result));
