/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "erofs/image.h"

static struct erofs_tree *tree;
static struct erofs_inode *root;
static struct erofs_device devices[2];

static void setup(void)
{
	tree = erofs_tree_new();
	ck_assert_ptr_nonnull(tree);
	root = erofs_tree_root(tree);
	memset(devices, 0, sizeof(devices));
	memset(devices[0].tag, 'a', EROFS_TAG_HEX_LEN);
	memset(devices[1].tag, 'a', EROFS_TAG_HEX_LEN);
	devices[0].size = 1 << 20;
	devices[1].size = UINT64_C(1) << 40;
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

static int write_tree(void)
{
	struct err err = ERR_INIT;
	int fd = memfd_create("image", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_msg(erofs_write(tree, devices, 2, fd, &err) == 0, "%s %s", err.where, err.msg);
	return fd;
}

static struct erofs_image *round_trip(void)
{
	struct erofs_image *img = NULL;
	struct err err = ERR_INIT;
	int fd cleanup_close = write_tree();

	ck_assert_msg(erofs_image_open(fd, &img, &err) == 0, "%s %s", err.where, err.msg);
	return img;
}

static struct erofs_stat stat_of(const struct erofs_image *img, const char *path)
{
	struct erofs_stat st;

	ck_assert_int_eq(erofs_image_inode(img, erofs_image_root(img), &st), 0);
	while (*path) {
		size_t len = strcspn(path, "/");
		uint64_t nid;

		ck_assert_msg(erofs_image_lookup(img, &st, path, len, &nid) == 0, "%s", path);
		ck_assert_int_eq(erofs_image_inode(img, nid, &st), 0);
		path += len + (path[len] == '/');
	}
	return st;
}

START_TEST(metadata)
{
	struct erofs_image *img cleanup_erofs_image = NULL;
	struct erofs_inode *f = add(root, "file", S_IFREG | 04755);
	struct erofs_inode *dev = add(root, "dev", S_IFBLK | 0600);
	struct erofs_inode *dir = add(root, "dir", S_IFDIR | 01777);
	struct erofs_stat st;

	f->uid = UINT32_MAX - 1;
	f->gid = 70000;
	f->mtime = -12345;
	f->mtime_nsec = 999999999;
	dev->rdev_major = 4095;
	dev->rdev_minor = 1048575;
	ck_assert_int_eq(erofs_dir_add(tree, dir, "link", 4, f), 0);
	(void)add(dir, "sub", S_IFDIR | 0700);
	(void)add(dir, "fifo", S_IFIFO | 0600);
	(void)add(dir, "sock", S_IFSOCK | 0600);
	img = round_trip();
	ck_assert_uint_eq(erofs_image_inodes(img), 7);
	st = stat_of(img, "file");
	ck_assert_uint_eq(st.mode, S_IFREG | 04755);
	ck_assert_uint_eq(st.uid, UINT32_MAX - 1);
	ck_assert_uint_eq(st.gid, 70000);
	ck_assert_int_eq(st.mtime, -12345);
	ck_assert_uint_eq(st.mtime_nsec, 999999999);
	ck_assert_uint_eq(st.nlink, 2);
	ck_assert_uint_eq(st.size, 0);
	ck_assert_uint_eq(stat_of(img, "dir/link").nid, st.nid);
	st = stat_of(img, "dev");
	ck_assert_uint_eq(st.rdev_major, 4095);
	ck_assert_uint_eq(st.rdev_minor, 1048575);
	ck_assert_uint_eq(stat_of(img, "dir").nlink, 3);
	ck_assert_uint_eq(stat_of(img, "").nlink, 3);
	ck_assert_uint_eq(stat_of(img, "dir/fifo").mode, S_IFIFO | 0600);
	ck_assert_uint_eq(stat_of(img, "dir/sock").mode, S_IFSOCK | 0600);
}
END_TEST

START_TEST(extents)
{
	struct erofs_image *img cleanup_erofs_image = NULL;
	struct erofs_inode *f = add(root, "data", S_IFREG | 0644);
	struct erofs_inode *big = add(root, "side", S_IFREG | 0644);
	struct erofs_inode *hole = add(root, "hole", S_IFREG | 0644);
	struct erofs_extent e;
	struct erofs_stat st;

	f->size = 1000;
	f->device = 1;
	f->offset = 1536;
	big->size = UINT64_C(1) << 40;
	big->device = 2;
	hole->size = (UINT64_C(3) << 40) + 5;
	img = round_trip();
	ck_assert_uint_eq(erofs_image_device_count(img), 2);
	ck_assert_str_eq(erofs_image_device(img, 1)->tag, devices[0].tag);
	ck_assert_uint_eq(erofs_image_device(img, 2)->size, devices[1].size);
	ck_assert_ptr_null(erofs_image_device(img, 0));
	ck_assert_ptr_null(erofs_image_device(img, 3));
	st = stat_of(img, "data");
	ck_assert_int_eq(erofs_image_map(img, &st, 999, &e), 0);
	ck_assert_uint_eq(e.device, 1);
	ck_assert_uint_eq(e.offset, 1536 + 999);
	ck_assert_uint_eq(e.len, 1);
	ck_assert_int_eq(erofs_image_map(img, &st, 1000, &e), -EINVAL);
	st = stat_of(img, "side");
	ck_assert_int_eq(erofs_image_map(img, &st, 4096, &e), 0);
	ck_assert_uint_eq(e.device, 2);
	ck_assert_uint_eq(e.offset, 4096);
	ck_assert_uint_eq(e.len, big->size - 4096);
	st = stat_of(img, "hole");
	ck_assert_int_eq(erofs_image_map(img, &st, (UINT64_C(3) << 40) + 1, &e), 0);
	ck_assert_uint_eq(e.device, 0);
	ck_assert_uint_eq(e.len, 4);
}
END_TEST

struct listing {
	unsigned int n;
	uint64_t next;
	unsigned int stop_at;
	char last[256];
};

static int list_entry(void *ctx, const char *name, size_t len, uint64_t nid, unsigned int type,
		      uint64_t next)
{
	struct listing *l = ctx;
	char text[256] = "";

	(void)nid;
	memcpy(text, name, len);
	ck_assert_int_lt(strcmp(l->last, text), 0);
	ck_assert_uint_eq(type, DT_REG);
	ck_assert_uint_gt(next, l->next);
	strcpy(l->last, text);
	l->next = next;
	return ++l->n == l->stop_at;
}

START_TEST(large_directory)
{
	struct erofs_image *img cleanup_erofs_image = NULL;
	const unsigned int n = 30000;
	struct listing l = {0};
	struct erofs_stat st;
	char name[300];
	uint64_t nid;

	for (unsigned int i = 0; i < n; i++) {
		/* names around "." and "..", and of all lengths */
		snprintf(name, sizeof(name), "%c%0*u",
			 "!-./a\xff"[i % 6] == '/' ? '+' : "!-./a\xff"[i % 6], (int)(5 + i % 250),
			 i);
		(void)add(root, name, S_IFREG | 0644);
	}
	img = round_trip();
	st = stat_of(img, "");
	for (unsigned int i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%c%0*u",
			 "!-./a\xff"[i % 6] == '/' ? '+' : "!-./a\xff"[i % 6], (int)(5 + i % 250),
			 i);
		ck_assert_int_eq(erofs_image_lookup(img, &st, name, strlen(name), &nid), 0);
		strcat(name, "x");
		ck_assert_int_eq(erofs_image_lookup(img, &st, name, strlen(name), &nid), -ENOENT);
	}
	ck_assert_int_eq(erofs_image_lookup(img, &st, "", 0, &nid), -ENOENT);
	for (unsigned int k = 1; l.n < n; k++) { /* in steps, from the place it stopped at */
		l.stop_at = l.n + k;
		ck_assert_int_eq(erofs_image_readdir(img, &st, l.next, list_entry, &l),
				 l.n < n ? 1 : l.n == l.stop_at);
	}
	ck_assert_uint_eq(l.n, n);
	ck_assert_int_eq(erofs_image_readdir(img, &st, l.next, list_entry, &l), 0);
	ck_assert_int_eq(erofs_image_readdir(img, &st, UINT64_MAX, list_entry, &l), 0);
	ck_assert_uint_eq(l.n, n);
}
END_TEST

START_TEST(symlinks_of_all_lengths)
{
	struct erofs_image *img cleanup_erofs_image = NULL;
	char target[4097], name[16];

	memset(target, 'y', sizeof(target));
	for (unsigned int len = 1; len <= 4095; len += len < 600 ? 1 : 499) {
		target[len] = '\0';
		snprintf(name, sizeof(name), "%u", len);
		ck_assert_int_eq(
			erofs_inode_set_target(tree, add(root, name, S_IFLNK | 0777), target), 0);
		target[len] = 'y';
	}
	img = round_trip();
	for (unsigned int len = 1; len <= 4095; len += len < 600 ? 1 : 499) {
		struct erofs_stat st;
		const char *s;

		snprintf(name, sizeof(name), "%u", len);
		st = stat_of(img, name);
		ck_assert_uint_eq(st.size, len);
		ck_assert_int_eq(erofs_image_symlink(img, &st, &s), 0);
		ck_assert_int_eq(memcmp(s, target, len), 0);
	}
}
END_TEST

static int count_xattr(void *ctx, const char *name, const void *value, size_t len)
{
	(void)value;
	(void)len;
	ck_assert_str_ne(name, "trusted.overlay.opaque");
	(*(unsigned int *)ctx)++;
	return 0;
}

START_TEST(xattrs)
{
	struct erofs_image *img cleanup_erofs_image = NULL;
	struct erofs_inode *a = add(root, "a", S_IFREG | 0644);
	struct erofs_inode *b = add(root, "b", S_IFDIR | 0755);
	static char big[65535];
	struct erofs_stat st;
	const void *value;
	unsigned int n = 0;
	char name[64];
	size_t len;

	memset(big, 'B', sizeof(big));
	ck_assert_int_eq(erofs_inode_set_xattr(tree, a, "user.shared", "same", 4), 0);
	ck_assert_int_eq(erofs_inode_set_xattr(tree, b, "user.shared", "same", 4), 0);
	ck_assert_int_eq(erofs_inode_set_xattr(tree, a, "user.own", "", 0), 0);
	ck_assert_int_eq(erofs_inode_set_xattr(tree, a, "security.big", big, sizeof(big)), 0);
	ck_assert_int_eq(erofs_inode_set_xattr(tree, a, "system.posix_acl_access", "acl", 3), 0);
	b->flags = EROFS_I_OPAQUE | EROFS_I_IMPLIED;
	for (unsigned int i = 0; i < 300; i++) { /* more than ids fit */
		snprintf(name, sizeof(name), "user.%u", i);
		ck_assert_int_eq(erofs_inode_set_xattr(tree, b, name, name, strlen(name)), 0);
		ck_assert_int_eq(erofs_inode_set_xattr(tree, a, name, name, strlen(name)), 0);
	}
	img = round_trip();
	st = stat_of(img, "a");
	ck_assert_int_eq(erofs_image_getxattr(img, &st, "user.shared", &value, &len), 0);
	ck_assert_uint_eq(len, 4);
	ck_assert_int_eq(memcmp(value, "same", 4), 0);
	ck_assert_int_eq(erofs_image_getxattr(img, &st, "user.own", &value, &len), 0);
	ck_assert_uint_eq(len, 0);
	ck_assert_int_eq(erofs_image_getxattr(img, &st, "security.big", &value, &len), 0);
	ck_assert_uint_eq(len, sizeof(big));
	ck_assert_int_eq(memcmp(value, big, len), 0);
	ck_assert_int_eq(erofs_image_getxattr(img, &st, "system.posix_acl_access", &value, &len),
			 0);
	ck_assert_int_eq(erofs_image_getxattr(img, &st, "user.none", &value, &len), -ENODATA);
	ck_assert_int_eq(erofs_image_getxattr(img, &st, "other", &value, &len), -ENODATA);
	ck_assert_int_eq(erofs_image_xattr_each(img, &st, count_xattr, &n), 0);
	ck_assert_uint_eq(n, 304);
	st = stat_of(img, "b");
	ck_assert_uint_eq(st.flags, EROFS_I_OPAQUE | EROFS_I_IMPLIED);
	ck_assert_int_eq(erofs_image_getxattr(img, &st, "trusted.overlay.opaque", &value, &len),
			 -ENODATA);
	n = 0;
	ck_assert_int_eq(erofs_image_xattr_each(img, &st, count_xattr, &n), 0);
	ck_assert_uint_eq(n, 301);
	for (unsigned int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "user.%u", i);
		ck_assert_int_eq(erofs_image_getxattr(img, &st, name, &value, &len), 0);
		ck_assert_uint_eq(len, strlen(name));
		ck_assert_int_eq(memcmp(value, name, len), 0);
	}
}
END_TEST

