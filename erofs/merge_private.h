/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdlib.h>
#include <sys/stat.h>

#include "erofs/image_private.h"
#include "erofs/merge.h"
#include "erofs/tree_private.h"

/* merge_private - what merge.c (applies a layer) and its helpers share. */

/* nid -> inode of the result, for inodes with several names. Open addressing. */
struct nid_map {
	struct nid_slot {
		uint64_t nid;
		struct erofs_inode *inode; /* NULL: free */
	} * slots;
	size_t n, mask;
};
struct erofs_inode *nid_map_find(const struct nid_map *m, uint64_t nid);
int nid_map_put(struct nid_map *m, uint64_t nid, struct erofs_inode *inode)
	__attribute__((warn_unused_result));

/*
 * Walks @path from @start in the merged tree as a process with root @root would: symlinks on the
 * way followed, ".." clamped at the root, the last component followed when @follow_last. @create:
 * missing directories come into being, 0755 root:root, mtime 0, ->scratch = @gen.
 * -ENOENT, -ENOTDIR, -ELOOP (over 40 symlinks), -ENAMETOOLONG, -ENOMEM.
 */
struct merge_path {
	struct erofs_tree *tree;
	struct erofs_inode *start;
	bool follow_last, create;
	uint64_t gen;
};
int merge_resolve(const struct merge_path *p, const char *path, struct erofs_inode **ret)
	__attribute__((warn_unused_result));

/* The union of the devices of the images, and for each image its numbers there. */
struct device_union {
	struct erofs_device *devices;
	size_t n;
	uint16_t **maps; /* maps[image][device - 1] */
	size_t n_maps;
};
int device_union_make(struct erofs_image *const *images, size_t n_images, struct device_union *ret,
		      struct err *err) __attribute__((warn_unused_result));
void device_union_release(struct device_union *u);

/* A directory of the layer whose entries are still to be merged. */
struct work {
	uint64_t nid;
	const char *name; /* in the image's mapping, not NUL-terminated */
	size_t len;
	size_t parent; /* index of its work; the root's is its own */
	struct erofs_inode *dst; /* NULL: implied, and nothing made it necessary yet */
};

/* An entry whose merging waits for step 3 or 4. */
struct later {
	uint64_t nid;
	const char *name;
	size_t len, parent;
};

struct laters {
	struct later *v;
	size_t n, cap;
};

/* A merge in progress. */
struct merge {
	struct erofs_tree *tree;
	struct device_union devices;
	struct err *err;
	size_t n_layers;
	/* of the layer in work: */
	const struct erofs_image *img;
	size_t layer; /* from 0 */
	uint64_t gen;
	bool late; /* steps 3 and 4: marks must spare what this layer made */
	struct work *works;
	size_t n_works, cap_works;
	unsigned char *visited; /* a bit for each nid that is a directory */
	struct nid_map inodes; /* those with several names */
	struct laters below_links, links;
};

/* Reports @code for an entry of directory @parent; @why is NULL for what the errno says. Returns
 * @code. */
int merge_refuse(const struct merge *m, int code, size_t parent, const char *name, size_t len,
		 const char *why);
int merge_push_work(struct merge *m, struct work w) __attribute__((warn_unused_result));
/* Steps 2 and 3: merges directories @from on, and those that come to the list meanwhile. */
int merge_run(struct merge *m, size_t from) __attribute__((warn_unused_result));
/* Makes the directory of @index, and those above it, when nobody did yet. */
int merge_materialize(struct merge *m, size_t index, struct erofs_inode **ret)
	__attribute__((warn_unused_result));
/* Takes the lower layers' entries out of @top, and out of those below it that this layer is in. */
int merge_hide_lower(struct merge *m, struct erofs_inode *top) __attribute__((warn_unused_result));
/* A name for @inode of a lower layer, with the metadata of the entry. */
int merge_link_inode(struct merge *m, size_t parent, const char *name, size_t len,
		     const struct erofs_stat *st, struct erofs_inode *inode)
	__attribute__((warn_unused_result));

/* Steps 1, 3 and 4 (merge_link.c). */
int merge_scan_links(struct merge *m) __attribute__((warn_unused_result));
int merge_below_links(struct merge *m) __attribute__((warn_unused_result));
int merge_links(struct merge *m) __attribute__((warn_unused_result));

/* A list of directories still to be looked at. */
struct nid_list {
	uint64_t *v; /* owned */
	size_t n, cap;
};
int nid_list_push(struct nid_list *l, uint64_t nid) __attribute__((warn_unused_result));
/* 1 when the implied directory has an entry that is no whiteout, 0, or -errno. */
int merge_has_real_entry(const struct merge *m, uint64_t nid) __attribute__((warn_unused_result));

/* A directory has one name: a second one, or a loop, comes from a damaged image. */
static inline bool first_visit(unsigned char *visited, uint64_t nid)
{
	unsigned char bit = (unsigned char)(1u << (nid & 7));
	bool first = !(visited[nid >> 3] & bit);

	visited[nid >> 3] |= bit;
	return first;
}
/* Zeroed, for every nid of the image; NULL when out of memory. */
static inline unsigned char *visited_new(const struct erofs_image *img)
{
	return calloc(img->size / EROFS_SLOT_SIZE / 8 + 1, 1);
}
static inline bool stat_is_whiteout(const struct erofs_stat *st)
{
	return S_ISCHR(st->mode) && st->rdev_major == 0 && st->rdev_minor == 0;
}
