/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "overlay/overlay.h"
#include "snapshotter/snapshot.h"
#include "snapshotter/store_private.h"

/* A snapshot's row. */
struct snap_row {
	int64_t id, parent; /* parent: 0 for none */
	enum snap_kind kind;
	int64_t batch;
	struct snap_usage usage; /* of committed ones */
	char chain[65]; /* the image's chain below the lowest ancestor; empty: none */
	char manifest[DIGEST_TEXT_MAX + 1]; /* the image's; empty: none */
};
/* -ENOENT with a message that names the key. */
int snap_row_find(struct snap_store *store, const char *key, struct snap_row *ret, struct err *err)
	__attribute__((warn_unused_result));
int snap_row_get(struct snap_store *store, int64_t id, struct snap_row *ret, struct err *err)
	__attribute__((warn_unused_result));

/*
 * What lies below a snapshot: committed directories, uppermost first, and the chain at the bottom.
 * For row->parent == 0 and no chain: the store's empty directory. Returned paths are absolute.
 */
struct snap_stack {
	int64_t *dirs; /* snapshot ids, uppermost first */
	size_t n_dirs;
	char chain[65];
	char manifest[DIGEST_TEXT_MAX + 1];
};
int snap_stack_load(struct snap_store *store, const struct snap_row *row, struct snap_stack *ret,
		    struct err *err) __attribute__((warn_unused_result));
void snap_stack_release(struct snap_stack *s);
#define cleanup_snap_stack __attribute__((cleanup(snap_stack_release)))
/*
 * The engine's configuration for the directories @first.. of the stack as lowers, and the upper of
 * @upper_id (0: none). Release with ovl_config_release().
 */
int snap_stack_config(struct snap_store *store, const struct snap_stack *s, size_t first,
		      int64_t upper_id, struct ovl_config *ret, struct err *err)
	__attribute__((warn_unused_result));

/* -EINVAL for what no label may be. */
int snap_labels_check(const struct snap_label *labels, size_t n, struct err *err)
	__attribute__((warn_unused_result));
/* Inside a transaction: adds them, or removes those with an empty value; removes all. */
int snap_labels_write(struct snap_store *store, int64_t id, const struct snap_label *labels,
		      size_t n, struct err *err) __attribute__((warn_unused_result));
/* The value of a label, to be freed; NULL: there is none. */
int snap_label_get(struct snap_store *store, int64_t id, const char *key, char **ret,
		   struct err *err) __attribute__((warn_unused_result));
int snap_labels_clear(struct snap_store *store, int64_t id, struct err *err)
	__attribute__((warn_unused_result));

/* -EINVAL for what no key may be. */
int snap_key_check(const char *key, const char *what, struct err *err)
	__attribute__((warn_unused_result));

/*
 * Gives the directory @fd the metadata that the stack shows at @path ("" = the root). -ENOENT: no
 * layer has it under this name (a redirect leads elsewhere).
 */
int snap_dir_attributes(struct snap_store *store, const struct snap_stack *s, const char *path,
			int fd, struct err *err) __attribute__((warn_unused_result));

/*
 * links.c: every name of a file that the container changed through another name of it becomes a
 * name in the upper. To be called before an upper becomes a lower layer.
 */
int snap_keep_links(struct snap_store *store, const struct snap_row *row, struct err *err)
	__attribute__((warn_unused_result));

/* Bytes on disk and inodes of the tree at @path below @dirfd, each inode once. */
int usage_of_tree(int dirfd, const char *path, struct snap_usage *ret, struct err *err)
	__attribute__((warn_unused_result));

/* Is the snapshot mounted, by either engine? @ret_target (NULL: not asked) is owned by the caller.
 */
int snap_mounted_at(struct snap_store *store, int64_t id, char **ret_target, struct err *err)
	__attribute__((warn_unused_result));
/* "snap:<store>:<id>": what the mount table shows as source. */
int snap_mount_source(struct snap_store *store, int64_t id, char **ret)
	__attribute__((warn_unused_result));
