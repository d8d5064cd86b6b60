/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What passes is used as a path: an algorithm, a colon and digits, the very bytes that came. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct digest d, made;

	if (!text)
		return 0;
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	if (digest_parse(text, &d) == 0) {
		size_t digits = digest_algorithm(&d) == DIGEST_SHA512 ? 128 : 64;
		const char *name = digest_algorithm_name(digest_algorithm(&d));

		if (strcmp(d.text, text) != 0 || strlen(digest_hex(&d)) != digits ||
		    strspn(digest_hex(&d), "0123456789abcdef") != digits ||
		    strncmp(d.text, name, strlen(name)) != 0 || strpbrk(d.text, "/."))
			abort();
	}
	/* and what we make ourselves passes, and is itself again */
	if (digest_buffer(size % 2 ? DIGEST_SHA512 : DIGEST_SHA256, data, size, &made) < 0 ||
	    digest_parse(made.text, &d) < 0 || !digest_equal(&made, &d))
		abort();
	free(text);
	return 0;
}
