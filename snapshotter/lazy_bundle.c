/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/lazy_bundle.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "snapshotter/lazy_plan.h"

/* Little-endian; behind it the index (one zstd frame) and the spans file. */
struct head {
	char magic[8];
	uint32_t version, zero;
	uint64_t index_raw, index_len, spans_len;
};
#define MAGIC	"SNAPLAZY"
#define VERSION 1u

int lazy_bundle_write(const void *index, size_t index_len, const void *spans, size_t spans_len,
		      struct strbuf *out, struct err *err)
{
	struct head head = {.version = htole32(VERSION),
			    .index_raw = htole64(index_len),
			    .spans_len = htole64(spans_len)};
	size_t room = ZSTD_compressBound(index_len), n, start = out->len;
	int r;

	memcpy(head.magic, MAGIC, 8);
	r = strbuf_add(out, &head, sizeof(head));
	if (r == 0)
		r = strbuf_reserve(out, room + spans_len);
	if (r < 0)
		return err_set(err, r, "lazy index");
	n = ZSTD_compress(out->s + out->len, room, index, index_len, 12);
	if (ZSTD_isError(n))
		return err_msg(err, -ENOMEM, "lazy index: %s", ZSTD_getErrorName(n));
	out->len += n;
	head.index_len = htole64(n);
	memcpy(out->s + start, &head, sizeof(head));
	return strbuf_add(out, spans, spans_len) < 0 ? err_set(err, -ENOMEM, "lazy index") : 0;
}

static int unpack(const uint8_t *p, size_t len, uint64_t raw, int fd, struct err *err)
{
	ZSTD_DCtx *z = ZSTD_createDCtx();
	uint8_t *buf cleanup_free = malloc(1 << 17);
	ZSTD_inBuffer in = {.src = p, .size = len};
	uint64_t done = 0;
	size_t left = 1;
	int r = z && buf ? 0 : err_set(err, -ENOMEM, "lazy index");

	while (r == 0 && left != 0) {
		ZSTD_outBuffer out = {.dst = buf, .size = 1 << 17};

		left = ZSTD_decompressStream(z, &out, &in);
		if (ZSTD_isError(left) || out.pos > raw - done ||
		    (left != 0 && out.pos == 0 && in.pos == in.size))
			r = err_msg(err, -EBADMSG, "lazy index: the packed index is damaged");
		else
			r = io_pwrite_full(fd, buf, out.pos, (off_t)done);
		done += out.pos;
	}
	(void)ZSTD_freeDCtx(z);
	if (r == 0 && (done != raw || in.pos != in.size))
		r = err_msg(err, -EBADMSG, "lazy index: the packed index has another size");
	return r;
}

int lazy_bundle_read(const void *data, size_t len, int index_fd, const void **ret_spans,
		     size_t *ret_len, struct err *err)
{
	const uint8_t *p = data;
	struct head head;
	uint64_t index_len, spans_len, raw;

	if (len < sizeof(head))
		return err_msg(err, -EBADMSG, "lazy index: too short");
	memcpy(&head, p, sizeof(head));
	if (memcmp(head.magic, MAGIC, 8) != 0)
		return err_msg(err, -EBADMSG, "lazy index: something else");
	if (le32toh(head.version) != VERSION)
		return err_msg(err, -EPROTONOSUPPORT, "lazy index: of version %u, known is %u",
			       le32toh(head.version), VERSION);
	raw = le64toh(head.index_raw);
	index_len = le64toh(head.index_len);
	spans_len = le64toh(head.spans_len);
	if (raw > LAZY_INDEX_MAX || index_len > len || spans_len > len ||
	    sizeof(head) + index_len + spans_len != len)
		return err_msg(err, -EBADMSG, "lazy index: a number is out of range");
	*ret_spans = p + sizeof(head) + index_len;
	*ret_len = (size_t)spans_len;
	return unpack(p + sizeof(head), (size_t)index_len, raw, index_fd, err);
}

static void write_descriptor(struct json_writer *w, const struct oci_descriptor *d)
{
	json_w_key(w, "mediaType");
	json_w_string(w, d->media_type);
	json_w_key(w, "digest");
	json_w_string(w, d->digest.text);
	json_w_key(w, "size");
	json_w_uint(w, d->size);
}

int lazy_manifest_write(const struct oci_image *image, const struct lazy_bundle_ref *refs, size_t n,
			const struct oci_descriptor *list, const struct oci_descriptor *config,
			struct strbuf *out, struct err *err)
{
	struct json_writer *w = json_writer_new(0);
	int r;

