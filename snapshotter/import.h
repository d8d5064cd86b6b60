/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pthread.h>
#include <stdatomic.h>

#include "oci/document.h"
#include "oci/layer_in.h"
#include "oci/source.h"
#include "snapshotter/image_private.h"
#include "snapshotter/store_private.h"

/*
 * import - brings layers and images into the store: what pull and commit have
 * in common. Private to the snapshotter.
 *
 *	r = import_begin(store, &im, err);
 *	r = import_layer(&im, &job, &layer, err);        each layer; from several threads at once
 *	r = import_image(&im, image, layers, ref, err);  one transaction: now it has a name
 *	import_end(&im);                                 what got no name is taken away again
 *
 * While an import is open nothing is collected; two that want the same layer do the work once.
 */
struct lazy_offer;
struct import_layer {
	char id[65]; /* the tar's sha256 */
	uint64_t tar_size; /* bytes */
	bool is_new; /* was not in the store */
	bool is_lazy; /* ... and its contents are not yet */
	uint64_t temporary; /* bytes that were on disk for it, and are not any more */
	uint64_t fetched; /* bytes of the blob, or of what stands for it while it is lazy */
	char whole[256]; /* why it came whole although it was to be lazy; or empty */
};

struct import {
	struct snap_store *store;
	int gc_lock;
	pthread_mutex_t db_lock; /* over every use of the database while threads run */
	struct import_added *added; /* under db_lock */
	const char *whole; /* NULL, or why nothing can be lazy although it was to be */
	bool named;
	bool stays; /* layers without a name do, until the next gc; set by who began it */
	bool no_blobs; /* the tars alone are kept; set by who began it */
};

struct import_job {
	const struct oci_layer_ref *layer;
	const struct oci_limits *limits; /* NULL: defaults */
	_Atomic uint64_t *progress; /* bytes of blobs that are done */
	const _Atomic bool *cancel;
	/* Where the blob comes from: only asked when it is needed; released by the caller of open.
	 */
	int (*open)(void *ctx, const struct oci_descriptor *desc, struct oci_blob *ret,
		    struct err *err);
	void *ctx;
	/* NULL, or: what is offered for being lazy (lazy_import.h); what is not offered, or turns
	 * out to be no good, comes whole and is told of. */
	const struct lazy_offer *lazy;
	/* Or a file of the caller's own folder in tmp/, which is moved instead of copied, and the
	 * level of compression that made it. */
	struct store_tmp *own;
	const char *own_name;
	int level;
};

int import_begin(struct snap_store *store, struct import *ret, struct err *err)
	__attribute__((warn_unused_result));
void import_end(struct import *im);
int import_layer(struct import *im, const struct import_job *job, struct import_layer *ret,
		 struct err *err) __attribute__((warn_unused_result));
/* @layers: as many as @image has, from import_layer(). -EEXIST: @ref is a committed snapshot's. */
int import_image(struct import *im, const struct oci_image *image,
		 const struct import_layer *layers, const char *ref, struct err *err)
	__attribute__((warn_unused_result));
/*
 * 1: everything of the manifest is in the store already, and @ref now names it. @lazy: layers that
 * are not complete will do.
 */
int import_known(struct import *im, const struct oci_image *image, const char *ref, bool lazy,
		 struct err *err) __attribute__((warn_unused_result));

/* A layer as its rows say it. */
struct import_row {
	const char *id, *state;
	bool kept; /* its blob */
	int level; /* of its compression, if it was made here */
};
/* For lazy_import.c: the layer's folder @name of @tmp is given its place; then its rows. */
int import_place(struct import *im, struct store_tmp *tmp, const char *name, const char *id,
		 int data_fd, struct err *err) __attribute__((warn_unused_result));
int import_rows(struct import *im, const struct oci_layer_ref *ref,
		const struct oci_layer_result *result, const struct import_row *row,
		struct err *err) __attribute__((warn_unused_result));

/* chain.c: makes the merged index of the layers when it is not there; @ret_id: its folder's name.
 */
int chain_build(struct snap_store *store, const struct digest *diff_ids,
		const struct import_layer *layers, size_t n, char ret_id[65], uint64_t *ret_inodes,
		struct err *err) __attribute__((warn_unused_result));
/* Inside a transaction: the rows of a chain that is built. */
int chain_insert(struct db *db, const char *chain, uint64_t inodes,
		 const struct import_layer *layers, size_t n, struct err *err)
	__attribute__((warn_unused_result));
/* The folder's name of the chain of these diff ids; n >= 1. */
int chain_folder(const struct digest *diff_ids, size_t n, char ret_id[65], struct err *err)
	__attribute__((warn_unused_result));
/* Merges the indexes of the layers (ids) and writes the result to @fd. */
int chain_merge(struct snap_store *store, const char *const *ids, size_t n, int fd,
		uint64_t *ret_inodes, struct err *err) __attribute__((warn_unused_result));
