/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "erofs/kmount.h"
#include "erofs/merge.h"
#include "tests/mounted/random_tree.h"
#include "tests/tools/treecmp.h"

/*
 * erofs_merge [SEED [ROUNDS]] - stacks random layers twice: each layer's own
 * index as a lower directory of the kernel's overlayfs, and all of them as one
 * merged index. Both mounts must show the same tree. What only a layer's index
 * can say (implied directories, links to lower layers) is not in these layers;
 * tests/unit/test_erofs_merge.c has that. Exit 77: skipped.
 */
enum { LAYERS = 5, DIRS_MAX = 40 };

static struct random_tree r; /* for its numbers */
static char scratch[] = "/tmp/erofs_merge.XXXXXX";

static void __attribute__((noreturn)) die(const char *what)
{
	perror(what);
	exit(1);
}

static void __attribute__((noreturn)) give_up(const struct err *err)
{
	fprintf(stderr, "%s: %s\n", err->where, err->msg);
	/* A kernel without file-backed EROFS, or a container that may not mount. */
	exit(err->code == -EPERM || err->code == -ENODEV || err->code == -ENOTBLK ? 77 : 1);
}

static unsigned int below(unsigned int n)
{
	return (unsigned int)(random_next(&r) % n);
}

static char *path_of(const char *name, unsigned int i)
{
	char *path;

	if (asprintf(&path, "%s/%s%u", scratch, name, i) < 0)
		die("asprintf");
	return path;
}

static void make_entry(struct erofs_tree *t, struct erofs_inode **dirs, unsigned int *n_dirs,
		       struct erofs_inode **last)
{
	static const uint32_t types[] = {S_IFREG, S_IFREG, S_IFDIR, S_IFDIR,
					 S_IFDIR, S_IFLNK, S_IFCHR, S_IFIFO};
	uint32_t type = types[below(sizeof(types) / sizeof(types[0]))];
	char name[2] = {(char)('a' + below(7)), '\0'}; /* few names: they meet each other */
	struct erofs_inode *inode;

	if (*last && below(8) == 0) {
		(void)!erofs_dir_add(t, dirs[below(*n_dirs)], name, 1, *last);
		return;
	}
	inode = erofs_inode_new(t, type | below(01000));
	if (!inode)
		die("inode");
	inode->uid = below(50);
	inode->mtime = 1000000000 + below(1000);
	if (type == S_IFCHR) {
		inode->rdev_minor = 1 + below(3);
	} else if (type == S_IFLNK) {
		inode->mode = S_IFLNK | 0777;
		if (erofs_inode_set_target(t, inode, name) < 0)
			die("target");
	} else if (type == S_IFREG) {
		inode->device = 1;
		inode->offset = below(RANDOM_DEVICE_BLOCKS) * 512u;
		inode->size = 1 + below(512);
	} else if (type == S_IFDIR && below(4) == 0) {
		inode->flags = EROFS_I_OPAQUE;
	}
	if (type != S_IFLNK && below(4) == 0 &&
	    erofs_inode_set_xattr(t, inode, "trusted.x", name, 1) < 0)
		die("xattr");
	if (erofs_dir_add(t, dirs[below(*n_dirs)], name, 1, inode) < 0)
		return; /* the name is taken, or the inode would have none: fine */
	if (type == S_IFDIR && *n_dirs < DIRS_MAX)
		dirs[(*n_dirs)++] = inode;
	if (type == S_IFREG)
		*last = inode;
}

/*
 * Whiteouts in the directories that have one below them in the stack: elsewhere overlayfs lists
 * the name of a whiteout, which only means that nobody would put one there.
 */
static void make_whiteouts(struct erofs_tree *t, struct erofs_inode *dir,
			   const struct erofs_inode *lower)
{
	if (!dir->dir || !lower->dir || dir->flags & EROFS_I_OPAQUE)
		return;
	for (char c = 'a'; c <= 'g'; c++) {
		struct erofs_inode *mine = erofs_dir_find(dir, &c, 1);
		struct erofs_inode *theirs = erofs_dir_find(lower, &c, 1);

		if (mine && theirs)
			make_whiteouts(t, mine, theirs);
		else if (!mine && below(theirs ? 3 : 12) == 0)
			(void)!erofs_dir_add(t, dir, &c, 1, erofs_inode_new(t, S_IFCHR));
	}
}

static void add_whiteouts(struct erofs_tree *t, struct erofs_image *const *images, unsigned int n)
{
	struct erofs_device *devices = NULL;
	struct erofs_tree *lower = NULL;
	struct err err = ERR_INIT;
	size_t n_devices;

	if (erofs_merge(images, n, &lower, &devices, &n_devices, &err) < 0)
		give_up(&err);
	make_whiteouts(t, erofs_tree_root(t), erofs_tree_root(lower));
	erofs_tree_free(lower);
	free(devices);
}

