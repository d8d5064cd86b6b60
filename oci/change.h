/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/json.h"

/*
 * change - changes of an image's config in the words of a Dockerfile: "CMD",
 * "ENTRYPOINT", "ENV", "LABEL", "EXPOSE", "VOLUME", "USER", "WORKDIR", "STOPSIGNAL" (the
 * reference at docs.docker.com/reference/dockerfile). Lists are JSON arrays or shell
 * words; $NAME and ${NAME} stand for what ENV holds, except in commands, which
 * the container's shell expands.
 */
struct oci_strings {
	char **v;
	size_t n;
};

struct oci_changes {
	struct oci_strings env; /* "K=V": the older ones as well */
	struct oci_strings shell; /* what runs a command that is one string */
	struct oci_strings cmd, entrypoint;
	bool has_cmd, has_entrypoint; /* were changed, perhaps to nothing */
	struct oci_strings labels; /* "K=V", new ones */
	struct oci_strings ports, volumes; /* new ones */
	char *workdir; /* the older one, or as changed; NULL: none */
	char *user; /* as changed; NULL: not */
	char *stop_signal; /* as changed; NULL: not */
};

/* @config: the member "config" of an image's config; NULL: none. -ENOMEM. */
int oci_changes_init(struct oci_changes *c, const struct json *config)
	__attribute__((warn_unused_result));
void oci_changes_release(struct oci_changes *c);
/* -EINVAL: @text is no change (@err quotes it). */
int oci_changes_add(struct oci_changes *c, const char *text, struct err *err)
	__attribute__((warn_unused_result));
