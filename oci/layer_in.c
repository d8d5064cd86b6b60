/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/layer_in.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "oci/layer_tree.h"
#include "oci/limits.h"
#include "oci/quote.h"
#include "oci/reader_start.h"

/*
 * Three work at once: a thread that reads and hashes the blob into shared memory; the layer's
 * reader, a process of its own, that inflates and parses; and the caller's thread, which hashes and
 * writes the tar and makes the tree of what the reader tells of it. Digests are made here, of bytes
 * that the reader can no longer change: whatever becomes of it, a layer is what its digests say.
 */
#define WRITEBACK  (16u << 20) /* so much dirty data is handed to the disk at a time */
#define LOOK_UP_MS 200

/* A sparse member whose data is yet to come: it goes to the side file as it passes by. */
struct sparse {
	struct sparse *next;
	uint64_t data, side; /* where its data begins in the tar, and in the side file */
	size_t n_map;
	struct oci_tar_segment map[];
};

struct layer_in {
	const struct oci_layer_job *job;
	struct oci_limits limits;
	struct oci_reader_link link;
	/* slots of the blob */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned int in_free; /* under lock */
	int stopped; /* nobody takes any more, and why: under lock */
	/* of the thread that reads the blob; the caller's reads the size meanwhile */
	int read_code;
	struct err read_err;
	bool blob_ok; /* read to its end, and size and digest hold */
	_Atomic uint64_t blob_size;
	/* the caller's thread */
	struct hash *tar_hash, *diff_hash; /* diff_hash: only when it is not sha256 */
	struct oci_layer_tree *tree;
	struct reader_member member;
	uint8_t *slot; /* the tar's bytes, out of the reader's reach */
	unsigned int out_next;
	uint64_t tar_size, written_back, data_end;
	uint64_t side_size;
	struct sparse *sparse, **sparse_last;
};

static bool is_cancelled(const struct layer_in *in)
{
	return in->job->cancel && atomic_load_explicit(in->job->cancel, memory_order_relaxed);
}

/* A free slot of the blob. False: nobody wants more. */
static bool take_slot(struct layer_in *in)
{
	bool more;

	(void)pthread_mutex_lock(&in->lock);
	while (in->in_free == 0 && !in->stopped)
		(void)pthread_cond_wait(&in->changed, &in->lock);
	more = !in->stopped;
	if (more)
		in->in_free--;
	(void)pthread_mutex_unlock(&in->lock);
	return more;
}

static int free_slots(struct layer_in *in, uint32_t n)
{
	bool good;

	(void)pthread_mutex_lock(&in->lock);
	good = n <= READER_IN_SLOTS - in->in_free;
	if (good)
		in->in_free += n;
	(void)pthread_cond_signal(&in->changed);
	(void)pthread_mutex_unlock(&in->lock);
	return good ? 0 : -EPROTO;
}

static void stop_reading(struct layer_in *in, int why)
{
	(void)pthread_mutex_lock(&in->lock);
	in->stopped = why;
	(void)pthread_cond_signal(&in->changed);
	(void)pthread_mutex_unlock(&in->lock);
}

