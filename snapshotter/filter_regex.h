/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/*
 * filter_regex - regular expressions of filters. The patterns come from whoever asks, so that time
 * and memory of a match are bounded; what exceeds the bounds does not match. The only user of
 * PCRE2.
 */
struct filter_regex;

/* NULL: no regular expression (or one that containerd's engine does not know), or no memory. */
struct filter_regex *filter_regex_new(const char *pattern, size_t len);
bool filter_regex_match(const struct filter_regex *re, const char *text, size_t len);
void filter_regex_free(struct filter_regex *re);
