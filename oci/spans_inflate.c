/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <isa-l/igzip_lib.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "oci/inflate.h"
#include "oci/spans_private.h"

#define IN_CHUNK     (128u << 10)
#define OUT_CHUNK    (256u << 10)
#define GZIP_TRAILER 8 /* RFC 1952, 2.3.1: CRC32 and ISIZE */

struct filler {
	const struct oci_spans *s;
	const struct oci_span *x;
	int blob_fd, data_fd;
	struct hash *hash;
	uint64_t in, out; /* of the span: read, written */
	uint8_t *inbuf, *outbuf;
	const uint8_t *p; /* what is left of the input buffer */
	size_t len;
};

static int bad(struct err *err, const char *why)
{
	return err_msg(err, -EBADMSG, "the blob's bytes are not right: %s", why);
}

/* More input if there is none left; none behind it: the end. */
static int take_input(struct filler *f, struct err *err)
{
	uint64_t left = f->x->in_len - f->in;
	size_t n = left < IN_CHUNK ? (size_t)left : IN_CHUNK;
	int r;

	if (f->len > 0 || n == 0)
		return 0;
	r = io_pread_full(f->blob_fd, f->inbuf, n, (off_t)(f->x->in + f->in));
	if (r < 0)
		return err_set(err, r, "read blob");
	f->in += n;
	f->p = f->inbuf;
	f->len = n;
	return 0;
}

/* What the span has is enough: bytes of the next one are left. */
static int take_output(struct filler *f, size_t n, struct err *err)
{
	uint64_t room = f->x->out_len - f->out;
	int r;

	if (n > room)
		n = (size_t)room;
	r = hash_update(f->hash, f->outbuf, n);
	if (r == 0)
		r = io_pwrite_full(f->data_fd, f->outbuf, n, (off_t)(f->x->out + f->out));
	f->out += n;
	return r < 0 ? err_set(err, r, "write") : 0;
}

static bool is_done(const struct filler *f)
{
	return f->out == f->x->out_len;
}

static int run_fresh(struct filler *f, struct err *err)
{
	struct oci_inflate *z cleanup_oci_inflate = oci_inflate_new(f->s->compression);
	int r = z ? 0 : err_set(err, -ENOMEM, "inflate");

	while (r == 0 && !is_done(f)) {
		struct oci_inflate_io io = {.out = f->outbuf, .out_len = OUT_CHUNK};
		size_t before;

		r = take_input(f, err);
		if (r < 0)
			break;
		io.in = f->p;
		io.in_len = before = f->len;
		r = oci_inflate_step(z, &io, err);
		f->p = io.in;
		f->len = io.in_len;
		if (r == 0 && before == f->len && io.out_len == OUT_CHUNK)
			r = bad(err, "too few");
		if (r == 0)
			r = take_output(f, OUT_CHUNK - io.out_len, err);
	}
	return r;
}

/* The window, and the bits of a byte that the span before ends in. */
static int start_inside(struct filler *f, struct inflate_state *z, struct err *err)
{
	const struct oci_span *x = f->x;
	uint8_t *window = f->outbuf; /* free until the first output */
	size_t n =
		ZSTD_decompress(window, SPANS_WINDOW, f->s->windows + x->window_off, x->window_len);

	if (ZSTD_isError(n) || n != x->window_raw)
		return bad(err, "the window is damaged");
	if (isal_inflate_set_dict(z, window, (uint32_t)n) != COMP_OK)
		return bad(err, "the window");
	if (x->bits) {
		int r = take_input(f, err);

		if (r < 0)
			return r;
		if (f->len == 0)
			return bad(err, "too few");
		z->read_in = *f->p >> (8 - x->bits);
		z->read_in_length = x->bits;
		f->p++;
		f->len--;
	}
	return 0;
}

/* Until the span is full or the member ends: then 1. */
static int run_deflate(struct filler *f, struct inflate_state *z, struct err *err)
{
	while (!is_done(f)) {
		size_t had;
		int code, r = take_input(f, err);

		if (r < 0)
			return r;
		had = f->len;
		z->next_in =
			(uint8_t *)(uintptr_t)f->p; /* not written to, whatever its type says */
		z->avail_in = (uint32_t)f->len;
		z->next_out = f->outbuf;
		z->avail_out = OUT_CHUNK;
		code = isal_inflate(z);
		if (code < 0)
			return bad(err, "bad data");
		f->p = z->next_in;
		f->len = z->avail_in;
		if (z->block_state != ISAL_BLOCK_FINISH && had == f->len &&
		    z->avail_out == OUT_CHUNK)
			return bad(err, "too few");
		r = take_output(f, OUT_CHUNK - z->avail_out, err);
		if (r < 0)
			return r;
		if (z->block_state == ISAL_BLOCK_FINISH)
			return 1;
	}
	return 0;
}

/* Another member follows in the same span. */
static int run_next_member(struct filler *f, const struct inflate_state *z, struct err *err)
{
	/* igzip reads ahead, maybe out of an earlier buffer: counted, and read again */
	uint64_t ahead = f->len + (uint64_t)(z->read_in_length > 0 ? z->read_in_length : 0) / 8;
	uint64_t behind = f->in - ahead + GZIP_TRAILER;

	if (ahead > f->in || behind > f->x->in_len)
		return bad(err, "too few");
	f->in = behind;
	f->len = 0;
	return run_fresh(f, err);
}

