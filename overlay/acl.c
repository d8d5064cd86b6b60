/* SPDX-License-Identifier: Apache-2.0 */
#include <endian.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "overlay/ops.h"

/* The form of system.posix_acl_* (include/uapi/linux/posix_acl_xattr.h), little endian. */
#define ACL_VERSION   2
#define ACL_USER_OBJ  0x01
#define ACL_USER      0x02
#define ACL_GROUP_OBJ 0x04
#define ACL_GROUP     0x08
#define ACL_MASK      0x10
#define ACL_OTHER     0x20

struct acl_entry {
	uint16_t tag, perm;
	uint32_t id;
};

static void limit(struct acl_entry *e, mode_t *mode, unsigned int shift)
{
	uint16_t perm = le16toh(e->perm) & (uint16_t)(*mode >> shift & 7);

	*mode = (*mode & ~(7u << shift)) | (unsigned int)perm << shift;
	e->perm = htole16(perm);
}

int ovl_acl_inherit(const void *acl, size_t len, mode_t *mode, void **ret, size_t *ret_len)
{
	struct acl_entry *user = NULL, *group = NULL, *mask = NULL, *other = NULL, *e;
	size_t n = (len - sizeof(uint32_t)) / sizeof(*e);
	uint32_t version;
	bool more = false;
	char *copy;

	if (len < sizeof(version) || (len - sizeof(version)) % sizeof(*e) != 0)
		return -EINVAL;
	memcpy(&version, acl, sizeof(version));
	if (le32toh(version) != ACL_VERSION)
		return -EINVAL;
	copy = malloc(len);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, acl, len);
	e = (struct acl_entry *)(void *)(copy + sizeof(version));
	for (size_t i = 0; i < n; i++, e++) {
		switch (le16toh(e->tag)) {
		case ACL_USER_OBJ:
			user = e;
			break;
		case ACL_GROUP_OBJ:
			group = e;
			break;
		case ACL_MASK:
			mask = e;
			more = true;
			break;
		case ACL_OTHER:
			other = e;
			break;
		default:
			more = true;
			break;
		}
	}
	if (!user || !group || !other) {
		free(copy);
		return -EINVAL;
	}
	limit(user, mode, 6);
	limit(mask ? mask : group, mode, 3);
	limit(other, mode, 0);
	if (!more) {
		free(copy);
		copy = NULL;
	}
	*ret = copy;
	*ret_len = len;
	return 0;
}
