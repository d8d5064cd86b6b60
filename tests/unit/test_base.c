/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/io.h"
#include "base/json.h"
#include "base/strbuf.h"

static int scratch = -1;
static char scratch_path[] = "/tmp/test-base-XXXXXX";

static void setup(void)
{
	strcpy(scratch_path + sizeof(scratch_path) - 7, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(scratch_path));
	scratch = open(scratch_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(scratch, 0);
}

static void teardown(void)
{
	close(scratch);
	ck_assert_int_eq(io_remove_tree(AT_FDCWD, scratch_path), 0);
}

START_TEST(err_parts)
{
	struct err e = ERR_INIT;

	ck_assert_int_eq(err_set(&e, -ENOENT, "open '%s'", "x"), -ENOENT);
	ck_assert_str_eq(e.msg, "open 'x': No such file or directory");
	(void)err_wrap(&e, -ENOENT, "inner");
	(void)err_wrap(&e, -ENOENT, "outer");
	ck_assert_str_eq(e.where, "outer: inner");
	err_hint(&e, "try %d", 2);
	ck_assert_str_eq(e.hint, "try 2");
	ck_assert_int_eq(err_msg(&e, -EBADMSG, "plain"), -EBADMSG);
	ck_assert_str_eq(e.msg, "plain");
	ck_assert_str_eq(e.where, "");
	ck_assert_str_eq(err_name(-ENOENT), "ENOENT");
	ck_assert_str_eq(err_name(99999), "EUNKNOWN");
	ck_assert_int_eq(err_set(NULL, -EIO, "x"), -EIO);
}
END_TEST

START_TEST(strbuf_grows)
{
	struct strbuf s = STRBUF_INIT;
	char *p;

	ck_assert_str_eq(s.s, "");
	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(strbuf_addf(&s, "%d,", i), 0);
	ck_assert_uint_eq(s.len, 3890);
	strbuf_truncate(&s, 4);
	ck_assert_str_eq(s.s, "0,1,");
	p = strbuf_steal(&s);
	ck_assert_str_eq(p, "0,1,");
	free(p);
	ck_assert_str_eq(s.s, "");
	strbuf_release(&s);
}
END_TEST

START_TEST(digest_grammar)
{
	static const char *const bad[] = {
		"",
		"sha256",
		"sha256:",
		"sha256:abc",
		"md5:d41d8cd98f00b204e9800998ecf8427e",
		"sha256:../../../../../../../../../../../../../../../../../../../../etc/pas",
		"sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
		"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b8555",
		"SHA256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
	};
	struct digest d, again;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_int_eq(digest_parse(bad[i], &d), -EINVAL);
	ck_assert_int_eq(digest_buffer(DIGEST_SHA256, "", 0, &d), 0);
	ck_assert_str_eq(d.text, "sha256:e3b0c44298fc1c149afbf4c8996fb924"
				 "27ae41e4649b934ca495991b7852b855");
	ck_assert_int_eq(digest_parse(d.text, &again), 0);
	ck_assert(digest_equal(&d, &again));
	ck_assert_int_eq(digest_buffer(DIGEST_SHA512, "abc", 3, &d), 0);
	ck_assert_uint_eq(strlen(digest_hex(&d)), 128);
	ck_assert_int_eq(digest_parse(d.text, &again), 0);
}
END_TEST

static int parses(const char *text)
{
	struct json *doc = NULL;
	int r = json_parse(text, strlen(text), &doc, NULL);

	json_free(doc);
	return r;
}

START_TEST(json_strict)
{
	static const char sample[] = "{\"a\":[1,true,null,\"x\"],\"b\":{\"c\":-7}}";
	struct json *doc cleanup_json = NULL;
	struct err e = ERR_INIT;
	struct strbuf deep = STRBUF_INIT;
	int64_t n;

	ck_assert_int_eq(json_parse(sample, strlen(sample), &doc, &e), 0);
	ck_assert_int_eq(json_int(json_get(json_get(doc, "b"), "c"), &n), 0);
	ck_assert_int_eq(n, -7);
	ck_assert_str_eq(json_string(json_at(json_get(doc, "a"), 3)), "x");
	ck_assert_ptr_null(json_get(json_get(json_get(doc, "z"), "y"), "x"));
	ck_assert_int_eq(json_int(NULL, &n), -ENOENT);
	ck_assert_str_eq(json_key_at(doc, 1), "b");

	ck_assert_int_eq(parses("{}"), 0);
	ck_assert_int_eq(parses(""), -EBADMSG);
	ck_assert_int_eq(parses("{} {}"), -EBADMSG);
	ck_assert_int_eq(parses("{\"a\":1,\"a\":2}"), -EBADMSG);
	ck_assert_int_eq(parses("{\"a\":1"), -EBADMSG);
	ck_assert_int_eq(parses("\"a\\u0000b\""), -EBADMSG);
	ck_assert_int_eq(parses("\"\\ud83d\\ude00\""), 0);
	ck_assert_int_eq(parses("\"\\udc00\""), -EBADMSG); /* half a pair: no UTF-8 says it */
	ck_assert_int_eq(parses("{\"\\udc00\":1}"), -EBADMSG);
	ck_assert_int_eq(parses("\"\xff\""), -EBADMSG);
	for (int i = 0; i < JSON_DEPTH_MAX + 1; i++)
		ck_assert_int_eq(strbuf_addc(&deep, '['), 0);
	for (int i = 0; i < JSON_DEPTH_MAX + 1; i++)
		ck_assert_int_eq(strbuf_addc(&deep, ']'), 0);
	ck_assert_int_eq(parses(deep.s), -EBADMSG);
	strbuf_release(&deep);
	json_free(steal_ptr(&doc));
	ck_assert_int_eq(json_parse("9223372036854775808", 19, &doc, &e), 0);
	ck_assert_int_eq(json_int(doc, &n), -EBADMSG);
}
END_TEST

START_TEST(json_round_trip)
{
	static const char text[] = "{\"n\":1.50,\"s\":\"\\u00e9\\n\",\"l\":[[],{},false]}";
	struct json *doc cleanup_json = NULL;
	struct json_writer *w = json_writer_new(0);
	struct strbuf out = STRBUF_INIT;

	ck_assert_int_eq(json_parse(text, strlen(text), &doc, NULL), 0);
	json_w_value(w, doc);
	ck_assert_int_eq(json_writer_finish(w, &out), 0);
	ck_assert_str_eq(out.s, "{\"n\":1.50,\"s\":\"\xc3\xa9\\n\",\"l\":[[],{},false]}");
	strbuf_reset(&out);
	w = json_writer_new(0);
	json_w_array(w);
	json_w_string(w, "a\xff z");
	json_w_uint(w, UINT64_MAX);
	json_w_end(w);
	ck_assert_int_eq(json_writer_finish(w, &out), 0);
	ck_assert_str_eq(out.s, "[\"a\xef\xbf\xbd z\",18446744073709551615]");
	strbuf_release(&out);
	w = json_writer_new(0);
	json_w_object(w);
	ck_assert_int_eq(json_writer_finish(w, &out), -EINVAL);
}
END_TEST

START_TEST(io_beneath)
{
	ck_assert_int_eq(io_mkdir_p(scratch, "a/b//c", 0711), 0);
	ck_assert_int_eq(symlinkat("/", scratch, "a/out"), 0);
	ck_assert_int_eq(io_open_beneath(scratch, "a/out/etc", O_RDONLY, 0), -ELOOP);
	ck_assert_int_eq(io_open_beneath(scratch, "a/../..", O_RDONLY, 0), -EXDEV);
	ck_assert_int_eq(io_open_beneath(scratch, "/etc", O_RDONLY, 0), -EXDEV);
	{
		int fd cleanup_close = io_open_beneath(scratch, "a/b/c", O_RDONLY, 0);
		struct stat st;

		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(fstat(fd, &st), 0);
		ck_assert_uint_eq(st.st_mode & 07777, 0711);
	}
}
END_TEST

START_TEST(io_tmp_appears_at_once)
{
	struct io_tmp t cleanup_io_tmp = IO_TMP_INIT, gone = IO_TMP_INIT;
	struct stat st;
	char *text;
	size_t len;

	ck_assert_int_eq(io_tmp_create(scratch, 0600, &t), 0);
	ck_assert_int_eq(io_write_full(t.fd, "hello", 5), 0);
	ck_assert_int_eq(fstatat(scratch, "file", &st, 0), -1);
	ck_assert_int_eq(io_tmp_publish(&t, scratch, "file"), 0);
	ck_assert_int_eq(io_read_file(scratch, "file", 5, &text, &len), 0);
	ck_assert_str_eq(text, "hello");
	free(text);
	ck_assert_int_eq(io_read_file(scratch, "file", 4, &text, &len), -EFBIG);
	ck_assert_int_eq(io_tmp_create(scratch, 0600, &gone), 0);
	ck_assert_int_eq(fstatat(scratch, gone.name, &st, 0), 0);
	{
		char name[sizeof(gone.name)];

		strcpy(name, gone.name);
		io_tmp_release(&gone);
		ck_assert_int_eq(fstatat(scratch, name, &st, 0), -1);
	}
}
END_TEST

START_TEST(io_remove_deep_and_wide)
{
	int fd = dup(scratch);

	ck_assert_int_eq(mkdirat(scratch, "deep", 0700), 0);
	close(fd);
	fd = openat(scratch, "deep", O_RDONLY | O_DIRECTORY);
	for (int i = 0; i < 3000; i++) { /* deeper than PATH_MAX */
		int sub;

		ck_assert_int_eq(mkdirat(fd, "dd", 0700), 0);
		ck_assert_int_eq(mkdirat(fd, "x", i % 2 ? 0 : 0700), 0);
		sub = openat(fd, "f", O_CREAT | O_WRONLY, 0);
		close(sub);
		sub = openat(fd, "dd", O_RDONLY | O_DIRECTORY);
		close(fd);
		fd = sub;
	}
	close(fd);
	ck_assert_int_eq(io_remove_tree(scratch, "deep"), 0);
	ck_assert_int_eq(io_remove_tree(scratch, "deep"), 0);
	ck_assert_int_eq(unlinkat(AT_FDCWD, scratch_path, AT_REMOVEDIR), 0);
	ck_assert_int_eq(mkdir(scratch_path, 0700), 0);
}
END_TEST

START_TEST(io_copy_keeps_holes)
{
	int a cleanup_close = openat(scratch, "a", O_CREAT | O_RDWR, 0600);
	int b cleanup_close = openat(scratch, "b", O_CREAT | O_RDWR, 0600);
	struct stat sa, sb;
	char buf[4];

	ck_assert_int_eq(ftruncate(a, 64 << 20), 0);
	ck_assert_int_eq(io_pwrite_full(a, "data", 4, 32 << 20), 0);
	ck_assert_int_eq(io_copy_range(a, 0, b, 0, 64 << 20, true), 0);
	ck_assert_int_eq(fstat(a, &sa), 0);
	ck_assert_int_eq(fstat(b, &sb), 0);
	ck_assert_int_eq(sb.st_size, 64 << 20);
	ck_assert_int_le(sb.st_blocks, sa.st_blocks + 16);
	ck_assert_int_eq(io_pread_full(b, buf, 4, 32 << 20), 0);
	ck_assert_mem_eq(buf, "data", 4);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("base");
	TCase *t = tcase_create("memory"), *f = tcase_create("files");
	SRunner *sr;
	int failed;

	tcase_add_test(t, err_parts);
	tcase_add_test(t, strbuf_grows);
	tcase_add_test(t, digest_grammar);
	tcase_add_test(t, json_strict);
	tcase_add_test(t, json_round_trip);
	suite_add_tcase(s, t);
	tcase_add_checked_fixture(f, setup, teardown);
	tcase_add_test(f, io_beneath);
	tcase_add_test(f, io_tmp_appears_at_once);
	tcase_add_test(f, io_remove_deep_and_wide);
	tcase_add_test(f, io_copy_keeps_holes);
	suite_add_tcase(s, f);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
