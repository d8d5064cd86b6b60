/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/strbuf.h"
#include "overlay/namei.h"
#include "overlay/ops.h"
#include "overlay/whiteout.h"

/*
 * A merged directory is read as a whole when a listing starts (offset 0) and served from there:
 * offsets stay what they are, whatever happens in the directory meanwhile. A directory of one index
 * layer alone is served from the index itself.
 *
 * Requests come without handles. The offset names the listing it goes on with, and a listing is
 * kept until its end was told. One that is gone, for there are too many, is read anew.
 */
#define OFF_FIRST    2 /* 1 is behind ".", 2 behind ".." */
#define OFF_BITS     40 /* of a position; above them the number of the listing */
#define OFF_MASK     ((1ULL << OFF_BITS) - 1)
#define NUMBER_MASK  ((1ULL << (62 - OFF_BITS)) - 1)
#define LISTINGS_MAX 64

struct item {
	size_t name; /* offset in names */
	uint64_t number;
	unsigned int hash;
	unsigned char type;
	bool whiteout;
};

struct ovl_dir {
	struct ovl_dir *next; /* older; under listings->lock */
	struct ovl_node *node; /* a reference */
	uint64_t number; /* 0: has none, and is not kept */
	bool loaded;
	bool streams;
	struct strbuf names; /* NUL-terminated, one behind the other */
	struct item *items;
	size_t n_items, cap_items;
	size_t *slots, n_slots; /* hash of names while layers are merged: item + 1 */
};

struct ovl_listings {
	pthread_mutex_t lock;
	struct ovl_dir *newest; /* under lock: those nobody reads from now */
	unsigned int count; /* under lock */
	uint64_t number; /* under lock: of the last one that got one */
};

static int dir_new(struct ovl_fs *fs, struct ovl_node *n, struct ovl_dir **ret)
{
	struct ovl_dir *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	strbuf_init(&d->names);
	d->node = ovl_node_ref(fs, n);
	*ret = d;
	return 0;
}

static void drop_items(struct ovl_dir *d)
{
	strbuf_reset(&d->names);
	free(d->slots);
	d->slots = NULL;
	d->n_slots = 0;
	d->n_items = 0;
	d->loaded = false;
}

static void dir_free(struct ovl_fs *fs, struct ovl_dir *d)
{
	if (!d)
		return;
	drop_items(d);
	free(d->items);
	strbuf_release(&d->names);
	ovl_node_unref(fs, d->node);
	free(d);
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
	struct ovl_dir *d;

	if (!l)
		return;
	while ((d = l->newest)) {
		l->newest = d->next;
		dir_free(fs, d);
	}
	pthread_mutex_destroy(&l->lock);
	free(l);
}

/* Takes the listing out, so that it is this request's alone; NULL when it is not kept any more. */
static struct ovl_dir *listing_take(struct ovl_listings *l, struct ovl_node *n, uint64_t number)
{
	struct ovl_dir **at, *d;

	pthread_mutex_lock(&l->lock);
	for (at = &l->newest; *at && ((*at)->number != number || (*at)->node != n);)
		at = &(*at)->next;
	d = *at;
	if (d) {
		*at = d->next;
		l->count--;
	}
	pthread_mutex_unlock(&l->lock);
	return d;
}

static void listing_keep(struct ovl_fs *fs, struct ovl_listings *l, struct ovl_dir *d)
{
	struct ovl_dir **at, *old = NULL;

	pthread_mutex_lock(&l->lock);
	d->next = l->newest;
	l->newest = d;
	if (++l->count > LISTINGS_MAX) {
		for (at = &l->newest; (*at)->next;)
			at = &(*at)->next;
		old = *at;
		*at = NULL;
		l->count--;
	}
	pthread_mutex_unlock(&l->lock);
	dir_free(fs, old);
}

