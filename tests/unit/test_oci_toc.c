/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "erofs/image.h"
#include "oci/limits.h"
#include "oci/spans.h"
#include "oci/toc_private.h"

#define DIGEST "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
#define FILE_AT(name, size, offset)                                                                \
	"{\"name\":\"" name "\",\"type\":\"reg\",\"size\":" size ",\"offset\":" offset             \
	",\"digest\":\"" DIGEST "\"}"

static struct oci_layer_ref layer;
static struct oci_limits limits;
static struct oci_layer_result result;
static struct oci_spans *spans;
static struct erofs_image *image;
static struct err err;
static size_t step; /* bytes of text that are given at once */

static void setup(void)
{
	layer = (struct oci_layer_ref){.compression = OCI_ZSTD};
	layer.toc.kind = OCI_TOC_ZSTD_CHUNKED;
	layer.desc.size = 10000;
	ck_assert_int_eq(digest_parse(DIGEST, &layer.desc.digest), 0);
	layer.diff_id = layer.toc.digest = layer.desc.digest;
	oci_limits_fill(NULL, &limits);
	err = (struct err)ERR_INIT;
	step = 1000;
}

static void drop(void)
{
	oci_spans_free(spans);
	erofs_image_close(image);
	spans = NULL;
	image = NULL;
}

static int on_member(void *ctx, const struct oci_tar_member *m, struct err *e)
{
	return toc_make_member(ctx, m, e);
}

static int on_chunk(void *ctx, const struct toc_chunk *c, struct err *e)
{
	return toc_make_chunk(ctx, c, e);
}

static int read_text(struct toc_make *m, const char *text)
{
	const struct toc_text_out out = {.member = on_member, .chunk = on_chunk, .ctx = m};
	struct toc_text *t = toc_text_new(&out);
	size_t len = strlen(text);
	int r = 0;

	ck_assert_ptr_nonnull(t);
	for (size_t i = 0; i < len && r == 0; i += step)
		r = toc_text_push(t, text + i, len - i < step ? len - i : step, &err);
	if (r == 0)
		r = toc_text_finish(t, &err);
	toc_text_free(t);
	return r;
}

/* A whole table; its contents may be in the first 9000 bytes of the blob. */
static int table(const char *text)
{
	struct toc_make *m = toc_make_new(&layer, &limits, 9000);
	struct strbuf file CLEANUP(strbuf_release) = STRBUF_INIT;
	int fd cleanup_close = memfd_create("index", MFD_CLOEXEC), r;

	drop();
	ck_assert(m && fd >= 0);
	r = read_text(m, text);
	if (r == 0)
		r = toc_make_finish(m, fd, &file, &result, &err);
	toc_make_free(m);
	ck_assert(r == 0 || err.msg[0]);
	if (r == 0) {
		/* what is made of it is what others believe in */
		ck_assert_int_eq(oci_spans_parse(file.s, file.len, &spans, &err), 0);
		ck_assert_int_eq(erofs_image_open(fd, &image, &err), 0);
	}
	return r;
}

static int entries(const char *list)
{
	char *text cleanup_free = NULL;

	ck_assert_int_gt(asprintf(&text, "{\"version\":1,\"entries\":[%s]}", list), 0);
	return table(text);
}

static void refused(const char *list, const char *why)
{
	int r = entries(list);

	ck_assert_msg(r == -EBADMSG && strstr(err.msg, why), "%s: %d, %s", list, r, err.msg);
}

START_TEST(good)
{
	static const char *const list =
		"{\"name\":\"d/\",\"type\":\"dir\",\"mode\":493,\"uid\":7,\"gid\":8},"
		"{\"name\":\"d/"
		"f\",\"type\":\"reg\",\"size\":1500,\"offset\":100,\"chunkSize\":1000,"
		"\"chunkDigest\":\"" DIGEST "\",\"modtime\":\"1970-01-02T01:00:00.25+01:00\","
		"\"xattrs\":{\"user.a\":\"aGVsbG8=\"}},"
		"{\"name\":\"d/f\",\"type\":\"chunk\",\"offset\":700,\"chunkOffset\":1000,"
		"\"chunkDigest\":\"" DIGEST "\"},"
		"{\"name\":\"d/s\",\"type\":\"symlink\",\"linkName\":\"f\"}," FILE_AT("g", "10",
										      "800");

	/* the same wherever the text is cut */
	for (step = 1; step < 40; step += 7) {
		struct erofs_stat st;
		const void *value;
		uint64_t nid;
		size_t len;

		ck_assert_msg(entries(list) == 0, "%s", err.msg);
		ck_assert_uint_eq(result.entries, 5); /* with the root */
		ck_assert_uint_eq(result.tar_size, 2048);
		ck_assert(oci_spans_is_by_table(spans));
		ck_assert_uint_eq(oci_spans_count(spans), 1);
		ck_assert_uint_eq(oci_spans_get(spans, 0)->n_pieces, 3);
		ck_assert_int_eq(erofs_image_inode(image, erofs_image_root(image), &st), 0);
		ck_assert_int_eq(erofs_image_lookup(image, &st, "d", 1, &nid), 0);
		ck_assert_int_eq(erofs_image_inode(image, nid, &st), 0);
		ck_assert(st.uid == 7 && st.gid == 8 && (st.mode & 07777) == 0755);
		ck_assert_int_eq(erofs_image_lookup(image, &st, "f", 1, &nid), 0);
		ck_assert_int_eq(erofs_image_inode(image, nid, &st), 0);
		ck_assert(st.size == 1500 && st.mtime == 86400 && st.mtime_nsec == 250000000);
		ck_assert_int_eq(erofs_image_getxattr(image, &st, "user.a", &value, &len), 0);
		ck_assert(len == 5 && memcmp(value, "hello", 5) == 0);
	}
}
END_TEST

