/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "snapshotter/import.h"
#include "snapshotter/lazy.h"
#include "snapshotter/lazy_plan.h"

/*
 * lazy_import - layers brought in without their contents: from the lazy index that refers to the
 * image where it comes from. What it says is believed as far as the image's manifest and config
 * agree (blob, size, diff id); the rest is verified when everything has come (lazy_layer_finish()).
 */
struct lazy_offer {
	struct oci_source *source; /* where the index is: borrowed, or ->own */
	struct oci_source *own; /* owned */
	struct json *doc; /* owned; of the artifact's manifest */
	struct lazy_source where;
	char *spec, *authfile; /* owned */
	/* Why a layer came whole after all. Any thread. */
	void (*whole)(void *ctx, const struct digest *blob, const char *why);
	void *ctx;
};
/* Where an image comes from, and its index. */
struct lazy_place_of {
	struct oci_source *source; /* of the image */
	const char *spec; /* as given to oci_source_open() */
	const struct oci_remote *remote;
	const char *index; /* of the index; NULL: the same */
	const struct digest *expect; /* of the index's manifest; NULL: any */
};
/* -ENOENT: there is no lazy index for @image. -EPERM: there is another than the expected one. */
int lazy_offer_open(const struct lazy_place_of *at, const struct oci_image *image,
		    struct lazy_offer *ret, struct err *err) __attribute__((warn_unused_result));
/* The list of what to fetch first that the index has. -ENOENT: it has none. */
int lazy_offer_list(const struct lazy_offer *o, struct lazy_list *ret, struct err *err)
	__attribute__((warn_unused_result));
void lazy_offer_release(struct lazy_offer *o);

/* 1: it is in the store, lazily. 0: it has to come whole, and ->whole was told why. */
int lazy_import_layer(struct import *im, const struct import_job *job, struct import_layer *ret,
		      struct err *err) __attribute__((warn_unused_result));
