/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/strbuf.h"

/*
 * xattr - which extended attributes of an image are kept, and POSIX ACLs in
 * the text form of tar made what the kernel has (struct posix_acl_xattr_header).
 */
enum oci_xattr_verdict {
	OCI_XATTR_KEEP,
	OCI_XATTR_DROP, /* silently: it is the host's business */
	OCI_XATTR_WARN, /* dropped, and somebody should know */
};
/* @mode: of the inode it is for. @ret_why: for OCI_XATTR_WARN, a static text. */
enum oci_xattr_verdict oci_xattr_judge(const char *name, unsigned int mode, const char **ret_why);

#define OCI_ACL_ACCESS	"system.posix_acl_access"
#define OCI_ACL_DEFAULT "system.posix_acl_default"
/*
 * "user::rwx,user:bob:r--:1000,..." to the kernel's form, appended to @out; nothing is appended for
 * an access ACL that the mode says already. -EBADMSG.
 */
int oci_acl_from_text(const char *text, bool is_default, struct strbuf *out, struct err *err)
	__attribute__((warn_unused_result));
/* Is it an ACL in the kernel's form? */
bool oci_acl_is_valid(const void *value, size_t len);
