/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <libdeflate.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "oci/compress_private.h"

/* Part of the result: another size gives other bytes. */
#define MEMBER_SIZE (1u << 20)

enum job_state { JOB_IDLE, JOB_READY, JOB_BUSY, JOB_DONE };

struct job {
	enum job_state state; /* under gzip->lock */
	unsigned char *in, *out;
	size_t in_len, out_len; /* out_len 0: the compressor failed */
};

/*
 * The jobs are a ring: the caller fills the one at head, workers compress those
 * that are ready, and the caller gives what is done to the sink from the tail
 * on. The tail is waited for only when the ring is full.
 */
struct gzip {
	struct oci_compress base;
	int level;
	pthread_mutex_t lock;
	pthread_cond_t ready, done;
	bool stop; /* under lock */
	struct job *jobs;
	size_t n_jobs, out_max;
	size_t head, tail; /* counters, of the caller alone */
	size_t next; /* counter of the next job for a worker, under lock */
	pthread_t *workers;
	unsigned int n_workers;
};

static void *work(void *arg)
{
	struct gzip *g = arg;
	struct libdeflate_compressor *d = libdeflate_alloc_compressor(g->level);
	struct job *j;

	pthread_mutex_lock(&g->lock);
	for (;;) {
		j = &g->jobs[g->next % g->n_jobs];
		if (g->stop)
			break;
		if (j->state != JOB_READY) {
			pthread_cond_wait(&g->ready, &g->lock);
			continue;
		}
		j->state = JOB_BUSY;
		g->next++;
		pthread_mutex_unlock(&g->lock);
		/* The header it writes has no time and no name in it. */
		j->out_len =
			d ? libdeflate_gzip_compress(d, j->in, j->in_len, j->out, g->out_max) : 0;
		pthread_mutex_lock(&g->lock);
		j->state = JOB_DONE;
		pthread_cond_signal(&g->done);
	}
	pthread_mutex_unlock(&g->lock);
	libdeflate_free_compressor(d);
	return NULL;
}

/* Gives the oldest job to the sink. */
static int drain_one(struct gzip *g, struct err *err)
{
	struct job *j = &g->jobs[g->tail % g->n_jobs];
	int r;

	pthread_mutex_lock(&g->lock);
	while (j->state != JOB_DONE)
		pthread_cond_wait(&g->done, &g->lock);
	pthread_mutex_unlock(&g->lock);
	if (j->out_len == 0)
		return err_set(err, -ENOMEM, "compress");
	r = g->base.sink(g->base.ctx, j->out, j->out_len, err);
	if (r)
		return r;
	pthread_mutex_lock(&g->lock);
	j->state = JOB_IDLE;
	pthread_mutex_unlock(&g->lock);
	j->in_len = 0;
	g->tail++;
	return 0;
}

static int submit(struct gzip *g, struct err *err)
{
	pthread_mutex_lock(&g->lock);
	g->jobs[g->head % g->n_jobs].state = JOB_READY;
	pthread_cond_signal(&g->ready);
	pthread_mutex_unlock(&g->lock);
	g->head++;
	return g->head - g->tail == g->n_jobs ? drain_one(g, err) : 0;
}

static int gzip_write(struct oci_compress *c, const void *data, size_t len, struct err *err)
{
	struct gzip *g = (struct gzip *)c;
	const unsigned char *p = data;
	int r;

	while (len > 0) {
		struct job *j = &g->jobs[g->head % g->n_jobs];
		size_t n = MEMBER_SIZE - j->in_len;

		if (n > len)
			n = len;
		memcpy(j->in + j->in_len, p, n);
		j->in_len += n;
		p += n;
		len -= n;
		if (j->in_len == MEMBER_SIZE) {
			r = submit(g, err);
			if (r)
				return r;
		}
	}
	return 0;
}

static int gzip_finish(struct oci_compress *c, struct err *err)
{
	struct gzip *g = (struct gzip *)c;
	int r;

	/* Nothing at all is one empty member: a file of 0 bytes is no gzip. */
	if (g->jobs[g->head % g->n_jobs].in_len > 0 || g->head == 0) {
		r = submit(g, err);
		if (r)
			return r;
	}
	while (g->tail < g->head) {
		r = drain_one(g, err);
		if (r)
			return r;
	}
	return 0;
}

static void gzip_free(struct oci_compress *c)
{
	struct gzip *g = (struct gzip *)c;

	pthread_mutex_lock(&g->lock);
	g->stop = true;
	pthread_cond_broadcast(&g->ready);
	pthread_mutex_unlock(&g->lock);
	for (unsigned int i = 0; i < g->n_workers; i++)
		pthread_join(g->workers[i], NULL);
	for (size_t i = 0; g->jobs && i < g->n_jobs; i++) {
		free(g->jobs[i].in);
		free(g->jobs[i].out);
	}
	pthread_cond_destroy(&g->ready);
	pthread_cond_destroy(&g->done);
	pthread_mutex_destroy(&g->lock);
	free(g->workers);
	free(g->jobs);
	free(g);
}

static const struct oci_compress_ops gzip_ops = {gzip_write, gzip_finish, gzip_free};

static int alloc_jobs(struct gzip *g, unsigned int threads)
{
	struct libdeflate_compressor *d = libdeflate_alloc_compressor(g->level);

	if (!d)
		return -ENOMEM;
	g->out_max = libdeflate_gzip_compress_bound(d, MEMBER_SIZE);
	libdeflate_free_compressor(d);
	/* One at each worker, one waiting for each, one being filled. */
	g->n_jobs = 2 * (size_t)threads + 1;
	g->jobs = calloc(g->n_jobs, sizeof(*g->jobs));
	g->workers = calloc(threads, sizeof(*g->workers));
	if (!g->jobs || !g->workers)
		return -ENOMEM;
	for (size_t i = 0; i < g->n_jobs; i++) {
		g->jobs[i].in = malloc(MEMBER_SIZE);
		g->jobs[i].out = malloc(g->out_max);
		if (!g->jobs[i].in || !g->jobs[i].out)
			return -ENOMEM;
	}
	return 0;
}

int oci_compress_gzip_new(int level, unsigned int threads, struct oci_compress **ret,
			  struct err *err)
{
	struct gzip *g = calloc(1, sizeof(*g));
	int r;

	if (!g)
		return err_set(err, -ENOMEM, "start gzip");
	g->base.ops = &gzip_ops;
	g->level = level;
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->ready, NULL);
	pthread_cond_init(&g->done, NULL);
	r = alloc_jobs(g, threads);
	while (!r && g->n_workers < threads) {
		r = -pthread_create(&g->workers[g->n_workers], NULL, work, g);
		if (!r)
			g->n_workers++;
	}
	/* Fewer workers than wished for is slower, not wrong. */
	if (r && g->n_workers == 0) {
		gzip_free(&g->base);
		return err_set(err, r, "start gzip");
	}
	*ret = &g->base;
	return 0;
}
