/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"

/*
 * grpc - what gRPC puts on top of HTTP/2 (github.com/grpc/grpc, doc/PROTOCOL-HTTP2.md): messages in
 * frames, timeouts, status codes and texts. Pure functions: no connection, no thread.
 */
#define GRPC_MESSAGE_MAX (16u << 20) /* bytes of a request, as containerd's own limit */

enum grpc_code {
	GRPC_OK = 0,
	GRPC_CANCELLED = 1,
	GRPC_UNKNOWN = 2,
	GRPC_INVALID_ARGUMENT = 3,
	GRPC_DEADLINE_EXCEEDED = 4,
	GRPC_NOT_FOUND = 5,
	GRPC_ALREADY_EXISTS = 6,
	GRPC_RESOURCE_EXHAUSTED = 8,
	GRPC_FAILED_PRECONDITION = 9,
	GRPC_UNIMPLEMENTED = 12,
	GRPC_INTERNAL = 13,
	GRPC_UNAVAILABLE = 14,
};

/* What an errno of the snapshotter (snapshotter/store.h) is for a client. */
enum grpc_code grpc_code_of(int code);
/* What containerd puts behind its messages of this code ("not found"); NULL: nothing. */
const char *grpc_code_text(enum grpc_code code);

/* "grpc-timeout": at most 8 digits and one of H M S m u n. Too long for ns: INT64_MAX. -EINVAL. */
int grpc_timeout_parse(const char *text, int64_t *ret_ns) __attribute__((warn_unused_result));
/* "grpc-message": printable ASCII as it is, the rest and '%' as %XX. -ENOMEM. */
int grpc_message_encode(const char *text, struct strbuf *out) __attribute__((warn_unused_result));
/* Appends @len bytes at @data as one message with its prefix. */
int grpc_frame_add(struct strbuf *out, const void *data, size_t len)
	__attribute__((warn_unused_result));

/*
 * The one message of a request, out of pieces as they come. grpc_reader_end() says whether it is
 * whole. -EPROTO: it is not, or there is a second one; -EMSGSIZE; -EPROTONOSUPPORT: compressed.
 */
struct grpc_reader {
	unsigned char head[5];
	size_t n_head;
	uint32_t length; /* of the message, once the head is there */
	struct strbuf message;
};
void grpc_reader_init(struct grpc_reader *r);
void grpc_reader_release(struct grpc_reader *r);
int grpc_reader_add(struct grpc_reader *r, const void *data, size_t len)
	__attribute__((warn_unused_result));
int grpc_reader_end(const struct grpc_reader *r) __attribute__((warn_unused_result));