START_TEST(chunks)
{
#define CHUNK(at, size, offset)                                                                    \
	"{\"name\":\"f\",\"type\":\"chunk\",\"chunkOffset\":" at ",\"chunkSize\":" size            \
	",\"offset\":" offset ",\"chunkDigest\":\"" DIGEST "\"}"
#define FIRST                                                                                      \
	"{\"name\":\"f\",\"type\":\"reg\",\"size\":3000,\"offset\":100,\"chunkSize\":1000,"        \
	"\"chunkDigest\":\"" DIGEST "\"},"
	ck_assert_int_eq(entries(FIRST CHUNK("1000", "2000", "200")), 0);
	/* overlapping, with a hole, too long, missing, of nothing, of another file */
	refused(FIRST CHUNK("500", "2000", "200"), "one behind the other");
	refused(FIRST CHUNK("1500", "1500", "200"), "one behind the other");
	refused(FIRST CHUNK("1000", "2001", "200"), "longer than its file");
	refused(FIRST CHUNK("1000", "18446744073709551615", "200"), "'chunkSize' is out of range");
	refused(FIRST CHUNK("1000", "1000", "200"), "missing");
	refused(FIRST FILE_AT("g", "10", "800"), "missing");
	refused(CHUNK("0", "10", "200"), "not behind its file");
	refused(FILE_AT("g", "10", "100") "," CHUNK("0", "10", "200"), "not behind its file");
	refused(FIRST CHUNK("1000", "2000", "200") "," CHUNK("3000", "0", "300"),
		"one behind the other");
	/* not in the blob's order, or twice the same bytes of it */
	refused(FIRST CHUNK("1000", "2000", "99"), "order of the blob");
	refused(FIRST CHUNK("1000", "2000", "100"), "order of the blob");
	/* outside: where the table is, behind the blob, before it */
	refused(FILE_AT("g", "10", "9000"), "outside");
	refused(FILE_AT("g", "10", "9223372036854775807"), "outside");
	refused(FILE_AT("g", "10", "-1"), "'offset' is out of range");
	refused("{\"name\":\"g\",\"type\":\"reg\",\"size\":10,\"offset\":1,\"digest\":\"sha256:"
		"1\"}",
		"digest is none");
}
END_TEST

/* Nothing wrong, but no layer can be lazy by it: it comes whole. */
START_TEST(too_little)
{
	ck_assert_int_eq(entries(""), -EOPNOTSUPP);
	ck_assert_int_eq(entries("{\"name\":\"g\",\"type\":\"reg\",\"size\":10,\"offset\":1}"),
			 -EOPNOTSUPP);
	ck_assert_int_eq(entries(FILE_AT("g", "67108865", "1")), -EOPNOTSUPP);
}
END_TEST

START_TEST(budgets)
{
	limits.entries = 3;
	ck_assert_int_eq(entries(FILE_AT("a", "1", "1") "," FILE_AT("b", "1", "2") "," FILE_AT(
				 "c", "1", "3") "," FILE_AT("d", "1", "4")),
			 -E2BIG);
	ck_assert_str_eq(err.hint, "if the image is trusted: --limit entries=N");
	limits.bytes = 1000;
	ck_assert_int_eq(entries(FILE_AT("a", "1001", "1")), -E2BIG);
	refused(FILE_AT("a", "9223372036854775807", "1"), "'size' is out of range");
	limits.depth = 3;
	ck_assert_int_eq(entries(FILE_AT("a/b/c/d", "1", "1")), -E2BIG);
	limits.xattr_bytes = 10;
	ck_assert_int_eq(entries("{\"name\":\"a\",\"type\":\"dir\",\"xattrs\":{\"user.a\":"
				 "\"aGVsbG8gaGVsbG8gaGVsbG8=\"}}"),
			 -E2BIG);
}
END_TEST

