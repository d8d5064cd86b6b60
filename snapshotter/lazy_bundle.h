/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/strbuf.h"
#include "oci/document.h"
#include "oci/source.h"
#include "oci/spans.h"

/*
 * lazy_bundle - what stands for one layer in a lazy index: the layer's EROFS index and its spans in
 * one blob (docs/FORMAT.md, "Lazy index"); and the artifact that has them for an image.
 */
#define LAZY_TYPE	"application/vnd.snapshotter.lazy-index.v1"
#define LAZY_LAYER_TYPE "application/vnd.snapshotter.lazy-layer.v1"
#define LAZY_ANNOTATION "org.snapshotter.lazy.blob" /* of a layer of it: which blob it is for */
#define LAZY_LIST_TYPE	"application/vnd.snapshotter.lazy-prefetch.v1"
#define LAZY_BUNDLE_MAX (512u << 20) /* bytes */
#define LAZY_INDEX_MAX	(2u << 30) /* bytes of an EROFS index */
#define LAZY_SPAN_MAX	(64u << 20) /* bytes of the tar in one span; more is no laziness */

/* Appends. */
int lazy_bundle_write(const void *index, size_t index_len, const void *spans, size_t spans_len,
		      struct strbuf *out, struct err *err) __attribute__((warn_unused_result));
/* The index to @index_fd; @ret_spans is inside of @data. -EBADMSG. */
int lazy_bundle_read(const void *data, size_t len, int index_fd, const void **ret_spans,
		     size_t *ret_len, struct err *err) __attribute__((warn_unused_result));
/* The spans file from @index_fd's neighbour: one blob of the artifact. */
struct lazy_bundle_ref {
	struct oci_descriptor desc; /* of the bundle */
	struct digest blob; /* that it is for */
};
/* The artifact's manifest. Appends. @list: of what to fetch first, or NULL. */
int lazy_manifest_write(const struct oci_image *image, const struct lazy_bundle_ref *refs, size_t n,
			const struct oci_descriptor *list, const struct oci_descriptor *config,
			struct strbuf *out, struct err *err) __attribute__((warn_unused_result));
/* The list that the manifest @doc has. -ENOENT. */
int lazy_manifest_list(const struct json *doc, struct oci_descriptor *ret, struct err *err)
	__attribute__((warn_unused_result));
/* The bundle for @blob that the manifest @doc has. -ENOENT. */
int lazy_manifest_find(const struct json *doc, const struct digest *blob,
		       struct oci_descriptor *ret, struct err *err)
	__attribute__((warn_unused_result));

/*
 * From where it is published: the manifest that refers to @image, owned. @expect: its digest, or
 * NULL: any. -ENOENT: there is none; -EPERM: it has another digest.
 */
int lazy_index_find(struct oci_source *source, const struct oci_image *image,
		    const struct digest *expect, struct json **ret, struct err *err)
	__attribute__((warn_unused_result));
/* A blob of it, verified: owned, a NUL behind it. */
int lazy_part_fetch(struct oci_source *source, const struct oci_descriptor *desc, char **ret,
		    struct err *err) __attribute__((warn_unused_result));
/* Are the spans of the blob and the tar that the image has as @ref? -EBADMSG. */
int lazy_spans_check(const struct oci_spans *spans, const struct oci_layer_ref *ref,
		     struct err *err) __attribute__((warn_unused_result));
