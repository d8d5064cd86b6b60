/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "erofs/write.h"
#include "oci/layer_tree.h"
#include "oci/limits.h"
#include "oci/spans_private.h"
#include "oci/toc_private.h"

#define SELF "stargz.index.json"

struct toc_make {
	const struct oci_layer_ref *ref;
	const struct oci_limits *limits;
	struct oci_layer_tree *tree;
	uint64_t start; /* in the blob: behind all that is content */
	struct oci_span *pieces;
	size_t n, cap;
	uint64_t size; /* of the file of contents */
	/* the file whose chunks are being told */
	uint64_t file, file_size, file_done; /* where it begins; bytes */
	/* eStargz: the table as a file of the layer; where in what its member inflates to it is */
	bool has_self;
	struct oci_tar_member self;
	uint64_t self_skip;
};

static int bad(struct err *err, const char *what)
{
	return err_msg(err, -EBADMSG, "%s", what);
}

struct toc_make *toc_make_new(const struct oci_layer_ref *layer, const struct oci_limits *limits,
			      uint64_t start)
{
	struct toc_make *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->ref = layer;
	m->limits = limits;
	m->start = start;
	m->tree = oci_layer_tree_new(limits);
	if (!m->tree) {
		free(m);
		return NULL;
	}
	return m;
}

void toc_make_free(struct toc_make *m)
{
	if (!m)
		return;
	oci_layer_tree_free(m->tree);
	free(m->pieces);
	free(m);
}

/* @skip: bytes of what starts at @in that are in front of it. */
static int add_piece(struct toc_make *m, uint64_t in, uint64_t skip, uint64_t out, uint64_t len,
		     const struct digest *d, struct err *err)
{
	const struct oci_span *before = m->n ? &m->pieces[m->n - 1] : NULL;
	struct oci_span *x;

	if (digest_algorithm(d) != DIGEST_SHA256)
		return err_msg(err, -EOPNOTSUPP, "a digest is no sha256");
	if (in >= m->ref->desc.size || (before && in < before->in) ||
	    (before && in == before->in && skip < before->skip + before->out_len))
		return bad(err, "contents are not in the order of the blob");
	if (skip > OCI_SPAN_LONGEST || len > OCI_SPAN_LONGEST)
		return err_msg(err, -EOPNOTSUPP, "%" PRIu64 " MiB can only be had in one piece",
			       (skip + len) >> 20);
	if (m->n == m->limits->entries)
		return oci_limit_hit(err, "entries", m->limits->entries);
	if (m->n == m->cap) {
		size_t cap = m->cap ? 2 * m->cap : 1024;
		struct oci_span *p = reallocarray(m->pieces, cap, sizeof(*p));

		if (!p)
			return err_set(err, -ENOMEM, "spans");
		m->pieces = p;
		m->cap = cap;
	}
	x = &m->pieces[m->n++];
	*x = (struct oci_span){.out = out, .out_len = len, .in = in, .skip = skip, .fresh = true};
	spans_raw_digest(d, x->digest);
	return 0;
}

int toc_make_chunk(struct toc_make *m, const struct toc_chunk *c, struct err *err)
{
	uint64_t len = c->len;
	struct digest d;

	if (c->at != m->file_done || c->at >= m->file_size)
		return bad(err, "a file's chunks are not one behind the other");
	if (len == 0)
		len = m->file_size - c->at;
	if (len > m->file_size - c->at)
		return bad(err, "a chunk is longer than its file");
	if (!c->digest[0])
		return err_msg(err, -EOPNOTSUPP, "a chunk has no digest");
	if (digest_parse(c->digest, &d) < 0)
		return bad(err, "a chunk's digest is none");
	if (c->in >= m->start)
		return bad(err, "a content is outside");
	m->file_done += len;
	return add_piece(m, c->in, c->skip, m->file + c->at, len, &d, err);
}

/* The next file has its content behind the others'. */
static int place_file(struct toc_make *m, uint64_t size, struct err *err)
{
	m->file = m->size;
	m->file_size = size;
	m->file_done = 0;
	if (size > m->limits->bytes || m->size + size > m->limits->bytes)
		return oci_limit_hit(err, "bytes", m->limits->bytes);
	m->size += (size + 511) & ~511ULL;
	return 0;
}

static int end_file(struct toc_make *m, struct err *err)
{
	if (m->file_done != m->file_size)
		return bad(err, "chunks of a file are missing");
	m->file_size = m->file_done = 0;
	return 0;
}

