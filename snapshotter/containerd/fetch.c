/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/containerd/fetch.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "oci/reference.h"
#include "snapshotter/remote.h"

#define CRI_REF	      "containerd.io/snapshot/cri.image-ref"
#define CRI_DIGEST    "containerd.io/snapshot/cri.manifest-digest"
#define STARGZ_REF    "containerd.io/snapshot/remote/stargz.reference"
#define CALLERS_MAX   4
#define RETRY_SECONDS 30

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
static atomic_uint callers;
static struct { /* under one_at_a_time */
	char source[1024];
	time_t when;
} failed;

static const char *value_of(const struct snap_label *labels, size_t n, const char *key)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(labels[i].key, key) == 0)
			return labels[i].value;
	}
	return NULL;
}

struct wanted {
	const char *ref, *digest; /* borrowed from the labels; digest NULL: not told */
	char source[1024]; /* "docker://HOST/NAME@DIGEST", or with the tag */
};

/* False: no image is named. */
static bool read_labels(const struct snap_label *labels, size_t n, struct wanted *ret)
{
	const char *cri = value_of(labels, n, CRI_REF), *digest = value_of(labels, n, CRI_DIGEST);
	const char *ref = cri ? cri : value_of(labels, n, STARGZ_REF);
	char *text cleanup_free = NULL;
	struct oci_reference r;
	int len;

	if (!ref || !oci_reference_is_full(ref) || oci_reference_parse(ref, &r) < 0)
		return false;
	if (cri && digest && digest_parse(digest, &r.digest) < 0)
		return false;
	text = oci_reference_format(&r);
	ret->ref = ref;
	ret->digest = cri ? digest : NULL;
	len = text ? snprintf(ret->source, sizeof(ret->source), "docker://%s", text) : -1;
	return len > 0 && len < (int)sizeof(ret->source);
}

static time_t now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

static bool pull_from(struct snap_store *store, const struct fetch_options *opt, const char *ref,
		      const char *source, enum snap_lazy lazy, struct err *err)
{
	struct snap_pull_options pull = {
		.remote = opt->remote, .lazy = lazy, .name = strchr(ref, '@') ? NULL : ref};
	struct snap_pull_result result;
	int r = snap_pull(store, source, &pull, &result, err);

	if (r < 0)
		return false;
	log_info("pulled '%s' for containerd: %zu layers, %zu new", source, result.layers,
		 result.new_layers);
	free(result.ref);
	return true;
}

static bool pull_locked(struct snap_store *store, const struct fetch_options *opt,
			const struct wanted *w)
{
	char *local cleanup_free = NULL;
	struct err err = ERR_INIT, none = ERR_INIT;

	if (strcmp(failed.source, w->source) == 0 && now() - failed.when < RETRY_SECONDS)
		return false;
	/* what it has not whole it is not asked for: the registry is */
	if (w->digest && opt->content &&
	    asprintf(&local, "containerd:%s@%s", opt->content, w->digest) > 0 &&
	    pull_from(store, opt, w->ref, local, SNAP_LAZY_NO, &none))
		return true;
	if (pull_from(store, opt, w->ref, w->source, opt->lazy, &err))
		return true;
	log_warn("'%s' is left to containerd: %s", w->source, err.msg);
	(void)snprintf(failed.source, sizeof(failed.source), "%s", w->source);
	failed.when = now();
	return false;
}

int fetch_remote(struct snap_store *store, const struct fetch_options *opt, const char *parent,
		 const struct snap_label *labels, size_t n, struct err *err)
{
	int r = snap_remote(store, parent, labels, n, err);
	struct wanted w;

	if (r != 0 || !opt || !opt->on || !value_of(labels, n, SNAP_LABEL_REF) ||
	    !read_labels(labels, n, &w))
		return r;
	if (atomic_fetch_add(&callers, 1) < CALLERS_MAX) {
		pthread_mutex_lock(&one_at_a_time);
		/* who came first may have brought it */
		r = snap_remote(store, parent, labels, n, err);
		if (r == 0 && pull_locked(store, opt, &w))
			r = snap_remote(store, parent, labels, n, err);
		pthread_mutex_unlock(&one_at_a_time);
	}
	atomic_fetch_sub(&callers, 1);
	return r;
}
