/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "erofs/image.h"

/*
 * devices - the data files of an index by the store's layout: for
 * ROOT/{layers,chains}/sha256/ID/index they are ROOT/layers/sha256/TAG/data
 * and, for the second of two neighbours with one tag, .../side.
 * erofs_open_devices() (erofs/image.h) opens them all.
 */
#define EROFS_DEVICE_BLOCK 512u

/*
 * The path of device @i, counted from 1, of the index at @index (free() it). -EINVAL when there is
 * no such device, or @index has fewer than four components to cut off.
 */
int erofs_device_path(const struct erofs_image *img, const char *index, size_t i, char **ret)
	__attribute__((warn_unused_result));
