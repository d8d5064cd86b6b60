/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "oci/inflate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first byte says which stream it is, the second how long the pieces of input and output are.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct oci_inflate *z;
	struct err err = ERR_INIT;
	uint8_t out[4096];
	size_t piece, total = 0;
	int r = 0;

	if (size < 2)
		return 0;
	z = oci_inflate_new(data[0] % 2 ? OCI_ZSTD : OCI_GZIP);
	if (!z)
		return 0;
	piece = (size_t)data[1] * 8 + 1;
	data += 2;
	size -= 2;
	while (r == 0 && size > 0 && total < 1 << 24) {
		size_t n = size < piece ? size : piece;
		struct oci_inflate_io io = {.in = data, .in_len = n};

		do {
			io.out = out;
			io.out_len = piece < sizeof(out) ? piece : sizeof(out);
			total += io.out_len;
			r = oci_inflate_step(z, &io, &err);
		} while (r == 0 && io.out_len == 0 && total < 1 << 24);
		if (r == 0 && io.in_len && total < 1 << 24)
			abort();
		data += n;
		size -= n;
	}
	if (r == 0)
		r = oci_inflate_finish(z, &err);
	if (r < 0 && !err.msg[0])
		abort();
	oci_inflate_free(z);
	return 0;
}
