/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client of 'snap serve' sends: HTTP/2, gRPC frames, messages, filters, down to a store. No
 * socket and no mount: directories below a snapshot become an overlay that the client would make.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "snapshotter/containerd/rpc.h"
#include "snapshotter/containerd/service.h"

#define CALLS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char top[] = "/tmp/fuzz-snap-grpc.XXXXXX";
static const struct snap_rootfs rootfs = {.engine = SNAP_ENGINE_AUTO, .overlay = true};
static struct service service = {.rootfs = &rootfs};

struct queue {
	struct rpc rpc;
	struct call *calls[CALLS_MAX];
	size_t n;
};

static void remove_store(void)
{
	snap_store_close(service.store);
	(void)!io_remove_tree(AT_FDCWD, top);
}

static int submit(void *ctx, struct call *c)
{
	struct queue *q = ctx;

	if (q->n == CALLS_MAX)
		return -EAGAIN;
	q->calls[q->n++] = call_ref(c);
	return 0;
}

static void wake(void *ctx, struct call *c)
{
	struct queue *q = ctx;

	rpc_deliver(&q->rpc, c);
}

static void run_all(struct queue *q)
{
	for (size_t i = 0; i < q->n; i++) {
		service_run(&service, q->calls[i]);
		call_unref(q->calls[i]);
	}
	q->n = 0;
}

static void send_all(struct h2_conn *c)
{
	const uint8_t *out;

	while (h2_conn_send(c, &out) > 0)
		;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct queue q = {.rpc = {.submit = submit, .wake = wake, .ctx = &q}};
	struct h2_conn *c;
	size_t half = size / 2;

	if (!service.store) {
		if (!mkdtemp(top) || snap_store_open(top, &service.store, NULL) < 0)
			abort();
		snap_store_set_owner(service.store, SERVICE_OWNER);
		(void)atexit(remove_store);
	}
	c = h2_conn_new(&rpc_handler, &q.rpc);
	if (!c)
		return 0;
	/* in two pieces, and what the first one asks for is answered in between */
	if (h2_conn_recv(c, data, half) == 0) {
		run_all(&q);
		send_all(c);
		if (h2_conn_recv(c, data + half, size - half) == 0)
			(void)rpc_expire(&q.rpc, call_now() + 1000000000);
	}
	run_all(&q);
	send_all(c);
	rpc_drain(&q.rpc);
	h2_conn_shutdown(c);
	send_all(c);
	(void)h2_conn_is_done(c);
	h2_conn_free(c);
	return 0;
}
