/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "erofs/tree.h"

static struct erofs_tree *tree;
static struct erofs_inode *root;

static void setup(void)
{
	tree = erofs_tree_new();
	ck_assert_ptr_nonnull(tree);
	root = erofs_tree_root(tree);
}

static void teardown(void)
{
	erofs_tree_free(tree);
}

static struct erofs_inode *add(struct erofs_inode *dir, const char *name, uint32_t mode)
{
	struct erofs_inode *inode = erofs_inode_new(tree, mode);

	ck_assert_ptr_nonnull(inode);
	ck_assert_int_eq(erofs_dir_add(tree, dir, name, strlen(name), inode), 0);
	return inode;
}

START_TEST(root_is_a_plain_directory)
{
	ck_assert_uint_eq(root->mode, S_IFDIR | 0755);
	ck_assert_uint_eq(root->nlink, 2);
	ck_assert_ptr_null(erofs_dir_parent(root));
	ck_assert_uint_eq(erofs_dir_count(root), 0);
}
END_TEST

START_TEST(names_are_checked)
{
	struct erofs_inode *f = erofs_inode_new(tree, S_IFREG | 0644);
	char longest[257];

	memset(longest, 'x', sizeof(longest));
	ck_assert_int_eq(erofs_dir_add(tree, root, "", 0, f), -EINVAL);
	ck_assert_int_eq(erofs_dir_add(tree, root, ".", 1, f), -EINVAL);
	ck_assert_int_eq(erofs_dir_add(tree, root, "..", 2, f), -EINVAL);
	ck_assert_int_eq(erofs_dir_add(tree, root, "a/b", 3, f), -EINVAL);
	ck_assert_int_eq(erofs_dir_add(tree, root, "a\0b", 3, f), -EINVAL);
	ck_assert_int_eq(erofs_dir_add(tree, root, longest, 256, f), -EINVAL);
	ck_assert_int_eq(erofs_dir_add(tree, f, "a", 1, f), -ENOTDIR);
	ck_assert_int_eq(erofs_dir_add(tree, root, longest, 255, f), 0);
	ck_assert_int_eq(erofs_dir_add(tree, root, longest, 255, f), -EEXIST);
	ck_assert_int_eq(erofs_dir_add(tree, root, "...", 3, f), 0);
	ck_assert_uint_eq(f->nlink, 2);
}
END_TEST

START_TEST(directories_have_one_name_and_no_loops)
{
	struct erofs_inode *a = add(root, "a", S_IFDIR | 0755);
	struct erofs_inode *b = add(a, "b", S_IFDIR | 0755);
	struct erofs_inode *free_dir = erofs_inode_new(tree, S_IFDIR | 0700);

	ck_assert_int_eq(erofs_dir_add(tree, root, "x", 1, a), -EMLINK);
	ck_assert_int_eq(erofs_dir_add(tree, b, "x", 1, root), -EMLINK);
	ck_assert_int_eq(erofs_dir_add(tree, free_dir, "x", 1, free_dir), -EINVAL);
	ck_assert_uint_eq(root->nlink, 3);
	ck_assert_uint_eq(a->nlink, 3);
	ck_assert_int_eq(erofs_dir_remove(tree, root, "a", 1), 0);
	ck_assert_uint_eq(root->nlink, 2);
	ck_assert_int_eq(erofs_dir_remove(tree, root, "a", 1), -ENOENT);
	ck_assert_int_eq(erofs_dir_add(tree, root, "again", 5, a), 0);
	ck_assert_uint_eq(erofs_dir_count(a), 0); /* what hung below it went with it */
}
END_TEST

