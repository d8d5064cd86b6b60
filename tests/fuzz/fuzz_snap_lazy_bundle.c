/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "snapshotter/lazy_bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err = ERR_INIT;
	const void *spans = NULL;
	size_t len = 0;
	int fd = memfd_create("index", MFD_CLOEXEC);

	if (fd < 0)
		return 0;
	if (lazy_bundle_read(data, size, fd, &spans, &len, &err) == 0) {
		const uint8_t *p = spans;

		if (p < data || p + len != data + size)
			abort();
	} else if (!err.msg[0]) {
		abort();
	}
	close(fd);
	return 0;
}
