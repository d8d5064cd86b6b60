/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "snapshotter/runtime_user.h"
#include "snapshotter/userns.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The part before the first NUL is passwd, then group, then who is looked for: all are an image's.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct runtime_user u = {.home = NULL};
	struct userns_range ranges[USERNS_RANGES_MAX];
	struct err err = ERR_INIT;
	char *text = malloc(size + 3), *group, *spec;
	size_t n;

	if (!text)
		return 0;
	if (size > 0)
		memcpy(text, data, size);
	memset(text + size, 0, 3);
	group = text + strlen(text);
	group += group < text + size + 1;
	spec = group + strlen(group);
	spec += spec < text + size + 2;
	if (runtime_user_parse(text, group, spec, &u, &err) == 0) {
		if (!u.home || u.home[0] != '/' || u.n_groups > RUNTIME_GROUPS_MAX ||
		    u.uid > INT32_MAX || u.gid > INT32_MAX)
			abort();
	} else if (err.code >= 0 || !err.msg[0]) {
		abort();
	}
	runtime_user_release(&u);
	n = userns_ranges_parse(text, spec, 1000, ranges);
	for (size_t i = 0; i < n; i++) {
		if (ranges[i].count == 0 || ranges[i].start + ranges[i].count > UINT32_MAX)
			abort();
	}
	free(text);
	return 0;
}
