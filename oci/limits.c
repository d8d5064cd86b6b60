/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oci/limits.h"
#include "oci/quote.h"

/* Defaults: several times what the largest images in use have. */
static const struct {
	const char *name;
	size_t offset;
	uint64_t fallback, max;
} budgets[] = {
	/* block addresses of an index have 32 bits, of 512 bytes each */
	{"bytes", offsetof(struct oci_limits, bytes), 64ULL << 30, OCI_TAR_SIZE_MAX},
	{"ratio", offsetof(struct oci_limits, ratio), 200, UINT64_MAX},
	{"entries", offsetof(struct oci_limits, entries), 2000000, 1ULL << 31},
	{"xattr-bytes", offsetof(struct oci_limits, xattr_bytes), 128 << 10, 1ULL << 30},
	/* libarchive reads no longer ones */
	{"header-bytes", offsetof(struct oci_limits, header_bytes), 512 << 10, 1 << 20},
	{"depth", offsetof(struct oci_limits, depth), 2048, 4096},
	{"meta-bytes", offsetof(struct oci_limits, meta_bytes), 512ULL << 20, 1ULL << 40},
};
#define RATIO_FROM (1ULL << 30) /* tar bytes below which no ratio is suspicious */
#define HINT	   "if the image is trusted: --limit %s=N"
#define N_BUDGETS  (sizeof(budgets) / sizeof(budgets[0]))

static uint64_t *field(struct oci_limits *limits, size_t i)
{
	return (uint64_t *)(void *)((char *)limits + budgets[i].offset);
}

void oci_limits_fill(const struct oci_limits *from, struct oci_limits *ret)
{
	struct oci_limits l = {.bytes = 0};

	if (from)
		l = *from;
	for (size_t i = 0; i < N_BUDGETS; i++) {
		if (*field(&l, i) == 0)
			*field(&l, i) = budgets[i].fallback;
	}
	*ret = l;
}

static int parse_value(const char *text, uint64_t *ret)
{
	static const char units[] = "KMGT";
	unsigned long long n;
	const char *unit;
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno)
		return -EINVAL;
	unit = *end ? strchr(units, *end) : NULL;
	if (unit) {
		end++;
		if (strcmp(end, "iB") == 0)
			end += 2;
		if (__builtin_mul_overflow(n, 1ULL << (10 * (unit - units + 1)), &n))
			return -EINVAL;
	}
	if (*end != '\0' || n == 0)
		return -EINVAL;
	*ret = n;
	return 0;
}

int oci_limits_set(struct oci_limits *limits, const char *text, struct err *err)
{
	const char *eq = strchr(text, '=');
	struct oci_quoted q;
	uint64_t value;

	for (size_t i = 0; eq && i < N_BUDGETS; i++) {
		if (strlen(budgets[i].name) != (size_t)(eq - text) ||
		    strncmp(budgets[i].name, text, (size_t)(eq - text)) != 0)
			continue;
		if (parse_value(eq + 1, &value) < 0)
			return err_msg(err, -EINVAL, "limit %s: bad value %s", budgets[i].name,
				       oci_quote(&q, eq + 1));
		if (value > budgets[i].max)
			return err_msg(err, -EINVAL, "limit %s: at most %llu", budgets[i].name,
				       (unsigned long long)budgets[i].max);
		*field(limits, i) = value;
		return 0;
	}
	(void)err_msg(err, -EINVAL, "%s is no limit", oci_quote(&q, text));
	err_hint(err, "NAME=VALUE with one of bytes, ratio, entries, xattr-bytes, header-bytes, "
		      "depth, meta-bytes");
	return -EINVAL;
}

int oci_limit_hit(struct err *err, const char *name, uint64_t value)
{
	(void)err_msg(err, -E2BIG, "the budget '%s' of %llu is used up", name,
		      (unsigned long long)value);
	err_hint(err, HINT, name);
	return -E2BIG;
}

int oci_limits_check(const struct oci_limits *limits, uint64_t tar, uint64_t blob, struct err *err)
{
	if (tar > limits->bytes)
		return oci_limit_hit(err, "bytes", limits->bytes);
	if (tar > RATIO_FROM && tar / limits->ratio > (blob ? blob : 1))
		return oci_limit_hit(err, "ratio", limits->ratio);
	return 0;
}

bool oci_limit_is_hint(const char *text)
{
	char hint[sizeof(HINT) + 32];

	for (size_t i = 0; i < N_BUDGETS; i++) {
		(void)snprintf(hint, sizeof(hint), HINT, budgets[i].name);
		if (strcmp(text, hint) == 0)
			return true;
	}
	return false;
}
