/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/strbuf.h"
#include "erofs/merge.h"

/*
 * Layers and results as text, one entry a line:
 *	d PATH MODE UID		directory with an entry of its own ("." is the root)
 *	o PATH MODE UID		the same, opaque
 *	i PATH, io PATH		implied directory; implied and opaque
 *	f PATH BLOCK		file of 10 bytes at BLOCK of the layer's data, uid = BLOCK
 *	h PATH OTHER		another name of a file of this layer
 *	s PATH TARGET		symlink
 *	w PATH			whiteout
 *	l PATH TARGET UID	link to a lower layer's file
 * Parents without a line are implied. Results: type, path, then what the type has.
 */
#define LAYERS_MAX 8

static struct erofs_inode *at(struct erofs_tree *t, const char *path)
{
	struct erofs_inode *dir = erofs_tree_root(t);

	while (dir && *path) {
		size_t len = strcspn(path, "/");

		if (!(len == 1 && *path == '.'))
			dir = erofs_dir_find(dir, path, len);
		path += len + (path[len] == '/');
	}
	return dir;
}

/* The inode must be there. */
static struct erofs_inode *got(struct erofs_tree *t, const char *path)
{
	struct erofs_inode *inode = at(t, path);

	if (!inode)
		ck_abort_msg("no '%s' in the merged tree", path);
	return inode;
}

static struct erofs_inode *parent_of(struct erofs_tree *t, const char *path, const char **ret_name)
{
	struct erofs_inode *dir = erofs_tree_root(t);
	const char *slash;

	for (; (slash = strchr(path, '/')); path = slash + 1) {
		size_t len = (size_t)(slash - path);
		struct erofs_inode *child = erofs_dir_find(dir, path, len);

		if (!child) {
			child = erofs_inode_new(t, S_IFDIR | 0755);
			child->flags = EROFS_I_IMPLIED;
			ck_assert_int_eq(erofs_dir_add(t, dir, path, len, child), 0);
		}
		dir = child;
	}
	*ret_name = path;
	return dir;
}

static struct erofs_inode *add(struct erofs_tree *t, const char *path, uint32_t mode)
{
	const char *name;
	struct erofs_inode *dir = parent_of(t, path, &name);
	struct erofs_inode *inode = S_ISDIR(mode) ? at(t, path) : NULL;

	if (inode) {
		inode->mode = mode;
		return inode;
	}
	inode = erofs_inode_new(t, mode);
	ck_assert_ptr_nonnull(inode);
	ck_assert_int_eq(erofs_dir_add(t, dir, name, strlen(name), inode), 0);
	return inode;
}

static void add_line(struct erofs_tree *t, const char *line)
{
	char kind[4] = "", path[4200] = "", arg[4200] = "";
	unsigned int num = 0;
	struct erofs_inode *inode;
	const char *name;

	ck_assert_int_ge(sscanf(line, "%3s %4199s %4199s %u", kind, path, arg, &num), 2);
	switch (kind[0]) {
	case 'd':
	case 'o':
		inode = add(t, path, S_IFDIR | (uint32_t)strtoul(arg, NULL, 8));
		inode->uid = num;
		inode->flags = kind[0] == 'o' ? EROFS_I_OPAQUE : 0;
		break;
	case 'i':
		inode = add(t, path, S_IFDIR | 0755);
		inode->flags = EROFS_I_IMPLIED | (kind[1] == 'o' ? EROFS_I_OPAQUE : 0);
		break;
	case 'f':
		inode = add(t, path, S_IFREG | 0644);
		inode->device = 1;
		inode->size = 10;
		inode->uid = (uint32_t)atoi(arg);
		inode->offset = inode->uid * 512;
		break;
	case 'h':
		inode = at(t, arg);
		ck_assert_ptr_nonnull(inode);
		ck_assert_int_eq(
			erofs_dir_add(t, parent_of(t, path, &name),
				      strrchr(path, '/') ? strrchr(path, '/') + 1 : path,
				      strlen(strrchr(path, '/') ? strrchr(path, '/') + 1 : path),
				      inode),
			0);
		break;
	case 's':
		inode = add(t, path, S_IFLNK | 0777);
		ck_assert_int_eq(erofs_inode_set_target(t, inode, arg), 0);
		break;
	case 'w':
		(void)add(t, path, S_IFCHR);
		break;
	case 'l':
		inode = add(t, path, S_IFREG | 0600);
		inode->flags = EROFS_I_LINK;
		inode->uid = num;
		ck_assert_int_eq(erofs_inode_set_target(t, inode, arg), 0);
		break;
	default:
		ck_abort_msg("%s", line);
	}
}

