/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/layer_in.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "oci/inflate.h"
#include "oci/layer_tree.h"
#include "oci/limits.h"
#include "oci/tar_in.h"

/*
 * Two threads: one reads, hashes and inflates the blob, the caller's hashes,
 * writes and parses the tar. Inflating takes longest and has a thread nearly
 * for itself (measured: docs/SEMANTICS.md has the rules, the figures are in
 * the history). Between them a ring of buffers: the one that fills and the one
 * that empties never touch the same one, so the lock covers counters only.
 */
#define BUFFERS	    12
#define BUFFER_SIZE (512u << 10)
#define BLOB_CHUNK  (256u << 10)
#define RATIO_FROM  (1ULL << 30) /* tar bytes below which no ratio is suspicious */
#define WRITEBACK   (16u << 20) /* so much dirty data is handed to the disk at a time */

struct ring {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint8_t *buffers[BUFFERS];
	size_t len[BUFFERS]; /* of the filled ones */
	unsigned int head, count; /* first filled one, how many: under lock */
	bool ended; /* nothing more comes: under lock */
	int stopped; /* nobody takes any more, and why: under lock */
};

struct layer_in {
	const struct oci_layer_job *job;
	struct oci_limits limits;
	struct ring ring;
	/* the producer's */
	int produce_code;
	struct err produce_err;
	bool blob_ok; /* read to its end, and size and digest hold */
	uint64_t blob_size;
	/* the consumer's */
	struct hash *tar_hash, *diff_hash; /* diff_hash: only when it is not sha256 */
	struct oci_layer_tree *tree;
	bool holding; /* a buffer of the ring */
	uint64_t tar_size, written_back;
	uint64_t side_base, side_size;
};

static bool is_cancelled(const struct layer_in *in)
{
	return in->job->cancel && atomic_load_explicit(in->job->cancel, memory_order_relaxed);
}

static int ring_init(struct ring *ring)
{
	int r = pthread_mutex_init(&ring->lock, NULL);

	if (r)
		return -r;
	r = pthread_cond_init(&ring->changed, NULL);
	if (r) {
		(void)pthread_mutex_destroy(&ring->lock);
		return -r;
	}
	for (size_t i = 0; i < BUFFERS; i++) {
		ring->buffers[i] = malloc(BUFFER_SIZE);
		if (ring->buffers[i])
			continue;
		while (i > 0)
			free(ring->buffers[--i]);
		(void)pthread_cond_destroy(&ring->changed);
		(void)pthread_mutex_destroy(&ring->lock);
		return -ENOMEM;
	}
	return 0;
}

static void ring_release(struct ring *ring)
{
	for (size_t i = 0; i < BUFFERS; i++)
		free(ring->buffers[i]);
	(void)pthread_cond_destroy(&ring->changed);
	(void)pthread_mutex_destroy(&ring->lock);
}

/* An empty buffer; NULL when nobody wants more. */
static uint8_t *ring_get_empty(struct ring *ring)
{
	uint8_t *p = NULL;

	(void)pthread_mutex_lock(&ring->lock);
	while (ring->count == BUFFERS && !ring->stopped)
		(void)pthread_cond_wait(&ring->changed, &ring->lock);
	if (!ring->stopped)
		p = ring->buffers[(ring->head + ring->count) % BUFFERS];
	(void)pthread_mutex_unlock(&ring->lock);
	return p;
}

static void ring_put_filled(struct ring *ring, size_t len)
{
	(void)pthread_mutex_lock(&ring->lock);
	ring->len[(ring->head + ring->count) % BUFFERS] = len;
	ring->count++;
	(void)pthread_cond_signal(&ring->changed);
	(void)pthread_mutex_unlock(&ring->lock);
}

static void ring_end(struct ring *ring)
{
	(void)pthread_mutex_lock(&ring->lock);
	ring->ended = true;
	(void)pthread_cond_signal(&ring->changed);
	(void)pthread_mutex_unlock(&ring->lock);
}

/* A filled buffer; NULL at the end. */
static const uint8_t *ring_get_filled(struct ring *ring, size_t *ret_len)
{
	const uint8_t *p = NULL;

	(void)pthread_mutex_lock(&ring->lock);
	while (ring->count == 0 && !ring->ended)
		(void)pthread_cond_wait(&ring->changed, &ring->lock);
	if (ring->count > 0) {
		p = ring->buffers[ring->head];
		*ret_len = ring->len[ring->head];
	}
	(void)pthread_mutex_unlock(&ring->lock);
	return p;
}

