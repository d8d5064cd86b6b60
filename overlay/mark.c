/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/mark.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define NAME_MAX_BYTES 255

/* strtoull(3) takes blanks and signs, which nobody who writes marks does. */
int ovl_mark_number(const char *text, size_t len, uint64_t *ret)
{
	uint64_t n = 0;

	if (len == 0)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		unsigned int digit = (unsigned int)(unsigned char)text[i] - '0';

		if (digit > 9 || __builtin_mul_overflow(n, 10u, &n) ||
		    __builtin_add_overflow(n, digit, &n))
			return -EINVAL;
	}
	*ret = n;
	return 0;
}

int ovl_mark_nlink(const char *text, size_t len, nlink_t real)
{
	int64_t plain = real > 1 ? (int64_t)real - 1 : 1, v;
	uint64_t n;

	if (real > INT_MAX)
		plain = INT_MAX;
	if (len >= 2 && text[0] == '=' && ovl_mark_number(text + 1, len - 1, &n) == 0 &&
	    n <= INT_MAX)
		v = (int64_t)n;
	else if (len >= 3 && text[0] == 'U' && (text[1] == '+' || text[1] == '-') &&
		 ovl_mark_number(text + 2, len - 2, &n) == 0 && n <= INT_MAX)
		v = (int64_t)real + (text[1] == '+' ? (int64_t)n : -(int64_t)n);
	else
		v = plain;
	return v < 1 ? 1 : v > INT_MAX ? INT_MAX : (int)v;
}

int ovl_mark_place(const char *text, size_t len, struct ovl_place *ret)
{
	const char *device = memchr(text, ':', len), *ino, *end = text + len;
	unsigned long long foreign = 0;
	uint64_t batch, number;
	char hex[17], *stop;

	if (!device || ovl_mark_number(text, (size_t)(device - text), &batch) < 0 ||
	    batch > UINT_MAX)
		return -EINVAL;
	device++;
	ino = memchr(device, ':', (size_t)(end - device));
	if (!ino || ino == device || (size_t)(ino - device) >= sizeof(hex))
		return -EINVAL;
	memcpy(hex, device, (size_t)(ino - device));
	hex[ino - device] = '\0';
	if (strspn(hex, "0123456789abcdef") != (size_t)(ino - device))
		return -EINVAL;
	foreign = strtoull(hex, &stop, 16);
	ino++;
	if (ovl_mark_number(ino, (size_t)(end - ino), &number) < 0)
		return -EINVAL;
	*ret = (struct ovl_place){
		.batch = (unsigned int)batch, .foreign = (dev_t)foreign, .ino = number};
	return 0;
}

uint64_t ovl_mark_protection(const char *text, size_t len)
{
	uint64_t by = 0;

	for (size_t i = 0; i < len && (text[i] == 'a' || text[i] == 'i'); i++)
		by |= text[i] == 'a' ? STATX_ATTR_APPEND : STATX_ATTR_IMMUTABLE;
	return by;
}

bool ovl_mark_is_name(const char *s, size_t len)
{
	return len > 0 && len <= NAME_MAX_BYTES && !memchr(s, '/', len) &&
	       !(len == 1 && s[0] == '.') && !(len == 2 && s[0] == '.' && s[1] == '.');
}

int ovl_mark_redirect(char **path, const char *redirect, bool *absolute)
{
	const char *slash = *absolute ? strrchr(*path, '/') : NULL;
	size_t keep = slash ? (size_t)(slash - *path) + 1 : 0, len = strlen(redirect);
	char *next;

	if (redirect[0] == '/')
		keep = 0;
	else if (!ovl_mark_is_name(redirect, len))
		return -EIO;
	next = malloc(keep + len + 1);
	if (!next)
		return -ENOMEM;
	memcpy(next, *path, keep);
	memcpy(next + keep, redirect, len + 1);
	free(*path);
	*path = next;
	*absolute = next[0] == '/';
	return 0;
}
