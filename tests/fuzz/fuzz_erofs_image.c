/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "erofs/merge.h"

/*
 * Everything the reader can be asked about an image of any bytes, and a merge
 * of it with itself. The checksum of the super block is switched off, or no
 * mutation would get past it.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SIZE_LIMIT (64u << 10) /* directories may share blocks: the work is quadratic */
#define VISITS_MAX 3000u
#define DEPTH_MAX  16u
#define COMPAT_AT  1032u

struct visit {
	const struct erofs_image *img;
	unsigned int left, depth;
};

static int see_xattr(void *ctx, const char *name, const void *value, size_t len)
{
	size_t sum = strlen(name);

	(void)ctx;
	for (size_t i = 0; i < len; i++)
		sum += ((const uint8_t *)value)[i];
	return sum == SIZE_MAX; /* never: but every byte must be read for it */
}

static void see_file(const struct erofs_image *img, const struct erofs_stat *st)
{
	unsigned int extents = 100;
	struct erofs_extent e;

	for (uint64_t pos = 0; pos < st->size && extents--; pos += e.len)
		if (erofs_image_map(img, st, pos, &e) < 0)
			break;
}

static int see_entry(void *ctx, const char *name, size_t len, uint64_t nid, unsigned int type,
		     uint64_t next)
{
	struct visit *v = ctx;
	char *link cleanup_free = NULL;
	struct erofs_stat st;
	const char *target;
	const void *value;
	size_t value_len;
	uint64_t found;

	(void)type;
	(void)next;
	if (len > 255 || memchr(name, '/', len) || memchr(name, '\0', len))
		abort();
	if (v->left == 0)
		return 1;
	v->left--;
	if (erofs_image_inode(v->img, nid, &st) < 0)
		return 0;
	(void)!erofs_image_xattr_each(v->img, &st, see_xattr, NULL);
	(void)!erofs_image_getxattr(v->img, &st, "user.a", &value, &value_len);
	(void)!erofs_image_lookup(v->img, &st, "m", 1, &found);
	(void)!erofs_image_link_target(v->img, &st, &link);
	if (erofs_image_symlink(v->img, &st, &target) == 0)
		(void)see_xattr(NULL, "", target, st.size);
	see_file(v->img, &st);
	if (v->depth < DEPTH_MAX) {
		v->depth++;
		(void)!erofs_image_readdir(v->img, &st, 0, see_entry, v);
		v->depth--;
	}
	return 0;
}

static void see_merge(struct erofs_image *img)
{
	struct erofs_image *both[2] = {img, img};
	struct erofs_device *devices = NULL;
	struct erofs_tree *tree = NULL;
	struct err err = ERR_INIT;
	size_t n = 0;

	if (erofs_merge(both, 2, &tree, &devices, &n, &err) == 0) {
		int fd cleanup_close = memfd_create("result", MFD_CLOEXEC);

		(void)!erofs_write(tree, devices, n, fd, &err);
		erofs_tree_free(tree);
		free(devices);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct erofs_image *img cleanup_erofs_image = NULL;
	int fd cleanup_close = memfd_create("image", MFD_CLOEXEC);
	struct visit v = {.left = VISITS_MAX};

	if (fd < 0 || size > SIZE_LIMIT || io_write_full(fd, data, size) < 0)
		return 0;
	if (size > COMPAT_AT) {
		uint8_t no_checksum = data[COMPAT_AT] & (uint8_t)~1u;

		if (io_pwrite_full(fd, &no_checksum, 1, COMPAT_AT) < 0)
			return 0;
	}
	if (erofs_image_open(fd, &img, NULL) < 0)
		return 0;
	v.img = img;
	(void)see_entry(&v, "", 0, erofs_image_root(img), 0, 0);
	see_merge(img);
	return 0;
}