START_TEST(removal_counts_links_below)
{
	struct erofs_inode *a = add(root, "a", S_IFDIR | 0755);
	struct erofs_inode *b = add(a, "b", S_IFDIR | 0755);
	struct erofs_inode *f = add(b, "f", S_IFREG | 0644);

	ck_assert_int_eq(erofs_dir_add(tree, root, "f", 1, f), 0);
	ck_assert_uint_eq(f->nlink, 2);
	erofs_dir_clear(tree, a);
	ck_assert_uint_eq(f->nlink, 1);
	ck_assert_uint_eq(a->nlink, 2);
	ck_assert_ptr_null(erofs_dir_find(a, "b", 1));
	ck_assert_ptr_eq(erofs_dir_find(root, "f", 1), f);
}
END_TEST

static int is_sorted(void *ctx, const char *name, size_t len, struct erofs_inode *inode)
{
	char *last = ctx;

	(void)inode;
	ck_assert_uint_eq(strlen(name), len);
	ck_assert_int_lt(strcmp(last, name), 0);
	strcpy(last, name);
	return 0;
}

START_TEST(large_directory_with_removals)
{
	char name[32], last[256] = "";
	const unsigned int n = 20000;

	for (unsigned int i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%u", i * 7919u % n);
		(void)add(root, name, S_IFREG | 0644);
	}
	for (unsigned int i = 0; i < n; i += 2) {
		snprintf(name, sizeof(name), "%u", i);
		ck_assert_int_eq(erofs_dir_remove(tree, root, name, strlen(name)), 0);
	}
	ck_assert_uint_eq(erofs_dir_count(root), n / 2);
	for (unsigned int i = 0; i < n; i += 4) { /* dead names come back, new ones come in */
		snprintf(name, sizeof(name), "%u", i);
		(void)add(root, name, S_IFREG | 0644);
		snprintf(name, sizeof(name), "new%u", i);
		(void)add(root, name, S_IFREG | 0644);
	}
	ck_assert_int_eq(erofs_dir_each(root, is_sorted, last), 0);
	for (unsigned int i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%u", i);
		ck_assert_int_eq(erofs_dir_find(root, name, strlen(name)) != NULL,
				 i % 2 == 1 || i % 4 == 0);
	}
	ck_assert_uint_eq(erofs_dir_count(root), n);
}
END_TEST

START_TEST(xattrs_are_replaced_and_removed)
{
	struct erofs_inode *f = add(root, "f", S_IFREG | 0644);

	ck_assert_int_eq(erofs_inode_set_xattr(tree, f, "user.a", "1", 1), 0);
	ck_assert_int_eq(erofs_inode_set_xattr(tree, f, "user.b", NULL, 0), 0);
	ck_assert_int_eq(erofs_inode_set_xattr(tree, f, "user.a", "22", 2), 0);
	erofs_inode_remove_xattr(f, "user.none");
	erofs_inode_remove_xattr(f, "user.b");
	ck_assert_str_eq(f->xattrs->name, "user.a");
	ck_assert_uint_eq(f->xattrs->len, 2);
	ck_assert_ptr_null(f->xattrs->next);
}
END_TEST

START_TEST(deep_tree_is_dropped_without_recursion)
{
	struct erofs_inode *d = root;

	for (int i = 0; i < 200000; i++)
		d = add(d, "d", S_IFDIR | 0755);
	ck_assert_int_eq(erofs_dir_remove(tree, root, "d", 1), 0);
	ck_assert_uint_eq(root->nlink, 2);
}
END_TEST

START_TEST(whiteouts)
{
	struct erofs_inode *w = add(root, "w", S_IFCHR);

	ck_assert(erofs_inode_is_whiteout(w));
	w->rdev_minor = 1;
	ck_assert(!erofs_inode_is_whiteout(w));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("erofs_tree");
	TCase *tc = tcase_create("tree");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, root_is_a_plain_directory);
	tcase_add_test(tc, names_are_checked);
	tcase_add_test(tc, directories_have_one_name_and_no_loops);
	tcase_add_test(tc, removal_counts_links_below);
	tcase_add_test(tc, large_directory_with_removals);
	tcase_add_test(tc, xattrs_are_replaced_and_removed);
	tcase_add_test(tc, deep_tree_is_dropped_without_recursion);
	tcase_add_test(tc, whiteouts);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