/* Was the content's fault the reason that nobody takes any more? */
static bool ring_was_refused(struct ring *ring)
{
	bool refused;

	(void)pthread_mutex_lock(&ring->lock);
	refused = ring->stopped == -EBADMSG;
	(void)pthread_mutex_unlock(&ring->lock);
	return refused;
}

static void ring_put_empty(struct ring *ring)
{
	(void)pthread_mutex_lock(&ring->lock);
	ring->head = (ring->head + 1) % BUFFERS;
	ring->count--;
	(void)pthread_cond_signal(&ring->changed);
	(void)pthread_mutex_unlock(&ring->lock);
}

static void ring_stop(struct ring *ring, int why)
{
	(void)pthread_mutex_lock(&ring->lock);
	ring->stopped = why;
	(void)pthread_cond_signal(&ring->changed);
	(void)pthread_mutex_unlock(&ring->lock);
}

/* The producer's place in a buffer that is being filled. */
struct fill {
	uint8_t *buffer; /* NULL: none yet */
	size_t used;
	uint64_t total;
	bool refused; /* nobody wants more */
};

/* Inflates what @in has into as many buffers as it takes. */
static int inflate_chunk(struct layer_in *in, struct oci_inflate *z, struct fill *f,
			 const uint8_t *data, size_t len, struct err *err)
{
	struct oci_inflate_io io = {.in = data, .in_len = len};

	for (;;) {
		int r;

		if (!f->buffer) {
			f->buffer = ring_get_empty(&in->ring);
			f->used = 0;
			if (!f->buffer) {
				f->refused = true;
				return 0;
			}
		}
		io.out = f->buffer + f->used;
		io.out_len = BUFFER_SIZE - f->used;
		r = oci_inflate_step(z, &io, err);
		if (r < 0)
			return r;
		f->total += BUFFER_SIZE - f->used - io.out_len;
		f->used = BUFFER_SIZE - io.out_len;
		if (f->total > in->limits.bytes)
			return oci_limit_hit(err, "bytes", in->limits.bytes);
		if (f->total > RATIO_FROM &&
		    f->total / in->limits.ratio > (in->blob_size ? in->blob_size : 1))
			return oci_limit_hit(err, "ratio", in->limits.ratio);
		if (io.out_len > 0)
			return 0;
		ring_put_filled(&in->ring, f->used);
		f->buffer = NULL;
	}
}

static int check_blob(struct layer_in *in, struct hash *hash, struct err *err)
{
	const struct oci_descriptor *desc = &in->job->layer->desc;
	struct digest got;
	int r = hash_final(hash, &got);

	if (r < 0)
		return err_set(err, r, "hash blob");
	if (in->blob_size != desc->size)
		return err_msg(err, -EBADMSG,
			       "size does not match: %s %" PRIu64 " bytes, not %" PRIu64,
			       in->blob_size > desc->size ? "more than" : "only",
			       in->blob_size > desc->size ? desc->size : in->blob_size, desc->size);
	if (!digest_equal(&got, &desc->digest))
		return err_msg(err, -EBADMSG, "digest does not match: it is %s", got.text);
	return 0;
}

/* One piece of the blob: counted, hashed, copied. @ret_n: 0 at the end. */
static int read_blob(struct layer_in *in, struct hash *hash, uint8_t *chunk, size_t *ret_n,
		     struct err *err)
{
	size_t want = BLOB_CHUNK;
	ssize_t n;
	int r;

	if (is_cancelled(in))
		return err_msg(err, -ECANCELED, "cancelled");
	if (in->job->bounded && in->job->layer->desc.size - in->blob_size < want)
		want = (size_t)(in->job->layer->desc.size - in->blob_size);
	do
		n = read(in->job->blob_fd, chunk, want);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_set(err, -errno, "read blob");
	*ret_n = (size_t)n;
	in->blob_size += (uint64_t)n;
	if (in->job->progress)
		atomic_fetch_add_explicit(in->job->progress, (uint64_t)n, memory_order_relaxed);
	r = hash_update(hash, chunk, (size_t)n);
	if (r < 0)
		return err_set(err, r, "hash blob");
	if (in->job->copy_fd >= 0) {
		r = io_write_full(in->job->copy_fd, chunk, (size_t)n);
		if (r < 0)
			return err_set(err, r, "write blob");
	}
	return 0;
}