static int run_inside(struct filler *f, struct err *err)
{
	struct inflate_state *z cleanup_free = calloc(1, sizeof(*z));
	int r;

	if (!z)
		return err_set(err, -ENOMEM, "inflate");
	isal_inflate_init(z);
	r = start_inside(f, z, err);
	if (r == 0)
		r = run_deflate(f, z, err);
	if (r <= 0 || is_done(f))
		return r < 0 ? r : 0;
	return run_next_member(f, z, err);
}

static int check_piece(struct filler *f, struct err *err)
{
	uint8_t raw[32];
	struct digest d;
	int r = hash_final(f->hash, &d);

	if (r < 0)
		return err_set(err, r, "hash");
	spans_raw_digest(&d, raw);
	return memcmp(raw, f->x->digest, sizeof(raw)) == 0 ? 0 : bad(err, "digest does not match");
}

/* One piece, by an inflater that is @at bytes behind the start of its member or frame. */
static int run_piece(struct filler *f, struct oci_inflate *z, const struct oci_span *piece,
		     uint64_t *at, struct err *err)
{
	uint64_t end = piece->skip + piece->out_len;
	int r = 0;

	hash_free(f->hash);
	f->hash = hash_new(DIGEST_SHA256);
	if (!f->hash)
		return err_set(err, -ENOMEM, "inflate");
	f->out = 0;
	while (r == 0 && *at < end) {
		bool before = *at < piece->skip;
		uint64_t want = (before ? piece->skip : end) - *at;
		size_t room = want < OUT_CHUNK ? (size_t)want : OUT_CHUNK, had;
		struct oci_inflate_io io = {.out = f->outbuf, .out_len = room};

		r = take_input(f, err);
		if (r < 0)
			break;
		io.in = f->p;
		io.in_len = had = f->len;
		r = oci_inflate_step(z, &io, err);
		f->p = io.in;
		f->len = io.in_len;
		if (r == 0 && had == f->len && io.out_len == room)
			r = bad(err, "too few");
		*at += room - io.out_len;
		if (r == 0 && !before) {
			const struct oci_span *span = f->x;

			f->x = piece;
			r = take_output(f, room - io.out_len, err);
			if (r == 0 && *at == end)
				r = check_piece(f, err);
			f->x = span;
		}
	}
	return r;
}

/* Pieces of one member one behind the other: it is inflated once. */
static int run_pieces(struct filler *f, struct err *err)
{
	const struct oci_span *span = f->x;
	struct oci_inflate *z = NULL;
	uint64_t at = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < span->n_pieces; i++) {
		const struct oci_span *piece = &f->s->pieces[span->first_piece + i];

		if (i == 0 || piece->in != piece[-1].in) {
			oci_inflate_free(z);
			z = oci_inflate_new(f->s->compression);
			if (!z)
				return err_set(err, -ENOMEM, "inflate");
			f->in = piece->in - span->in;
			f->len = 0;
			at = 0;
		}
		r = run_piece(f, z, piece, &at, err);
	}
	oci_inflate_free(z);
	return r;
}

int oci_spans_inflate(const struct oci_spans *s, size_t i, int blob_fd, int data_fd,
		      struct err *err)
{
	uint8_t *in cleanup_free = malloc(IN_CHUNK), *out cleanup_free = malloc(OUT_CHUNK);
	struct filler f = {.s = s,
			   .x = oci_spans_get(s, i),
			   .blob_fd = blob_fd,
			   .data_fd = data_fd,
			   .hash = hash_new(DIGEST_SHA256),
			   .inbuf = in,
			   .outbuf = out};
	int r = 0;

	if (!f.x)
		r = err_msg(err, -EINVAL, "no such span");
	else if (!f.hash || !in || !out)
		r = err_set(err, -ENOMEM, "inflate");
	else if (s->by_table)
		r = run_pieces(&f, err);
	else
		r = f.x->fresh ? run_fresh(&f, err) : run_inside(&f, err);
	if (r == 0 && !s->by_table)
		r = check_piece(&f, err);
	hash_free(f.hash);
	return r;
}

static int verify(const struct oci_span *x, int data_fd)
{
	struct hash *hash cleanup_hash = hash_new(DIGEST_SHA256);
	uint8_t *buf cleanup_free = malloc(OUT_CHUNK);
	uint8_t raw[32];
	struct digest d;
	int r = hash && buf ? 0 : -ENOMEM;

	for (uint64_t pos = 0; r == 0 && pos < x->out_len;) {
		size_t n = x->out_len - pos < OUT_CHUNK ? (size_t)(x->out_len - pos) : OUT_CHUNK;

		r = io_pread_full(data_fd, buf, n, (off_t)(x->out + pos));
		if (r == 0)
			r = hash_update(hash, buf, n);
		pos += n;
	}
	if (r == 0)
		r = hash_final(hash, &d);
	if (r < 0)
		return r;
	spans_raw_digest(&d, raw);
	return memcmp(raw, x->digest, sizeof(raw)) == 0;
}

int oci_spans_verify(const struct oci_spans *s, size_t i, int data_fd)
{
	const struct oci_span *x = oci_spans_get(s, i);
	int r = 1;

	if (!x)
		return -EINVAL;
	if (!s->by_table)
		return verify(x, data_fd);
	for (size_t k = 0; k < x->n_pieces && r > 0; k++)
		r = verify(&s->pieces[x->first_piece + k], data_fd);
	return r;
}
