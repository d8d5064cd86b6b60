/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "erofs/image.h"
#include "overlay/fs.h"
#include "overlay/ops.h"

/*
 * The engine over a hostile index: opened as a layer, alone and below itself, and everything asked
 * of it that the kernel would ask. What it hands out to be read is inside the data file. The
 * checksum of the super block is switched off, or no mutation would get past it.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SIZE_LIMIT (64u << 10)
#define VISITS_MAX 400u
#define DEPTH_MAX  8u
#define COMPAT_AT  1032u
#define DATA_MAX   ((off_t)1 << 40) /* sparse */

struct visit {
	struct ovl_fs *fs;
	struct ovl_node *dir;
	unsigned int *left, depth;
};

static void see_file(struct ovl_fs *fs, struct ovl_node *n, const struct stat *st)
{
	const off_t at[] = {0, 1, 4095, st->st_size - 1, st->st_size, INT64_MAX - 1};
	struct ovl_file *f;
	struct ovl_span s;
	struct stat data;
	off_t where;

	if (ovl_open(fs, n, O_RDONLY, &f) < 0)
		return;
	for (size_t i = 0; i < sizeof(at) / sizeof(*at); i++) {
		if (at[i] < 0 || ovl_read_map(fs, f, at[i], 1 << 20, &s) < 0)
			continue;
		if (s.len > 0 && (at[i] >= st->st_size || s.len > (uint64_t)(st->st_size - at[i])))
			abort();
		if (s.fd >= 0 && s.len > 0 && fstat(s.fd, &data) == 0 &&
		    (s.off < 0 || s.off > data.st_size || s.len > (uint64_t)(data.st_size - s.off)))
			abort();
		(void)!ovl_lseek(fs, f, at[i], SEEK_DATA, &where);
		(void)!ovl_lseek(fs, f, at[i], SEEK_HOLE, &where);
	}
	ovl_close(fs, f);
}

static int see_entry(void *ctx, const struct ovl_dirent *e)
{
	struct visit *v = ctx, below = *v;
	char buf[4097];
	struct ovl_node *n;
	struct stat st;

	if (*v->left == 0)
		return 1;
	--*v->left;
	if (!*e->name || strlen(e->name) > 255 || strchr(e->name, '/'))
		abort();
	if (strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0 ||
	    ovl_lookup(v->fs, v->dir, e->name, &n, &st) < 0)
		return 0;
	(void)!ovl_getattr(v->fs, n, &st);
	(void)!ovl_listxattr(v->fs, n, buf, sizeof(buf));
	(void)!ovl_getxattr(v->fs, n, "user.a", buf, sizeof(buf));
	(void)!ovl_getxattr(v->fs, n, "trusted.overlay.opaque", NULL, 0);
	if (S_ISLNK(st.st_mode) && ovl_readlink(v->fs, n, buf, sizeof(buf)) >= (int)sizeof(buf))
		abort();
	if (S_ISREG(st.st_mode))
		see_file(v->fs, n, &st);
	if (S_ISDIR(st.st_mode) && v->depth < DEPTH_MAX) {
		below.dir = n;
		below.depth++;
		(void)!ovl_dir_read(v->fs, n, 0, see_entry, &below);
	}
	ovl_node_forget(v->fs, n, 1);
	return 0;
}

static void see_stack(char **lowers, size_t n)
{
	struct ovl_config c = {.lowers = lowers, .n_lowers = n};
	unsigned int left = VISITS_MAX;
	struct err err = ERR_INIT;
	struct ovl_fs *fs;

	if (ovl_fs_open(&c, &fs, &err) == 0) {
		struct visit v = {.fs = fs, .dir = fs->root, .left = &left};

		(void)!ovl_dir_read(fs, fs->root, 0, see_entry, &v);
		ovl_fs_close(fs);
	} else if (!err.msg[0]) {
		abort();
	}
}

/* The data files that the index asks for, as large as it says. */
static int make_data(int root, int index)
{
	struct erofs_image *img cleanup_erofs_image = NULL;
	char path[128];

	if (erofs_image_open(index, &img, NULL) < 0)
		return -EINVAL;
	for (size_t i = 1; i <= erofs_image_device_count(img); i++) {
		const struct erofs_device *d = erofs_image_device(img, i);
		int fd cleanup_close = -1;

		if (i > 4 || (off_t)d->size > DATA_MAX)
			return -EINVAL;
		(void)snprintf(path, sizeof(path), "layers/sha256/%s", d->tag);
		if (io_mkdir_p(root, path, 0700) < 0)
			return -EINVAL;
		(void)snprintf(path, sizeof(path), "layers/sha256/%s/%s", d->tag,
			       i > 1 && strcmp(erofs_image_device(img, i - 1)->tag, d->tag) == 0
				       ? "side"
				       : "data");
		fd = openat(root, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0 || ftruncate(fd, (off_t)d->size) < 0)
			return -EINVAL;
	}
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char top[] = "/tmp/fuzz-index-XXXXXX", path[80];
	int root cleanup_close = -1, index cleanup_close = -1;
	char *lowers[2] = {path, path};

	if (size <= COMPAT_AT || size > SIZE_LIMIT || !mkdtemp(top))
		return 0;
	root = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	(void)snprintf(path, sizeof(path), "%s/chains/sha256/x/index", top);
	if (root >= 0 && io_mkdir_p(root, "chains/sha256/x", 0700) == 0) {
		uint8_t no_checksum = data[COMPAT_AT] & (uint8_t)~1u;

		index = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (index >= 0 && io_write_full(index, data, size) == 0 &&
		    io_pwrite_full(index, &no_checksum, 1, COMPAT_AT) == 0 &&
		    make_data(root, index) == 0) {
			see_stack(lowers, 1);
			see_stack(lowers, 2);
		}
	}
	(void)!io_remove_tree(AT_FDCWD, top);
	return 0;
}
