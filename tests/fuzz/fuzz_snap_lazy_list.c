/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "snapshotter/lazy_plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a list says is inside of numbers that can be added, of layers that have a name. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lazy_list l cleanup_lazy_list = LAZY_LIST_INIT;
	struct err err = ERR_INIT;
	char *text = malloc(size + 1); /* so that reading beyond it is seen */

	if (!text)
		return 0;
	memcpy(text, data, size);
	if (lazy_list_parse(text, size, &l, &err) < 0 && !err.msg[0])
		abort();
	for (size_t i = 0; i < l.n; i++) {
		if (strlen(l.wants[i].layer) != 64 || l.wants[i].len == 0 ||
		    l.wants[i].off + l.wants[i].len < l.wants[i].off)
			abort();
	}
	free(text);
	return 0;
}