static struct erofs_image *layer(const char *text, unsigned int number)
{
	struct erofs_tree *t = erofs_tree_new();
	struct erofs_device device = {.size = 1 << 20};
	int fd cleanup_close = memfd_create("layer", MFD_CLOEXEC);
	struct erofs_image *img = NULL;
	struct err err = ERR_INIT;

	snprintf(device.tag, sizeof(device.tag), "%064x", number);
	erofs_tree_root(t)->flags = EROFS_I_IMPLIED;
	while (*text) {
		size_t len = strcspn(text, "\n");
		char *line cleanup_free = strndup(text, len);

		add_line(t, line);
		text += len + (text[len] == '\n');
	}
	ck_assert_msg(erofs_write(t, &device, 1, fd, &err) == 0, "%s %s", err.where, err.msg);
	ck_assert_msg(erofs_image_open(fd, &img, &err) == 0, "%s", err.msg);
	erofs_tree_free(t);
	return img;
}

struct dump {
	struct strbuf *out;
	const char *path;
};

static int dump_entry(void *ctx, const char *name, size_t len, struct erofs_inode *inode)
{
	const struct dump *d = ctx;
	char path[8300];
	struct dump below = {.out = d->out, .path = path};
	int r = 0;

	(void)len;
	snprintf(path, sizeof(path), "%s%s%s", d->path, *d->path ? "/" : "", name);
	ck_assert_uint_eq(inode->flags, 0);
	ck_assert(!erofs_inode_is_whiteout(inode));
	if (S_ISDIR(inode->mode)) {
		r = strbuf_addf(d->out, "d %s %o %u\n", path, inode->mode & 07777, inode->uid);
		ck_assert_int_eq(r, 0);
		return erofs_dir_each(inode, dump_entry, &below);
	}
	if (S_ISLNK(inode->mode))
		r = strbuf_addf(d->out, "s %s %s\n", path, inode->target);
	else
		r = strbuf_addf(d->out, "f %s %u:%ju %u x%u\n", path, inode->device,
				(uintmax_t)inode->offset / 512, inode->uid, inode->nlink);
	return r;
}

static int merge(const char *const *layers, struct strbuf *out, struct err *err)
{
	struct erofs_image *images[LAYERS_MAX] = {NULL};
	struct erofs_device *devices = NULL;
	struct erofs_tree *t = NULL;
	struct dump d = {.out = out, .path = ""};
	size_t n, n_devices = 0;
	int r;

	for (n = 0; layers[n]; n++)
		images[n] = layer(layers[n], (unsigned int)n + 1);
	r = erofs_merge(images, n, &t, &devices, &n_devices, err);
	while (n--)
		erofs_image_close(images[n]);
	if (r == 0) {
		struct erofs_inode *root = erofs_tree_root(t);

		if (root->mode != (S_IFDIR | 0755) || root->uid)
			ck_assert_int_eq(
				strbuf_addf(out, "d . %o %u\n", root->mode & 07777, root->uid), 0);
		ck_assert_int_eq(erofs_dir_each(root, dump_entry, &d), 0);
		free(devices);
		erofs_tree_free(t);
	}
	return r;
}

#define EXPECT(result, ...)                                                                        \
	do {                                                                                       \
		const char *const layers_[] = {__VA_ARGS__, NULL};                                 \
		struct strbuf out_ CLEANUP(strbuf_release) = STRBUF_INIT;                          \
		struct err err_ = ERR_INIT;                                                        \
		ck_assert_msg(merge(layers_, &out_, &err_) == 0, "%s", err_.msg);                  \
		ck_assert_str_eq(out_.s, result);                                                  \
	} while (0)

