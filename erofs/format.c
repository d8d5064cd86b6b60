/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "erofs/format.h"

/* By number; 5 (lustre) is not in use any more. */
static const char *const prefixes[] = {
	[1] = "user.",
	[2] = "system.posix_acl_access",
	[3] = "system.posix_acl_default",
	[4] = "trusted.",
	[6] = "security.",
};
#define N_PREFIXES (sizeof(prefixes) / sizeof(prefixes[0]))

int erofs_xattr_split(const char *name, uint8_t *ret_index, const char **ret_suffix)
{
	for (uint8_t i = 0; i < N_PREFIXES; i++) {
		size_t len = prefixes[i] ? strlen(prefixes[i]) : 0;

		if (len == 0 || strncmp(name, prefixes[i], len) != 0)
			continue;
		/* A name space needs a name behind it, an ACL must not have one. */
		if ((prefixes[i][len - 1] == '.') != (name[len] != '\0'))
			continue;
		*ret_index = i;
		*ret_suffix = name + len;
		return 0;
	}
	return -EOPNOTSUPP;
}

const char *erofs_xattr_prefix(uint8_t index)
{
	return index < N_PREFIXES ? prefixes[index] : NULL;
}

uint32_t erofs_crc32c(uint32_t seed, const void *data, size_t len)
{
	const uint8_t *p = data;

	/* Bit by bit: it is for the one block of the super block. */
	while (len--) {
		seed ^= *p++;
		for (int i = 0; i < 8; i++)
			seed = seed >> 1 ^ (seed & 1 ? 0x82f63b78u : 0);
	}
	return seed;
}
