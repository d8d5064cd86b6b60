/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/whiteout.h"

/* AUFS kept its own books below this prefix; images made by it still carry them. */
#define WH_META_PREFIX ".wh..wh."

enum ovl_wh_kind ovl_wh_classify(const char *name, size_t len, const char **ret_name,
				 size_t *ret_len)
{
	const char *rest;
	size_t n;

	if (len < OVL_WH_PREFIX_LEN || memcmp(name, OVL_WH_PREFIX, OVL_WH_PREFIX_LEN) != 0)
		return OVL_WH_NONE;
	if (len == strlen(OVL_WH_OPAQUE) && memcmp(name, OVL_WH_OPAQUE, len) == 0)
		return OVL_WH_OPQ;
	if (len >= strlen(WH_META_PREFIX) &&
	    memcmp(name, WH_META_PREFIX, strlen(WH_META_PREFIX)) == 0)
		return OVL_WH_META;
	rest = name + OVL_WH_PREFIX_LEN;
	n = len - OVL_WH_PREFIX_LEN;
	/* What is left must be a name a directory can hold. */
	if (n == 0 || (n == 1 && rest[0] == '.') || (n == 2 && rest[0] == '.' && rest[1] == '.'))
		return OVL_WH_BAD;
	*ret_name = rest;
	*ret_len = n;
	return OVL_WH_FILE;
}

bool ovl_xattr_is_private(const char *name)
{
	/*
	 * user.rootlesscontainers is not among them: it is how other tools keep
	 * an owner they could not set, so it belongs to the contents. XFS shows an
	 * ACL a second time, under its own name for it.
	 */
	static const char *const prefixes[] = {
		OVL_XATTR_TRUSTED,	   OVL_XATTR_USER,  "user.fuseoverlayfs.",
		"security.fuseoverlayfs.", "trusted.snap.", "trusted.SGI_ACL_",
	};

	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	return strcmp(name, "user.containers.override_stat") == 0;
}