/*
 * Reads the blob to its end. When its content turns out to be bad the rest is only hashed: a digest
 * that does not match explains everything else and is what is told.
 */
static int produce_all(struct layer_in *in, struct err *err)
{
	struct hash *hash cleanup_hash = hash_new(digest_algorithm(&in->job->layer->desc.digest));
	struct oci_inflate *z cleanup_oci_inflate = oci_inflate_new(in->job->layer->compression);
	uint8_t *chunk cleanup_free = malloc(BLOB_CHUNK);
	struct fill f = {.buffer = NULL};
	int content = 0, r;
	size_t n = 0;

	if (!hash || !z || !chunk)
		return err_set(err, -ENOMEM, "read blob");
	for (;;) {
		r = read_blob(in, hash, chunk, &n, err);
		if (r < 0)
			return r;
		if (n == 0)
			break;
		if (in->blob_size > in->job->layer->desc.size)
			return check_blob(in, hash, err);
		if (content == 0 && !f.refused)
			content = inflate_chunk(in, z, &f, chunk, n, err);
		/* a budget is ours to enforce, and a full disk a full disk, whatever the digest */
		if (content == -E2BIG)
			return content;
		if (f.refused && !ring_was_refused(&in->ring))
			return 0;
	}
	if (content == 0 && !f.refused) {
		/* what the inflater still holds back */
		content = inflate_chunk(in, z, &f, chunk, 0, err);
		if (content == 0)
			content = oci_inflate_finish(z, err);
		if (content == 0 && f.buffer && f.used)
			ring_put_filled(&in->ring, f.used);
	}
	/* replaces what the content's fault was, if that is not the blob that was asked for */
	r = check_blob(in, hash, err);
	if (r < 0)
		return r;
	in->blob_ok = true;
	return content;
}

static void *producer(void *arg)
{
	struct layer_in *in = arg;

	in->produce_code = produce_all(in, &in->produce_err);
	ring_end(&in->ring);
	return NULL;
}

static int on_member(void *ctx, const struct oci_tar_member *m, struct err *err)
{
	struct layer_in *in = ctx;

	if (m->sparse) {
		uint64_t room = (m->size + 511) & ~511ULL;

		if (room > OCI_TAR_SIZE_MAX - in->side_size)
			return err_msg(err, -EFBIG,
				       "sparse files of more than an index can address");
		in->side_base = in->side_size;
		if (m->n_map)
			in->side_size += room;
	}
	return oci_layer_tree_add(in->tree, m, in->side_base, err);
}

static int on_sparse_data(void *ctx, const void *data, size_t len, uint64_t pos, struct err *err)
{
	struct layer_in *in = ctx;
	int r = io_pwrite_full(in->job->side_fd, data, len, (off_t)(in->side_base + pos));

	return r < 0 ? err_set(err, r, "write sparse file") : 0;
}

/* Hands what is written to the disk early, so that the caller's fsync finds little to do. */
static void write_back(struct layer_in *in)
{
	if (in->tar_size - in->written_back < WRITEBACK)
		return;
	(void)sync_file_range(in->job->data_fd, (off_t)in->written_back,
			      (off_t)(in->tar_size - in->written_back), SYNC_FILE_RANGE_WRITE);
	in->written_back = in->tar_size;
}

static int keep_tar(struct layer_in *in, const uint8_t *p, size_t len, struct err *err)
{
	int r = hash_update(in->tar_hash, p, len);

	if (r == 0 && in->diff_hash)
		r = hash_update(in->diff_hash, p, len);
	if (r < 0)
		return err_set(err, r, "hash tar");
	r = io_write_full(in->job->data_fd, p, len);
	if (r < 0)
		return err_set(err, r, "write tar");
	in->tar_size += len;
	write_back(in);
	return 0;
}

