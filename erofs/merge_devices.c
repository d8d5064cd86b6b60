/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "erofs/merge_private.h"

static bool is_side(const struct erofs_device *devices, size_t i)
{
	return i > 0 && strcmp(devices[i - 1].tag, devices[i].tag) == 0;
}

/* Place of @dev in the union, added when it is not there. */
static int place_device(struct device_union *u, const struct erofs_device *dev, bool side,
			uint16_t *ret)
{
	size_t i;

	for (i = 0; i < u->n; i++)
		if (strcmp(u->devices[i].tag, dev->tag) == 0 && is_side(u->devices, i) == side)
			break;
	if (i == u->n) {
		/* A side file stands directly behind its data. */
		if (side && (i == 0 || strcmp(u->devices[i - 1].tag, dev->tag) != 0))
			return -EUCLEAN;
		if (u->n == EROFS_DEVICE_MAX)
			return -EFBIG;
		u->devices[u->n++] = *dev;
	} else if (u->devices[i].size != dev->size) {
		return -EUCLEAN;
	}
	*ret = (uint16_t)(i + 1);
	return 0;
}

int device_union_make(struct erofs_image *const *images, size_t n_images, struct device_union *ret,
		      struct err *err)
{
	struct device_union u = {0};
	size_t total = 0;
	int r = 0;

	for (size_t i = 0; i < n_images; i++)
		total += images[i]->n_devices;
	u.devices = calloc(total ? total : 1, sizeof(*u.devices));
	u.maps = calloc(n_images ? n_images : 1, sizeof(*u.maps));
	u.n_maps = n_images;
	if (!u.devices || !u.maps)
		r = err_set(err, -ENOMEM, "devices");
	for (size_t i = 0; r == 0 && i < n_images; i++) {
		const struct erofs_image *img = images[i];

		u.maps[i] = calloc(img->n_devices + 1, sizeof(*u.maps[i]));
		if (!u.maps[i])
			r = err_set(err, -ENOMEM, "devices");
		for (size_t k = 0; r == 0 && k < img->n_devices; k++) {
			r = place_device(&u, &img->devices[k], is_side(img->devices, k),
					 &u.maps[i][k]);
			if (r == -EFBIG)
				(void)err_msg(err, r, "over %d devices", EROFS_DEVICE_MAX);
			else if (r < 0)
				(void)err_msg(err, r,
					      "layer %zu: device %s contradicts another layer",
					      i + 1, img->devices[k].tag);
		}
	}
	if (r < 0)
		device_union_release(&u);
	else
		*ret = u;
	return r;
}

void device_union_release(struct device_union *u)
{
	for (size_t i = 0; u->maps && i < u->n_maps; i++)
		free(u->maps[i]);
	free(u->maps);
	free(u->devices);
	*u = (struct device_union){0};
}
