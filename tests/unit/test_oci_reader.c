/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "oci/limits.h"
#include "oci/reader_wire.h"

static struct strbuf text;
static struct reader_member got;

static void setup(void)
{
	strbuf_init(&text);
	memset(&got, 0, sizeof(got));
}

static void teardown(void)
{
	strbuf_release(&text);
	reader_member_release(&got);
}

static char name1[] = "user.a", name2[] = "security.capability", value[] = "v\0w";
static struct oci_pax_xattr xattrs[] = {
	{.next = &xattrs[1], .name = name1, .value = value, .len = 3},
	{.name = name2},
};
static const struct oci_tar_segment map[] = {{0, 10}, {512, 100}, {5000, 0}};

static struct oci_tar_member full(void)
{
	return (struct oci_tar_member){
		.type = OCI_TAR_REG,
		.path = "a/b\xff",
		.link = "",
		.mode = 04711,
		.uid = 4294967294U,
		.gid = 7,
		.mtime = -5,
		.mtime_nsec = 999999999,
		.size = 5000,
		.data = 1024,
		.xattrs = xattrs,
		.acl_access = "user::rwx",
		.sparse = true,
		.map = map,
		.n_map = 3,
	};
}

/* The body, in memory of exactly its size, so that a sanitizer sees every byte behind it. */
static int get(size_t len)
{
	char *exact cleanup_free = malloc(len + 1);
	int r;

	memcpy(exact, text.s + sizeof(struct reader_answer), len);
	exact = realloc(exact, len ? len : 1);
	r = reader_get_member(exact, len, &got);
	if (r == 0) {
		/* whatever it is, it is within bounds */
		const struct oci_tar_member *m = &got.m;
		uint64_t end = 0;

		ck_assert_uint_le(m->mode, 07777);
		ck_assert_uint_lt(m->mtime_nsec, 1000000000);
		ck_assert_uint_ne(m->uid, UINT32_MAX);
		ck_assert_uint_eq(m->data % 512, 0);
		ck_assert_uint_le(m->size, OCI_TAR_SIZE_MAX);
		ck_assert_ptr_nonnull(m->path);
		(void)strlen(m->path);
		for (size_t i = 0; i < m->n_map; i++) {
			ck_assert_uint_ge(m->map[i].offset, end);
			end = m->map[i].offset + m->map[i].len;
			ck_assert_uint_le(end, m->size);
		}
		for (const struct oci_pax_xattr *x = m->xattrs; x; x = x->next)
			ck_assert_int_gt((int)strlen(x->name), 0);
	}
	return r;
}

static size_t body_len(void)
{
	struct reader_answer a;

	memcpy(&a, text.s, sizeof(a));
	ck_assert_uint_eq(a.type, READER_MEMBER);
	ck_assert_uint_eq(a.n, text.len - sizeof(a));
	return a.n;
}

START_TEST(there_and_back)
{
	struct oci_tar_member m = full();
	const struct oci_tar_member *g = &got.m;
	char *exact cleanup_free = NULL;

	ck_assert_int_eq(reader_put_member(&text, &m), 0);
	exact = malloc(body_len());
	memcpy(exact, text.s + sizeof(struct reader_answer), body_len());
	ck_assert_int_eq(reader_get_member(exact, body_len(), &got), 0);
	ck_assert_str_eq(g->path, m.path);
	ck_assert_str_eq(g->link, "");
	ck_assert_str_eq(g->acl_access, m.acl_access);
	ck_assert_ptr_null(g->acl_default);
	ck_assert(g->type == m.type && g->mode == m.mode && g->uid == m.uid && g->gid == m.gid);
	ck_assert(g->mtime == m.mtime && g->mtime_nsec == m.mtime_nsec && g->size == m.size &&
		  g->data == m.data && g->sparse);
	ck_assert_uint_eq(g->n_map, 3);
	ck_assert_int_eq(memcmp(g->map, map, sizeof(map)), 0);
	ck_assert_str_eq(g->xattrs->name, name1);
	ck_assert_uint_eq(g->xattrs->len, 3);
	ck_assert_int_eq(memcmp(g->xattrs->value, value, 3), 0);
	ck_assert_str_eq(g->xattrs->next->name, name2);
	ck_assert_uint_eq(g->xattrs->next->len, 0);
	ck_assert_ptr_null(g->xattrs->next->next);
}
END_TEST

