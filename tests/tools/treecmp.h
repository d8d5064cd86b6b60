/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>

/*
 * treecmp - compares two trees in everything a container can see: names, type,
 * mode, owner, size, content, link target, hard-link sets, device numbers,
 * mtime, xattrs. Not compared, because they belong to a file system and not to
 * a tree: inode numbers, atime, ctime, blocks, size and link count of directories.
 *
 * Works on directory fds, one name at a time: paths of any length, no symlink
 * is ever followed. Uses two fds a level.
 */
enum treecmp_ignore {
	TREECMP_MTIME = 1 << 0,
	TREECMP_MODE = 1 << 1,
	TREECMP_OWNER = 1 << 2,
	TREECMP_NLINK = 1 << 3, /* the count; sets of names inside the tree are still compared */
	TREECMP_LINKS = 1 << 4, /* sets */
	TREECMP_XATTR = 1 << 5,
	TREECMP_CONTENT = 1 << 6,
	TREECMP_DIR_MTIME = 1 << 7,
	TREECMP_ROOT = 1 << 8, /* the root's own metadata */
};

struct treecmp_options {
	const char **no_xattr; /* prefixes of names to leave out */
	size_t n_no_xattr;
	unsigned int ignore; /* enum treecmp_ignore */
	unsigned long limit; /* differences to print; the rest is counted */
	const struct timespec *recent; /* two mtimes at or after this are equal; NULL: never */
	FILE *out;
};

struct treecmp_result {
	unsigned long entries, differences;
	unsigned long long bytes; /* of content compared */
};

/* 0 (look at ->differences), or -errno when a tree could not be read; what is said on ->out. */
int treecmp_run(int a, int b, const struct treecmp_options *opt, struct treecmp_result *ret)
	__attribute__((warn_unused_result));
/* A bit of enum treecmp_ignore, or 0 for an unknown word. */
unsigned int treecmp_ignore_parse(const char *word);
