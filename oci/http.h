/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/strbuf.h"

/*
 * http - one request and its answer (HTTP/1.1 and 2, TLS). No redirects,
 * retries or credentials of its own: oci/registry.h knows what they mean. Any number of threads;
 * connections are kept and used again.
 */
struct http;
/* @insecure: no certificate is checked. -ELIBACC: no libcurl here (oci/curl.h); -ENOMEM. */
int http_new(bool insecure, struct http **ret, struct err *err) __attribute__((warn_unused_result));
void http_free(struct http *h);

#define HTTP_HEADER_MAX	 8192 /* bytes of a header that is kept; longer ones are not seen */
#define HTTP_HEADERS_MAX (256u << 10) /* bytes of all of an answer's headers */

struct http_request {
	const char *method; /* upper case */
	const char *url; /* http or https, no user information */
	const char *authorization; /* value of that header, or NULL */
	const char *accept; /* or NULL */
	const char *content_type; /* of the body, or NULL */
	const char *range; /* "Range: bytes=...": its value, or NULL */
	const char *content_range; /* of an upload's chunk, or NULL */
	/* The body, if there is one: a text, or a piece of a file. */
	const char *body;
	int body_fd; /* used when @body is NULL and @has_body */
	uint64_t body_pos, body_size;
	bool has_body;
	/* The answer's body when the status is 200 or 206; -ECANCELED and others end the request.
	 */
	int (*sink)(void *ctx, unsigned int status, const char *content_range, const void *data,
		    size_t len);
	void *ctx;
	size_t max; /* bytes of an answer's body that is kept; more is -EFBIG */
	const _Atomic bool *cancel; /* or NULL */
};

struct http_answer {
	unsigned int status;
	char *location, *content_type, *content_digest, *content_range, *range, *retry_after;
	struct strbuf challenges; /* values of WWW-Authenticate, a line each */
	struct strbuf body; /* what no sink took */
};
#define HTTP_ANSWER_INIT                                                                           \
	{                                                                                          \
		.challenges = STRBUF_INIT, .body = STRBUF_INIT                                     \
	}
void http_answer_release(struct http_answer *a);
#define cleanup_http_answer __attribute__((cleanup(http_answer_release)))

/*
 * 0 whatever the status is. -ECONNABORTED: the connection could not be made or broke, so that it is
 * worth another try; -EPROTO: no TLS spoken there; -EKEYREJECTED: a certificate that does not hold;
 * -EHOSTUNREACH: no such host; -EFBIG, -ECANCELED.
 */
int http_perform(struct http *h, const struct http_request *req, struct http_answer *ret,
		 struct err *err) __attribute__((warn_unused_result));

/* @location (relative or not) as seen from @base: owned. NULL: no http(s) URL, or it has user
 * information. */
char *http_url_join(const char *base, const char *location);
/* Do both lead to the same scheme, host and port? */
bool http_same_origin(const char *a, const char *b);
bool http_is_tls(const char *url);
/* Is its host this machine: localhost, 127.0.0.0/8, ::1? */
bool http_is_loopback(const char *url);
/* Appends @text, escaped as a query's value. */
int http_query_escape(const char *text, struct strbuf *out) __attribute__((warn_unused_result));
