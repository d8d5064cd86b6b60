/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "oci/reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is taken apart and put together again is a full reference, and the same. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct oci_reference one, two;
	char *text = malloc(size + 1), *full;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (oci_reference_parse(text, &one) == 0) {
		full = oci_reference_format(&one);
		if (!full)
			abort();
		if (!oci_reference_is_full(full) || oci_reference_parse(full, &two) < 0 ||
		    strcmp(one.host, two.host) != 0 || strcmp(one.name, two.name) != 0 ||
		    strcmp(one.digest.text, two.digest.text) != 0 || strstr(one.name, ".."))
			abort();
		free(full);
	}
	free(text);
	return 0;
}
