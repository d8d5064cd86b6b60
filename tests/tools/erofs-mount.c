/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "erofs/devices.h"
#include "erofs/kmount.h"

/* The paths the store's layout gives; every string and the array are freed by exit. */
static const char *const *default_devices(const char *index, size_t *ret_n, struct err *err)
{
	struct erofs_image *img cleanup_erofs_image = NULL;
	int fd cleanup_close = open(index, O_RDONLY | O_CLOEXEC);
	char *absolute cleanup_free = realpath(index, NULL);
	const char **paths;
	size_t n;

	if (fd < 0 || !absolute) {
		(void)err_set(err, -errno, "open '%s'", index);
		return NULL;
	}
	if (erofs_image_open(fd, &img, err) < 0)
		return NULL;
	n = erofs_image_device_count(img);
	paths = calloc(n + 1, sizeof(*paths));
	for (size_t i = 0; paths && i < n; i++) {
		char *path;

		if (erofs_device_path(img, absolute, i + 1, &path) < 0)
			return NULL;
		paths[i] = path;
	}
	*ret_n = n;
	return paths;
}

int main(int argc, char **argv)
{
	struct err err = ERR_INIT;
	const char *const *devices;
	size_t n;

	if (argc < 3) {
		fprintf(stderr, "usage: erofs-mount INDEX TARGET [DEVICE...]\n");
		return 2;
	}
	devices = (const char *const *)argv + 3;
	n = (size_t)argc - 3;
	if (n == 0)
		devices = default_devices(argv[1], &n, &err);
	if (!devices || erofs_kernel_mount(argv[1], devices, n, argv[2], &err) < 0) {
		fprintf(stderr, "erofs-mount: %s\n", err.msg);
		return 1;
	}
	return 0;
}
