/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "oci/layer_in.h"

/*
 * tar_in - a strict tar reader that is pushed to: POSIX ustar and pax (POSIX
 * 1003.1, pax), GNU long names, base-256 numbers and sparse members (GNU tar
 * manual, "Tar Internals"), as docs/SEMANTICS.md, "layers", has it. Paths are
 * bytes, never converted.
 *
 *	oci_tar_in_new(&handler, limits, &t);
 *	while (more) oci_tar_in_push(t, buf, len, err);
 *	oci_tar_in_finish(t, err);
 *
 * Member data is not copied: the handler is told where in the tar it lies.
 * Sparse members alone are handed out piece by piece.
 */
enum oci_tar_type {
	OCI_TAR_REG,
	OCI_TAR_LINK, /* hard link */
	OCI_TAR_SYMLINK,
	OCI_TAR_CHAR,
	OCI_TAR_BLOCK,
	OCI_TAR_DIR,
	OCI_TAR_FIFO,
};

struct oci_pax_xattr {
	struct oci_pax_xattr *next;
	char *name; /* owned, as is the value */
	void *value;
	size_t len;
};

struct oci_tar_segment {
	uint64_t offset, len; /* in the file */
};

/* One member, its headers put together. All borrowed, for the time of the call. */
struct oci_tar_member {
	enum oci_tar_type type;
	const char *path, *link; /* no NUL inside; the path as it stands there */
	uint32_t mode; /* 07777 */
	uint32_t uid, gid, major, minor;
	int64_t mtime;
	uint32_t mtime_nsec;
	uint64_t size; /* of a regular file, holes included */
	uint64_t data; /* where in the tar its data lies, a multiple of 512; not for sparse ones */
	uint64_t stray; /* size claimed by a member that can have no data (not directories) */
	const struct oci_pax_xattr
		*xattrs; /* as the tar names them; those of length 0 are taken back */
	const char *acl_access, *acl_default; /* SCHILY.acl text, or NULL */
	bool sparse;
	const struct oci_tar_segment *map; /* ascending, within size */
	size_t n_map;
};

struct oci_tar_handler {
	int (*member)(void *ctx, const struct oci_tar_member *m, struct err *err);
	/* a piece of the data of the sparse member told last; @pos is in the file */
	int (*sparse_data)(void *ctx, const void *data, size_t len, uint64_t pos, struct err *err);
	void *ctx;
};

struct oci_tar_in;
/* @handler and @limits (filled) are borrowed until free. -ENOMEM. */
int oci_tar_in_new(const struct oci_tar_handler *handler, const struct oci_limits *limits,
		   struct oci_tar_in **ret) __attribute__((warn_unused_result));
void oci_tar_in_free(struct oci_tar_in *t);
static inline void oci_tar_in_freep(struct oci_tar_in **t)
{
	oci_tar_in_free(*t);
}
#define cleanup_oci_tar_in __attribute__((cleanup(oci_tar_in_freep)))
/* -EBADMSG: a rule is broken; -E2BIG: a budget is used up; else what the handler returned. */
int oci_tar_in_push(struct oci_tar_in *t, const void *data, size_t len, struct err *err)
	__attribute__((warn_unused_result));
int oci_tar_in_finish(struct oci_tar_in *t, struct err *err) __attribute__((warn_unused_result));
