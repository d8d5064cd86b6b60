/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "snapshotter/snapshot.h"

/*
 * remote - layers that containerd need not download: it asks for a snapshot with the chain id of
 * what it is about to unpack there in the label below; when layers of the store are that chain, a
 * committed snapshot stands for it and containerd is told that it exists.
 *
 * Such a snapshot holds nothing itself: what is mounted over it is the chain's index, whatever lies
 * below it.
 */
#define SNAP_LABEL_REF "containerd.io/snapshot.ref"

/*
 * Makes the committed snapshot with these labels, of which one is SNAP_LABEL_REF, on @parent (as
 * snap_prepare() has it), or finds it. 1: it is there; 0: no such label, or the store has not all
 * of the chain's layers. Errors of snap_prepare().
 */
int snap_remote(struct snap_store *store, const char *parent, const struct snap_label *labels,
		size_t n_labels, struct err *err) __attribute__((warn_unused_result));
