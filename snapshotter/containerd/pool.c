/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/containerd/pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "snapshotter/containerd/call.h"
#include "snapshotter/containerd/service.h"

#define WORKERS	    8
#define WAITING_MAX 4096 /* calls */

struct worker {
	struct pool *pool;
	struct service service;
	pthread_t thread;
	bool started;
};

struct pool {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct call *first, **last; /* under lock, as the two below */
	size_t n_waiting;
	bool stop;
	struct worker workers[WORKERS];
};

static struct call *take(struct pool *p)
{
	struct call *c;

	(void)pthread_mutex_lock(&p->lock);
	while (!p->first && !p->stop)
		(void)pthread_cond_wait(&p->more, &p->lock);
	c = p->stop ? NULL : p->first;
	if (c) {
		p->first = c->next_work;
		if (!p->first)
			p->last = &p->first;
		p->n_waiting--;
	}
	(void)pthread_mutex_unlock(&p->lock);
	return c;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct call *c;

	while ((c = take(w->pool))) {
		/* a change that nobody waits for any more is not begun */
		if (!atomic_load(&c->cancelled))
			service_run(&w->service, c);
		call_unref(c);
	}
	return NULL;
}

int pool_new(const char *root, const struct snap_rootfs *rootfs, const struct fetch_options *fetch,
	     struct pool **ret, struct err *err)
{
	struct pool *p = calloc(1, sizeof(*p));
	sigset_t all, old;
	int r = 0;

	if (!p)
		return err_set(err, -ENOMEM, "workers");
	(void)pthread_mutex_init(&p->lock, NULL);
	(void)pthread_cond_init(&p->more, NULL);
	p->last = &p->first;
	(void)sigfillset(&all); /* signals are the first thread's */
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	for (size_t i = 0; i < WORKERS && r == 0; i++) {
		struct worker *w = &p->workers[i];

		w->pool = p;
		w->service.rootfs = rootfs;
		w->service.fetch = fetch;
		r = snap_store_open(root, &w->service.store, err);
		if (r < 0)
			break;
		snap_store_set_owner(w->service.store, SERVICE_OWNER);
		r = -pthread_create(&w->thread, NULL, work, w);
		w->started = r == 0;
		if (r < 0)
			(void)err_set(err, r, "start a thread");
	}
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r < 0)
		pool_free(p);
	else
		*ret = p;
	return r;
}

int pool_submit(struct pool *p, struct call *c)
{
	int r = 0;

	(void)pthread_mutex_lock(&p->lock);
	if (p->n_waiting >= WAITING_MAX) {
		r = -EAGAIN;
	} else {
		c->next_work = NULL;
		*p->last = call_ref(c);
		p->last = &c->next_work;
		p->n_waiting++;
		(void)pthread_cond_signal(&p->more);
	}
	(void)pthread_mutex_unlock(&p->lock);
	return r;
}

void pool_free(struct pool *p)
{
	if (!p)
		return;
	(void)pthread_mutex_lock(&p->lock);
	p->stop = true;
	(void)pthread_cond_broadcast(&p->more);
	(void)pthread_mutex_unlock(&p->lock);
	for (size_t i = 0; i < WORKERS; i++) {
		if (p->workers[i].started)
			(void)pthread_join(p->workers[i].thread, NULL);
		snap_store_close(p->workers[i].service.store);
	}
	for (struct call *c = p->first, *next; c; c = next) {
		next = c->next_work;
		call_unref(c);
	}
	(void)pthread_cond_destroy(&p->more);
	(void)pthread_mutex_destroy(&p->lock);
	free(p);
}
