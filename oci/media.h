/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>

#include "oci/document.h"

/*
 * media - what a media type means (image specification, media-types.md). The
 * docker schema 2 types are read and mean the same.
 */
#define OCI_MEDIA_INDEX	   "application/vnd.oci.image.index.v1+json"
#define OCI_MEDIA_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define OCI_MEDIA_CONFIG   "application/vnd.oci.image.config.v1+json"
#define OCI_MEDIA_LAYER	   "application/vnd.oci.image.layer.v1.tar"

enum oci_media_kind {
	OCI_KIND_OTHER, /* an artifact, a signature: nothing of an image */
	OCI_KIND_INDEX,
	OCI_KIND_MANIFEST,
	OCI_KIND_CONFIG,
	OCI_KIND_LAYER,
	OCI_KIND_FOREIGN, /* a layer that is not distributed with the image */
};

struct oci_media {
	enum oci_media_kind kind;
	enum oci_compression compression; /* of layers */
};
struct oci_media oci_media_of(const char *media_type);
