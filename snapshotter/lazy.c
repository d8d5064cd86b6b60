/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/lazy.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "snapshotter/lazy_private.h"

#define ROUNDS 8 /* through all places, when what they send is not right */

void lazy_layer_close(struct lazy_layer *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < l->n_places; i++) {
		oci_source_close(l->places[i].source);
		free(l->places[i].spec);
		free(l->places[i].authfile);
	}
	erofs_presence_close(l->present);
	oci_spans_free(l->spans);
	free(l->busy);
	closep(&l->data_fd);
	closep(&l->blob_fd);
	closep(&l->dir_fd);
	closep(&l->root_fd);
	(void)pthread_cond_destroy(&l->done);
	(void)pthread_mutex_destroy(&l->lock);
	(void)pthread_mutex_destroy(&l->open_lock);
	free(l);
}
const char *lazy_layer_id(const struct lazy_layer *l)
{
	return l->id;
}

uint64_t lazy_layer_size(const struct lazy_layer *l)
{
	return oci_spans_tar_size(l->spans);
}

bool lazy_layer_is_there(const struct lazy_layer *l)
{
	char path[STORE_PATH_MAX];
	struct stat a, b;

	store_layer_path(l->id, NULL, path);
	return fstatat(l->root_fd, path, &a, AT_SYMLINK_NOFOLLOW) == 0 &&
	       fstat(l->dir_fd, &b) == 0 && a.st_ino == b.st_ino;
}

int lazy_read_spans(int dir, struct oci_spans **ret, struct err *err)
{
	char *text cleanup_free = NULL;
	size_t len = 0;
	int r = io_read_file(dir, "spans", OCI_SPANS_SIZE_MAX, &text, &len);

	return r < 0 ? err_set(err, r, "read 'spans'") : oci_spans_parse(text, len, ret, err);
}

/* Both files speak of the same parts of the same tar. */
int lazy_check_files(const struct lazy_layer *l, struct err *err)
{
	size_t n = oci_spans_count(l->spans);

	if (n != erofs_presence_count(l->present) ||
	    oci_spans_tar_size(l->spans) != erofs_presence_size(l->present) ||
	    !digest_equal(oci_spans_blob(l->spans), &l->desc.digest) ||
	    oci_spans_blob_size(l->spans) != l->desc.size ||
	    strcmp(digest_hex(oci_spans_layer(l->spans)), l->id) != 0)
		return err_msg(err, -EUCLEAN, "'spans', 'present' and 'source' do not agree");
	for (size_t i = 0; i < n; i++) {
		if (oci_spans_get(l->spans, i)->out != erofs_presence_start(l->present, i))
			return err_msg(err, -EUCLEAN, "'spans' and 'present' do not agree");
	}
	return 0;
}

/* The machine stopped since the map was written: what it claims may never have come to the disk. */
static int verify_claims(struct lazy_layer *l, struct err *err)
{
	size_t lost = 0, n = 0;

	if (!erofs_presence_is_stale(l->present))
		return 0;
	for (size_t i = 0; i < oci_spans_count(l->spans); i++) {
		int r;

		if (!erofs_presence_claims(l->present, i))
			continue;
		n++;
		r = oci_spans_verify(l->spans, i, l->data_fd);
		if (r < 0)
			return err_set(err, r, "read layer");
		if (r == 0) {
			erofs_presence_set(l->present, i, false);
			lost++;
		}
	}
	erofs_presence_renew(l->present);
	if (n)
		log_info("layer %s: %zu spans of an earlier boot verified, %zu lost", l->id, n,
			 lost);
	return 0;
}

