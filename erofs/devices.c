/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/strbuf.h"
#include "erofs/devices.h"

/* Cuts the last @n components off @path. */
static int cut_components(struct strbuf *path, unsigned int n)
{
	while (n--) {
		const char *slash = strrchr(path->s, '/');

		if (!slash)
			return -EINVAL;
		strbuf_truncate(path, (size_t)(slash - path->s));
	}
	return 0;
}

int erofs_device_path(const struct erofs_image *img, const char *index, size_t i, char **ret)
{
	struct strbuf path CLEANUP(strbuf_release) = STRBUF_INIT;
	const struct erofs_device *dev = erofs_image_device(img, i);
	const struct erofs_device *before = erofs_image_device(img, i - 1);
	bool side;
	int r;

	if (!dev)
		return -EINVAL;
	side = before && strcmp(before->tag, dev->tag) == 0;
	r = strbuf_adds(&path, index);
	if (r == 0) /* ROOT/{layers,chains}/sha256/ID/index */
		r = cut_components(&path, 4);
	if (r == 0)
		r = strbuf_addf(&path, "/layers/sha256/%s/%s", dev->tag, side ? "side" : "data");
	if (r < 0)
		return r;
	*ret = strbuf_steal(&path);
	return *ret ? 0 : -ENOMEM;
}

static int open_device(const struct erofs_image *img, const char *index, size_t i, int *ret,
		       struct err *err)
{
	const struct erofs_device *dev = erofs_image_device(img, i);
	char *path cleanup_free = NULL;
	int fd cleanup_close = -1;
	struct stat st;
	int r = erofs_device_path(img, index, i, &path);

	if (r < 0)
		return err_msg(err, r, "'%s' is not inside a store", index);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return err_set(err, -errno, "open '%s'", path);
	if (fstat(fd, &st) < 0)
		return err_set(err, -errno, "'%s'", path);
	/* The image counts in blocks: the last one may be partly there. */
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size + EROFS_DEVICE_BLOCK - 1 < dev->size)
		return err_msg(err, -EUCLEAN, "'%s' is shorter than the %ju bytes its index knows",
			       path, (uintmax_t)dev->size);
	*ret = steal_fd(&fd);
	return 0;
}

int erofs_open_devices(const struct erofs_image *img, const char *path, int **ret_fds,
		       struct err *err)
{
	size_t n = erofs_image_device_count(img);
	int *fds = calloc(n ? n : 1, sizeof(*fds));
	char *absolute cleanup_free = realpath(path, NULL);

	if (!fds)
		return err_set(err, -ENOMEM, "devices");
	if (!absolute) {
		free(fds);
		return err_set(err, -errno, "'%s'", path);
	}
	for (size_t i = 0; i < n; i++) {
		int r = open_device(img, absolute, i + 1, &fds[i], err);

		if (r == 0)
			continue;
		while (i--)
			(void)close(fds[i]);
		free(fds);
		return r;
	}
	*ret_fds = fds;
	return 0;
}
