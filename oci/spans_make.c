/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <zlib.h>
#include <zstd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "oci/inflate.h"
#include "oci/spans_private.h"

/*
 * Making spans. zlib inflates here, and not igzip as in oci/inflate.c: it alone stops where a block
 * of deflate ends and says at which bit.
 */
#define IN_CHUNK  (64u << 10)
#define OUT_CHUNK (128u << 10)

struct maker {
	const struct oci_layer_ref *ref;
	int fd;
	uint64_t size; /* of a span */
	struct oci_spans s;
	size_t cap;
	struct strbuf windows;
	struct hash *blob_hash, *tar_hash, *span_hash;
	uint64_t in, out, tar_max; /* of the blob read, of the tar made */
	uint8_t *inbuf, *outbuf;
	uint8_t window[SPANS_WINDOW], packed[ZSTD_COMPRESSBOUND(SPANS_WINDOW)];
};

static int out_of_memory(struct err *err)
{
	return err_set(err, -ENOMEM, "make spans");
}

static int close_span(struct maker *m, struct err *err)
{
	struct digest d;
	int r;

	if (m->s.n == 0)
		return 0;
	r = hash_final(m->span_hash, &d);
	if (r < 0)
		return err_set(err, r, "make spans");
	spans_raw_digest(&d, m->s.spans[m->s.n - 1].digest);
	return 0;
}

/* A span starts here: at bit @bits (0: all bits) of byte @in. */
static int open_span(struct maker *m, uint64_t in, unsigned int bits, const uint8_t *window,
		     size_t window_len, struct err *err)
{
	struct oci_span *x;
	size_t n = 0;
	int r = close_span(m, err);

	if (r < 0)
		return r;
	if (m->s.n == OCI_SPANS_MAX)
		return err_msg(err, -EFBIG, "more than %u spans", OCI_SPANS_MAX);
	if (m->s.n == m->cap) {
		size_t cap = m->cap ? 2 * m->cap : 256;
		struct oci_span *grown = reallocarray(m->s.spans, cap, sizeof(*grown));

		if (!grown)
			return out_of_memory(err);
		m->s.spans = grown;
		m->cap = cap;
	}
	hash_free(m->span_hash);
	m->span_hash = hash_new(DIGEST_SHA256);
	if (!m->span_hash)
		return out_of_memory(err);
	if (window_len) {
		n = ZSTD_compress(m->packed, sizeof(m->packed), window, window_len, 9);
		if (ZSTD_isError(n))
			return out_of_memory(err);
	}
	x = &m->s.spans[m->s.n++];
	*x = (struct oci_span){
		.out = m->out,
		.in = in,
		.bits = (uint8_t)bits,
		.fresh = !window,
		.window_raw = (uint32_t)window_len,
		.window_len = (uint32_t)n,
		.window_off = m->windows.len,
	};
	return strbuf_add(&m->windows, m->packed, n) < 0 ? out_of_memory(err) : 0;
}

static bool span_is_full(const struct maker *m)
{
	return m->s.n == 0 || m->out - m->s.spans[m->s.n - 1].out >= m->size;
}

static int take_output(struct maker *m, const uint8_t *p, size_t len, struct err *err)
{
	int r = hash_update(m->span_hash, p, len);

	if (r == 0)
		r = hash_update(m->tar_hash, p, len);
	if (r < 0)
		return err_set(err, r, "make spans");
	m->out += len;
	return m->out > m->tar_max ? err_msg(err, -EBADMSG, "more tar than there should be") : 0;
}

/* The next piece of the blob; 0 at the end. */
static int take_input(struct maker *m, size_t *ret, struct err *err)
{
	uint64_t left = m->ref->desc.size - m->in;
	size_t n = left < IN_CHUNK ? (size_t)left : IN_CHUNK;
	int r = n ? io_pread_full(m->fd, m->inbuf, n, (off_t)m->in) : 0;

	if (r == 0)
		r = hash_update(m->blob_hash, m->inbuf, n);
	if (r < 0)
		return err_set(err, r, "read blob");
	m->in += n;
	*ret = n;
	return 0;
}

