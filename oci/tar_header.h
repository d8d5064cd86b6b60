/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * tar_header - the 512-byte header block: layout (POSIX 1003.1, pax, "ustar
 * Interchange Format"; GNU tar manual, "Basic Tar Format") and its numbers.
 */
#define TAR_BLOCK 512u

struct tar_header {
	char name[100];
	char mode[8];
	char uid[8];
	char gid[8];
	char size[12];
	char mtime[12];
	char checksum[8];
	char type;
	char linkname[100];
	char magic[8]; /* "ustar\0" "00", or GNU's "ustar  \0" */
	char uname[32];
	char gname[32];
	char devmajor[8];
	char devminor[8];
	union {
		char prefix[155]; /* ustar */
		struct {
			char atime[12], ctime[12], offset[12], longnames[4], unused[1];
			struct tar_gnu_sparse {
				char offset[12], len[12];
			} sparse[4];
			char is_extended;
			char realsize[12];
		} gnu;
	} u;
	char pad[12];
};
_Static_assert(sizeof(struct tar_header) == TAR_BLOCK, "a header is a block");

/* What follows an old GNU sparse header whose map is longer. */
struct tar_gnu_sparse_block {
	struct tar_gnu_sparse sparse[21];
	char is_extended;
	char pad[7];
};
_Static_assert(sizeof(struct tar_gnu_sparse_block) == TAR_BLOCK, "so is its extension");

/* Is the checksum right (sum of all bytes, its own field as spaces; historic signed sums too)? */
bool tar_checksum_holds(const struct tar_header *h);
bool tar_is_zero_block(const void *block);
bool tar_is_posix(const struct tar_header *h);
bool tar_is_gnu(const struct tar_header *h);

/*
 * A number field: octal digits with spaces in front and a space or NUL behind, or base-256. An
 * empty field is 0. -EINVAL when it is none, -ERANGE when it does not fit.
 */
int tar_number(const char *field, size_t len, int64_t *ret) __attribute__((warn_unused_result));
