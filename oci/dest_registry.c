/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "oci/http_range.h"
#include "oci/media.h"
#include "oci/referrers.h"
#include "oci/registry.h"
#include "oci/source_private.h"

#define CHUNK	    (16u << 20) /* larger blobs are sent in pieces, so that a break costs one */
#define ANSWER_MAX  (1u << 20)
#define UPLOADS_MAX 3 /* times that a blob is begun anew */
#define BREAKS_MAX  100

/* What is sent: a text or a file, from its start. */
struct content {
	const char *text;
	int fd;
	uint64_t size;
};

static void dest_close(void *impl)
{
	registry_close(impl);
}

/* Says early, and once, what is wrong with the place or with who we are. */
static int greet(struct registry *r, struct err *err)
{
	struct http_answer a cleanup_http_answer = HTTP_ANSWER_INIT;
	char *url cleanup_free = NULL;
	struct http_request req = {.method = "GET", .max = ANSWER_MAX};
	int code;

	if (asprintf(&url, "%s/v2/", r->base) < 0) {
		url = NULL;
		return err_set(err, -ENOMEM, "push");
	}
	req.url = url;
	code = registry_request(r, &req, &a, err);
	if (code == 0 && (a.status == 401 || a.status == 403))
		return registry_error(&a, r->ref.host, err);
	return code;
}

static int dest_open(const char *rest, const struct oci_remote *remote, void **ret_impl,
		     struct err *err)
{
	struct registry *r = NULL;
	int code = registry_open(rest, remote, true, &r, err);

	if (code == 0)
		code = greet(r, err);
	if (code < 0) {
		registry_close(r);
		return code;
	}
	*ret_impl = r;
	return 0;
}

/* 1: it is there, 0: it is not. */
static int blob_is_there(struct registry *r, const struct oci_descriptor *desc, struct err *err)
{
	struct http_answer a cleanup_http_answer = HTTP_ANSWER_INIT;
	char *url cleanup_free = registry_url(r, "blobs/%s", desc->digest.text);
	struct http_request req = {.method = "HEAD", .url = url, .max = ANSWER_MAX};
	int code = url ? registry_request(r, &req, &a, err) : err_set(err, -ENOMEM, "push");

	return code < 0 ? code : a.status == 200;
}

static bool dest_has(void *impl, const struct oci_descriptor *desc)
{
	/* not to be uploaded (image specification, "Non-Distributable Layers"): it has its own
	 * places */
	if (oci_media_of(desc->media_type).kind == OCI_KIND_FOREIGN)
		return true;
	return blob_is_there(impl, desc, NULL) == 1;
}

static int unwanted(const struct http_answer *a, const struct oci_descriptor *desc,
		    const char *step, struct err *err)
{
	char what[200];

	(void)snprintf(what, sizeof(what), "%s %s", step, desc->digest.text);
	return registry_error(a, what, err);
}

/* Where the upload goes on, as the answer says; the old place when it says nothing. */
static int next_place(const struct registry *r, const struct http_answer *a, char **place,
		      struct err *err)
{
	char *next;

	if (!a->location)
		return *place ? 0 : err_msg(err, -EBADMSG, "upload: the answer has no Location");
	next = http_url_join(*place ? *place : r->base, a->location);
	if (!next || (http_is_tls(r->base) && !http_is_tls(next))) {
		free(next);
		return err_msg(err, -EBADMSG, "upload: the answer has a bad Location");
	}
	free(*place);
	*place = next;
	return 0;
}

/* Begins an upload; with @from, asks for the blob of that repository instead: 1 when that was it.
 */
static int begin(struct registry *r, const struct oci_descriptor *desc, const char *from,
		 char **place, struct err *err)
{
	struct http_answer a cleanup_http_answer = HTTP_ANSWER_INIT;
	struct strbuf query CLEANUP(strbuf_release) = STRBUF_INIT;
	char *url cleanup_free = NULL;
	struct http_request req = {
		.method = "POST", .max = ANSWER_MAX, .has_body = true, .body = ""};
	int code = 0;

	if (from) {
		code = strbuf_adds(&query, "?mount=");
		if (code == 0)
			code = http_query_escape(desc->digest.text, &query);
		if (code == 0)
			code = strbuf_adds(&query, "&from=");
		if (code == 0)
			code = http_query_escape(from, &query);
	}
	url = code == 0 ? registry_url(r, "blobs/uploads/%s", query.s) : NULL;
	if (!url)
		return err_set(err, -ENOMEM, "push");
	req.url = url;
	code = registry_request(r, &req, &a, err);
	if (code < 0)
		return code;
	if (from && a.status == 201)
		return 1;
	if (a.status != 202)
		return unwanted(&a, desc, "begin of blob", err);
	free(*place);
	*place = NULL;
	return next_place(r, &a, place, err);
}

