/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "overlay/lazy.h"
#include "snapshotter/filler_private.h"
#include "snapshotter/lazy_plan.h"

/*
 * What the filler does without being asked: first what plans have lists of, all layers' in one
 * order; then the rest of the layers that are to come whole, one after the other. Who waits for a
 * read comes before that. What cannot be had is tried again later, as long as the layer is there.
 */
#define LIST_WORKERS  3
#define PAUSE_MS      20 /* between two looks whether somebody waits */
#define REST_MS	      2000 /* without a question: readers have what they want */
#define REST_MAX_MS   30000
#define AGAIN_SECONDS 2 /* after a failure; twice as long each time */
#define AGAIN_MAX     60

static void nap(unsigned int ms)
{
	const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	(void)nanosleep(&t, NULL);
}

/* Something new is to be looked at: a list of it comes first. */
static bool is_called(struct filler *f)
{
	bool called;

	(void)pthread_mutex_lock(&f->lock);
	called = f->look;
	(void)pthread_mutex_unlock(&f->lock);
	return called;
}

/* What of the store is lazy, with its plan. */
struct task {
	char id[65];
	struct lazy_plan plan;
	struct open_layer *layer; /* a reference; NULL: not needed, or it cannot be opened */
};
struct want {
	struct open_layer *layer; /* borrowed of the task */
	uint64_t order, off, len;
};
struct tasks {
	struct filler *f;
	struct task *list;
	size_t n;
	struct want *wants;
	size_t n_wants;
	_Atomic size_t next;
	_Atomic bool failed;
};

static void tasks_release(struct tasks *t)
{
	for (size_t i = 0; i < t->n; i++) {
		lazy_plan_release(&t->list[i].plan);
		if (t->list[i].layer)
			filler_unref(t->f, t->list[i].layer);
	}
	free(t->list);
	free(t->wants);
}

