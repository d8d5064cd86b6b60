/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "overlay/node.h"

/*
 * Three small maps: (batch, device, host inode) to a dynamic number for host
 * inodes that do not fit 32 bits, number to host inode for the copied-up hard
 * links, and host inode to number for copies that cannot have an origin mark.
 * An entry of the first lives as long as the mount: a number, once seen, must
 * not go to another file.
 */
struct entry {
	struct entry *next;
	uint64_t a, b; /* key */
	uint64_t value;
};

struct map {
	struct entry **buckets;
	size_t n_buckets, count;
};

struct ovl_numbers {
	pthread_mutex_t lock;
	struct map dynamic, links, origins; /* under lock */
	atomic_size_t n_origins; /* 0 as a rule: then nobody takes the lock */
	uint64_t next; /* under lock: the next dynamic number */
};

static size_t slot(const struct map *m, uint64_t a, uint64_t b)
{
	uint64_t h = (a ^ (b << 32 | b >> 32)) * UINT64_C(0x9E3779B97F4A7C15);

	return (h >> 32) & (m->n_buckets - 1);
}

static struct entry *map_find(const struct map *m, uint64_t a, uint64_t b)
{
	struct entry *e = m->n_buckets ? m->buckets[slot(m, a, b)] : NULL;

	while (e && (e->a != a || e->b != b))
		e = e->next;
	return e;
}

static int map_grow(struct map *m)
{
	struct map bigger = {.n_buckets = m->n_buckets ? m->n_buckets * 2 : 64, .count = m->count};
	struct entry *e, *next;

	bigger.buckets = calloc(bigger.n_buckets, sizeof(struct entry *));
	if (!bigger.buckets)
		return -ENOMEM;
	for (size_t i = 0; i < m->n_buckets; i++)
		for (e = m->buckets[i]; e; e = next) {
			size_t s = slot(&bigger, e->a, e->b);

			next = e->next;
			e->next = bigger.buckets[s];
			bigger.buckets[s] = e;
		}
	free(m->buckets);
	*m = bigger;
	return 0;
}

static int map_add(struct map *m, uint64_t a, uint64_t b, uint64_t value)
{
	struct entry *e;
	size_t s;

	if (m->count >= m->n_buckets && map_grow(m) < 0)
		return -ENOMEM;
	e = malloc(sizeof(*e));
	if (!e)
		return -ENOMEM;
	s = slot(m, a, b);
	*e = (struct entry){.next = m->buckets[s], .a = a, .b = b, .value = value};
	m->buckets[s] = e;
	m->count++;
	return 0;
}

static void map_release(struct map *m)
{
	struct entry *e, *next;

	for (size_t i = 0; i < m->n_buckets; i++)
		for (e = m->buckets[i]; e; e = next) {
			next = e->next;
			free(e);
		}
	free(m->buckets);
}

struct ovl_numbers *ovl_numbers_new(unsigned int dynamic_batch)
{
	struct ovl_numbers *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->next = ((uint64_t)dynamic_batch << 32) + 1;
	pthread_mutex_init(&m->lock, NULL);
	return m;
}

void ovl_numbers_free(struct ovl_numbers *m)
{
	if (!m)
		return;
	map_release(&m->dynamic);
	map_release(&m->links);
	map_release(&m->origins);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

int ovl_number(struct ovl_numbers *m, unsigned int batch, uint64_t ino, dev_t foreign,
	       uint64_t *ret)
{
	uint64_t key = (uint64_t)batch << 48 ^ foreign;
	struct entry *e;
	int r = 0;

	if (ino <= UINT32_MAX && !foreign) {
		*ret = ((uint64_t)batch << 32) + ino;
		return 0;
	}
	pthread_mutex_lock(&m->lock);
	e = map_find(&m->dynamic, key, ino);
	if (e) {
		*ret = e->value;
	} else {
		r = map_add(&m->dynamic, key, ino, m->next);
		if (r == 0)
			*ret = m->next++;
	}
	pthread_mutex_unlock(&m->lock);
	return r;
}

uint64_t ovl_number_fresh(struct ovl_numbers *m)
{
	uint64_t n;

	pthread_mutex_lock(&m->lock);
	n = m->next++;
	pthread_mutex_unlock(&m->lock);
	return n;
}

int ovl_links_add(struct ovl_numbers *m, uint64_t number, uint64_t host_ino)
{
	struct entry *e;
	int r = 0;

	pthread_mutex_lock(&m->lock);
	e = map_find(&m->links, number, 0);
	if (e)
		e->value = host_ino;
	else
		r = map_add(&m->links, number, 0, host_ino);
	pthread_mutex_unlock(&m->lock);
	return r;
}

uint64_t ovl_links_find(struct ovl_numbers *m, uint64_t number)
{
	struct entry *e;
	uint64_t ino;

	pthread_mutex_lock(&m->lock);
	e = map_find(&m->links, number, 0);
	ino = e ? e->value : 0;
	pthread_mutex_unlock(&m->lock);
	return ino;
}

static bool map_remove(struct map *m, uint64_t a)
{
	struct entry **p, *e;

	if (!m->n_buckets)
		return false;
	for (p = &m->buckets[slot(m, a, 0)]; *p && (*p)->a != a; p = &(*p)->next)
		;
	e = *p;
	if (!e)
		return false;
	*p = e->next;
	m->count--;
	free(e);
	return true;
}

void ovl_links_remove(struct ovl_numbers *m, uint64_t number)
{
	pthread_mutex_lock(&m->lock);
	(void)map_remove(&m->links, number);
	pthread_mutex_unlock(&m->lock);
}

int ovl_origins_add(struct ovl_numbers *m, uint64_t host_ino, uint64_t number)
{
	struct entry *e;
	int r = 0;

	pthread_mutex_lock(&m->lock);
	e = map_find(&m->origins, host_ino, 0);
	if (e)
		e->value = number;
	else
		r = map_add(&m->origins, host_ino, 0, number);
	atomic_store(&m->n_origins, m->origins.count);
	pthread_mutex_unlock(&m->lock);
	return r;
}

bool ovl_origins_find(struct ovl_numbers *m, uint64_t host_ino, uint64_t *ret)
{
	struct entry *e;

	/* Added before the copy can be found by a name: who finds it sees the count. */
	if (atomic_load(&m->n_origins) == 0)
		return false;
	pthread_mutex_lock(&m->lock);
	e = map_find(&m->origins, host_ino, 0);
	if (e)
		*ret = e->value;
	pthread_mutex_unlock(&m->lock);
	return e;
}

void ovl_origins_remove(struct ovl_numbers *m, uint64_t host_ino)
{
	if (atomic_load(&m->n_origins) == 0)
		return;
	pthread_mutex_lock(&m->lock);
	(void)map_remove(&m->origins, host_ino);
	atomic_store(&m->n_origins, m->origins.count);
	pthread_mutex_unlock(&m->lock);
}
