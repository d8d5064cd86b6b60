/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/pull.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "oci/source.h"
#include "snapshotter/filler.h"
#include "snapshotter/image.h"
#include "snapshotter/import.h"
#include "snapshotter/lazy_import.h"

#define LAZY_JOBS 6
#define JOBS_MAX  16 /* each layer is a pipeline of threads already */

struct layer_progress {
	_Atomic uint64_t done;
	_Atomic int state;
	struct timespec began; /* written before ->state says that it comes */
};

struct puller {
	struct import *im;
	struct oci_source *source;
	const struct oci_image *image;
	const struct snap_pull_options *opt;
	const struct lazy_offer *offer; /* NULL: all comes whole */
	struct import_layer *layers;
	const size_t *
		order; /* of the layers: the largest first, so that none is left alone at the end */
	pthread_mutex_t lock; /* over source, result, err and running */
	pthread_cond_t wake;
	_Atomic size_t next;
	struct layer_progress *progress; /* of each layer */
	_Atomic bool cancel;
	unsigned int running;
	int result;
	struct err err;
};

static int open_blob(void *ctx, const struct oci_descriptor *desc, struct oci_blob *ret,
		     struct err *err)
{
	struct puller *p = ctx;
	int r;

	(void)pthread_mutex_lock(&p->lock);
	r = oci_source_blob(p->source, desc, ret, err);
	(void)pthread_mutex_unlock(&p->lock);
	return r;
}

/* A layer that occurs twice in an image is brought in once: the second finds it there. */
static void *pull_layers(void *ctx)
{
	struct puller *p = ctx;
	size_t n;

	while (!p->cancel && (n = p->next++) < p->image->n_layers) {
		size_t i = p->order[n];
		struct layer_progress *progress = &p->progress[i];
		struct err err = ERR_INIT;
		struct import_job job = {
			.layer = &p->image->layers[i],
			.limits = p->opt->limits,
			.progress = &progress->done,
			.cancel = &p->cancel,
			.open = open_blob,
			.ctx = p,
			.lazy = p->offer,
		};
		int r;

		(void)clock_gettime(CLOCK_MONOTONIC, &progress->began);
		progress->state = SNAP_PULL_COMING;
		r = import_layer(p->im, &job, &p->layers[i], &err);
		if (r == 0) {
			progress->state = SNAP_PULL_DONE;
			continue;
		}
		(void)pthread_mutex_lock(&p->lock);
		if (p->result == 0) { /* later ones only say that they were cancelled */
			p->result = r;
			p->err = err;
		}
		(void)pthread_mutex_unlock(&p->lock);
		p->cancel = true;
	}
	(void)pthread_mutex_lock(&p->lock);
	p->running--;
	(void)pthread_cond_signal(&p->wake);
	(void)pthread_mutex_unlock(&p->lock);
	return NULL;
}

static unsigned int job_count(const struct puller *p)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	size_t n = p->opt->jobs ? p->opt->jobs : (size_t)(cpus < 1 ? 1 : cpus);

	/* a lazy index is small: what is waited for is the line */
	if (p->offer && !p->opt->jobs && n < LAZY_JOBS)
		n = LAZY_JOBS;
	if (n > JOBS_MAX)
		n = JOBS_MAX;
	if (n > p->image->n_layers)
		n = p->image->n_layers;
	return (unsigned int)n;
}

static void tell_progress(struct puller *p, struct snap_pull_layer *layers)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	for (size_t i = 0; i < p->image->n_layers; i++) {
		const struct layer_progress *l = &p->progress[i];

		layers[i].blob = &p->image->layers[i].desc.digest;
		layers[i].size = p->image->layers[i].desc.size;
		layers[i].done = l->done;
		layers[i].state = (typeof(layers[i].state))l->state;
		layers[i].seconds = 0;
		if (layers[i].state != SNAP_PULL_WAITING)
			layers[i].seconds = (double)(now.tv_sec - l->began.tv_sec) +
					    (double)(now.tv_nsec - l->began.tv_nsec) / 1e9;
	}
	p->opt->progress(p->opt->ctx, layers, p->image->n_layers);
}

static bool is_stopped(const struct snap_pull_options *opt)
{
	return opt->cancel && *opt->cancel;
}

static void wait_for_workers(struct puller *p, struct snap_pull_layer *layers)
{
	(void)pthread_mutex_lock(&p->lock);
	while (p->running > 0) {
		struct timespec until;

		(void)clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 200000000;
		if (until.tv_nsec >= 1000000000) {
			until.tv_nsec -= 1000000000;
			until.tv_sec++;
		}
		(void)pthread_cond_timedwait(&p->wake, &p->lock, &until);
		if (is_stopped(p->opt))
			p->cancel = true;
		if (p->opt->progress)
			tell_progress(p, layers);
	}
	(void)pthread_mutex_unlock(&p->lock);
}

