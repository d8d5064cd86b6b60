/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/real.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "overlay/sys.h"

struct ovl_real_cache {
	pthread_mutex_t lock;
	size_t max, count, n_buckets;
	struct ovl_dirfd **buckets; /* under lock, as is all that follows */
	struct ovl_dirfd lru; /* ring: lru_next is the most recently used */
};

struct ovl_real_cache *ovl_real_cache_new(size_t max)
{
	struct ovl_real_cache *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->max = max;
	for (c->n_buckets = 16; c->n_buckets < max; c->n_buckets *= 2)
		;
	c->buckets = calloc(c->n_buckets, sizeof(*c->buckets));
	if (!c->buckets) {
		free(c);
		return NULL;
	}
	c->lru.lru_prev = c->lru.lru_next = &c->lru;
	pthread_mutex_init(&c->lock, NULL);
	return c;
}

static struct ovl_dirfd **bucket_of(struct ovl_real_cache *c, const void *key)
{
	uint64_t h = (uint64_t)(uintptr_t)key * UINT64_C(0x9E3779B97F4A7C15);

	return &c->buckets[(h >> 32) & (c->n_buckets - 1)];
}

/* Drops one reference; what is left to close is pushed on @dead, to be closed without the lock. */
static void dirfd_put_locked(struct ovl_dirfd *d, struct ovl_dirfd **dead)
{
	if (--d->refs == 0) {
		d->hash_next = *dead;
		*dead = d;
	}
}

static void close_dead(struct ovl_dirfd *dead)
{
	while (dead) {
		struct ovl_dirfd *next = dead->hash_next;

		(void)close(dead->fd);
		free(dead);
		dead = next;
	}
}

static void uncache_locked(struct ovl_real_cache *c, struct ovl_dirfd *d, struct ovl_dirfd **dead)
{
	struct ovl_dirfd **p = bucket_of(c, d->key);

	while (*p != d)
		p = &(*p)->hash_next;
	*p = d->hash_next;
	d->lru_prev->lru_next = d->lru_next;
	d->lru_next->lru_prev = d->lru_prev;
	d->key = NULL;
	c->count--;
	dirfd_put_locked(d, dead);
}

static void lru_push_locked(struct ovl_real_cache *c, struct ovl_dirfd *d)
{
	d->lru_next = c->lru.lru_next;
	d->lru_prev = &c->lru;
	d->lru_next->lru_prev = d;
	c->lru.lru_next = d;
}

void ovl_real_cache_free(struct ovl_real_cache *c)
{
	struct ovl_dirfd *dead = NULL;

	if (!c)
		return;
	while (c->lru.lru_next != &c->lru)
		uncache_locked(c, c->lru.lru_next, &dead);
	close_dead(dead);
	pthread_mutex_destroy(&c->lock);
	free(c->buckets);
	free(c);
}

static struct ovl_dirfd *find(struct ovl_real_cache *c, const void *key)
{
	struct ovl_dirfd *d;

	pthread_mutex_lock(&c->lock);
	for (d = *bucket_of(c, key); d && d->key != key; d = d->hash_next)
		;
	if (d) {
		d->refs++;
		d->lru_prev->lru_next = d->lru_next;
		d->lru_next->lru_prev = d->lru_prev;
		lru_push_locked(c, d);
	}
	pthread_mutex_unlock(&c->lock);
	return d;
}

/* Takes @fd. Another thread may have been faster: then its entry is returned. */
static struct ovl_dirfd *insert(struct ovl_real_cache *c, const void *key, int fd)
{
	struct ovl_dirfd *d = calloc(1, sizeof(*d)), *dead = NULL, *other;

	if (!d) {
		(void)close(fd);
		return NULL;
	}
	d->fd = fd;
	d->key = key;
	d->cache = c;
	d->refs = 2;
	pthread_mutex_lock(&c->lock);
	for (other = *bucket_of(c, key); other && other->key != key; other = other->hash_next)
		;
	if (other) {
		other->refs++;
		d->refs = 0;
		d->hash_next = dead;
		dead = d;
		d = other;
	} else {
		d->hash_next = *bucket_of(c, key);
		*bucket_of(c, key) = d;
		lru_push_locked(c, d);
		if (++c->count > c->max)
			uncache_locked(c, c->lru.lru_prev, &dead);
	}
	pthread_mutex_unlock(&c->lock);
	close_dead(dead);
	return d;
}

void ovl_dirfd_put(struct ovl_dirfd *d)
{
	struct ovl_real_cache *c;
	struct ovl_dirfd *dead = NULL;

	if (!d)
		return;
	c = d->cache;
	pthread_mutex_lock(&c->lock);
	dirfd_put_locked(d, &dead);
	pthread_mutex_unlock(&c->lock);
	close_dead(dead);
}

void ovl_real_forget(struct ovl_real_cache *c, const void *key)
{
	struct ovl_dirfd *d, *dead = NULL;

	pthread_mutex_lock(&c->lock);
	for (d = *bucket_of(c, key); d && d->key != key; d = d->hash_next)
		;
	if (d)
		uncache_locked(c, d, &dead);
	pthread_mutex_unlock(&c->lock);
	close_dead(dead);
}

static int open_root(struct ovl_real_cache *c, const void *key, int root_fd, struct ovl_dirfd **ret)
{
	int fd = ovl_sys_open(root_fd, ".", O_PATH | O_DIRECTORY, 0);

	if (fd < 0)
		return fd;
	*ret = insert(c, key, fd);
	return *ret ? 0 : -ENOMEM;
}

int ovl_real_open(struct ovl_real_cache *c, const struct ovl_real_chain *how, const void *key,
		  int root_fd, struct ovl_dirfd **ret)
{
	struct ovl_dirfd *d = find(c, key), *below;
	cleanup_free const void **down = NULL;
	size_t n = 0, i = 0;
	const void *k;
	int r, fd;

	if (d) {
		*ret = d;
		return 0;
	}
	for (k = key; k; k = how->parent(k))
		n++;
	down = malloc((n + 1) * sizeof(*down));
	if (!down)
		return -ENOMEM;
	/* Upwards to the first one at hand; down[] has the rest, nearest to the object first. */
	for (k = key; k; k = how->parent(k)) {
		d = find(c, k);
		if (d)
			break;
		down[i++] = k;
	}
	if (!d && i > 0) { /* i > 0: @key is no NULL */
		r = open_root(c, down[--i], root_fd, &d);
		if (r < 0)
			return r;
	}
	while (i > 0) {
		k = down[--i];
		fd = ovl_sys_open(d->fd, how->name(k), O_PATH | O_DIRECTORY, 0);
		if (fd < 0) {
			ovl_dirfd_put(d);
			return fd;
		}
		below = insert(c, k, fd);
		ovl_dirfd_put(d);
		if (!below)
			return -ENOMEM;
		d = below;
	}
	*ret = d;
	return 0;
}