void ovl_listings_forget(struct ovl_fs *fs, const struct ovl_node *n)
{
	struct ovl_listings *l = fs->listings;
	struct ovl_dir **at, *d, *gone = NULL;

	pthread_mutex_lock(&l->lock);
	for (at = &l->newest; (d = *at);) {
		if (d->node != n) {
			at = &d->next;
			continue;
		}
		*at = d->next;
		d->next = gone;
		gone = d;
		l->count--;
	}
	pthread_mutex_unlock(&l->lock);
	while ((d = gone)) {
		gone = d->next;
		dir_free(fs, d);
	}
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

static unsigned int hash_name(const char *name)
{
	unsigned int h = 2166136261u;

	while (*name)
		h = (h ^ (unsigned char)*name++) * 16777619u;
	return h;
}

static int grow_slots(struct ovl_dir *d)
{
	size_t n = d->n_slots ? d->n_slots * 2 : 64, s;
	size_t *slots = calloc(n, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	for (size_t i = 0; i < d->n_items; i++) {
		for (s = d->items[i].hash & (n - 1); slots[s]; s = (s + 1) & (n - 1))
			;
		slots[s] = i + 1;
	}
	free(d->slots);
	d->slots = slots;
	d->n_slots = n;
	return 0;
}

/* Adds a name that is not there yet: the first one, from the uppermost layer, counts. */
static int add_item(struct ovl_dir *d, const char *name, uint64_t number, unsigned int type,
		    bool is_whiteout)
{
	unsigned int h = hash_name(name);
	struct item *it;
	size_t s, cap;

	if (d->n_items * 2 >= d->n_slots && grow_slots(d) < 0)
		return -ENOMEM;
	for (s = h & (d->n_slots - 1); d->slots[s]; s = (s + 1) & (d->n_slots - 1)) {
		it = &d->items[d->slots[s] - 1];
		if (it->hash == h && strcmp(d->names.s + it->name, name) == 0)
			return 0;
	}
	if (d->n_items == d->cap_items) {
		cap = d->cap_items ? d->cap_items * 2 : 32;
		it = reallocarray(d->items, cap, sizeof(*it));
		if (!it)
			return -ENOMEM;
		d->items = it;
		d->cap_items = cap;
	}
	it = &d->items[d->n_items];
	*it = (struct item){.name = d->names.len,
			    .number = number,
			    .hash = h,
			    .type = (unsigned char)type,
			    .whiteout = is_whiteout};
	if (strbuf_add(&d->names, name, strlen(name) + 1) < 0)
		return -ENOMEM;
	d->slots[s] = ++d->n_items;
	return 0;
}

static int add_upper(struct ovl_fs *fs, struct ovl_dir *d, int fd, bool impure,
		     const struct dirent *de)
{
	unsigned int type = de->d_type;
	bool is_whiteout = false, origin;
	uint64_t number = 0;
	struct stat st;
	int r;

	if (type == DT_CHR || type == DT_UNKNOWN) {
		r = ovl_sys_stat(fd, de->d_name, &st);
		if (r < 0)
			return r == -ENOENT ? 0 : r;
		type = IFTODT(st.st_mode);
		is_whiteout = ovl_stat_is_whiteout(&st);
	}
	r = is_whiteout ? 0
			: ovl_upper_number(fs, impure, fd, de->d_name, de->d_ino, fs->upper_dev,
					   &number, &origin);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	return add_item(d, de->d_name, number, type, is_whiteout);
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

struct lower_ctx {
	struct ovl_fs *fs;
	struct ovl_dir *d;
	struct ovl_layer *layer;
};

static int add_lower(void *ctx, const struct ovl_lower_entry *e)
{
	struct lower_ctx *c = ctx;
	uint64_t number;
	int r = ovl_number(c->fs->numbers, c->layer->batch, e->ino, 0, &number);

	return r < 0 ? r : add_item(c->d, e->name, number, e->type, e->whiteout);
}

/*
 * Fills the listing; whiteouts are taken out again. @under_way: it began as a stream, and what has
 * come into the upper since then is not part of it.
 */
static int load(struct ovl_fs *fs, struct ovl_dir *d, bool under_way)
{
	struct ovl_node *n = d->node;
	struct lower_ctx c = {.fs = fs, .d = d};
	size_t kept = 0;
	int r = 0;

	drop_items(d);
	d->streams = (under_way || !ovl_node_has(n, OVL_NODE_UPPER | OVL_NODE_ORPHAN)) &&
		     n->n_lowers == 1 && n->one->layer->streams;
	if (!d->streams && !ovl_node_has(n, OVL_NODE_ORPHAN)) {
		if (ovl_node_has(n, OVL_NODE_UPPER))
			r = load_upper(fs, d);
		for (unsigned int i = 0; r == 0 && i < n->n_lowers; i++) {
			c.layer = ovl_node_lowers(n)[i]->layer;
			r = ovl_lower_readdir(ovl_node_lowers(n)[i], 0, add_lower, &c);
		}
	}
	if (r < 0) {
		drop_items(d);
		return r;
	}
	for (size_t i = 0; i < d->n_items; i++)
		if (!d->items[i].whiteout)
			d->items[kept++] = d->items[i];
	d->n_items = kept;
	free(d->slots);
	d->slots = NULL;
	d->n_slots = 0;
	d->loaded = true;
	return 0;
}

static uint64_t parent_number(struct ovl_fs *fs, struct ovl_node *n)
{
	uint64_t number;

	pthread_rwlock_rdlock(&fs->tree);
	number = n->at.parent ? n->at.parent->number : n->number;
	pthread_rwlock_unlock(&fs->tree);
	return number;
}

struct stream_ctx {
	struct ovl_fs *fs;
	struct ovl_layer *layer;
	ovl_dir_fn fn;
	void *ctx;
};

static int stream_entry(void *ctx, const struct ovl_lower_entry *e)
{
	struct stream_ctx *c = ctx;
	struct ovl_dirent de = {.name = e->name, .type = e->type, .next = OFF_FIRST + e->next};
	int r;

	if (e->whiteout)
		return 0;
	r = ovl_number(c->fs->numbers, c->layer->batch, e->ino, 0, &de.ino);
	de.ino += c->fs->base;
	return r < 0 ? r : c->fn(c->ctx, &de);
}

static int stream(struct ovl_fs *fs, struct ovl_dir *d, uint64_t pos, ovl_dir_fn fn, void *ctx)
{
	struct ovl_obj *o = d->node->one;
	struct stream_ctx c = {.fs = fs, .layer = o->layer, .fn = fn, .ctx = ctx};

	return ovl_lower_readdir(o, pos, stream_entry, &c);
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

static int read_from(struct ovl_fs *fs, struct ovl_dir *d, uint64_t off, ovl_dir_fn fn, void *ctx)
{
	uint64_t pos = off > OFF_FIRST ? off - OFF_FIRST : 0;
	int r = read_dots(fs, d, off, fn, ctx);

	if (r == 0 && d->streams)
		r = stream(fs, d, pos, fn, ctx);
	for (size_t i = pos; r == 0 && !d->streams && i < d->n_items; i++) {
		struct ovl_dirent de = {.name = d->names.s + d->items[i].name,
					.ino = fs->base + d->items[i].number,
					.type = d->items[i].type,
					.next = OFF_FIRST + i + 1};

		r = fn(ctx, &de);
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

int ovl_dir_read(struct ovl_fs *fs, struct ovl_node *n, uint64_t off, ovl_dir_fn fn, void *ctx)
{
	struct numbered_ctx c = {.fn = fn, .ctx = ctx};
	uint64_t number = off >> OFF_BITS;
	struct ovl_dir *d = number ? listing_take(fs->listings, n, number) : NULL;
	int r = 0;

	if (!d)
		r = dir_new(fs, n, &d);
	if (r == 0 && !d->loaded)
		r = load(fs, d, number == 0 && off > OFF_FIRST);
	if (r == 0) {
		if (!d->streams && !d->number)
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

int ovl_check_empty(struct ovl_fs *fs, struct ovl_node *dir)
{
	struct ovl_dir *d;
	int r = dir_new(fs, dir, &d);

	if (r < 0)
		return r;
	r = load(fs, d, false);
	if (r == 0)
		r = read_from(fs, d, 0, not_empty, NULL);
	dir_free(fs, d);
	return r;
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
