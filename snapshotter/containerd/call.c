/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/containerd/call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct call *call_new(const struct service_method *method)
{
	struct call *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	atomic_init(&c->refs, 1);
	c->method = method;
	c->deadline = INT64_MAX;
	strbuf_init(&c->request);
	strbuf_init(&c->out);
	grpc_reader_init(&c->reader);
	(void)pthread_mutex_init(&c->lock, NULL);
	return c;
}

struct call *call_ref(struct call *c)
{
	(void)atomic_fetch_add(&c->refs, 1);
	return c;
}

void call_unref(struct call *c)
{
	if (!c || atomic_fetch_sub(&c->refs, 1) != 1)
		return;
	(void)pthread_mutex_destroy(&c->lock);
	grpc_reader_release(&c->reader);
	strbuf_release(&c->request);
	strbuf_release(&c->out);
	free(c);
}

int call_send(struct call *c, const void *data, size_t len)
{
	int r;

	(void)pthread_mutex_lock(&c->lock);
	r = c->finished ? 0 : grpc_frame_add(&c->out, data, len);
	(void)pthread_mutex_unlock(&c->lock);
	return r;
}

void call_flush(struct call *c)
{
	c->wake(c->ctx, c);
}

static void set_message(struct call *c, const struct err *err)
{
	const char *behind = grpc_code_text(c->code);

	(void)snprintf(c->message, sizeof(c->message), "%s%s%s%s%s", err->where,
		       err->where[0] ? ": " : "", err->msg, behind ? ": " : "",
		       behind ? behind : "");
}

void call_finish(struct call *c, enum grpc_code code, const struct err *err)
{
	(void)pthread_mutex_lock(&c->lock);
	if (!c->finished) {
		c->finished = true;
		c->code = code;
		if (err && code != GRPC_OK)
			set_message(c, err);
	}
	(void)pthread_mutex_unlock(&c->lock);
	call_flush(c);
}

int64_t call_now(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
