/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "oci/document.h"

/*
 * docker_archive - the manifest.json of `docker save`: a list of images, each with the names of its
 * config and layers in the tar and what it is tagged.
 */
struct oci_docker_entry {
	const char *config; /* borrowed from the document */
	const struct json *tags, *layers; /* lists of strings */
};

/*
 * Finds in @doc the image that @want names: a whole tag of it ("docker.io/library/x:1", "x:1"), or
 * only what is behind the colon; NULL: the only image. -ENOENT and -EINVAL (@err lists what there
 * is), -EBADMSG.
 */
int oci_docker_entry_find(const struct json *doc, const char *want, struct oci_docker_entry *ret,
			  struct err *err) __attribute__((warn_unused_result));
