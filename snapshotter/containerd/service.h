/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>

#include "base/err.h"
#include "snapshotter/containerd/fetch.h"
#include "snapshotter/rootfs.h"
#include "snapshotter/store.h"

/*
 * service - the calls themselves: containerd.services.snapshots.v1.Snapshots and
 * grpc.health.v1.Health. A message comes in, snapshotter functions are called, messages go out.
 */
#define SERVICE_OWNER "containerd" /* of what is prepared here: snap_store_set_owner() */

struct call;
struct service { /* of one worker */
	struct snap_store *store;
	const struct snap_rootfs *rootfs;
	const struct fetch_options *fetch; /* NULL: nothing is fetched */
	int64_t removed; /* snapshot whose folder is to go once the call is answered; 0: none */
};

struct service_method {
	const char *path; /* "/package.Service/Method" */
	/* 0, or what grpc_code_of() knows. */
	int (*run)(struct service *s, struct call *c, struct err *err);
	bool watch; /* stays open when it has run */
};
extern const struct service_method service_snapshots[], service_health[]; /* path NULL ends */

/* NULL: no such method, as the message says. */
const struct service_method *service_find(const char *path, struct err *err);
/* Runs the call and finishes it. */
void service_run(struct service *s, struct call *c);
/* The server is going: tells the client of a watch and finishes it. False: it is none. */
bool service_end_watch(struct call *c);
