/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "oci/document.h"
#include "oci/index.h"
#include "oci/media.h"
#include "oci/quote.h"
#include "oci/reference.h"
#include "oci/resolve.h"

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

START_TEST(quoting)
{
	struct oci_quoted q;
	char longname[500];

	ck_assert_str_eq(oci_quote(&q, "a\x1b[0m\n"), "'a\\x1b[0m\\x0a'");
	ck_assert_str_eq(oci_quote(&q, NULL), "(none)");
	memset(longname, 'x', sizeof(longname));
	oci_quote_len(&q, longname, sizeof(longname));
	ck_assert_uint_lt(strlen(q.text), sizeof(q.text));
	ck_assert_str_eq(q.text + strlen(q.text) - 4, "...'");
	memset(longname, '\x01', sizeof(longname));
	oci_quote_len(&q, longname, sizeof(longname));
	ck_assert_uint_lt(strlen(q.text), sizeof(q.text));
}
END_TEST

START_TEST(media_types)
{
	struct oci_media m = oci_media_of("application/vnd.oci.image.layer.v1.tar+zstd");

	ck_assert_int_eq(m.kind, OCI_KIND_LAYER);
	ck_assert_int_eq(m.compression, OCI_ZSTD);
	m = oci_media_of("application/vnd.docker.image.rootfs.diff.tar.gzip");
	ck_assert_int_eq(m.kind, OCI_KIND_LAYER);
	ck_assert_int_eq(m.compression, OCI_GZIP);
	m = oci_media_of("application/vnd.docker.distribution.manifest.list.v2+json");
	ck_assert_int_eq(m.kind, OCI_KIND_INDEX);
	m = oci_media_of("text/plain");
	ck_assert_int_eq(m.kind, OCI_KIND_OTHER);
}
END_TEST

static unsigned int rank(const char *want, const char *have)
{
	struct oci_platform w, h;

	ck_assert_int_eq(oci_platform_parse(want, &w, NULL), 0);
	ck_assert_int_eq(oci_platform_parse(have, &h, NULL), 0);
	return oci_platform_rank(&w, &h);
}

START_TEST(platforms)
{
	struct oci_platform p;

	ck_assert_int_eq(oci_platform_parse(NULL, &p, NULL), 0);
	ck_assert_str_eq(p.os, "linux");
	ck_assert_int_eq(oci_platform_parse("linux", &p, NULL), -EINVAL);
	ck_assert_int_eq(oci_platform_parse("linux/", &p, NULL), -EINVAL);
	ck_assert_int_eq(oci_platform_parse("linux/a/b/c", &p, NULL), -EINVAL);
	ck_assert_int_eq(oci_platform_parse("linux/x86_64", &p, NULL), 0);
	ck_assert_str_eq(p.architecture, "amd64");
	ck_assert_uint_eq(rank("linux/arm64", "linux/arm64/v8"), 100);
	ck_assert_uint_eq(rank("linux/arm64/v8", "linux/arm64"), 100);
	ck_assert_uint_eq(rank("linux/arm/v7", "linux/arm"), 100);
	ck_assert_uint_gt(rank("linux/arm/v7", "linux/arm/v6"),
			  rank("linux/arm/v7", "linux/arm/v5"));
	ck_assert_uint_gt(rank("linux/arm/v7", "linux/arm/v5"), 0);
	ck_assert_uint_eq(rank("linux/arm/v6", "linux/arm/v7"), 0);
	ck_assert_uint_eq(rank("linux/amd64", "linux/amd64/v3"), 0);
	ck_assert_uint_eq(rank("linux/amd64", "linux/arm64"), 0);
	ck_assert_uint_eq(rank("linux/amd64", "windows/amd64"), 0);
	ck_assert_uint_eq(rank("linux/riscv64/x", "linux/riscv64"), 0);
}
END_TEST

