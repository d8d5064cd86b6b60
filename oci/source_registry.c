/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "oci/http_range.h"
#include "oci/media.h"
#include "oci/quote.h"
#include "oci/registry.h"
#include "oci/resolve.h"
#include "oci/source_private.h"

#define ACCEPT                                                                                     \
	OCI_MEDIA_INDEX ", " OCI_MEDIA_MANIFEST                                                    \
			", application/vnd.docker.distribution.manifest.list.v2+json"              \
			", application/vnd.docker.distribution.manifest.v2+json"
#define BREAKS_MAX 1000 /* of one download, however much each try brought */

struct source {
	struct registry *reg;
	char *text; /* the document that the reference named */
	struct oci_descriptor desc; /* of it */
};

static void source_close(void *impl)
{
	struct source *s = impl;

	if (!s)
		return;
	registry_close(s->reg);
	free(s->text);
	free(s);
}

static int source_open(const char *rest, const struct oci_remote *remote, void **ret_impl,
		       struct err *err)
{
	struct source *s = calloc(1, sizeof(*s));
	int r = s ? registry_open(rest, remote, false, &s->reg, err)
		  : err_set(err, -ENOMEM, "open registry");

	if (r < 0) {
		free(s);
		return r;
	}
	*ret_impl = s;
	return 0;
}

static bool is_document(const char *media_type)
{
	enum oci_media_kind kind = oci_media_of(media_type).kind;

	return kind == OCI_KIND_MANIFEST || kind == OCI_KIND_INDEX;
}

static int get_document(struct source *s, const char *where, const char *accept,
			struct http_answer *ret, struct err *err)
{
	char *url cleanup_free = registry_url(s->reg, "%s", where);
	char what[800];
	struct http_request req = {
		.method = "GET", .url = url, .accept = accept, .max = JSON_SIZE_MAX};
	int r = url ? registry_request(s->reg, &req, ret, err) : err_set(err, -ENOMEM, "%s", where);

	if (r < 0 || ret->status == 200)
		return r;
	(void)snprintf(what, sizeof(what), "%s/%s: %.200s", s->reg->ref.host, s->reg->ref.name,
		       where);
	return registry_error(ret, what, err);
}

static int source_fetch(void *ctx, const struct oci_descriptor *desc, char **ret, struct err *err)
{
	struct source *s = ctx;
	struct http_answer a cleanup_http_answer = HTTP_ANSWER_INIT;
	bool document = is_document(desc->media_type);
	char where[160];
	int r;

	if (s->text && digest_equal(&desc->digest, &s->desc.digest)) {
		*ret = strdup(s->text);
		return *ret ? 0 : err_set(err, -ENOMEM, "manifest");
	}
	(void)snprintf(where, sizeof(where), "%s/%s", document ? "manifests" : "blobs",
		       desc->digest.text);
	r = get_document(s, where, document ? desc->media_type : NULL, &a, err);
	if (r < 0)
		return r;
	if (a.body.len != desc->size)
		return err_msg(err, -EBADMSG, "document %s: size is %zu, it should be %" PRIu64,
			       desc->digest.text, a.body.len, desc->size);
	*ret = strbuf_steal(&a.body);
	return *ret ? 0 : err_set(err, -ENOMEM, "manifest");
}

/* What kind of document came: the header says it, or else the document. */
static int media_type_of(const struct http_answer *a, char ret[128], struct err *err)
{
	struct json *doc cleanup_json = NULL;
	const char *type = a->content_type ? a->content_type : "";
	size_t n = strcspn(type, "; \t");
	struct oci_quoted q;
	int r;

	if (n >= 128)
		n = 0;
	memcpy(ret, type, n);
	ret[n] = '\0';
	if (is_document(ret))
		return 0;
	r = json_parse(a->body.s, a->body.len, &doc, err);
	if (r < 0)
		return err_wrap(err, r, "manifest");
	type = json_string(json_get(doc, "mediaType"));
	if (json_string(json_get(doc, "mediaType")) && strlen(type) < 128)
		strcpy(ret, type);
	else if (json_get(doc, "manifests"))
		strcpy(ret, OCI_MEDIA_INDEX);
	else if (json_get(doc, "layers"))
		strcpy(ret, OCI_MEDIA_MANIFEST);
	if (!is_document(ret))
		return err_msg(err, -EBADMSG, "no image: media type %s", oci_quote(&q, ret));
	return 0;
}

