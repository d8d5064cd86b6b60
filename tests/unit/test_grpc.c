/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "snapshotter/containerd/grpc.h"
#include "snapshotter/containerd/service.h"

START_TEST(test_timeouts)
{
	static const struct {
		const char *text;
		int64_t ns;
	} good[] = {
		{"1n", 1},
		{"20u", 20000},
		{"3m", 3000000},
		{"99999999S", INT64_C(99999999000000000)},
		{"2M", INT64_C(120000000000)},
		{"1H", INT64_C(3600000000000)},
		{"0n", 0},
		{"99999999H", INT64_MAX},
	};
	static const char *const bad[] = {"",	 "1",	       "S",    "1s",   "-1S", " 1S",
					  "1S ", "123456789n", "1.5S", "0x1S", "1Sm"};
	int64_t ns;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		ck_assert_int_eq(grpc_timeout_parse(good[i].text, &ns), 0);
		ck_assert_int_eq(ns, good[i].ns);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_int_eq(grpc_timeout_parse(bad[i], &ns), -EINVAL);
}
END_TEST

START_TEST(test_message_text)
{
	struct strbuf out CLEANUP(strbuf_release) = STRBUF_INIT;

	ck_assert_int_eq(grpc_message_encode("100% \xc3\xa4\n~", &out), 0);
	ck_assert_str_eq(out.s, "100%25 %C3%A4%0A~");
}
END_TEST

START_TEST(test_frames)
{
	struct strbuf out CLEANUP(strbuf_release) = STRBUF_INIT;
	struct grpc_reader r;

	ck_assert_int_eq(grpc_frame_add(&out, "hello", 5), 0);
	ck_assert_uint_eq(out.len, 10);
	ck_assert_int_eq(memcmp(out.s, "\0\0\0\0\5hello", 10), 0);
	/* in any pieces */
	for (size_t step = 1; step <= out.len; step++) {
		grpc_reader_init(&r);
		for (size_t at = 0; at < out.len; at += step) {
			ck_assert_int_eq(grpc_reader_end(&r), -EPROTO);
			ck_assert_int_eq(grpc_reader_add(&r, out.s + at,
							 at + step > out.len ? out.len - at : step),
					 0);
		}
		ck_assert_int_eq(grpc_reader_end(&r), 0);
		ck_assert_str_eq(r.message.s, "hello");
		ck_assert_int_eq(grpc_reader_add(&r, "x", 1), -EPROTO); /* a second message */
		grpc_reader_release(&r);
	}
}
END_TEST

static int read_one(const char *bytes, size_t len)
{
	struct grpc_reader r;
	int e;

	grpc_reader_init(&r);
	e = grpc_reader_add(&r, bytes, len);
	if (e == 0)
		e = grpc_reader_end(&r);
	grpc_reader_release(&r);
	return e;
}

START_TEST(test_bad_frames)
{
	ck_assert_int_eq(read_one("", 0), -EPROTO);
	ck_assert_int_eq(read_one("\0\0\0\0", 4), -EPROTO);
	ck_assert_int_eq(read_one("\0\0\0\0\0", 5), 0);
	ck_assert_int_eq(read_one("\0\0\0\0\1", 5), -EPROTO);
	ck_assert_int_eq(read_one("\0\0\0\0\1ab", 7), -EPROTO);
	ck_assert_int_eq(read_one("\1\0\0\0\0", 5), -EPROTONOSUPPORT);
	ck_assert_int_eq(read_one("\2\0\0\0\0", 5), -EPROTO);
	ck_assert_int_eq(read_one("\0\1\0\0\1", 5), -EMSGSIZE);
	ck_assert_int_eq(read_one("\0\1\0\0\0", 5),
			 -EPROTO); /* the limit itself is fine, and not there */
	ck_assert_int_eq(read_one("\0\377\377\377\377", 5), -EMSGSIZE);
}
END_TEST

START_TEST(test_codes)
{
	ck_assert_int_eq(grpc_code_of(0), GRPC_OK);
	ck_assert_int_eq(grpc_code_of(-ENOENT), GRPC_NOT_FOUND);
	ck_assert_int_eq(grpc_code_of(-EEXIST), GRPC_ALREADY_EXISTS);
	ck_assert_int_eq(grpc_code_of(-EBUSY), GRPC_FAILED_PRECONDITION);
	ck_assert_int_eq(grpc_code_of(-EINVAL), GRPC_INVALID_ARGUMENT);
	ck_assert_int_eq(grpc_code_of(-EAGAIN), GRPC_UNAVAILABLE);
	ck_assert_int_eq(grpc_code_of(-EIO), GRPC_UNKNOWN);
	ck_assert_str_eq(grpc_code_text(GRPC_NOT_FOUND), "not found");
	ck_assert_ptr_null(grpc_code_text(GRPC_UNKNOWN));
}
END_TEST

START_TEST(test_methods)
{
	struct err err = ERR_INIT;

	ck_assert_ptr_nonnull(
		service_find("/containerd.services.snapshots.v1.Snapshots/Cleanup", &err));
	ck_assert_ptr_nonnull(service_find("/grpc.health.v1.Health/Watch", &err));
	ck_assert_ptr_null(
		service_find("/containerd.services.snapshots.v1.Snapshots/Prepar", &err));
	ck_assert_str_eq(
		err.msg,
		"unknown method Prepar for service containerd.services.snapshots.v1.Snapshots");
	ck_assert_ptr_null(service_find("/a.b/C", &err));
	ck_assert_str_eq(err.msg, "unknown service a.b");
	ck_assert_ptr_null(service_find("", &err));
	ck_assert_ptr_null(service_find("/", &err));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("grpc");
	TCase *t = tcase_create("grpc");
	SRunner *sr;
	int failed;

	tcase_add_test(t, test_timeouts);
	tcase_add_test(t, test_message_text);
	tcase_add_test(t, test_frames);
	tcase_add_test(t, test_bad_frames);
	tcase_add_test(t, test_codes);
	tcase_add_test(t, test_methods);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
