/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "snapshotter/containerd/service.h"
#include "snapshotter/containerd/wire_util.h"

/* grpc.health.v1.Health: a server that answers serves, until it goes. */
enum health { SERVING = 1, NOT_SERVING = 2, SERVICE_UNKNOWN = 3 };

static int send_status(struct call *c, enum health status, struct err *err)
{
	Wire__HealthReply reply = WIRE__HEALTH_REPLY__INIT;

	reply.status = status;
	return wire_send(c, &reply.base, err);
}

/* "" asks for the server as a whole. */
static int read_name(struct call *c, bool *ret_known, struct err *err)
{
	Wire__HealthRequest *q = NULL;
	char *name cleanup_free = NULL;
	int r = WIRE_DECODE(c, health_request, &q, err);

	if (r == 0) {
		r = wire_text(&q->service, "a service's name", &name, err);
		wire_free(&q->base);
	}
	if (r == 0)
		*ret_known = !name[0] || strcmp(name, "grpc.health.v1.Health") == 0 ||
			     strcmp(name, "containerd.services.snapshots.v1.Snapshots") == 0;
	return r;
}

static int run_check(struct service *s, struct call *c, struct err *err)
{
	bool known = false;
	int r = read_name(c, &known, err);

	(void)s;
	if (r < 0)
		return r;
	return known ? send_status(c, SERVING, err) : err_msg(err, -ENOENT, "unknown service");
}

static int run_watch(struct service *s, struct call *c, struct err *err)
{
	bool known = false;
	int r = read_name(c, &known, err);

	(void)s;
	return r < 0 ? r : send_status(c, known ? SERVING : SERVICE_UNKNOWN, err);
}

bool service_end_watch(struct call *c)
{
	if (!c->method->watch)
		return false;
	if (send_status(c, NOT_SERVING, NULL) < 0)
		return false;
	call_finish(c, GRPC_OK, NULL);
	return true;
}

const struct service_method service_health[] = {
	{.path = "/grpc.health.v1.Health/Check", .run = run_check},
	{.path = "/grpc.health.v1.Health/Watch", .run = run_watch, .watch = true},
	{.path = NULL},
};