static int run_workers(struct puller *p, struct err *err)
{
	pthread_t threads[JOBS_MAX];
	unsigned int n = job_count(p), started = 0;
	struct snap_pull_layer *layers cleanup_free =
		calloc(p->image->n_layers + 1, sizeof(*layers));
	int r = 0;

	if (!layers)
		return err_set(err, -ENOMEM, "layers");
	p->running = n;
	while (started < n && r == 0) {
		r = pthread_create(&threads[started], NULL, pull_layers, p);
		if (r == 0)
			started++;
	}
	if (r != 0) {
		(void)pthread_mutex_lock(&p->lock);
		p->running -= n - started;
		(void)pthread_mutex_unlock(&p->lock);
	}
	if (started > 0)
		wait_for_workers(p, layers);
	for (unsigned int i = 0; i < started; i++)
		(void)pthread_join(threads[i], NULL);
	if (started == 0 && n > 0)
		return err_set(err, -r, "start a thread");
	if (is_stopped(p->opt))
		return err_msg(err, -ECANCELED, "interrupted");
	if (p->result < 0 && err)
		*err = p->err;
	return p->result;
}

static int by_temporary(const void *a, const void *b)
{
	const struct import_layer *x = a, *y = b;

	return x->temporary < y->temporary ? 1 : -(x->temporary > y->temporary);
}

/*
 * No more than @jobs layers are under way at a time, so what goes again of all of them together is
 * at most what the largest of them had. 'snap df' tells the most that any pull needed.
 */
static int note_temporary(struct snap_store *store, const struct import_layer *layers, size_t n,
			  unsigned int jobs, uint64_t *ret, struct err *err)
{
	struct import_layer *sorted cleanup_free = calloc(n + 1, sizeof(*sorted));
	uint64_t sum = 0;

	if (!sorted)
		return err_set(err, -ENOMEM, "layers");
	memcpy(sorted, layers, n * sizeof(*sorted));
	qsort(sorted, n, sizeof(*sorted), by_temporary);
	for (size_t i = 0; i < n && i < jobs; i++)
		sum += sorted[i].temporary;
	*ret = sum;
	if (sum == 0)
		return 0;
	return db_run(store->db,
		      "INSERT INTO meta VALUES ('" STORE_PULL_TEMPORARY "', ?) ON CONFLICT (name)"
		      " DO UPDATE SET value = max(value, excluded.value)",
		      DB_ARGS(db_int((int64_t)sum)), err);
}

static int larger_first(const void *a, const void *b, void *image)
{
	const struct oci_layer_ref *layers = ((const struct oci_image *)image)->layers;
	size_t i = *(const size_t *)a, k = *(const size_t *)b;

	if (layers[i].desc.size != layers[k].desc.size)
		return layers[i].desc.size > layers[k].desc.size ? -1 : 1;
	return i < k ? -1 : i > k;
}

static int bring_in(struct import *im, struct oci_source *source, const struct oci_image *image,
		    const struct snap_pull_options *opt, const struct lazy_offer *offer,
		    const char *ref, struct snap_pull_result *ret, struct err *err)
{
	struct import_layer *layers cleanup_free = calloc(image->n_layers + 1, sizeof(*layers));
	size_t *order cleanup_free = calloc(image->n_layers + 1, sizeof(*order));
	struct layer_progress *progress cleanup_free =
		calloc(image->n_layers + 1, sizeof(*progress));
	struct puller p = {.im = im,
			   .source = source,
			   .image = image,
			   .opt = opt,
			   .offer = offer,
			   .layers = layers,
			   .order = order,
			   .progress = progress};
	struct err why = ERR_INIT;
	int r;

	if (!layers || !order || !progress)
		return err_set(err, -ENOMEM, "layers");
	for (size_t i = 0; i < image->n_layers; i++)
		order[i] = i;
	qsort_r(order, image->n_layers, sizeof(*order), larger_first, (void *)(uintptr_t)image);
	r = import_known(im, image, ref, opt->lazy != SNAP_LAZY_NO, err);
	if (r != 0)
		return r < 0 ? r : 0;
	(void)pthread_mutex_init(&p.lock, NULL);
	(void)pthread_cond_init(&p.wake, NULL);
	r = run_workers(&p, err);
	(void)pthread_cond_destroy(&p.wake);
	(void)pthread_mutex_destroy(&p.lock);
	if (r == 0)
		r = import_image(im, image, layers, ref, err);
	for (size_t i = 0; r == 0 && i < image->n_layers; i++) {
		ret->new_layers += layers[i].is_new;
		ret->lazy_layers += layers[i].is_lazy;
		ret->bytes += layers[i].fetched;
	}
	if (r == 0 && note_temporary(im->store, layers, image->n_layers, job_count(&p),
				     &ret->temporary, &why) < 0)
		log_warn("what the pull needed is not kept: %s", why.msg);
	return r;
}

struct whole {
	const struct snap_pull_options *opt;
	pthread_mutex_t lock;
};

static void tell_whole(void *ctx, const struct digest *blob, const char *why)
{
	struct whole *w = ctx;

	(void)pthread_mutex_lock(&w->lock);
	if (w->opt->whole)
		w->opt->whole(w->opt->ctx, blob, why);
	(void)pthread_mutex_unlock(&w->lock);
}

