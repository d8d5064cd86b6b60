/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/strbuf.h"
#include "overlay/changes.h"

/*
 * Uppers made by hand, with the marks as the kernel writes them for an ordinary
 * user. What the walk says is compared as text, one line an event:
 * KIND PATH [=HARDLINK] [->TARGET] ["CONTENT"].
 */
static char root[64];
static struct ovl_config config;
static char *lowers[4];
static struct strbuf got;
static struct err e;

static void setup(void)
{
	snprintf(root, sizeof(root), "/tmp/snap-changes-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
	ck_assert_int_eq(chdir(root), 0);
	for (const char *const *d =
		     (const char *const[]){"top", "low", "up", "work", "work/links", NULL};
	     *d; d++)
		ck_assert_int_eq(mkdir(*d, 0755), 0);
	strbuf_init(&got);
	config = (struct ovl_config){.lowers = lowers, .n_lowers = 1};
	config.upper = strdup("up");
	config.work = strdup("work");
	lowers[0] = strdup("low");
	e = (struct err)ERR_INIT;
}

static void teardown(void)
{
	strbuf_release(&got);
	free(config.upper);
	free(config.work);
	for (size_t i = 0; i < config.n_lowers; i++)
		free(lowers[i]);
	/* it is taken apart beside where it stands */
	ck_assert_int_eq(chdir("/tmp"), 0);
	ck_assert_int_eq(io_remove_tree(AT_FDCWD, strrchr(root, '/') + 1), 0);
}

static void file(const char *path, const char *content)
{
	int fd cleanup_close = open(path, O_CREAT | O_EXCL | O_WRONLY, 0644);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(io_write_full(fd, content, strlen(content)), 0);
}

static void dir(const char *path)
{
	ck_assert_int_eq(mkdir(path, 0755), 0);
}

static void whiteout(const char *path)
{
	ck_assert_int_eq(mknod(path, S_IFCHR, makedev(0, 0)), 0);
}

static void mark(const char *path, const char *name, const char *value)
{
	ck_assert_int_eq(setxattr(path, name, value, strlen(value), 0), 0);
}

static int collect(void *ctx, const struct ovl_change *c, struct err *err)
{
	static const char kinds[] = {
		[OVL_ADDED] = 'A', [OVL_CHANGED] = 'C', [OVL_DELETED] = 'D', [OVL_OPAQUE] = 'O'};
	char buf[64];
	ssize_t n;
	int r = strbuf_addf(&got, "%c %s", kinds[c->kind], c->path);

	(void)ctx;
	(void)err;
	if (!r && c->hardlink)
		r = strbuf_addf(&got, " =%s", c->hardlink);
	if (!r && c->target)
		r = strbuf_addf(&got, " ->%s", c->target);
	if (!r && c->data_fd >= 0) {
		n = c->st.st_size < (off_t)sizeof(buf) ? c->st.st_size : (off_t)sizeof(buf) - 1;
		n = pread(c->data_fd, buf, (size_t)n, c->data_off);
		ck_assert_int_eq(n, c->st.st_size);
		r = strbuf_addf(&got, " \"%.*s\"", (int)n, buf);
	}
	for (size_t i = 0; i < c->n_xattrs && !r; i++)
		r = strbuf_addf(&got, " %s=%.*s", c->xattrs[i].name, (int)c->xattrs[i].len,
				(const char *)c->xattrs[i].value);
	ck_assert_int_eq(r, 0);
	return strbuf_addc(&got, '\n');
}

static void walk(const struct ovl_changes_options *opt)
{
	strbuf_reset(&got);
	ck_assert_msg(ovl_changes_walk(&config, opt, collect, NULL, &e) == 0, "%s: %s", e.where,
		      e.msg);
	/* The root's time differs always here: not what these tests look at. */
	if (strncmp(got.s, "C \n", 3) == 0)
		memmove(got.s, got.s + 3, strlen(got.s + 3) + 1);
}

#define expect(text) ck_assert_str_eq(got.s, text)

START_TEST(nothing)
{
	file("low/f", "x");
	walk(NULL);
	expect("");
}
END_TEST

START_TEST(added_changed_deleted)
{
	file("low/a", "old");
	file("low/gone", "x");
	dir("low/d");
	file("low/d/f", "x");
	file("up/a", "new");
	file("up/b", "born");
	whiteout("up/gone");
	whiteout("up/never");
	dir("up/d");
	whiteout("up/d/f");
	file("up/d/g", "g");
	ck_assert_int_eq(symlink("to", "up/l"), 0);
	ck_assert_int_eq(mkfifo("up/p", 0600), 0);
	walk(NULL);
	expect("D gone\nC a \"new\"\nA b \"born\"\nC d\nD d/f\nA d/g \"g\"\nA l ->to\nA p\n");
}
END_TEST

START_TEST(names_in_byte_order)
{
	file("up/a.b", "");
	dir("up/a");
	file("up/a/z", "");
	file("up/a0", "");
	file("up/\xff", "");
	file("up/B", "");
	walk(NULL);
	expect("A B \"\"\nA a\nA a/z \"\"\nA a.b \"\"\nA a0 \"\"\nA \xff \"\"\n");
}
END_TEST

START_TEST(types_change)
{
	file("low/f2d", "x");
	dir("low/d2f");
	file("low/d2f/in", "x");
	dir("low/d2l");
	dir("up/f2d");
	file("up/f2d/new", "n");
	file("up/d2f", "f");
	ck_assert_int_eq(symlink("x", "up/d2l"), 0);
	walk(NULL);
	expect("C d2f \"f\"\nC d2l ->x\nC f2d\nA f2d/new \"n\"\n");
}
END_TEST

START_TEST(opaque)
{
	const struct ovl_changes_options expand = {.expand_opaque = true};

	dir("low/d");
	file("low/d/a", "1");
	file("low/d/b", "2");
	dir("low/d/sub");
	file("low/d/sub/x", "3");
	dir("up/d");
	mark("up/d", "user.overlay.opaque", "y");
	file("up/d/b", "new");
	dir("up/d/sub");
	mark("up/d/sub", "user.overlay.opaque", "y");
	whiteout("up/d/needless");
	walk(NULL);
	expect("C d\nO d\nC d/b \"new\"\nC d/sub\n");
	walk(&expand);
	expect("C d\nD d/a\nC d/b \"new\"\nC d/sub\nD d/sub/x\n");
}
END_TEST

START_TEST(opaque_hides_nothing)
{
	dir("low/same");
	file("low/same/a", "1");
	dir("low/empty");
	dir("up/same");
	mark("up/same", "user.overlay.opaque", "y");
	file("up/same/a", "2");
	dir("up/empty");
	mark("up/empty", "user.overlay.opaque", "y");
	file("up/empty/n", "");
	dir("up/new");
	mark("up/new", "user.overlay.opaque", "y");
	/* "x" is another mark of the kernel: not opaque */
	dir("low/x");
	file("low/x/keep", "");
	dir("up/x");
	mark("up/x", "user.overlay.opaque", "x");
	walk(NULL);
	expect("C empty\nA empty/n \"\"\nA new\nC same\nC same/a \"2\"\nC x\n");
}
END_TEST

START_TEST(only_inside_of_recreated_is_hidden)
{
	/* rm -rf d; mkdir -p d/s: the name d/s stays, what was in it goes */
	dir("low/d");
	dir("low/d/s");
	file("low/d/s/old", "");
	dir("up/d");
	mark("up/d", "user.overlay.opaque", "y");
	dir("up/d/s");
	walk(NULL);
	expect("C d\nC d/s\nO d/s\n");
}
END_TEST

START_TEST(renamed_directory)
{
	dir("low/old");
	file("low/old/f", "f");
	dir("low/old/s");
	file("low/old/s/g", "g");
	ck_assert_int_eq(symlink("f", "low/old/l"), 0);
	whiteout("up/old");
	dir("up/new");
	mark("up/new", "user.overlay.redirect", "old");
	whiteout("up/new/f");
	file("up/new/h", "h");
	walk(NULL);
	expect("D old\nA new\nA new/h \"h\"\nA new/l ->f\nA new/s\nA new/s/g \"g\"\n");
}
END_TEST

START_TEST(renamed_over_another)
{
	dir("low/a");
	dir("low/a/s");
	file("low/a/s/x", "x");
	dir("low/b");
	file("low/b/old", "o");
	dir("low/p");
	/* mv b gone; mv a/s b: b shows a/s, by a path from the root */
	dir("up/a");
	whiteout("up/a/s");
	dir("up/b");
	mark("up/b", "user.overlay.redirect", "/a/s");
	file("up/b/y", "y");
	/* inside of it a directory that was moved into it as well */
	dir("up/b/p");
	mark("up/b/p", "user.overlay.redirect", "/p");
	whiteout("up/p");
	walk(NULL);
	expect("D p\nC a\nD a/s\nC b\nO b\nA b/p\nA b/x \"x\"\nA b/y \"y\"\n");
}
END_TEST

START_TEST(redirect_out_is_refused)
{
	dir("up/d");
	mark("up/d", "user.overlay.redirect", "/../../etc");
	ck_assert_int_eq(ovl_changes_walk(&config, NULL, collect, NULL, &e), -EIO);
	mark("up/d", "user.overlay.redirect", "a/b");
	ck_assert_int_eq(ovl_changes_walk(&config, NULL, collect, NULL, &e), -EIO);
}
END_TEST

START_TEST(hard_links)
{
	dir("up/d");
	file("up/d/z", "one");
	ck_assert_int_eq(link("up/d/z", "up/b"), 0);
	ck_assert_int_eq(link("up/d/z", "up/x"), 0);
	walk(NULL);
	expect("A b \"one\"\nA d\nA d/z =b\nA x =b\n");
}
END_TEST

/* Lower links h1, deep/h2, d/h3; h1 was written to, nobody looked at the others. */
START_TEST(hard_links_that_only_the_lower_names)
{
	struct stat st;
	char name[64];

	file("low/h1", "old");
	dir("low/deep");
	dir("low/deep/er");
	ck_assert_int_eq(link("low/h1", "low/deep/er/h2"), 0);
	dir("low/d");
	ck_assert_int_eq(link("low/h1", "low/d/h3"), 0);
	file("low/deep/other", "x");
	dir("low/gone");
	ck_assert_int_eq(link("low/h1", "low/gone/h4"), 0);
	ck_assert_int_eq(stat("low/h1", &st), 0);
	snprintf(name, sizeof(name), "work/links/%llu", (unsigned long long)st.st_ino);
	file(name, "new");
	ck_assert_int_eq(link(name, "up/h1"), 0);
	dir("up/d");
	whiteout("up/d/h3");
	whiteout("up/gone");
	walk(NULL);
	expect("D gone\nC d\nD d/h3\nC deep/er/h2 \"new\"\nC h1 =deep/er/h2\n");
	/* and the first name removed */
	ck_assert_int_eq(unlink("up/h1"), 0);
	whiteout("up/h1");
	walk(NULL);
	expect("D gone\nD h1\nC d\nD d/h3\nC deep/er/h2 \"new\"\n");
}
END_TEST

START_TEST(hard_links_in_a_moved_directory)
{
	struct stat st;
	char name[64];

	dir("low/d");
	file("low/d/a", "old");
	ck_assert_int_eq(link("low/d/a", "low/d/b"), 0);
	file("low/d/c", "c");
	ck_assert_int_eq(link("low/d/c", "low/d/e"), 0);
	ck_assert_int_eq(stat("low/d/a", &st), 0);
	snprintf(name, sizeof(name), "work/links/%llu", (unsigned long long)st.st_ino);
	file(name, "new");
	whiteout("up/d");
	dir("up/m");
	mark("up/m", "user.overlay.redirect", "d");
	ck_assert_int_eq(link(name, "up/m/a"), 0);
	walk(NULL);
	expect("D d\nA m\nA m/a \"new\"\nA m/b =m/a\nA m/c \"c\"\nA m/e =m/c\n");
}
END_TEST

START_TEST(xattrs_shown)
{
	file("up/f", "");
	mark("up/f", "user.b", "2");
	mark("up/f", "user.a", "1");
	mark("up/f", "user.overlay.origin", "x");
	mark("up/f", "user.overlay.snap.origin", "12");
	mark("up/f", "user.overlay.overlay.opaque", "y");
	mark("up/f", "user.containers.override_stat", "7:8:0640");
	mark("up/f", "user.fuseoverlayfs.origin", "x");
	mark("up/f", "user.rootlesscontainers", "r");
	walk(NULL);
	expect("A f \"\" user.a=1 user.b=2 user.overlay.opaque=y user.rootlesscontainers=r\n");
}
END_TEST

static int check_stat(void *ctx, const struct ovl_change *c, struct err *err)
{
	struct stat *st = ctx;

	(void)err;
	if (strcmp(c->path, "f") == 0)
		*st = c->st;
	return 0;
}

START_TEST(owner_and_number)
{
	struct stat st = {.st_uid = 0};

	file("up/f", "abc");
	mark("up/f", "user.containers.override_stat", "7:8:4640");
	/* as the engine says that owners are kept so, whoever runs this test */
	mark("up", "user.containers.override_stat", "0:0:0755");
	mark("up/f", "user.overlay.snap.origin", "12");
	config.ino_batch = 5;
	ck_assert_int_eq(ovl_changes_walk(&config, NULL, check_stat, &st, &e), 0);
	ck_assert_uint_eq(st.st_uid, 7);
	ck_assert_uint_eq(st.st_gid, 8);
	ck_assert_uint_eq(st.st_mode, S_IFREG | 04640);
	ck_assert_uint_eq(st.st_ino, (5ULL << 32) + 12);
	ck_assert_int_eq(st.st_size, 3);
}
END_TEST

START_TEST(several_lowers)
{
	lowers[1] = lowers[0];
	lowers[0] = strdup("top");
	config.n_lowers = 2;
	file("low/a", "low");
	whiteout("top/a");
	dir("low/d");
	file("low/d/f", "low");
	dir("top/d");
	mark("top/d", "user.overlay.opaque", "y");
	file("top/d/g", "top");
	/* what the upper layer hid already is not below any more */
	whiteout("up/a");
	dir("up/d");
	whiteout("up/d/f");
	whiteout("up/d/g");
	walk(NULL);
	expect("C d\nD d/g\n");
	ck_assert_int_eq(unlink("up/d/g"), 0);
	ck_assert_int_eq(unlink("up/d/f"), 0);
	mark("up/d", "user.overlay.opaque", "y");
	ck_assert_int_eq(unlink("up/a"), 0);
	file("up/a", "again");
	walk(NULL);
	expect("A a \"again\"\nC d\nO d\n");
}
END_TEST

START_TEST(no_lower)
{
	free(lowers[0]);
	config.n_lowers = 0;
	file("up/f", "x");
	strbuf_reset(&got);
	ck_assert_int_eq(ovl_changes_walk(&config, NULL, collect, NULL, &e), 0);
	expect("A \nA f \"x\"\n");
}
END_TEST

START_TEST(root_metadata)
{
	struct stat st;

	/* equal but for the time, and nothing in it: no change */
	ck_assert_int_eq(stat("low", &st), 0);
	strbuf_reset(&got);
	ck_assert_int_eq(ovl_changes_walk(&config, NULL, collect, NULL, &e), 0);
	expect("");
	ck_assert_int_eq(chmod("up", 0711), 0);
	ck_assert_int_eq(ovl_changes_walk(&config, NULL, collect, NULL, &e), 0);
	expect("C \n");
}
END_TEST

START_TEST(sockets)
{
	ck_assert_int_eq(mknod("up/s", S_IFSOCK | 0600, 0), 0);
	walk(NULL);
	expect("");
	file("low/s", "x");
	walk(NULL);
	expect("D s\n");
}
END_TEST

START_TEST(names_that_would_be_marks)
{
	file("up/.wh.x", "");
	file("low/x", "");
	walk(NULL);
	expect("");
}
END_TEST

/* A file of the upper that is as long as the data that are below, without them. */
static void bare(const char *path, off_t size)
{
	file(path, "");
	ck_assert_int_eq(truncate(path, size), 0);
	mark(path, "user.overlay.metacopy", "");
}

START_TEST(metacopy_has_its_data_below)
{
	file("low/f", "data of f");
	file("low/g", "data of g");
	dir("low/d");
	file("low/d/in", "in d");
	bare("up/f", 9);
	/* moved; moved out of a directory that was moved, too; cut off */
	bare("up/new", 9);
	mark("up/new", "user.overlay.redirect", "g");
	dir("up/moved");
	mark("up/moved", "user.overlay.redirect", "d");
	bare("up/moved/in", 4);
	bare("up/out", 2);
	mark("up/out", "user.overlay.redirect", "/d/in");
	walk(NULL);
	ck_assert_ptr_nonnull(strstr(got.s, "C f \"data of f\"\n"));
	ck_assert_ptr_nonnull(strstr(got.s, "A new \"data of g\"\n"));
	ck_assert_ptr_nonnull(strstr(got.s, "A moved/in \"in d\"\n"));
	ck_assert_ptr_nonnull(strstr(got.s, "A out \"in\"\n"));
}
END_TEST

START_TEST(metacopy_without_data_is_refused)
{
	bare("up/f", 3);
	ck_assert_int_eq(ovl_changes_walk(&config, NULL, collect, NULL, &e), -EIO);
	ck_assert_ptr_nonnull(strstr(e.msg, "'/f'"));
}
END_TEST

static int stop(void *ctx, const struct ovl_change *c, struct err *err)
{
	int *n = ctx;

	(void)c;
	return ++*n == 2 ? err_set(err, -ENOSPC, "full") : 0;
}

START_TEST(stops)
{
	int n = 0;

	file("up/a", "");
	file("up/b", "");
	file("up/c", "");
	ck_assert_int_eq(chmod("up", 0755), 0);
	ck_assert_int_eq(ovl_changes_walk(&config, NULL, stop, &n, &e), -ENOSPC);
	ck_assert_int_eq(n, 2);
}
END_TEST

START_TEST(deep)
{
	char name[201];
	int fd = open("up", O_PATH | O_DIRECTORY), next;

	memset(name, 'n', 200);
	name[200] = '\0';
	/* 19 * 201 bytes still are a path of a layer, 21 * 201 are none */
	for (int i = 0; i < 19; i++) {
		ck_assert_int_eq(mkdirat(fd, name, 0755), 0);
		next = openat(fd, name, O_PATH | O_DIRECTORY);
		ck_assert_int_ge(next, 0);
		(void)close(fd);
		fd = next;
	}
	ck_assert_int_eq(ovl_changes_walk(&config, NULL, collect, NULL, &e), 0);
	ck_assert_int_eq(mkdirat(fd, name, 0755), 0);
	next = openat(fd, name, O_PATH | O_DIRECTORY);
	ck_assert_int_eq(mkdirat(next, name, 0755), 0);
	(void)close(next);
	(void)close(fd);
	ck_assert_int_eq(ovl_changes_walk(&config, NULL, collect, NULL, &e), -ENAMETOOLONG);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("changes");
	TCase *t = tcase_create("core");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, nothing);
	tcase_add_test(t, added_changed_deleted);
	tcase_add_test(t, names_in_byte_order);
	tcase_add_test(t, types_change);
	tcase_add_test(t, opaque);
	tcase_add_test(t, opaque_hides_nothing);
	tcase_add_test(t, only_inside_of_recreated_is_hidden);
	tcase_add_test(t, renamed_directory);
	tcase_add_test(t, renamed_over_another);
	tcase_add_test(t, redirect_out_is_refused);
	tcase_add_test(t, hard_links);
	tcase_add_test(t, hard_links_that_only_the_lower_names);
	tcase_add_test(t, hard_links_in_a_moved_directory);
	tcase_add_test(t, xattrs_shown);
	tcase_add_test(t, owner_and_number);
	tcase_add_test(t, several_lowers);
	tcase_add_test(t, no_lower);
	tcase_add_test(t, root_metadata);
	tcase_add_test(t, sockets);
	tcase_add_test(t, names_that_would_be_marks);
	tcase_add_test(t, metacopy_has_its_data_below);
	tcase_add_test(t, metacopy_without_data_is_refused);
	tcase_add_test(t, stops);
	tcase_add_test(t, deep);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
