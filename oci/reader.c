/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/reader.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "oci/inflate.h"
#include "oci/reader_wire.h"
#include "oci/tar_in.h"

#define FLUSH_AT (32u << 10) /* so much is told at once */
#define ORDERS	 64

struct serve {
	const struct oci_reader *reader;
	struct oci_inflate *inflate;
	struct strbuf answers; /* not told yet */
	/* the blob */
	unsigned int in_slot; /* being used */
	uint32_t in_len[READER_IN_SLOTS]; /* of those that are filled */
	unsigned int in_next, in_filled; /* where the next one goes; how many are */
	const uint8_t *in; /* what is left of the slot being used */
	size_t in_left;
	bool in_held, in_ended;
	/* the tar */
	unsigned int out_slot, out_free;
	size_t out_len; /* of the slot that is being parsed: not told yet */
	uint64_t out_at; /* where in all that it inflates to the slot begins */
	bool ended;
	/* of a table of contents in a tar: where in the tar it lies */
	struct toc_text *table;
	uint64_t table_at, table_size;
	bool has_table;
};

int oci_reader_open(struct oci_reader *ret, struct err *err)
{
	void *in =
		mmap(NULL, READER_IN_SLOTS * READER_IN_SIZE, PROT_READ, MAP_SHARED, READER_IN, 0);
	void *out = mmap(NULL, READER_OUT_SLOTS * READER_OUT_SIZE, PROT_READ | PROT_WRITE,
			 MAP_SHARED, READER_OUT, 0);

	if (in == MAP_FAILED || out == MAP_FAILED)
		return err_set(err, -errno, "map the shared memory");
	ret->in = in;
	ret->out = out;
	return 0;
}

static int flush(struct serve *s)
{
	int r = io_write_full(READER_SOCK, s->answers.s, s->answers.len);

	strbuf_reset(&s->answers);
	return r;
}

static int answer(struct serve *s, enum reader_answer_type type, uint32_t n)
{
	struct reader_answer a = {.type = type, .n = n};

	return strbuf_add(&s->answers, &a, sizeof(a));
}

