/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "erofs/presence.h"

static const uint64_t starts[] = {0, 100, 250, 251};
#define N    4
#define SIZE 1000

static int new_map(void)
{
	int fd = memfd_create("present", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(erofs_presence_create(fd, starts, N, SIZE), 0);
	return fd;
}

START_TEST(test_life)
{
	int fd cleanup_close = new_map();
	struct erofs_presence *w cleanup_erofs_presence = NULL;
	struct erofs_presence *r cleanup_erofs_presence = NULL;

	ck_assert_int_eq(erofs_presence_open(fd, true, &w, NULL), 0);
	ck_assert_int_eq(erofs_presence_open(fd, false, &r, NULL), 0);
	ck_assert_uint_eq(erofs_presence_count(r), N);
	ck_assert_uint_eq(erofs_presence_size(r), SIZE);
	ck_assert_uint_eq(erofs_presence_start(r, 2), 250);
	ck_assert_uint_eq(erofs_presence_start(r, 4), SIZE);
	for (uint64_t pos = 0; pos < SIZE; pos++)
		ck_assert_uint_eq(erofs_presence_find(r, pos), pos < 100   ? 0
							       : pos < 250 ? 1
							       : pos < 251 ? 2
									   : 3);
	ck_assert(!erofs_presence_covers(r, 0, 1));
	ck_assert(erofs_presence_covers(r, 5, 0));
	ck_assert(erofs_presence_covers(r, SIZE, 10));
	/* what one sets the other sees */
	erofs_presence_set(w, 1, true);
	erofs_presence_set(w, 2, true);
	ck_assert(erofs_presence_has(r, 1));
	ck_assert(erofs_presence_covers(r, 100, 151));
	ck_assert(!erofs_presence_covers(r, 99, 2));
	ck_assert(!erofs_presence_covers(r, 250, 2));
	erofs_presence_set(w, 3, true);
	ck_assert(erofs_presence_covers(r, 100, UINT64_MAX));
	ck_assert_uint_eq(erofs_presence_have(r), 3);
	erofs_presence_condemn(w);
	ck_assert(erofs_presence_is_condemned(r));
	ck_assert(!erofs_presence_covers(r, 100, 1));
	ck_assert(!erofs_presence_has(r, 1));
}
END_TEST

START_TEST(test_another_boot)
{
	int fd cleanup_close = new_map();
	struct erofs_presence *w cleanup_erofs_presence = NULL;
	const char other[] = "00000000-0000-0000-0000-000000000000";

	ck_assert_int_eq(erofs_presence_open(fd, true, &w, NULL), 0);
	for (size_t i = 0; i < N; i++)
		erofs_presence_set(w, i, true);
	ck_assert(!erofs_presence_is_stale(w));
	ck_assert(erofs_presence_covers(w, 0, SIZE));
	ck_assert_int_eq(io_pwrite_full(fd, other, sizeof(other), 24), 0);
	ck_assert(erofs_presence_is_stale(w));
	ck_assert(!erofs_presence_covers(w, 0, 1));
	ck_assert(!erofs_presence_has(w, 0));
	ck_assert(erofs_presence_claims(w, 0));
	erofs_presence_set(w, 0, false);
	erofs_presence_renew(w);
	ck_assert(!erofs_presence_covers(w, 0, 1));
	ck_assert(erofs_presence_covers(w, 100, 900));
}
END_TEST

START_TEST(test_damaged)
{
	int fd cleanup_close = new_map();
	struct erofs_presence *p;
	char c;

	for (off_t at = 0; at < 72 + N * 8 + 64; at++) {
		if (at >= 24 && at < 72) /* what changes */
			continue;
		ck_assert_int_eq(io_pread_full(fd, &c, 1, at), 0);
		c ^= 1;
		ck_assert_int_eq(io_pwrite_full(fd, &c, 1, at), 0);
		ck_assert_int_eq(erofs_presence_open(fd, false, &p, NULL), -EBADMSG);
		c ^= 1;
		ck_assert_int_eq(io_pwrite_full(fd, &c, 1, at), 0);
	}
	for (off_t len = 72 + N * 9 + 63; len >= 0; len -= 7) {
		ck_assert_int_eq(ftruncate(fd, len), 0);
		ck_assert_int_eq(erofs_presence_open(fd, false, &p, NULL), -EBADMSG);
	}
}
END_TEST

START_TEST(test_out_of_order)
{
	static const uint64_t bad[][3] = {{1, 2, 3}, {0, 5, 5}, {0, 9, 3}, {0, 5, SIZE}};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int fd cleanup_close = memfd_create("present", MFD_CLOEXEC);
		struct erofs_presence *p;

		ck_assert_int_eq(erofs_presence_create(fd, bad[i], 3, SIZE), 0);
		ck_assert_int_eq(erofs_presence_open(fd, false, &p, NULL), -EBADMSG);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("erofs_presence");
	TCase *c = tcase_create("presence");
	SRunner *sr;
	int failed;

	tcase_add_test(c, test_life);
	tcase_add_test(c, test_another_boot);
	tcase_add_test(c, test_damaged);
	tcase_add_test(c, test_out_of_order);
	suite_add_tcase(s, c);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
