/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "oci/spans.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*
 * Two bytes: how long the blob is. Then the blob, then a file of spans without its checksum, which
 * is put right here: otherwise nothing would get behind it.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct strbuf text CLEANUP(strbuf_release) = STRBUF_INIT;
	struct oci_spans *spans = NULL;
	struct err err = ERR_INIT;
	struct digest d;
	size_t blob;
	int blob_fd, data_fd;

	if (size < 2)
		return 0;
	blob = (size_t)data[0] | (size_t)data[1] << 8;
	data += 2;
	size -= 2;
	blob = blob < size ? blob : size;
	if (strbuf_add(&text, data + blob, size - blob) < 0 ||
	    digest_buffer(DIGEST_SHA256, text.s, text.len, &d) < 0)
		return 0;
	for (size_t i = 0; i < 32; i++) {
		char hex[3] = {digest_hex(&d)[2 * i], digest_hex(&d)[2 * i + 1], '\0'};

		if (strbuf_addc(&text, (char)strtoul(hex, NULL, 16)) < 0)
			return 0;
	}
	if (oci_spans_parse(text.s, text.len, &spans, &err) < 0) {
		if (!err.msg[0])
			abort();
		return 0;
	}
	blob_fd = memfd_create("blob", MFD_CLOEXEC);
	data_fd = memfd_create("data", MFD_CLOEXEC);
	if (blob_fd >= 0 && data_fd >= 0 && io_pwrite_full(blob_fd, data, blob, 0) == 0) {
		for (size_t i = 0; i < oci_spans_count(spans) && i < 64; i++) {
			const struct oci_span *x = oci_spans_get(spans, i);

			if (x->out_len > 1u << 24 || x->out > 1u << 30)
				continue;
			if (oci_spans_inflate(spans, i, blob_fd, data_fd, &err) == 0 &&
			    oci_spans_verify(spans, i, data_fd) != 1)
				abort();
		}
	}
	close(blob_fd);
	close(data_fd);
	oci_spans_free(spans);
	return 0;
}
