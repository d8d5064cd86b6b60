/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Random numbers that a seed repeats on any machine (splitmix64). */
struct rng {
	uint64_t s;
};

static inline uint64_t rng_next(struct rng *r)
{
	uint64_t z = (r->s += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* 0 <= result < n */
static inline unsigned int rng_below(struct rng *r, unsigned int n)
{
	return (unsigned int)(rng_next(r) % n);
}

static inline bool rng_percent(struct rng *r, unsigned int p)
{
	return rng_below(r, 100) < p;
}

/* Bytes without zeros, so that holes stand out. */
static inline void rng_fill(struct rng *r, unsigned char *buf, size_t len)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t v = rng_next(r) | UINT64_C(0x0101010101010101);

		memcpy(buf + i, &v, len - i < 8 ? len - i : 8);
	}
}
