/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/quota.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "overlay/pin.h"

/*
 * Two sums, changed without a lock. What a file holds is asked before and after each change under a
 * lock of that file's (one of a few, by its node), so that two writers do not both count one block.
 * node->charge is what the sum has for it: what a file system does later (allocates an index block,
 * trims a preallocation) comes into the sum at the next change of that file.
 */
#define STRIPES 16
#define BLOCK	OVL_QUOTA_BLOCK

struct ovl_quota {
	uint64_t max_bytes, max_inodes; /* 0: no bound */
	atomic_llong bytes, inodes; /* with what is reserved; a little below 0 is possible */
	pthread_mutex_t stripes[STRIPES];
};

struct counted { /* files with several names, to be counted once */
	ino_t *inos;
	size_t n, room;
};

static pthread_mutex_t *stripe(struct ovl_quota *q, const struct ovl_node *n)
{
	return &q->stripes[((uintptr_t)n >> 6) % STRIPES];
}

/* All of it or nothing. */
static bool reserve(atomic_llong *sum, uint64_t max, uint64_t n)
{
	long long now = atomic_load(sum);

	do {
		if (max > 0 && n > 0 && (now > 0 ? (uint64_t)now : 0) + n > max)
			return false;
	} while (!atomic_compare_exchange_weak(sum, &now, now + (long long)n));
	return true;
}

static void release(atomic_llong *sum, uint64_t n)
{
	atomic_fetch_sub(sum, (long long)n);
}

