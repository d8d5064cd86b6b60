/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "snapshotter/filter.h"
#include "snapshotter/filter_scan.h"

static char k1[] = "containerd.io/gc.root", v1[] = "2026-11-24", k2[] = "app", v2[] = "web, \"x\"";
static struct snap_label labels[] = {{k2, v2}, {k1, v1}, {(char[]){"a.b.c"}, (char[]){"d\\e"}}};
static struct snap_info info = {
	.key = (char[]){"default/58/extract-881 sha256:e170"},
	.parent = (char[]){"sha256:abc"},
	.kind = SNAP_ACTIVE,
	.labels = labels,
	.n_labels = 3,
};

/* 1: matches, 0: does not, or -errno of the parser */
static int match(const char *text)
{
	struct snap_filter *f cleanup_snap_filter = NULL;
	int r = snap_filter_parse(&text, 1, &f, NULL);

	return r < 0 ? r : snap_filter_match(f, &info);
}

START_TEST(test_operators)
{
	ck_assert_int_eq(match(""), 1);
	ck_assert_int_eq(match("name"), 1);
	ck_assert_int_eq(match("nothing"), 0);
	ck_assert_int_eq(match("kind==active"), 1);
	ck_assert_int_eq(match("kind==Active"), 0);
	ck_assert_int_eq(match("kind!=view"), 1);
	ck_assert_int_eq(match("nothing!=view"), 1);
	ck_assert_int_eq(match("nothing==\"\""), 0);
	ck_assert_int_eq(match("parent==sha256:abc"), 1);
	ck_assert_int_eq(match("parent==\"sha256:abc\""), 1);
	ck_assert_int_eq(match("parent == sha256:abc"), 1);
	ck_assert_int_eq(match("parent==sha256:abc,kind==active"), 1);
	ck_assert_int_eq(match("parent==sha256:abc,kind==view"), 0);
	ck_assert_int_eq(match("name==\"default/58/extract-881 sha256:e170\""), 1);
	ck_assert_int_eq(match("name==default/58/extract-881"), 0);
}
END_TEST

START_TEST(test_labels)
{
	ck_assert_int_eq(match("labels.app"), 1);
	ck_assert_int_eq(match("labels.other"), 0);
	ck_assert_int_eq(match("labels"), 0);
	ck_assert_int_eq(match("labels.\"containerd.io/gc.root\""), 1);
	ck_assert_int_eq(match("labels.\"containerd.io/gc.root\"==2026-11-24"), 1);
	ck_assert_int_eq(match("labels.app==\"web, \\\"x\\\"\""), 1);
	ck_assert_int_eq(match("labels.a.b.c==\"d\\\\e\""), 1);
	ck_assert_int_eq(match("labels.a.b.c==d\\e"), 1); /* a bare value has no escapes */
	ck_assert_int_eq(match("labels.\"a.b\".c"), 1);
	ck_assert_int_eq(match("labels.\"a\\x2eb\\u002ec\""), 1);
	ck_assert_int_eq(match("labels.\"a\\000b\""), 0);
}
END_TEST

START_TEST(test_regex)
{
	ck_assert_int_eq(match("name~=extract"), 1);
	ck_assert_int_eq(match("name~=^extract"), 0);
	ck_assert_int_eq(match("name~=/extract-[0-9]+ sha256:/"), 1);
	ck_assert_int_eq(match("name~=|^default/\\\\d+/|"), 1);
	ck_assert_int_eq(match("name~=\"\\\\bsha256\\\\b\""), 1);
	ck_assert_int_eq(match("nothing~=^$"), 1);
	/* none of Go's: matches nothing, as in containerd */
	ck_assert_int_eq(match("name~=("), 0);
	ck_assert_int_eq(match("name~=\"(.)\\\\1\""), 0);
	/* bounded whatever the pattern */
	ck_assert_int_eq(match("name~=\"^((((.*)*)*)*)*!$\""), 0);
}
END_TEST

START_TEST(test_mistakes)
{
	static const char *const bad[] = {
		"=",
		"kind=",
		"kind=active",
		"kind==",
		"kind===active",
		"kind==active,",
		",kind",
		"kind.",
		".kind",
		"kind..x",
		"kind active",
		"kind==a b",
		"name==\"x",
		"name==\"\\q\"",
		"name==\"\\x1\"",
		"name==\"\\400\"",
		"name==/x/",
		"name==|x|",
		"name~=/x",
		"/x/==y",
		"name==\"a\"b",
		"\xff==x",
		"name==\xc3",
		"name==\"\n\"",
		"(",
		"name==.x",
		"name<x",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (match(bad[i]) != -EINVAL)
			ck_abort_msg("'%s' gives %d", bad[i], match(bad[i]));
	}
}
END_TEST

START_TEST(test_message)
{
	const char *text = "kind=active";
	struct snap_filter *f = NULL;
	struct err err = ERR_INIT;

	ck_assert_int_eq(snap_filter_parse(&text, 1, &f, &err), -EINVAL);
	ck_assert_str_eq(err.msg,
			 "filters: parse error: [kind >|=|< active]: unsupported operator");
}
END_TEST

START_TEST(test_several_are_or)
{
	const char *texts[] = {"kind==view", "labels.app"}, *none[] = {"kind==view", "labels.x"};
	struct snap_filter *f = NULL;

	ck_assert_int_eq(snap_filter_parse(texts, 2, &f, NULL), 0);
	ck_assert(snap_filter_match(f, &info));
	snap_filter_free(f);
	ck_assert_int_eq(snap_filter_parse(none, 2, &f, NULL), 0);
	ck_assert(!snap_filter_match(f, &info));
	snap_filter_free(f);
	ck_assert_int_eq(snap_filter_parse(NULL, 0, &f, NULL), 0);
	ck_assert(snap_filter_match(f, &info));
	snap_filter_free(f);
	ck_assert(snap_filter_match(NULL, &info));
}
END_TEST

START_TEST(test_unquote)
{
	struct strbuf out = STRBUF_INIT;
	static const char all[] =
		"\"\\a\\b\\f\\n\\r\\t\\v\\\\\\\"\\101\\xff\\u00e4\\U0001F600\\ud800\"";

	ck_assert_int_eq(filter_unquote(all, strlen(all), &out), 0);
	ck_assert_str_eq(out.s, "\a\b\f\n\r\t\v\\\"A\xff\xc3\xa4\xf0\x9f\x98\x80\xef\xbf\xbd");
	strbuf_reset(&out);
	ck_assert_int_eq(filter_unquote("\"\\U00110000\"", 12, &out), -EINVAL);
	ck_assert_int_eq(filter_unquote("\"", 1, &out), -EINVAL);
	strbuf_release(&out);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("filter");
	TCase *t = tcase_create("filter");
	SRunner *sr;
	int failed;

	tcase_add_test(t, test_operators);
	tcase_add_test(t, test_labels);
	tcase_add_test(t, test_regex);
	tcase_add_test(t, test_mistakes);
	tcase_add_test(t, test_message);
	tcase_add_test(t, test_several_are_or);
	tcase_add_test(t, test_unquote);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
