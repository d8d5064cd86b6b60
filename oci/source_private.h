/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "oci/source.h"

/* What a transport has to be able to do. Contracts as in source.h; @impl is the transport's own. */
struct oci_source_ops {
	const char *name; /* in front of the colon */
	int (*open)(const char *rest, void **ret_impl, struct err *err);
	void (*close)(void *impl);
	/* @ret_ref: returned owned */
	int (*image)(void *impl, const struct oci_platform *platform, struct oci_image **ret,
		     char **ret_ref, struct err *err);
	int (*blob)(void *impl, const struct oci_descriptor *desc, int *ret_fd, struct err *err);
};
extern const struct oci_source_ops oci_source_layout;

struct oci_dest_ops {
	const char *name;
	int (*open)(const char *rest, void **ret_impl, struct err *err);
	void (*close)(void *impl);
	bool (*has)(void *impl, const struct oci_descriptor *desc);
	int (*blob)(void *impl, const struct oci_descriptor *desc, int fd, struct err *err);
	int (*image)(void *impl, const struct oci_image *image, const char *ref, struct err *err);
};
extern const struct oci_dest_ops oci_dest_layout;
