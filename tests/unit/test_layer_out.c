/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <libdeflate.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <zstd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "oci/compress.h"
#include "oci/layer_out.h"
#include "oci/tar_out.h"

static struct err e;

/* The header blocks of @entry: the extended header's records (may be empty) and the ustar block. */
static void header_of(const struct oci_tar_entry *entry, struct strbuf *records, char block[512])
{
	struct strbuf out = STRBUF_INIT;
	size_t at = 0, size;

	ck_assert_int_eq(oci_tar_header(entry, &out, &e), 0);
	ck_assert_uint_eq(out.len % 512, 0);
	strbuf_reset(records);
	if (out.s[156] == 'x') {
		size = strtoul(out.s + 124, NULL, 8);
		ck_assert_int_eq(strbuf_add(records, out.s + 512, size), 0);
		at = 512 + (size + 511) / 512 * 512;
	}
	ck_assert_uint_eq(out.len, at + 512);
	memcpy(block, out.s + at, 512);
	strbuf_release(&out);
}

static void check_sum(const char *block)
{
	unsigned int sum = 0;

	for (int i = 0; i < 512; i++)
		sum += i >= 148 && i < 156 ? ' ' : (unsigned char)block[i];
	ck_assert_uint_eq(strtoul(block + 148, NULL, 8), sum);
	ck_assert_mem_eq(block + 257, "ustar\00000", 8);
}

START_TEST(plain_header)
{
	struct strbuf rec = STRBUF_INIT;
	char b[512];
	struct oci_tar_entry t = {
		.path = "etc/passwd",
		.st = {.st_mode = S_IFREG | 04755,
		       .st_uid = 1000,
		       .st_gid = 2097151,
		       .st_size = 1234,
		       .st_mtim = {1700000000, 0}},
		.data_fd = -1,
	};

	header_of(&t, &rec, b);
	check_sum(b);
	ck_assert_uint_eq(rec.len, 0);
	ck_assert_str_eq(b, "etc/passwd");
	ck_assert_str_eq(b + 100, "0004755");
	ck_assert_str_eq(b + 108, "0001750");
	ck_assert_str_eq(b + 116, "7777777");
	ck_assert_str_eq(b + 124, "00000002322");
	ck_assert_str_eq(b + 136, "14524770400");
	ck_assert_int_eq(b[156], '0');
	t.hardlink = "etc/other";
	header_of(&t, &rec, b);
	ck_assert_int_eq(b[156], '1');
	ck_assert_str_eq(b + 157, "etc/other");
	ck_assert_str_eq(b + 124, "00000000000");
	strbuf_release(&rec);
}
END_TEST

START_TEST(file_types)
{
	struct strbuf rec = STRBUF_INIT;
	char b[512];
	struct oci_tar_entry t = {.path = "d", .st = {.st_mode = S_IFDIR | 0755}};

	header_of(&t, &rec, b);
	ck_assert_int_eq(b[156], '5');
	ck_assert_str_eq(b, "d/");
	t.path = "";
	header_of(&t, &rec, b);
	ck_assert_str_eq(b, "./");
	t = (struct oci_tar_entry){.path = "n",
				   .st = {.st_mode = S_IFCHR, .st_rdev = makedev(5, 1048575)}};
	header_of(&t, &rec, b);
	ck_assert_int_eq(b[156], '3');
	ck_assert_str_eq(b + 329, "0000005");
	ck_assert_str_eq(b + 337, "3777777");
	t.st.st_mode = S_IFBLK;
	header_of(&t, &rec, b);
	ck_assert_int_eq(b[156], '4');
	t.st.st_mode = S_IFIFO;
	header_of(&t, &rec, b);
	ck_assert_int_eq(b[156], '6');
	t = (struct oci_tar_entry){.path = "l", .st = {.st_mode = S_IFLNK}, .target = "to"};
	header_of(&t, &rec, b);
	ck_assert_int_eq(b[156], '2');
	ck_assert_str_eq(b + 157, "to");
	t.target = "";
	ck_assert_int_eq(oci_tar_header(&t, &rec, &e), -EINVAL);
	t.st.st_mode = S_IFSOCK;
	ck_assert_int_eq(oci_tar_header(&t, &rec, &e), -EINVAL);
	strbuf_release(&rec);
}
END_TEST

