/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/document.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "oci/media.h"
#include "oci/quote.h"
#include "oci/toc.h"

static int digest_read(const struct json *v, const char *what, struct digest *ret, struct err *err)
{
	const char *text = json_string(v);
	struct oci_quoted q;
	size_t alg;

	if (!text)
		return err_msg(err, -EBADMSG, "%s: the digest is missing", what);
	if (digest_parse(text, ret) == 0)
		return 0;
	alg = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789+._-");
	if (text[alg] == ':' && strncmp(text, "sha256:", 7) != 0 &&
	    strncmp(text, "sha512:", 7) != 0)
		return err_msg(err, -EBADMSG, "%s: unknown digest algorithm %s", what,
			       oci_quote_len(&q, text, alg));
	return err_msg(err, -EBADMSG, "%s: %s is not a digest", what, oci_quote(&q, text));
}

int oci_descriptor_parse(const struct json *v, const char *what, struct oci_descriptor *ret,
			 struct err *err)
{
	const char *type = json_string(json_get(v, "mediaType"));
	struct oci_descriptor d;
	struct oci_quoted q;
	int64_t size;
	int r;

	if (json_type(v) != JSON_OBJECT)
		return err_msg(err, -EBADMSG, "%s: the descriptor is missing", what);
	if (!type)
		return err_msg(err, -EBADMSG, "%s: the media type is missing", what);
	if (strlen(type) >= sizeof(d.media_type))
		return err_msg(err, -EBADMSG, "%s: media type %s is too long", what,
			       oci_quote(&q, type));
	r = digest_read(json_get(v, "digest"), what, &d.digest, err);
	if (r < 0)
		return r;
	r = json_int(json_get(v, "size"), &size);
	if (r < 0 || size < 0)
		return err_msg(err, -EBADMSG, "%s: %s", what,
			       r == -ENOENT ? "the size is missing" : "the size is not a size");
	strcpy(d.media_type, type);
	d.size = (uint64_t)size;
	*ret = d;
	return 0;
}

static int platform_part(const struct json *v, const char *key, char *to, size_t size,
			 struct err *err)
{
	const struct json *part = json_get(v, key);
	const char *text = json_string(part);
	struct oci_quoted q;

	to[0] = '\0';
	if (json_type(part) == JSON_NULL)
		return 0;
	if (!text || strlen(text) >= size)
		return err_msg(err, -EBADMSG, "platform: bad '%s' %s", key, oci_quote(&q, text));
	for (const char *p = text; *p; p++) {
		if (*p <= ' ' || *p >= 0x7f || *p == '/')
			return err_msg(err, -EBADMSG, "platform: bad '%s' %s", key,
				       oci_quote(&q, text));
	}
	strcpy(to, text);
	return 0;
}

int oci_platform_read(const struct json *v, struct oci_platform *ret, struct err *err)
{
	struct oci_platform p;
	int r = platform_part(v, "os", p.os, sizeof(p.os), err);

	if (r == 0)
		r = platform_part(v, "architecture", p.architecture, sizeof(p.architecture), err);
	if (r == 0)
		r = platform_part(v, "variant", p.variant, sizeof(p.variant), err);
	if (r == 0)
		*ret = p;
	return r;
}

/* What holds for every manifest whoever made it. @media_type: what the descriptor said, or NULL. */
static int manifest_check(const struct json *doc, const char *media_type, struct err *err)
{
	const struct json *type = json_get(doc, "mediaType");
	struct oci_quoted q;
	int64_t version;

	if (json_type(doc) != JSON_OBJECT)
		return err_msg(err, -EBADMSG, "the manifest is no object");
	if (json_int(json_get(doc, "schemaVersion"), &version) < 0 || version != 2)
		return err_msg(err, -EBADMSG, "the manifest's schemaVersion is not 2");
	if (type &&
	    (!json_string(type) || (media_type && strcmp(json_string(type), media_type) != 0)))
		return err_msg(err, -EBADMSG,
			       "the manifest says it is %s, its descriptor says '%s'",
			       oci_quote(&q, json_string(type)), media_type ? media_type : "");
	/* a document that can be read as two kinds is what CVE-2021-41190 is about */
	if (json_get(doc, "manifests"))
		return err_msg(err, -EBADMSG, "the manifest has 'manifests' as well as 'layers'");
	if (json_get(doc, "fsLayers"))
		return err_msg(err, -EBADMSG, "the manifest has 'fsLayers' (docker schema 1)");
	if (json_type(json_get(doc, "layers")) != JSON_ARRAY)
		return err_msg(err, -EBADMSG, "the manifest has no 'layers'");
	if (json_len(json_get(doc, "layers")) > OCI_LAYERS_MAX)
		return err_msg(err, -EBADMSG, "%zu layers: at most %d are allowed",
			       json_len(json_get(doc, "layers")), OCI_LAYERS_MAX);
	return 0;
}

static int config_descriptor(const struct json *doc, struct oci_descriptor *ret, struct err *err)
{
	struct oci_descriptor d;
	struct oci_quoted q;
	int r = oci_descriptor_parse(json_get(doc, "config"), "config", &d, err);

	if (r < 0)
		return r;
	if (oci_media_of(d.media_type).kind != OCI_KIND_CONFIG)
		return err_msg(err, -EBADMSG, "not an image: media type %s of the config",
			       oci_quote(&q, d.media_type));
	*ret = d;
	return 0;
}

