/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/repack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/strbuf.h"
#include "oci/compress.h"

#define CHUNK (1u << 18)

struct sink {
	int fd;
	struct hash *hash;
	uint64_t size;
};

static int blob_bytes(void *ctx, const void *data, size_t len, struct err *err)
{
	struct sink *s = ctx;
	int r = io_write_full(s->fd, data, len);

	if (r == 0)
		r = hash_update(s->hash, data, len);
	s->size += len;
	return r < 0 ? err_set(err, r, "write the blob") : 0;
}

static int compress_all(int tar_fd, struct oci_compress *c, struct hash *tar, struct err *err)
{
	char *buf cleanup_free = malloc(CHUNK);
	off_t pos = 0;
	int r = buf ? 0 : err_set(err, -ENOMEM, "compress");

	while (r == 0) {
		ssize_t n = pread(tar_fd, buf, CHUNK, pos);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(err, -errno, "read the tar");
		if (n == 0)
			return oci_compress_finish(c, err);
		pos += n;
		r = hash_update(tar, buf, (size_t)n);
		r = r < 0 ? err_set(err, r, "hash the tar")
			  : oci_compress_write(c, buf, (size_t)n, err);
	}
	return r;
}

int oci_repack(int tar_fd, int fd, enum oci_compression how, int level, enum digest_alg alg,
	       struct oci_repacked *ret, struct err *err)
{
	struct hash *tar cleanup_hash = hash_new(DIGEST_SHA256);
	struct hash *blob cleanup_hash = hash_new(alg);
	struct sink sink = {.fd = fd, .hash = blob};
	struct oci_compress *c = NULL;
	int r = tar && blob ? 0 : err_set(err, -ENOMEM, "compress");

	if (r == 0)
		r = oci_compress_new(how, level, 0, blob_bytes, &sink, &c, err);
	if (r == 0)
		r = compress_all(tar_fd, c, tar, err);
	oci_compress_free(c);
	if (r < 0)
		return r;
	ret->size = sink.size;
	r = hash_final(tar, &ret->tar);
	if (r == 0)
		r = hash_final(blob, &ret->blob);
	return r < 0 ? err_set(err, r, "hash the blob") : 0;
}

/* What is said of the bytes of a blob, and not of what they stand for. */
static bool is_of_the_bytes(const char *annotation)
{
	static const char *const prefixes[] = {
		"containerd.io/snapshot/stargz/",
		"io.containers.estargz.",
		"io.containers.zstd-chunked.",
		"io.github.containers.zstd-chunked.",
	};

	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		if (strncmp(annotation, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	return false;
}

static void write_annotations(struct json_writer *w, const struct json *old)
{
	json_w_object(w);
	for (size_t i = 0; i < json_len(old); i++) {
		const char *key = json_key_at(old, i);

		if (!key || is_of_the_bytes(key))
			continue;
		json_w_key(w, key);
		json_w_value(w, json_at(old, i));
	}
	json_w_end(w);
}

/* A descriptor as it was (image specification, descriptor.md), of another blob. */
static void write_layer(struct json_writer *w, const struct json *old,
			const struct oci_descriptor *blob)
{
	json_w_object(w);
	for (size_t i = 0; i < json_len(old); i++) {
		const char *key = json_key_at(old, i);

		if (!key || strcmp(key, "urls") == 0 || strcmp(key, "data") == 0)
			continue;
		json_w_key(w, key);
		if (strcmp(key, "digest") == 0)
			json_w_string(w, blob->digest.text);
		else if (strcmp(key, "size") == 0)
			json_w_uint(w, blob->size);
		else if (strcmp(key, "annotations") == 0)
			write_annotations(w, json_at(old, i));
		else
			json_w_value(w, json_at(old, i));
	}
	json_w_end(w);
}

static int write_manifest(const struct json *old, const struct oci_image *image,
			  const struct oci_descriptor *blobs, struct strbuf *out)
{
	struct json_writer *w = json_writer_new(0);

	if (!w)
		return -ENOMEM;
	json_w_object(w);
	for (size_t i = 0; i < json_len(old); i++) {
		const char *key = json_key_at(old, i);
		const struct json *v = json_at(old, i);

		json_w_key(w, key);
		if (strcmp(key, "layers") != 0) {
			json_w_value(w, v);
			continue;
		}
		json_w_array(w);
		for (size_t k = 0; k < image->n_layers; k++) {
			if (digest_equal(&blobs[k].digest, &image->layers[k].desc.digest))
				json_w_value(w, json_at(v, k));
			else
				write_layer(w, json_at(v, k), &blobs[k]);
		}
		json_w_end(w);
	}
	json_w_end(w);
	return json_writer_finish(w, out);
}

int oci_image_replace_blobs(const struct oci_image *image, const struct oci_descriptor *blobs,
			    struct oci_image **ret, struct err *err)
{
	struct strbuf text CLEANUP(strbuf_release) = STRBUF_INIT;
	struct oci_descriptor desc = image->manifest_desc;
	struct json *old cleanup_json = NULL;
	int r = json_parse(image->manifest, image->manifest_desc.size, &old, err);

	if (r < 0)
		return r;
	r = write_manifest(old, image, blobs, &text);
	desc.size = text.len;
	if (r == 0)
		r = digest_buffer(DIGEST_SHA256, text.s, text.len, &desc.digest);
	if (r < 0)
		return err_set(err, r, "write the new manifest");
	r = oci_image_parse(&desc, text.s, text.len, image->config, image->config_desc.size, ret,
			    err);
	return r < 0 ? err_wrap(err, r, "the new manifest") : 0;
}
