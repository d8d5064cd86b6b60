/* SPDX-License-Identifier: Apache-2.0 */
/* A filter's text, as a client of 'snap serve' sends it, parsed and matched. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "snapshotter/filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char key[] = "default/58/extract-881043938-HMh5 sha256:e170",
		    parent[] = "sha256:abc";
	static char name[] = "containerd.io/gc.root", value[] = "2026-11-24T00:00:00Z";
	struct snap_label label = {name, value};
	struct snap_info info = {
		.key = key, .parent = parent, .kind = SNAP_VIEW, .labels = &label, .n_labels = 1};
	char *text cleanup_free = strndup((const char *)data, size);
	struct snap_filter *f cleanup_snap_filter = NULL;
	const char *texts[2] = {text, NULL};

	if (!text)
		return 0;
	texts[1] = text + strlen(text) / 2; /* its second half once more, as another filter */
	if (snap_filter_parse(texts, 2, &f, NULL) < 0)
		return 0;
	(void)snap_filter_match(f, &info);
	return 0;
}
