/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/held.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * Records lie in chunks of one size, so that nothing is copied when it grows, and that a position
 * that comes from outside is checked by walking one chunk. The first chunk grows up to that size:
 * most directories are small.
 */
#define CHUNK	    65536
#define CHUNK_FIRST 512
#define SLOTS_FIRST 64

struct ovl_held_chunk {
	char *s;
	uint32_t used, cap;
};

/* In front of the name and its NUL. */
struct record {
	uint64_t number;
	uint8_t len, type; /* the type with RECORD_WHITEOUT */
} __attribute__((packed, aligned(OVL_HELD_ALIGN)));
#define RECORD_HEAD	(offsetof(struct record, type) + 1)
#define RECORD_WHITEOUT 0x80

void ovl_held_init(struct ovl_held *n)
{
	memset(n, 0, sizeof(*n));
}

void ovl_held_release(struct ovl_held *n)
{
	for (size_t i = 0; i < n->n_chunks; i++)
		free(n->chunks[i].s);
	free(n->chunks);
	free(n->slots);
	ovl_held_init(n);
}

static size_t record_size(size_t len)
{
	return (RECORD_HEAD + len + 1 + OVL_HELD_ALIGN - 1) / OVL_HELD_ALIGN * OVL_HELD_ALIGN;
}

static const struct record *record_at(const struct ovl_held_chunk *c, size_t at)
{
	return (const struct record *)(const void *)(c->s + at);
}

static const char *record_name(const struct record *r)
{
	return (const char *)r + RECORD_HEAD;
}

static unsigned int hash_name(const char *name)
{
	unsigned int h = 2166136261u;

	while (*name)
		h = (h ^ (unsigned char)*name++) * 16777619u;
	return h;
}

static int add_chunk(struct ovl_held *n)
{
	struct ovl_held_chunk *chunks;
	size_t cap = n->cap_chunks ? n->cap_chunks * 2 : 1;

	if (n->n_chunks + 1 == OVL_HELD_MAX / CHUNK)
		return -EOVERFLOW;
	if (n->n_chunks == n->cap_chunks) {
		chunks = reallocarray(n->chunks, cap, sizeof(*chunks));
		if (!chunks)
			return -ENOMEM;
		n->bytes += (cap - n->cap_chunks) * sizeof(*chunks);
		n->chunks = chunks;
		n->cap_chunks = cap;
	}
	n->chunks[n->n_chunks++] = (struct ovl_held_chunk){.s = NULL};
	return 0;
}

/* Room for @size more in the last chunk, or in a new one. */
static int make_room(struct ovl_held *n, size_t size, struct ovl_held_chunk **ret)
{
	struct ovl_held_chunk *c = n->n_chunks ? &n->chunks[n->n_chunks - 1] : NULL;
	uint32_t cap;
	char *s;
	int r;

	if (!c || c->used + size > CHUNK) {
		r = add_chunk(n);
		if (r < 0)
			return r;
		c = &n->chunks[n->n_chunks - 1];
	}
	cap = c->cap ? c->cap : n->n_chunks == 1 ? CHUNK_FIRST : CHUNK;
	while (c->used + size > cap)
		cap *= 2;
	if (cap != c->cap) {
		s = realloc(c->s, cap);
		if (!s)
			return -ENOMEM;
		n->bytes += cap - c->cap;
		c->s = s;
		c->cap = cap;
	}
	*ret = c;
	return 0;
}

static void put_slot(uint32_t *slots, size_t n_slots, const char *name, uint32_t value)
{
	size_t s = hash_name(name) & (n_slots - 1);

	while (slots[s])
		s = (s + 1) & (n_slots - 1);
	slots[s] = value;
}

static uint32_t slot_of(size_t chunk, size_t at)
{
	return (uint32_t)((chunk * CHUNK + at) / OVL_HELD_ALIGN + 1);
}

/* Slots for @count names: a quarter of them stays free. */
static int make_slots(struct ovl_held *n, size_t count)
{
	size_t n_slots = n->n_slots ? n->n_slots : SLOTS_FIRST;
	uint32_t *slots;

	while (count > n_slots / 4 * 3)
		n_slots *= 2;
	if (n_slots == n->n_slots)
		return 0;
	slots = calloc(n_slots, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	for (size_t i = 0; i < n->n_chunks; i++) {
		const struct ovl_held_chunk *c = &n->chunks[i];

		for (size_t at = 0; at < c->used; at += record_size(record_at(c, at)->len))
			put_slot(slots, n_slots, record_name(record_at(c, at)), slot_of(i, at));
	}
	n->bytes += (n_slots - n->n_slots) * sizeof(*slots);
	free(n->slots);
	n->slots = slots;
	n->n_slots = n_slots;
	return 0;
}

int ovl_held_index(struct ovl_held *n)
{
	return make_slots(n, n->count);
}

void ovl_held_unindex(struct ovl_held *n)
{
	n->bytes -= n->n_slots * sizeof(*n->slots);
	free(n->slots);
	n->slots = NULL;
	n->n_slots = 0;
}

int ovl_held_add(struct ovl_held *n, const struct ovl_held_name *e)
{
	size_t len = strlen(e->name), size = record_size(len);
	struct record head = {.number = e->number,
			      .len = (uint8_t)len,
			      .type = (uint8_t)(e->type | (e->whiteout ? RECORD_WHITEOUT : 0))};
	struct ovl_held_chunk *c;
	int r = n->slots ? make_slots(n, n->count + 1) : 0;

	if (len > UINT8_MAX)
		return -EOVERFLOW;
	if (r < 0)
		return r;
	r = make_room(n, size, &c);
	if (r < 0)
		return r;
	memcpy(c->s + c->used, &head, RECORD_HEAD);
	memcpy(c->s + c->used + RECORD_HEAD, e->name, len + 1);
	if (n->slots)
		put_slot(n->slots, n->n_slots, e->name, slot_of(n->n_chunks - 1, c->used));
	c->used += (uint32_t)size;
	n->count++;
	return 0;
}

bool ovl_held_has(const struct ovl_held *n, const char *name)
{
	size_t s, len = strlen(name);

	if (!n->slots)
		return false;
	for (s = hash_name(name) & (n->n_slots - 1); n->slots[s]; s = (s + 1) & (n->n_slots - 1)) {
		uint64_t pos = (uint64_t)(n->slots[s] - 1) * OVL_HELD_ALIGN;
		const struct record *e = record_at(&n->chunks[pos / CHUNK], pos % CHUNK);

		if (e->len == len && memcmp(record_name(e), name, len) == 0)
			return true;
	}
	return false;
}

bool ovl_held_next(const struct ovl_held *n, uint64_t *pos, struct ovl_held_name *ret)
{
	size_t at = 0, wanted = *pos % CHUNK;

	for (uint64_t i = *pos / CHUNK; i < n->n_chunks; i++, at = wanted = 0) {
		const struct ovl_held_chunk *c = &n->chunks[i];
		const struct record *e;

		while (at < c->used && at < wanted)
			at += record_size(record_at(c, at)->len);
		if (at >= c->used)
			continue;
		e = record_at(c, at);
		*ret = (struct ovl_held_name){.name = record_name(e),
					      .number = e->number,
					      .type = e->type & ~RECORD_WHITEOUT,
					      .whiteout = e->type & RECORD_WHITEOUT};
		*pos = i * CHUNK + at + record_size(e->len);
		return true;
	}
	return false;
}
