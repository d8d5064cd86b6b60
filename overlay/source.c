/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/source.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"

#define ATTEMPTS    8
#define VALUE_EXTRA 256

int ovl_source_stat(const struct ovl_source *s, const char *override, struct stat *ret)
{
	int r = s->lower ? ovl_lower_stat(s->lower, ret) : ovl_sys_stat(s->fd, s->name, ret);

	if (r == 0 && !s->lower)
		ovl_override_read(s->fd, s->name, override, ret);
	return r;
}

static ssize_t get(const struct ovl_source *s, const char *name, void *buf, size_t size)
{
	if (name)
		return s->lower ? ovl_lower_getxattr(s->lower, name, buf, size)
				: ovl_sys_getxattr(s->fd, s->name, name, buf, size);
	return s->lower ? ovl_lower_listxattr(s->lower, buf, size)
			: ovl_sys_listxattr(s->fd, s->name, buf, size);
}

int ovl_source_xattr(const struct ovl_source *s, const char *name, char **ret, size_t *ret_len)
{
	for (int i = 0; i < ATTEMPTS; i++) {
		ssize_t n = get(s, name, NULL, 0);
		char *buf cleanup_free = NULL;

		if (n < 0)
			return (int)n;
		buf = malloc((size_t)n + VALUE_EXTRA + 1);
		if (!buf)
			return -ENOMEM;
		if (n > 0)
			n = get(s, name, buf, (size_t)n + VALUE_EXTRA);
		/* It grew meanwhile: the mount is in use. */
		if (n == -ERANGE)
			continue;
		if (n < 0)
			return (int)n;
		buf[n] = '\0';
		*ret = steal_ptr(&buf);
		*ret_len = (size_t)n;
		return 0;
	}
	return -EAGAIN;
}