#define EXPECT_REFUSED(text, ...)                                                                  \
	do {                                                                                       \
		const char *const layers_[] = {__VA_ARGS__, NULL};                                 \
		struct strbuf out_ CLEANUP(strbuf_release) = STRBUF_INIT;                          \
		struct err err_ = ERR_INIT;                                                        \
		ck_assert_int_eq(merge(layers_, &out_, &err_), -EBADMSG);                          \
		ck_assert_msg(strstr(err_.msg, text) != NULL, "'%s'", err_.msg);                   \
	} while (0)

START_TEST(union_and_replacement)
{
	EXPECT("d a 700 3\nf a/x 1:1 1 x1\nf a/y 2:2 2 x1\n", "d a 755 0\nf a/x 1",
	       "d a 700 3\nf a/y 2");
	EXPECT("f a 2:2 2 x1\n", "d a 755 0\nf a/x 1", "f a 2");
	EXPECT("d a 711 0\n", "f a 1", "d a 711 0");
	EXPECT("d a 711 0\n", "s a b", "d a 711 0");
	EXPECT("s a c\n", "d a 755 0\nf a/x 1", "s a c");
	EXPECT("f a 2:1 1 x1\n", "f a 1", "f a 1");
	EXPECT("f a 2:1 1 x2\nf b 2:1 1 x2\n", "f a 5\nh b a", "f a 1\nh b a");
	EXPECT("f a 2:1 1 x1\nf b 1:5 5 x1\n", "f a 5\nh b a", "f a 1");
}
END_TEST

START_TEST(whiteouts)
{
	EXPECT("f b 1:2 2 x1\n", "f a 1\nf b 2", "w a");
	EXPECT("", "d a 755 0\nd a/b 755 0\nf a/b/c 1", "w a");
	EXPECT("f a 1:1 1 x1\n", "f a 1", "w none\nw d/e/none");
	EXPECT("d d 755 0\n", "d d 755 0\nf d/x 1", "w d/x");
	EXPECT("f a 3:3 3 x1\n", "f a 1", "w a", "f a 3");
	EXPECT("f b 1:1 1 x1\n", "f a 1\nh b a", "w a");
	EXPECT("f a 1:1 1 x1\n", "f a 1", "w a/x");
}
END_TEST

START_TEST(opaque_directories)
{
	EXPECT("d d 700 1\nf d/new 2:2 2 x1\n", "d d 755 0\nf d/old 1\nd d/sub 755 0\nf d/sub/x 3",
	       "o d 700 1\nf d/new 2");
	EXPECT("d d 711 7\nf d/new 2:2 2 x1\n", "d d 711 7\nf d/old 1", "io d\nf d/new 2");
	EXPECT("", "", "io d");
	EXPECT("f x 2:1 1 x1\n", "f a 1\nd b 755 0", "io .\nf x 1");
	EXPECT("d d 755 0\nd d/e 755 0\n", "d d 755 0\nd d/e 755 0\nf d/e/x 1\n", "io d/e");
}
END_TEST

START_TEST(implied_directories)
{
	EXPECT("d a 711 5\nf a/x 2:1 1 x1\nf a/y 1:9 9 x1\n", "d a 711 5\nf a/y 9", "f a/x 1");
	EXPECT("d a 755 0\nd a/b 755 0\nf a/b/x 2:1 1 x1\n", "", "f a/b/x 1");
	EXPECT_REFUSED("'a'", "f a 1", "f a/x 1");
	EXPECT_REFUSED("layer 2 of 2", "f a 1", "f a/b/c/x 1");
	EXPECT("d . 700 4\nf x 3:1 1 x1\n", "d . 755 0", "d . 700 4", "f x 1");
}
END_TEST

