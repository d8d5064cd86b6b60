/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>

#include "overlay/lazy.h"
#include "snapshotter/filler_private.h"

/* What nobody asked for yet, brought while readers work with what they have. */
#define AHEAD_PIECE   (1u << 20) /* bytes of a blob, of the first request */
#define AHEAD_WORKERS 3
#define AHEAD_FROM    3 /* orders: it begins, and 64 MiB of tar are enough */
#define AHEAD_MAX     6
#define SWEEP_FROM    6 /* sum of the orders of layers that were read lately */
#define SWEEP_MS      2000 /* "lately" */

static bool is_lately_asked(const struct open_layer *o)
{
	return o->asked_ms && filler_now_ms() - o->asked_ms < SWEEP_MS;
}

/* The further ahead, the less it costs to wait for more at once; requests have their price. */
static uint64_t ahead_piece_locked(const struct open_layer *o)
{
	unsigned int more = o->ahead_order > AHEAD_FROM ? o->ahead_order - AHEAD_FROM : 0;
	uint64_t piece = (uint64_t)AHEAD_PIECE << more;

	return o->sweep || piece > FILLER_RUN ? FILLER_RUN : piece;
}

/* Of a layer that comes whole, what was jumped over comes last. */
static bool has_ahead_locked(struct open_layer *o)
{
	if (o->ahead_next >= o->ahead_end && o->sweep &&
	    lazy_layer_missing(o->layer, 1, &(uint64_t){0}, &(uint64_t){0}) > 0) {
		o->ahead_next = 0;
		o->ahead_end = lazy_layer_size(o->layer);
	}
	return o->ahead_next < o->ahead_end;
}

/* Under lock; a reference. Who was asked for last comes first. */
static struct open_layer *next_ahead_locked(struct filler *f)
{
	struct open_layer *ret = NULL;

	for (struct open_layer *o = f->layers; o; o = o->next) {
		if (has_ahead_locked(o) && (!ret || o->asked_ms > ret->asked_ms))
			ret = o;
	}
	if (ret)
		ret->refs++;
	return ret;
}

static void *read_ahead(void *ctx)
{
	struct filler *f = ctx;
	struct open_layer *o;

	(void)pthread_mutex_lock(&f->lock);
	while ((o = next_ahead_locked(f))) {
		uint64_t off = o->ahead_next;
		uint64_t end = lazy_layer_piece(o->layer, off, ahead_piece_locked(o));
		struct err err = ERR_INIT;
		int r;

		o->ahead_next = end;
		(void)pthread_mutex_unlock(&f->lock);
		/* who needs it will hear of it */
		r = lazy_layer_is_there(o->layer)
			    ? lazy_layer_fill(o->layer, off, end - off, ovl_lazy_seconds(), &err)
			    : -ENOENT;
		if (r == 0 && lazy_layer_missing(o->layer, 1, &(uint64_t){0}, &(uint64_t){0}) == 0)
			filler_wake(f);
		f->asked_ms = filler_now_ms();
		(void)pthread_mutex_lock(&f->lock);
		if (r < 0) {
			o->sweep = false;
			o->ahead_end = 0;
		}
		filler_unref_locked(o);
	}
	f->ahead_workers--;
	(void)pthread_mutex_unlock(&f->lock);
	f->calls--;
	return NULL;
}

static bool start_ahead_locked(struct filler *f)
{
	pthread_attr_t detached;
	pthread_t thread;
	bool ok;

	if (pthread_attr_init(&detached) != 0)
		return false;
	(void)pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	ok = pthread_create(&thread, &detached, read_ahead, f) == 0;
	if (ok) {
		f->ahead_workers++;
		f->calls++;
	}
	(void)pthread_attr_destroy(&detached);
	return ok;
}

/* Whether readers go through all of it: what was lately read in order, of all layers together. */
static bool reads_all_locked(const struct filler *f)
{
	unsigned int sum = 0;

	for (const struct open_layer *o = f->layers; o; o = o->next)
		sum += is_lately_asked(o) ? o->ahead_order : 0;
	return sum >= SWEEP_FROM;
}

/*
 * Somebody misses what is at @off. Who reads in the order of the tar, as one does who reads much,
 * gets what follows brought meanwhile, each time twice as far; who jumps gets only what he
 * asks for. When much is read in order, all that is read comes whole.
 */
void filler_plan_ahead(struct filler *f, struct open_layer *o, uint64_t off, uint64_t len)
{
	const uint64_t size = lazy_layer_size(o->layer), start = off + len;
	const enum lazy_miss miss = lazy_layer_look(o->layer, off, len);
	uint64_t end;

	f->asked_ms = filler_now_ms();
	if (miss == LAZY_COMES)
		return;
	(void)pthread_mutex_lock(&f->lock);
	o->asked_ms = f->asked_ms;
	if (miss == LAZY_JUMPS)
		o->ahead_order /= 2;
	else if (o->ahead_order < AHEAD_MAX)
		o->ahead_order++;
	if (reads_all_locked(f)) {
		for (struct open_layer *x = f->layers; x; x = x->next)
			x->sweep = x->sweep || is_lately_asked(x);
	}
	end = start + ((uint64_t)1 << (20 + o->ahead_order));
	if (o->sweep) {
		o->ahead_next = start;
		o->ahead_end = size;
	} else if (o->ahead_order >= AHEAD_FROM) {
		/* elsewhere than before, or further */
		if (start > o->ahead_next || o->ahead_next > end)
			o->ahead_next = start;
		o->ahead_end = end < size ? end : size;
	}
	while (has_ahead_locked(o) && f->ahead_workers < AHEAD_WORKERS && start_ahead_locked(f))
		;
	(void)pthread_mutex_unlock(&f->lock);
}