START_TEST(references)
{
	char tag[OCI_TAG_MAX + 1];
	char *ref;

	ck_assert(oci_tag_is_valid("v1.0_x-Y"));
	ck_assert(!oci_tag_is_valid(""));
	ck_assert(!oci_tag_is_valid(".x"));
	ck_assert(!oci_tag_is_valid("a/b"));
	ck_assert(oci_reference_is_full("docker.io/library/debian:12"));
	ck_assert(oci_reference_is_full("localhost/x"));
	ck_assert(oci_reference_is_full("host:5000/a-b/c__d:T@sha256:" HEX_A));
	ck_assert(!oci_reference_is_full("debian:12"));
	ck_assert(!oci_reference_is_full("library/debian"));
	ck_assert(!oci_reference_is_full("docker.io/Library/debian"));
	ck_assert(!oci_reference_is_full("docker.io/a..b"));
	ck_assert(!oci_reference_is_full("docker.io/a:b c"));
	ck_assert(!oci_reference_is_full("docker.io/a@sha256:12"));
	ck_assert(!oci_reference_is_full("/a"));
	ck_assert(oci_reference_tag("docker.io/library/debian:12", tag));
	ck_assert_str_eq(tag, "12");
	ck_assert(!oci_reference_tag("docker.io/library/debian", tag));
	ref = oci_reference_for_folder("My Images__(1)--", "V2");
	ck_assert_str_eq(ref, "localhost/my-images_1:v2");
	ck_assert(oci_reference_is_full(ref));
	free(ref);
	ref = oci_reference_for_folder("...", "latest");
	ck_assert_str_eq(ref, "localhost/image:latest");
	free(ref);
}
END_TEST

START_TEST(chain_ids)
{
	struct digest d[2], chain, want;

	ck_assert_int_eq(digest_parse("sha256:" HEX_A, &d[0]), 0);
	ck_assert_int_eq(digest_parse("sha256:" HEX_B, &d[1]), 0);
	ck_assert_int_eq(oci_chain_id(d, 1, &chain), 0);
	ck_assert(digest_equal(&chain, &d[0]));
	ck_assert_int_eq(oci_chain_id(d, 2, &chain), 0);
	ck_assert_int_eq(digest_buffer(DIGEST_SHA256, "sha256:" HEX_A " sha256:" HEX_B, 143, &want),
			 0);
	ck_assert(digest_equal(&chain, &want));
	ck_assert_int_eq(oci_chain_id(d, 0, &chain), -EINVAL);
}
END_TEST

#define CONFIG_DESC                                                                                \
	"\"config\":{\"mediaType\":\"" OCI_MEDIA_CONFIG "\",\"digest\":\"sha256:" HEX_B            \
	"\",\"size\":%zu}"
#define LAYER(digest)                                                                              \
	"{\"mediaType\":\"" OCI_MEDIA_LAYER "+gzip\",\"digest\":\"" digest "\",\"size\":7}"
#define CONFIG_ONE                                                                                 \
	"{\"os\":\"linux\",\"architecture\":\"amd64\",\"created\":\"2020-01-01T00:00:00Z\","       \
	"\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:" HEX_A "\"]}}"

static int parse(const char *head, const char *layers, const char *config, struct err *err)
{
	struct oci_image *image cleanup_oci_image = NULL;
	struct oci_descriptor desc = {.media_type = OCI_MEDIA_MANIFEST};
	char *text cleanup_free = NULL;
	int n, r;

	n = asprintf(&text,
		     "{\"schemaVersion\":2,%s\"config\":{\"mediaType\":\"" OCI_MEDIA_CONFIG
		     "\",\"digest\":\"sha256:" HEX_B "\",\"size\":%zu},\"layers\":%s}",
		     head, strlen(config), layers);
	ck_assert_int_gt(n, 0);
	ck_assert_int_eq(digest_parse("sha256:" HEX_A, &desc.digest), 0);
	r = oci_image_parse(&desc, text, (size_t)n, config, strlen(config), &image, err);
	if (r == 0 && image->n_layers) {
		ck_assert_uint_eq(image->n_layers, 1);
		ck_assert_int_eq(image->layers[0].compression, OCI_GZIP);
		ck_assert_uint_eq(image->layers[0].desc.size, 7);
		ck_assert_str_eq(image->platform.architecture, "amd64");
		ck_assert_str_eq(image->created, "2020-01-01T00:00:00Z");
	}
	return r;
}

/* Refused with @why in the message. */
static void refused(const char *head, const char *layers, const char *config, const char *why)
{
	struct err err = ERR_INIT;

	ck_assert_int_eq(parse(head, layers, config, &err), -EBADMSG);
	ck_assert_msg(strstr(err.msg, why), "'%s' is not in '%s'", why, err.msg);
}

