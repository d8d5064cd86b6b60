/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "erofs/tree.h"
#include "oci/layer_in.h"

/*
 * path - where in a layer's tree an entry's path leads. A path is taken by its
 * words first ("a//b/./../c" is a/c, and nothing leads out of the root); then
 * its directories are walked in the tree, symlinks followed as after chroot(2),
 * absolute ones from the root. The last word is not followed.
 *
 * What the tree does not have is no error: a lower layer may have it. So a
 * place is a list of words, of which the first ones have an inode here.
 */
#define OCI_PATH_MAX	4095
#define OCI_NAME_MAX	255
#define OCI_SYMLINK_MAX 40

struct oci_word {
	const char *name;
	size_t len;
	struct erofs_inode *inode; /* NULL: not in this tree */
};

struct oci_place {
	struct oci_word *words; /* from below the root to the place itself; none: the root */
	size_t n, cap;
	char **texts; /* what the words are parts of */
	size_t n_texts, cap_texts;
};
#define OCI_PLACE_INIT                                                                             \
	{                                                                                          \
		.n = 0                                                                             \
	}
void oci_place_release(struct oci_place *p);
#define cleanup_oci_place __attribute__((cleanup(oci_place_release)))

/*
 * Only the words of @path, without looking at a tree. -EBADMSG: empty, or too long, or a name too
 * long. The words point into @path.
 */
int oci_path_words(const char *path, const struct oci_limits *limits, struct oci_place *ret,
		   struct err *err) __attribute__((warn_unused_result));

/*
 * The place of @path in @tree. -EBADMSG as above, or: a symlink loop, a parent that is no
 * directory. A whiteout (char 0:0) on the way counts as a directory that is not there yet.
 */
int oci_path_resolve(struct erofs_tree *tree, const char *path, const struct oci_limits *limits,
		     struct oci_place *ret, struct err *err) __attribute__((warn_unused_result));

/* "a/b/c" of the place, returned owned; NULL when out of memory. */
char *oci_place_text(const struct oci_place *p);
