/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oci/http_range.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BLOB	 700u /* bytes of the blob that the answers are of */
#define TEXT_MAX 80u

struct input {
	const uint8_t *data;
	size_t size;
};

static unsigned int byte(struct input *in)
{
	if (in->size == 0)
		return 0;
	in->size--;
	return *in->data++;
}

static uint8_t blob_at(uint64_t pos)
{
	return (uint8_t)(pos * 131 + (pos >> 8) * 7);
}

/* Up to a zero byte: a header's value, which has none. */
static const char *text(struct input *in, char to[TEXT_MAX])
{
	size_t n = 0;
	unsigned int c;

	while (in->size > 0 && (c = byte(in)) != 0 && n < TEXT_MAX - 1)
		to[n++] = (char)c;
	to[n] = '\0';
	return to;
}

/*
 * One answer of an honest server, whatever its headers look like: bytes of the blob from @pos (206)
 * or from 0, for as many pieces as the input says, so that it may end early or go on too long.
 */
static int answer(struct input *in, struct http_range *g, uint8_t *got, uint64_t from)
{
	static const unsigned int statuses[] = {200, 206};
	unsigned int status = statuses[byte(in) % 2], pieces = byte(in) % 8;
	char value[TEXT_MAX], usual[TEXT_MAX];
	uint64_t at = status == 206 ? g->pos : 0;
	const char *content_range = text(in, value);

	/* half of them say the right thing, or no answer would get far */
	if (byte(in) % 2) {
		(void)snprintf(usual, sizeof(usual), "bytes %llu-%u/%u", (unsigned long long)g->pos,
			       BLOB - 1, BLOB);
		content_range = usual;
	}
	http_range_begin(g);
	while (pieces--) {
		uint8_t piece[3 * 255];
		size_t len = (size_t)byte(in) * 3, asked = len;
		uint64_t before = g->pos;
		const void *p = piece;
		int r;

		for (size_t i = 0; i < len; i++)
			piece[i] = blob_at(at + i);
		at += len;
		r = http_range_take(g, status,
				    status == 206 && content_range[0] ? content_range : NULL, &p,
				    &len);
		if (r < 0) {
			if (status != 206 || g->pos != before)
				abort();
			return r;
		}
		if (len > asked || g->pos != before + len || g->pos > g->end ||
		    (r > 0 && g->pos != g->end))
			abort();
		memcpy(got + (before - from), p, len);
		if (r > 0)
			return r;
	}
	return 0;
}

/* The input: where the piece of the blob is, then answers until it is all there; then a "Range:".
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	uint64_t from = byte(&in), end = from + byte(&in), done;
	struct http_range g = {.pos = from, .end = end};
	uint8_t got[256] = {0};
	char value[TEXT_MAX];

	for (unsigned int n = 0; n < 40 && in.size > 0 && g.pos < g.end; n++) {
		if (answer(&in, &g, got, from) < 0)
			break;
	}
	for (uint64_t i = from; i < g.pos; i++) {
		if (got[i - from] != blob_at(i))
			abort();
	}
	done = http_range_uploaded(text(&in, value), end);
	if (done == 1 || done > end)
		abort();
	return 0;
}