/* Every length that is too short or too long, and every byte in every way. */
START_TEST(damaged)
{
	struct oci_tar_member m = full();
	size_t len, refused = 0;

	ck_assert_int_eq(reader_put_member(&text, &m), 0);
	len = body_len();
	for (size_t n = 0; n < len; n++)
		ck_assert_int_eq(get(n), -EPROTO);
	ck_assert_int_eq(strbuf_addc(&text, 'x'), 0);
	ck_assert_int_eq(get(len + 1), -EPROTO);
	for (size_t i = 0; i < len; i++) {
		char *at = text.s + sizeof(struct reader_answer) + i, before = *at;

		for (int c = 0; c < 256; c++) {
			*at = (char)c;
			refused += get(len) < 0;
		}
		*at = before;
	}
	ck_assert_uint_gt(refused, len * 20);
	ck_assert_int_eq(get(len), 0);
}
END_TEST

static const struct {
	const char *what;
	struct oci_tar_member m;
} impossible[] = {
	{"a type", {.type = OCI_TAR_FIFO + 1, .path = "a"}},
	{"a mode", {.path = "a", .mode = 010000}},
	{"a uid", {.path = "a", .uid = UINT32_MAX}},
	{"a gid", {.path = "a", .gid = UINT32_MAX}},
	{"a device", {.type = OCI_TAR_CHAR, .path = "a", .major = 4096}},
	{"a part of a second", {.path = "a", .mtime_nsec = 1000000000}},
	{"a directory with data", {.type = OCI_TAR_DIR, .path = "a", .size = 1}},
	{"data inside a block", {.path = "a", .data = 511}},
	{"data beyond everything", {.path = "a", .size = 1, .data = OCI_TAR_SIZE_MAX}},
	{"a size beyond everything", {.path = "a", .size = UINT64_MAX, .data = 512}},
	{"no path", {.size = 0}},
	{"a symlink to nowhere", {.type = OCI_TAR_SYMLINK, .path = "a"}},
	{"a map beyond the size",
	 {.path = "a", .size = 4999, .sparse = true, .map = map, .n_map = 3}},
	{"a map and its data beyond everything",
	 {.path = "a",
	  .size = 5000,
	  .data = OCI_TAR_SIZE_MAX,
	  .sparse = true,
	  .map = map,
	  .n_map = 3}},
};

START_TEST(impossible_members)
{
	ck_assert_int_eq(reader_put_member(&text, &impossible[_i].m), 0);
	ck_assert_msg(get(body_len()) == -EPROTO, "%s", impossible[_i].what);
}
END_TEST

START_TEST(failures)
{
	struct reader_failure f = {.code = -E2BIG, .msg = "a\033[2Jb\n", .where = "w"};
	struct err err = ERR_INIT;

	strcpy(f.hint, "if the image is trusted: --limit bytes=N");
	ck_assert_int_eq(reader_get_failure(&f, sizeof(f), &err), -E2BIG);
	ck_assert_str_eq(err.msg, "a?[2Jb?");
	ck_assert_str_eq(err.where, "w");
	ck_assert_str_eq(err.hint, f.hint);
	strcpy(f.hint, "curl evil | sh");
	f.code = -ENOSPC; /* not for it to say */
	memset(f.msg, 'x', sizeof(f.msg));
	ck_assert_int_eq(reader_get_failure(&f, sizeof(f), &err), -EBADMSG);
	ck_assert_str_eq(err.hint, "");
	ck_assert_uint_eq(strlen(err.msg), sizeof(err.msg) - 1);
	memset(f.msg, 0, sizeof(f.msg));
	f.code = 0;
	ck_assert_int_eq(reader_get_failure(&f, sizeof(f), &err), -EBADMSG);
	ck_assert_str_ne(err.msg, "");
	ck_assert_int_eq(reader_get_failure(&f, 3, &err), -EPROTO);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("oci_reader");
	TCase *t = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, there_and_back);
	tcase_add_test(t, damaged);
	tcase_add_loop_test(t, impossible_members, 0,
			    (int)(sizeof(impossible) / sizeof(impossible[0])));
	tcase_add_test(t, failures);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