	json_w_object(w);
	json_w_key(w, "schemaVersion");
	json_w_uint(w, 2);
	json_w_key(w, "mediaType");
	json_w_string(w, "application/vnd.oci.image.manifest.v1+json");
	json_w_key(w, "artifactType");
	json_w_string(w, LAZY_TYPE);
	json_w_key(w, "config");
	json_w_object(w);
	write_descriptor(w, config);
	json_w_end(w);
	json_w_key(w, "layers");
	json_w_array(w);
	for (size_t i = 0; i < n; i++) {
		json_w_object(w);
		write_descriptor(w, &refs[i].desc);
		json_w_key(w, "annotations");
		json_w_object(w);
		json_w_key(w, LAZY_ANNOTATION);
		json_w_string(w, refs[i].blob.text);
		json_w_end(w);
		json_w_end(w);
	}
	if (list) {
		json_w_object(w);
		write_descriptor(w, list);
		json_w_end(w);
	}
	json_w_end(w);
	json_w_key(w, "subject");
	json_w_object(w);
	write_descriptor(w, &image->manifest_desc);
	json_w_end(w);
	json_w_end(w);
	r = json_writer_finish(w, out);
	return r < 0 ? err_set(err, r, "lazy index") : 0;
}

int lazy_manifest_find(const struct json *doc, const struct digest *blob,
		       struct oci_descriptor *ret, struct err *err)
{
	const struct json *layers = json_get(doc, "layers");

	for (size_t i = 0; i < json_len(layers); i++) {
		const struct json *v = json_at(layers, i);
		const char *of = json_string(json_get(json_get(v, "annotations"), LAZY_ANNOTATION));
		int r;

		if (!of || strcmp(of, blob->text) != 0)
			continue;
		r = oci_descriptor_parse(v, "lazy index", ret, err);
		if (r == 0 &&
		    (strcmp(ret->media_type, LAZY_LAYER_TYPE) != 0 || ret->size > LAZY_BUNDLE_MAX))
			r = err_msg(err, -EBADMSG, "lazy index: too large, or of another kind");
		return r;
	}
	return err_msg(err, -ENOENT, "the lazy index leaves this layer out");
}

int lazy_manifest_list(const struct json *doc, struct oci_descriptor *ret, struct err *err)
{
	const struct json *layers = json_get(doc, "layers");

	for (size_t i = 0; i < json_len(layers); i++) {
		const char *type = json_string(json_get(json_at(layers, i), "mediaType"));
		int r;

		if (!type || strcmp(type, LAZY_LIST_TYPE) != 0)
			continue;
		r = oci_descriptor_parse(json_at(layers, i), "lazy index", ret, err);
		if (r == 0 && ret->size > LAZY_LIST_MAX)
			r = err_msg(err, -EBADMSG, "lazy index: its list is too large");
		return r;
	}
	return err_msg(err, -ENOENT, "the lazy index has no list of what to fetch first");
}

int lazy_index_find(struct oci_source *source, const struct oci_image *image,
		    const struct digest *expect, struct json **ret, struct err *err)
{
	char *text cleanup_free = NULL;
	struct digest is;
	int r = oci_source_referrer(source, &image->manifest_desc, LAZY_TYPE, &text, err);

	if (r == 0 && expect) {
		r = digest_buffer(digest_algorithm(expect), text, strlen(text), &is);
		if (r == 0 && !digest_equal(&is, expect))
			return err_msg(err, -EPERM, "its lazy index is %s, not the expected one",
				       is.text);
		if (r < 0)
			return err_set(err, r, "lazy index");
	}
	return r < 0 ? r : json_parse(text, strlen(text), ret, err);
}

int lazy_part_fetch(struct oci_source *source, const struct oci_descriptor *desc, char **ret,
		    struct err *err)
{
	struct oci_blob blob cleanup_oci_blob = OCI_BLOB_INIT;
	char *data cleanup_free = NULL;
	struct err why = ERR_INIT;
	struct digest is;
	int r = oci_source_blob(source, desc, &blob, err), failed;

	if (r < 0)
		return r;
	data = malloc((size_t)desc->size + 1);
	r = data ? io_read_full(blob.fd, data, (size_t)desc->size) : -ENOMEM;
	failed = oci_blob_finish(&blob, &why);
	if (failed < 0 && err)
		*err = why;
	if (failed < 0)
		return failed;
	if (r == 0)
		r = digest_buffer(digest_algorithm(&desc->digest), data, (size_t)desc->size, &is);
	if (r < 0)
		return err_set(err, r, "lazy index");
	if (!digest_equal(&is, &desc->digest))
		return err_msg(err, -EBADMSG, "lazy index: digest does not match: it is %s",
			       is.text);
	data[desc->size] = '\0';
	*ret = steal_ptr(&data);
	return 0;
}

int lazy_spans_check(const struct oci_spans *spans, const struct oci_layer_ref *ref,
		     struct err *err)
{
	if (!digest_equal(oci_spans_blob(spans), &ref->desc.digest) ||
	    oci_spans_blob_size(spans) != ref->desc.size ||
	    oci_spans_compression(spans) != ref->compression ||
	    !digest_equal(oci_spans_tar(spans), &ref->diff_id) || oci_spans_is_by_table(spans))
		return err_msg(err, -EBADMSG, "lazy index: it is for another layer");
	return 0;
}
