/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "oci/spans.h"

/* Blobs are made in memory, cut into spans, and each span is had alone, in a random order. */

#define SPAN 65536

static uint32_t seed = 1;

static uint32_t number(void)
{
	seed = seed * 1664525 + 1013904223;
	return seed >> 8;
}

/* Text that is like a layer's: words that come again, and stretches that do not compress. */
static uint8_t *make_tar(size_t len)
{
	uint8_t *p = malloc(len);
	size_t i = 0;

	ck_assert_ptr_nonnull(p);
	while (i < len) {
		uint32_t kind = number() % 8, n = number() % 3000 + 1;

		for (uint32_t k = 0; k < n && i < len; k++, i++)
			p[i] = kind == 0    ? (uint8_t)number()
			       : kind == 1  ? 0
			       : i < 20000u ? (uint8_t)("abcdefgh"[number() % 8])
					    : p[i - 1 - (n * 7) % 19999];
	}
	return p;
}

static int file_of(const void *data, size_t len)
{
	int fd = memfd_create("spans", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(io_pwrite_full(fd, data, len, 0), 0);
	return fd;
}

static size_t gzip(const uint8_t *in, size_t len, uint8_t *out, size_t room, int level)
{
	z_stream z = {.next_in = (Bytef *)(uintptr_t)in, .avail_in = (uInt)len};

	ck_assert_int_eq(deflateInit2(&z, level, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
	z.next_out = out;
	z.avail_out = (uInt)room;
	ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
	deflateEnd(&z);
	return room - z.avail_out;
}

struct made {
	struct oci_layer_ref ref;
	uint8_t *tar, *blob;
	size_t tar_len, blob_len;
	int blob_fd;
	struct strbuf text;
	struct oci_spans *spans;
};

static void make_spans(struct made *m, enum oci_compression how)
{
	struct err err = ERR_INIT;

	m->ref.compression = how;
	m->ref.desc.size = m->blob_len;
	ck_assert_int_eq(digest_buffer(DIGEST_SHA256, m->blob, m->blob_len, &m->ref.desc.digest),
			 0);
	ck_assert_int_eq(digest_buffer(DIGEST_SHA256, m->tar, m->tar_len, &m->ref.diff_id), 0);
	m->blob_fd = file_of(m->blob, m->blob_len);
	strbuf_init(&m->text);
	ck_assert_msg(oci_spans_make(&m->ref, m->blob_fd, m->tar_len, SPAN, &m->text, &err) == 0,
		      "%s", err.msg);
	ck_assert_msg(oci_spans_parse(m->text.s, m->text.len, &m->spans, &err) == 0, "%s", err.msg);
	ck_assert_uint_eq(oci_spans_tar_size(m->spans), m->tar_len);
	ck_assert_uint_eq(oci_spans_blob_size(m->spans), m->blob_len);
	ck_assert(digest_equal(oci_spans_tar(m->spans), &m->ref.diff_id));
	ck_assert(digest_equal(oci_spans_blob(m->spans), &m->ref.desc.digest));
}

static void made_release(struct made *m)
{
	oci_spans_free(m->spans);
	strbuf_release(&m->text);
	close(m->blob_fd);
	free(m->blob);
	free(m->tar);
}

/* Each span from a file that has its bytes of the blob and nothing else. */
static void check_each(struct made *m)
{
	uint8_t *got = malloc(m->tar_len);
	size_t n = oci_spans_count(m->spans), i = number() % n;
	int data = file_of("", 0);

	ck_assert_ptr_nonnull(got);
	for (size_t k = 0; k < n; k++, i = (i + 7919) % n) {
		const struct oci_span *x = oci_spans_get(m->spans, i);
		int part = memfd_create("part", MFD_CLOEXEC);
		struct err err = ERR_INIT;

		ck_assert_int_eq(io_pwrite_full(part, m->blob + x->in, x->in_len, (off_t)x->in), 0);
		ck_assert_msg(oci_spans_inflate(m->spans, i, part, data, &err) == 0, "%zu: %s", i,
			      err.msg);
		ck_assert_int_eq(io_pread_full(data, got, x->out_len, (off_t)x->out), 0);
		ck_assert_int_eq(memcmp(got, m->tar + x->out, x->out_len), 0);
		ck_assert_int_eq(oci_spans_verify(m->spans, i, data), 1);
		close(part);
		if (n % 7919 == 0)
			break;
	}
	close(data);
	free(got);
}

static void new_tar(struct made *m, size_t len)
{
	memset(m, 0, sizeof(*m));
	m->tar = make_tar(len);
	m->tar_len = len;
	m->blob = malloc(2 * len + 1000);
	ck_assert_ptr_nonnull(m->blob);
}

START_TEST(test_gzip)
{
	for (int level = 1; level <= 9; level += 4) {
		struct made m;

		new_tar(&m, 3000000 + number() % 5000);
		m.blob_len = gzip(m.tar, m.tar_len, m.blob, 2 * m.tar_len + 1000, level);
		make_spans(&m, OCI_GZIP);
		ck_assert_uint_gt(oci_spans_count(m.spans), 10);
		check_each(&m);
		made_release(&m);
	}
}
END_TEST

/* Members of all lengths, an empty one among them, and padding behind the last. */
START_TEST(test_members)
{
	for (size_t grow = 2; grow < 9; grow++) {
		struct made m;
		size_t pos = 0;

		new_tar(&m, 1000000 + number() % 9999);
		for (size_t n = 1; pos < m.tar_len; n = n * grow + number() % 100) {
			size_t len = n % 150000 < m.tar_len - pos ? n % 150000 : m.tar_len - pos;
			int level = (int)(n % 9) + 1;

			m.blob_len +=
				gzip(m.tar + pos, len, m.blob + m.blob_len, 2 * len + 1000, level);
			if (n % 2)
				m.blob_len += gzip(m.tar, 0, m.blob + m.blob_len, 100, 6);
			pos += len;
		}
		memset(m.blob + m.blob_len, 0, 400);
		m.blob_len += grow * 40;
		make_spans(&m, OCI_GZIP);
		ck_assert_uint_gt(oci_spans_count(m.spans), 5);
		check_each(&m);
		made_release(&m);
	}
}
END_TEST

START_TEST(test_zstd)
{
	for (size_t frame = 5000; frame < 1u << 22; frame *= 9) {
		struct made m;

		new_tar(&m, 1500000);
		for (size_t pos = 0; pos < m.tar_len; pos += frame) {
			size_t len = m.tar_len - pos < frame ? m.tar_len - pos : frame;

			m.blob_len += ZSTD_compress(m.blob + m.blob_len, 2 * len + 1000,
						    m.tar + pos, len, 3);
		}
		make_spans(&m, OCI_ZSTD);
		if (frame < SPAN)
			ck_assert_uint_gt(oci_spans_count(m.spans), 10);
		else if (frame > m.tar_len)
			ck_assert_uint_eq(oci_spans_count(m.spans), 1);
		check_each(&m);
		made_release(&m);
	}
}
END_TEST

START_TEST(test_plain)
{
	struct made m;

	new_tar(&m, 1000001);
	memcpy(m.blob, m.tar, m.tar_len);
	m.blob_len = m.tar_len;
	make_spans(&m, OCI_PLAIN);
	ck_assert_uint_eq(oci_spans_count(m.spans), (m.tar_len + SPAN - 1) / SPAN);
	check_each(&m);
	made_release(&m);
}
END_TEST

/* Whatever byte of the blob is another one: an error, or the right bytes. */
START_TEST(test_corrupt_blob)
{
	struct made m;
	int data = file_of("", 0);

	new_tar(&m, 400000);
	m.blob_len = gzip(m.tar, m.tar_len, m.blob, 2 * m.tar_len, 6);
	make_spans(&m, OCI_GZIP);
	for (int k = 0; k < 300; k++) {
		size_t i = number() % oci_spans_count(m.spans);
		const struct oci_span *x = oci_spans_get(m.spans, i);
		off_t at = (off_t)(x->in + number() % x->in_len);
		uint8_t was = m.blob[at], is = (uint8_t)(was ^ 1u << number() % 8);
		struct err err = ERR_INIT;
		int r;

		ck_assert_int_eq(pwrite(m.blob_fd, &is, 1, at), 1);
		r = oci_spans_inflate(m.spans, i, m.blob_fd, data, &err);
		ck_assert(r == 0 || r == -EBADMSG);
		/* an error may also come before the first byte is written */
		ck_assert(r < 0 || oci_spans_verify(m.spans, i, data) == 1);
		ck_assert_int_eq(pwrite(m.blob_fd, &was, 1, at), 1);
		ck_assert_int_eq(oci_spans_inflate(m.spans, i, m.blob_fd, data, &err), 0);
	}
	/* and with nothing there at all */
	ck_assert_int_eq(ftruncate(m.blob_fd, 10), 0);
	ck_assert_int_lt(oci_spans_inflate(m.spans, 0, m.blob_fd, data, NULL), 0);
	close(data);
	made_release(&m);
}
END_TEST

START_TEST(test_corrupt_file)
{
	struct made m;
	struct oci_spans *s;

	new_tar(&m, 300000);
	m.blob_len = gzip(m.tar, m.tar_len, m.blob, 2 * m.tar_len, 6);
	make_spans(&m, OCI_GZIP);
	for (size_t i = 0; i < m.text.len; i += 1 + number() % 97) {
		m.text.s[i] ^= 4;
		ck_assert_int_eq(oci_spans_parse(m.text.s, m.text.len, &s, NULL), -EBADMSG);
		m.text.s[i] ^= 4;
	}
	for (size_t len = 0; len < m.text.len; len += 1 + number() % 97)
		ck_assert_int_eq(oci_spans_parse(m.text.s, len, &s, NULL), -EBADMSG);
	made_release(&m);
}
END_TEST

/* What is not the blob, or not the tar, that was named. */
START_TEST(test_other_blob)
{
	struct made m;
	struct strbuf out CLEANUP(strbuf_release) = STRBUF_INIT;

	new_tar(&m, 300000);
	m.blob_len = gzip(m.tar, m.tar_len, m.blob, 2 * m.tar_len, 6);
	make_spans(&m, OCI_GZIP);
	m.ref.diff_id.text[20] ^= 1;
	ck_assert_int_eq(oci_spans_make(&m.ref, m.blob_fd, m.tar_len, SPAN, &out, NULL), -EBADMSG);
	m.ref.diff_id.text[20] ^= 1;
	ck_assert_int_eq(oci_spans_make(&m.ref, m.blob_fd, m.tar_len - 1, SPAN, &out, NULL),
			 -EBADMSG);
	m.ref.desc.size--;
	ck_assert_int_eq(oci_spans_make(&m.ref, m.blob_fd, m.tar_len, SPAN, &out, NULL), -EBADMSG);
	ck_assert_uint_eq(out.len, 0);
	made_release(&m);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("oci_spans");
	TCase *c = tcase_create("spans");
	SRunner *sr;
	int failed;

	tcase_add_test(c, test_gzip);
	tcase_add_test(c, test_members);
	tcase_add_test(c, test_zstd);
	tcase_add_test(c, test_plain);
	tcase_add_test(c, test_corrupt_blob);
	tcase_add_test(c, test_corrupt_file);
	tcase_add_test(c, test_other_blob);
	suite_add_tcase(s, c);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