START_TEST(links_to_lower_layers)
{
	struct erofs_image *img cleanup_erofs_image = NULL;
	struct erofs_inode *l = add(root, "l", S_IFREG | 0640);
	char *target cleanup_free = NULL;
	struct erofs_stat st;

	l->flags = EROFS_I_LINK;
	ck_assert_int_eq(erofs_inode_set_target(tree, l, "usr/bin/x"), 0);
	img = round_trip();
	st = stat_of(img, "l");
	ck_assert_uint_eq(st.flags, EROFS_I_LINK);
	ck_assert_uint_eq(st.size, 0);
	ck_assert_int_eq(erofs_image_link_target(img, &st, &target), 0);
	ck_assert_str_eq(target, "usr/bin/x");
}
END_TEST

START_TEST(refused_trees)
{
	struct erofs_inode *f = add(root, "f", S_IFREG | 0644);
	struct err err = ERR_INIT;
	int fd cleanup_close = memfd_create("image", MFD_CLOEXEC);

	f->device = 3;
	f->size = 1;
	ck_assert_int_eq(erofs_write(tree, devices, 2, fd, &err), -EINVAL);
	f->device = 1;
	f->offset = 7;
	ck_assert_int_eq(erofs_write(tree, devices, 2, fd, &err), -EINVAL);
	f->offset = 1 << 20;
	ck_assert_int_eq(erofs_write(tree, devices, 2, fd, &err), -EINVAL);
	f->offset = UINT64_MAX - 511;
	f->size = UINT64_MAX;
	ck_assert_int_lt(erofs_write(tree, devices, 2, fd, &err), 0);
	f->device = 0;
	ck_assert_int_eq(erofs_write(tree, devices, 2, fd, &err), -EFBIG);
	f->size = 0;
	f->mtime_nsec = 1000000000;
	ck_assert_int_eq(erofs_write(tree, devices, 2, fd, &err), -EINVAL);
	f->mtime_nsec = 0;
	ck_assert_int_eq(erofs_inode_set_xattr(tree, f, "trusted.snap.link", "x", 1), 0);
	ck_assert_int_eq(erofs_write(tree, devices, 2, fd, &err), -EINVAL);
	erofs_inode_remove_xattr(f, "trusted.snap.link");
	ck_assert_int_eq(erofs_inode_set_xattr(tree, f, "os2.x", "x", 1), 0);
	ck_assert_int_eq(erofs_write(tree, devices, 2, fd, &err), -EOPNOTSUPP);
	erofs_inode_remove_xattr(f, "os2.x");
	ck_assert_int_eq(erofs_write(tree, devices, 2, fd, &err), 0);
	devices[0].tag[3] = '/';
	ck_assert_int_eq(erofs_write(tree, devices, 2, fd, &err), -EINVAL);
	devices[0].tag[3] = 'a';
	devices[0].size = UINT64_C(3) << 40;
	ck_assert_int_eq(erofs_write(tree, devices, 2, fd, &err), -EFBIG);
}
END_TEST