static int open_files(struct lazy_layer *l, struct err *err)
{
	int fd cleanup_close = openat(l->dir_fd, "present", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	int r;

	if (fd < 0)
		return errno == ENOENT ? err_msg(err, -ENOENT, "it is no lazy layer")
				       : err_set(err, -errno, "open 'present'");
	r = erofs_presence_open(fd, true, &l->present, err);
	if (r == 0)
		r = lazy_read_spans(l->dir_fd, &l->spans, err);
	if (r == 0)
		r = lazy_source_read(l->dir_fd, l, err);
	if (r < 0)
		return r;
	l->data_fd = openat(l->dir_fd, "data", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	l->blob_fd = openat(l->dir_fd, "blob", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (l->data_fd < 0 || l->blob_fd < 0)
		return err_set(err, -errno, "open '%s'", l->data_fd < 0 ? "data" : "blob");
	l->busy = calloc(oci_spans_count(l->spans), 1);
	return l->busy ? lazy_check_files(l, err) : err_set(err, -ENOMEM, "open layer");
}

int lazy_layer_open(struct snap_store *store, const char *id, struct lazy_layer **ret,
		    struct err *err)
{
	struct lazy_layer *l CLEANUP(lazy_layer_closep) = calloc(1, sizeof(*l));
	char path[STORE_PATH_MAX];
	int r;

	if (!l)
		return err_set(err, -ENOMEM, "open layer");
	(void)pthread_mutex_init(&l->open_lock, NULL);
	(void)pthread_mutex_init(&l->lock, NULL);
	(void)pthread_cond_init(&l->done, NULL);
	l->data_fd = l->blob_fd = l->dir_fd = -1;
	(void)snprintf(l->id, sizeof(l->id), "%s", id);
	l->root_fd = fcntl(store->root_fd, F_DUPFD_CLOEXEC, 3);
	if (l->root_fd < 0)
		return err_set(err, -errno, "open layer");
	store_layer_path(l->id, NULL, path);
	l->dir_fd = openat(l->root_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (l->dir_fd < 0)
		return err_set(err, -errno, "open '%s/%s'", store->root, path);
	r = open_files(l, err);
	if (r == 0)
		r = verify_claims(l, err);
	if (r < 0)
		return err_wrap(err, r, "layer %s", id);
	*ret = steal_ptr(&l);
	return 0;
}

static time_t now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

int lazy_inflate(struct lazy_layer *l, size_t i, size_t end, const char *from, struct err *err)
{
	for (; i < end; i++) {
		int r;

		if (erofs_presence_has(l->present, i))
			continue;
		r = oci_spans_inflate(l->spans, i, l->blob_fd, l->data_fd, err);
		if (r == -EBADMSG) {
			log_error("layer %s, span %zu, from '%s': %s", l->id, i, from, err->msg);
			return r;
		}
		if (r < 0)
			return err_wrap(err, r, "layer %s, span %zu", l->id, i);
		erofs_presence_set(l->present, i, true);
		/* who waits for this one need not wait for the rest of the run */
		(void)pthread_mutex_lock(&l->lock);
		(void)pthread_cond_broadcast(&l->done);
		(void)pthread_mutex_unlock(&l->lock);
	}
	return 0;
}

/* Spans [i, end) on their way from a place: those in front of @i are here. */
struct run {
	struct lazy_layer *l;
	size_t i, end;
	const char *from;
};

/* A span is inflated, and whoever waits for it wakes, while the next ones are still on the line. */
static int take_arrived(void *ctx, uint64_t pos, struct err *err)
{
	struct run *run = ctx;
	size_t k = run->i;
	int r;

	for (; k < run->end; k++) {
		const struct oci_span *x = oci_spans_get(run->l->spans, k);

		if (x->in + x->in_len > pos)
			break;
	}
	r = lazy_inflate(run->l, run->i, k, run->from, err);
	run->i = k;
	return r;
}

static int bring_from(struct lazy_layer *l, size_t i, size_t end, size_t place,
		      unsigned int seconds, struct err *err)
{
	struct run run = {.l = l, .i = i, .end = end, .from = l->places[place].spec};
	const struct oci_span *first = oci_spans_get(l->spans, i);
	const struct oci_span *last = oci_spans_get(l->spans, end - 1);
	const struct oci_range want = {.from = first->in,
				       .len = last->in + last->in_len - first->in,
				       .fd = l->blob_fd,
				       .seconds = seconds,
				       .arrived = take_arrived,
				       .ctx = &run};
	int r = want.len ? lazy_fetch(l, &want, place, err) : 0;

	return r == 0 ? lazy_inflate(l, run.i, end, run.from, err) : r;
}

/* What is wrong is asked for again, of every place; who is not there is waited for. */
static int bring_run(struct lazy_layer *l, size_t i, size_t end, unsigned int seconds,
		     struct err *err)
{
	time_t until = now() + (time_t)seconds;
	size_t first = i;
	int r = -EIO;

	for (unsigned int n = 0; n < ROUNDS * l->n_places; n++) {
		time_t left = until - now();

		if (n > 0 && left <= 0)
			break;
		while (i < end && erofs_presence_has(l->present, i))
			i++;
		r = i < end ? bring_from(l, i, end, n % l->n_places,
					 left > 0 ? (unsigned int)left : 1, err)
			    : 0;
		if (r == 0 || r == -ENOSPC || r == -ENOMEM)
			break;
	}
	if (r < 0)
		log_error("layer %s, spans %zu to %zu: %s: %s", l->id, first, end - 1, err->where,
			  err->msg);
	return r;
}

/* Under lock: how many spans from @i on nobody has or brings, of those that start before @end. */
static size_t claim_run(struct lazy_layer *l, size_t i, uint64_t end)
{
	size_t n = oci_spans_count(l->spans), k = i;

	while (k < n && oci_spans_get(l->spans, k)->out < end && !l->busy[k] &&
	       !erofs_presence_has(l->present, k))
		l->busy[k++] = 1;
	return k;
}

static int fill_from(struct lazy_layer *l, size_t i, uint64_t end, unsigned int seconds,
		     struct err *err)
{
	struct err own = ERR_INIT;
	uint64_t failures;
	size_t run;
	int r = 0;

	(void)pthread_mutex_lock(&l->lock);
	failures = l->failures;
	while (l->busy[i] && !erofs_presence_has(l->present, i))
		(void)pthread_cond_wait(&l->done, &l->lock);
	if (!erofs_presence_has(l->present, i) && l->failures != failures) {
		/* who brought it could not: the same would happen to us */
		if (err)
			*err = l->failure;
		r = l->failure.code;
	}
	run = r < 0 ? i : claim_run(l, i, end);
	(void)pthread_mutex_unlock(&l->lock);
	if (run == i)
		return r;
	r = bring_run(l, i, run, seconds, &own);
	(void)pthread_mutex_lock(&l->lock);
	memset(l->busy + i, 0, run - i);
	if (r < 0) {
		l->failures++;
		l->failure = own;
		l->failure.code = r;
		if (err)
			*err = own;
	}
	(void)pthread_cond_broadcast(&l->done);
	(void)pthread_mutex_unlock(&l->lock);
	return r;
}

int lazy_layer_fill(struct lazy_layer *l, uint64_t off, uint64_t len, unsigned int seconds,
		    struct err *err)
{
	uint64_t size = oci_spans_tar_size(l->spans), end;

	if (erofs_presence_is_condemned(l->present))
		return err_msg(err, -EIO, "layer %s is not what its index says", l->id);
	if (len == 0 || off >= size)
		return 0;
	if (__builtin_add_overflow(off, len, &end) || end > size)
		end = size;
	for (size_t i = erofs_presence_find(l->present, off);
	     i < oci_spans_count(l->spans) && oci_spans_get(l->spans, i)->out < end; i++) {
		int r = 0;

		while (r == 0 && !erofs_presence_has(l->present, i))
			r = fill_from(l, i, end, seconds, err);
		if (r < 0)
			return r;
	}
	return 0;
}

uint64_t lazy_layer_missing(struct lazy_layer *l, uint64_t max, uint64_t *ret_off,
			    uint64_t *ret_len)
{
	size_t n = oci_spans_count(l->spans), i = 0, k;
	const struct oci_span *first, *x;
	uint64_t bytes;

	while (i < n && erofs_presence_has(l->present, i))
		i++;
	if (i == n)
		return 0;
	first = oci_spans_get(l->spans, i);
	bytes = first->in_len;
	for (k = i + 1; k < n && !erofs_presence_has(l->present, k); k++) {
		x = oci_spans_get(l->spans, k);
		if (x->in + x->in_len - first->in > max)
			break;
		bytes = x->in + x->in_len - first->in;
	}
	*ret_off = erofs_presence_start(l->present, i);
	*ret_len = erofs_presence_start(l->present, k) - *ret_off;
	return bytes ? bytes : 1;
}

enum lazy_miss lazy_layer_look(struct lazy_layer *l, uint64_t off, uint64_t len)
{
	size_t n = oci_spans_count(l->spans), i = erofs_presence_find(l->present, off);
	enum lazy_miss ret = LAZY_COMES;

	(void)pthread_mutex_lock(&l->lock);
	while (i < n && erofs_presence_has(l->present, i))
		i++;
	if (i < n && !l->busy[i] && erofs_presence_start(l->present, i) < off + len)
		ret = i > 0 && erofs_presence_has(l->present, i - 1) ? LAZY_FOLLOWS : LAZY_JUMPS;
	(void)pthread_mutex_unlock(&l->lock);
	return ret;
}

uint64_t lazy_layer_piece(const struct lazy_layer *l, uint64_t off, uint64_t max)
{
	size_t i = erofs_presence_find(l->present, off), k = i + 1;
	const struct oci_span *first = oci_spans_get(l->spans, i), *x;

	while ((x = oci_spans_get(l->spans, k)) && x->in + x->in_len - first->in <= max)
		k++;
	return erofs_presence_start(l->present, k);
}

int lazy_check(struct snap_store *store, const char *id, bool repair, size_t *ret_bad,
	       struct err *err)
{
	struct lazy_layer *l CLEANUP(lazy_layer_closep) = NULL;
	/* opening takes out what another boot claimed and what is not so */
	int r = lazy_layer_open(store, id, &l, err);

	*ret_bad = 0;
	for (size_t i = 0; r == 0 && i < oci_spans_count(l->spans); i++) {
		int good = 1;

		if (erofs_presence_has(l->present, i))
			good = oci_spans_verify(l->spans, i, l->data_fd);
		if (good < 0)
			return err_set(err, good, "read layer %s", id);
		if (good)
			continue;
		(*ret_bad)++;
		if (repair)
			erofs_presence_set(l->present, i, false);
	}
	return r;
}