/* The rules of layers are those of tars: docs/SEMANTICS.md. */
START_TEST(names)
{
	struct erofs_stat st;
	uint64_t nid;

	/* .. leads nowhere but to the root */
	ck_assert_int_eq(entries(FILE_AT("../../a", "1", "1") "," FILE_AT("b/../../c", "1", "2")),
			 0);
	ck_assert_int_eq(erofs_image_inode(image, erofs_image_root(image), &st), 0);
	ck_assert_int_eq(erofs_image_lookup(image, &st, "a", 1, &nid), 0);
	ck_assert_int_eq(erofs_image_lookup(image, &st, "c", 1, &nid), 0);
	refused(FILE_AT("a/", "1", "1"), "directory's");
	refused(FILE_AT("a\\u0000b", "1", "1"), "NUL");
	refused("{\"name\":\"\",\"type\":\"chunk\"}", "not behind its file");
	refused("{\"type\":\"dir\"}", "no name");
	/* twice the same: as in a tar, the later one */
	ck_assert_int_eq(entries(FILE_AT("a", "1", "1") "," FILE_AT("a", "2", "2")), 0);
	ck_assert_uint_eq(result.entries, 2);
	/* links in a ring, and to themselves */
	refused(FILE_AT("f", "1", "1") ","
				       "{\"name\":\"a\",\"type\":\"hardlink\",\"linkName\":\"b\"},"
				       "{\"name\":\"b\",\"type\":\"hardlink\",\"linkName\":\"a\"}",
		"comes later");
	refused(FILE_AT("f", "1", "1") ",{\"name\":\"a\",\"type\":\"hardlink\",\"linkName\":\"a\"}",
		"link to itself");
}
END_TEST

START_TEST(values)
{
#define DIR(rest) "{\"name\":\"d\",\"type\":\"dir\"" rest "}"
	refused("{\"name\":\"d\"}", "unknown type");
	refused("{\"name\":\"d\",\"type\":\"socket\"}", "unknown type");
	refused(DIR(",\"uid\":4294967295"), "'uid' is out of range");
	refused(DIR(",\"mode\":-1"), "'mode' is out of range");
	refused(DIR(",\"mode\":\"x\""), "'mode' is out of range");
	refused(DIR(",\"devMajor\":4096"), "'devMajor' is out of range");
	refused(DIR(",\"modtime\":\"yesterday\""), "time");
	refused(DIR(",\"modtime\":\"2020-01-01T00:00:00\""), "time");
	refused(DIR(",\"modtime\":\"2020-01-01T00:00:00+1\""), "time");
	refused(DIR(",\"modtime\":\"2020-01-01T00:00:00Zx\""), "time");
	refused(DIR(",\"xattrs\":{\"user.a\":\"*\"}"), "base64");
	refused(DIR(",\"xattrs\":{\"user.a\":1}"), "xattr");
	refused(DIR(",\"type\":\"reg\""), "twice");
}
END_TEST

/* @n times @piece between the two. */
static char *repeat(const char *before, const char *piece, size_t n, const char *behind)
{
	struct strbuf text = STRBUF_INIT;
	int r = strbuf_add(&text, before, strlen(before));

	for (size_t i = 0; i < n && r == 0; i++)
		r = strbuf_add(&text, piece, strlen(piece));
	if (r == 0)
		r = strbuf_add(&text, behind, strlen(behind));
	ck_assert_int_eq(r, 0);
	return text.s;
}

