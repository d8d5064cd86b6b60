/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "snapshotter/containerd/call.h"
#include "snapshotter/containerd/http2.h"

/*
 * rpc - gRPC calls out of HTTP/2 streams: checks what a request says, collects its message, hands
 * the call over, delivers the answer, ends what took too long. No socket and no thread of its own:
 * one struct rpc serves all connections of one thread.
 *
 *	struct rpc rpc = {.submit = give_to_a_worker, .wake = tell_this_thread, .ctx = ...};
 *	conn = h2_conn_new(&rpc_handler, &rpc);
 *	... rpc_deliver(&rpc, call) for each call that wake named; rpc_expire() now and then
 */
struct rpc {
	/* Takes a reference. -EAGAIN: too many wait already. */
	int (*submit)(void *ctx, struct call *c);
	void (*wake)(void *ctx, struct call *c); /* any thread; see struct call */
	void *ctx;
	bool draining; /* new calls are refused */
	struct call *active; /* those that have a stream */
	size_t n_active;
};
extern const struct h2_handler rpc_handler;

/* What the call has to say goes to its stream, if it has one still. */
void rpc_deliver(struct rpc *rpc, struct call *c);
/* Ends the calls whose time is up; when the next one's is (CLOCK_MONOTONIC ns), INT64_MAX: none. */
int64_t rpc_expire(struct rpc *rpc, int64_t now);
/* Ends the calls that wait for a change (health's Watch) and refuses new ones. */
void rpc_drain(struct rpc *rpc);