START_TEST(same_tree_same_bytes)
{
	struct erofs_tree *first = tree;
	int fds[2];
	struct stat st[2];
	char *bytes[2];

	for (int k = 0; k < 2; k++) { /* the second tree in another order of making */
		if (k)
			setup();
		for (unsigned int i = 0; i < 1000; i++) {
			char name[16];
			struct erofs_inode *f;

			snprintf(name, sizeof(name), "%u", k ? 999 - i : i);
			f = add(root, name, S_IFREG | 0644);
			ck_assert_int_eq(
				erofs_inode_set_xattr(tree, f, k ? "user.a" : "user.b", "v", 1), 0);
			ck_assert_int_eq(
				erofs_inode_set_xattr(tree, f, k ? "user.b" : "user.a", "v", 1), 0);
		}
		fds[k] = write_tree();
		ck_assert_int_eq(fstat(fds[k], &st[k]), 0);
		bytes[k] = mmap(NULL, (size_t)st[k].st_size, PROT_READ, MAP_SHARED, fds[k], 0);
		ck_assert_ptr_ne(bytes[k], MAP_FAILED);
	}
	ck_assert_int_eq(st[0].st_size, st[1].st_size);
	ck_assert_int_eq(memcmp(bytes[0], bytes[1], (size_t)st[0].st_size), 0);
	for (int k = 0; k < 2; k++) {
		munmap(bytes[k], (size_t)st[k].st_size);
		close(fds[k]);
	}
	erofs_tree_free(first);
}
END_TEST

