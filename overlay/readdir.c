/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "overlay/held.h"
#include "overlay/namei.h"
#include "overlay/ops.h"
#include "overlay/whiteout.h"

/*
 * A listing shows one state of a directory, and its offsets stay what they are, whatever happens in
 * the directory meanwhile. What may change, the upper, is read whole when it starts (offset 0), and
 * held. So are directories as layers: a host's positions need an open fd to be good for anything
 * (tmpfs), and the 63 bits of ext4's leave no room for which layer they are of. Held names are
 * compact (held.h). Of index layers nothing need be held: they are read from any position, and
 * each of their names is looked up in what is above it, held or not. The lowest of them and those
 * that are large are read so, the others are held, which is faster when there are many.
 *
 * Requests come without handles. The offset names the listing it goes on with, and a listing is
 * kept until its end was told. One that is gone, for there are too many, is read anew. Where
 * nothing is held nothing is kept.
 */
#define OFF_FIRST    2 /* 1 is behind ".", 2 behind ".." */
#define POS_BITS     34 /* of what is held, or of one stream */
#define POS_MASK     ((1ULL << POS_BITS) - 1)
#define STREAM_BITS  13 /* above them: which stream and 1; 0: what is held */
#define STREAMS_MAX  ((1U << STREAM_BITS) - 1)
#define OFF_BITS     (POS_BITS + STREAM_BITS) /* above them the number of the listing */
#define OFF_MASK     ((1ULL << OFF_BITS) - 1)
#define NUMBER_MASK  ((1ULL << (62 - OFF_BITS)) - 1)
#define LISTINGS_MAX 64
/* Of those that nobody reads from now, beyond the newest eight. */
#define LISTINGS_BYTES ((size_t)256 << 20)
#define LISTINGS_MIN   8
/* Memory that is given back to the machine, which malloc alone does not do. */
#define TRIM_MIN ((size_t)1 << 20)

struct ovl_dir {
	struct ovl_dir *next; /* older; under listings->lock */
	struct ovl_node *node; /* a reference */
	uint64_t number; /* 0: has none, and is not kept */
	bool loaded;
	struct ovl_held held; /* whiteouts are in it for what is below them */
	unsigned int *streams, n_streams; /* which of the node's lowers are not held */
	unsigned int n_lowers; /* of ->node, when ->streams was made of them */
};

struct ovl_listings {
	pthread_mutex_t lock;
	struct ovl_dir *newest; /* under lock: those nobody reads from now */
	unsigned int count; /* under lock */
	size_t bytes; /* under lock: of memory */
	uint64_t number; /* under lock: of the last one that got one */
};

static int dir_new(struct ovl_fs *fs, struct ovl_node *n, struct ovl_dir **ret)
{
	struct ovl_dir *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	ovl_held_init(&d->held);
	d->node = ovl_node_ref(fs, n);
	*ret = d;
	return 0;
}

static void dir_free(struct ovl_fs *fs, struct ovl_dir *d)
{
	bool trims;

	if (!d)
		return;
	trims = d->held.bytes >= TRIM_MIN;
	ovl_held_release(&d->held);
	free(d->streams);
	ovl_node_unref(fs, d->node);
	free(d);
	if (trims)
		(void)malloc_trim(0);
}

static void free_list(struct ovl_fs *fs, struct ovl_dir *d)
{
	while (d) {
		struct ovl_dir *next = d->next;

		dir_free(fs, d);
		d = next;
	}
}

struct ovl_listings *ovl_listings_new(void)
{
	struct ovl_listings *l = calloc(1, sizeof(*l));

	if (l)
		pthread_mutex_init(&l->lock, NULL);
	return l;
}

