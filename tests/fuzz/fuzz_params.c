/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "overlay/params.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The option string comes from whoever may mount; whatever it says, no more than an error may come
 * of it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ovl_config c = OVL_CONFIG_INIT;
	struct err err = ERR_INIT;
	char *text = malloc(size + 1);

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (ovl_params_parse(&c, text, &err) == 0 && ovl_params_verify(&c, &err) == 0) {
		for (size_t i = 0; i < c.n_lowers; i++)
			if (!*c.lowers[i])
				abort();
		if (c.n_lowers == 0 && !c.upper)
			abort();
	} else if (err.code >= 0 || !err.msg[0]) {
		abort();
	}
	ovl_config_release(&c);
	free(text);
	return 0;
}