START_TEST(long_names)
{
	struct strbuf rec = STRBUF_INIT;
	char b[512], name[400], want[450];
	struct oci_tar_entry t = {.path = name, .st = {.st_mode = S_IFREG}};

	/* exactly 100 fills the field without a NUL */
	memset(name, 'a', 100);
	name[100] = '\0';
	header_of(&t, &rec, b);
	ck_assert_uint_eq(rec.len, 0);
	ck_assert_mem_eq(b, name, 100);
	/* 155 + '/' + 100 is the most that can be cut */
	memset(name, 'p', 155);
	name[155] = '/';
	memset(name + 156, 'n', 100);
	name[256] = '\0';
	header_of(&t, &rec, b);
	ck_assert_uint_eq(rec.len, 0);
	ck_assert_mem_eq(b, name + 156, 100);
	ck_assert_mem_eq(b + 345, name, 155);
	/* no place to cut */
	name[155] = 'x';
	name[156] = '\0';
	header_of(&t, &rec, b);
	snprintf(want, sizeof(want), "166 path=%s\n", name);
	ck_assert_str_eq(rec.s, want);
	/* a link's target has no prefix field */
	t = (struct oci_tar_entry){.path = "l", .st = {.st_mode = S_IFLNK}, .target = name};
	header_of(&t, &rec, b);
	snprintf(want, sizeof(want), "170 linkpath=%s\n", name);
	ck_assert_str_eq(rec.s, want);
	strbuf_release(&rec);
}
END_TEST

START_TEST(record_length_counts_itself)
{
	struct strbuf rec = STRBUF_INIT;
	char b[512], name[1200];
	struct oci_tar_entry t = {.path = name, .st = {.st_mode = S_IFREG}};

	for (size_t n = 101; n < 1100; n++) {
		memset(name, 'a', n);
		name[n] = '\0';
		header_of(&t, &rec, b);
		ck_assert_uint_eq(strtoul(rec.s, NULL, 10), rec.len);
	}
	strbuf_release(&rec);
}
END_TEST

START_TEST(odd_names)
{
	struct strbuf rec = STRBUF_INIT;
	char b[512], name[300];
	struct oci_tar_entry t = {.path = "gr\xc3\xbc\xc3\x9f", .st = {.st_mode = S_IFREG}};

	header_of(&t, &rec, b);
	ck_assert_str_eq(rec.s, "15 path=gr\xc3\xbc\xc3\x9f\n");
	t.path = "no\xff\xfetext\n";
	header_of(&t, &rec, b);
	ck_assert_uint_eq(rec.len, 0);
	ck_assert_str_eq(b, t.path);
	memset(name, '\xff', 200);
	name[200] = '\0';
	t.path = name;
	header_of(&t, &rec, b);
	ck_assert_int_eq(strncmp(rec.s, "21 hdrcharset=BINARY\n210 path=\xff", 31), 0);
	/* overlong, surrogate, beyond the last: none of them is UTF-8 */
	t.path = "\xc0\xaf";
	header_of(&t, &rec, b);
	ck_assert_uint_eq(rec.len, 0);
	t.path = "\xed\xa0\x80";
	header_of(&t, &rec, b);
	ck_assert_uint_eq(rec.len, 0);
	t.path = "\xf4\x90\x80\x80";
	header_of(&t, &rec, b);
	ck_assert_uint_eq(rec.len, 0);
	t.path = "cut\xe2\x82";
	header_of(&t, &rec, b);
	ck_assert_uint_eq(rec.len, 0);
	strbuf_release(&rec);
}
END_TEST

START_TEST(big_numbers)
{
	struct strbuf rec = STRBUF_INIT;
	char b[512];
	struct oci_tar_entry t = {
		.path = "f",
		.st = {.st_mode = S_IFREG,
		       .st_uid = 2097152,
		       .st_gid = 4294967294U,
		       .st_size = 8589934592LL,
		       .st_mtim = {8589934591LL, 0}},
	};

	header_of(&t, &rec, b);
	ck_assert_str_eq(rec.s, "15 uid=2097152\n18 gid=4294967294\n19 size=8589934592\n");
	ck_assert_str_eq(b + 136, "77777777777");
	strbuf_release(&rec);
}
END_TEST

