/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/spans.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/cleanup.h"
#include "oci/spans_private.h"

#define SPAN_MIN (1u << 20)
#define SPAN_MAX (4u << 20)

uint64_t oci_spans_size_for(uint64_t tar_size)
{
	uint64_t n = tar_size / 4096;

	return n < SPAN_MIN ? SPAN_MIN : n > SPAN_MAX ? SPAN_MAX : n;
}

void spans_raw_digest(const struct digest *d, uint8_t ret[32])
{
	const char *hex = digest_hex(d);

	for (size_t i = 0; i < 32; i++) {
		unsigned int v = 0;

		for (size_t k = 0; k < 2; k++) {
			char c = hex[2 * i + k];

			v = v << 4 | (unsigned int)(c <= '9' ? c - '0' : c - 'a' + 10);
		}
		ret[i] = (uint8_t)v;
	}
}

void spans_text_digest(const uint8_t raw[32], struct digest *ret)
{
	static const char hex[] = "0123456789abcdef";
	char *p = ret->text;

	memset(ret, 0, sizeof(*ret));
	memcpy(p, "sha256:", 7);
	for (size_t i = 0; i < 32; i++) {
		p[7 + 2 * i] = hex[raw[i] >> 4];
		p[8 + 2 * i] = hex[raw[i] & 15];
	}
}

static void put32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, 4);
}

static void put64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, 8);
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return le32toh(v);
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return le64toh(v);
}

static int write_pieces(const struct oci_spans *s, struct strbuf *out)
{
	int r = 0;

	for (size_t i = 0; i < s->n_pieces && r == 0; i++) {
		const struct oci_span *x = &s->pieces[i];
		uint8_t e[SPANS_ENTRY] = {0};

		put64(e, x->out);
		put64(e + 8, x->in);
		e[17] = x->starts ? 1 : 2;
		put64(e + 24, x->skip);
		put64(e + 32, x->out_len);
		memcpy(e + 40, x->digest, 32);
		r = strbuf_add(out, e, sizeof(e));
	}
	return r;
}

int spans_write(const struct oci_spans *s, struct strbuf *out)
{
	uint8_t head[SPANS_HEADER] = {0}, sum[SPANS_TRAILER];
	size_t start = out->len;
	struct digest d;
	int r;

	memcpy(head, SPANS_MAGIC, 8);
	put32(head + 8, s->by_table ? SPANS_TABLE : SPANS_VERSION);
	put32(head + 36, (uint32_t)s->n_pieces);
	put32(head + 12, (uint32_t)s->compression);
	put64(head + 16, s->blob_size);
	put64(head + 24, s->tar_size);
	put32(head + 32, (uint32_t)s->n);
	put64(head + 40, s->windows_size);
	spans_raw_digest(&s->tar, head + 48);
	memcpy(head + 80, s->blob.text, strlen(s->blob.text));
	if (s->by_table) {
		put64(head + 216, s->tail);
		spans_raw_digest(&s->layer, head + 224);
	}
	r = strbuf_add(out, head, sizeof(head));
	if (r == 0 && s->by_table)
		r = write_pieces(s, out);
	for (size_t i = 0; i < s->n && r == 0 && !s->by_table; i++) {
		const struct oci_span *x = &s->spans[i];
		uint8_t e[SPANS_ENTRY] = {0};

		put64(e, x->out);
		put64(e + 8, x->in);
		e[16] = x->bits;
		e[17] = x->fresh;
		put32(e + 20, x->window_len);
		put64(e + 24, x->window_off);
		put32(e + 32, x->window_raw);
		memcpy(e + 40, x->digest, 32);
		r = strbuf_add(out, e, sizeof(e));
	}
	if (r == 0)
		r = strbuf_add(out, s->windows, (size_t)s->windows_size);
	if (r == 0)
		r = digest_buffer(DIGEST_SHA256, out->s + start, out->len - start, &d);
	if (r < 0)
		return r;
	spans_raw_digest(&d, sum);
	return strbuf_add(out, sum, sizeof(sum));
}

void oci_spans_free(struct oci_spans *s)
{
	if (!s)
		return;
	free(s->spans);
	free(s->pieces);
	free(s->windows);
	free(s);
}

static int bad(struct err *err, const char *what)
{
	return err_msg(err, -EBADMSG, "spans: %s", what);
}

