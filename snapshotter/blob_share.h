/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * blob_share - a file of somebody else's becomes a blob of the store without
 * its bytes being copied, where the file system has a way to and it is safe: what
 * is in the store may never change (docs/THREAT_MODEL.md, T30).
 *
 * The bytes are not believed for it: who calls verifies those of the new file.
 */
enum blob_share {
	BLOB_SHARE_NOT, /* nothing was made */
	BLOB_SHARE_CLONED, /* a file of our own that has the same blocks until one of them is
			      written */
	BLOB_SHARE_LINKED, /* another name of that very file */
};
/* @from: open for reading; @dir and @name: where it is to be. -errno: the folder is no good. */
int blob_share(int from, int dir, const char *name, enum blob_share *ret)
	__attribute__((warn_unused_result));