/* Behind a call of inflate(): is this a place to start from? */
static int look_for_start(struct maker *m, z_stream *z, struct err *err)
{
	uInt len = 0;
	unsigned int bits = (unsigned int)z->data_type & 7;

	/* behind a block or a header, and not in the last block */
	if ((z->data_type & 0xc0) != 0x80 || !span_is_full(m) || m->s.n == 0)
		return 0;
	if (inflateGetDictionary(z, m->window, &len) != Z_OK || len == 0 || len > SPANS_WINDOW)
		return 0;
	return open_span(m, m->in - z->avail_in - (bits ? 1 : 0), bits, m->window, len, err);
}

/* One member behind another, or padding: 1: another one starts. */
static int next_member(struct maker *m, z_stream *z, struct err *err)
{
	size_t n = 0;

	if (z->avail_in == 0) {
		int r = take_input(m, &n, err);

		if (r < 0)
			return r;
		z->next_in = m->inbuf;
		z->avail_in = (uInt)n;
	}
	if (z->avail_in == 0 || *z->next_in != 0x1f)
		return 0;
	if (inflateReset(z) != Z_OK)
		return out_of_memory(err);
	if (span_is_full(m)) {
		int r = open_span(m, m->in - z->avail_in, 0, NULL, 0, err);

		if (r < 0)
			return r;
	}
	return 1;
}

static int make_gzip(struct maker *m, z_stream *z, struct err *err)
{
	int r = open_span(m, 0, 0, NULL, 0, err);

	while (r == 0) {
		size_t n = 0;
		int code;

		if (z->avail_in == 0) {
			r = take_input(m, &n, err);
			if (r < 0)
				return r;
			z->next_in = m->inbuf;
			z->avail_in = (uInt)n;
			if (n == 0)
				return err_msg(err, -EBADMSG, "gzip: truncated");
		}
		z->next_out = m->outbuf;
		z->avail_out = OUT_CHUNK;
		code = inflate(z, Z_BLOCK);
		if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR)
			return err_msg(err, -EBADMSG, "gzip: %s", z->msg ? z->msg : "bad data");
		r = take_output(m, m->outbuf, OUT_CHUNK - z->avail_out, err);
		if (r < 0)
			return r;
		if (code != Z_STREAM_END) {
			r = look_for_start(m, z, err);
			continue;
		}
		r = next_member(m, z, err);
		if (r <= 0)
			break;
		r = 0;
	}
	/* padding, and what else is behind the last member, is part of the blob's digest */
	for (size_t n = 1; r == 0 && n > 0;)
		r = take_input(m, &n, err);
	return r;
}

static int make_plain(struct maker *m, struct err *err)
{
	size_t n = 1;
	int r = 0;

	while (r == 0 && n > 0) {
		uint64_t at = m->in;

		r = take_input(m, &n, err);
		if (r == 0 && n > 0 && span_is_full(m))
			r = open_span(m, at, 0, NULL, 0, err);
		if (r == 0 && n > 0)
			r = take_output(m, m->inbuf, n, err);
	}
	return r;
}

static int make_frame(struct maker *m, const uint8_t *p, size_t len, struct err *err)
{
	struct oci_inflate *z cleanup_oci_inflate = oci_inflate_new(OCI_ZSTD);
	struct oci_inflate_io io = {.in = p, .in_len = len};
	int r = z ? 0 : out_of_memory(err);

	while (r == 0) {
		io.out = m->outbuf;
		io.out_len = OUT_CHUNK;
		r = oci_inflate_step(z, &io, err);
		if (r == 0)
			r = take_output(m, m->outbuf, OUT_CHUNK - io.out_len, err);
		if (r == 0 && io.out_len > 0)
			break;
	}
	return r < 0 ? r : oci_inflate_finish(z, err);
}

static int make_zstd(struct maker *m, const uint8_t *p, size_t len, struct err *err)
{
	int r = hash_update(m->blob_hash, p, len);

	if (r < 0)
		return err_set(err, r, "read blob");
	while (r == 0 && m->in < len) {
		size_t n = ZSTD_findFrameCompressedSize(p + m->in, len - (size_t)m->in);

		if (ZSTD_isError(n))
			return err_msg(err, -EBADMSG, "zstd: %s", ZSTD_getErrorName(n));
		if (span_is_full(m))
			r = open_span(m, m->in, 0, NULL, 0, err);
		if (r == 0)
			r = make_frame(m, p + m->in, n, err);
		m->in += n;
	}
	return r;
}