START_TEST(documents)
{
	char *deep cleanup_free = repeat("{\"version\":1,\"entries\":[", "[", 5000, "");
	char *wide cleanup_free = repeat("{\"x\":[", "1,", JSON_LIVE_MAX, "1],\"entries\":[]}");
	char *fat cleanup_free = repeat("{\"entries\":[{\"x\":[", "1,", JSON_LIVE_MAX, "1]}]}");
	char *attrs cleanup_free =
		repeat("{\"entries\":[{\"name\":\"d\",\"type\":\"dir\",\"xattrs\":[", "\"\",", 300,
		       "\"\"]}]}");
	char *many cleanup_free = repeat("{\"version\":1,\"entries\":[", DIR("") ",", 200000,
					 FILE_AT("f", "1", "1") "]}");
	const struct {
		const char *text, *why;
	} bad[] = {
		{"", "JSON"},
		{"{}", "version"},
		{"[]", "version"},
		{"{\"version\":2,\"entries\":[]}", "version"},
		{"{\"version\":1}", "version"},
		{"{\"version\":1,\"entries\":{}}", "version"},
		{"{\"version\":1,\"entries\":[]}x", "JSON"},
		{"{\"version\":1,\"entries\":[", "JSON"},
		{"{\"version\":1,\"entries\":[1]}", "no name"},
		{"{\"version\":1,\"entries\":[[]]}", "no name"},
		{"{\"version\":1,\"entries\":[],\"entries\":[]}", "twice"},
		{deep, "too deep"},
		{wide, "too many values"},
		{fat, "too many values"},
		{attrs, "too many xattrs"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int r = table(bad[i].text);

		ck_assert_msg(r == -EBADMSG && strstr(err.msg, bad[i].why), "%zu: %d, %s", i, r,
			      err.msg);
	}
	/* but of entries there may be any number */
	ck_assert_msg(table(many) == 0, "%s", err.msg);
}
END_TEST

START_TEST(footer)
{
	uint8_t f[OCI_TOC_FOOTER + 1] = "\x1f\x8b\x08\x04\0\0\0\0\0\xff\x1a\0SG\x16\0"
					"0000000000001000STARGZ";
	uint64_t start = 0;

	ck_assert_int_eq(oci_toc_footer(f, 10000, &start, &err), 0);
	ck_assert_uint_eq(start, 4096);
	ck_assert_int_eq(oci_toc_footer(f, 4096 + OCI_TOC_FOOTER, &start, &err), -EBADMSG);
	ck_assert_int_eq(oci_toc_footer(f, 10, &start, &err), -EBADMSG);
	for (size_t i = 0; i < 38; i++) {
		if (i >= 4 && i < 10)
			continue; /* flags of the member that mean nothing here */
		f[i] ^= 0x80;
		ck_assert_int_eq(oci_toc_footer(f, 10000, &start, &err), -EBADMSG);
		f[i] ^= 0x80;
	}
}
END_TEST

static struct oci_toc_hint hint(const char *annotations, enum oci_compression compression)
{
	struct json *doc cleanup_json = NULL;
	struct oci_toc_hint h;

	ck_assert_int_eq(json_parse(annotations, strlen(annotations), &doc, &err), 0);
	oci_toc_hint_read(doc, compression, &h);
	return h;
}

START_TEST(hints)
{
#define CHUNKED(place)                                                                             \
	"{\"io.github.containers.zstd-chunked.manifest-checksum\":\"" DIGEST                       \
	"\",\"io.github.containers.zstd-chunked.manifest-position\":\"" place "\"}"
	struct oci_toc_hint h = hint(CHUNKED("10:20:30:1"), OCI_ZSTD);

	ck_assert(h.kind == OCI_TOC_ZSTD_CHUNKED && h.off == 10 && h.len == 20 && h.raw == 30);
	ck_assert_int_eq(hint(CHUNKED("10:20:30:1"), OCI_GZIP).kind, OCI_TOC_NONE);
	ck_assert_int_eq(hint("{}", OCI_ZSTD).kind, OCI_TOC_NONE);
	ck_assert_int_eq(hint(CHUNKED("10:20:30:2"), OCI_ZSTD).kind, OCI_TOC_BAD);
	ck_assert_int_eq(hint(CHUNKED("10:20:30"), OCI_ZSTD).kind, OCI_TOC_BAD);
	ck_assert_int_eq(hint(CHUNKED("10:20:30:1:"), OCI_ZSTD).kind, OCI_TOC_BAD);
	ck_assert_int_eq(hint(CHUNKED("-10:20:30:1"), OCI_ZSTD).kind, OCI_TOC_BAD);
	ck_assert_int_eq(hint(CHUNKED("18446744073709551615:2:3:1"), OCI_ZSTD).kind, OCI_TOC_BAD);
	ck_assert_int_eq(
		hint("{\"containerd.io/snapshot/stargz/toc.digest\":\"" DIGEST "\"}", OCI_GZIP)
			.kind,
		OCI_TOC_ESTARGZ);
	ck_assert_int_eq(
		hint("{\"containerd.io/snapshot/stargz/toc.digest\":\"sha256:1\"}", OCI_GZIP).kind,
		OCI_TOC_BAD);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("oci_toc");
	TCase *tc = tcase_create("toc");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, setup, drop);
	tcase_add_test(tc, good);
	tcase_add_test(tc, chunks);
	tcase_add_test(tc, too_little);
	tcase_add_test(tc, budgets);
	tcase_add_test(tc, names);
	tcase_add_test(tc, values);
	tcase_add_test(tc, documents);
	tcase_add_test(tc, footer);
	tcase_add_test(tc, hints);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
