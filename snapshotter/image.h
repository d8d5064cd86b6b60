/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "erofs/effects.h"
#include "oci/document.h"
#include "snapshotter/store.h"

/*
 * image - the images of a store: a REF names a manifest, which has a config and
 * layers. Forgetting a REF leaves the contents to gc.
 */
struct snap_image_info {
	char *ref;
	struct digest manifest, config;
	char media_type[128]; /* of the manifest */
	uint64_t manifest_size, config_size; /* bytes */
	char chain[65]; /* folder of the merged index; empty for an image without layers */
	char created[64]; /* RFC 3339; empty when the config has none */
	char platform[104]; /* OS/ARCH[/VARIANT] */
	size_t n_layers;
	uint64_t size; /* bytes of all blobs: layers, config, manifest */
	/* While layers of it are lazy: bytes of all layers' blobs, and of those what is here. */
	size_t n_lazy;
	uint64_t needed, fetched;
	/* Layers that were fetched whole although they were to be lazy, and why the lowest was. */
	size_t n_whole;
	char whole[256];
};
void snap_image_info_release(struct snap_image_info *info);
#define cleanup_snap_image_info __attribute__((cleanup(snap_image_info_release)))

struct snap_layer_info {
	char id[65]; /* sha256 of the tar: the folder's name */
	struct digest diff_id, blob;
	char chain[DIGEST_TEXT_MAX + 1]; /* chain id up to this layer */
	uint64_t blob_size, tar_size, side_size, entries;
	char state[16]; /* "complete" */
	bool kept; /* false: its blob is not here, by choice (--no-blobs) */
	char whole[256]; /* why it was fetched whole although it was to be lazy; or empty */
};

/* @name: a REF; the tag "latest" may be left out, in @name as in what the image is called. -ENOENT.
 */
int snap_image_find(struct snap_store *store, const char *name, struct snap_image_info *ret,
		    struct err *err) __attribute__((warn_unused_result));
/* In the order of their REFs. Stops at the first non-zero return of @fn and returns it. */
typedef int (*snap_image_fn)(void *ctx, const struct snap_image_info *info, struct err *err);
int snap_image_walk(struct snap_store *store, snap_image_fn fn, void *ctx, struct err *err)
	__attribute__((warn_unused_result));
/* Lowest first; free() @ret. */
/* What each of @layers, as snap_image_layers() gave them, does to those below: into @ret, one each.
 */
int snap_image_effects(struct snap_store *store, const struct snap_layer_info *layers, size_t n,
		       struct erofs_effect *ret, struct err *err)
	__attribute__((warn_unused_result));
int snap_image_layers(struct snap_store *store, const struct digest *manifest,
		      struct snap_layer_info **ret, size_t *ret_n, struct err *err)
	__attribute__((warn_unused_result));
/* Manifest and config, read from the store and checked against their digests. */
int snap_image_load(struct snap_store *store, const struct digest *manifest, struct oci_image **ret,
		    struct err *err) __attribute__((warn_unused_result));
/* Forgets a REF. -ENOENT. */
int snap_image_remove(struct snap_store *store, const char *ref, struct err *err)
	__attribute__((warn_unused_result));
