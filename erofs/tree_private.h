/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "erofs/tree.h"

/*
 * tree_private - what tree.c, the writer and the merge share about a
 * directory's inside. Nobody else includes it.
 */
struct erofs_dirent {
	const char *name; /* NUL-terminated, in the tree's arena */
	struct erofs_inode *inode; /* NULL: the name was taken away */
	uint32_t hash;
	uint32_t len;
};

struct erofs_dir {
	struct erofs_tree *tree;
	struct erofs_inode *parent;
	struct erofs_dirent *ents; /* owned */
	uint32_t *table; /* open addressing, index + 1 into ents; NULL for small directories */
	uint32_t mask; /* of table */
	uint32_t used, cap; /* of ents, names taken away included */
	uint32_t live;
	bool sorted; /* ents[0..used) are in byte order */
	struct erofs_dir *all_next; /* every directory of the tree, to free them */
	struct erofs_dir *drop_next; /* list of drop_names() */
};

/* Memory that lives as long as the tree, 8-byte aligned; NULL when out of memory. */
void *erofs_tree_alloc(struct erofs_tree *t, size_t size);
/* Keyed by the tree. */
uint64_t erofs_tree_hash(const struct erofs_tree *t, const void *data, size_t len);
/* Entries in byte order without the dead ones: borrowed until the directory changes. */
const struct erofs_dirent *erofs_dir_entries(const struct erofs_inode *dir, size_t *ret_n);
/* Order of names: bytes, the shorter first. */
int erofs_name_cmp(const char *a, size_t alen, const char *b, size_t blen);
