/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/filter_regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdint.h>
#include <stdlib.h>

#define PATTERN_MAX	 16384 /* bytes */
#define MATCH_STEPS_MAX	 100000
#define MATCH_MEMORY_MAX 4096 /* KiB */

struct filter_regex {
	pcre2_code *code;
	pcre2_match_data *data;
	pcre2_match_context *limits;
};

/* Go's engine has no references to what a group matched: such a pattern is none for containerd. */
static bool has_references(const pcre2_code *code)
{
	uint32_t max = 0;

	return pcre2_pattern_info(code, PCRE2_INFO_BACKREFMAX, &max) != 0 || max > 0;
}

struct filter_regex *filter_regex_new(const char *pattern, size_t len)
{
	struct filter_regex *re = calloc(1, sizeof(*re));
	PCRE2_SIZE where;
	int code;

	if (!re || len > PATTERN_MAX)
		goto bad;
	re->code = pcre2_compile((PCRE2_SPTR)pattern, len,
				 PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C |
					 PCRE2_DOLLAR_ENDONLY,
				 &code, &where, NULL);
	if (!re->code || has_references(re->code))
		goto bad;
	re->data = pcre2_match_data_create(1, NULL);
	re->limits = pcre2_match_context_create(NULL);
	if (!re->data || !re->limits)
		goto bad;
	(void)pcre2_set_match_limit(re->limits, MATCH_STEPS_MAX);
	(void)pcre2_set_heap_limit(re->limits, MATCH_MEMORY_MAX);
	return re;
bad:
	filter_regex_free(re);
	return NULL;
}

bool filter_regex_match(const struct filter_regex *re, const char *text, size_t len)
{
	/* 0: it matched, and there was no room for the groups */
	return pcre2_match(re->code, (PCRE2_SPTR)text, len, 0, 0, re->data, re->limits) >= 0;
}

void filter_regex_free(struct filter_regex *re)
{
	if (!re)
		return;
	pcre2_match_context_free(re->limits);
	pcre2_match_data_free(re->data);
	pcre2_code_free(re->code);
	free(re);
}
