/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * mark - what the values of marks say: xattrs of layers and uppers, names in work/links. Whoever
 * made the layer wrote them, so anything may stand there. No calls, no state: any thread.
 *
 * @text is what an xattr holds: @len bytes, none of them need be a NUL.
 */

/* A decimal number and nothing else. -EINVAL. */
int ovl_mark_number(const char *text, size_t len, uint64_t *ret)
	__attribute__((warn_unused_result));

/*
 * Names in the union of a copied-up hard link, whose inode has @real of them: "=N", or "U+N" and
 * "U-N" relative to @real. Garbage: by @real, of which the entry in work/links is one. At least 1.
 */
int ovl_mark_nlink(const char *text, size_t len, nlink_t real);

struct ovl_place {
	unsigned int batch;
	dev_t foreign; /* device, where it is not the batch's own; else 0 */
	uint64_t ino;
};
/* "BATCH:DEVICE:INODE", the device in hexadecimal. -EINVAL. */
int ovl_mark_place(const char *text, size_t len, struct ovl_place *ret)
	__attribute__((warn_unused_result));

/*
 * By what a file is protected: "a", "i" or both, as STATX_ATTR_APPEND and STATX_ATTR_IMMUTABLE;
 * what stands behind them is ignored.
 */
uint64_t ovl_mark_protection(const char *text, size_t len);

/* One component of a path: not empty, no "/", not "." and "..", at most 255 bytes. */
bool ovl_mark_is_name(const char *s, size_t len);
/*
 * Where the layers below have a directory, when @redirect is what one layer says of it, and @path
 * (malloc, replaced) is where that layer has it: a name beside it, or a path from the root
 * ("/a/b"). @absolute: whether @path is one. -EIO: it leads nowhere.
 */
int ovl_mark_redirect(char **path, const char *redirect, bool *absolute)
	__attribute__((warn_unused_result));