/* The document that the reference names, held against the digest asked for, or told. */
static int get_first(struct source *s, struct err *err)
{
	const struct oci_reference *ref = &s->reg->ref;
	struct http_answer a cleanup_http_answer = HTTP_ANSWER_INIT;
	const bool fixed = ref->digest.text[0] != '\0';
	struct digest told, *want = NULL;
	char where[160];
	int r;

	(void)snprintf(where, sizeof(where), "manifests/%s", fixed ? ref->digest.text : ref->tag);
	r = get_document(s, where, ACCEPT, &a, err);
	if (r < 0)
		return r;
	if (a.content_digest && digest_parse(a.content_digest, &told) == 0)
		want = &told;
	if (fixed)
		s->desc.digest = ref->digest;
	else if (want)
		s->desc.digest = *want;
	r = digest_buffer(fixed || want ? digest_algorithm(&s->desc.digest) : DIGEST_SHA256,
			  a.body.s, a.body.len, &told);
	if (r < 0)
		return err_set(err, r, "digest of the manifest");
	if ((fixed || want) && !digest_equal(&told, &s->desc.digest))
		return err_msg(err, -EBADMSG, "manifest: digest does not match: %s, not %s",
			       told.text, s->desc.digest.text);
	s->desc.digest = told;
	s->desc.size = a.body.len;
	r = media_type_of(&a, s->desc.media_type, err);
	if (r < 0)
		return r;
	s->text = strbuf_steal(&a.body);
	return s->text ? 0 : err_set(err, -ENOMEM, "manifest");
}

static int source_image(void *impl, const struct oci_platform *platform, struct oci_image **ret,
			char **ret_ref, struct err *err)
{
	struct source *s = impl;
	struct oci_fetcher fetcher = {.fetch = source_fetch, .ctx = s};
	struct oci_image *image cleanup_oci_image = NULL;
	int r = s->text ? 0 : get_first(s, err);

	if (r == 0)
		r = oci_resolve(&fetcher, &s->desc, platform, &image, err);
	if (r < 0)
		return r;
	*ret_ref = oci_reference_format(&s->reg->ref);
	if (!*ret_ref)
		return err_set(err, -ENOMEM, "name of the image");
	*ret = steal_ptr(&image);
	return 0;
}

/* One download: a thread that fills a pipe, and goes on where it was when the connection breaks. */
struct download {
	struct oci_stream stream;
	struct registry *reg;
	struct oci_descriptor desc;
	pthread_t thread;
	int fd; /* the pipe's end */
	struct http_range range; /* what is not in the pipe yet */
	_Atomic bool cancel;
	int result;
	struct err err;
};

static int take_bytes(void *ctx, unsigned int status, const char *content_range, const void *data,
		      size_t len)
{
	struct download *d = ctx;
	int more = http_range_take(&d->range, status, content_range, &data, &len);

	if (more)
		return more < 0 ? more : -EFBIG;
	return io_write_full(d->fd, data, len);
}

static int download_once(struct download *d, struct http_answer *a, struct err *err)
{
	char *url cleanup_free = registry_url(d->reg, "blobs/%s", d->desc.digest.text);
	char range[40], what[200];
	struct http_request req = {
		.method = "GET",
		.url = url,
		.sink = take_bytes,
		.ctx = d,
		.max = 1u << 20,
		.cancel = &d->cancel,
	};
	int r;

	if (!url)
		return err_set(err, -ENOMEM, "blob %s", d->desc.digest.text);
	if (d->range.pos > 0) {
		(void)snprintf(range, sizeof(range), "bytes=%" PRIu64 "-", d->range.pos);
		req.range = range;
	}
	http_range_begin(&d->range);
	r = registry_try(d->reg, &req, a, err);
	if (r == -EFBIG)
		return err_msg(err, -EBADMSG,
			       "blob %s: size does not match: more than %" PRIu64 " bytes",
			       d->desc.digest.text, d->desc.size);
	if (r == -EBADMSG && d->range.looked)
		return err_msg(err, r, "blob %s: the registry sent another range than asked for",
			       d->desc.digest.text);
	if (r < 0)
		return r;
	if (a->status == 200 || a->status == 206)
		return 0;
	if (registry_is_passing(0, a))
		return err_msg(err, -ECONNABORTED, "blob %s: HTTP status %u", d->desc.digest.text,
			       a->status);
	if (a->status == 404 && oci_media_of(d->desc.media_type).kind == OCI_KIND_FOREIGN)
		return err_msg(err, -ENOENT,
			       "layer %s is not distributed with the image ('%s'), and not here",
			       d->desc.digest.text, d->desc.media_type);
	(void)snprintf(what, sizeof(what), "blob %s", d->desc.digest.text);
	return registry_error(a, what, err);
}