/* Was the content's fault the reason that nobody takes any more? */
static bool was_refused(struct layer_in *in)
{
	bool refused;

	(void)pthread_mutex_lock(&in->lock);
	refused = in->stopped == -EBADMSG;
	(void)pthread_mutex_unlock(&in->lock);
	return refused;
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

/* A source may be silent for long: whoever waits for it looks up now and then. */
static int wait_for_blob(const struct layer_in *in, struct err *err)
{
	struct pollfd p = {.fd = in->job->blob_fd, .events = POLLIN};

	for (;;) {
		int n;

		if (is_cancelled(in))
			return err_msg(err, -ECANCELED, "cancelled");
		n = in->job->cancel ? poll(&p, 1, LOOK_UP_MS) : 1;
		if (n < 0 && errno != EINTR)
			return err_set(err, -errno, "wait for the blob");
		if (n > 0)
			return 0;
	}
}

/* One piece of the blob: counted, hashed, copied. @ret_n: 0 at the end. */
static int read_blob(struct layer_in *in, struct hash *hash, uint8_t *chunk, size_t *ret_n,
		     struct err *err)
{
	size_t want = READER_IN_SIZE;
	ssize_t n;
	int r = wait_for_blob(in, err);

	if (r < 0)
		return r;
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
static int read_all(struct layer_in *in, struct err *err)
{
	struct hash *hash cleanup_hash = hash_new(digest_algorithm(&in->job->layer->desc.digest));
	unsigned int slot = 0;
	bool wanted = true;
	size_t n = 0;
	int r;

	if (!hash)
		return err_set(err, -ENOMEM, "read blob");
	for (;;) {
		wanted = wanted && take_slot(in);
		/* a budget is ours to enforce, and a full disk a full disk, whatever the digest */
		if (!wanted && !was_refused(in))
			return 0;
		/* nobody looks at a slot that is not told of: room for what is only hashed */
		r = read_blob(in, hash, in->link.in + (size_t)slot * READER_IN_SIZE, &n, err);
		if (r < 0)
			return r;
		if (n == 0)
			break;
		if (in->blob_size > in->job->layer->desc.size)
			return check_blob(in, hash, err);
		if (!wanted)
			continue;
		slot = (slot + 1) % READER_IN_SLOTS;
		if (oci_reader_order(&in->link, READER_INPUT, (uint32_t)n) < 0)
			wanted = false;
	}
	r = check_blob(in, hash, err);
	if (r < 0)
		return r;
	in->blob_ok = true;
	if (wanted && oci_reader_order(&in->link, READER_INPUT, 0) < 0)
		return 0; /* the other thread finds out why */
	return 0;
}

static void *reading(void *arg)
{
	struct layer_in *in = arg;

	in->read_code = read_all(in, &in->read_err);
	if (in->read_code < 0)
		oci_reader_hang_up(&in->link);
	return NULL;
}

/* Its data comes with the slots that are told of behind it. */
static int expect_sparse(struct layer_in *in, const struct oci_tar_member *m, struct err *err)
{
	struct sparse *s;

	if (m->data < in->tar_size)
		return oci_reader_no_sense(err);
	s = malloc(sizeof(*s) + m->n_map * sizeof(s->map[0]));
	if (!s)
		return err_set(err, -ENOMEM, "read layer");
	s->next = NULL;
	s->data = m->data;
	s->side = in->side_size;
	s->n_map = m->n_map;
	memcpy(s->map, m->map, m->n_map * sizeof(s->map[0]));
	*in->sparse_last = s;
	in->sparse_last = &s->next;
	return 0;
}

static int take_member(struct layer_in *in, const char *body, size_t len, struct err *err)
{
	const struct oci_tar_member *m = &in->member.m;
	uint64_t stored, base = in->side_size;
	struct oci_quoted q;
	int r = reader_get_member(body, len, &in->member);

	if (r < 0)
		return r == -ENOMEM ? err_set(err, r, "read layer") : oci_reader_no_sense(err);
	stored = m->size;
	if (m->sparse) {
		uint64_t room = (m->size + 511) & ~511ULL;

		if (room > OCI_TAR_SIZE_MAX - in->side_size)
			return err_msg(err, -EFBIG,
				       "sparse files of more than an index can address");
		stored = 0;
		for (size_t i = 0; i < m->n_map; i++)
			stored += m->map[i].len;
		if (m->n_map) {
			r = expect_sparse(in, m, err);
			if (r < 0)
				return r;
			in->side_size += room;
		}
	}
	if (stored && m->data + stored > in->data_end)
		in->data_end = m->data + stored;
	r = oci_layer_tree_add(in->tree, m, base, err);
	return r < 0 ? err_wrap(err, r, "entry %s", oci_quote(&q, m->path)) : 0;
}

/* Of the slot's bytes [tar_size, tar_size + len), those that are data of @s. 1: there will be more.
 */
static int write_sparse(struct layer_in *in, const struct sparse *s, size_t len, struct err *err)
{
	uint64_t from = s->data, begin = in->tar_size, end = begin + len;

	for (size_t i = 0; i < s->n_map; i++) {
		uint64_t to = from + s->map[i].len, a = from > begin ? from : begin,
			 b = to < end ? to : end;
		int r;

		if (a < b) {
			r = io_pwrite_full(in->job->side_fd, in->slot + (a - begin),
					   (size_t)(b - a),
					   (off_t)(s->side + s->map[i].offset + (a - from)));
			if (r < 0)
				return err_set(err, r, "write sparse file");
		}
		from = to;
	}
	return from > end;
}

static int write_sparse_files(struct layer_in *in, size_t len, struct err *err)
{
	while (in->sparse) {
		struct sparse *s = in->sparse;
		int r = write_sparse(in, s, len, err);

		if (r != 0)
			return r < 0 ? r : 0;
		in->sparse = s->next;
		if (!in->sparse)
			in->sparse_last = &in->sparse;
		free(s);
	}
	return 0;
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
	r = write_sparse_files(in, len, err);
	in->tar_size += len;
	write_back(in);
	return r;
}

/* What is hashed has to be what is written, so it is taken away first. */
static int take_tar(struct layer_in *in, uint32_t len, struct err *err)
{
	int r;

	if (len == 0 || len > READER_OUT_SIZE)
		return oci_reader_no_sense(err);
	if (is_cancelled(in))
		return err_msg(err, -ECANCELED, "cancelled");
	memcpy(in->slot, in->link.out + (size_t)in->out_next * READER_OUT_SIZE, len);
	in->out_next = (in->out_next + 1) % READER_OUT_SLOTS;
	if (oci_reader_order(&in->link, READER_TAR_DONE, 1) < 0)
		return oci_reader_why(&in->link, err);
	r = keep_tar(in, in->slot, len, err);
	return r < 0 ? r : oci_limits_check(&in->limits, in->tar_size, in->blob_size, err);
}

static int on_answer(void *ctx, const struct reader_answer *a, const char *body, struct err *err)
{
	struct layer_in *in = ctx;

	switch (a->type) {
	case READER_INPUT_DONE:
		return free_slots(in, a->n) < 0 ? oci_reader_no_sense(err) : 0;
	case READER_TAR:
		return take_tar(in, a->n, err);
	case READER_MEMBER:
		return take_member(in, body, a->n, err);
	default:
		return oci_reader_no_sense(err);
	}
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
	if (in->data_end > in->tar_size || in->sparse)
		return oci_reader_no_sense(err);
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
	in->slot = malloc(READER_OUT_SIZE);
	if (!in->tar_hash || (alg != DIGEST_SHA256 && !in->diff_hash) || !in->tree || !in->slot)
		return err_set(err, -ENOMEM, "read layer");
	(void)posix_fadvise(in->job->blob_fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	return oci_reader_start(&in->link, in->job->layer->compression, READER_LAYER, &in->limits,
				err);
}

static int run(struct layer_in *in, struct oci_layer_result *ret, struct err *err)
{
	pthread_t thread;
	int r = pthread_create(&thread, NULL, reading, in);

	if (r)
		return err_set(err, -r, "start a thread");
	r = oci_reader_listen(&in->link, on_answer, in, err);
	if (r < 0)
		stop_reading(in, r);
	(void)pthread_join(thread, NULL);
	/* a blob that is not what it should be explains any rubbish found inside */
	if (in->read_code < 0 && (r == 0 || !in->blob_ok)) {
		if (err)
			*err = in->read_err;
		return in->read_code;
	}
	if (r == -EPERM)
		err_hint(err, "'snap doctor' says what is missing; --no-sandbox does without, for "
			      "images that are trusted");
	if (r == 0)
		r = finish_tar(in, ret, err);
	return r < 0 ? r : write_index(in, ret, err);
}

static void release(struct layer_in *in)
{
	oci_reader_end(&in->link);
	hash_free(in->tar_hash);
	hash_free(in->diff_hash);
	oci_layer_tree_free(in->tree);
	reader_member_release(&in->member);
	free(in->slot);
	while (in->sparse) {
		struct sparse *s = in->sparse;

		in->sparse = s->next;
		free(s);
	}
	(void)pthread_cond_destroy(&in->changed);
	(void)pthread_mutex_destroy(&in->lock);
}

int oci_layer_in(const struct oci_layer_job *job, struct oci_layer_result *ret, struct err *err)
{
	struct layer_in in = {.job = job,
			      .link = OCI_READER_LINK_INIT,
			      .lock = PTHREAD_MUTEX_INITIALIZER,
			      .changed = PTHREAD_COND_INITIALIZER,
			      .in_free = READER_IN_SLOTS,
			      .sparse_last = &in.sparse};
	struct oci_layer_result result = {.tar_size = 0};
	int r;

	oci_limits_fill(job->limits, &in.limits);
	r = prepare(&in, err);
	if (r == 0)
		r = run(&in, &result, err);
	release(&in);
	if (r < 0)
		return err_wrap(err, r, "layer %s", job->layer->desc.digest.text);
	*ret = result;
	return 0;
}
