/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "snapshotter/filler.h"
#include "snapshotter/lazy.h"
#include "snapshotter/store_private.h"

/*
 * The inside of the filler's process: filler.c answers, filler_ahead.c brings what readers will ask
 * for next, filler_background.c acts on plans.
 */
#define FILLER_RUN (4u << 20) /* bytes of a blob in one request, when nobody waits for it */

struct open_layer {
	struct open_layer *next;
	struct lazy_layer *layer;
	unsigned int refs; /* under lock: of the list, and of who works with it */
	bool listed; /* under lock */
	/* Reading ahead, under lock: what of the tar is to be had. */
	uint64_t ahead_next, ahead_end;
	unsigned int ahead_order; /* log2 of MiB; grows with each piece in order */
	bool sweep; /* all of it is to come */
	uint64_t asked_ms; /* by a reader, CLOCK_MONOTONIC; 0: never */
};

struct filler {
	struct snap_store *store;
	pthread_mutex_t lock, finish_lock;
	pthread_cond_t wake;
	struct open_layer *layers; /* under lock */
	unsigned int ahead_workers; /* under lock */
	bool look; /* in the background: under lock */
	bool resting; /* the background has nothing to do: under lock */
	_Atomic unsigned int calls, demands; /* connections; questions that readers wait for */
	_Atomic uint64_t asked_ms; /* a reader, or what is brought for it; CLOCK_MONOTONIC */
	_Atomic time_t last; /* question, CLOCK_MONOTONIC */
};

/* @ret: a reference. -ENOENT: it is not lazy. */
int filler_layer(struct filler *f, const char *id, struct open_layer **ret, struct err *err)
	__attribute__((warn_unused_result));
void filler_unref(struct filler *f, struct open_layer *o);
void filler_unref_locked(struct open_layer *o);
/* CLOCK_MONOTONIC */
uint64_t filler_now_ms(void);
/* The background is to look at the store again. */
void filler_wake(struct filler *f);
/* A reader misses [@off, @off + @len) of the tar: what it will miss next. */
void filler_plan_ahead(struct filler *f, struct open_layer *o, uint64_t off, uint64_t len);
/* It is complete or gone: who works with it still may, nobody finds it any more. */
void filler_unlist(struct filler *f, struct open_layer *o);
/* Verifies the whole of it and makes it an ordinary layer, when nothing is missing. */
int filler_finish(struct filler *f, struct open_layer *o, struct err *err)
	__attribute__((warn_unused_result));
/* A thread of it: what is on lists, then what is to come in the background; @ctx: struct filler. */
void *filler_background(void *ctx);
