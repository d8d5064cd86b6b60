/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/media.h"

#include <string.h>

#define DOCKER "application/vnd.docker."

static const struct {
	const char *name;
	struct oci_media media;
} types[] = {
	{OCI_MEDIA_INDEX, {OCI_KIND_INDEX, OCI_PLAIN}},
	{OCI_MEDIA_MANIFEST, {OCI_KIND_MANIFEST, OCI_PLAIN}},
	{OCI_MEDIA_CONFIG, {OCI_KIND_CONFIG, OCI_PLAIN}},
	{OCI_MEDIA_LAYER, {OCI_KIND_LAYER, OCI_PLAIN}},
	{OCI_MEDIA_LAYER "+gzip", {OCI_KIND_LAYER, OCI_GZIP}},
	{OCI_MEDIA_LAYER "+zstd", {OCI_KIND_LAYER, OCI_ZSTD}},
	{"application/vnd.oci.image.layer.nondistributable.v1.tar", {OCI_KIND_FOREIGN, OCI_PLAIN}},
	{"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
	 {OCI_KIND_FOREIGN, OCI_GZIP}},
	{"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
	 {OCI_KIND_FOREIGN, OCI_ZSTD}},
	{DOCKER "distribution.manifest.list.v2+json", {OCI_KIND_INDEX, OCI_PLAIN}},
	{DOCKER "distribution.manifest.v2+json", {OCI_KIND_MANIFEST, OCI_PLAIN}},
	{DOCKER "container.image.v1+json", {OCI_KIND_CONFIG, OCI_PLAIN}},
	{DOCKER "image.rootfs.diff.tar", {OCI_KIND_LAYER, OCI_PLAIN}},
	{DOCKER "image.rootfs.diff.tar.gzip", {OCI_KIND_LAYER, OCI_GZIP}},
	{DOCKER "image.rootfs.diff.tar.zstd", {OCI_KIND_LAYER, OCI_ZSTD}},
	{DOCKER "image.rootfs.foreign.diff.tar", {OCI_KIND_FOREIGN, OCI_PLAIN}},
	{DOCKER "image.rootfs.foreign.diff.tar.gzip", {OCI_KIND_FOREIGN, OCI_GZIP}},
};

struct oci_media oci_media_of(const char *media_type)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (strcmp(types[i].name, media_type) == 0)
			return types[i].media;
	}
	return (struct oci_media){.kind = OCI_KIND_OTHER};
}