START_TEST(images)
{
	struct err err = ERR_INIT;
	const char *one = "[" LAYER("sha256:" HEX_A) "]";

	ck_assert_msg(parse("", one, CONFIG_ONE, &err) == 0, "%s", err.msg);
	ck_assert_int_eq(parse("", "[]", "{}", &err), 0);
	ck_assert_int_eq(parse("", "[]", "{\"rootfs\":{\"diff_ids\":null}}", &err), 0);
	refused("\"manifests\":[],", one, CONFIG_ONE, "'manifests'");
	refused("\"mediaType\":\"" OCI_MEDIA_INDEX "\",", one, CONFIG_ONE, "says it is");
	refused("\"fsLayers\":[],", one, CONFIG_ONE, "schema 1");
	refused("\"schemaVersion\":2,", one, CONFIG_ONE, "twice");
	refused("", "[" LAYER("sha256:../../x") "]", CONFIG_ONE, "is not a digest");
	refused("", "[" LAYER("md5:00") "]", CONFIG_ONE, "unknown digest algorithm 'md5'");
	refused("", "[{\"mediaType\":\"text/x\",\"digest\":\"sha256:" HEX_A "\",\"size\":1}]",
		CONFIG_ONE, "no layer's media type");
	refused("", "[{\"mediaType\":\"text/x\",\"digest\":\"sha256:" HEX_A "\",\"size\":-1}]",
		CONFIG_ONE, "not a size");
	refused("", "[]", CONFIG_ONE, "diff ids");
	refused("", one, "{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}", "diff ids");
	refused("", one, "{\"rootfs\":{\"type\":\"x\",\"diff_ids\":[\"sha256:" HEX_A "\"]}}",
		"rootfs.type");
	refused("", one, "[]", "no object");
	refused("", "{}", CONFIG_ONE, "no 'layers'");
}
END_TEST

START_TEST(too_many_layers)
{
	char *list = malloc(2 * (OCI_LAYERS_MAX + 2) + 2), *p = list;

	*p++ = '[';
	for (int i = 0; i <= OCI_LAYERS_MAX; i++) {
		*p++ = '1';
		*p++ = i < OCI_LAYERS_MAX ? ',' : ']';
	}
	*p = '\0';
	refused("", list, "{}", "at most 4096");
	free(list);
}
END_TEST

START_TEST(indexes)
{
	static const char text[] =
		"{\"schemaVersion\":2,\"manifests\":["
		"{\"mediaType\":\"" OCI_MEDIA_MANIFEST
		"\",\"platform\":{\"os\":\"unknown\",\"architecture\":\"unknown\"}},"
		"{\"mediaType\":\"" OCI_MEDIA_MANIFEST
		"\",\"digest\":\"a\",\"platform\":{\"os\":\"linux\",\"architecture\":\"arm\","
		"\"variant\":\"v5\"}},"
		"{\"mediaType\":\"" OCI_MEDIA_MANIFEST
		"\",\"digest\":\"b\",\"platform\":{\"os\":\"linux\",\"architecture\":\"arm\","
		"\"variant\":\"v6\"}}]}";
	struct oci_index index cleanup_oci_index = OCI_INDEX_INIT;
	const struct oci_index_entry *e;
	struct oci_platform p;
	struct err err = ERR_INIT;
	static const char *const bad[] = {
		"[]",
		"{}",
		"{\"schemaVersion\":1,\"manifests\":[]}",
		"{\"schemaVersion\":2,\"manifests\":{}}",
		"{\"schemaVersion\":2,\"manifests\":[1]}",
		"{\"schemaVersion\":2,\"manifests\":[],\"layers\":[]}",
		"{\"schemaVersion\":2,\"manifests\":[]} x",
		"{\"schemaVersion\":2,\"mediaType\":\"" OCI_MEDIA_MANIFEST "\",\"manifests\":[]}",
	};

	ck_assert_int_eq(oci_index_parse(text, sizeof(text) - 1, OCI_MEDIA_INDEX, &index, &err), 0);
	ck_assert_uint_eq(index.n, 3);
	ck_assert_int_eq(oci_platform_parse("linux/arm/v7", &p, NULL), 0);
	ck_assert_int_eq(oci_index_choose(&index, &p, &e, &err), 0);
	ck_assert_str_eq(json_string(json_get(e->v, "digest")), "b");
	ck_assert_int_eq(oci_platform_parse("linux/amd64", &p, NULL), 0);
	ck_assert_int_eq(oci_index_choose(&index, &p, &e, &err), -ENOENT);
	ck_assert_ptr_nonnull(strstr(err.hint, "linux/arm/v5, linux/arm/v6"));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct oci_index other = OCI_INDEX_INIT;

		ck_assert_msg(oci_index_parse(bad[i], strlen(bad[i]), NULL, &other, NULL) ==
				      -EBADMSG,
			      "%s", bad[i]);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("oci_document");
	TCase *t = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_add_test(t, quoting);
	tcase_add_test(t, media_types);
	tcase_add_test(t, platforms);
	tcase_add_test(t, references);
	tcase_add_test(t, chain_ids);
	tcase_add_test(t, images);
	tcase_add_test(t, too_many_layers);
	tcase_add_test(t, indexes);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
