/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "base/strbuf.h"

/*
 * filter_scan - the words of a filter (snapshotter/filter.h). What a word is depends on what stands
 * before it: behind an operator everything up to ',' or white space is a value.
 */
enum filter_token {
	FILTER_END,
	FILTER_QUOTED,
	FILTER_VALUE,
	FILTER_FIELD,
	FILTER_SEPARATOR, /* ',' or '.' */
	FILTER_OPERATOR,
	FILTER_ILLEGAL, /* scan->error says why */
	FILTER_OTHER, /* a character that begins nothing */
};

struct filter_scan {
	const char *text; /* borrowed */
	size_t len, pos;
	bool value; /* an operator was the last thing */
	const char *error; /* static */
};

/* The next token; @ret_at and @ret_len: where it stands in the text. */
enum filter_token filter_scan_next(struct filter_scan *s, size_t *ret_at, size_t *ret_len);
/* The code point that comes next, without taking it; -1 at the end, -2 when it is none. */
int filter_scan_peek(const struct filter_scan *s);
/* What stands between the quotes of a FILTER_QUOTED. NUL bytes may come out. -EINVAL, -ENOMEM. */
int filter_unquote(const char *text, size_t len, struct strbuf *out)
	__attribute__((warn_unused_result));