/* Everything a reader may be asked about an inode; results are of no interest. */
struct visit {
	const struct erofs_image *img;
	unsigned int left, depth;
};

static int ignore_xattr(void *ctx, const char *name, const void *value, size_t len)
{
	volatile unsigned char sum = 0;

	(void)ctx;
	for (size_t i = 0; i < len; i++)
		sum = (unsigned char)(sum + ((const unsigned char *)value)[i]);
	return strlen(name) > 300;
}

static int visit_entry(void *ctx, const char *name, size_t len, uint64_t nid, unsigned int type,
		       uint64_t next)
{
	struct visit *v = ctx;
	struct erofs_stat st;
	struct erofs_extent e;
	const char *target;
	char *link = NULL;
	const void *value;
	size_t value_len;
	uint64_t found;

	(void)type;
	(void)next;
	ck_assert_uint_le(len, 255);
	ck_assert_ptr_null(memchr(name, '/', len));
	if (v->left == 0)
		return 1;
	v->left--;
	if (erofs_image_inode(v->img, nid, &st) < 0)
		return 0;
	(void)!erofs_image_xattr_each(v->img, &st, ignore_xattr, NULL);
	(void)!erofs_image_getxattr(v->img, &st, "user.shared", &value, &value_len);
	(void)!erofs_image_lookup(v->img, &st, "f7", 2, &found);
	if (erofs_image_symlink(v->img, &st, &target) == 0)
		ck_assert_uint_le(strnlen(target, st.size), st.size);
	if (erofs_image_link_target(v->img, &st, &link) == 0)
		free(link);
	for (uint64_t pos = 0; pos < 3 << 20; pos += 1 << 20)
		(void)!erofs_image_map(v->img, &st, pos, &e);
	if (S_ISDIR(st.mode) && v->depth < 20) {
		v->depth++;
		(void)!erofs_image_readdir(v->img, &st, 0, visit_entry, v);
		v->depth--;
	}
	return 0;
}

