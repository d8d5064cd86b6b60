/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "snapshotter/image.h"
#include "snapshotter/store_private.h"

/* 1: an image of exactly this REF; 0: none. */
int snap_image_exists(struct snap_store *store, const char *ref)
	__attribute__((warn_unused_result));
