/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "oci/source.h"

/* What fills the other end of a blob's pipe. */
struct oci_stream {
	/* Stops and frees it. 0: it gave everything, or the reader went away before. */
	int (*finish)(struct oci_stream *stream, struct err *err);
};

/* What a transport has to be able to do. Contracts as in source.h; @impl is the transport's own. */
struct oci_source_ops {
	const char *name; /* in front of the colon */
	int (*open)(const char *rest, const struct oci_remote *remote, void **ret_impl,
		    struct err *err);
	void (*close)(void *impl);
	/* @ret_ref: returned owned */
	int (*image)(void *impl, const struct oci_platform *platform, struct oci_image **ret,
		     char **ret_ref, struct err *err);
	/* @ret is OCI_BLOB_INIT */
	int (*blob)(void *impl, const struct oci_descriptor *desc, struct oci_blob *ret,
		    struct err *err);
	/* NULL: blob() gives a file that can be read anywhere */
	int (*range)(void *impl, const struct oci_descriptor *desc, const struct oci_range *want,
		     struct err *err);
	/* NULL: nothing can refer to anything there. Appends the index's text; -ENOENT: none. */
	int (*referrers)(void *impl, const struct digest *subject, struct strbuf *out,
			 struct err *err);
	int (*document)(void *impl, const struct oci_descriptor *desc, char **ret, struct err *err);
};
extern const struct oci_source_ops oci_source_layout, oci_source_archive, oci_source_content,
	oci_source_docker_archive, oci_source_registry;

struct oci_dest_ops {
	const char *name;
	int (*open)(const char *rest, const struct oci_remote *remote, void **ret_impl,
		    struct err *err);
	void (*close)(void *impl);
	bool (*has)(void *impl, const struct oci_descriptor *desc);
	bool (*mount)(void *impl, const struct oci_descriptor *desc, const char *ref); /* or NULL */
	int (*blob)(void *impl, const struct oci_descriptor *desc, int fd, struct err *err);
	int (*image)(void *impl, const struct oci_image *image, const char *ref, struct err *err);
	/* NULL: nothing can refer to anything there */
	int (*refer)(void *impl, const struct oci_descriptor *desc, const char *text,
		     const struct oci_descriptor *subject, const char *type, struct err *err);
};
extern const struct oci_dest_ops oci_dest_layout, oci_dest_archive, oci_dest_registry;
