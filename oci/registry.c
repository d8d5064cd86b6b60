/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/registry.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/log.h"
#include "oci/quote.h"

#define REDIRECTS_MAX	  5
#define RETRY_SECONDS_MAX 60
#define PAUSE_MAX_MS	  8000u

void registry_close(struct registry *r)
{
	if (!r)
		return;
	http_free(r->http);
	if (r->authorization)
		explicit_bzero(r->authorization, strlen(r->authorization));
	if (r->creds)
		explicit_bzero(r->creds, strlen(r->creds));
	free(r->authorization);
	free(r->creds);
	free(r->authfile);
	free(r->mount_from);
	free(r->base);
	(void)pthread_mutex_destroy(&r->lock);
	free(r);
}
DEFINE_CLEANUP(struct registry *, registry_close)

static int set_base(struct registry *r, const char *scheme)
{
	/* the one host whose registry has another name */
	const char *host =
		strcmp(r->ref.host, "docker.io") == 0 ? "registry-1.docker.io" : r->ref.host;
	char *base;

	if (asprintf(&base, "%s://%s", scheme, host) < 0)
		return -ENOMEM;
	free(r->base);
	r->base = base;
	return 0;
}

int registry_open(const char *spec, const struct oci_remote *remote, bool push,
		  struct registry **ret, struct err *err)
{
	struct registry *r CLEANUP(registry_closep) = NULL;
	struct oci_reference ref;
	struct oci_quoted q;
	int code;

	if (strncmp(spec, "//", 2) != 0 || oci_reference_parse(spec + 2, &ref) < 0) {
		(void)err_msg(err, -EINVAL, "%s is no image's reference", oci_quote(&q, spec));
		err_hint(err, "docker://[HOST[:PORT]/]NAME[:TAG|@DIGEST]");
		return -EINVAL;
	}
	r = calloc(1, sizeof(*r));
	if (!r)
		return err_set(err, -ENOMEM, "open registry");
	(void)pthread_mutex_init(&r->lock, NULL);
	r->ref = ref;
	r->push = push;
	r->remote = *remote;
	r->creds = remote->creds ? strdup(remote->creds) : NULL;
	r->authfile = remote->authfile ? strdup(remote->authfile) : NULL;
	r->remote.creds = r->creds;
	r->remote.authfile = r->authfile;
	code = http_new(remote->insecure, &r->http, err);
	if (code < 0)
		return code;
	if (set_base(r, "https") < 0 || (remote->creds && !r->creds) ||
	    (remote->authfile && !r->authfile))
		return err_set(err, -ENOMEM, "open registry");
	*ret = steal_ptr(&r);
	return 0;
}

char *registry_url(const struct registry *r, const char *fmt, ...)
{
	char *tail cleanup_free = NULL, *url;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&tail, fmt, ap);
	va_end(ap);
	if (n < 0) {
		tail = NULL;
		return NULL;
	}
	return asprintf(&url, "%s/v2/%s/%s", r->base, r->ref.name, tail) < 0 ? NULL : url;
}

static char *authorization_for(struct registry *r, const char *url, unsigned int *ret_generation)
{
	char *copy = NULL;

	(void)pthread_mutex_lock(&r->lock);
	*ret_generation = r->generation;
	if (r->authorization && http_same_origin(url, r->base))
		copy = strdup(r->authorization);
	(void)pthread_mutex_unlock(&r->lock);
	return copy;
}

static bool is_redirect(const struct http_request *req, const struct http_answer *a)
{
	if (!a->location)
		return false;
	if (a->status == 307 || a->status == 308)
		return true;
	/* these make a GET of what had a body: only followed where that changes nothing */
	return (a->status == 301 || a->status == 302 || a->status == 303) && !req->has_body &&
	       (strcmp(req->method, "GET") == 0 || strcmp(req->method, "HEAD") == 0);
}

static int follow(const struct http_answer *a, char **url, struct err *err)
{
	char *next = http_url_join(*url, a->location);
	struct oci_quoted q;

	if (!next)
		return err_msg(err, -EBADMSG, "%s: redirected to %s", *url,
			       oci_quote(&q, a->location));
	if (http_is_tls(*url) && !http_is_tls(next)) {
		int r = err_msg(err, -EBADMSG, "%s: redirected to %s, without TLS", *url,
				oci_quote(&q, next));

		free(next);
		return r;
	}
	free(*url);
	*url = next;
	return 0;
}

/* The first request tells whether it is TLS that is spoken; plain HTTP only on this machine. */
static int fall_back(struct registry *r, int code, const char *url, struct err *err)
{
	if (code != -EPROTO || !r->remote.insecure || !http_same_origin(url, r->base))
		return code;
	if (!http_is_loopback(r->base)) {
		err_hint(err, "plain HTTP is only spoken to this machine");
		return code;
	}
	log_debug("%s: no TLS, plain HTTP from here on", r->base);
	return set_base(r, "http") < 0 ? -ENOMEM : 1;
}

