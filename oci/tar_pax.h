/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/err.h"
#include "oci/tar_member.h"

/*
 * tar_pax - the records of a PAX header (POSIX 1003.1, pax, "pax Extended
 * Header"): "LENGTH KEYWORD=VALUE\n", several times. What a record says is kept
 * per keyword; an empty value takes back what the global header or the ustar
 * header said.
 */
enum pax_field {
	PAX_PATH = 1 << 0,
	PAX_LINKPATH = 1 << 1,
	PAX_SIZE = 1 << 2,
	PAX_UID = 1 << 3,
	PAX_GID = 1 << 4,
	PAX_MTIME = 1 << 5,
	PAX_MAJOR = 1 << 6,
	PAX_MINOR = 1 << 7,
	PAX_ACL_ACCESS = 1 << 8,
	PAX_ACL_DEFAULT = 1 << 9,
	PAX_SPARSE_NAME = 1 << 10,
	PAX_SPARSE_SIZE = 1 << 11, /* GNU.sparse.size or .realsize */
	PAX_SPARSE_MAJOR = 1 << 12,
	PAX_SPARSE_MINOR = 1 << 13,
	PAX_SPARSE_BLOCKS = 1 << 14, /* numblocks: 0.0 and 0.1 */
	PAX_SPARSE_MAP = 1 << 15, /* 0.1, or the offset/numbytes of 0.0 */
};

struct pax {
	unsigned int has; /* enum pax_field: a value was given */
	unsigned int taken; /* an empty value was given */
	char *path, *linkpath, *sparse_name, *acl_access, *acl_default; /* owned */
	uint64_t size, sparse_size, sparse_major, sparse_minor, sparse_blocks;
	int64_t uid, gid, major, minor, mtime;
	uint32_t mtime_nsec;
	struct oci_pax_xattr *xattrs; /* value NULL: taken back */
	struct oci_tar_segment *map;
	size_t n_map, cap_map;
	bool half_segment; /* GNU.sparse.offset without its numbytes */
};

/* @data is changed. -EBADMSG. */
int pax_parse(struct pax *p, char *data, size_t len, struct err *err)
	__attribute__((warn_unused_result));
void pax_release(struct pax *p);
/* @out: room for @len bytes. -EINVAL. */
int pax_base64_decode(const char *text, size_t len, uint8_t *out, size_t *ret_len)
	__attribute__((warn_unused_result));
/* Adds a segment to @map. */
int pax_map_add(struct pax *p, uint64_t offset, uint64_t len) __attribute__((warn_unused_result));
/* Puts what @over says over what @p says; takes @over, which is empty afterwards. */
int pax_merge(struct pax *p, struct pax *over) __attribute__((warn_unused_result));
/* Gives @p the xattrs of @global that it says nothing about. */
int pax_inherit_xattrs(struct pax *p, const struct pax *global) __attribute__((warn_unused_result));
/* A decimal number, nothing else in @text. -EINVAL. */
int pax_decimal(const char *text, int64_t *ret) __attribute__((warn_unused_result));