static void make_layer(unsigned int i, struct erofs_image **images)
{
	struct erofs_tree *t = erofs_tree_new();
	struct erofs_inode *dirs[DIRS_MAX], *last = NULL;
	struct erofs_device device = {.size = RANDOM_DEVICE_BLOCKS * 512u};
	char *index cleanup_free = path_of("index", i);
	int fd cleanup_close = open(index, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	unsigned int n_dirs = 1, n = 5 + below(120);
	struct err err = ERR_INIT;

	if (!t || fd < 0)
		die(index);
	dirs[0] = erofs_tree_root(t);
	dirs[0]->uid = i;
	while (n--)
		make_entry(t, dirs, &n_dirs, &last);
	add_whiteouts(t, images, i);
	snprintf(device.tag, sizeof(device.tag), "%064x", i);
	if (erofs_write(t, &device, 1, fd, &err) < 0 || erofs_image_open(fd, &images[i], &err) < 0)
		give_up(&err);
	erofs_tree_free(t);
}

static void make_device(unsigned int i)
{
	static unsigned char data[RANDOM_DEVICE_BLOCKS * 512];
	char *path cleanup_free = path_of("data", i);
	int fd cleanup_close = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	for (size_t k = 0; k < sizeof(data); k++)
		data[k] = random_byte(i, k);
	if (fd < 0 || io_write_full(fd, data, sizeof(data)) < 0)
		die(path);
}

static void mount_index(const char *index, const char *const *data, size_t n, const char *at)
{
	struct err err = ERR_INIT;

	if (mkdir(at, 0700) < 0 && errno != EEXIST)
		die(at);
	if (erofs_kernel_mount(index, data, n, at, &err) < 0)
		give_up(&err);
}

static void mount_overlay(const char *at)
{
	char options[1024] = "lowerdir=";

	for (unsigned int i = LAYERS; i--;) {
		char *layer cleanup_free = path_of("layer", i);

		strncat(options, layer, sizeof(options) - strlen(options) - 1);
		if (i)
			strcat(options, ":");
	}
	if (mkdir(at, 0700) < 0 && errno != EEXIST)
		die(at);
	if (mount("overlay", at, "overlay", MS_RDONLY, options) < 0)
		die("mount overlay");
}

static void merge_all(struct erofs_image *const *images, const char *const *data, const char *at)
{
	char *index cleanup_free = path_of("chain", 0);
	int fd cleanup_close = open(index, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct erofs_device *devices = NULL;
	struct erofs_tree *t = NULL;
	struct err err = ERR_INIT;
	size_t n = 0;

	if (fd < 0)
		die(index);
	if (erofs_merge(images, LAYERS, &t, &devices, &n, &err) < 0 ||
	    erofs_write(t, devices, n, fd, &err) < 0)
		give_up(&err);
	mount_index(index, data, n, at);
	erofs_tree_free(t);
	free(devices);
}

static unsigned long compare(const char *a, const char *b)
{
	/* overlayfs reports the link count of the layer's inode, hidden names included */
	struct treecmp_options opt = {.ignore = TREECMP_NLINK, .limit = 20, .out = stderr};
	int fa cleanup_close = open(a, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fb cleanup_close = open(b, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct treecmp_result result = {0};

	if (fa < 0 || fb < 0 || treecmp_run(fa, fb, &opt, &result) < 0)
		die("compare");
	if (result.entries == 0)
		fprintf(stderr, "nothing to compare\n");
	return result.differences + (result.entries == 0);
}

static unsigned long one_round(void)
{
	char *overlay cleanup_free = path_of("overlay", 0),
		      *merged cleanup_free = path_of("merged", 0);
	struct erofs_image *images[LAYERS];
	char *mounts[LAYERS], *data[LAYERS];
	unsigned long differences;

	for (unsigned int i = 0; i < LAYERS; i++) {
		char *index cleanup_free = path_of("index", i);

		make_layer(i, images);
		data[i] = path_of("data", i);
		mounts[i] = path_of("layer", i);
		mount_index(index, (const char *const *)&data[i], 1, mounts[i]);
	}
	mount_overlay(overlay);
	merge_all(images, (const char *const *)data, merged);
	differences = compare(overlay, merged);
	if (umount2(overlay, 0) < 0 || umount2(merged, 0) < 0)
		die("umount");
	for (unsigned int i = 0; i < LAYERS; i++) {
		if (umount2(mounts[i], 0) < 0)
			die("umount");
		erofs_image_close(images[i]);
		free(mounts[i]);
		free(data[i]);
	}
	return differences;
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	unsigned int rounds = argc > 2 ? (unsigned int)atoi(argv[2]) : 20;
	unsigned long differences = 0;

	if (geteuid() != 0) {
		fprintf(stderr, "needs root\n");
		return 77;
	}
	/* A name space of its own: nothing stays mounted however this ends. */
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		perror("mount name space");
		return errno == EPERM ? 77 : 1;
	}
	if (!mkdtemp(scratch))
		die(scratch);
	for (unsigned int i = 0; i < LAYERS; i++)
		make_device(i);
	for (unsigned int i = 0; i < rounds && differences == 0; i++) {
		r.state = seed + i;
		differences = one_round();
		if (differences)
			fprintf(stderr, "FAIL: seed %ju\n", (uintmax_t)(seed + i));
	}
	if (io_remove_tree(AT_FDCWD, scratch) < 0)
		die(scratch);
	printf("seed %ju, %u rounds: %lu differences\n", (uintmax_t)seed, rounds, differences);
	return differences != 0;
}
