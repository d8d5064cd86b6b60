/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/toc.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "oci/limits.h"
#include "oci/quote.h"
#include "oci/reader_start.h"
#include "oci/toc_private.h"

#define ESTARGZ_DIGEST "containerd.io/snapshot/stargz/toc.digest"
/* containers/storage to 1.43 without "github." */
#define CHUNKED_DIGEST	   "io.github.containers.zstd-chunked.manifest-checksum"
#define CHUNKED_PLACE	   "io.github.containers.zstd-chunked.manifest-position"
#define CHUNKED_DIGEST_OLD "io.containers.zstd-chunked.manifest-checksum"
#define CHUNKED_PLACE_OLD  "io.containers.zstd-chunked.manifest-position"
#define TYPE_CRFS	   1 /* of the table, in CHUNKED_PLACE */

static bool read_numbers(const char *text, uint64_t *n, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char *end;

		if (*text < '0' || *text > '9')
			return false;
		errno = 0;
		n[i] = strtoull(text, &end, 10);
		if (errno || n[i] > INT64_MAX || *end != (i + 1 < count ? ':' : '\0'))
			return false;
		text = end + 1;
	}
	return true;
}

void oci_toc_hint_read(const struct json *annotations, enum oci_compression compression,
		       struct oci_toc_hint *ret)
{
	const char *digest = NULL, *place = NULL;
	uint64_t n[4];

	memset(ret, 0, sizeof(*ret));
	if (compression == OCI_GZIP) {
		digest = json_string(json_get(annotations, ESTARGZ_DIGEST));
	} else if (compression == OCI_ZSTD) {
		digest = json_string(json_get(annotations, CHUNKED_DIGEST));
		place = json_string(
			json_get(annotations, digest ? CHUNKED_PLACE : CHUNKED_PLACE_OLD));
		if (!digest)
			digest = json_string(json_get(annotations, CHUNKED_DIGEST_OLD));
	}
	if (!digest)
		return;
	ret->kind = OCI_TOC_BAD;
	if (digest_parse(digest, &ret->digest) < 0)
		return;
	if (compression == OCI_GZIP) {
		ret->kind = OCI_TOC_ESTARGZ;
		return;
	}
	if (!place || !read_numbers(place, n, 4) || n[3] != TYPE_CRFS)
		return;
	ret->off = n[0];
	ret->len = n[1];
	ret->raw = n[2];
	ret->kind = OCI_TOC_ZSTD_CHUNKED;
}

int oci_toc_footer(const uint8_t footer[OCI_TOC_FOOTER], uint64_t blob_size, uint64_t *ret_start,
		   struct err *err)
{
	/* RFC 1952, 2.3.1: a member with an extra field of 26 bytes, "SG" of 22 */
	static const uint8_t head[] = {0x1f, 0x8b, 8, 4}, extra[] = {26, 0, 'S', 'G', 22, 0};
	char digits[17] = "", *end;
	uint64_t start;

	memcpy(digits, footer + 16, 16);
	if (memcmp(footer, head, sizeof(head)) != 0 ||
	    memcmp(footer + 10, extra, sizeof(extra)) != 0 ||
	    memcmp(footer + 32, "STARGZ", 6) != 0 || strspn(digits, "0123456789abcdef") != 16)
		return err_msg(err, -EBADMSG, "the blob has no footer of a table of contents");
	start = strtoull(digits, &end, 16);
	if (blob_size < OCI_TOC_FOOTER || start == 0 || start >= blob_size - OCI_TOC_FOOTER)
		return err_msg(err, -EBADMSG, "its table of contents is said to be outside");
	*ret_start = start;
	return 0;
}

/* Bytes of the blob to the reader, and what it says of them to the maker. */
struct toc_in {
	const struct oci_toc_job *job;
	struct oci_limits limits;
	struct oci_reader_link link;
	struct toc_make *make;
	struct reader_member member;
	bool in_tar;
	/* of the blob, what the reader gets */
	uint64_t pos, end;
	unsigned int in_slot, in_free;
	bool in_ended;
	/* what it inflates to */
	uint8_t *slot; /* out of the reader's reach */
	unsigned int out_next;
	uint64_t raw;
	/* eStargz: where in that the table lies, and the digest of it */
	bool has_self;
	uint64_t self_at, self_size, hashed;
	struct hash *hash;
};

