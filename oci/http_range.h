/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * http_range - which bytes of an answer are those that were asked for (RFC 9110, 14). A download
 * asks for [pos, end) of a blob, again and again until it has all of it; each answer is all of the
 * blob (200), a part of it (206, whose Content-Range says which), or lies.
 *
 *	struct http_range g = {.pos = 0, .end = size};
 *	per request: http_range_begin(&g); per piece of its answer: http_range_take(...)
 *
 * @pos counts only what was handed out, so that a broken answer costs nothing but the rest of it.
 */
struct http_range {
	uint64_t pos, end; /* bytes of the blob that are still wanted */
	uint64_t skip; /* an answer that starts at byte 0: what of it is in front of @pos */
	bool looked; /* at this answer's status and Content-Range */
};

void http_range_begin(struct http_range *g);

/*
 * Cuts the piece @data, @len down to the bytes [g->pos before, g->pos after). 1: the answer goes
 * on behind @end; -EBADMSG: it is of another part than asked for, or of several.
 */
int http_range_take(struct http_range *g, unsigned int status, const char *content_range,
		    const void **data, size_t *len) __attribute__((warn_unused_result));

/*
 * How much of a blob of @size a registry has (distribution specification 1.1, "Pushing a blob in
 * chunks"), by "Range: 0-LAST"; 0 for what says nothing or cannot be.
 */
uint64_t http_range_uploaded(const char *range, uint64_t size);