START_TEST(below_symlinks)
{
	EXPECT("s lib usr/lib\nd usr 755 0\nd usr/lib 755 0\nf usr/lib/x 2:1 1 x1\n",
	       "s lib usr/lib\nd usr/lib 755 0", "f lib/x 1");
	/* the symlink's directory has its own entry in the same layer, opaque */
	EXPECT("s lib usr/lib\nd usr 755 0\nd usr/lib 700 2\nf usr/lib/x 2:1 1 x1\n",
	       "s lib usr/lib\nd usr/lib 755 0\nf usr/lib/old 3", "f lib/x 1\no usr/lib 700 2");
	/* never outside: absolute and climbing targets stay below the root */
	EXPECT("d a 755 0\ns a/l ../../../../d\nd d 755 0\nf d/x 2:1 1 x1\n",
	       "d a 755 0\ns a/l ../../../../d\nd d 755 0", "f a/l/x 1");
	EXPECT("d d 755 0\nf d/x 2:1 1 x1\ns l /d\n", "s l /d\nd d 755 0", "f l/x 1");
	/* what is not there comes into being */
	EXPECT("d d 755 0\nd d/e 755 0\nf d/e/x 2:1 1 x1\ns l d/e\n", "s l d/e", "f l/x 1");
	EXPECT("s l d/e\n", "s l d/e", "w l/x");
	/* whiteouts go through, too */
	EXPECT("d d 755 0\ns l d\n", "s l d\nd d 755 0\nf d/x 1", "w l/x");
	EXPECT("d d 755 0\nf d/y 2:2 2 x1\ns l d\n", "s l d\nd d 755 0\nf d/x 1", "io l\nf d/y 2");
	EXPECT_REFUSED("circle", "s a b\ns b a", "f a/x 1");
	EXPECT_REFUSED("'l'", "s l f\nf f 1", "f l/x 1");
	EXPECT("s a b\ns b c\nd c 755 0\nd c/d 755 0\nf c/d/x 2:1 1 x1\n", "s a b\ns b c",
	       "f a/d/x 1");
	/* an explicit directory replaces the symlink */
	EXPECT("d d 755 0\nd l 700 0\nf l/x 2:1 1 x1\n", "s l d\nd d 755 0", "d l 700 0\nf l/x 1");
}
END_TEST

START_TEST(links)
{
	EXPECT("f a 1:1 7 x2\nf b 1:1 7 x2\n", "f a 1", "l b a 7");
	EXPECT("f a 1:1 7 x3\nf b 1:1 7 x3\nf c 1:1 7 x3\n", "f a 1", "l b a 7\nh c b");
	EXPECT("f a 1:1 9 x3\nf b 1:1 9 x3\nf c 1:1 9 x3\n", "f a 1", "l b a 7", "l c b 9");
	EXPECT("d d 755 0\nf d/a 1:1 7 x2\nf l 1:1 7 x2\ns z d\n", "d d 755 0\nf d/a 1\ns z d",
	       "l l z/a 7");
	EXPECT("f a 2:4 4 x1\nf b 1:1 7 x1\n", "f a 1", "l b a 7\nf a 4");
	/* a chain through another symlink's directory, in one layer */
	EXPECT("f a 1:1 3 x3\nd d 755 0\nf d/b 1:1 3 x3\nf x 1:1 3 x3\ns z d\n",
	       "f a 1\nd d 755 0\ns z d", "l d/b a 7\nl x z/b 3");
	EXPECT_REFUSED("nothing", "f a 1", "l b none 0");
	EXPECT_REFUSED("directory", "d a 755 0", "l b a 0");
	EXPECT_REFUSED("itself", "f a 1", "l a a 0");
	EXPECT_REFUSED("'b'", "s a a", "l b a/x 0");
	EXPECT_REFUSED("nothing", "", "l b c 0\nl c b 0");
}
END_TEST

START_TEST(device_numbers)
{
	struct erofs_image *img[3] = {layer("f a 1", 7), layer("f b 2", 8), layer("f c 3", 7)};
	struct erofs_image *chain cleanup_erofs_image = NULL;
	struct erofs_device *d = NULL;
	struct erofs_tree *t = NULL;
	struct err err = ERR_INIT;
	int fd cleanup_close = memfd_create("chain", MFD_CLOEXEC);
	size_t n = 0;

	ck_assert_int_eq(erofs_merge(img, 3, &t, &d, &n, &err), 0);
	ck_assert_uint_eq(n, 2);
	ck_assert_uint_eq(got(t, "a")->device, 1);
	ck_assert_uint_eq(got(t, "b")->device, 2);
	ck_assert_uint_eq(got(t, "c")->device, 1);
	ck_assert_int_eq(erofs_write(t, d, n, fd, &err), 0);
	erofs_tree_free(t);
	free(d);
	/* a chain, and a layer more: the same as all at once */
	ck_assert_int_eq(erofs_image_open(fd, &chain, &err), 0);
	erofs_image_close(img[0]);
	img[0] = chain;
	chain = NULL;
	erofs_image_close(img[1]);
	img[1] = layer("f d 4", 9);
	ck_assert_int_eq(erofs_merge(img, 2, &t, &d, &n, &err), 0);
	ck_assert_uint_eq(n, 3);
	ck_assert_uint_eq(got(t, "b")->device, 2);
	ck_assert_uint_eq(got(t, "d")->device, 3);
	ck_assert_uint_eq(got(t, "d")->offset, 4 * 512);
	erofs_tree_free(t);
	free(d);
	for (int i = 0; i < 3; i++)
		erofs_image_close(img[i]);
}
END_TEST

