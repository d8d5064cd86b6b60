/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/containerd/http2.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"

#define WINDOW_SIZE	 (1u << 20) /* bytes a client may send before it hears from us */
#define HEADER_LIST_MAX	 16384 /* bytes */
#define HEADER_VALUE_MAX 1024 /* bytes of one that is kept */

enum header { H_METHOD, H_PATH, H_CONTENT_TYPE, H_TIMEOUT, H_ENCODING, H_COUNT };
static const char *const header_names[H_COUNT] = {":method", ":path", "content-type",
						  "grpc-timeout", "grpc-encoding"};

struct h2_conn {
	nghttp2_session *session;
	const struct h2_handler *handler;
	void *ctx;
	struct h2_stream *streams; /* all of them */
	size_t n_streams;
	bool broken;
};

struct h2_stream {
	struct h2_conn *conn;
	struct h2_stream *next, *prev;
	void *user;
	int32_t id;
	char *headers[H_COUNT];
	bool begun, ended; /* the request: handed to the handler; whole */
	bool submitted, finished; /* the answer: its headers; its end is known */
	struct strbuf out;
	size_t sent; /* of out */
	char status[12];
	char *message;
};

#define NV(n, v)                                                                                   \
	{                                                                                          \
		(uint8_t *)(uintptr_t)(n), (uint8_t *)(uintptr_t)(v), strlen(n), strlen(v),        \
			NGHTTP2_NV_FLAG_NONE                                                       \
	}

static void stream_free(struct h2_stream *s)
{
	if (s->prev)
		s->prev->next = s->next;
	else
		s->conn->streams = s->next;
	if (s->next)
		s->next->prev = s->prev;
	s->conn->n_streams--;
	for (size_t i = 0; i < H_COUNT; i++)
		free(s->headers[i]);
	strbuf_release(&s->out);
	free(s->message);
	free(s);
}

static void stream_close(struct h2_stream *s)
{
	if (s->begun)
		s->conn->handler->closed(s->conn->ctx, s);
	stream_free(s);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct h2_conn *c = user;
	struct h2_stream *s;

	if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	s->conn = c;
	s->id = frame->hd.stream_id;
	strbuf_init(&s->out);
	s->next = c->streams;
	if (s->next)
		s->next->prev = s;
	c->streams = s;
	c->n_streams++;
	return nghttp2_session_set_stream_user_data(session, s->id, s) == 0
		       ? 0
		       : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
		     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
		     void *user)
{
	struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

	(void)flags;
	(void)user;
	if (!s || frame->headers.cat != NGHTTP2_HCAT_REQUEST || value_len > HEADER_VALUE_MAX)
		return 0;
	for (size_t i = 0; i < H_COUNT; i++) {
		if (s->headers[i] || strlen(header_names[i]) != name_len ||
		    memcmp(header_names[i], name, name_len) != 0)
			continue;
		s->headers[i] = strndup((const char *)value, value_len);
		if (!s->headers[i])
			return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	}
	return 0;
}

static void request_begin(struct h2_stream *s)
{
	const struct h2_request request = {
		.method = s->headers[H_METHOD],
		.path = s->headers[H_PATH],
		.content_type = s->headers[H_CONTENT_TYPE],
		.timeout = s->headers[H_TIMEOUT],
		.encoding = s->headers[H_ENCODING],
	};

	s->begun = true;
	s->conn->handler->begin(s->conn->ctx, s, &request);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct h2_stream *s;

	(void)user;
	if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
		return 0;
	s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	if (!s)
		return 0;
	if (!s->begun)
		request_begin(s);
	if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM && !s->ended) {
		s->ended = true;
		s->conn->handler->end(s->conn->ctx, s);
	}
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
		   size_t len, void *user)
{
	struct h2_stream *s = nghttp2_session_get_stream_user_data(session, id);
	struct h2_conn *c = user;

	(void)flags;
	if (s && s->begun)
		c->handler->data(c->ctx, s, data, len);
	return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
	struct h2_stream *s = nghttp2_session_get_stream_user_data(session, id);

	(void)code;
	(void)user;
	if (s) {
		(void)nghttp2_session_set_stream_user_data(session, id, NULL);
		stream_close(s);
	}
	return 0;
}

/* An answer that is over before its request is: the rest of the request is not wanted. */
static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct h2_stream *s;

	(void)user;
	if (frame->hd.type != NGHTTP2_HEADERS || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
		return 0;
	s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	if (s && !s->ended)
		(void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, s->id,
						NGHTTP2_NO_ERROR);
	return 0;
}

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length,
			 uint32_t *flags, nghttp2_data_source *source, void *user)
{
	struct h2_stream *s = source->ptr;
	size_t n = s->out.len - s->sent;

	(void)user;
	if (n == 0 && !s->finished)
		return NGHTTP2_ERR_DEFERRED;
	if (n > length)
		n = length;
	memcpy(buf, s->out.s + s->sent, n);
	s->sent += n;
	if (s->sent < s->out.len)
		return (ssize_t)n;
	strbuf_reset(&s->out);
	s->sent = 0;
	if (s->finished) {
		const nghttp2_nv trailers[] = {NV("grpc-status", s->status),
					       NV("grpc-message", s->message ? s->message : "")};

		*flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
		if (nghttp2_submit_trailer(session, id, trailers, s->message ? 2 : 1) != 0)
			return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	}
	return (ssize_t)n;
}