static int make_all(struct maker *m, struct err *err)
{
	z_stream z = {.avail_in = 0};
	size_t len = (size_t)m->ref->desc.size;
	void *map;
	int r;

	switch (m->ref->compression) {
	case OCI_GZIP:
		if (inflateInit2(&z, 15 + 16) != Z_OK)
			return out_of_memory(err);
		r = make_gzip(m, &z, err);
		(void)inflateEnd(&z);
		return r;
	case OCI_ZSTD:
		map = mmap(NULL, len, PROT_READ, MAP_PRIVATE, m->fd, 0);
		if (map == MAP_FAILED)
			return err_set(err, -errno, "read blob");
		r = make_zstd(m, map, len, err);
		(void)munmap(map, len);
		return r;
	case OCI_PLAIN:
		break;
	}
	return make_plain(m, err);
}

static int check(struct maker *m, struct err *err)
{
	struct digest blob;
	int r = hash_final(m->blob_hash, &blob);

	if (r == 0)
		r = hash_final(m->tar_hash, &m->s.tar);
	if (r < 0)
		return err_set(err, r, "make spans");
	if (!digest_equal(&blob, &m->ref->desc.digest))
		return err_msg(err, -EBADMSG, "digest does not match: it is %s", blob.text);
	if (!digest_equal(&m->s.tar, &m->ref->diff_id) || m->out != m->tar_max)
		return err_msg(err, -EBADMSG, "diff id does not match: it is %s", m->s.tar.text);
	/* a start right at the end has nothing behind it */
	while (m->s.n > 1 && m->s.spans[m->s.n - 1].out == m->out)
		m->s.n--;
	return 0;
}

static void maker_release(struct maker *m)
{
	hash_free(m->blob_hash);
	hash_free(m->tar_hash);
	hash_free(m->span_hash);
	strbuf_release(&m->windows);
	free(m->s.spans);
	free(m->inbuf);
	free(m->outbuf);
}

int oci_spans_make(const struct oci_layer_ref *ref, int blob_fd, uint64_t tar_size,
		   uint64_t span_size, struct strbuf *out, struct err *err)
{
	struct maker *m cleanup_free = calloc(1, sizeof(*m));
	int r = 0;

	if (!m)
		return out_of_memory(err);
	if (digest_algorithm(&ref->diff_id) != DIGEST_SHA256)
		return err_msg(err, -EOPNOTSUPP, "a diff id that is no sha256 has no spans");
	if (ref->desc.size == 0 || tar_size == 0)
		return err_msg(err, -EOPNOTSUPP, "an empty layer has no spans");
	m->ref = ref;
	m->fd = blob_fd;
	m->size = span_size;
	m->tar_max = tar_size;
	strbuf_init(&m->windows);
	m->s.compression = ref->compression;
	m->s.blob_size = ref->desc.size;
	m->s.tar_size = tar_size;
	m->s.blob = ref->desc.digest;
	m->blob_hash = hash_new(digest_algorithm(&ref->desc.digest));
	m->tar_hash = hash_new(DIGEST_SHA256);
	m->inbuf = malloc(IN_CHUNK);
	m->outbuf = malloc(OUT_CHUNK);
	if (!m->blob_hash || !m->tar_hash || !m->inbuf || !m->outbuf)
		r = out_of_memory(err);
	if (r == 0)
		r = make_all(m, err);
	if (r == 0)
		r = close_span(m, err);
	if (r == 0)
		r = check(m, err);
	if (r == 0) {
		m->s.windows = (uint8_t *)m->windows.s;
		m->s.windows_size = m->windows.len;
		if (spans_write(&m->s, out) < 0)
			r = out_of_memory(err);
	}
	maker_release(m);
	return r < 0 ? err_wrap(err, r, "layer %s", ref->desc.digest.text) : 0;
}
