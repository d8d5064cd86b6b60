/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
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
	uint64_t first, end; /* of the dynamic numbers */
	uint64_t size; /* of a batch */
	uint64_t kept; /* under lock: the file says that those below may be on disk */
	int work_fd; /* borrowed; -1: nothing is written down */
	bool sync;
};

#define NUMBERS "numbers" /* in work/ */
/* Dynamic numbers of one mount that are written down come in at most so many writes less. */
#define KEPT_STEP 4096

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

struct ovl_numbers *ovl_numbers_new(unsigned int dynamic_batch, uint64_t size)
{
	struct ovl_numbers *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->first = m->next = m->kept = ((uint64_t)dynamic_batch << 32) + 1;
	m->end = ((uint64_t)dynamic_batch + OVL_DYNAMIC_BATCHES) << 32;
	m->size = size ? size : UINT64_C(1) << 32;
	m->work_fd = -1;
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

static int take_locked(struct ovl_numbers *m, uint64_t *ret)
{
	if ((m->next & UINT32_MAX) >= m->size)
		m->next = ((m->next >> 32) + 1) << 32;
	if (m->next >= m->end)
		return -EOVERFLOW;
	*ret = m->next++;
	return 0;
}

/*
 * Dynamic numbers begin anew at each mount, but for those that a mark in the upper or work/links
 * may have: they must not go to other files. The file has how many those are at most, in digits of
 * a fixed width, so that it is overwritten in one piece.
 */
int ovl_numbers_keep(struct ovl_numbers *m, int work_fd, bool sync)
{
	cleanup_close int fd = ovl_sys_open(work_fd, NUMBERS, O_RDONLY, 0);
	unsigned long long n;
	char text[21] = "";
	ssize_t len;
	char *end;

	m->work_fd = work_fd;
	m->sync = sync;
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	len = pread(fd, text, sizeof(text) - 1, 0);
	if (len <= 0) /* empty: killed before the first one was written down */
		return len < 0 ? -errno : 0;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno || *end || end == text || n > m->end - m->first)
		return -EUCLEAN;
	m->next = m->kept = m->first + n;
	return 0;
}

static int write_kept(const struct ovl_numbers *m, int work_fd, uint64_t kept)
{
	cleanup_close int fd = ovl_sys_open(work_fd, NUMBERS, O_WRONLY | O_CREAT, 0600);
	char text[21];

	if (fd < 0)
		return fd;
	(void)snprintf(text, sizeof(text), "%020llu", (unsigned long long)(kept - m->first));
	if (pwrite(fd, text, sizeof(text) - 1, 0) != (ssize_t)sizeof(text) - 1)
		return errno ? -errno : -EIO;
	return m->sync ? ovl_sys_fsync(fd, true) : 0;
}

int ovl_number_written(struct ovl_numbers *m, uint64_t number)
{
	uint64_t kept = number + KEPT_STEP < m->end ? number + KEPT_STEP : m->end;
	int r = 0;

	pthread_mutex_lock(&m->lock);
	if (m->work_fd >= 0 && number >= m->kept && number < m->end) {
		r = write_kept(m, m->work_fd, kept);
		if (r == 0)
			m->kept = kept;
	}
	pthread_mutex_unlock(&m->lock);
	return r;
}

int ovl_numbers_copy(struct ovl_numbers *m, int work_fd)
{
	return m->kept > m->first ? write_kept(m, work_fd, m->kept) : 0;
}

void ovl_numbers_move(struct ovl_numbers *m, int work_fd)
{
	m->work_fd = work_fd;
}

bool ovl_number_is_dynamic(const struct ovl_numbers *m, uint64_t number)
{
	return number >= m->first && number < m->end;
}

static uint64_t place_key(unsigned int batch, dev_t foreign)
{
	return (uint64_t)batch << 48 ^ foreign;
}

int ovl_number_restore(struct ovl_numbers *m, unsigned int batch, uint64_t ino, dev_t foreign,
		       uint64_t number)
{
	int r = 0;

	pthread_mutex_lock(&m->lock);
	if (!map_find(&m->dynamic, place_key(batch, foreign), ino))
		r = map_add(&m->dynamic, place_key(batch, foreign), ino, number);
	pthread_mutex_unlock(&m->lock);
	return r;
}

int ovl_number(struct ovl_numbers *m, unsigned int batch, uint64_t ino, dev_t foreign,
	       uint64_t *ret)
{
	uint64_t key = place_key(batch, foreign), number;
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
		r = take_locked(m, &number);
		if (r == 0)
			r = map_add(&m->dynamic, key, ino, number);
		if (r == 0)
			*ret = number;
	}
	pthread_mutex_unlock(&m->lock);
	return r;
}

int ovl_number_fresh(struct ovl_numbers *m, uint64_t *ret)
{
	int r;

	pthread_mutex_lock(&m->lock);
	r = take_locked(m, ret);
	pthread_mutex_unlock(&m->lock);
	return r;
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

static bool map_remove(struct map *m, uint64_t a, uint64_t b)
{
	struct entry **p, *e;

	if (!m->n_buckets)
		return false;
	for (p = &m->buckets[slot(m, a, b)]; *p && ((*p)->a != a || (*p)->b != b); p = &(*p)->next)
		;
	e = *p;
	if (!e)
		return false;
	*p = e->next;
	m->count--;
	free(e);
	return true;
}

int ovl_links_list(struct ovl_numbers *m, uint64_t **ret, size_t *ret_n)
{
	uint64_t *list;
	size_t n = 0;

	pthread_mutex_lock(&m->lock);
	list = calloc(m->links.count + 1, sizeof(*list));
	for (size_t i = 0; list && i < m->links.n_buckets; i++)
		for (const struct entry *e = m->links.buckets[i]; e; e = e->next)
			list[n++] = e->a;
	pthread_mutex_unlock(&m->lock);
	*ret = list;
	*ret_n = n;
	return list ? 0 : -ENOMEM;
}

void ovl_links_remove(struct ovl_numbers *m, uint64_t number)
{
	pthread_mutex_lock(&m->lock);
	(void)map_remove(&m->links, number, 0);
	pthread_mutex_unlock(&m->lock);
}

int ovl_origins_add(struct ovl_numbers *m, unsigned int batch, uint64_t host_ino, uint64_t number)
{
	struct entry *e;
	int r = 0;

	pthread_mutex_lock(&m->lock);
	e = map_find(&m->origins, host_ino, batch);
	if (e)
		e->value = number;
	else
		r = map_add(&m->origins, host_ino, batch, number);
	atomic_store(&m->n_origins, m->origins.count);
	pthread_mutex_unlock(&m->lock);
	return r;
}

bool ovl_origins_find(struct ovl_numbers *m, unsigned int batch, uint64_t host_ino, uint64_t *ret)
{
	struct entry *e;

	/* Added before the copy can be found by a name: who finds it sees the count. */
	if (atomic_load(&m->n_origins) == 0)
		return false;
	pthread_mutex_lock(&m->lock);
	e = map_find(&m->origins, host_ino, batch);
	if (e)
		*ret = e->value;
	pthread_mutex_unlock(&m->lock);
	return e;
}

void ovl_origins_remove(struct ovl_numbers *m, unsigned int batch, uint64_t host_ino)
{
	if (atomic_load(&m->n_origins) == 0)
		return;
	pthread_mutex_lock(&m->lock);
	(void)map_remove(&m->origins, host_ino, batch);
	atomic_store(&m->n_origins, m->origins.count);
	pthread_mutex_unlock(&m->lock);
}
