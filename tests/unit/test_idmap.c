/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <errno.h>
#include <string.h>

#include "overlay/idmap.h"

START_TEST(test_ranges)
{
	struct ovl_idmap m = OVL_IDMAP_INIT;
	uint32_t id;

	ck_assert_uint_eq(ovl_idmap_show(&m, 7), 7);
	ck_assert_int_eq(ovl_idmap_store(&m, 7, &id), 0);
	ck_assert_uint_eq(id, 7);
	/* podman's keep-id, with its leading colon */
	ck_assert_int_eq(ovl_idmap_parse(&m, ":0:1:1001:1001:0:1:1002:1002:64535"), 0);
	ck_assert_uint_eq(m.n, 3);
	ck_assert_uint_eq(ovl_idmap_show(&m, 0), 1);
	ck_assert_uint_eq(ovl_idmap_show(&m, 1000), 1001);
	ck_assert_uint_eq(ovl_idmap_show(&m, 1001), 0);
	ck_assert_uint_eq(ovl_idmap_show(&m, 1002), 1002);
	ck_assert_uint_eq(ovl_idmap_show(&m, 65536), 65536);
	ck_assert_uint_eq(ovl_idmap_show(&m, 65537), OVL_ID_OVERFLOW);
	for (uint32_t i = 0; i < 65537; i += 13) {
		ck_assert_int_eq(ovl_idmap_store(&m, ovl_idmap_show(&m, i), &id), 0);
		ck_assert_uint_eq(id, i);
	}
	ck_assert_int_eq(ovl_idmap_store(&m, 65537, &id), -EINVAL);
	m.squash = true;
	m.squash_to = 5;
	ck_assert_uint_eq(ovl_idmap_show(&m, 70000), 5);
	ovl_idmap_release(&m);
}
END_TEST

static const char *const bad[] = {
	"1",
	"1:2",
	"1:2:3:4",
	"a:b:c",
	"0:0:0",
	"-1:0:1",
	"0:0:1,1",
	"0:0:1x",
	"0:5:10:9:50:10",
	"0:5:10:50:14:10",
	"0:0:4294967296",
	"1:0:4294967295",
	"4294967295:0:1",
	" 0:0:1",
};

START_TEST(test_refused)
{
	struct ovl_idmap m = OVL_IDMAP_INIT;

	ck_assert_int_eq(ovl_idmap_parse(&m, "900000:900000:1"), 0);
	ck_assert_int_eq(ovl_idmap_parse(&m, bad[_i]), -EINVAL);
	ck_assert_uint_eq(m.n, 1);
	ovl_idmap_release(&m);
}
END_TEST

START_TEST(test_acl)
{
	struct ovl_idmap u = OVL_IDMAP_INIT, g = OVL_IDMAP_INIT;
	/* version 2; u::rwx u:3:rwx g:4:r-- */
	unsigned char acl[] = {2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0,
			       7, 0, 3, 0, 0, 0, 8, 0, 4,   0,	 4,   0,   0, 0};
	unsigned char was[sizeof(acl)];

	memcpy(was, acl, sizeof(acl));
	ck_assert_int_eq(ovl_idmap_parse(&u, "0:100:10"), 0);
	ck_assert_int_eq(ovl_idmap_parse(&g, "0:200:10::"), 0);
	ck_assert_int_eq(ovl_idmap_acl(&u, &g, acl, sizeof(acl), false), 0);
	ck_assert_uint_eq(acl[16], 103);
	ck_assert_uint_eq(acl[24], 204);
	ck_assert_uint_eq(acl[8], 255);
	ck_assert_int_eq(ovl_idmap_acl(&u, &g, acl, sizeof(acl), true), 0);
	ck_assert_mem_eq(acl, was, sizeof(acl));
	ck_assert_int_eq(ovl_idmap_acl(&u, &g, acl, sizeof(acl), true), -EINVAL);
	ck_assert_int_eq(ovl_idmap_acl(&u, &g, acl, 5, true), 0); /* not an ACL */
	ovl_idmap_release(&u);
	ovl_idmap_release(&g);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("idmap");
	TCase *t = tcase_create("core");
	SRunner *sr;
	int failed;

	tcase_add_test(t, test_ranges);
	tcase_add_loop_test(t, test_refused, 0, (int)(sizeof(bad) / sizeof(bad[0])));
	tcase_add_test(t, test_acl);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
