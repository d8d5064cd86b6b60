/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * tarball - a tar that carries an image: its members by name, read where they lie. The index is
 * made once, from the headers alone; nothing is unpacked. Strict, because it comes from
 * anywhere: what is no file, link or directory, a name that leads out of it or occurs twice, a
 * member that ends behind the file are refused.
 */
#define OCI_TARBALL_MEMBERS_MAX 65536
#define OCI_TARBALL_HEADER_MAX	(1u << 20) /* bytes of one PAX or GNU name record */

struct oci_tarball;
/* @file must be a regular file (-EINVAL), and a plain tar: -EBADMSG, with a hint when it is
 * compressed. */
int oci_tarball_open(const char *file, struct oci_tarball **ret, struct err *err)
	__attribute__((warn_unused_result));
void oci_tarball_close(struct oci_tarball *t); /* NULL is fine */
static inline void oci_tarball_closep(struct oci_tarball **t)
{
	oci_tarball_close(*t);
}
#define cleanup_oci_tarball __attribute__((cleanup(oci_tarball_closep)))
/* What it was opened by: borrowed. */
const char *oci_tarball_name(const struct oci_tarball *t);

/* The size of a file in it; links are followed, at most 8. -ENOENT: no such file. */
int oci_tarball_size(const struct oci_tarball *t, const char *name, uint64_t *ret)
	__attribute__((warn_unused_result));
/* A whole file, NUL-terminated (free() it). -ENOENT, -EBADMSG: more than @max bytes. */
int oci_tarball_read(const struct oci_tarball *t, const char *name, size_t max, char **ret,
		     size_t *ret_len, struct err *err) __attribute__((warn_unused_result));
/* A fd of its own (owned) that stands at the file's first byte. It does not end with the file. */
int oci_tarball_open_member(const struct oci_tarball *t, const char *name, int *ret_fd,
			    struct err *err) __attribute__((warn_unused_result));
