/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "overlay/sys.h"

/*
 * held - what a listing holds of a directory, one record behind the other: 10 bytes and the name
 * with its NUL, up to the next multiple of four.
 *
 *	ovl_held_init(&n);
 *	r = ovl_held_add(&n, &name);
 *	r = ovl_held_index(&n);                  from here on ovl_held_has() may be asked
 *	for (pos = 0; ovl_held_next(&n, &pos, &name);)
 *	ovl_held_release(&n);
 *
 * A position is any number: what begins at it or behind it comes next. One thread.
 */
struct ovl_held_name {
	const char *name; /* of ovl_held_next(): borrowed until the next is added */
	uint64_t number;
	unsigned int type; /* DT_ */
	bool whiteout;
};

struct ovl_held_chunk; /* held.c */
struct ovl_held {
	struct ovl_held_chunk *chunks;
	size_t n_chunks, cap_chunks, count, bytes; /* ->bytes: of memory */
	uint32_t *slots; /* by hash: position / OVL_HELD_ALIGN + 1; NULL: not indexed */
	size_t n_slots;
};
#define OVL_HELD_ALIGN 4
#define OVL_HELD_MAX   (1ULL << 34) /* positions are below it */

void ovl_held_init(struct ovl_held *n);
void ovl_held_release(struct ovl_held *n);
/* At the end; the name must not be there yet. -ENOMEM; -EOVERFLOW: it is full, or the name is
 * longer than 255 bytes. */
int ovl_held_add(struct ovl_held *n, const struct ovl_held_name *e) OVL_MUST;
/* 6 to 11 bytes more for each name, also for what is added later. */
int ovl_held_index(struct ovl_held *n) OVL_MUST;
void ovl_held_unindex(struct ovl_held *n);
bool ovl_held_has(const struct ovl_held *n, const char *name); /* false while it has no index */
/* Moves *pos behind what it returns. False: there is nothing more. */
bool ovl_held_next(const struct ovl_held *n, uint64_t *pos, struct ovl_held_name *ret);
