/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>

#include "overlay/whiteout.h"

START_TEST(classify)
{
	static const struct {
		const char *name;
		enum ovl_wh_kind kind;
		const char *hides;
	} cases[] = {
		{"file", OVL_WH_NONE, NULL},
		{"", OVL_WH_NONE, NULL},
		{".", OVL_WH_NONE, NULL},
		{".wh", OVL_WH_NONE, NULL},
		{".whx", OVL_WH_NONE, NULL},
		{"x.wh.y", OVL_WH_NONE, NULL},
		{".wh.a", OVL_WH_FILE, "a"},
		{".wh....", OVL_WH_FILE, "..."},
		{".wh..x", OVL_WH_FILE, ".x"},
		{".wh..wh", OVL_WH_FILE, ".wh"},
		{".wh.wh.x", OVL_WH_FILE, "wh.x"},
		{".wh.\xff\n", OVL_WH_FILE, "\xff\n"},
		{".wh..wh..opq", OVL_WH_OPQ, NULL},
		{".wh..wh..opqx", OVL_WH_META, NULL},
		{".wh..wh.plnk", OVL_WH_META, NULL},
		{".wh..wh.aufs", OVL_WH_META, NULL},
		{".wh..wh.orph", OVL_WH_META, NULL},
		{".wh..wh.", OVL_WH_META, NULL},
		{".wh.", OVL_WH_BAD, NULL},
		{".wh..", OVL_WH_BAD, NULL},
		{".wh...", OVL_WH_BAD, NULL},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *rest = NULL;
		size_t n = 0;

		ck_assert_msg(ovl_wh_classify(cases[i].name, strlen(cases[i].name), &rest, &n) ==
				      cases[i].kind,
			      "'%s'", cases[i].name);
		if (!cases[i].hides) {
			ck_assert_ptr_null(rest);
			continue;
		}
		ck_assert_uint_eq(n, strlen(cases[i].hides));
		ck_assert_mem_eq(rest, cases[i].hides, n);
	}
}
END_TEST

START_TEST(classify_length)
{
	const char *rest = NULL;
	size_t n = 0;

	/* The name ends where the caller says, not at a NUL. */
	ck_assert_int_eq(ovl_wh_classify(".wh.abc", 5, &rest, &n), OVL_WH_FILE);
	ck_assert_uint_eq(n, 1);
	ck_assert_int_eq(ovl_wh_classify(".wh..wh..opq", 11, &rest, &n), OVL_WH_META);
	ck_assert_int_eq(ovl_wh_classify(".wh.a", 3, &rest, &n), OVL_WH_NONE);
}
END_TEST

START_TEST(private_xattrs)
{
	static const char *const private[] = {
		"trusted.overlay.opaque",	 "trusted.overlay.redirect",
		"user.overlay.origin",		 "user.overlay.overlay.opaque",
		"trusted.snap.implied",		 "trusted.snap.link",
		"trusted.SGI_ACL_FILE",		 "user.fuseoverlayfs.opaque",
		"user.containers.override_stat", "user.fuseoverlayfs.override_stat",
	};
	static const char *const open[] = {
		"user.mime_type",
		"security.capability",
		"system.posix_acl_access",
		"user.rootlesscontainers",
		"user.overlay",
		"trusted.overlayfs",
		"user.fuseoverlayfs",
		"user.containers.override_status",
		"trusted.snapshot",
		"",
	};

	for (size_t i = 0; i < sizeof(private) / sizeof(private[0]); i++)
		ck_assert_msg(ovl_xattr_is_private(private[i]), "%s", private[i]);
	for (size_t i = 0; i < sizeof(open) / sizeof(open[0]); i++)
		ck_assert_msg(!ovl_xattr_is_private(open[i]), "%s", open[i]);
}
END_TEST

START_TEST(whiteout_stat)
{
	struct stat st = {.st_mode = S_IFCHR, .st_rdev = makedev(0, 0)};

	ck_assert(ovl_stat_is_whiteout(&st));
	st.st_rdev = makedev(1, 3);
	ck_assert(!ovl_stat_is_whiteout(&st));
	st = (struct stat){.st_mode = S_IFBLK};
	ck_assert(!ovl_stat_is_whiteout(&st));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("whiteout");
	TCase *t = tcase_create("core");
	SRunner *sr;
	int failed;

	tcase_add_test(t, classify);
	tcase_add_test(t, classify_length);
	tcase_add_test(t, private_xattrs);
	tcase_add_test(t, whiteout_stat);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
