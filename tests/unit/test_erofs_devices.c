/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "erofs/devices.h"

static char store[64];
static char index_path[200];
static struct erofs_device devices[3];

static char *in_store(const char *fmt, const char *tag, const char *file)
{
	static char path[400];

	snprintf(path, sizeof(path), "%s/%s/%s/%s", store, fmt, tag, file);
	return path;
}

static void make_file(const char *path, off_t size)
{
	int fd cleanup_close = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, size), 0);
}

static void setup(void)
{
	char dir[300];

	strcpy(store, "/tmp/test_erofs_devices.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(store));
	memset(devices, 0, sizeof(devices));
	memset(devices[0].tag, 'a', EROFS_TAG_HEX_LEN);
	memset(devices[1].tag, 'a', EROFS_TAG_HEX_LEN);
	memset(devices[2].tag, 'b', EROFS_TAG_HEX_LEN);
	devices[0].size = 1000; /* no whole number of blocks */
	devices[1].size = 1024;
	devices[2].size = 512;
	for (int i = 0; i < 3; i += 2) {
		snprintf(dir, sizeof(dir), "layers/sha256/%s", devices[i].tag);
		int fd cleanup_close = open(store, O_PATH | O_CLOEXEC);

		ck_assert_int_eq(io_mkdir_p(fd, dir, 0700), 0);
		ck_assert_int_eq(io_mkdir_p(fd, "chains/sha256/id", 0700), 0);
	}
	make_file(in_store("layers/sha256", devices[0].tag, "data"), 1000);
	make_file(in_store("layers/sha256", devices[1].tag, "side"), 1024);
	make_file(in_store("layers/sha256", devices[2].tag, "data"), 512);
	snprintf(index_path, sizeof(index_path), "%s/chains/sha256/id/index", store);
}

static void teardown(void)
{
	ck_assert_int_eq(io_remove_tree(AT_FDCWD, store), 0);
}

static struct erofs_image *make_index(size_t n)
{
	int fd cleanup_close = open(index_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct erofs_tree *t = erofs_tree_new();
	struct erofs_image *img = NULL;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(erofs_write(t, devices, n, fd, NULL), 0);
	ck_assert_int_eq(erofs_image_open(fd, &img, NULL), 0);
	erofs_tree_free(t);
	return img;
}

START_TEST(opened_by_the_layout)
{
	struct erofs_image *img cleanup_erofs_image = make_index(3);
	int *fds cleanup_free = NULL;
	struct err err = ERR_INIT;

	ck_assert_msg(erofs_open_devices(img, index_path, &fds, &err) == 0, "%s", err.msg);
	for (int i = 0; i < 3; i++) {
		struct stat a, b;
		const char *file = i == 1 ? "side" : "data";

		ck_assert_int_eq(fstat(fds[i], &a), 0);
		ck_assert_int_eq(stat(in_store("layers/sha256", devices[i].tag, file), &b), 0);
		ck_assert_uint_eq(a.st_ino, b.st_ino);
		close(fds[i]);
	}
}
END_TEST

START_TEST(index_by_a_relative_path)
{
	struct erofs_image *img cleanup_erofs_image = make_index(1);
	int *fds cleanup_free = NULL;
	char cwd[4096];

	ck_assert_ptr_nonnull(getcwd(cwd, sizeof(cwd)));
	*strrchr(index_path, '/') = '\0';
	ck_assert_int_eq(chdir(index_path), 0);
	ck_assert_int_eq(erofs_open_devices(img, "index", &fds, NULL), 0);
	close(fds[0]);
	ck_assert_int_eq(chdir(cwd), 0);
}
END_TEST

START_TEST(missing_short_or_no_file)
{
	struct erofs_image *img cleanup_erofs_image = make_index(3);
	const char *data = in_store("layers/sha256", devices[2].tag, "data");
	struct err err = ERR_INIT;
	int *fds = NULL;

	make_file(data, 0);
	ck_assert_int_eq(erofs_open_devices(img, index_path, &fds, &err), -EUCLEAN);
	ck_assert_msg(strstr(err.msg, "shorter") != NULL, "%s", err.msg);
	ck_assert_int_eq(unlink(data), 0);
	ck_assert_int_eq(erofs_open_devices(img, index_path, &fds, &err), -ENOENT);
	ck_assert_int_eq(symlink("/etc/passwd", data), 0);
	ck_assert_int_eq(erofs_open_devices(img, index_path, &fds, &err), -ELOOP);
	ck_assert_int_eq(unlink(data), 0);
	ck_assert_int_eq(mkfifo(data, 0600), 0); /* must not block */
	ck_assert_int_eq(erofs_open_devices(img, index_path, &fds, &err), -EUCLEAN);
	ck_assert_ptr_null(fds);
}
END_TEST

START_TEST(paths)
{
	struct erofs_image *img cleanup_erofs_image = make_index(3);
	char *path cleanup_free = NULL;
	char *none = NULL;

	ck_assert_int_eq(erofs_device_path(img, "/s/layers/sha256/x/index", 2, &path), 0);
	ck_assert_str_eq(path,
			 "/s/layers/sha256/"
			 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/side");
	ck_assert_int_eq(erofs_device_path(img, "/s/layers/sha256/x/index", 0, &none), -EINVAL);
	ck_assert_int_eq(erofs_device_path(img, "/s/layers/sha256/x/index", 4, &none), -EINVAL);
	ck_assert_int_eq(erofs_device_path(img, "index", 1, &none), -EINVAL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("erofs_devices");
	TCase *tc = tcase_create("devices");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, opened_by_the_layout);
	tcase_add_test(tc, index_by_a_relative_path);
	tcase_add_test(tc, missing_short_or_no_file);
	tcase_add_test(tc, paths);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