START_TEST(no_layers)
{
	struct erofs_device *d = NULL;
	struct erofs_tree *t = NULL;
	size_t n = 9;

	ck_assert_int_eq(erofs_merge(NULL, 0, &t, &d, &n, NULL), 0);
	ck_assert_uint_eq(n, 0);
	ck_assert_uint_eq(erofs_dir_count(erofs_tree_root(t)), 0);
	erofs_tree_free(t);
	free(d);
}
END_TEST

START_TEST(flipped_bytes)
{
	static const char text[] = "d a 755 0\nf a/x 1\nh b a/x\ns l a\nf l2/x 1\nio o\nw w\n"
				   "l c a/x 1\ni imp/imp\nf a/y 3";
	struct erofs_image *lower cleanup_erofs_image =
		layer("d a 755 0\nf a/x 5\ns l2 a\nd o 755 0\nf o/x 1\nf w 2\ns imp l2", 1);
	struct erofs_tree *t = erofs_tree_new();
	struct erofs_device device = {.size = 1 << 20};
	int fd cleanup_close = memfd_create("layer", MFD_CLOEXEC);
	uint64_t rnd = 1234567;
	unsigned int merged = 0;
	struct stat st;
	char *map, *good;

	for (const char *p = text; *p;) {
		size_t len = strcspn(p, "\n");
		char *line cleanup_free = strndup(p, len);

		add_line(t, line);
		p += len + (p[len] == '\n');
	}
	memset(device.tag, 'c', EROFS_TAG_HEX_LEN);
	ck_assert_int_eq(erofs_write(t, &device, 1, fd, NULL), 0);
	erofs_tree_free(t);
	ck_assert_int_eq(fstat(fd, &st), 0);
	map = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(map, MAP_FAILED);
	map[1024 + 8] &= ~1; /* no checksum, or it would be the only thing that is tested */
	good = malloc((size_t)st.st_size);
	ck_assert_ptr_nonnull(good);
	memcpy(good, map, (size_t)st.st_size);
	for (unsigned int round = 0; round < 10000; round++) {
		struct erofs_image *images[2] = {lower, NULL};

		memcpy(map, good, (size_t)st.st_size);
		for (unsigned int k = 0; k <= round % 4; k++) {
			rnd = rnd * 6364136223846793005u + 1442695040888963407u;
			map[1024 + (rnd >> 33) % (uint64_t)(st.st_size - 1024)] = (char)(rnd >> 20);
		}
		if (erofs_image_open(fd, &images[1], NULL) == 0) {
			struct erofs_device *devices = NULL;
			struct erofs_tree *result = NULL;
			struct err err = ERR_INIT;
			size_t n = 0;

			if (erofs_merge(images, 2, &result, &devices, &n, &err) == 0)
				merged++;
			else
				ck_assert_str_ne(err.msg, "");
			erofs_tree_free(result);
			free(devices);
			erofs_image_close(images[1]);
		}
	}
	ck_assert_uint_gt(merged, 1000);
	munmap(map, (size_t)st.st_size);
	free(good);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("erofs_merge");
	TCase *tc = tcase_create("merge");
	SRunner *sr;
	int failed;

	tcase_add_test(tc, union_and_replacement);
	tcase_add_test(tc, whiteouts);
	tcase_add_test(tc, opaque_directories);
	tcase_add_test(tc, implied_directories);
	tcase_add_test(tc, below_symlinks);
	tcase_add_test(tc, links);
	tcase_add_test(tc, device_numbers);
	tcase_add_test(tc, no_layers);
	tcase_add_test(tc, flipped_bytes);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
