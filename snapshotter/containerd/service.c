/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/containerd/service.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "snapshotter/containerd/call.h"

static const struct service_method *const services[] = {service_snapshots, service_health};

const struct service_method *service_find(const char *path, struct err *err)
{
	const char *slash = strrchr(path, '/');

	for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++) {
		size_t len = (size_t)(strrchr(services[i]->path, '/') - services[i]->path);

		for (const struct service_method *m = services[i]; m->path; m++) {
			if (strcmp(m->path, path) == 0)
				return m;
		}
		if (slash && (size_t)(slash - path) == len &&
		    strncmp(services[i]->path, path, len) == 0) {
			(void)err_msg(err, -EOPNOTSUPP, "unknown method %.100s for service %.*s",
				      slash + 1, (int)len - 1, path + 1);
			return NULL;
		}
	}
	(void)err_msg(err, -EOPNOTSUPP, "unknown service %.*s",
		      slash && slash > path ? (int)(slash - path - 1) : 0, path + 1);
	return NULL;
}

void service_run(struct service *s, struct call *c)
{
	struct err err = ERR_INIT;
	int r = c->method->run(s, c, &err);
	enum grpc_code code = grpc_code_of(r);

	if (r < 0 && err.code == 0)
		(void)err_set(&err, r, "%s", c->method->path);
	if (code == GRPC_UNKNOWN)
		log_error("%s: %s%s%s", c->method->path, err.where, err.where[0] ? ": " : "",
			  err.msg);
	else
		log_debug("%s: %s", c->method->path, r < 0 ? err.msg : "ok");
	if (r == 0 && c->method->watch)
		call_flush(c);
	else
		call_finish(c, code, &err);
	/* a tree may take its time: nobody waits for that */
	if (s->removed != 0)
		snap_rootfs_discard(s->store, s->removed);
	s->removed = 0;
}