/* How much of the blob the registry has. */
static int ask_progress(struct registry *r, const struct oci_descriptor *desc, char **place,
			uint64_t *done, struct err *err)
{
	struct http_answer a cleanup_http_answer = HTTP_ANSWER_INIT;
	struct http_request req = {.method = "GET", .url = *place, .max = ANSWER_MAX};
	int code = registry_request(r, &req, &a, err);

	if (code < 0)
		return code;
	if (a.status != 204 && a.status != 202)
		return unwanted(&a, desc, "state of blob", err);
	*done = http_range_uploaded(a.range, desc->size);
	return next_place(r, &a, place, err);
}

static int send_chunks(struct registry *r, const struct oci_descriptor *desc,
		       const struct content *c, char **place, struct err *err)
{
	uint64_t done = 0;
	unsigned int breaks = 0;

	while (done < c->size) {
		struct http_answer a cleanup_http_answer = HTTP_ANSWER_INIT;
		uint64_t n = c->size - done < CHUNK ? c->size - done : CHUNK;
		char range[64];
		struct http_request req = {
			.method = "PATCH",
			.url = *place,
			.content_range = range,
			.has_body = true,
			.body_fd = c->fd,
			.body_pos = done,
			.body_size = n,
			.max = ANSWER_MAX,
		};
		int code;

		(void)snprintf(range, sizeof(range), "%" PRIu64 "-%" PRIu64, done, done + n - 1);
		code = registry_try(r, &req, &a, err);
		if (code == 0 && (a.status == 202 || a.status == 201 || a.status == 204)) {
			done += n;
			code = next_place(r, &a, place, err);
			if (code < 0)
				return code;
			continue;
		}
		if (!registry_is_passing(code, &a) && !(code == 0 && a.status == 416))
			return code < 0 ? code : unwanted(&a, desc, "blob", err);
		if (breaks++ == BREAKS_MAX)
			return err_msg(err, -ECONNABORTED, "blob %s: the upload broke %d times",
				       desc->digest.text, BREAKS_MAX);
		log_info("blob %s: the upload broke at byte %" PRIu64, desc->digest.text, done);
		if (registry_wait(1, code < 0 ? NULL : &a, NULL) < 0)
			return -ECANCELED;
		code = ask_progress(r, desc, place, &done, err);
		if (code < 0)
			return code;
	}
	return 0;
}

/* The last request of an upload, with the whole blob unless it is there in chunks. */
static int finish(struct registry *r, const struct oci_descriptor *desc, const struct content *c,
		  bool whole, const char *place, struct err *err)
{
	struct http_answer a cleanup_http_answer = HTTP_ANSWER_INIT;
	struct strbuf url CLEANUP(strbuf_release) = STRBUF_INIT;
	struct http_request req = {
		.method = "PUT", .has_body = true, .body = "", .max = ANSWER_MAX};
	int code = strbuf_addf(&url, "%s%cdigest=", place, strchr(place, '?') ? '&' : '?');

	if (code == 0)
		code = http_query_escape(desc->digest.text, &url);
	if (code < 0)
		return err_set(err, code, "push");
	req.url = url.s;
	if (whole) {
		req.body = c->text;
		req.body_fd = c->fd;
		req.body_size = c->size;
	}
	code = registry_try(r, &req, &a, err);
	if (code < 0)
		return code;
	if (registry_is_passing(0, &a)) {
		(void)unwanted(&a, desc, "blob", err);
		return -ECONNABORTED;
	}
	return a.status == 201 || a.status == 204 ? 0 : unwanted(&a, desc, "blob", err);
}

static int upload(struct registry *r, const struct oci_descriptor *desc, const struct content *c,
		  struct err *err)
{
	bool whole = c->text || c->size <= CHUNK;

	for (unsigned int n = 1;; n++) {
		char *place cleanup_free = NULL;
		int code = begin(r, desc, NULL, &place, err);

		if (code < 0)
			return code;
		if (!whole)
			code = send_chunks(r, desc, c, &place, err);
		if (code == 0)
			code = finish(r, desc, c, whole, place, err);
		/* -ENOENT: the registry forgot the upload */
		if (code == 0 || (code != -ECONNABORTED && code != -ENOENT) || n == UPLOADS_MAX)
			return code;
		/* the answer to the last request may have been lost, not what it did */
		if (blob_is_there(r, desc, NULL) == 1)
			return 0;
		if (registry_wait(n, NULL, NULL) < 0)
			return -ECANCELED;
	}
}

static int dest_blob(void *impl, const struct oci_descriptor *desc, int fd, struct err *err)
{
	struct content c = {.fd = fd, .size = desc->size};

	return upload(impl, desc, &c, err);
}