/* A filler that was killed while it made a layer an ordinary one. */
static void clean_layer(struct filler *f, const char *id)
{
	static const char *const rest[] = {"source", "plan"};
	char path[STORE_PATH_MAX];
	bool dirty = false;
	int dir cleanup_close = -1;

	for (size_t i = 0; i < 2; i++) {
		store_layer_path(id, rest[i], path);
		if (faccessat(f->store->root_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
			dirty = true;
	}
	store_layer_path(id, NULL, path);
	if (dirty)
		dir = openat(f->store->root_fd, path,
			     O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir >= 0)
		lazy_drop_rest(dir);
}

static int add_task(struct tasks *t, const char *id)
{
	struct task *grown = reallocarray(t->list, t->n + 1, sizeof(*grown));
	struct err err = ERR_INIT;
	struct task *x;

	if (!grown)
		return -ENOMEM;
	t->list = grown;
	x = &t->list[t->n++];
	*x = (struct task){.plan = LAZY_PLAN_INIT};
	memcpy(x->id, id, 65);
	if (lazy_plan_read(t->f->store, id, &x->plan, &err) < 0)
		log_error("%s: %s", err.where, err.msg);
	return 0;
}

static int find_tasks(struct tasks *t)
{
	int root = t->f->store->root_fd, r = 0;
	int fd = openat(root, "layers/sha256", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir cleanup_closedir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;

	while (dir && r == 0 && (d = readdir(dir))) {
		char path[STORE_PATH_MAX];

		if (strlen(d->d_name) != 64)
			continue;
		store_layer_path(d->d_name, "present", path);
		if (faccessat(root, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
			r = add_task(t, d->d_name);
		else
			clean_layer(t->f, d->d_name);
	}
	return r;
}

static int in_order(const void *a, const void *b)
{
	uint64_t x = ((const struct want *)a)->order, y = ((const struct want *)b)->order;

	return x < y ? -1 : x > y;
}

static int find_wants(struct tasks *t)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n; i++)
		n += t->list[i].plan.n;
	t->wants = calloc(n + 1, sizeof(*t->wants));
	if (!t->wants)
		return -ENOMEM;
	for (size_t i = 0; i < t->n; i++) {
		struct task *x = &t->list[i];
		struct err err = ERR_INIT;

		if (x->plan.n == 0 || filler_layer(t->f, x->id, &x->layer, &err) < 0)
			continue;
		for (size_t k = 0; k < x->plan.n; k++)
			t->wants[t->n_wants++] = (struct want){.layer = x->layer,
							       .order = x->plan.ranges[k].order,
							       .off = x->plan.ranges[k].off,
							       .len = x->plan.ranges[k].len};
	}
	qsort(t->wants, t->n_wants, sizeof(*t->wants), in_order);
	return 0;
}

static void *fetch_wants(void *ctx)
{
	struct tasks *t = ctx;
	size_t i;

	while (!t->failed && (i = t->next++) < t->n_wants) {
		const struct want *w = &t->wants[i];
		struct err err = ERR_INIT;

		if (!lazy_layer_is_there(w->layer->layer))
			continue;
		/* one that is not to be had now is for who reads it: the log has it */
		if (lazy_layer_fill(w->layer->layer, w->off, w->len, ovl_lazy_seconds(), &err) < 0)
			t->failed = true;
	}
	return NULL;
}

/* Returns whether all that is on lists is there. */
static bool fetch_lists(struct tasks *t)
{
	pthread_t threads[LIST_WORKERS];
	unsigned int n = 0;

	if (t->n_wants == 0)
		return true;
	while (n < LIST_WORKERS && n < t->n_wants &&
	       pthread_create(&threads[n], NULL, fetch_wants, t) == 0)
		n++;
	if (n == 0)
		(void)fetch_wants(t);
	for (unsigned int i = 0; i < n; i++)
		(void)pthread_join(threads[i], NULL);
	return !t->failed;
}

/*
 * Waits until @bytes more are due at @rate, and nobody waits for a read. @due: when the line is
 * free again, ms. False: there is something else to be done first.
 */
static bool take_turn(struct filler *f, struct open_layer *o, uint64_t rate, uint64_t bytes,
		      uint64_t *due)
{
	while (f->demands > 0 || (rate && filler_now_ms() < *due)) {
		if (is_called(f) || !lazy_layer_is_there(o->layer))
			return false;
		nap(PAUSE_MS);
	}
	if (rate)
		*due = (*due > filler_now_ms() ? *due : filler_now_ms()) + bytes * 1000 / rate;
	return !is_called(f);
}

/*
 * Making an ordinary layer of one that is all here costs as much again, and hurries nobody: it is
 * put off while readers still ask. False: there is something else to be done first.
 */
static bool let_rest(struct filler *f)
{
	const uint64_t until = filler_now_ms() + REST_MAX_MS;

	while (filler_now_ms() < until &&
	       (f->demands > 0 || filler_now_ms() < f->asked_ms + REST_MS)) {
		if (is_called(f))
			return false;
		nap(PAUSE_MS);
	}
	return true;
}

/* The rest of one layer when it is to come; an ordinary one when nothing is missing. */
static int work_on(struct filler *f, struct task *x)
{
	const uint64_t rate = x->plan.rate;
	/* a request is not to take much longer than a second */
	const uint64_t run = rate && rate < FILLER_RUN ? rate : FILLER_RUN;
	struct err err = ERR_INIT;
	uint64_t off, len, bytes, due = 0;
	int r = x->layer ? 0 : filler_layer(f, x->id, &x->layer, &err);

	while (r == 0 && x->plan.background &&
	       (bytes = lazy_layer_missing(x->layer->layer, run, &off, &len)) > 0) {
		if (!lazy_layer_is_there(x->layer->layer)) {
			log_info("layer %s was removed", x->id);
			filler_unlist(f, x->layer);
			return 0;
		}
		if (!take_turn(f, x->layer, rate, bytes, &due)) {
			if (is_called(f))
				return 0;
			continue;
		}
		r = lazy_layer_fill(x->layer->layer, off, len, ovl_lazy_seconds(), &err);
	}
	if (r == 0 && lazy_layer_missing(x->layer->layer, 1, &off, &len) == 0 && !let_rest(f))
		return 0;
	if (r == 0)
		r = filler_finish(f, x->layer, &err);
	if (r == -ENOENT) /* not lazy any more */
		return 0;
	if (r < 0)
		log_error("layer %s: %s", x->id, err.msg);
	return r;
}

/* False: something that was to be done could not be. */
static bool look_at_store(struct filler *f)
{
	struct tasks t CLEANUP(tasks_release) = {.f = f};
	bool fine = find_tasks(&t) == 0 && find_wants(&t) == 0 && fetch_lists(&t);

	for (size_t i = 0; i < t.n && !is_called(f); i++) {
		int r = work_on(f, &t.list[i]);

		/* one that lied does not get better */
		fine = fine && (r == 0 || r == -EUCLEAN);
	}
	return fine;
}

void *filler_background(void *ctx)
{
	struct filler *f = ctx;
	unsigned int again = 0; /* seconds; 0: nothing is left to be done */

	for (;;) {
		struct timespec until;
		int late = 0;

		(void)clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += again;
		(void)pthread_mutex_lock(&f->lock);
		f->resting = !f->look && !again;
		while (!f->look && !late)
			late = again ? pthread_cond_timedwait(&f->wake, &f->lock, &until)
				     : pthread_cond_wait(&f->wake, &f->lock);
		if (f->look)
			again = 0;
		f->look = f->resting = false;
		(void)pthread_mutex_unlock(&f->lock);
		if (look_at_store(f))
			again = 0;
		else
			again = !again			 ? AGAIN_SECONDS
				: again >= AGAIN_MAX / 2 ? AGAIN_MAX
							 : again * 2;
	}
	return NULL;
}