START_TEST(times)
{
	static const struct {
		struct timespec ts;
		const char *want;
	} cases[] = {
		{{0, 0}, ""},
		{{1, 5}, "21 mtime=1.000000005\n"},
		{{1, 500000000}, "13 mtime=1.5\n"},
		{{-1, 0}, "12 mtime=-1\n"},
		{{-1, 500000000}, "14 mtime=-0.5\n"},
		{{-2, 750000000}, "15 mtime=-1.25\n"},
		{{-1, 999999999}, "22 mtime=-0.000000001\n"},
		{{-100, 0}, "14 mtime=-100\n"},
		{{8589934592LL, 0}, "20 mtime=8589934592\n"},
		{{INT64_MIN, 0}, "30 mtime=-9223372036854775808\n"},
		{{INT64_MAX, 1}, "39 mtime=9223372036854775807.000000001\n"},
	};
	struct strbuf rec = STRBUF_INIT;
	char b[512];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct oci_tar_entry t = {.path = "f",
					  .st = {.st_mode = S_IFREG, .st_mtim = cases[i].ts}};

		header_of(&t, &rec, b);
		ck_assert_str_eq(rec.s, cases[i].want);
	}
	strbuf_release(&rec);
}
END_TEST

START_TEST(xattrs)
{
	static const struct oci_tar_xattr x[] = {
		{"security.capability", "\1\0\0\2", 4},
		{"user.a=b", "\377\376\375\374", 4},
		{"user.empty", "", 0},
	};
	static const char want[] = "41 SCHILY.xattr.security.capability=\1\0\0\2\n"
				   "38 LIBARCHIVE.xattr.user.a%3Db=//79/A\n"
				   "28 SCHILY.xattr.user.empty=\n";
	struct strbuf rec = STRBUF_INIT;
	char b[512];
	struct oci_tar_entry t = {
		.path = "f", .st = {.st_mode = S_IFREG}, .xattrs = x, .n_xattrs = 3};

	header_of(&t, &rec, b);
	ck_assert_uint_eq(rec.len, sizeof(want) - 1);
	ck_assert_mem_eq(rec.s, want, rec.len);
	strbuf_release(&rec);
}
END_TEST