START_TEST(flipped_bytes)
{
	char *good, name[16];
	uint64_t rnd = 88172645463325252u;
	struct erofs_inode *dir = add(root, "dir", S_IFDIR | 0755);
	int fd cleanup_close = -1;
	struct stat st;
	unsigned int opened = 0;
	char *map;

	for (unsigned int i = 0; i < 60; i++) {
		struct erofs_inode *f;

		snprintf(name, sizeof(name), "f%u", i);
		f = add(i % 2 ? dir : root, name, i % 5 ? S_IFREG | 0644 : S_IFLNK | 0777);
		if (S_ISLNK(f->mode)) {
			ck_assert_int_eq(erofs_inode_set_target(tree, f, "target"), 0);
		} else {
			f->device = 1;
			f->size = 600;
			f->offset = i * 1024;
			f->flags = i % 11 == 0 ? EROFS_I_LINK : 0;
			f->target = "dir/f1";
			ck_assert_int_eq(erofs_inode_set_xattr(tree, f, "user.shared", "v", 1), 0);
			ck_assert_int_eq(erofs_inode_set_xattr(tree, f, "user.own", name, 3), 0);
		}
		dir->flags = EROFS_I_OPAQUE;
	}
	fd = write_tree();
	ck_assert_int_eq(fstat(fd, &st), 0);
	map = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	good = malloc((size_t)st.st_size);
	ck_assert_ptr_ne(map, MAP_FAILED);
	ck_assert_ptr_nonnull(good);
	memcpy(good, map, (size_t)st.st_size);
	/* No checksum, or it would be the only thing that is tested. */
	good[1024 + 8] &= ~1;
	for (unsigned int round = 0; round < 10000; round++) {
		struct erofs_image *img = NULL;

		memcpy(map, good, (size_t)st.st_size);
		for (unsigned int k = 0; k <= round % 8; k++) {
			rnd ^= rnd << 13;
			rnd ^= rnd >> 7;
			rnd ^= rnd << 17;
			/* the first blocks are zeros, and the super block's are few */
			map[1024 + (rnd >> 8) % (uint64_t)(st.st_size - 1024)] = (char)rnd;
		}
		if (erofs_image_open(fd, &img, NULL) == 0) {
			struct visit v = {.img = img, .left = 2000};

			opened++;
			(void)visit_entry(&v, "", 0, erofs_image_root(img), 0, 0);
			erofs_image_close(img);
		}
	}
	ck_assert_uint_gt(opened, 1000);
	munmap(map, (size_t)st.st_size);
	free(good);
}
END_TEST

START_TEST(cut_off)
{
	int fd cleanup_close = write_tree();
	struct erofs_image *img = NULL;
	struct stat st;

	ck_assert_int_eq(fstat(fd, &st), 0);
	for (off_t size = st.st_size - 1; size >= 0; size -= 97) {
		ck_assert_int_eq(ftruncate(fd, size), 0);
		ck_assert_int_eq(erofs_image_open(fd, &img, NULL), -EUCLEAN);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("erofs_image");
	TCase *tc = tcase_create("image");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, metadata);
	tcase_add_test(tc, extents);
	tcase_add_test(tc, large_directory);
	tcase_add_test(tc, symlinks_of_all_lengths);
	tcase_add_test(tc, xattrs);
	tcase_add_test(tc, links_to_lower_layers);
	tcase_add_test(tc, refused_trees);
	tcase_add_test(tc, same_tree_same_bytes);
	tcase_add_test(tc, flipped_bytes);
	tcase_add_test(tc, cut_off);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
