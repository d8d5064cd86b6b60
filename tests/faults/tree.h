/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>

/*
 * tree - a directory tree as text, one line an object, in the order of paths: type, mode, owner,
 * size, content, target, xattrs, which names are one file, and times that are older than the test.
 * Times of directories are left out.
 */
enum tree_flags {
	TREE_NUMBERS = 1 << 0, /* inode numbers below 2^32 and link counts, too */
	TREE_PLAIN_NUMBERS = 1 << 1, /* ... of regular files and directories only */
};
/* malloc; NULL and a message on stderr when something cannot be read. */
char *tree_describe(const char *root, unsigned int flags);
/* Says on stderr in which lines two descriptions differ. */
void tree_diff(const char *got, const char *wanted);