static bool dest_mount(void *impl, const struct oci_descriptor *desc, const char *ref)
{
	struct registry *r = impl;
	struct oci_reference from;
	char *place cleanup_free = NULL;
	int code;

	if (oci_reference_parse(ref, &from) < 0 || strcmp(from.host, r->ref.host) != 0 ||
	    strcmp(from.name, r->ref.name) == 0)
		return false;
	if (!r->mount_from || strcmp(r->mount_from, from.name) != 0) {
		char *name = strdup(from.name);

		if (!name)
			return false;
		(void)pthread_mutex_lock(&r->lock);
		free(r->mount_from);
		r->mount_from = name;
		/* a token for one repository alone is of no use now */
		if (r->authorization && strncmp(r->authorization, "Bearer", 6) == 0) {
			free(steal_ptr(&r->authorization));
			r->generation++;
		}
		(void)pthread_mutex_unlock(&r->lock);
	}
	/* an upload that was begun instead is left: registries forget them */
	code = begin(r, desc, from.name, &place, NULL);
	return code == 1;
}

static int put_manifest(struct registry *r, const struct oci_image *image, struct err *err)
{
	const struct oci_descriptor *desc = &image->manifest_desc;
	struct http_answer a cleanup_http_answer = HTTP_ANSWER_INIT;
	char *url cleanup_free =
		registry_url(r, "manifests/%s", r->ref.tag[0] ? r->ref.tag : desc->digest.text);
	struct http_request req = {
		.method = "PUT",
		.url = url,
		.content_type = desc->media_type,
		.has_body = true,
		.body = image->manifest,
		.body_size = desc->size,
		.max = ANSWER_MAX,
	};
	struct digest told;
	int code = url ? registry_request(r, &req, &a, err) : err_set(err, -ENOMEM, "push");

	if (code < 0)
		return code;
	if (a.status != 201 && a.status != 200)
		return unwanted(&a, desc, "manifest", err);
	if (a.content_digest && digest_parse(a.content_digest, &told) == 0 &&
	    digest_algorithm(&told) == digest_algorithm(&desc->digest) &&
	    !digest_equal(&told, &desc->digest))
		return err_msg(err, -EBADMSG, "the registry made %s of manifest %s", told.text,
			       desc->digest.text);
	return 0;
}

static int dest_image(void *impl, const struct oci_image *image, const char *ref, struct err *err)
{
	struct registry *r = impl;
	struct content config = {.text = image->config, .fd = -1, .size = image->config_desc.size};
	int code;

	(void)ref;
	if (r->ref.digest.text[0] && !digest_equal(&r->ref.digest, &image->manifest_desc.digest))
		return err_msg(err, -EINVAL, "the image is %s, not %s",
			       image->manifest_desc.digest.text, r->ref.digest.text);
	code = blob_is_there(r, &image->config_desc, err);
	if (code == 0)
		code = upload(r, &image->config_desc, &config, err);
	return code < 0 ? code : put_manifest(r, image, err);
}

static int put_text(struct registry *r, const char *name, const char *type, const char *text,
		    size_t len, struct err *err)
{
	struct http_answer a cleanup_http_answer = HTTP_ANSWER_INIT;
	char *url cleanup_free = registry_url(r, "manifests/%s", name);
	struct http_request req = {
		.method = "PUT",
		.url = url,
		.content_type = type,
		.has_body = true,
		.body = text,
		.body_size = len,
		.max = ANSWER_MAX,
	};
	int code = url ? registry_request(r, &req, &a, err) : err_set(err, -ENOMEM, "push");

	if (code < 0 || a.status == 201 || a.status == 200)
		return code;
	return registry_error(&a, name, err);
}

/*
 * The tag is written whether or not the registry keeps a list of its own: who has an older one in
 * front of it finds the artifact as well.
 */
static int dest_refer(void *impl, const struct oci_descriptor *desc, const char *text,
		      const struct oci_descriptor *subject, const char *type, struct err *err)
{
	struct registry *r = impl;
	struct strbuf old CLEANUP(strbuf_release) = STRBUF_INIT;
	struct strbuf list CLEANUP(strbuf_release) = STRBUF_INIT;
	char tag[OCI_REFERRERS_TAG_MAX];
	int code = put_text(r, desc->digest.text, desc->media_type, text, (size_t)desc->size, err);

	if (code == 0)
		code = registry_referrers(r, &subject->digest, &old, err);
	if (code == -ENOENT)
		code = 0;
	if (code == 0)
		code = oci_referrers_add(old.s, old.len, desc, type, &list, err);
	if (code < 0)
		return code;
	oci_referrers_tag(&subject->digest, tag);
	return put_text(r, tag, OCI_MEDIA_INDEX, list.s, list.len, err);
}

const struct oci_dest_ops oci_dest_registry = {
	.name = "docker",
	.open = dest_open,
	.close = dest_close,
	.has = dest_has,
	.mount = dest_mount,
	.blob = dest_blob,
	.image = dest_image,
	.refer = dest_refer,
};