static int parse_header(const uint8_t *p, size_t len, struct oci_spans *s, struct err *err)
{
	uint8_t sum[32];
	struct digest d;
	char blob[DIGEST_TEXT_MAX + 2] = "";
	uint64_t all;
	int r;

	if (len < SPANS_HEADER + SPANS_TRAILER || memcmp(p, SPANS_MAGIC, 8) != 0)
		return bad(err, "no such file");
	s->by_table = get32(p + 8) == SPANS_TABLE;
	if (!s->by_table && get32(p + 8) != SPANS_VERSION)
		return bad(err, "of a version that is not known here");
	r = digest_buffer(DIGEST_SHA256, p, len - SPANS_TRAILER, &d);
	if (r < 0)
		return err_set(err, r, "spans");
	spans_raw_digest(&d, sum);
	if (memcmp(sum, p + len - SPANS_TRAILER, sizeof(sum)) != 0)
		return bad(err, "damaged: the checksum does not hold");
	if (get32(p + 12) > OCI_ZSTD)
		return bad(err, "unknown compression");
	s->compression = (enum oci_compression)get32(p + 12);
	s->blob_size = get64(p + 16);
	s->tar_size = get64(p + 24);
	s->n = get32(p + 32);
	s->windows_size = get64(p + 40);
	spans_text_digest(p + 48, &s->tar);
	s->layer = s->tar;
	s->tail = s->blob_size;
	if (s->by_table) {
		s->n_pieces = get32(p + 36);
		s->tail = get64(p + 216);
		spans_text_digest(p + 224, &s->layer);
		if (s->n_pieces < s->n || s->tail > s->blob_size || s->windows_size ||
		    s->n_pieces > OCI_SPANS_SIZE_MAX / SPANS_ENTRY)
			return bad(err, "a number is out of range");
	}
	memcpy(blob, p + 80, DIGEST_TEXT_MAX + 1);
	if (digest_parse(blob, &s->blob) < 0)
		return bad(err, "no digest of a blob");
	if (s->n == 0 || s->n > OCI_SPANS_MAX || s->windows_size > OCI_SPANS_SIZE_MAX ||
	    s->tar_size > INT64_MAX || s->blob_size > INT64_MAX)
		return bad(err, "a number is out of range");
	all = SPANS_HEADER + (uint64_t)(s->by_table ? s->n_pieces : s->n) * SPANS_ENTRY +
	      s->windows_size + SPANS_TRAILER;
	return all == len ? 0 : bad(err, "the length is wrong");
}

static int parse_entry(struct oci_spans *s, size_t i, const uint8_t *e, struct err *err)
{
	struct oci_span *x = &s->spans[i];
	const struct oci_span *before = i ? x - 1 : NULL;
	uint64_t end;

	x->out = get64(e);
	x->in = get64(e + 8);
	x->bits = e[16];
	x->fresh = e[17] == 1;
	x->window_len = get32(e + 20);
	x->window_off = get64(e + 24);
	x->window_raw = get32(e + 32);
	memcpy(x->digest, e + 40, 32);
	if (before ? x->out <= before->out || x->in < before->in : x->out != 0 || x->in != 0)
		return bad(err, "they are not in order");
	if (x->out >= s->tar_size || x->in > s->blob_size || x->bits > 7 || e[17] > 1)
		return bad(err, "a number is out of range");
	if (s->compression == OCI_PLAIN && (x->in != x->out || !x->fresh))
		return bad(err, "a plain one does not start where it is");
	if (x->fresh ? x->bits != 0 || x->window_len != 0 || x->window_raw != 0
		     : s->compression != OCI_GZIP || i == 0)
		return bad(err, "a start is of the wrong kind");
	if (x->window_raw > SPANS_WINDOW || x->window_len > ZSTD_COMPRESSBOUND(SPANS_WINDOW) ||
	    __builtin_add_overflow(x->window_off, x->window_len, &end) || end > s->windows_size)
		return bad(err, "a window is out of range");
	return 0;
}

