/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <errno.h>

#include "erofs/format.h"

START_TEST(crc32c_of_the_check_string)
{
	/* the value every description of the polynomial gives */
	ck_assert_uint_eq(~erofs_crc32c(~0u, "123456789", 9), 0xe3069283u);
	ck_assert_uint_eq(erofs_crc32c(~0u, "\xe2\xe1\xf5\xe0\0\0\0\0", 8), EROFS_CRC_SEED);
}
END_TEST

START_TEST(xattr_prefixes)
{
	static const struct {
		const char *name, *suffix;
		int index; /* negative: refused */
	} cases[] = {
		{"user.a", "a", 1},
		{"user.a.b", "a.b", 1},
		{"trusted.overlay.opaque", "overlay.opaque", 4},
		{"security.capability", "capability", 6},
		{"system.posix_acl_access", "", 2},
		{"system.posix_acl_default", "", 3},
		{"user.", "", -1},
		{"user", "", -1},
		{"", "", -1},
		{"system.posix_acl_accessx", "", -1},
		{"system.other", "", -1},
		{"lustre.x", "", -1},
		{"USER.a", "", -1},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *suffix = NULL;
		uint8_t index = 0;
		int r = erofs_xattr_split(cases[i].name, &index, &suffix);

		ck_assert_msg(r == (cases[i].index < 0 ? -EOPNOTSUPP : 0), "%s", cases[i].name);
		if (r == 0) {
			ck_assert_int_eq(index, cases[i].index);
			ck_assert_str_eq(suffix, cases[i].suffix);
		}
	}
	ck_assert_str_eq(erofs_xattr_prefix(1), "user.");
	ck_assert_ptr_null(erofs_xattr_prefix(0));
	ck_assert_ptr_null(erofs_xattr_prefix(5));
	ck_assert_ptr_null(erofs_xattr_prefix(7));
	ck_assert_ptr_null(erofs_xattr_prefix(255));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("erofs_format");
	TCase *tc = tcase_create("format");
	SRunner *sr;
	int failed;

	tcase_add_test(tc, crc32c_of_the_check_string);
	tcase_add_test(tc, xattr_prefixes);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
