/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/http_range.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The number at @text, in front of @end; no sign, no space, as strtoull would have them. */
static bool number(const char *text, char end, uint64_t *ret)
{
	unsigned long long n;
	char *stop;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	n = strtoull(text, &stop, 10);
	*ret = n;
	return errno == 0 && *stop == end;
}

/* "bytes FROM-TO/ALL" */
static bool starts_at(const char *text, uint64_t from)
{
	uint64_t n;

	return text && strncasecmp(text, "bytes ", 6) == 0 && number(text + 6, '-', &n) &&
	       n == from;
}

void http_range_begin(struct http_range *g)
{
	g->looked = false;
	g->skip = 0;
}

int http_range_take(struct http_range *g, unsigned int status, const char *content_range,
		    const void **data, size_t *len)
{
	const char *p = *data;
	size_t skip, left;

	if (!g->looked) {
		g->looked = true;
		/* several parts in one (multipart/byteranges) have no Content-Range of their own */
		if (status == 206 && !starts_at(content_range, g->pos))
			return -EBADMSG;
		g->skip = status == 206 ? 0 : g->pos;
	}
	skip = g->skip < *len ? (size_t)g->skip : *len;
	g->skip -= skip;
	*data = p + skip;
	left = *len - skip;
	*len = left < g->end - g->pos ? left : (size_t)(g->end - g->pos);
	g->pos += *len;
	return *len < left;
}

uint64_t http_range_uploaded(const char *range, uint64_t size)
{
	uint64_t last;

	if (!range || strncmp(range, "0-", 2) != 0 || !number(range + 2, '\0', &last))
		return 0;
	/* "0-0" is what is said of nothing as well as of one byte: sent again, it is refused */
	return last > 0 && last < size ? last + 1 : 0;
}
