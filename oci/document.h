/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"

/*
 * document - the JSON documents of an image, checked: descriptors, index,
 * manifest, config (OCI image specification 1.1; docker schema 2 media types
 * mean the same). A document is parsed only after its digest and size held.
 */
#define OCI_LAYERS_MAX 4096

enum oci_compression { OCI_PLAIN, OCI_GZIP, OCI_ZSTD };

struct oci_descriptor {
	char media_type[128];
	struct digest digest;
	uint64_t size; /* bytes */
};

struct oci_platform {
	char os[32], architecture[32], variant[32]; /* variant may be empty */
};
/* "OS/ARCH[/VARIANT]"; NULL: this machine's. -EINVAL. */
int oci_platform_parse(const char *text, struct oci_platform *ret, struct err *err)
	__attribute__((warn_unused_result));
/*
 * How well an image for @have runs on @want: 0 = not at all, 100 = made for it. Variants "vN" of
 * arm, arm64 and amd64 run what lower ones do (none: v7, v8, v1); other variants must be equal.
 */
unsigned int oci_platform_rank(const struct oci_platform *want, const struct oci_platform *have);
/* "OS/ARCH[/VARIANT]" in @buf, which is returned. */
#define OCI_PLATFORM_TEXT_MAX 100
const char *oci_platform_format(const struct oci_platform *p, char *buf, size_t size);

/* A descriptor object, @what names it in messages. -EBADMSG. */
int oci_descriptor_parse(const struct json *v, const char *what, struct oci_descriptor *ret,
			 struct err *err) __attribute__((warn_unused_result));
/* The members os, architecture and variant of @v; what is not there stays empty. -EBADMSG. */
int oci_platform_read(const struct json *v, struct oci_platform *ret, struct err *err)
	__attribute__((warn_unused_result));

/* What a layer's annotations say of a table of contents inside its blob (oci/toc.h). */
enum oci_toc_kind {
	OCI_TOC_NONE,
	OCI_TOC_BAD, /* annotations that contradict themselves */
	OCI_TOC_ESTARGZ, /* gzip: found by a footer */
	OCI_TOC_ZSTD_CHUNKED,
};
struct oci_toc_hint {
	enum oci_toc_kind kind;
	struct digest digest; /* eStargz: of the table; zstd:chunked: of it as it is compressed */
	uint64_t off, len, raw; /* zstd:chunked: where it is in the blob; bytes, and inflated */
};

struct oci_layer_ref {
	struct oci_descriptor desc;
	struct digest diff_id;
	enum oci_compression compression; /* as the media type says */
	struct oci_toc_hint toc;
};

/* One image: its manifest and config, both verified, and what they say of the layers. */
struct oci_image {
	struct oci_descriptor manifest_desc, config_desc;
	char *manifest; /* the bytes as they came, NUL-terminated behind them */
	char *config;
	struct json *config_doc;
	struct oci_layer_ref *layers; /* lowest first */
	size_t n_layers;
	struct oci_platform platform; /* as the config says */
	char created[64]; /* RFC 3339, empty when the config has none */
};
/*
 * Both documents must already have been checked against their digests; this checks that they are
 * documents of their kind and agree (as many layers as diff ids). Copies the texts. -EBADMSG.
 */
int oci_image_parse(const struct oci_descriptor *manifest_desc, const char *manifest,
		    size_t manifest_len, const char *config, size_t config_len,
		    struct oci_image **ret, struct err *err) __attribute__((warn_unused_result));
void oci_image_free(struct oci_image *image);
static inline void oci_image_freep(struct oci_image **image)
{
	oci_image_free(*image);
}
#define cleanup_oci_image __attribute__((cleanup(oci_image_freep)))

/* The manifest's config descriptor, before the config is at hand. -EBADMSG. */
int oci_manifest_config(const char *manifest, size_t len, struct oci_descriptor *ret,
			struct err *err) __attribute__((warn_unused_result));

/*
 * Chain id of the first @n layers (image specification, config.md, "Layer ChainID"), n >= 1:
 * ChainID(L0) = DiffID(L0); ChainID(L0|..|Ln) = sha256(ChainID(L0|..|Ln-1) + " " + DiffID(Ln)).
 */
int oci_chain_id(const struct digest *diff_ids, size_t n, struct digest *ret)
	__attribute__((warn_unused_result));