int toc_make_member(struct toc_make *m, const struct oci_tar_member *member, struct err *err)
{
	struct oci_tar_member placed = *member;
	int r = end_file(m, err);

	if (r == 0 && member->sparse)
		r = bad(err, "it is sparse");
	if (r == 0 && member->type == OCI_TAR_REG) {
		r = place_file(m, member->size, err);
		placed.data = m->file;
	}
	return r < 0 ? r : oci_layer_tree_add(m->tree, &placed, 0, err);
}

int toc_make_self(struct toc_make *m, const struct oci_tar_member *member, struct err *err)
{
	if (member->type != OCI_TAR_REG || member->sparse || member->xattrs || member->acl_access ||
	    strcmp(member->path, SELF) != 0 || member->size == 0)
		return bad(err, "something else is in its place");
	m->has_self = true;
	m->self_skip = member->data;
	m->self = *member;
	m->self.path = SELF;
	m->self.link = "";
	return 0;
}

/* Behind all others, as in the tar. */
static int add_self(struct toc_make *m, struct err *err)
{
	int r = place_file(m, m->self.size, err);

	m->self.data = m->file;
	if (r == 0)
		r = oci_layer_tree_add(m->tree, &m->self, 0, err);
	return r < 0 ? r
		     : add_piece(m, m->start, m->self_skip, m->file, m->self.size,
				 &m->ref->toc.digest, err);
}

/* While it is made of its table the layer is not known by its tar, which may be another's, too. */
static int name_layer(const struct oci_layer_ref *ref, struct digest *ret)
{
	char text[4 * DIGEST_TEXT_MAX];
	int n = snprintf(text, sizeof(text), "layer by its table, 1\n%s\n%s\n%s\n",
			 ref->desc.digest.text, ref->diff_id.text, ref->toc.digest.text);

	return digest_buffer(DIGEST_SHA256, text, (size_t)n, ret);
}

/* Pieces that are near each other come together; what one member or frame has is never cut. */
static void group(struct toc_make *m, struct oci_spans *s)
{
	uint64_t size = 1u << 20, first = 0;

	for (size_t i = 0; i < m->n; i++) {
		struct oci_span *x = &m->pieces[i];
		bool self = m->has_self && i + 1 == m->n;

		x->starts =
			i == 0 || self || (x->in != x[-1].in && x->out + x->out_len - first > size);
		if (x->starts) {
			first = x->out;
			s->n++;
		}
	}
}

/* The spans, all as one file. */
static int write_spans(struct toc_make *m, const struct digest *layer, struct strbuf *spans,
		       struct err *err)
{
	struct oci_spans s = {.compression = m->ref->compression,
			      .by_table = true,
			      .blob_size = m->ref->desc.size,
			      .blob = m->ref->desc.digest,
			      .tar = m->ref->diff_id,
			      .layer = *layer,
			      .tar_size = m->size,
			      .tail = m->has_self ? m->ref->desc.size : m->start,
			      .pieces = m->pieces,
			      .n_pieces = m->n};

	group(m, &s);
	if (s.n > OCI_SPANS_MAX)
		return err_msg(err, -EOPNOTSUPP, "it makes more than %u spans", OCI_SPANS_MAX);
	return spans_write(&s, spans) < 0 ? err_set(err, -ENOMEM, "spans") : 0;
}

int toc_make_finish(struct toc_make *m, int index_fd, struct strbuf *spans,
		    struct oci_layer_result *ret, struct err *err)
{
	struct erofs_device device = {.size = 0};
	int r = end_file(m, err);

	if (r == 0 && m->has_self)
		r = add_self(m, err);
	if (r == 0 && m->n == 0)
		r = err_msg(err, -EOPNOTSUPP, "there are no contents");
	if (r == 0)
		r = oci_limits_check(m->limits, m->size, m->ref->desc.size, err);
	if (r == 0)
		r = oci_layer_tree_finish(m->tree, &ret->entries, err);
	if (r == 0 && name_layer(m->ref, &ret->tar) < 0)
		r = err_set(err, -EIO, "name layer");
	if (r < 0)
		return r;
	ret->tar_size = device.size = m->size;
	memcpy(device.tag, digest_hex(&ret->tar), EROFS_TAG_HEX_LEN + 1);
	r = erofs_write(oci_layer_tree_get(m->tree), &device, 1, index_fd, err);
	return r < 0 ? r : write_spans(m, &ret->tar, spans, err);
}
