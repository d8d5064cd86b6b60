/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "oci/layer_in.h"
#include "snapshotter/store_private.h"

/*
 * remake - a layer's folder made anew, of bytes that the store has: `l` in a folder of tmp/. It is
 * for who makes it to hold it against another one, or to give it its place (store_publish()).
 *
 *	struct remade m CLEANUP(remade_release) = REMADE_INIT;
 *	r = layer_remake(store, fd, &ref, &no_limits, &m, err);
 */
struct remade {
	struct store_tmp tmp;
	int dir, data, side, index;
	struct oci_layer_result result;
};
#define REMADE_INIT                                                                                \
	{                                                                                          \
		.tmp = STORE_TMP_INIT, .dir = -1, .data = -1, .side = -1, .index = -1              \
	}

/* For what was within its budgets when it was brought in. */
extern const struct oci_limits no_limits;

/* @from is read from where it stands; digests and diff id are verified. */
int layer_remake(struct snap_store *store, int from, const struct oci_layer_ref *ref,
		 const struct oci_limits *limits, struct remade *ret, struct err *err)
	__attribute__((warn_unused_result));
int remade_sync(const struct remade *m, struct err *err) __attribute__((warn_unused_result));
void remade_release(struct remade *m);