/* The parser wants more, and is done with what it got before. */
static int on_next(void *ctx, const void **ret_data, size_t *ret_len, struct err *err)
{
	struct layer_in *in = ctx;
	const uint8_t *p;
	int r;

	if (in->holding)
		ring_put_empty(&in->ring);
	in->holding = false;
	if (is_cancelled(in))
		return err_msg(err, -ECANCELED, "cancelled");
	p = ring_get_filled(&in->ring, ret_len);
	if (!p) {
		*ret_len = 0;
		/* told once the ring has ended; why there is no more is better than "truncated" */
		if (in->produce_code < 0 && err)
			*err = in->produce_err;
		return in->produce_code;
	}
	in->holding = true;
	r = keep_tar(in, p, *ret_len, err);
	if (r == 0)
		*ret_data = p;
	return r;
}

/* All bytes are there: does the tar hold what the image says? */
static int finish_tar(struct layer_in *in, struct oci_layer_result *ret, struct err *err)
{
	const struct digest *diff_id = &in->job->layer->diff_id;
	struct digest diff;
	int r = hash_final(in->tar_hash, &ret->tar);

	diff = ret->tar;
	if (r == 0 && in->diff_hash)
		r = hash_final(in->diff_hash, &diff);
	if (r < 0)
		return err_set(err, r, "hash tar");
	if (!digest_equal(&diff, diff_id))
		return err_msg(err, -EBADMSG, "diff id does not match: it is %s, not %s", diff.text,
			       diff_id->text);
	return 0;
}

static int write_index(struct layer_in *in, struct oci_layer_result *ret, struct err *err)
{
	struct erofs_device devices[2];
	int r = oci_layer_tree_finish(in->tree, &ret->entries, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < 2; i++) {
		memcpy(devices[i].tag, digest_hex(&ret->tar), EROFS_TAG_HEX_LEN + 1);
		devices[i].size = i ? in->side_size : in->tar_size;
	}
	if (in->side_size && ftruncate(in->job->side_fd, (off_t)in->side_size) < 0)
		return err_set(err, -errno, "write sparse files");
	r = erofs_write(oci_layer_tree_get(in->tree), devices, in->side_size ? 2 : 1,
			in->job->index_fd, err);
	if (r < 0)
		return err_wrap(err, r, "write index");
	ret->tar_size = in->tar_size;
	ret->side_size = in->side_size;
	return 0;
}

static int prepare(struct layer_in *in, struct err *err)
{
	enum digest_alg alg = digest_algorithm(&in->job->layer->diff_id);

	in->tar_hash = hash_new(DIGEST_SHA256);
	in->diff_hash = alg == DIGEST_SHA256 ? NULL : hash_new(alg);
	in->tree = oci_layer_tree_new(&in->limits);
	if (!in->tar_hash || (alg != DIGEST_SHA256 && !in->diff_hash) || !in->tree)
		return err_set(err, -ENOMEM, "read layer");
	(void)posix_fadvise(in->job->blob_fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	return 0;
}

static int run(struct layer_in *in, struct oci_layer_result *ret, struct err *err)
{
	const struct oci_tar_io io = {
		.next = on_next,
		.member = on_member,
		.sparse_data = on_sparse_data,
		.ctx = in,
	};
	pthread_t thread;
	int r = pthread_create(&thread, NULL, producer, in);

	if (r)
		return err_set(err, -r, "start a thread");
	r = oci_tar_in(&io, &in->limits, err);
	if (r < 0)
		ring_stop(&in->ring, r);
	(void)pthread_join(thread, NULL);
	/* a blob that is not what it should be explains any rubbish found inside */
	if (in->produce_code < 0 && (r == 0 || !in->blob_ok)) {
		if (err)
			*err = in->produce_err;
		return in->produce_code;
	}
	if (r == 0)
		r = finish_tar(in, ret, err);
	return r < 0 ? r : write_index(in, ret, err);
}

int oci_layer_in(const struct oci_layer_job *job, struct oci_layer_result *ret, struct err *err)
{
	struct layer_in in = {.job = job};
	struct oci_layer_result result = {.tar_size = 0};
	int r;

	oci_limits_fill(job->limits, &in.limits);
	r = ring_init(&in.ring);
	if (r < 0)
		return err_set(err, r, "read layer");
	r = prepare(&in, err);
	if (r == 0)
		r = run(&in, &result, err);
	hash_free(in.tar_hash);
	hash_free(in.diff_hash);
	oci_layer_tree_free(in.tree);
	ring_release(&in.ring);
	if (r < 0)
		return err_wrap(err, r, "layer %s", job->layer->desc.digest.text);
	*ret = result;
	return 0;
}