static int compare_inos(const void *a, const void *b)
{
	const ino_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* 1: not seen before. The list is sorted now and then, so that a look at it stays short. */
static int first_time(struct counted *c, ino_t ino)
{
	size_t sorted = c->n & ~(size_t)255;

	if (sorted > 0 && bsearch(&ino, c->inos, sorted, sizeof(ino), compare_inos))
		return 0;
	for (size_t i = sorted; i < c->n; i++) {
		if (c->inos[i] == ino)
			return 0;
	}
	if (c->n == c->room) {
		size_t room = c->room ? c->room * 2 : 256;
		ino_t *more = reallocarray(c->inos, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		c->inos = more;
		c->room = room;
	}
	c->inos[c->n++] = ino;
	if ((c->n & 255) == 0)
		qsort(c->inos, c->n, sizeof(ino), compare_inos);
	return 1;
}

static int count(struct ovl_quota *q, struct counted *c, const struct stat *st)
{
	int r = 1;

	if (S_ISCHR(st->st_mode) && st->st_rdev == 0)
		return 0;
	if (!S_ISDIR(st->st_mode) && st->st_nlink > 1)
		r = first_time(c, st->st_ino);
	if (r <= 0)
		return r;
	atomic_fetch_add(&q->inodes, 1);
	if (S_ISREG(st->st_mode))
		atomic_fetch_add(&q->bytes, (long long)st->st_blocks * 512);
	return 0;
}

static int count_tree(struct ovl_quota *q, struct counted *c, int parent, const char *name)
{
	cleanup_closedir DIR *d = NULL;
	struct dirent *de;
	int r = ovl_sys_opendir(parent, name, &d);

	if (r < 0)
		return r;
	while (r == 0 && (de = readdir(d))) {
		struct stat st;

		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		r = ovl_sys_stat(dirfd(d), de->d_name, &st);
		if (r == 0)
			r = count(q, c, &st);
		if (r == 0 && S_ISDIR(st.st_mode))
			r = count_tree(q, c, dirfd(d), de->d_name);
	}
	return r;
}

int ovl_quota_open(struct ovl_fs *fs, uint64_t max_bytes, uint64_t max_inodes)
{
	struct counted c = {.inos = NULL};
	struct ovl_quota *q;
	int r;

	if (!fs->has_upper || (max_bytes == 0 && max_inodes == 0))
		return 0;
	q = calloc(1, sizeof(*q));
	if (!q)
		return -ENOMEM;
	q->max_bytes = max_bytes;
	q->max_inodes = max_inodes;
	for (size_t i = 0; i < STRIPES; i++)
		pthread_mutex_init(&q->stripes[i], NULL);
	fs->quota = q;
	r = count_tree(q, &c, fs->upper_fd, ".");
	if (r == 0) /* names that nobody has linked yet */
		r = count_tree(q, &c, fs->links_fd, ".");
	free(c.inos);
	return r;
}

void ovl_quota_close(struct ovl_fs *fs)
{
	if (!fs->quota)
		return;
	for (size_t i = 0; i < STRIPES; i++)
		pthread_mutex_destroy(&fs->quota->stripes[i]);
	free(fs->quota);
	fs->quota = NULL;
}

void ovl_quota_restart(struct ovl_fs *fs)
{
	struct ovl_quota *q = fs->quota;

	if (!q)
		return;
	atomic_store(&q->bytes, 0);
	atomic_store(&q->inodes, 0);
	for (size_t i = 0; i < fs->table.n_buckets; i++)
		for (struct ovl_node *n = fs->table.buckets[i]; n; n = n->hash_next) {
			if (!ovl_node_has(n, OVL_NODE_ORPHAN)) {
				n->charge = 0;
			} else if (ovl_node_has(n, OVL_NODE_UPPER)) {
				atomic_fetch_add(&q->inodes, 1);
				atomic_fetch_add(&q->bytes,
						 n->charge > 0 ? (long long)n->charge - 1 : 0);
			}
		}
}

/* What the file holds now, into the sum. With the file's lock. */
static void settle_locked(struct ovl_quota *q, struct ovl_node *n, blkcnt_t blocks)
{
	uint64_t now = (uint64_t)blocks * 512;

	if (n->charge > 0)
		atomic_fetch_add(&q->bytes, (long long)now - (long long)(n->charge - 1));
	n->charge = now + 1;
}

/*
 * Near the bound: what of @len fits. Blocks that are there cost nothing, and neither does the rest
 * of the last one.
 */
static size_t fitting(struct ovl_quota *q, int fd, off_t size, off_t off, size_t len,
		      uint64_t *ret_bytes)
{
	long long used = atomic_load(&q->bytes);
	uint64_t left = used < 0 || (uint64_t)used < q->max_bytes
				? (q->max_bytes - (uint64_t)(used > 0 ? used : 0)) / BLOCK * BLOCK
				: 0;
	off_t hole = ovl_sys_lseek(fd, off, SEEK_HOLE);
	uint64_t from, end = (uint64_t)off + len;

	if (hole < off) /* -ENXIO: behind the end */
		hole = off;
	from = hole == size ? ovl_quota_round((uint64_t)hole) : (uint64_t)hole / BLOCK * BLOCK;
	if (from >= end) {
		*ret_bytes = 0;
		return len;
	}
	if (left > ovl_quota_round(end - from))
		left = ovl_quota_round(end - from);
	*ret_bytes = left;
	if (from + left >= end)
		return len;
	return from + left > (uint64_t)off ? (size_t)(from + left - (uint64_t)off) : 0;
}

int ovl_quota_begin(struct ovl_fs *fs, struct ovl_node *node, int fd, off_t off, size_t len,
		    struct ovl_quota_change *ret)
{
	struct ovl_quota_change c = {.fs = fs, .fd = fd, .len = len};
	struct ovl_quota *q = fs->quota;
	uint64_t end, held, most;
	struct stat st;
	int r;

	*ret = c;
	if (!q)
		return 0;
	if (off < 0 || __builtin_add_overflow((uint64_t)off, len, &end) || end > INT64_MAX)
		return -EFBIG;
	pthread_mutex_lock(stripe(q, node));
	r = ovl_sys_stat(fd, "", &st);
	if (r < 0) {
		pthread_mutex_unlock(stripe(q, node));
		return r;
	}
	settle_locked(q, node, st.st_blocks);
	/* no more than is written, and no more than the file lacks of its length: it may be there
	 */
	held = (uint64_t)st.st_blocks * 512;
	most = ovl_quota_round(end > (uint64_t)st.st_size ? end : (uint64_t)st.st_size);
	most = most > held ? most - held : 0;
	c.reserved = len > 0 ? ovl_quota_round(len + (uint64_t)off % BLOCK) : 0;
	if (c.reserved > most)
		c.reserved = most;
	while (!reserve(&q->bytes, q->max_bytes, c.reserved)) {
		c.len = fitting(q, fd, st.st_size, off, len, &c.reserved);
		if (c.len == 0) {
			pthread_mutex_unlock(stripe(q, node));
			return -ENOSPC;
		}
	}
	c.node = node;
	*ret = c;
	return 0;
}

void ovl_quota_end(struct ovl_quota_change *c)
{
	struct ovl_quota *q = c->fs ? c->fs->quota : NULL;
	struct stat st;

	if (!q || !c->node)
		return;
	if (ovl_sys_stat(c->fd, "", &st) == 0)
		settle_locked(q, c->node, st.st_blocks);
	release(&q->bytes, c->reserved);
	pthread_mutex_unlock(stripe(q, c->node));
	c->node = NULL;
}

int ovl_quota_take_bytes(struct ovl_fs *fs, uint64_t bytes)
{
	struct ovl_quota *q = fs->quota;

	return !q || reserve(&q->bytes, q->max_bytes, bytes) ? 0 : -ENOSPC;
}

void ovl_quota_give_bytes(struct ovl_fs *fs, uint64_t bytes)
{
	if (fs->quota)
		release(&fs->quota->bytes, bytes);
}

int ovl_quota_take(struct ovl_fs *fs, uint64_t bytes)
{
	struct ovl_quota *q = fs->quota;

	if (!q)
		return 0;
	if (!reserve(&q->inodes, q->max_inodes, 1))
		return -ENOSPC;
	if (ovl_quota_take_bytes(fs, bytes) == 0)
		return 0;
	release(&q->inodes, 1);
	return -ENOSPC;
}

void ovl_quota_give(struct ovl_fs *fs, uint64_t bytes)
{
	if (!fs->quota)
		return;
	release(&fs->quota->inodes, 1);
	release(&fs->quota->bytes, bytes);
}

uint64_t ovl_quota_copied(struct ovl_fs *fs, struct ovl_node *node, uint64_t reserved,
			  blkcnt_t blocks)
{
	uint64_t bytes = (uint64_t)blocks * 512;

	if (!fs->quota)
		return 0;
	atomic_fetch_add(&fs->quota->bytes, (long long)bytes - (long long)reserved);
	node->charge = bytes + 1;
	return bytes;
}

void ovl_quota_unnamed(struct ovl_fs *fs, struct ovl_node *node)
{
	struct ovl_quota *q = fs->quota;
	struct stat st;

	if (!q || !S_ISREG(node->type) || node->pin == OVL_PIN_NONE)
		return;
	pthread_mutex_lock(stripe(q, node));
	if (ovl_pin_stat(fs, node, &st) == 0)
		settle_locked(q, node, st.st_blocks);
	pthread_mutex_unlock(stripe(q, node));
}

void ovl_quota_freed(struct ovl_fs *fs, struct ovl_node *node)
{
	struct ovl_quota *q = fs->quota;

	if (!q || !ovl_node_has(node, OVL_NODE_ORPHAN) || !ovl_node_has(node, OVL_NODE_UPPER))
		return;
	release(&q->inodes, 1);
	/* one that could not be pinned (no descriptors) is counted until the next mount */
	if (node->charge > 0)
		release(&q->bytes, node->charge - 1);
}

void ovl_quota_statvfs(struct ovl_fs *fs, struct statvfs *st)
{
	struct ovl_quota *q = fs->quota;
	uint64_t unit = st->f_frsize ? st->f_frsize : BLOCK, left;
	long long used;

	if (q && q->max_bytes > 0) {
		used = atomic_load(&q->bytes);
		used = used > 0 ? used : 0;
		left = (uint64_t)used < q->max_bytes ? (q->max_bytes - (uint64_t)used) / unit : 0;
		st->f_blocks = q->max_bytes / unit;
		st->f_bfree = left < st->f_bfree ? left : st->f_bfree;
		st->f_bavail = left < st->f_bavail ? left : st->f_bavail;
	}
	if (q && q->max_inodes > 0) {
		used = atomic_load(&q->inodes);
		used = used > 0 ? used : 0;
		left = (uint64_t)used < q->max_inodes ? q->max_inodes - (uint64_t)used : 0;
		st->f_files = q->max_inodes;
		st->f_ffree = left < st->f_ffree || st->f_ffree == 0 ? left : st->f_ffree;
		st->f_favail = left < st->f_favail || st->f_favail == 0 ? left : st->f_favail;
	}
}