void ovl_listings_free(struct ovl_fs *fs, struct ovl_listings *l)
{
	if (!l)
		return;
	free_list(fs, l->newest);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

/* Takes *@at out of the list. */
static struct ovl_dir *unlink_locked(struct ovl_listings *l, struct ovl_dir **at)
{
	struct ovl_dir *d = *at;

	*at = d->next;
	l->count--;
	l->bytes -= d->held.bytes;
	return d;
}

/* Takes the listing out, so that it is this request's alone; NULL when it is not kept any more. */
static struct ovl_dir *listing_take(struct ovl_listings *l, struct ovl_node *n, uint64_t number)
{
	struct ovl_dir **at, *d;

	pthread_mutex_lock(&l->lock);
	for (at = &l->newest; *at && ((*at)->number != number || (*at)->node != n);)
		at = &(*at)->next;
	d = *at ? unlink_locked(l, at) : NULL;
	pthread_mutex_unlock(&l->lock);
	return d;
}

static bool too_many_locked(const struct ovl_listings *l)
{
	return l->count > LISTINGS_MAX || (l->bytes > LISTINGS_BYTES && l->count > LISTINGS_MIN);
}

static void listing_keep(struct ovl_fs *fs, struct ovl_listings *l, struct ovl_dir *d)
{
	struct ovl_dir **at, *old, *gone = NULL;

	pthread_mutex_lock(&l->lock);
	d->next = l->newest;
	l->newest = d;
	l->count++;
	l->bytes += d->held.bytes;
	while (too_many_locked(l)) {
		for (at = &l->newest; (*at)->next;)
			at = &(*at)->next;
		old = unlink_locked(l, at);
		old->next = gone;
		gone = old;
	}
	pthread_mutex_unlock(&l->lock);
	free_list(fs, gone);
}

void ovl_listings_forget(struct ovl_fs *fs, const struct ovl_node *n)
{
	struct ovl_listings *l = fs->listings;
	struct ovl_dir **at, *d, *gone = NULL;

	pthread_mutex_lock(&l->lock);
	for (at = &l->newest; *at;) {
		if ((*at)->node != n) {
			at = &(*at)->next;
			continue;
		}
		d = unlink_locked(l, at);
		d->next = gone;
		gone = d;
	}
	pthread_mutex_unlock(&l->lock);
	free_list(fs, gone);
}

static uint64_t listing_number(struct ovl_listings *l)
{
	uint64_t number;

	pthread_mutex_lock(&l->lock);
	l->number = l->number % NUMBER_MASK + 1;
	number = l->number;
	pthread_mutex_unlock(&l->lock);
	return number;
}

static int add_upper(struct ovl_fs *fs, struct ovl_dir *d, int fd, bool impure,
		     const struct dirent *de)
{
	struct ovl_held_name e = {.name = de->d_name, .type = de->d_type};
	struct stat st;
	bool origin;
	int r;

	if (e.type == DT_CHR || e.type == DT_UNKNOWN) {
		r = ovl_sys_stat(fd, de->d_name, &st);
		if (r < 0)
			return r == -ENOENT ? 0 : r;
		e.type = IFTODT(st.st_mode);
		e.whiteout = ovl_stat_is_whiteout(&st);
	}
	r = e.whiteout ? 0
		       : ovl_upper_number(fs, impure, fd, de->d_name, de->d_ino, fs->upper_dev,
					  &e.number, &origin);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	return ovl_held_add(&d->held, &e);
}

static int load_upper(struct ovl_fs *fs, struct ovl_dir *d)
{
	cleanup_dirfd struct ovl_dirfd *at = NULL;
	cleanup_closedir DIR *dir = NULL;
	bool impure = ovl_is_impure(fs, d->node);
	struct dirent *de;
	int fd, r = ovl_node_dirfd(fs, d->node, &at);

	if (r < 0)
		return r == -ENOENT ? 0 : r; /* removed: nothing is in it */
	fd = ovl_sys_open(at->fd, ".", O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	dir = fdopendir(fd);
	if (!dir) {
		(void)close(fd);
		return -ENOMEM;
	}
	while (r == 0) {
		errno = 0;
		de = readdir(dir);
		if (!de)
			return -errno;
		if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0)
			r = add_upper(fs, d, fd, impure, de);
	}
	return r;
}

/* One of the lowers being read: what is above it decides which of its names are seen. */
struct lower_ctx {
	struct ovl_fs *fs;
	struct ovl_dir *dir;
	unsigned int lower, stream;
	ovl_dir_fn fn; /* NULL: they are to be held */
	void *ctx;
};

/*
 * Held is a name of a layer above @c->lower, for one of a layer below a stream is only held when
 * that has it not.
 */
static int is_hidden(const struct lower_ctx *c, const char *name)
{
	const struct ovl_dir *d = c->dir;

	if (ovl_held_has(&d->held, name))
		return 1;
	for (unsigned int k = 0; k < d->n_streams && d->streams[k] < c->lower; k++) {
		struct ovl_found f cleanup_found = OVL_FOUND_INIT;
		int r = ovl_lower_lookup(ovl_node_lowers(d->node)[d->streams[k]], name, &f);

		if (r != -ENOENT)
			return r == 0 ? 1 : r;
	}
	return 0;
}

static int lower_number(const struct lower_ctx *c, const struct ovl_lower_entry *e, uint64_t *ret)
{
	const struct ovl_layer *l = ovl_node_lowers(c->dir->node)[c->lower]->layer;

	return ovl_below_number(c->fs, l, e->ino, l->dev, e->origin, ret);
}

static int hold_entry(void *ctx, const struct ovl_lower_entry *e)
{
	const struct lower_ctx *c = ctx;
	struct ovl_held_name held = {.name = e->name, .type = e->type, .whiteout = e->whiteout};
	int r = is_hidden(c, e->name);

	if (r != 0)
		return r < 0 ? r : 0;
	r = lower_number(c, e, &held.number);
	return r < 0 ? r : ovl_held_add(&c->dir->held, &held);
}

static int stream_entry(void *ctx, const struct ovl_lower_entry *e)
{
	const struct lower_ctx *c = ctx;
	struct ovl_dirent de = {.name = e->name,
				.type = e->type,
				.next = (uint64_t)(c->stream + 1) << POS_BITS | e->next};
	int r = e->whiteout ? 1 : e->next > POS_MASK ? -EOVERFLOW : is_hidden(c, e->name);

	if (r != 0)
		return r < 0 ? r : 0;
	r = lower_number(c, e, &de.ino);
	de.ino += c->fs->base;
	return r < 0 ? r : c->fn(c->ctx, &de);
}

/* Which lowers are streams: always the same ones of a node. */
static int plan(struct ovl_fs *fs, struct ovl_dir *d)
{
	struct ovl_node *n = d->node;
	uint64_t room = fs->hold_max;
	struct stat st;
	int r;

	free(d->streams);
	d->n_streams = 0;
	d->n_lowers = n->n_lowers;
	d->streams = calloc(n->n_lowers ? n->n_lowers : 1, sizeof(*d->streams));
	if (!d->streams)
		return -ENOMEM;
	for (unsigned int i = 0; i < n->n_lowers && d->n_streams < STREAMS_MAX; i++) {
		struct ovl_obj *o = ovl_node_lowers(n)[i];

		if (!o->layer->streams)
			continue;
		r = ovl_lower_stat(o, &st);
		if (r < 0)
			return r;
		if (i + 1 == n->n_lowers || (uint64_t)st.st_size > room)
			d->streams[d->n_streams++] = i;
		else
			room -= (uint64_t)st.st_size;
	}
	return 0;
}

/* The lowers that were there before any push (overlay/push.h). */
static unsigned int n_unfrozen(struct ovl_node *n)
{
	unsigned int frozen = 0;

	while (frozen < n->n_lowers && ovl_node_lowers(n)[frozen]->layer->frozen)
		frozen++;
	return n->n_lowers - frozen;
}

static int hold_lowers(struct ovl_fs *fs, struct ovl_dir *d)
{
	struct lower_ctx c = {.fs = fs, .dir = d};
	unsigned int k = 0;
	int r = 0;

	for (unsigned int i = 0; r == 0 && i < d->node->n_lowers; i++) {
		if (d->held.count > 0)
			r = ovl_held_index(&d->held);
		c.lower = i;
		if (k < d->n_streams && d->streams[k] == i)
			k++;
		else if (r == 0)
			r = ovl_lower_readdir(ovl_node_lowers(d->node)[i], 0, hold_entry, &c);
	}
	if (d->n_streams == 0)
		ovl_held_unindex(&d->held);
	return r;
}

/*
 * Makes the listing ready. @under_way: it began when nothing was held, and what has come into the
 * upper since then, be that a layer by now, is not part of it.
 */
static int load(struct ovl_fs *fs, struct ovl_dir *d, bool under_way)
{
	int r;

	if (ovl_node_has(d->node, OVL_NODE_ORPHAN)) {
		d->loaded = true;
		return 0;
	}
	r = plan(fs, d);
	if (r == 0 && !(under_way && d->n_streams == n_unfrozen(d->node))) {
		if (ovl_node_has(d->node, OVL_NODE_UPPER))
			r = load_upper(fs, d);
		if (r == 0)
			r = hold_lowers(fs, d);
	}
	d->loaded = r == 0;
	return r;
}

static uint64_t parent_number(struct ovl_fs *fs, struct ovl_node *n)
{
	uint64_t number;

	pthread_rwlock_rdlock(&fs->tree);
	number = n->at.parent ? n->at.parent->number : n->number;
	pthread_rwlock_unlock(&fs->tree);
	return number;
}

static int read_dots(struct ovl_fs *fs, struct ovl_dir *d, uint64_t off, ovl_dir_fn fn, void *ctx)
{
	struct ovl_dirent de = {
		.name = ".", .ino = fs->base + d->node->number, .type = DT_DIR, .next = 1};
	int r = off < 1 ? fn(ctx, &de) : 0;

	if (r == 0 && off < OFF_FIRST) {
		de.name = "..";
		de.next = OFF_FIRST;
		de.ino = fs->base + parent_number(fs, d->node);
		r = fn(ctx, &de);
	}
	return r;
}

static int read_held(struct ovl_fs *fs, struct ovl_dir *d, uint64_t pos, ovl_dir_fn fn, void *ctx)
{
	struct ovl_held_name e;
	int r = 0;

	while (r == 0 && ovl_held_next(&d->held, &pos, &e)) {
		struct ovl_dirent de = {.name = e.name,
					.ino = fs->base + e.number,
					.type = e.type,
					.next = OFF_FIRST + pos};

		if (!e.whiteout)
			r = fn(ctx, &de);
	}
	return r;
}

static int read_from(struct ovl_fs *fs, struct ovl_dir *d, uint64_t off, ovl_dir_fn fn, void *ctx)
{
	struct lower_ctx c = {.fs = fs, .dir = d, .fn = fn, .ctx = ctx};
	uint64_t stream = off >> POS_BITS, pos = off & POS_MASK;
	int r = 0;

	if (stream == 0) {
		r = read_dots(fs, d, pos, fn, ctx);
		if (r == 0)
			r = read_held(fs, d, pos > OFF_FIRST ? pos - OFF_FIRST : 0, fn, ctx);
		stream = 1;
		pos = 0;
	}
	for (uint64_t k = stream - 1; r == 0 && k < d->n_streams; k++, pos = 0) {
		c.stream = (unsigned int)k;
		c.lower = d->streams[k];
		r = ovl_lower_readdir(ovl_node_lowers(d->node)[c.lower], pos, stream_entry, &c);
	}
	return r;
}

struct numbered_ctx {
	struct ovl_dir *dir;
	ovl_dir_fn fn;
	void *ctx;
	bool told;
};

/* Puts the listing's number into the offset. */
static int numbered(void *ctx, const struct ovl_dirent *e)
{
	struct numbered_ctx *c = ctx;
	struct ovl_dirent de = *e;

	c->told = true;
	de.next |= c->dir->number << OFF_BITS;
	return c->fn(c->ctx, &de);
}

/* Each push puts a lower on top of those that there were, or none (overlay/push.h). */
static void follow_push(struct ovl_dir *d)
{
	for (unsigned int k = 0; k < d->n_streams; k++)
		d->streams[k] += d->node->n_lowers - d->n_lowers;
	d->n_lowers = d->node->n_lowers;
}

/* Whether an offset says too little to go on from it. */
static bool is_stateful(const struct ovl_dir *d)
{
	return d->held.count > 0 ||
	       (!ovl_node_has(d->node, OVL_NODE_ORPHAN) && d->n_streams < d->node->n_lowers);
}

int ovl_dir_read(struct ovl_fs *fs, struct ovl_node *n, uint64_t off, ovl_dir_fn fn, void *ctx)
{
	struct numbered_ctx c = {.fn = fn, .ctx = ctx};
	uint64_t number = off >> OFF_BITS;
	struct ovl_dir *d = number ? listing_take(fs->listings, n, number) : NULL;
	int r = 0;

	if (d)
		follow_push(d);
	else
		r = dir_new(fs, n, &d);
	if (r == 0 && !d->loaded)
		r = load(fs, d, number == 0 && off >> POS_BITS);
	if (r == 0) {
		if (!d->number && is_stateful(d))
			d->number = number ? number : listing_number(fs->listings);
		c.dir = d;
		r = read_from(fs, d, off & OFF_MASK, numbered, &c);
	}
	if (r >= 0 && c.told && d->number)
		listing_keep(fs, fs->listings, d);
	else
		dir_free(fs, d);
	return r > 0 ? 0 : r;
}

static int not_empty(void *ctx, const struct ovl_dirent *e)
{
	(void)ctx;
	return e->next <= OFF_FIRST ? 0 : -ENOTEMPTY;
}

int ovl_dir_each(struct ovl_fs *fs, struct ovl_node *n, ovl_dir_fn fn, void *ctx)
{
	struct ovl_dir *d;
	int r = dir_new(fs, n, &d);

	if (r < 0)
		return r;
	r = load(fs, d, false);
	if (r == 0)
		r = read_from(fs, d, 0, fn, ctx);
	dir_free(fs, d);
	return r;
}

int ovl_check_empty(struct ovl_fs *fs, struct ovl_node *dir)
{
	return ovl_dir_each(fs, dir, not_empty, NULL);
}

int ovl_dir_sync(struct ovl_fs *fs, struct ovl_node *n)
{
	cleanup_dirfd struct ovl_dirfd *d = NULL;
	cleanup_close int fd = -1;
	int r;

	if (fs->volatile_ || !ovl_node_has(n, OVL_NODE_UPPER))
		return 0;
	r = ovl_node_dirfd(fs, n, &d);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	fd = ovl_sys_open(d->fd, ".", O_RDONLY | O_DIRECTORY, 0);
	return fd < 0 ? fd : ovl_sys_fsync(fd, false);
}
