/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * http2 - the server's side of one HTTP/2 connection (RFC 9113) as gRPC uses it, without a socket:
 * bytes go in by h2_conn_recv(), requests come out through the handler, answers go in by
 * h2_stream_*(), bytes come out by h2_conn_send(). The only user of nghttp2.
 *
 * Flow control, limits of frames and headers, pings, floods are nghttp2's. One thread a connection.
 */
struct h2_conn;
struct h2_stream;

#define H2_STREAMS_MAX 128 /* at once, a connection */

struct h2_request { /* borrowed, for the time of the call; NULL: no such header */
	const char *method, *path, *content_type, *timeout, *encoding;
};

struct h2_handler {
	/* A request's headers. What it sets by h2_stream_set_user() comes with the calls after it.
	 */
	void (*begin)(void *ctx, struct h2_stream *s, const struct h2_request *request);
	void (*data)(void *ctx, struct h2_stream *s, const void *data, size_t len);
	/* The request is whole. */
	void (*end)(void *ctx, struct h2_stream *s);
	/* The stream is over, by whichever side. It must not be used any more. */
	void (*closed)(void *ctx, struct h2_stream *s);
};

/* NULL: no memory. @handler and @ctx are borrowed for its life. */
struct h2_conn *h2_conn_new(const struct h2_handler *handler, void *ctx);
/* Closes all its streams. */
void h2_conn_free(struct h2_conn *c);

/* -EPROTO: it cannot go on; what h2_conn_send() still has shall be sent. -ENOMEM. */
int h2_conn_recv(struct h2_conn *c, const void *data, size_t len)
	__attribute__((warn_unused_result));
/* Bytes to be sent, borrowed until the next call: their number, 0: none now; -ENOMEM. */
ptrdiff_t h2_conn_send(struct h2_conn *c, const uint8_t **ret) __attribute__((warn_unused_result));
/* No new requests from here on; those under way go on. */
void h2_conn_shutdown(struct h2_conn *c);
/* Nothing more will be said by either side. */
bool h2_conn_is_done(const struct h2_conn *c);
size_t h2_conn_streams(const struct h2_conn *c);

void h2_stream_set_user(struct h2_stream *s, void *user);
void *h2_stream_user(const struct h2_stream *s);
void *h2_stream_owner(const struct h2_stream *s); /* the @ctx of its connection */
/* An HTTP status without a body, for what is no gRPC. */
int h2_stream_refuse(struct h2_stream *s, unsigned int status) __attribute__((warn_unused_result));
/* Body bytes of the answer, which is begun by the first of them. -ENOMEM. */
int h2_stream_write(struct h2_stream *s, const void *data, size_t len)
	__attribute__((warn_unused_result));
/* The answer's end. @message: as it stands in the header. -ENOMEM. */
int h2_stream_finish(struct h2_stream *s, unsigned int grpc_status, const char *message)
	__attribute__((warn_unused_result));
