/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>

#include "erofs/image.h"

/* unpack_object.c: one object of a tree, made and given what it is. Any number of threads. */
struct unpack_target {
	const struct erofs_image *img; /* borrowed */
	int *devices; /* as of erofs_open_devices() */
	uint32_t uid, gid; /* who we are: what needs no chown */
	bool root; /* of the initial user namespace or another one */
	atomic_uint_least64_t entries, bytes, soft_owners, left_out;
};
void unpack_target_init(struct unpack_target *t);

/* A regular file @name in @dirfd, with all that it is. */
int unpack_file(struct unpack_target *t, int dirfd, const char *name, const struct erofs_stat *st,
		struct err *err) __attribute__((warn_unused_result));
/* A symlink, fifo, socket or device. */
int unpack_special(struct unpack_target *t, int dirfd, const char *name,
		   const struct erofs_stat *st, struct err *err)
	__attribute__((warn_unused_result));
/* Owner, xattrs, mode and times of a file or directory that is open. */
int unpack_attributes(struct unpack_target *t, int fd, const struct erofs_stat *st, struct err *err)
	__attribute__((warn_unused_result));
/* A device that the caller may not make. */
bool unpack_is_left_out(const struct unpack_target *t, const struct erofs_stat *st);