/* Pieces in the order of the blob and of the file; no number of theirs is believed. */
static int parse_piece(struct oci_spans *s, size_t i, const uint8_t *e, struct err *err)
{
	struct oci_span *x = &s->pieces[i];
	const struct oci_span *before = i ? x - 1 : NULL;
	uint64_t end;

	x->out = get64(e);
	x->in = get64(e + 8);
	x->fresh = true;
	x->starts = e[17] == 1;
	x->skip = get64(e + 24);
	x->out_len = get64(e + 32);
	memcpy(x->digest, e + 40, 32);
	if ((e[17] != 1 && e[17] != 2) || (i == 0 && (!x->starts || x->out != 0)))
		return bad(err, "a start is of the wrong kind");
	if (x->out_len == 0 || __builtin_add_overflow(x->out, x->out_len, &end) ||
	    end > s->tar_size || x->in >= s->tail || x->skip > OCI_SPANS_SIZE_MAX ||
	    x->out_len > OCI_SPANS_SIZE_MAX)
		return bad(err, "a number is out of range");
	if (before &&
	    (x->out < before->out + before->out_len || x->in < before->in ||
	     (x->in == before->in && (x->starts || x->skip < before->skip + before->out_len))))
		return bad(err, "they are not in order");
	return 0;
}

static int parse_pieces(struct oci_spans *s, const uint8_t *p, struct err *err)
{
	struct oci_span *span = NULL;
	size_t n = 0;

	s->spans = calloc(s->n, sizeof(*s->spans));
	s->pieces = calloc(s->n_pieces, sizeof(*s->pieces));
	if (!s->spans || !s->pieces)
		return err_set(err, -ENOMEM, "spans");
	for (size_t i = 0; i < s->n_pieces; i++) {
		int r = parse_piece(s, i, p + SPANS_HEADER + i * SPANS_ENTRY, err);

		if (r < 0)
			return r;
		if (s->pieces[i].starts) {
			if (n == s->n)
				return bad(err, "there are more than it says");
			span = &s->spans[n++];
			span->out = s->pieces[i].out;
			/* what is in front of the first content is the first one's, too */
			span->in = i ? s->pieces[i].in : 0;
			span->fresh = true;
			span->first_piece = i;
		}
		span->n_pieces++;
	}
	if (n != s->n)
		return bad(err, "there are fewer than it says");
	for (size_t i = 0; i < n; i++) {
		struct oci_span *x = &s->spans[i], *next = i + 1 < n ? x + 1 : NULL;

		x->out_len = (next ? next->out : s->tar_size) - x->out;
		x->in_len = (next ? next->in : s->tail) - x->in;
	}
	return 0;
}

int oci_spans_parse(const void *data, size_t len, struct oci_spans **ret, struct err *err)
{
	struct oci_spans *s cleanup_oci_spans = calloc(1, sizeof(*s));
	const uint8_t *p = data;
	int r = s ? parse_header(p, len, s, err) : err_set(err, -ENOMEM, "spans");

	if (r < 0)
		return r;
	if (s->by_table) {
		r = parse_pieces(s, p, err);
		if (r == 0)
			*ret = steal_ptr(&s);
		return r;
	}
	s->spans = calloc(s->n, sizeof(*s->spans));
	s->windows = malloc((size_t)s->windows_size + 1);
	if (!s->spans || !s->windows)
		return err_set(err, -ENOMEM, "spans");
	memcpy(s->windows, p + SPANS_HEADER + s->n * SPANS_ENTRY, (size_t)s->windows_size);
	for (size_t i = 0; i < s->n && r == 0; i++)
		r = parse_entry(s, i, p + SPANS_HEADER + i * SPANS_ENTRY, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < s->n; i++) {
		struct oci_span *x = &s->spans[i], *next = i + 1 < s->n ? x + 1 : NULL;

		x->out_len = (next ? next->out : s->tar_size) - x->out;
		x->in_len = (next ? next->in + (next->bits != 0) : s->blob_size) - x->in;
		if (x->in_len > s->blob_size - x->in)
			return bad(err, "a number is out of range");
	}
	*ret = steal_ptr(&s);
	return 0;
}

size_t oci_spans_count(const struct oci_spans *s)
{
	return s->n;
}

const struct oci_span *oci_spans_get(const struct oci_spans *s, size_t i)
{
	return i < s->n ? &s->spans[i] : NULL;
}

enum oci_compression oci_spans_compression(const struct oci_spans *s)
{
	return s->compression;
}

uint64_t oci_spans_tar_size(const struct oci_spans *s)
{
	return s->tar_size;
}

uint64_t oci_spans_blob_size(const struct oci_spans *s)
{
	return s->blob_size;
}

const struct digest *oci_spans_blob(const struct oci_spans *s)
{
	return &s->blob;
}

const struct digest *oci_spans_tar(const struct oci_spans *s)
{
	return &s->tar;
}

bool oci_spans_is_by_table(const struct oci_spans *s)
{
	return s->by_table;
}

const struct digest *oci_spans_layer(const struct oci_spans *s)
{
	return &s->layer;
}