static int download_all(struct download *d)
{
	unsigned int idle = 0;

	for (unsigned int n = 0; d->range.pos < d->desc.size || n == 0; n++) {
		struct http_answer a cleanup_http_answer = HTTP_ANSWER_INIT;
		uint64_t before = d->range.pos;
		int r = download_once(d, &a, &d->err);

		if (r == 0 && d->range.pos == d->desc.size)
			return 0;
		if (r == 0) /* it ended early and called that the end */
			r = err_msg(&d->err, -ECONNABORTED,
				    "blob %s: size does not match: only %" PRIu64
				    " bytes, not %" PRIu64,
				    d->desc.digest.text, d->range.pos, d->desc.size);
		idle = d->range.pos > before ? 1 : idle + 1;
		if (r != -ECONNABORTED || idle == REGISTRY_TRIES || n == BREAKS_MAX)
			return r;
		log_info("%s: goes on at byte %" PRIu64, d->err.msg, d->range.pos);
		if (registry_wait(idle, &a, &d->cancel) < 0)
			return -ECANCELED;
	}
	return 0;
}

static void *download_thread(void *ctx)
{
	struct download *d = ctx;
	sigset_t set;

	/* who reads may go away: that is EPIPE, no signal */
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGPIPE);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	d->result = download_all(d);
	closep(&d->fd);
	return NULL;
}

static int download_finish(struct oci_stream *stream, struct err *err)
{
	struct download *d = (struct download *)stream;
	int r;

	d->cancel = true;
	(void)pthread_join(d->thread, NULL);
	r = d->result;
	/* the reader had enough, for a reason of its own */
	if (r == -EPIPE || r == -ECANCELED)
		r = 0;
	if (r < 0 && err)
		*err = d->err;
	free(d);
	return r;
}

static int source_blob(void *impl, const struct oci_descriptor *desc, struct oci_blob *ret,
		       struct err *err)
{
	struct source *s = impl;
	struct download *d cleanup_free = calloc(1, sizeof(*d));
	int fds[2], r;

	if (!d)
		return err_set(err, -ENOMEM, "blob %s", desc->digest.text);
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_set(err, -errno, "pipe");
	(void)fcntl(fds[1], F_SETPIPE_SZ, 1 << 20); /* less is only slower */
	d->stream.finish = download_finish;
	d->reg = s->reg;
	d->desc = *desc;
	d->range.end = desc->size;
	d->fd = fds[1];
	r = pthread_create(&d->thread, NULL, download_thread, d);
	if (r != 0) {
		(void)close(fds[0]);
		(void)close(fds[1]);
		return err_set(err, -r, "start a thread");
	}
	ret->fd = fds[0];
	ret->stream = &steal_ptr(&d)->stream;
	return 0;
}

static int source_range(void *impl, const struct oci_descriptor *desc, const struct oci_range *want,
			struct err *err)
{
	struct source *s = impl;

	return registry_range(s->reg, desc, want, err);
}

/*
 * Distribution specification 1.1, "Listing Referrers": the API, or the tag that stands for it where
 * a registry has none.
 */
static int source_referrers(void *impl, const struct digest *subject, struct strbuf *out,
			    struct err *err)
{
	struct source *s = impl;

	return registry_referrers(s->reg, subject, out, err);
}

static int source_document(void *impl, const struct oci_descriptor *desc, char **ret,
			   struct err *err)
{
	return source_fetch(impl, desc, ret, err);
}

const struct oci_source_ops oci_source_registry = {
	.name = "docker",
	.open = source_open,
	.close = source_close,
	.image = source_image,
	.blob = source_blob,
	.range = source_range,
	.referrers = source_referrers,
	.document = source_document,
};
