/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* tar_member - one entry of a tar, as its readers hand it out. Paths are bytes, never converted. */
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
	bool inherited; /* a global header says it */
};

struct oci_tar_segment {
	uint64_t offset, len; /* in the file */
};

/* What both readers of a tar tell of a member (oci/tar_in.h). */
enum oci_tar_field {
	OCI_TAR_F_PATH = 1 << 0,
	OCI_TAR_F_LINK = 1 << 1,
	OCI_TAR_F_UID = 1 << 2,
	OCI_TAR_F_GID = 1 << 3,
	OCI_TAR_F_MTIME = 1 << 4,
	OCI_TAR_F_MAJOR = 1 << 5,
	OCI_TAR_F_MINOR = 1 << 6,
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
	const struct oci_pax_xattr
		*xattrs; /* as the tar names them; those of length 0 are taken back */
	const char *acl_access, *acl_default; /* SCHILY.acl text, or NULL */
	bool sparse;
	const struct oci_tar_segment *map; /* ascending, within size */
	size_t n_map;
	unsigned int hidden; /* enum oci_tar_field: libarchive does not tell these */
};
