/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "oci/document.h"
#include "oci/index.h"
#include "oci/media.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Any bytes as an index, as a manifest, and as a manifest and config split at a zero byte. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct oci_descriptor desc = {.media_type = OCI_MEDIA_MANIFEST, .size = size}, config;
	struct oci_index index = OCI_INDEX_INIT;
	struct oci_image *image = NULL;
	const char *text = (const char *)data;
	const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
	struct err err = ERR_INIT;
	struct digest id;

	if (digest_buffer(DIGEST_SHA256, data, size, &desc.digest) < 0)
		return 0;
	if (oci_index_parse(text, size, NULL, &index, &err) == 0) {
		for (size_t i = 0; i < index.n; i++)
			if (oci_descriptor_parse(index.entries[i].v, "entry", &config, &err) == 0 &&
			    strlen(digest_hex(&config.digest)) < 64)
				abort();
		oci_index_release(&index);
	}
	(void)!oci_manifest_config(text, size, &config, &err);
	if (!zero)
		return 0;
	size = (size_t)(zero - data);
	if (oci_image_parse(&desc, text, size, text + size + 1, desc.size - size - 1, &image,
			    &err) == 0) {
		if (image->n_layers > OCI_LAYERS_MAX)
			abort();
		for (size_t i = 0; i < image->n_layers; i++)
			if (oci_chain_id(&image->layers[i].diff_id, 1, &id) < 0)
				abort();
		oci_image_free(image);
	} else if (err.code >= 0 || !err.msg[0]) {
		abort();
	}
	return 0;
}