static nghttp2_session *session_new(struct h2_conn *c)
{
	const nghttp2_settings_entry settings[] = {
		{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, H2_STREAMS_MAX},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_SIZE},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HEADER_LIST_MAX},
	};
	nghttp2_session_callbacks *callbacks = NULL;
	nghttp2_session *session = NULL;
	nghttp2_option *option = NULL;

	if (nghttp2_session_callbacks_new(&callbacks) != 0)
		return NULL;
	if (nghttp2_option_new(&option) != 0) {
		nghttp2_session_callbacks_del(callbacks);
		return NULL;
	}
	/*
	 * Go's client takes the socket's path for the authority, which is none by RFC 3986. What
	 * counts in a request is looked at by who is given it.
	 */
	nghttp2_option_set_no_http_messaging(option, 1);
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
	nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
	if (nghttp2_session_server_new2(&session, callbacks, c, option) != 0)
		session = NULL;
	nghttp2_session_callbacks_del(callbacks);
	nghttp2_option_del(option);
	if (session && (nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings,
						sizeof(settings) / sizeof(settings[0])) != 0 ||
			nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0,
							      WINDOW_SIZE) != 0)) {
		nghttp2_session_del(session);
		return NULL;
	}
	return session;
}

struct h2_conn *h2_conn_new(const struct h2_handler *handler, void *ctx)
{
	struct h2_conn *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->handler = handler;
	c->ctx = ctx;
	c->session = session_new(c);
	if (!c->session) {
		free(c);
		return NULL;
	}
	return c;
}

void h2_conn_free(struct h2_conn *c)
{
	if (!c)
		return;
	while (c->streams)
		stream_close(c->streams);
	nghttp2_session_del(c->session);
	free(c);
}

int h2_conn_recv(struct h2_conn *c, const void *data, size_t len)
{
	ssize_t n = c->broken ? NGHTTP2_ERR_PROTO : nghttp2_session_mem_recv(c->session, data, len);

	if (n == NGHTTP2_ERR_NOMEM)
		return -ENOMEM;
	if (n < 0 || (size_t)n != len) {
		c->broken = true;
		return -EPROTO;
	}
	return 0;
}

ptrdiff_t h2_conn_send(struct h2_conn *c, const uint8_t **ret)
{
	ssize_t n = nghttp2_session_mem_send(c->session, ret);

	return n < 0 ? -ENOMEM : n;
}

void h2_conn_shutdown(struct h2_conn *c)
{
	(void)nghttp2_submit_goaway(c->session, NGHTTP2_FLAG_NONE,
				    nghttp2_session_get_last_proc_stream_id(c->session),
				    NGHTTP2_NO_ERROR, NULL, 0);
}

bool h2_conn_is_done(const struct h2_conn *c)
{
	return c->broken || (nghttp2_session_want_read(c->session) == 0 &&
			     nghttp2_session_want_write(c->session) == 0);
}

size_t h2_conn_streams(const struct h2_conn *c)
{
	return c->n_streams;
}

void h2_stream_set_user(struct h2_stream *s, void *user)
{
	s->user = user;
}

void *h2_stream_user(const struct h2_stream *s)
{
	return s->user;
}

void *h2_stream_owner(const struct h2_stream *s)
{
	return s->conn->ctx;
}

int h2_stream_refuse(struct h2_stream *s, unsigned int status)
{
	nghttp2_nv headers[] = {NV(":status", s->status)};

	if (s->submitted)
		return 0;
	(void)snprintf(s->status, sizeof(s->status), "%u", status);
	headers[0].valuelen = strlen(s->status);
	s->submitted = s->finished = true;
	return nghttp2_submit_response(s->conn->session, s->id, headers, 1, NULL) == 0 ? 0
										       : -ENOMEM;
}

int h2_stream_write(struct h2_stream *s, const void *data, size_t len)
{
	static const nghttp2_nv headers[] = {
		{(uint8_t *)(uintptr_t) ":status", (uint8_t *)(uintptr_t) "200", 7, 3, 0},
		{(uint8_t *)(uintptr_t) "content-type", (uint8_t *)(uintptr_t) "application/grpc",
		 12, 16, 0},
	};
	const nghttp2_data_provider body = {.source = {.ptr = s}, .read_callback = read_body};
	int r;

	if (s->finished)
		return 0;
	r = strbuf_add(&s->out, data, len);
	if (r < 0)
		return r;
	if (s->submitted) {
		/* an error: it is not waiting */
		(void)nghttp2_session_resume_data(s->conn->session, s->id);
		return 0;
	}
	s->submitted = true;
	return nghttp2_submit_response(s->conn->session, s->id, headers, 2, &body) == 0 ? 0
											: -ENOMEM;
}

int h2_stream_finish(struct h2_stream *s, unsigned int grpc_status, const char *message)
{
	if (s->finished)
		return 0;
	(void)snprintf(s->status, sizeof(s->status), "%u", grpc_status);
	s->message = message ? strdup(message) : NULL;
	if (message && !s->message)
		return -ENOMEM;
	s->finished = true;
	if (s->submitted) {
		(void)nghttp2_session_resume_data(s->conn->session, s->id);
	} else {
		const nghttp2_nv headers[] = {
			NV(":status", "200"),
			NV("content-type", "application/grpc"),
			NV("grpc-status", s->status),
			NV("grpc-message", s->message ? s->message : ""),
		};

		s->submitted = true;
		if (nghttp2_submit_response(s->conn->session, s->id, headers, s->message ? 4 : 3,
					    NULL) != 0)
			return -ENOMEM;
	}
	return 0;
}
