/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "oci/challenge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err = ERR_INIT;
	struct oci_challenge c;
	char *text = malloc(size + 1);

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (oci_challenge_parse(text, &c, &err) == 0) {
		/* what goes into a URL has no line in it */
		if (strpbrk(c.realm, "\r\n") || strpbrk(c.service, "\r\n") ||
		    strpbrk(c.scope, "\r\n") || (c.scheme == OCI_AUTH_BEARER && !c.realm[0]))
			abort();
	} else if (!err.msg[0]) {
		abort();
	}
	free(text);
	return 0;
}
