/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "erofs/image.h"
#include "oci/limits.h"
#include "oci/spans.h"
#include "oci/toc_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int on_member(void *ctx, const struct oci_tar_member *m, struct err *err)
{
	return toc_make_member(ctx, m, err);
}

static int on_chunk(void *ctx, const struct toc_chunk *c, struct err *err)
{
	return toc_make_chunk(ctx, c, err);
}

/* Whatever is made of a table can be read, as an index and as spans of the blob that it is of. */
static void look_at(int index, const struct strbuf *file, const struct oci_layer_ref *layer)
{
	struct oci_spans *spans = NULL;
	struct erofs_image *img = NULL;
	struct err err = ERR_INIT;

	if (oci_spans_parse(file->s, file->len, &spans, &err) < 0 ||
	    erofs_image_open(index, &img, &err) < 0)
		abort();
	for (size_t i = 0; i < oci_spans_count(spans); i++) {
		const struct oci_span *x = oci_spans_get(spans, i);

		if (x->in > layer->desc.size || x->in_len > layer->desc.size - x->in)
			abort();
	}
	erofs_image_close(img);
	oci_spans_free(spans);
}

/* A byte: how much of the text is given at once. Then the table. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char digest[] =
		"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
	struct oci_layer_ref layer = {.compression = OCI_ZSTD, .desc.size = 1u << 20};
	struct strbuf file CLEANUP(strbuf_release) = STRBUF_INIT;
	int index cleanup_close = memfd_create("index", MFD_CLOEXEC);
	struct oci_layer_result result;
	struct oci_limits limits = {.entries = 10000, .bytes = 1u << 30};
	struct toc_text_out out = {.member = on_member, .chunk = on_chunk};
	struct err err = ERR_INIT;
	struct toc_text *text;
	struct toc_make *make;
	size_t step = size ? data[0] + 1u : 1;
	int r = 0;

	if (size == 0 || index < 0 || digest_parse(digest, &layer.desc.digest) < 0)
		return 0;
	layer.diff_id = layer.toc.digest = layer.desc.digest;
	oci_limits_fill(&limits, &limits);
	make = toc_make_new(&layer, &limits, layer.desc.size - 1000);
	out.ctx = make;
	text = toc_text_new(&out);
	if (!make || !text)
		abort();
	for (size_t at = 1; at < size && r == 0; at += step)
		r = toc_text_push(text, data + at, size - at < step ? size - at : step, &err);
	if (r == 0)
		r = toc_text_finish(text, &err);
	if (r == 0)
		r = toc_make_finish(make, index, &file, &result, &err);
	toc_text_free(text);
	toc_make_free(make);
	if (r < 0 && !err.msg[0])
		abort();
	if (r == 0)
		look_at(index, &file, &layer);
	return 0;
}