static int check_digest(const struct digest *want, const struct digest *is, struct err *err)
{
	return digest_equal(is, want)
		       ? 0
		       : err_msg(err, -EBADMSG, "digest does not match: it is %s", is->text);
}

/* zstd:chunked: before it is looked into; of eStargz the digest is of what is inside. */
static int check_packed(const struct toc_in *in, struct err *err)
{
	const struct digest *want = &in->job->layer->toc.digest;
	struct hash *hash cleanup_hash = hash_new(digest_algorithm(want));
	uint8_t *buf cleanup_free = malloc(READER_IN_SIZE);
	struct digest is;
	int r = hash && buf ? 0 : -ENOMEM;

	for (uint64_t pos = in->pos; r == 0 && pos < in->end; pos += READER_IN_SIZE) {
		size_t n =
			in->end - pos < READER_IN_SIZE ? (size_t)(in->end - pos) : READER_IN_SIZE;

		r = io_pread_full(in->job->blob_fd, buf, n, (off_t)pos);
		if (r == 0)
			r = hash_update(hash, buf, n);
	}
	if (r == 0)
		r = hash_final(hash, &is);
	return r < 0 ? err_set(err, r, "read blob") : check_digest(want, &is, err);
}

/* As much of the blob as there are free slots. */
static int feed(struct toc_in *in, struct err *err)
{
	while (in->in_free > 0 && !in->in_ended) {
		uint8_t *slot = in->link.in + (size_t)in->in_slot * READER_IN_SIZE;
		size_t n = in->end - in->pos < READER_IN_SIZE ? (size_t)(in->end - in->pos)
							      : READER_IN_SIZE;
		int r = n ? io_pread_full(in->job->blob_fd, slot, n, (off_t)in->pos) : 0;

		if (r < 0)
			return err_set(err, r, "read blob");
		in->pos += n;
		in->in_ended = n == 0;
		in->in_slot = (in->in_slot + 1) % READER_IN_SLOTS;
		in->in_free--;
		if (oci_reader_order(&in->link, READER_INPUT, (uint32_t)n) < 0)
			return oci_reader_why(&in->link, err);
	}
	return 0;
}

static int take_member(struct toc_in *in, const char *body, size_t len, struct err *err)
{
	const struct oci_tar_member *m = &in->member.m;
	struct oci_quoted q;
	int r = reader_get_member(body, len, &in->member);

	if (r < 0)
		return r == -ENOMEM ? err_set(err, r, "read table") : oci_reader_no_sense(err);
	if (in->in_tar && !in->has_self) {
		in->has_self = true;
		in->self_at = m->data;
		in->self_size = m->size;
		return m->data < in->raw ? oci_reader_no_sense(err)
					 : toc_make_self(in->make, m, err);
	}
	r = toc_make_member(in->make, m, err);
	return r < 0 ? err_wrap(err, r, "entry %s", oci_quote(&q, m->path)) : 0;
}

/* The part of the slot that is the table. */
static int hash_self(struct toc_in *in, size_t len, struct err *err)
{
	uint64_t from = in->self_at + in->hashed, n = in->self_size - in->hashed;
	int r;

	if (!in->has_self || n == 0 || from >= in->raw + len)
		return 0;
	if (n > in->raw + len - from)
		n = in->raw + len - from;
	in->hashed += n;
	r = hash_update(in->hash, in->slot + (from - in->raw), (size_t)n);
	return r < 0 ? err_set(err, r, "hash table") : 0;
}

/* What is hashed has to be what it says that it read, so it is taken away first. */
static int take_raw(struct toc_in *in, uint32_t len, struct err *err)
{
	int r;

	if (len == 0 || len > READER_OUT_SIZE)
		return oci_reader_no_sense(err);
	memcpy(in->slot, in->link.out + (size_t)in->out_next * READER_OUT_SIZE, len);
	in->out_next = (in->out_next + 1) % READER_OUT_SLOTS;
	if (oci_reader_order(&in->link, READER_TAR_DONE, 1) < 0)
		return oci_reader_why(&in->link, err);
	r = hash_self(in, len, err);
	in->raw += len;
	if (r == 0 && in->raw > OCI_TOC_MAX)
		r = err_msg(err, -EOPNOTSUPP, "it is of more than %u bytes", OCI_TOC_MAX);
	return r;
}

