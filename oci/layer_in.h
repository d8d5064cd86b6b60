/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdatomic.h>

#include "erofs/write.h"
#include "oci/document.h"

/*
 * layer_in - brings one layer in, in one streaming pass: read and hash the
 * blob, let a process without privileges inflate and parse it (oci/reader.h),
 * hash the tar, write it, and at the end write the layer's EROFS index. Nothing
 * per file on disk.
 *
 * The results are to be believed only when 0 is returned: size and digest of
 * the blob and the diff id held then, and every rule of docs/SEMANTICS.md,
 * "layers". On failure the fds hold rubbish; @err names the entry and the rule.
 */

/* Budgets; 0 = the default. Each is known to people as --limit NAME=VALUE. */
struct oci_limits {
	uint64_t bytes; /* of a layer's tar: "bytes" */
	uint64_t ratio; /* tar bytes per blob byte, looked at above 1 GiB of tar: "ratio" */
	uint64_t entries; /* of a layer: "entries" */
	uint64_t xattr_bytes; /* of one entry: "xattr-bytes" */
	uint64_t header_bytes; /* PAX and GNU headers of one entry: "header-bytes" */
	uint64_t depth; /* path components: "depth" */
	uint64_t meta_bytes; /* names, targets and xattrs of a layer together: "meta-bytes" */
};
/* "NAME=VALUE" (IEC suffixes allowed) into @limits; -EINVAL. */
int oci_limits_set(struct oci_limits *limits, const char *text, struct err *err)
	__attribute__((warn_unused_result));

struct oci_layer_job {
	int blob_fd; /* read from where it stands to its end */
	bool bounded; /* or only as far as the blob's size: something else follows, as in archives
		       */
	const struct oci_layer_ref *layer; /* what it must turn out to be */
	const struct oci_limits *limits; /* NULL: defaults */
	int data_fd; /* O_RDWR, empty: receives the tar, byte for byte */
	int side_fd; /* O_RDWR, empty: receives sparse members in full length, holes kept */
	int index_fd; /* O_RDWR, empty: receives the index */
	int copy_fd; /* -1, or receives the blob's bytes as they were read */
	_Atomic uint64_t *progress; /* NULL, or counts the blob's bytes read */
	const _Atomic bool *cancel; /* NULL, or: stop soon with -ECANCELED */
};

struct oci_layer_result {
	uint64_t tar_size, side_size; /* bytes */
	uint64_t entries; /* inodes of the index */
	struct digest tar; /* sha256 of the tar, whatever the diff id's algorithm */
};

int oci_layer_in(const struct oci_layer_job *job, struct oci_layer_result *ret, struct err *err)
	__attribute__((warn_unused_result));