/* Waits for orders. The end of the socket: who started this is gone, or wants no more. */
static int take_orders(struct serve *s)
{
	struct reader_order orders[ORDERS];
	size_t got = 0;
	int r = flush(s);

	if (r < 0)
		return r;
	do {
		ssize_t n = read(READER_SOCK, (char *)orders + got, sizeof(orders) - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -EPIPE;
		got += (size_t)n;
	} while (got == 0 || got % sizeof(orders[0]));
	for (size_t i = 0; i < got / sizeof(orders[0]); i++) {
		if (orders[i].type == READER_TAR_DONE) {
			s->out_free += orders[i].n;
			continue;
		}
		if (orders[i].n == 0) {
			s->in_ended = true;
			continue;
		}
		s->in_len[s->in_next] = orders[i].n;
		s->in_next = (s->in_next + 1) % READER_IN_SLOTS;
		s->in_filled++;
	}
	return 0;
}

/* More of the blob when nothing is left of what was there; then nothing: the end. */
static int need_input(struct serve *s)
{
	int r = 0;

	if (s->in_left > 0)
		return 0;
	if (s->in_held) {
		s->in_held = false;
		s->in_slot = (s->in_slot + 1) % READER_IN_SLOTS;
		r = answer(s, READER_INPUT_DONE, 1);
	}
	while (r == 0 && s->in_filled == 0 && !s->in_ended)
		r = take_orders(s);
	if (r < 0 || s->in_filled == 0)
		return r;
	s->in = s->reader->in + (size_t)s->in_slot * READER_IN_SIZE;
	s->in_left = s->in_len[s->in_slot];
	s->in_filled--;
	s->in_held = true;
	return 0;
}

/* Fills the slot, or as much of it as there is. */
static int inflate_slot(struct serve *s, uint8_t *slot, size_t *ret_len, struct err *err)
{
	struct oci_inflate_io io = {.out = slot, .out_len = READER_OUT_SIZE};

	while (io.out_len > 0) {
		bool end;
		int r = need_input(s);

		if (r < 0)
			return r;
		end = s->in_left == 0;
		io.in = s->in;
		io.in_len = s->in_left;
		r = oci_inflate_step(s->inflate, &io, err);
		s->in = io.in;
		s->in_left = io.in_len;
		if (r == 0 && end && io.out_len > 0) {
			r = oci_inflate_finish(s->inflate, err);
			s->ended = true;
			*ret_len = READER_OUT_SIZE - io.out_len;
			return r;
		}
		if (r < 0)
			return r;
	}
	*ret_len = READER_OUT_SIZE;
	return 0;
}

/* The parser is done with the last slot: only now is it told of, behind the members that are in it.
 */
static int tell_slot(struct serve *s)
{
	int r = answer(s, READER_TAR, (uint32_t)s->out_len);

	s->out_at += s->out_len;
	s->out_len = 0;
	s->out_slot = (s->out_slot + 1) % READER_OUT_SLOTS;
	s->out_free--;
	return r < 0 ? r : flush(s);
}

static int on_next(void *ctx, const void **ret_data, size_t *ret_len, struct err *err)
{
	struct serve *s = ctx;
	uint8_t *slot;
	int r = s->out_len ? tell_slot(s) : 0;

	*ret_len = 0;
	if (r < 0 || s->ended)
		return r;
	while (r == 0 && s->out_free == 0)
		r = take_orders(s);
	if (r < 0)
		return r;
	slot = s->reader->out + (size_t)s->out_slot * READER_OUT_SIZE;
	r = inflate_slot(s, slot, &s->out_len, err);
	if (r < 0)
		return r;
	*ret_data = slot;
	*ret_len = s->out_len;
	return 0;
}

static int on_member(void *ctx, const struct oci_tar_member *m, struct err *err)
{
	struct serve *s = ctx;
	int r = reader_put_member(&s->answers, m);

	if (r < 0)
		return err_set(err, r, "read layer");
	return s->answers.len > FLUSH_AT ? flush(s) : 0;
}

/* Where the data of a sparse member lies is told with the member. */
static int on_sparse_data(void *ctx, const void *data, size_t len, uint64_t pos, struct err *err)
{
	(void)ctx;
	(void)data;
	(void)len;
	(void)pos;
	(void)err;
	return 0;
}

static int on_chunk(void *ctx, const struct toc_chunk *c, struct err *err)
{
	struct serve *s = ctx;
	int r = reader_put_chunk(&s->answers, c);

	if (r < 0)
		return err_set(err, r, "read table");
	return s->answers.len > FLUSH_AT ? flush(s) : 0;
}

/* The bytes of the table that are in the slot that was parsed last. */
static int push_table(struct serve *s, struct err *err)
{
	const uint8_t *slot = s->reader->out + (size_t)s->out_slot * READER_OUT_SIZE;
	uint64_t from = s->table_at, to = s->table_at + s->table_size;

	if (from < s->out_at)
		from = s->out_at;
	if (to > s->out_at + s->out_len)
		to = s->out_at + s->out_len;
	return from < to ? toc_text_push(s->table, slot + (from - s->out_at), (size_t)(to - from),
					 err)
			 : 0;
}

static int on_next_with_table(void *ctx, const void **ret_data, size_t *ret_len, struct err *err)
{
	struct serve *s = ctx;
	int r = s->has_table ? push_table(s, err) : 0;

	return r < 0 ? r : on_next(s, ret_data, ret_len, err);
}

/* The tar's header of the table: it is the only file. */
static int on_table(void *ctx, const struct oci_tar_member *m, struct err *err)
{
	struct serve *s = ctx;

	if (s->has_table || m->type != OCI_TAR_REG || m->sparse)
		return err_msg(err, -EBADMSG, "something else is in its place");
	s->has_table = true;
	s->table_at = m->data;
	s->table_size = m->size;
	return on_member(s, m, err);
}

static int read_table_tar(struct serve *s, const struct oci_limits *limits, struct err *err)
{
	const struct oci_tar_io io = {.next = on_next_with_table,
				      .member = on_table,
				      .sparse_data = on_sparse_data,
				      .ctx = s};

	return oci_tar_in(&io, limits, err);
}

static int read_table(struct serve *s, struct err *err)
{
	const void *data;
	size_t len;
	int r;

	do {
		r = on_next(s, &data, &len, err);
		if (r == 0 && len > 0)
			r = toc_text_push(s->table, data, len, err);
	} while (r == 0 && len > 0);
	return r;
}

/* A table of contents, as it is or in a tar: its entries are told like members. */
static int read_contents(struct serve *s, const struct reader_start *start, struct err *err)
{
	const struct toc_text_out out = {.member = on_member, .chunk = on_chunk, .ctx = s};
	int r;

	s->table = toc_text_new(&out);
	if (!s->table)
		return err_set(err, -ENOMEM, "read table");
	r = start->content == READER_TABLE ? read_table(s, err)
					   : read_table_tar(s, &start->limits, err);
	return r < 0 ? r : toc_text_finish(s->table, err);
}

/* Who leaves a socket with orders unread takes from the other side what it has not read yet. */
static void wait_for_end(void)
{
	char ignored[256];
	ssize_t n;

	do
		n = read(READER_SOCK, ignored, sizeof(ignored));
	while (n > 0 || (n < 0 && errno == EINTR));
}

static int put_failure(struct strbuf *to, const struct err *err)
{
	struct reader_answer a = {.type = READER_FAILED, .n = sizeof(struct reader_failure)};
	struct reader_failure f = {.code = err->code};
	int r = strbuf_add(to, &a, sizeof(a));

	_Static_assert(sizeof(f.msg) == sizeof(err->msg) && sizeof(f.where) == sizeof(err->where) &&
			       sizeof(f.hint) == sizeof(err->hint),
		       "a failure has room for every text of an error");
	memcpy(f.msg, err->msg, sizeof(f.msg));
	memcpy(f.where, err->where, sizeof(f.where));
	memcpy(f.hint, err->hint, sizeof(f.hint));
	return r < 0 ? r : strbuf_add(to, &f, sizeof(f));
}

void oci_reader_fail(const struct err *err)
{
	struct strbuf text CLEANUP(strbuf_release) = STRBUF_INIT;

	if (put_failure(&text, err) == 0 && io_write_full(READER_SOCK, text.s, text.len) == 0)
		wait_for_end();
}

static int read_layer(struct serve *s, struct err *err)
{
	const struct oci_tar_io io = {
		.next = on_next, .member = on_member, .sparse_data = on_sparse_data, .ctx = s};
	struct reader_start start;
	int r = io_read_full(READER_SOCK, &start, sizeof(start));

	if (r < 0 || start.magic != READER_MAGIC || start.compression > OCI_ZSTD ||
	    start.content >= READER_CONTENTS)
		return err_msg(err, -EPERM, "the layer's reader is of another version");
	s->out_free = READER_OUT_SLOTS;
	s->inflate = oci_inflate_new((enum oci_compression)start.compression);
	if (!s->inflate)
		return err_set(err, -ENOMEM, "read layer");
	return start.content == READER_LAYER ? oci_tar_in(&io, &start.limits, err)
					     : read_contents(s, &start, err);
}

int oci_reader_serve(const struct oci_reader *reader)
{
	struct serve s = {.reader = reader};
	struct err err = ERR_INIT;
	int r;

	strbuf_init(&s.answers);
	r = read_layer(&s, &err);
	/* -EPIPE: nobody wants to hear why */
	if (r == 0) {
		r = answer(&s, READER_END, 0);
	} else if (r != -EPIPE) {
		if (!err.msg[0])
			(void)err_set(&err, r, "read layer");
		err.code = r;
		r = put_failure(&s.answers, &err);
	}
	if (r == 0)
		r = flush(&s);
	if (r == 0)
		wait_for_end();
	oci_inflate_free(s.inflate);
	toc_text_free(s.table);
	strbuf_release(&s.answers);
	return r;
}