/* What is to be fetched first: as the caller says, or the index. 1: there is a list. */
static int find_list(const struct snap_pull_options *opt, const struct lazy_offer *offer,
		     struct lazy_list *ret, struct err *err)
{
	struct err why = ERR_INIT;
	int r;

	if (opt->prefetch)
		r = lazy_list_load(opt->prefetch, NULL, NULL, ret, err);
	else if (!offer->doc || opt->lazy == SNAP_LAZY_METADATA)
		return 0;
	else
		r = lazy_offer_list(offer, ret, &why);
	if (r == 0 || opt->prefetch)
		return r < 0 ? r : 1;
	if (r != -ENOENT || opt->lazy == SNAP_LAZY_PREFETCH)
		log_warn("nothing is fetched first: %s", why.msg);
	return 0;
}

/* How the layers that are lazy now are to be filled; the filler starts with it. */
static int plan_layers(struct snap_store *store, const struct snap_pull_options *opt,
		       const struct lazy_list *list, struct snap_pull_result *ret, struct err *err)
{
	const struct lazy_wish wish = {
		.background = opt->lazy == SNAP_LAZY_BACKGROUND, .rate = opt->rate, .list = list};
	struct snap_layer_info *layers cleanup_free = NULL;
	struct err why = ERR_INIT;
	bool any = false;
	size_t n = 0;
	int r;

	if (!wish.background && !list)
		return 0;
	r = snap_image_layers(store, &ret->manifest, &layers, &n, err);
	for (size_t i = 0; r == 0 && i < n; i++) {
		for (size_t k = 0; list && k < list->n; k++)
			ret->prefetch += strcmp(list->wants[k].layer, layers[i].id) == 0;
		if (strcmp(layers[i].state, "complete") == 0)
			continue;
		r = lazy_plan_make(store, layers[i].id, &wish, err);
		any = true;
	}
	if (r == 0 && any && snap_filler_wake(store, &why) < 0)
		log_warn("nothing is fetched in the background: %s", why.msg);
	return r;
}

/* Lazily when that is wanted and the source has what it takes. */
static int bring_in_somehow(struct import *im, struct oci_source *source, const char *spec,
			    const struct oci_image *image, const struct snap_pull_options *opt,
			    struct snap_pull_result *ret, struct err *err)
{
	const struct lazy_place_of at = {.source = source,
					 .spec = spec,
					 .remote = opt->remote,
					 .index = opt->index,
					 .expect = opt->expect};
	struct whole whole = {.opt = opt, .lock = PTHREAD_MUTEX_INITIALIZER};
	struct lazy_offer offer CLEANUP(lazy_offer_release) = {.whole = tell_whole, .ctx = &whole};
	struct lazy_list list cleanup_lazy_list = LAZY_LIST_INIT;
	struct err why = ERR_INIT;
	int r, listed;

	if (opt->lazy == SNAP_LAZY_NO)
		return bring_in(im, source, image, opt, NULL, ret->ref, ret, err);
	r = lazy_offer_open(&at, image, &offer, &why);
	if (r < 0 && (opt->expect || opt->index)) { /* whoever names one wants no other */
		*err = why;
		return r;
	}
	if (r < 0) {
		tell_whole(&whole, NULL, why.msg);
		im->whole = why.msg;
	}
	listed = find_list(opt, &offer, &list, err);
	if (listed < 0)
		return listed;
	r = bring_in(im, source, image, opt, r < 0 ? NULL : &offer, ret->ref, ret, err);
	return r < 0 ? r : plan_layers(im->store, opt, listed ? &list : NULL, ret, err);
}

int snap_pull(struct snap_store *store, const char *source, const struct snap_pull_options *opt,
	      struct snap_pull_result *ret, struct err *err)
{
	struct oci_source *src cleanup_oci_source = NULL;
	struct oci_image *image cleanup_oci_image = NULL;
	struct snap_pull_result result = {.ref = NULL};
	struct oci_platform here;
	struct import im CLEANUP(import_end) = {.store = NULL};
	const struct oci_platform *platform = opt->platform;
	int r = 0;

	if (!platform) {
		r = oci_platform_parse(NULL, &here, err);
		platform = &here;
	}
	if (r == 0)
		r = oci_source_open(source, opt->remote, &src, err);
	if (r == 0)
		r = oci_source_image(src, platform, &image, err);
	if (r < 0)
		return r;
	result.ref = strdup(opt->name ? opt->name : oci_source_ref(src));
	result.manifest = image->manifest_desc.digest;
	result.layers = image->n_layers;
	r = result.ref ? import_begin(store, &im, err) : err_set(err, -ENOMEM, "image");
	im.no_blobs = opt->no_blobs;
	if (r == 0)
		r = bring_in_somehow(&im, src, source, image, opt, &result, err);
	if (r < 0) {
		im.stays = is_stopped(opt);
		free(result.ref);
		return err_wrap(err, r, "pull '%s'", source);
	}
	*ret = result;
	return 0;
}
