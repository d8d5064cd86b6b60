/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "snapshotter/store.h"

/*
 * snapshot - containerd's snapshots: a tree of committed ones, on whose leaves
 * active (writable) and view (read-only) ones stand. Here an image may stand
 * in the place of a parent as well. Every call is one change or none.
 *
 * Keys and names share one name space; they are bytes without NUL, not empty.
 */
enum snap_kind { SNAP_VIEW = 1, SNAP_ACTIVE = 2, SNAP_COMMITTED = 3 };
const char *snap_kind_name(enum snap_kind kind); /* "view", "active", "committed" */

#define SNAP_LABEL_MAX	      4096 /* bytes of a label's key and value together */
#define SNAP_LABEL_CREATED_BY "snap.created-by" /* the instruction; for images made of it */
struct snap_label {
	char *key, *value;
};

struct snap_info {
	int64_t id; /* of the folder snapshots/<id> */
	char *key;
	char *parent; /* NULL: none; a committed snapshot's name, or an image's REF as it was
			 resolved */
	enum snap_kind kind;
	bool parent_is_image;
	int64_t created, updated; /* ns since 1970 */
	struct snap_label *labels; /* sorted by key */
	size_t n_labels;
};
void snap_info_release(struct snap_info *info);
#define cleanup_snap_info __attribute__((cleanup(snap_info_release)))

struct snap_usage {
	uint64_t size; /* bytes on disk */
	uint64_t inodes;
};

/* What mount(8) or containerd needs: mount -t TYPE SOURCE TARGET -o OPTIONS. */
struct snap_mount {
	const char *type; /* static */
	char *source;
	char *options;
};
void snap_mount_release(struct snap_mount *m);
#define cleanup_snap_mount __attribute__((cleanup(snap_mount_release)))

/*
 * A new snapshot of @kind (SNAP_ACTIVE or SNAP_VIEW) on @parent (NULL or empty: on nothing): a
 * committed snapshot's name or an image's REF. -EEXIST: the key is taken; -ENOENT: no such parent;
 * -EINVAL: the parent is not committed; -EAGAIN: the parent was replaced while it was at work.
 */
int snap_prepare(struct snap_store *store, enum snap_kind kind, const char *key, const char *parent,
		 const struct snap_label *labels, size_t n_labels, struct err *err)
	__attribute__((warn_unused_result));
/* -ENOENT; -EBUSY for a committed one. */
int snap_mounts(struct snap_store *store, const char *key, struct snap_mount *ret, struct err *err)
	__attribute__((warn_unused_result));

enum snap_commit_flags {
	SNAP_COMMIT_SYNC = 1 << 0, /* what the container wrote is on disk before it has a name */
	SNAP_COMMIT_KEEP_WORK = 1 << 1, /* the work directory stays: somebody may have it mounted */
};
/*
 * The active snapshot @key becomes the committed @name with exactly these labels. May still be
 * mounted. @parent (NULL or empty: the one it has) is what it stands on from then on, if it was
 * prepared on nothing: layers that were unpacked side by side are put together so (containerd's
 * "rebase"). -EEXIST: @name is taken; -ENOENT; -EBUSY: @key is not active; -EINVAL: it has another
 * parent, or @parent is not committed.
 */
int snap_commit(struct snap_store *store, const char *name, const char *key, const char *parent,
		const struct snap_label *labels, size_t n_labels, unsigned int flags,
		struct err *err) __attribute__((warn_unused_result));
enum snap_remove_flags {
	SNAP_REMOVE_MOUNTED = 1 << 0, /* also when it is mounted */
	SNAP_REMOVE_KEEP_FOLDER = 1 << 1, /* its content stays behind without a name: for gc */
};
/* -ENOENT; -EBUSY: it has children, or is mounted by snap. */
int snap_remove(struct snap_store *store, const char *key, unsigned int flags, struct err *err)
	__attribute__((warn_unused_result));

int snap_stat(struct snap_store *store, const char *key, struct snap_info *ret, struct err *err)
	__attribute__((warn_unused_result));
struct snap_filter; /* snapshotter/filter.h */
typedef int (*snap_info_fn)(void *ctx, const struct snap_info *info, struct err *err);
/*
 * Those that match (NULL: all), in the order of their keys; with an owner of the store's handle,
 * only that one's. No lock is held: @fn may call anything. Stops at non-zero.
 */
int snap_walk(struct snap_store *store, const struct snap_filter *filter, snap_info_fn fn,
	      void *ctx, struct err *err) __attribute__((warn_unused_result));

enum snap_label_flags { SNAP_LABELS_REPLACE = 1 << 0 }; /* those not given go */
/* A label with an empty value is removed. */
int snap_set_labels(struct snap_store *store, const char *key, const struct snap_label *labels,
		    size_t n_labels, unsigned int flags, struct err *err)
	__attribute__((warn_unused_result));
/*
 * Labels by a field mask, as containerd has it: "labels" (or no path at all) replaces all of them,
 * "labels.KEY" sets that one to what is given for it or removes it. -EINVAL: any other path.
 */
int snap_update(struct snap_store *store, const char *key, const struct snap_label *labels,
		size_t n_labels, const char *const *paths, size_t n_paths, struct err *err)
	__attribute__((warn_unused_result));
/* Own bytes, without parents: active live, committed as at its commit, view nothing. */
int snap_usage(struct snap_store *store, const char *key, struct snap_usage *ret, struct err *err)
	__attribute__((warn_unused_result));
