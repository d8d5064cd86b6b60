/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pthread.h>
#include <stdatomic.h>

#include "oci/http.h"
#include "oci/reference.h"
#include "oci/source.h"

/*
 * registry - requests to one registry (distribution specification 1.1): who we are (Basic, or
 * tokens of the realm that it names), redirects (credentials stay with their host), and patience
 * (429, 5xx and broken connections are tried again with growing pauses, as long as Retry-After asks
 * when that is a minute at most). Private to oci/. Any number of threads.
 */
#define REGISTRY_TRIES 6 /* without a byte of progress */

struct registry {
	struct http *http;
	struct oci_reference ref;
	struct oci_remote remote;
	char *creds, *authfile; /* what remote points to */
	bool push;
	char *mount_from; /* another name there of which we ask to read, too; under lock */
	char *base; /* "https://HOST" */
	pthread_mutex_t lock; /* over what follows */
	char *authorization; /* the header's value, or NULL */
	unsigned int generation; /* counts the values it had */
};

/* @spec: what follows "docker:", "//[HOST[:PORT]/]NAME[:TAG][@DIGEST]". Nothing is sent yet. */
int registry_open(const char *spec, const struct oci_remote *remote, bool push,
		  struct registry **ret, struct err *err) __attribute__((warn_unused_result));
void registry_close(struct registry *r);

/* "BASE/v2/NAME/" and what @fmt says: owned; NULL when out of memory. */
char *registry_url(const struct registry *r, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * One request and its answer, whatever the status is when it is neither a redirect, nor one that
 * asks for patience or for credentials. @req: the URL may be anywhere; credentials go only to the
 * registry itself. A request with a sink is tried again only as long as it was not called.
 */
int registry_request(struct registry *r, const struct http_request *req, struct http_answer *ret,
		     struct err *err) __attribute__((warn_unused_result));

/* The same, once, with redirects and credentials but without patience (a download has its own). */
int registry_try(struct registry *r, const struct http_request *req, struct http_answer *ret,
		 struct err *err) __attribute__((warn_unused_result));
/* Is that worth another try? @code: of registry_try(). */
bool registry_is_passing(int code, const struct http_answer *a);
/* Waits before try number @n (from 1), or as long as the answer asked. -ECANCELED. */
int registry_wait(unsigned int n, const struct http_answer *a, const _Atomic bool *cancel)
	__attribute__((warn_unused_result));

/* What an unwanted answer means: -ENOENT, -EACCES, -EIO..., @err with the registry's own words. */
int registry_error(const struct http_answer *a, const char *what, struct err *err)
	__attribute__((cold));

/*
 * registry_range.c: a part of a blob; an answer that starts over or sends more than was asked for
 * is fine, another range -EBADMSG.
 */
int registry_range(struct registry *r, const struct oci_descriptor *desc,
		   const struct oci_range *want, struct err *err)
	__attribute__((warn_unused_result));

/* referrers.c: the index of what refers to @subject, appended; -ENOENT. */
int registry_referrers(struct registry *r, const struct digest *subject, struct strbuf *out,
		       struct err *err) __attribute__((warn_unused_result));

/* registry_auth.c: does what @challenges (a line each) ask for; -EACCES: there is nothing more. */
int registry_authorize(struct registry *r, const char *challenges, unsigned int had,
		       struct err *err) __attribute__((warn_unused_result));
