/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "snapshotter/lazy_plan.h"

#define A "1111111111111111111111111111111111111111111111111111111111111111"
#define B "2222222222222222222222222222222222222222222222222222222222222222"

static char top[] = "/tmp/test-plan-XXXXXX";

static int parse(const char *lines, struct lazy_list *ret, struct err *err)
{
	char text[1024];

	(void)snprintf(text, sizeof(text), "%s%s", LAZY_RECORD_TOP, lines);
	return lazy_list_parse(text, strlen(text), ret, err);
}

static int refused(const char *lines)
{
	struct lazy_list l cleanup_lazy_list = LAZY_LIST_INIT;
	struct err err = ERR_INIT;
	int r = parse(lines, &l, &err);

	ck_assert(r == 0 || err.msg[0]);
	return r;
}

START_TEST(test_lists)
{
	struct lazy_list l cleanup_lazy_list = LAZY_LIST_INIT;

	ck_assert_int_eq(parse("sha256:" B " 512 100 /a b\n# said by people\n\nsha256:" A
			       " 0 65536 -\nsha256:" A " 7 7 /cu",
			       &l, NULL),
			 0);
	ck_assert_uint_eq(l.n, 2);
	ck_assert_str_eq(l.wants[0].layer, B);
	ck_assert_uint_eq(l.wants[0].off, 512);
	ck_assert_uint_eq(l.wants[0].len, 100);
	ck_assert_str_eq(l.wants[1].layer, A);
}
END_TEST

START_TEST(test_no_lists)
{
	struct lazy_list l cleanup_lazy_list = LAZY_LIST_INIT;

	ck_assert_int_eq(lazy_list_parse("", 0, &l, NULL), -EBADMSG);
	ck_assert_int_eq(lazy_list_parse("# snap record 10\n", 17, &l, NULL), -EBADMSG);
	ck_assert_int_eq(refused(""), 0);
	ck_assert_int_eq(refused("sha256:" A " 0 1 /x\n"), 0);
	ck_assert_int_eq(refused("sha256:" A " 0 0 /x\n"), -EBADMSG);
	ck_assert_int_eq(refused("sha256:" A " -1 1 /x\n"), -EBADMSG);
	ck_assert_int_eq(refused("sha256:" A " 0 1\n"), -EBADMSG);
	ck_assert_int_eq(refused("sha256:" A "  0 1 /x\n"), -EBADMSG);
	ck_assert_int_eq(refused("sha256:" A " 18446744073709551615 1 /x\n"), -EBADMSG);
	ck_assert_int_eq(refused("sha256:" A " 18446744073709551616 1 /x\n"), -EBADMSG);
	ck_assert_int_eq(refused("sha256:../../" A " 0 1 /x\n"), -EBADMSG);
	ck_assert_int_eq(refused("sha512:" A " 0 1 /x\n"), -EBADMSG);
}
END_TEST

static struct snap_store *new_store(void)
{
	struct snap_store *s = NULL;
	char path[200];

	strcpy(top + strlen(top) - 6, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(top));
	ck_assert_int_eq(snap_store_open(top, &s, NULL), 0);
	(void)snprintf(path, sizeof(path), "%s/layers/sha256/" A, top);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	return s;
}

START_TEST(test_plans)
{
	struct snap_store *s = new_store();
	struct lazy_list l cleanup_lazy_list = LAZY_LIST_INIT;
	struct lazy_plan p = LAZY_PLAN_INIT;
	struct lazy_wish wish = {.list = &l};

	/* nobody made one: it wants nothing */
	ck_assert_int_eq(lazy_plan_read(s, A, &p, NULL), 0);
	ck_assert(!p.background && p.n == 0);
	ck_assert_int_eq(lazy_plan_read(s, B, &p, NULL), 0);
	/* of a list, what is of the layer, by the list's lines */
	ck_assert_int_eq(
		parse("sha256:" A " 1 2 /x\nsha256:" B " 3 4 /y\nsha256:" A " 5 6 /z\n", &l, NULL),
		0);
	ck_assert_int_eq(lazy_plan_make(s, A, &wish, NULL), 0);
	ck_assert_int_eq(lazy_plan_read(s, A, &p, NULL), 0);
	ck_assert_uint_eq(p.n, 2);
	ck_assert(p.ranges[1].order == 2 && p.ranges[1].off == 5 && p.ranges[1].len == 6);
	lazy_plan_release(&p);
	/* what another pull wants is added, and what was wanted stays */
	wish = (struct lazy_wish){.background = true, .rate = 1000};
	ck_assert_int_eq(lazy_plan_make(s, A, &wish, NULL), 0);
	wish = (struct lazy_wish){.background = false};
	ck_assert_int_eq(lazy_plan_make(s, A, &wish, NULL), 0);
	ck_assert_int_eq(lazy_plan_read(s, A, &p, NULL), 0);
	ck_assert(p.background && p.rate == 1000 && p.n == 2);
	lazy_plan_release(&p);
	snap_store_close(s);
	ck_assert_int_eq(io_remove_tree(AT_FDCWD, top), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("lazy_plan");
	TCase *t = tcase_create("lazy_plan");
	SRunner *sr;
	int failed;

	tcase_add_test(t, test_lists);
	tcase_add_test(t, test_no_lists);
	tcase_add_test(t, test_plans);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
