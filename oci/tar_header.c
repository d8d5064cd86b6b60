/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/tar_header.h"

#include <errno.h>
#include <string.h>

bool tar_is_zero_block(const void *block)
{
	uint64_t words[TAR_BLOCK / sizeof(uint64_t)], any = 0;

	memcpy(words, block, TAR_BLOCK);
	for (size_t i = 0; i < TAR_BLOCK / sizeof(uint64_t); i++)
		any |= words[i];
	return any == 0;
}

bool tar_is_posix(const struct tar_header *h)
{
	return memcmp(h->magic, "ustar\0", 6) == 0;
}

bool tar_is_gnu(const struct tar_header *h)
{
	return memcmp(h->magic, "ustar  ", 8) == 0;
}

bool tar_checksum_holds(const struct tar_header *h)
{
	const unsigned char *p = (const unsigned char *)h;
	size_t from = offsetof(struct tar_header, checksum), to = from + sizeof(h->checksum);
	int64_t sum = 0, signed_sum = 0, want;

	if (tar_number(h->checksum, sizeof(h->checksum), &want) < 0)
		return false;
	for (size_t i = 0; i < TAR_BLOCK; i++) {
		unsigned char c = i >= from && i < to ? ' ' : p[i];

		sum += c;
		signed_sum += (signed char)c;
	}
	return want == sum || want == signed_sum;
}

static int base256(const unsigned char *p, size_t len, int64_t *ret)
{
	bool negative = p[0] == 0xff;
	/* the sign's extension is what numbers too long for the field's 63 bits do not have */
	int64_t n = negative ? -1 : 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = i == 0 && !negative ? p[i] & 0x7f : p[i];

		if (n > INT64_MAX >> 8 || n < INT64_MIN >> 8)
			return -ERANGE;
		n = (int64_t)((uint64_t)n << 8 | c);
	}
	*ret = n;
	return 0;
}

int tar_number(const char *field, size_t len, int64_t *ret)
{
	const unsigned char *p = (const unsigned char *)field;
	size_t i = 0;
	int64_t n = 0;

	if (p[0] == 0x80 || p[0] == 0xff)
		return base256(p, len, ret);
	while (i < len && p[i] == ' ')
		i++;
	for (; i < len && p[i] >= '0' && p[i] <= '7'; i++)
		n = n << 3 | (p[i] - '0'); /* at most 12 digits */
	if (i < len && p[i] != ' ' && p[i] != '\0')
		return -EINVAL;
	*ret = n;
	return 0;
}
