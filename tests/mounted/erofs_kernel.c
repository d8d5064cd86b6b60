/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "erofs/image.h"
#include "erofs/kmount.h"
#include "tests/mounted/random_tree.h"

/*
 * erofs_kernel [SEED [INODES [DEVICES [LARGE]]]] - writes a random tree as an
 * index, has the kernel mount it and compares what the kernel shows with the
 * tree and with what our reader shows. Runs in a mount name space of its own,
 * so that nothing stays mounted however it ends. Exit 77: skipped.
 */
#define DATA_COMPARE_MAX (256u << 10) /* bytes compared at each end of a file */

static struct random_tree r;
static struct erofs_image *img;
static char scratch[] = "/tmp/erofs_kernel.XXXXXX";
static unsigned int failures, objects;

static void __attribute__((format(printf, 2, 3))) complain(const char *path, const char *fmt, ...)
{
	va_list ap;

	if (failures++ > 20)
		return;
	fprintf(stderr, "FAIL '%s': ", path);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

static void __attribute__((noreturn)) die(const char *what)
{
	perror(what);
	exit(1);
}

#define EXPECT_EQ(path, what, a, b)                                                                \
	do {                                                                                       \
		long long _a = (long long)(a), _b = (long long)(b);                                \
		if (_a != _b)                                                                      \
			complain(path, "%s is %lld, not %lld", what, _a, _b);                      \
	} while (0)

static unsigned char expected_byte(const struct erofs_inode *inode, uint64_t pos)
{
	if (inode->device == 0 || inode->device == r.n_devices)
		return 0; /* the side device is one hole */
	return random_byte(inode->device, inode->offset + pos);
}

static void compare_range(int fd, const char *path, const struct erofs_inode *inode, uint64_t pos,
			  uint64_t len)
{
	static unsigned char buf[DATA_COMPARE_MAX];
	ssize_t n = pread(fd, buf, len, (off_t)pos);

	if (n != (ssize_t)len) {
		complain(path, "read at %ju: %zd %s", (uintmax_t)pos, n,
			 n < 0 ? strerror(errno) : "");
		return;
	}
	for (uint64_t i = 0; i < len; i++) {
		if (buf[i] != expected_byte(inode, pos + i)) {
			complain(path, "byte %ju differs", (uintmax_t)(pos + i));
			return;
		}
	}
}

static void compare_extent(const char *path, const struct erofs_stat *st,
			   const struct erofs_inode *inode, uint64_t pos)
{
	struct erofs_extent e;
	int got = erofs_image_map(img, st, pos, &e);

	EXPECT_EQ(path, "map", got, 0);
	if (got < 0)
		return;
	EXPECT_EQ(path, "extent's device", e.device, inode->device);
	if (inode->device)
		EXPECT_EQ(path, "extent's offset", e.offset, inode->offset + pos);
}

static void compare_data(int dirfd, const char *name, const char *path,
			 const struct erofs_inode *inode, const struct erofs_stat *st)
{
	int fd cleanup_close = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	uint64_t part = inode->size < DATA_COMPARE_MAX ? inode->size : DATA_COMPARE_MAX;
	char one;

	if (fd < 0) {
		complain(path, "open: %s", strerror(errno));
		return;
	}
	compare_range(fd, path, inode, 0, part);
	compare_range(fd, path, inode, inode->size - part, part);
	EXPECT_EQ(path, "read at the end", pread(fd, &one, 1, (off_t)inode->size), 0);
	if (inode->size) {
		compare_extent(path, st, inode, 0);
		compare_extent(path, st, inode, inode->size - 1);
	}
}

static void compare_xattrs(const char *proc, const char *path, const struct erofs_inode *inode,
			   const struct erofs_stat *st)
{
	static char list[1 << 17], value[1 << 17];
	ssize_t len = llistxattr(proc, list, sizeof(list));
	unsigned int in_tree = 0, in_list = 0;

	if (len < 0 && errno != EOPNOTSUPP)
		complain(path, "listxattr: %s", strerror(errno));
	for (const struct erofs_xattr *x = inode->xattrs; x; x = x->next, in_tree++) {
		const void *ours;
		size_t ours_len;
		ssize_t n = lgetxattr(proc, x->name, value, sizeof(value));

		if (n != (ssize_t)x->len || memcmp(value, x->value, x->len) != 0)
			complain(path, "xattr %s: %zd %s", x->name, n,
				 n < 0 ? strerror(errno) : "");
		if (erofs_image_getxattr(img, st, x->name, &ours, &ours_len) < 0 ||
		    ours_len != x->len || memcmp(ours, x->value, x->len) != 0)
			complain(path, "reader: xattr %s", x->name);
	}
	for (ssize_t i = 0; i < len; i += (ssize_t)strlen(list + i) + 1)
		in_list++;
	EXPECT_EQ(path, "number of xattrs", in_list, in_tree);
}

static void compare_stat(const char *path, const struct erofs_inode *inode, const struct stat *k,
			 const struct erofs_stat *s)
{
	EXPECT_EQ(path, "mode", k->st_mode, inode->mode);
	EXPECT_EQ(path, "uid", k->st_uid, inode->uid);
	EXPECT_EQ(path, "gid", k->st_gid, inode->gid);
	EXPECT_EQ(path, "nlink", k->st_nlink, inode->nlink);
	EXPECT_EQ(path, "mtime", k->st_mtim.tv_sec, inode->mtime);
	EXPECT_EQ(path, "ns", k->st_mtim.tv_nsec, inode->mtime_nsec);
	EXPECT_EQ(path, "inode number", k->st_ino, s->nid);
	if (S_ISREG(inode->mode) || S_ISLNK(inode->mode))
		EXPECT_EQ(path, "size", k->st_size, inode->size);
	if (S_ISCHR(inode->mode) || S_ISBLK(inode->mode))
		EXPECT_EQ(path, "rdev", k->st_rdev, makedev(inode->rdev_major, inode->rdev_minor));
	EXPECT_EQ(path, "reader's mode", s->mode, inode->mode);
	EXPECT_EQ(path, "reader's uid", s->uid, inode->uid);
	EXPECT_EQ(path, "reader's gid", s->gid, inode->gid);
	EXPECT_EQ(path, "reader's nlink", s->nlink, inode->nlink);
	EXPECT_EQ(path, "reader's mtime", s->mtime, inode->mtime);
	EXPECT_EQ(path, "reader's ns", s->mtime_nsec, inode->mtime_nsec);
	EXPECT_EQ(path, "reader's size", s->size, k->st_size);
	EXPECT_EQ(path, "reader's major", s->rdev_major, inode->rdev_major);
	EXPECT_EQ(path, "reader's minor", s->rdev_minor, inode->rdev_minor);
}

struct walk {
	int dirfd;
	const struct erofs_stat *dir;
	const char *path;
};

static int compare_entry(void *ctx, const char *name, size_t len, struct erofs_inode *inode);

/* Names of the kernel's listing that the tree has not, and the count. */
static void compare_listing(int fd, const char *path, const struct erofs_inode *inode)
{
	DIR *d cleanup_closedir = fdopendir(dup(fd));
	size_t n = 0;

	if (!d)
		die("fdopendir");
	rewinddir(d);
	for (struct dirent *e; (e = readdir(d));) {
		struct erofs_inode *child;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		child = erofs_dir_find(inode, e->d_name, strlen(e->d_name));
		if (!child)
			complain(path, "kernel lists '%s'", e->d_name);
		else
			EXPECT_EQ(path, "type of an entry", e->d_type, IFTODT(child->mode));
		n++;
	}
	EXPECT_EQ(path, "entries", n, erofs_dir_count(inode));
}

static void compare_dir(int fd, const char *path, struct erofs_inode *inode,
			const struct erofs_stat *st)
{
	struct walk w = {.dirfd = fd, .dir = st, .path = path};

	compare_listing(fd, path, inode);
	EXPECT_EQ(path, "walk", erofs_dir_each(inode, compare_entry, &w), 0);
}

static void compare_symlink(int dirfd, const char *name, const char *path,
			    const struct erofs_inode *inode, const struct erofs_stat *st)
{
	char target[4097];
	ssize_t n = readlinkat(dirfd, name, target, sizeof(target));
	const char *ours;

	if (n != (ssize_t)inode->size || memcmp(target, inode->target, inode->size) != 0)
		complain(path, "readlink: %zd %s", n, n < 0 ? strerror(errno) : "");
	if (erofs_image_symlink(img, st, &ours) < 0 ||
	    memcmp(ours, inode->target, inode->size) != 0)
		complain(path, "reader's target");
}

static int compare_entry(void *ctx, const char *name, size_t len, struct erofs_inode *inode)
{
	const struct walk *w = ctx;
	char path[64 + 256], proc[64 + 256];
	struct erofs_stat st;
	struct stat k;
	uint64_t nid;

	objects++;
	snprintf(path, sizeof(path), "%.60s/%s", w->path, name);
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d/%s", w->dirfd, name);
	if (fstatat(w->dirfd, name, &k, AT_SYMLINK_NOFOLLOW) < 0) {
		complain(path, "lstat: %s", strerror(errno));
		return 0;
	}
	if (erofs_image_lookup(img, w->dir, name, len, &nid) < 0 ||
	    erofs_image_inode(img, nid, &st) < 0) {
		complain(path, "reader does not find it");
		return 0;
	}
	compare_stat(path, inode, &k, &st);
	compare_xattrs(proc, path, inode, &st);
	if (S_ISREG(inode->mode)) {
		compare_data(w->dirfd, name, path, inode, &st);
	} else if (S_ISLNK(inode->mode)) {
		compare_symlink(w->dirfd, name, path, inode, &st);
	} else if (S_ISDIR(inode->mode)) {
		int fd cleanup_close =
			openat(w->dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

		if (fd < 0)
			complain(path, "opendir: %s", strerror(errno));
		else
			compare_dir(fd, path, inode, &st);
	}
	return 0;
}

static char *scratch_path(const char *name)
{
	char *path;

	if (asprintf(&path, "%s/%s", scratch, name) < 0)
		die("asprintf");
	return path;
}

static char *make_device(unsigned int i)
{
	char name[32], *path;
	int fd cleanup_close = -1;

	snprintf(name, sizeof(name), "device%u", i);
	path = scratch_path(name);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		die(path);
	if (i < r.n_devices) {
		static unsigned char data[RANDOM_DEVICE_BLOCKS * 512];

		for (size_t k = 0; k < sizeof(data); k++)
			data[k] = random_byte(i, k);
		if (io_write_full(fd, data, sizeof(data)) < 0)
			die(path);
	} else if (ftruncate(fd, (off_t)r.devices[i - 1].size) < 0) {
		die(path);
	}
	return path;
}

static void check(void)
{
	const char **paths = calloc(r.n_devices, sizeof(*paths));
	char *index = scratch_path("index"), *mnt = scratch_path("mnt");
	int fd cleanup_close = open(index, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int root cleanup_close = -1;
	struct err err = ERR_INIT;
	struct erofs_stat st;

	if (!paths || fd < 0 || mkdir(mnt, 0700) < 0)
		die(index);
	for (unsigned int i = 1; i <= r.n_devices; i++)
		paths[i - 1] = make_device(i);
	if (erofs_write(r.tree, r.devices, r.n_devices, fd, &err) < 0 ||
	    erofs_image_open(fd, &img, &err) < 0 ||
	    erofs_kernel_mount(index, paths, r.n_devices, mnt, &err) < 0) {
		fprintf(stderr, "%s: %s\n", err.where, err.msg);
		/* A kernel without file-backed EROFS, or a container that may not mount. */
		exit(err.code == -EPERM || err.code == -ENODEV || err.code == -ENOTBLK ? 77 : 1);
	}
	root = open(mnt, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0 || erofs_image_inode(img, erofs_image_root(img), &st) < 0)
		die("root");
	compare_dir(root, "", erofs_tree_root(r.tree), &st);
	EXPECT_EQ("/", "objects", objects + 1 >= erofs_image_inodes(img), 1);
	erofs_image_close(img);
	closep(&root);
	if (umount2(mnt, 0) < 0)
		die("umount");
	for (size_t i = 0; i < r.n_devices; i++)
		free((void *)(uintptr_t)paths[i]);
	free(paths);
	free(index);
	free(mnt);
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	unsigned int n = argc > 2 ? (unsigned int)atoi(argv[2]) : 5000;
	unsigned int devices = argc > 3 ? (unsigned int)atoi(argv[3]) : 60;
	unsigned int large = argc > 4 ? (unsigned int)atoi(argv[4]) : 100000;

	if (geteuid() != 0) {
		fprintf(stderr, "needs root\n");
		return 77;
	}
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		perror("mount name space");
		return errno == EPERM ? 77 : 1;
	}
	if (!mkdtemp(scratch))
		die(scratch);
	random_tree_make(&r, seed, n, devices);
	if (large)
		random_tree_limits(&r, large);
	check();
	random_tree_release(&r);
	if (io_remove_tree(AT_FDCWD, scratch) < 0 && failures == 0)
		die(scratch);
	printf("seed %ju: %u objects, %u failures\n", (uintmax_t)seed, objects, failures);
	return failures != 0;
}
