/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/strbuf.h"
#include "snapshotter/containerd/grpc.h"

/*
 * call - one request on its way from a connection to a worker and back. Two sides hold a reference:
 * the connection's thread, which knows the stream, and the worker, which does not. Each may let go
 * first: a client that is gone leaves a call whose answer nobody reads.
 */
struct h2_stream;
struct service_method;

struct call {
	_Atomic unsigned int refs;
	_Atomic bool cancelled; /* nobody waits for the answer any more */
	const struct service_method *method;
	struct strbuf request; /* the message; the worker's once submitted */
	int64_t deadline; /* CLOCK_MONOTONIC ns; INT64_MAX: none */
	void (*wake)(void *ctx, struct call *c); /* there is something to deliver; any thread */
	void *ctx;

	/* the connection's thread */
	struct h2_stream *stream; /* NULL: gone */
	struct grpc_reader reader;
	struct call *next, *prev; /* of the calls under way */
	bool submitted; /* handed to a worker */

	pthread_mutex_t lock;
	struct strbuf out; /* under lock: framed messages that are to be delivered */
	bool finished; /* under lock */
	enum grpc_code code; /* under lock */
	char message[1024]; /* under lock */

	struct call *next_work; /* under the pool's lock */
	struct call *next_done; /* under the server's lock */
	bool in_done; /* under the server's lock */
};

struct call *call_new(const struct service_method *method); /* one reference; NULL: no memory */
struct call *call_ref(struct call *c);
void call_unref(struct call *c);

/* One message of the answer. Not delivered before call_flush() or call_finish(). */
int call_send(struct call *c, const void *data, size_t len) __attribute__((warn_unused_result));
void call_flush(struct call *c);
/* The end. @err: its text becomes the message (NULL: none). */
void call_finish(struct call *c, enum grpc_code code, const struct err *err);

int64_t call_now(void); /* CLOCK_MONOTONIC, ns */