static int scratch(void)
{
	int fd = memfd_create("scratch", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	return fd;
}

/* 5 MiB that compress somewhat, the same each time. */
static int content(size_t size)
{
	uint32_t x = 1;
	int fd = scratch();
	char *p = malloc(size);

	ck_assert_ptr_nonnull(p);
	for (size_t i = 0; i < size; i++) {
		x = x * 1103515245 + 12345;
		p[i] = (char)(x >> 28);
	}
	ck_assert_int_eq(io_write_full(fd, p, size), 0);
	free(p);
	return fd;
}

#define CONTENT_SIZE (5 * 1024 * 1024 + 77)

static void write_layer(struct oci_layer_writer_options *opt, int fd, struct oci_layer_ref *ref)
{
	struct oci_layer_writer *w = NULL;
	int data cleanup_close = content(CONTENT_SIZE + 10);
	const struct oci_tar_entry entries[] = {
		{.path = "", .st = {.st_mode = S_IFDIR | 0755}},
		{.path = "a", .st = {.st_mode = S_IFDIR | 0700, .st_mtim = {2000, 1}}},
		{.path = "a/f",
		 .data_fd = data,
		 .data_off = 10,
		 .st = {.st_mode = S_IFREG | 0644, .st_size = CONTENT_SIZE, .st_mtim = {1000, 5}}},
		{.path = "a/g",
		 .hardlink = "a/f",
		 .st = {.st_mode = S_IFREG | 0644, .st_size = CONTENT_SIZE, .st_mtim = {1000, 5}}},
		{.path = "a/sock", .st = {.st_mode = S_IFSOCK}},
	};

	ck_assert_int_eq(oci_layer_writer_new(fd, opt, &w, &e), 0);
	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
		ck_assert_int_eq(oci_layer_writer_entry(w, &entries[i], &e), 0);
	ck_assert_int_eq(oci_layer_writer_whiteout(w, "a/gone", &e), 0);
	ck_assert_int_eq(oci_layer_writer_whiteout(w, "top", &e), 0);
	ck_assert_int_eq(oci_layer_writer_opaque(w, "a", &e), 0);
	ck_assert_int_eq(oci_layer_writer_opaque(w, "", &e), 0);
	ck_assert_int_eq(oci_layer_writer_whiteout(w, "", &e), -EINVAL);
	ck_assert_int_eq(oci_layer_writer_finish(w, ref, &e), 0);
	oci_layer_writer_free(w);
}

START_TEST(same_for_any_threads)
{
	static const char *const types[] = {
		"application/vnd.oci.image.layer.v1.tar",
		"application/vnd.oci.image.layer.v1.tar+gzip",
		"application/vnd.oci.image.layer.v1.tar+zstd",
	};
	struct oci_layer_ref first, ref;
	struct digest d;

	/* eleven blocks of gzip */
	static const unsigned int counts[] = {1, 2, 3, 4, 8, 16};

	for (size_t k = 0; k < sizeof(counts) / sizeof(counts[0]); k++) {
		int fd cleanup_close = scratch();
		int tar cleanup_close = scratch();
		struct oci_layer_writer_options opt = {.compression = (enum oci_compression)_i,
						       .threads = counts[k],
						       .tar_fd = tar};

		write_layer(&opt, fd, &ref);
		if (k == 0)
			first = ref;
		ck_assert_str_eq(ref.desc.media_type, types[_i]);
		ck_assert(digest_equal(&ref.desc.digest, &first.desc.digest));
		ck_assert(digest_equal(&ref.diff_id, &first.diff_id));
		ck_assert_uint_eq(ref.desc.size, (uint64_t)lseek(fd, 0, SEEK_END));
		ck_assert_int_eq(digest_fd(DIGEST_SHA256, fd, &d), 0);
		ck_assert(digest_equal(&d, &ref.desc.digest));
		ck_assert_int_eq(digest_fd(DIGEST_SHA256, tar, &d), 0);
		ck_assert(digest_equal(&d, &ref.diff_id));
	}
}
END_TEST

/* The whole blob, inflated by another way than it was made. */
static void inflate_all(enum oci_compression how, const char *in, size_t len, struct strbuf *out)
{
	char *buf = malloc(CONTENT_SIZE * 2);
	size_t used, got;

	ck_assert_ptr_nonnull(buf);
	if (how == OCI_ZSTD) {
		got = ZSTD_decompress(buf, CONTENT_SIZE * 2, in, len);
		ck_assert(!ZSTD_isError(got));
		ck_assert_int_eq(strbuf_add(out, buf, got), 0);
	} else {
		struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();

		for (; len > 0; in += used, len -= used) {
			ck_assert_int_eq(libdeflate_gzip_decompress_ex(
						 d, in, len, buf, CONTENT_SIZE * 2, &used, &got),
					 LIBDEFLATE_SUCCESS);
			ck_assert_int_eq(strbuf_add(out, buf, got), 0);
		}
		libdeflate_free_decompressor(d);
	}
	free(buf);
}

START_TEST(inflates_to_the_tar)
{
	int fd cleanup_close = scratch();
	int tar cleanup_close = scratch();
	struct oci_layer_writer_options opt = {.compression = (enum oci_compression)_i,
					       .tar_fd = tar};
	struct strbuf got = STRBUF_INIT;
	struct oci_layer_ref ref;
	struct digest d;
	char *blob;

	write_layer(&opt, fd, &ref);
	blob = malloc(ref.desc.size);
	ck_assert_ptr_nonnull(blob);
	ck_assert_int_eq(io_pread_full(fd, blob, ref.desc.size, 0), 0);
	inflate_all(opt.compression, blob, ref.desc.size, &got);
	ck_assert_int_eq(digest_buffer(DIGEST_SHA256, got.s, got.len, &d), 0);
	ck_assert(digest_equal(&d, &ref.diff_id));
	ck_assert_ptr_nonnull(memmem(got.s, got.len, "a/.wh.gone\0", 11));
	ck_assert_ptr_nonnull(memmem(got.s, got.len, "a/.wh..wh..opq\0", 15));
	ck_assert_ptr_null(memmem(got.s, got.len, "a/sock", 6));
	free(blob);
	strbuf_release(&got);
}
END_TEST

START_TEST(clamps)
{
	int fd cleanup_close = scratch();
	struct oci_layer_writer_options opt = {
		.compression = OCI_PLAIN, .has_clamp = true, .clamp_mtime = 1000, .tar_fd = -1};
	struct oci_layer_ref ref;
	char block[1024];

	write_layer(&opt, fd, &ref);
	ck_assert_int_eq(io_pread_full(fd, block, sizeof(block), 0), 0);
	/* "a" was at 2000.000000001: now 1000 without a record, so behind "./" at once */
	ck_assert_str_eq(block + 512, "a/");
	ck_assert_str_eq(block + 512 + 136, "00000001750");
}
END_TEST

START_TEST(file_gets_shorter)
{
	struct oci_layer_writer_options opt = {.compression = OCI_PLAIN, .tar_fd = -1};
	int fd cleanup_close = scratch();
	int data cleanup_close = content(100);
	struct oci_tar_entry t = {
		.path = "f", .data_fd = data, .st = {.st_mode = S_IFREG, .st_size = 101}};
	struct oci_layer_writer *w = NULL;

	ck_assert_int_eq(oci_layer_writer_new(fd, &opt, &w, &e), 0);
	ck_assert_int_eq(oci_layer_writer_entry(w, &t, &e), -EAGAIN);
	ck_assert_ptr_nonnull(strstr(e.msg, "'f'"));
	oci_layer_writer_free(w);
}
END_TEST

START_TEST(levels)
{
	struct oci_layer_writer_options opt = {.compression = OCI_GZIP, .level = 13, .tar_fd = -1};
	struct oci_layer_writer *w = NULL;

	ck_assert_int_eq(oci_layer_writer_new(-1, &opt, &w, &e), -EINVAL);
	opt = (struct oci_layer_writer_options){.compression = OCI_ZSTD, .level = 23};
	ck_assert_int_eq(oci_layer_writer_new(-1, &opt, &w, &e), -EINVAL);
	opt.level = -1;
	ck_assert_int_eq(oci_layer_writer_new(-1, &opt, &w, &e), -EINVAL);
	opt = (struct oci_layer_writer_options){.compression = OCI_PLAIN, .level = 1};
	ck_assert_int_eq(oci_layer_writer_new(-1, &opt, &w, &e), -EINVAL);
	ck_assert_ptr_null(w);
}
END_TEST

static int full_sink(void *ctx, const void *data, size_t len, struct err *err)
{
	(void)ctx;
	(void)data;
	(void)len;
	return err_set(err, -ENOSPC, "full");
}

/* The sink's error comes out, and what still runs is waited for. */
START_TEST(sink_fails)
{
	static const char zeros[1 << 16];
	struct oci_compress *c = NULL;
	int r = 0;

	ck_assert_int_eq(oci_compress_new((enum oci_compression)_i, 0, 2, full_sink, NULL, &c, &e),
			 0);
	for (int i = 0; i < 400 && !r; i++)
		r = oci_compress_write(c, zeros, sizeof(zeros), &e);
	if (!r)
		r = oci_compress_finish(c, &e);
	ck_assert_int_eq(r, -ENOSPC);
	oci_compress_free(c);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("layer_out");
	TCase *h = tcase_create("header"), *l = tcase_create("layer");
	SRunner *sr;
	int failed;

	tcase_add_test(h, plain_header);
	tcase_add_test(h, file_types);
	tcase_add_test(h, long_names);
	tcase_add_test(h, record_length_counts_itself);
	tcase_add_test(h, odd_names);
	tcase_add_test(h, big_numbers);
	tcase_add_test(h, times);
	tcase_add_test(h, xattrs);
	suite_add_tcase(s, h);
	tcase_add_loop_test(l, same_for_any_threads, 0, 3);
	tcase_add_loop_test(l, inflates_to_the_tar, 1, 3);
	tcase_add_test(l, clamps);
	tcase_add_test(l, file_gets_shorter);
	tcase_add_test(l, levels);
	tcase_add_loop_test(l, sink_fails, 0, 3);
	suite_add_tcase(s, l);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