int oci_manifest_config(const char *manifest, size_t len, struct oci_descriptor *ret,
			struct err *err)
{
	struct json *doc cleanup_json = NULL;
	int r = json_parse(manifest, len, &doc, err);

	if (r < 0)
		return err_wrap(err, r, "manifest");
	r = manifest_check(doc, NULL, err);
	return r < 0 ? r : config_descriptor(doc, ret, err);
}

static int layers_parse(const struct json *layers, const struct json *rootfs,
			struct oci_image *image, struct err *err)
{
	const struct json *diff_ids = json_get(rootfs, "diff_ids");
	const char *type = json_string(json_get(rootfs, "type"));
	size_t n = json_len(layers);
	struct oci_quoted q;
	int r;

	/* Go programs write null for an empty list; an image without layers is an empty root */
	if (n > 0 && (!type || strcmp(type, "layers") != 0))
		return err_msg(err, -EBADMSG, "config: rootfs.type is %s, not 'layers'",
			       oci_quote(&q, type));
	if (diff_ids && json_type(diff_ids) != JSON_ARRAY && json_type(diff_ids) != JSON_NULL)
		return err_msg(err, -EBADMSG, "config: rootfs.diff_ids is no list");
	if (json_len(diff_ids) != n)
		return err_msg(err, -EBADMSG,
			       "the manifest has %zu layers, the config %zu diff ids", n,
			       json_len(diff_ids));
	if (n == 0)
		return 0;
	image->layers = calloc(n, sizeof(*image->layers));
	if (!image->layers)
		return err_set(err, -ENOMEM, "read the manifest");
	image->n_layers = n;
	for (size_t i = 0; i < n; i++) {
		struct oci_layer_ref *l = &image->layers[i];
		struct oci_media media;
		char what[32];

		(void)snprintf(what, sizeof(what), "layer %zu", i + 1);
		r = oci_descriptor_parse(json_at(layers, i), what, &l->desc, err);
		if (r < 0)
			return r;
		media = oci_media_of(l->desc.media_type);
		if (media.kind != OCI_KIND_LAYER && media.kind != OCI_KIND_FOREIGN)
			return err_msg(err, -EBADMSG, "%s: %s is no layer's media type", what,
				       oci_quote(&q, l->desc.media_type));
		l->compression = media.compression;
		oci_toc_hint_read(json_get(json_at(layers, i), "annotations"), l->compression,
				  &l->toc);
		(void)snprintf(what, sizeof(what), "diff id %zu", i + 1);
		r = digest_read(json_at(diff_ids, i), what, &l->diff_id, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static char *copy_text(const char *text, size_t len)
{
	char *copy = malloc(len + 1);

	if (copy) {
		memcpy(copy, text, len);
		copy[len] = '\0';
	}
	return copy;
}

int oci_image_parse(const struct oci_descriptor *manifest_desc, const char *manifest,
		    size_t manifest_len, const char *config, size_t config_len,
		    struct oci_image **ret, struct err *err)
{
	struct oci_image *image cleanup_oci_image = calloc(1, sizeof(*image));
	struct json *doc cleanup_json = NULL;
	const char *created;
	int r;

	if (!image)
		return err_set(err, -ENOMEM, "read the manifest");
	if (oci_media_of(manifest_desc->media_type).kind != OCI_KIND_MANIFEST)
		return err_msg(err, -EBADMSG, "'%s' is no manifest's media type",
			       manifest_desc->media_type);
	image->manifest_desc = *manifest_desc;
	image->manifest = copy_text(manifest, manifest_len);
	image->config = copy_text(config, config_len);
	if (!image->manifest || !image->config)
		return err_set(err, -ENOMEM, "read the manifest");
	r = json_parse(manifest, manifest_len, &doc, err);
	if (r < 0)
		return err_wrap(err, r, "manifest");
	r = manifest_check(doc, manifest_desc->media_type, err);
	if (r == 0)
		r = config_descriptor(doc, &image->config_desc, err);
	if (r < 0)
		return r;
	if (config_len != image->config_desc.size)
		return err_msg(err, -EBADMSG, "the config is not the manifest's");
	r = json_parse(config, config_len, &image->config_doc, err);
	if (r < 0)
		return err_wrap(err, r, "config");
	if (json_type(image->config_doc) != JSON_OBJECT)
		return err_msg(err, -EBADMSG, "the config is no object");
	r = layers_parse(json_get(doc, "layers"), json_get(image->config_doc, "rootfs"), image,
			 err);
	if (r == 0)
		r = oci_platform_read(image->config_doc, &image->platform, err);
	if (r < 0)
		return r;
	created = json_string(json_get(image->config_doc, "created"));
	if (created && strlen(created) < sizeof(image->created))
		strcpy(image->created, created);
	*ret = steal_ptr(&image);
	return 0;
}

void oci_image_free(struct oci_image *image)
{
	if (!image)
		return;
	json_free(image->config_doc);
	free(image->manifest);
	free(image->config);
	free(image->layers);
	free(image);
}

int oci_chain_id(const struct digest *diff_ids, size_t n, struct digest *ret)
{
	struct digest chain;
	char text[2 * DIGEST_TEXT_MAX + 2];

	if (n == 0)
		return -EINVAL;
	chain = diff_ids[0];
	for (size_t i = 1; i < n; i++) {
		int len = snprintf(text, sizeof(text), "%s %s", chain.text, diff_ids[i].text);
		int r = digest_buffer(DIGEST_SHA256, text, (size_t)len, &chain);

		if (r < 0)
			return r;
	}
	*ret = chain;
	return 0;
}
