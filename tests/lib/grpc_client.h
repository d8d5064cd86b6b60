/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"

/*
 * grpc_client - the client's side of a connection to 'snap serve', without a socket, for tests.
 * Aborts when it is out of memory.
 */
struct grpc_client;
struct grpc_result {
	int32_t id;
	bool done;
	uint32_t reset; /* HTTP/2 error code that ended it; 0: none */
	char http[8], status[8]; /* ":status", "grpc-status" */
	char message[1024]; /* "grpc-message", as it came */
	struct strbuf body; /* frames and all */
	struct grpc_result *next;
};

/* @window: bytes the server may send without being asked for more; 0: as usual. */
struct grpc_client *grpc_client_new(uint32_t window);
void grpc_client_free(struct grpc_client *c);
/* A call with @body as it is, framed by the caller. Lives until grpc_client_free(). */
struct grpc_result *grpc_client_call(struct grpc_client *c, const char *path, const char *timeout,
				     const char *content_type, const void *body, size_t len);
void grpc_client_cancel(struct grpc_client *c, const struct grpc_result *r);
/* With a @window: lets the server send @n bytes more of it. */
void grpc_client_more(struct grpc_client *c, const struct grpc_result *r, uint32_t n);
bool grpc_client_recv(struct grpc_client *c, const void *data, size_t len); /* false: not HTTP/2 */
size_t grpc_client_send(struct grpc_client *c, const uint8_t **ret);
bool grpc_client_was_told_to_go(const struct grpc_client *c); /* GOAWAY */