static int on_answer(void *ctx, const struct reader_answer *a, const char *body, struct err *err)
{
	struct toc_in *in = ctx;
	struct toc_chunk chunk;

	switch (a->type) {
	case READER_INPUT_DONE:
		if (a->n > READER_IN_SLOTS - in->in_free)
			return oci_reader_no_sense(err);
		in->in_free += a->n;
		return feed(in, err);
	case READER_TAR:
		return take_raw(in, a->n, err);
	case READER_MEMBER:
		return take_member(in, body, a->n, err);
	case READER_CHUNK:
		return reader_get_chunk(body, a->n, &chunk) < 0
			       ? oci_reader_no_sense(err)
			       : toc_make_chunk(in->make, &chunk, err);
	default:
		return oci_reader_no_sense(err);
	}
}

/* It has been read to its end. */
static int check_end(struct toc_in *in, struct err *err)
{
	const struct oci_toc_hint *hint = &in->job->layer->toc;
	struct digest is;
	int r;

	if (!in->in_tar)
		return in->raw == hint->raw
			       ? 0
			       : err_msg(err, -EBADMSG,
					 "it inflates to another size than its annotation says");
	if (!in->has_self || in->hashed != in->self_size)
		return err_msg(err, -EBADMSG, "it is not where the footer says");
	r = hash_final(in->hash, &is);
	return r < 0 ? err_set(err, r, "hash table") : check_digest(&hint->digest, &is, err);
}

static int prepare(struct toc_in *in, struct err *err)
{
	const struct oci_layer_ref *layer = in->job->layer;
	uint64_t start = in->job->start, len = layer->desc.size - start;

	if (start > layer->desc.size ||
	    (!in->in_tar && (len < OCI_TOC_SKIPPABLE || layer->toc.len > len - OCI_TOC_SKIPPABLE ||
			     layer->toc.off != start + OCI_TOC_SKIPPABLE)))
		return err_msg(err, -EBADMSG, "it is said to be outside");
	if (len > OCI_TOC_MAX || layer->toc.raw > OCI_TOC_MAX)
		return err_msg(err, -EOPNOTSUPP, "it is of more than %u bytes", OCI_TOC_MAX);
	in->pos = in->in_tar ? start : layer->toc.off;
	in->end = in->in_tar ? layer->desc.size : in->pos + layer->toc.len;
	in->hash = hash_new(digest_algorithm(&layer->toc.digest));
	in->slot = malloc(READER_OUT_SIZE);
	in->make = toc_make_new(layer, &in->limits, start);
	if (!in->hash || !in->slot || !in->make)
		return err_set(err, -ENOMEM, "read table");
	return in->in_tar ? 0 : check_packed(in, err);
}

static int run(struct toc_in *in, struct err *err)
{
	int r = prepare(in, err);

	if (r == 0)
		r = oci_reader_start(&in->link, in->job->layer->compression,
				     in->in_tar ? READER_TABLE_TAR : READER_TABLE, &in->limits,
				     err);
	if (r == 0)
		r = feed(in, err);
	if (r == 0)
		r = oci_reader_listen(&in->link, on_answer, in, err);
	return r < 0 ? r : check_end(in, err);
}

int oci_toc_in(const struct oci_toc_job *job, struct strbuf *spans, struct oci_layer_result *ret,
	       struct err *err)
{
	struct toc_in in = {.job = job,
			    .link = OCI_READER_LINK_INIT,
			    .in_free = READER_IN_SLOTS,
			    .in_tar = job->layer->toc.kind == OCI_TOC_ESTARGZ};
	struct oci_layer_result result = {.entries = 0};
	int r;

	oci_limits_fill(job->limits, &in.limits);
	r = run(&in, err);
	if (r == 0)
		r = toc_make_finish(in.make, job->index_fd, spans, &result, err);
	oci_reader_end(&in.link);
	reader_member_release(&in.member);
	toc_make_free(in.make);
	hash_free(in.hash);
	free(in.slot);
	/* more than the reader may have: without the table it needs less */
	if (r == -ENOMEM)
		r = -EOPNOTSUPP;
	if (r < 0)
		return err_wrap(err, r, "table of contents");
	*ret = result;
	return 0;
}
