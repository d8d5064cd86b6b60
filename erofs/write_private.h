/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "erofs/format.h"
#include "erofs/tree_private.h"
#include "erofs/write.h"

/*
 * write_private - what write.c (the plan and the image) and write_xattr.c
 * (sharing and coding of xattrs) share.
 */

/* One (name, value) of the image, however many inodes have it. */
struct xvalue {
	const struct erofs_xattr *x;
	const char *suffix;
	uint64_t hash;
	uint32_t count;
	uint32_t size; /* coded, padded to 4 */
	uint32_t id; /* in the shared area, in 4 bytes */
	uint8_t index, suffix_len;
	bool shared;
};

struct xplan {
	struct erofs_tree *tree;
	struct xvalue *values; /* in order of appearance */
	size_t n_values, cap_values;
	uint32_t *table; /* open addressing, index + 1 */
	size_t mask;
	uint32_t *refs; /* per inode a run of indices into values, sorted by name */
	size_t n_refs, cap_refs;
	uint64_t shared_size; /* bytes of the shared area */
};

/* Adds the xattrs and marks of @inode: its run is refs[*ret_start .. + *ret_n). */
int xplan_add(struct xplan *p, const struct erofs_inode *inode, size_t *ret_start, uint32_t *ret_n,
	      struct err *err) __attribute__((warn_unused_result));
/* After the last add: decides what is shared. */
int xplan_finish(struct xplan *p, struct err *err) __attribute__((warn_unused_result));
/* Bytes of an inode's xattr body: 0 without xattrs. May be over EROFS_XATTR_BODY_MAX. */
uint64_t xplan_body_size(const struct xplan *p, size_t start, uint32_t n);
void xplan_release(struct xplan *p);

/* Sequential buffered output; errors stick. */
struct out {
	int fd;
	int error;
	uint64_t pos;
	size_t len;
	char *buf;
};
void out_write(struct out *o, const void *data, size_t len);
/* Zeros up to @pos. */
void out_pad(struct out *o, uint64_t pos);

void xplan_write_body(const struct xplan *p, size_t start, uint32_t n, struct out *o);
void xplan_write_shared(const struct xplan *p, struct out *o);
