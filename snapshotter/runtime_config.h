/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/json.h"
#include "snapshotter/runtime_user.h"

/*
 * runtime_config - config.json of an OCI runtime bundle (runtime specification
 * 1.0.2) for an image's config and what the caller wants otherwise. Name
 * spaces, capabilities, masked paths, seccomp and mounts are podman's defaults
 * for a container in the host's network. Nothing is looked up here: the same
 * request always gives the same bytes.
 */
enum runtime_config_flags {
	RUNTIME_TERMINAL = 1 << 0,
	RUNTIME_READ_ONLY = 1 << 1, /* the root file system */
	RUNTIME_USERNS = 1 << 2, /* the runtime works in a user namespace of an ordinary user */
	RUNTIME_NO_TTY_GROUP = 1 << 3, /* and group 5 is not in it */
	RUNTIME_NO_SETGROUPS = 1 << 4, /* and supplementary groups cannot be set */
	RUNTIME_CGROUP2 = 1 << 5, /* the machine has cgroup v2 alone */
	RUNTIME_NO_CGROUPS = 1 << 6, /* the runtime is to leave them alone */
};

struct runtime_bind {
	const char *source; /* absolute, of the host */
	const char *destination; /* absolute, in the container */
	bool read_only;
	bool nodev; /* neither devices nor setuid: a volume that the image asks for */
};

struct runtime_config {
	const struct json *image; /* the image's config document; NULL: none */
	const char *root; /* of the file system; relative to the bundle, or absolute */
	const char *id; /* of the container; names its cgroup */
	const char *hostname;
	const char *const *command; /* instead of the image's Cmd; NULL: the image's */
	size_t n_command;
	const char *const *env; /* "K=V", after the image's */
	size_t n_env;
	const char *workdir; /* absolute; NULL: the image's */
	const struct runtime_user *user;
	const struct runtime_bind *binds;
	size_t n_binds;
	unsigned int flags;
};

/* -EINVAL: there is no command to run; -EILSEQ: not UTF-8. Appends to @out. */
int runtime_config_write(const struct runtime_config *c, struct strbuf *out, struct err *err)
	__attribute__((warn_unused_result));
