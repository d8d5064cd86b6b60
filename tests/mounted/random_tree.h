/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdint.h>

#include "erofs/write.h"

/* random_tree - trees for the checks against the kernel; one seed, one tree. */
struct random_tree {
	struct erofs_tree *tree;
	struct erofs_device *devices; /* data devices, then one "side" of the last tag */
	size_t n_devices;
	uint64_t state;
};

enum { RANDOM_DEVICE_BLOCKS = 256 };

uint64_t random_next(struct random_tree *r);
/* Byte @pos of device @device: made from the numbers, so nothing has to be kept. */
unsigned char random_byte(unsigned int device, uint64_t pos);
/* @n_inodes around; @n_data devices and one side device of 1 TiB. Aborts when out of memory. */
void random_tree_make(struct random_tree *r, uint64_t seed, unsigned int n_inodes,
		      unsigned int n_data);
/* What random trees only have by luck: a directory of @large entries and every limit. */
void random_tree_limits(struct random_tree *r, unsigned int large);
void random_tree_release(struct random_tree *r);
