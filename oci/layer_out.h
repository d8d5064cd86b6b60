/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <sys/stat.h>

#include "oci/document.h"

/*
 * layer_out - writes a layer: a PAX tar made of entries in the caller's order,
 * hashed (diff id), compressed and hashed again (blob digest) in one pass.
 * The same entries give the same bytes for any number of threads.
 */
struct oci_tar_xattr {
	const char *name;
	const void *value;
	size_t len;
};

struct oci_tar_entry {
	const char *path; /* bytes, relative, without "./"; a directory without trailing '/' ("" =
			     the root) */
	struct stat st; /* mode, uid, gid, rdev, size, mtim are used */
	const char *target; /* symlinks */
	const char *hardlink; /* NULL, or the path of the earlier entry that is the same inode */
	const struct oci_tar_xattr *xattrs; /* sorted by name */
	size_t n_xattrs;
	/* regular files with size > 0: the content is [data_off, data_off + st_size); -1: zeros */
	int data_fd;
	off_t data_off;
};

struct oci_layer_writer_options {
	enum oci_compression compression;
	int level; /* 0: the default of the compression */
	unsigned int threads; /* 0: as many as there are CPUs */
	int64_t clamp_mtime; /* later mtimes are cut to this second when has_clamp */
	bool has_clamp;
	int tar_fd; /* -1, or receives the tar uncompressed as well */
};

struct oci_layer_writer;
/* The layer goes to @fd (borrowed) from its position on. */
int oci_layer_writer_new(int fd, const struct oci_layer_writer_options *opt,
			 struct oci_layer_writer **ret, struct err *err)
	__attribute__((warn_unused_result));
void oci_layer_writer_free(struct oci_layer_writer *w);
int oci_layer_writer_entry(struct oci_layer_writer *w, const struct oci_tar_entry *e,
			   struct err *err) __attribute__((warn_unused_result));
/* ".wh.NAME" for @path; ".wh..wh..opq" in the directory @path. */
int oci_layer_writer_whiteout(struct oci_layer_writer *w, const char *path, struct err *err)
	__attribute__((warn_unused_result));
int oci_layer_writer_opaque(struct oci_layer_writer *w, const char *path, struct err *err)
	__attribute__((warn_unused_result));
/* Ends it. @ret: media type (OCI), digest and size of the blob, the diff id. */
int oci_layer_writer_finish(struct oci_layer_writer *w, struct oci_layer_ref *ret, struct err *err)
	__attribute__((warn_unused_result));
