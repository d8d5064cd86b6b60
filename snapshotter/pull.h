/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "oci/document.h"
#include "oci/layer_in.h"
#include "oci/source.h"
#include "snapshotter/store.h"

/*
 * pull, push - images from elsewhere into the store, and out of it.
 */
enum snap_lazy {
	SNAP_LAZY_NO,
	SNAP_LAZY_METADATA, /* contents come when they are read */
	SNAP_LAZY_PREFETCH, /* ... and what an earlier run read meanwhile */
	SNAP_LAZY_BACKGROUND, /* ... and the rest meanwhile */
};
struct snap_pull_layer {
	const struct digest *blob; /* borrowed */
	enum {
		SNAP_PULL_WAITING,
		SNAP_PULL_COMING,
		SNAP_PULL_DONE,
	} state;
	uint64_t done, size; /* bytes of the blob; all of it is read before it is done */
	double seconds; /* since it began to come */
};
struct snap_pull_options {
	const char *name; /* REF; NULL: the one that the source says */
	const struct oci_platform *platform; /* NULL: this machine's */
	const struct oci_limits *limits; /* NULL: defaults */
	const struct oci_remote *remote; /* NULL: defaults */
	enum snap_lazy lazy;
	/* When it is lazy: */
	const char
		*index; /* where its lazy index is, as oci/source.h has it; NULL: at the source */
	const struct digest
		*expect; /* of the index's manifest; another one is refused; NULL: any */
	const char *prefetch; /* file: a list that a run recorded; NULL: the one of the index */
	uint64_t rate; /* bytes a second in the background; 0: no bound */
	unsigned int jobs; /* layers at once; 0: as many as there are CPUs */
	/* New layers are kept as their tars alone; not with ->lazy. snap_push() makes blobs again.
	 */
	bool no_blobs;
	/* NULL, or: why a layer came whole although it was to be lazy; from any thread, one at a
	 * time. @blob is NULL when it is so for all of them. */
	void (*whole)(void *ctx, const struct digest *blob, const char *why);
	/* NULL, or called now and then from one thread: how far all layers are, lowest first. */
	void (*progress)(void *ctx, const struct snap_pull_layer *layers, size_t n);
	void *ctx;
	/* NULL, or: stop when it becomes true. What is half done goes, finished layers stay until
	 * the next 'snap gc', so that a pull of the same image goes on from there. */
	const _Atomic bool *cancel;
};

struct snap_pull_result {
	char *ref; /* owned by the caller */
	struct digest manifest;
	size_t layers, new_layers;
	size_t lazy_layers; /* of the new ones */
	size_t prefetch; /* lines of the list that are of its layers */
	uint64_t bytes; /* of the new layers' blobs, or of what came of them */
	uint64_t temporary; /* bytes on disk at a time, at most, beyond what is kept */
};

/*
 * @source as oci/source.h has it. Everything verified, or nothing in the store. -EEXIST: the name
 * is a committed snapshot's; -EBADMSG: what came is not what its digest says.
 */
int snap_pull(struct snap_store *store, const char *source, const struct snap_pull_options *opt,
	      struct snap_pull_result *ret, struct err *err) __attribute__((warn_unused_result));

struct snap_push_options {
	const struct oci_remote *remote; /* NULL: defaults */
	bool recompress; /* what cannot be made again as it was may get another digest */
};
struct snap_push_result {
	struct digest manifest; /* as it was pushed */
	struct digest image; /* as it is here: the same, unless layers were recompressed */
	size_t recompressed; /* layers with other digests */
};
/*
 * All blobs as they came, manifest and config: digests stay. A blob that is not kept is compressed
 * again; -ENOENT: that gives another one, and ->recompress is not set. @opt and @ret may be NULL.
 */
int snap_push(struct snap_store *store, const char *ref, const char *dest,
	      const struct snap_push_options *opt, struct snap_push_result *ret, struct err *err)
	__attribute__((warn_unused_result));
