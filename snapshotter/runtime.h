/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>

#include "base/err.h"

/*
 * runtime - the program that makes a container of a bundle: runc or crun, from
 * PATH. It stays in the foreground with our standard streams and terminal.
 */
struct runtime {
	const char *name; /* "runc" or "crun"; static */
	bool cgroup2; /* the machine has cgroup v2 alone */
	bool no_cgroups; /* it cannot work with this machine's, and shall leave them alone */
};

/* @name: "runc", "crun" or NULL for the better one here. -EINVAL, -ENOENT: not in PATH. */
int runtime_find(const char *name, struct runtime *ret, struct err *err)
	__attribute__((warn_unused_result));

struct runtime_place {
	const char *dir; /* the bundle, which also takes the runtime's state */
	int dir_fd, lock_fd; /* locks that are held while the container is there; borrowed */
};

/*
 * Runs the bundle, and passes signals on. When this process is killed its keeper (keeper.h) ends
 * the container. *@ret: the command's exit status, 128 + N for signal N. When the container could
 * not be started it is 125, or 126 (the command cannot be run) or 127 (there is no such command),
 * and a failure is returned unless the runtime itself said so on standard error and @speak is
 * false.
 */
int runtime_run(const struct runtime *rt, const struct runtime_place *place, const char *id,
		bool speak, int *ret, struct err *err) __attribute__((warn_unused_result));