/* @url as it is now spoken: what was begun with TLS goes on without it after fall_back(). */
static char *current_url(const struct registry *r, const char *url)
{
	const char *host = strstr(r->base, "://");
	size_t n = strlen(host);
	char *plain;

	if (strncmp(r->base, "http:", 5) != 0 || strncmp(url, "https", 5) != 0 ||
	    strncmp(url + 5, host, n) != 0 || url[5 + n] != '/')
		return strdup(url);
	return asprintf(&plain, "http%s", url + 5) < 0 ? NULL : plain;
}

int registry_try(struct registry *r, const struct http_request *req, struct http_answer *ret,
		 struct err *err)
{
	char *url cleanup_free = current_url(r, req->url);
	unsigned int redirects = 0, asked = 0;

	if (!url)
		return err_set(err, -ENOMEM, "%s", req->url);
	for (;;) {
		char *authorization cleanup_free = NULL;
		struct http_request own = *req;
		unsigned int had;
		int code;

		own.url = url;
		own.authorization = authorization = authorization_for(r, url, &had);
		code = http_perform(r->http, &own, ret, err);
		if (code < 0) {
			code = fall_back(r, code, url, err);
			if (code < 0)
				return code;
			free(url);
			url = current_url(r, req->url);
			if (!url)
				return err_set(err, -ENOMEM, "%s", req->url);
			continue;
		}
		if (ret->status == 401 && asked++ < 2 && http_same_origin(url, r->base)) {
			code = registry_authorize(r, ret->challenges.s, had, err);
			if (code == -EAGAIN)
				return 0; /* nothing more to offer: the answer stands */
			if (code < 0)
				return code;
			continue;
		}
		if (!is_redirect(req, ret))
			return 0;
		if (redirects++ == REDIRECTS_MAX)
			return err_msg(err, -ELOOP, "%s: more than %d redirects", req->url,
				       REDIRECTS_MAX);
		code = follow(ret, &url, err);
		if (code < 0)
			return code;
	}
}

bool registry_is_passing(int code, const struct http_answer *a)
{
	if (code < 0)
		return code == -ECONNABORTED;
	return a->status == 408 || a->status == 429 || a->status == 500 || a->status == 502 ||
	       a->status == 503 || a->status == 504;
}

int registry_wait(unsigned int n, const struct http_answer *a, const _Atomic bool *cancel)
{
	const struct timespec step = {.tv_nsec = 20000000};
	unsigned int ms = n > 6 ? PAUSE_MAX_MS : 100u << n, noise = 0;
	char *end;

	if (getrandom(&noise, sizeof(noise), GRND_NONBLOCK) < 0)
		noise = 0;
	ms = ms > PAUSE_MAX_MS ? PAUSE_MAX_MS : ms;
	ms = ms / 2 + noise % (ms / 2 + 1); /* so that many do not come back at once */
	if (a && a->retry_after) {
		unsigned long s = strtoul(a->retry_after, &end, 10);

		if (end != a->retry_after && *end == '\0' && s <= RETRY_SECONDS_MAX)
			ms = (unsigned int)s * 1000;
	}
	for (unsigned int waited = 0; waited < ms; waited += 20) {
		if (cancel && *cancel)
			return -ECANCELED;
		(void)nanosleep(&step, NULL);
	}
	return 0;
}

int registry_request(struct registry *r, const struct http_request *req, struct http_answer *ret,
		     struct err *err)
{
	for (unsigned int n = 1;; n++) {
		int code = registry_try(r, req, ret, err);

		if (!registry_is_passing(code, ret) || n == REGISTRY_TRIES)
			return code;
		log_info("%s: %s, try %u of %d", req->url, code < 0 && err ? err->msg : "busy",
			 n + 1, REGISTRY_TRIES);
		if (registry_wait(n, code < 0 ? NULL : ret, req->cancel) < 0)
			return err_msg(err, -ECANCELED, "cancelled");
	}
}

/* {"errors":[{"code":...,"message":...}]}: the first one's words. */
static const char *own_words(const struct http_answer *a, struct json **doc)
{
	const struct json *first;
	const char *text;

	if (a->body.len == 0 || json_parse(a->body.s, a->body.len, doc, NULL) < 0)
		return NULL;
	first = json_at(json_get(*doc, "errors"), 0);
	text = json_string(json_get(first, "message"));
	return text && text[0] ? text : json_string(json_get(first, "code"));
}

int registry_error(const struct http_answer *a, const char *what, struct err *err)
{
	struct json *doc cleanup_json = NULL;
	const char *words = own_words(a, &doc);
	struct oci_quoted q;
	int code = -EIO;

	if (a->status == 401 || a->status == 403)
		code = -EACCES;
	else if (a->status == 404)
		code = -ENOENT;
	(void)err_msg(err, code, "%s: HTTP status %u%s%s", what, a->status, words ? ": " : "",
		      words ? oci_quote(&q, words) : "");
	if (code == -EACCES)
		err_hint(err, "--creds USER:PASSWORD, or 'podman login'");
	return code;
}
