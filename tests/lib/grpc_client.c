/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/grpc_client.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct request {
	char *body;
	size_t len, sent;
	struct request *next;
};

struct grpc_client {
	nghttp2_session *session;
	struct grpc_result *results;
	struct request *requests;
	bool go_away;
};

static void *need(void *p)
{
	if (!p)
		abort();
	return p;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
		     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
		     void *user)
{
	struct grpc_result *r = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

	(void)name_len;
	(void)flags;
	(void)user;
	if (!r)
		return 0;
	if (strcmp((const char *)name, ":status") == 0)
		(void)snprintf(r->http, sizeof(r->http), "%.*s", (int)value_len, value);
	if (strcmp((const char *)name, "grpc-status") == 0)
		(void)snprintf(r->status, sizeof(r->status), "%.*s", (int)value_len, value);
	if (strcmp((const char *)name, "grpc-message") == 0)
		(void)snprintf(r->message, sizeof(r->message), "%.*s", (int)value_len, value);
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
		   size_t len, void *user)
{
	struct grpc_result *r = nghttp2_session_get_stream_user_data(session, id);

	(void)flags;
	(void)user;
	if (r && strbuf_add(&r->body, data, len) < 0)
		abort();
	return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
	struct grpc_result *r = nghttp2_session_get_stream_user_data(session, id);

	(void)user;
	if (r) {
		r->done = true;
		r->reset = code;
	}
	return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct grpc_client *c = user;

	(void)session;
	if (frame->hd.type == NGHTTP2_GOAWAY)
		c->go_away = true;
	return 0;
}

struct grpc_client *grpc_client_new(uint32_t window)
{
	const nghttp2_settings_entry settings[] = {
		{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window},
	};
	struct grpc_client *c = need(calloc(1, sizeof(*c)));
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *option;

	if (nghttp2_session_callbacks_new(&callbacks) != 0 || nghttp2_option_new(&option) != 0)
		abort();
	nghttp2_option_set_no_auto_window_update(option, window > 0);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
	if (nghttp2_session_client_new2(&c->session, callbacks, c, option) != 0 ||
	    nghttp2_submit_settings(c->session, 0, settings, window > 0 ? 2 : 1) != 0)
		abort();
	nghttp2_session_callbacks_del(callbacks);
	nghttp2_option_del(option);
	return c;
}

void grpc_client_free(struct grpc_client *c)
{
	nghttp2_session_del(c->session);
	for (struct grpc_result *r = c->results, *next; r; r = next) {
		next = r->next;
		strbuf_release(&r->body);
		free(r);
	}
	for (struct request *q = c->requests, *next; q; q = next) {
		next = q->next;
		free(q->body);
		free(q);
	}
	free(c);
}

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length,
			 uint32_t *flags, nghttp2_data_source *source, void *user)
{
	struct request *q = source->ptr;
	size_t n = q->len - q->sent < length ? q->len - q->sent : length;

	(void)session;
	(void)id;
	(void)user;
	memcpy(buf, q->body + q->sent, n);
	q->sent += n;
	if (q->sent == q->len)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

static nghttp2_nv nv(const char *name, const char *value)
{
	return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
			    strlen(value), 0};
}

struct grpc_result *grpc_client_call(struct grpc_client *c, const char *path, const char *timeout,
				     const char *content_type, const void *body, size_t len)
{
	/* the authority is what Go's client makes of a socket's path */
	const nghttp2_nv headers[] = {
		nv(":method", "POST"),
		nv(":scheme", "http"),
		nv(":path", path),
		nv(":authority", "/run/a b/s.sock"),
		nv("te", "trailers"),
		nv("content-type", content_type),
		nv("grpc-timeout", timeout ? timeout : ""),
	};
	struct grpc_result *r = need(calloc(1, sizeof(*r)));
	struct request *q = need(calloc(1, sizeof(*q)));
	const nghttp2_data_provider data = {.source = {.ptr = q}, .read_callback = read_body};

	strbuf_init(&r->body);
	q->body = need(malloc(len + 1));
	memcpy(q->body, body, len);
	q->len = len;
	q->next = c->requests;
	c->requests = q;
	r->next = c->results;
	c->results = r;
	r->id = nghttp2_submit_request(c->session, NULL, headers, timeout ? 7 : 6, &data, r);
	if (r->id < 0)
		abort();
	return r;
}

void grpc_client_cancel(struct grpc_client *c, const struct grpc_result *r)
{
	if (nghttp2_submit_rst_stream(c->session, 0, r->id, NGHTTP2_CANCEL) != 0)
		abort();
}

void grpc_client_more(struct grpc_client *c, const struct grpc_result *r, uint32_t n)
{
	(void)nghttp2_session_consume_connection(c->session, n);
	(void)nghttp2_session_consume_stream(c->session, r->id, n);
}

bool grpc_client_recv(struct grpc_client *c, const void *data, size_t len)
{
	return nghttp2_session_mem_recv(c->session, data, len) == (ssize_t)len;
}

size_t grpc_client_send(struct grpc_client *c, const uint8_t **ret)
{
	ssize_t n = nghttp2_session_mem_send(c->session, ret);

	if (n < 0)
		abort();
	return (size_t)n;
}

bool grpc_client_was_told_to_go(const struct grpc_client *c)
{
	return c->go_away;
}
