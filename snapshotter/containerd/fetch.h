/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "snapshotter/pull.h"
#include "snapshotter/snapshot.h"

/*
 * fetch - images that containerd asks for and the store does not have: with 'serve --pull' they are
 * pulled when the first of their layers is asked for, so that containerd downloads none.
 *
 * Which image it is, clients say in labels: CRI (and nerdctl) by
 * containerd.io/snapshot/cri.image-ref and cri.manifest-digest, stargz's clients by
 * containerd.io/snapshot/remote/stargz.reference.
 */
struct fetch_options {
	bool on;
	enum snap_lazy lazy;
	const struct oci_remote *remote; /* NULL: defaults */
	const char *content; /* folder of containerd's content store */
};

/*
 * snap_remote(), and when the store has not all layers: the image is pulled, out of containerd's
 * content store when it is whole there, else from its registry; and asked for again.
 * A pull that fails is logged, and not tried again for a while: 0, containerd does it then. At most
 * four callers pull or wait for one; for who comes then it is 0 as well.
 */
int fetch_remote(struct snap_store *store, const struct fetch_options *opt, const char *parent,
		 const struct snap_label *labels, size_t n, struct err *err)
	__attribute__((warn_unused_result));
