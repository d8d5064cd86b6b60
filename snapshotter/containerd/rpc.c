/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/containerd/rpc.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "snapshotter/containerd/service.h"

/* Takes the call off its stream; what a worker still makes of it is dropped. */
static void forget(struct rpc *rpc, struct call *c)
{
	if (c->prev)
		c->prev->next = c->next;
	else
		rpc->active = c->next;
	if (c->next)
		c->next->prev = c->prev;
	rpc->n_active--;
	h2_stream_set_user(c->stream, NULL);
	c->stream = NULL;
	atomic_store(&c->cancelled, true);
	call_unref(c);
}

static void finish_stream(struct h2_stream *s, enum grpc_code code, const char *message)
{
	struct strbuf text CLEANUP(strbuf_release) = STRBUF_INIT;

	/* without memory for it the stream stays open until the client gives up */
	if (message[0] && grpc_message_encode(message, &text) < 0)
		return;
	(void)!h2_stream_finish(s, code, text.len ? text.s : NULL);
}

static void fail(struct rpc *rpc, struct call *c, enum grpc_code code, const char *message)
{
	finish_stream(c->stream, code, message); /* which may be the call's own text */
	forget(rpc, c);
}

static bool is_grpc(const struct h2_request *q)
{
	static const char type[] = "application/grpc";
	const char *t = q->content_type;

	return t && strncmp(t, type, sizeof(type) - 1) == 0 &&
	       strchr("+;", t[sizeof(type) - 1]) != NULL;
}

/* NULL: answered already. */
static const struct service_method *check_request(struct rpc *rpc, struct h2_stream *s,
						  const struct h2_request *q, int64_t *ret_timeout)
{
	const struct service_method *m;
	struct err err = ERR_INIT;

	if (!q->method || strcmp(q->method, "POST") != 0) {
		(void)!h2_stream_refuse(s, 405);
		return NULL;
	}
	if (!is_grpc(q)) {
		(void)!h2_stream_refuse(s, 415);
		return NULL;
	}
	if (rpc->draining) {
		finish_stream(s, GRPC_UNAVAILABLE, "the server is shutting down");
		return NULL;
	}
	if (q->timeout && grpc_timeout_parse(q->timeout, ret_timeout) < 0) {
		finish_stream(s, GRPC_INTERNAL, "malformed grpc-timeout");
		return NULL;
	}
	if (q->encoding && strcmp(q->encoding, "identity") != 0) {
		finish_stream(s, GRPC_UNIMPLEMENTED, "compressed messages are not supported");
		return NULL;
	}
	m = service_find(q->path ? q->path : "", &err);
	if (!m)
		finish_stream(s, GRPC_UNIMPLEMENTED, err.msg);
	return m;
}

static void on_begin(void *ctx, struct h2_stream *s, const struct h2_request *q)
{
	struct rpc *rpc = ctx;
	int64_t timeout = INT64_MAX, now = call_now();
	const struct service_method *m = check_request(rpc, s, q, &timeout);
	struct call *c = m ? call_new(m) : NULL;

	if (m && !c)
		finish_stream(s, GRPC_RESOURCE_EXHAUSTED, "out of memory");
	if (!c)
		return;
	c->deadline = timeout > INT64_MAX - now ? INT64_MAX : now + timeout;
	c->wake = rpc->wake;
	c->ctx = rpc->ctx;
	c->stream = s;
	c->next = rpc->active;
	if (c->next)
		c->next->prev = c;
	rpc->active = c;
	rpc->n_active++;
	h2_stream_set_user(s, c);
}

static void fail_reading(struct rpc *rpc, struct call *c, int code)
{
	switch (code) {
	case -EMSGSIZE:
		fail(rpc, c, GRPC_RESOURCE_EXHAUSTED, "grpc: received message larger than max");
		break;
	case -EPROTONOSUPPORT:
		fail(rpc, c, GRPC_UNIMPLEMENTED, "compressed messages are not supported");
		break;
	case -ENOMEM:
		fail(rpc, c, GRPC_RESOURCE_EXHAUSTED, "out of memory");
		break;
	default:
		fail(rpc, c, GRPC_INTERNAL, "the request is not exactly one whole message");
	}
}

static void on_data(void *ctx, struct h2_stream *s, const void *data, size_t len)
{
	struct call *c = h2_stream_user(s);
	int r = c ? grpc_reader_add(&c->reader, data, len) : 0;

	if (r < 0)
		fail_reading(ctx, c, r);
}

static void on_end(void *ctx, struct h2_stream *s)
{
	struct call *c = h2_stream_user(s);
	struct rpc *rpc = ctx;
	int r;

	if (!c)
		return;
	r = grpc_reader_end(&c->reader);
	if (r < 0) {
		fail_reading(rpc, c, r);
		return;
	}
	c->request = c->reader.message;
	strbuf_init(&c->reader.message);
	c->submitted = true;
	r = rpc->submit(rpc->ctx, c);
	if (r < 0)
		fail(rpc, c, GRPC_UNAVAILABLE, "too many requests are waiting");
}

static void on_closed(void *ctx, struct h2_stream *s)
{
	struct call *c = h2_stream_user(s);

	if (c)
		forget(ctx, c);
}

const struct h2_handler rpc_handler = {
	.begin = on_begin,
	.data = on_data,
	.end = on_end,
	.closed = on_closed,
};

void rpc_deliver(struct rpc *rpc, struct call *c)
{
	struct strbuf out CLEANUP(strbuf_release) = STRBUF_INIT;
	bool finished;
	int r = 0;

	if (!c->stream)
		return;
	(void)pthread_mutex_lock(&c->lock);
	out = c->out;
	strbuf_init(&c->out);
	finished = c->finished;
	(void)pthread_mutex_unlock(&c->lock);
	if (out.len > 0)
		r = h2_stream_write(c->stream, out.s, out.len);
	if (r < 0)
		fail(rpc, c, GRPC_RESOURCE_EXHAUSTED, "out of memory");
	else if (finished) /* nobody changes code and message any more */
		fail(rpc, c, c->code, c->message);
}

int64_t rpc_expire(struct rpc *rpc, int64_t now)
{
	int64_t next = INT64_MAX;

	for (struct call *c = rpc->active, *after; c; c = after) {
		after = c->next;
		if (c->deadline <= now)
			fail(rpc, c, GRPC_DEADLINE_EXCEEDED, "context deadline exceeded");
		else if (c->deadline < next)
			next = c->deadline;
	}
	return next;
}

void rpc_drain(struct rpc *rpc)
{
	rpc->draining = true;
	for (struct call *c = rpc->active, *after; c; c = after) {
		after = c->next;
		if (!c->submitted)
			continue;
		(void)call_ref(c);
		if (service_end_watch(c))
			rpc_deliver(rpc, c);
		call_unref(c);
	}
}
