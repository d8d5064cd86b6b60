/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/strbuf.h"
#include "oci/build.h"
#include "oci/change.h"
#include "oci/repack.h"

#define DIFF_A "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define DIFF_B "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define BLOB_A "sha256:1111111111111111111111111111111111111111111111111111111111111111"
#define BLOB_B "sha256:2222222222222222222222222222222222222222222222222222222222222222"

static struct err e;

static struct oci_layer_ref layer(const char *type, const char *digest, const char *diff_id,
				  enum oci_compression how)
{
	struct oci_layer_ref l = {.compression = how, .desc = {.size = 10}};

	strcpy(l.desc.media_type, type);
	ck_assert_int_eq(digest_parse(digest, &l.desc.digest), 0);
	ck_assert_int_eq(digest_parse(diff_id, &l.diff_id), 0);
	return l;
}

/* A docker image of one layer with @config as its config. */
static struct oci_image *docker_base(const char *config)
{
	struct oci_image *image = NULL;
	struct oci_descriptor desc = {.media_type = "application/vnd.docker.distribution.manifest."
						    "v2+json"};
	struct strbuf m = STRBUF_INIT;
	struct digest d;

	ck_assert_int_eq(digest_buffer(DIGEST_SHA256, config, strlen(config), &d), 0);
	ck_assert_int_eq(
		strbuf_addf(
			&m,
			"{\"schemaVersion\":2,\"mediaType\":\"application/vnd.docker.distribution."
			"manifest.v2+json\",\"config\":{\"mediaType\":\"application/vnd.docker."
			"container.image.v1+json\",\"digest\":\"%s\",\"size\":%zu},\"layers\":[{"
			"\"mediaType\":\"application/vnd.docker.image.rootfs.diff.tar.gzip\","
			"\"digest\":\"" BLOB_A "\",\"size\":10}]}",
			d.text, strlen(config)),
		0);
	desc.size = m.len;
	ck_assert_int_eq(digest_buffer(DIGEST_SHA256, m.s, m.len, &desc.digest), 0);
	ck_assert_msg(oci_image_parse(&desc, m.s, m.len, config, strlen(config), &image, &e) == 0,
		      "%s: %s", e.where, e.msg);
	strbuf_release(&m);
	return image;
}

#define OTHER "sha256:3333333333333333333333333333333333333333333333333333333333333333"

/* One blob of two is another one: its descriptor says so, and nothing that was true of the first.
 */
START_TEST(replaces_a_blob)
{
	static const char config[] =
		"{\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{"
		"\"type\":\"layers\",\"diff_ids\":[\"" DIFF_A "\",\"" DIFF_B "\"]}}";
	static const char gzip[] = "application/vnd.oci.image.layer.v1.tar+gzip";
	struct oci_image *image cleanup_oci_image = NULL, *other cleanup_oci_image = NULL;
	struct oci_descriptor desc = {.media_type = "application/vnd.oci.image.manifest.v1+json"};
	struct strbuf m CLEANUP(strbuf_release) = STRBUF_INIT;
	struct oci_descriptor blobs[2];
	const char *at;
	struct digest d;

	ck_assert_int_eq(digest_buffer(DIGEST_SHA256, config, strlen(config), &d), 0);
	ck_assert_int_eq(
		strbuf_addf(&m,
			    "{\"schemaVersion\":2,\"odd\":[1],\"config\":{\"mediaType\":\""
			    "application/vnd.oci.image.config.v1+json\",\"digest\":\"%s\","
			    "\"size\":%zu},\"layers\":[{\"mediaType\":\"%s\",\"digest\":\"" BLOB_A
			    "\",\"size\":10,\"urls\":[\"https://a/b\"],\"annotations\":{"
			    "\"containerd.io/snapshot/stargz/toc.digest\":\"" DIFF_A
			    "\",\"own\":\"word\"}},{\"mediaType\":\"%s\",\"digest\":\"" BLOB_B
			    "\",\"size\":10,\"urls\":[\"https://c/d\"]}],\"annotations\":{\"k\":"
			    "\"v\"}}",
			    d.text, strlen(config), gzip, gzip),
		0);
	desc.size = m.len;
	ck_assert_int_eq(digest_buffer(DIGEST_SHA256, m.s, m.len, &desc.digest), 0);
	ck_assert_msg(oci_image_parse(&desc, m.s, m.len, config, strlen(config), &image, &e) == 0,
		      "%s", e.msg);
	blobs[0] = image->layers[0].desc;
	blobs[1] = image->layers[1].desc;
	ck_assert_int_eq(oci_image_replace_blobs(image, blobs, &other, &e), 0);
	ck_assert_str_eq(other->manifest, m.s); /* nothing replaced: nothing changed */
	oci_image_freep(&other);
	ck_assert_int_eq(digest_parse(OTHER, &blobs[0].digest), 0);
	blobs[0].size = 77;
	ck_assert_msg(oci_image_replace_blobs(image, blobs, &other, &e) == 0, "%s", e.msg);
	at = strstr(other->manifest, "\"layers\"");
	ck_assert_ptr_nonnull(at);
	ck_assert_str_eq(at, "\"layers\":[{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+"
			     "gzip\",\"digest\":\"" OTHER
			     "\",\"size\":77,\"annotations\":{\"own\":\"word\"}},{\"mediaType\":"
			     "\"application/vnd.oci.image.layer.v1.tar+gzip\",\"digest\":\"" BLOB_B
			     "\",\"size\":10,\"urls\":[\"https://c/d\"]}],\"annotations\":{\"k\":"
			     "\"v\"}}");
	ck_assert_int_eq(memcmp(other->manifest, m.s, (size_t)(at - other->manifest)), 0);
	ck_assert(digest_equal(&other->config_desc.digest, &image->config_desc.digest));
	ck_assert(digest_equal(&other->layers[0].diff_id, &image->layers[0].diff_id));
	ck_assert_uint_eq(other->manifest_desc.size, strlen(other->manifest));
	ck_assert(!digest_equal(&other->manifest_desc.digest, &image->manifest_desc.digest));
}
END_TEST

static const char base_config[] =
	"{\"architecture\":\"arm64\",\"x-odd\":[1.50,{\"z\":null}],\"config\":{\"Env\":[\"A=1\","
	"\"PATH=/bin\"],\"Cmd\":[\"old\"],\"Odd\":{},\"WorkingDir\":\"/srv\",\"Labels\":{\"k\":"
	"\"v\",\"l\":\"w\"},\"ExposedPorts\":{\"80/tcp\":{}}},\"created\":\"2001-01-01T00:00:00Z\","
	"\"os\":\"linux\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" DIFF_A "\"]},"
	"\"history\":[{\"created_by\":\"first\",\"more\":1}]}";

#define LINE(change)                                                                               \
	",{\"created\":\"2023-11-14T22:13:20Z\",\"created_by\":\"/bin/sh -c #(nop) " change        \
	"\",\"author\":\"me\",\"empty_layer\":true}"

START_TEST(adds_a_layer)
{
	struct oci_image *base cleanup_oci_image = docker_base(base_config);
	struct oci_image *image cleanup_oci_image = NULL, *again cleanup_oci_image = NULL;
	struct oci_layer_ref top =
		layer("application/vnd.oci.image.layer.v1.tar+zstd", BLOB_B, DIFF_B, OCI_ZSTD);
	static const char *const changes[] = {
		"ENV B=2 A=3",	"LABEL k=new m=x", "EXPOSE 53/udp",	   "WORKDIR sub",
		"VOLUME /data", "USER app",	   "STOPSIGNAL SIGRTMIN+3"};
	struct oci_build b = {.base = base,
			      .layer = &top,
			      .message = "hello",
			      .author = "me",
			      .changes = changes,
			      .n_changes = 6,
			      .created = 1700000000};

	ck_assert_msg(oci_build_image(&b, &image, &e) == 0, "%s: %s", e.where, e.msg);
	ck_assert_str_eq(
		image->config,
		"{\"architecture\":\"arm64\",\"x-odd\":[1.50,{\"z\":null}],\"config\":{\"Env\":["
		"\"A=3\",\"PATH=/bin\",\"B=2\"],\"Cmd\":[\"old\"],\"Odd\":{},\"WorkingDir\":"
		"\"/srv/sub\",\"Labels\":{\"k\":\"new\",\"l\":\"w\",\"m\":\"x\"},\"ExposedPorts\":{"
		"\"80/tcp\":{},\"53/udp\":{}},\"User\":\"app\",\"Volumes\":{\"/data\":{}}},"
		"\"created\":\"2023-11-14T22:13:20Z\",\"os\":\"linux\",\"rootfs\":{\"type\":"
		"\"layers\",\"diff_ids\":[\"" DIFF_A "\",\"" DIFF_B "\"]},\"history\":[{"
		"\"created_by\":\"first\",\"more\":1},{\"created\":\"2023-11-14T22:13:20Z\","
		"\"created_by\":\"snap commit\",\"author\":\"me\",\"comment\":\"hello\"}" LINE(
			"ENV B=2 A=3") LINE("LABEL k=new m=x") LINE("EXPOSE 53/udp")
			LINE("WORKDIR sub") LINE("VOLUME /data")
				LINE("USER app") "],"
						 "\"author\":\"me\"}");
	ck_assert_uint_eq(image->n_layers, 2);
	ck_assert_str_eq(image->layers[0].desc.media_type,
			 "application/vnd.oci.image.layer.v1.tar+gzip");
	ck_assert_str_eq(image->layers[1].desc.media_type,
			 "application/vnd.oci.image.layer.v1.tar+zstd");
	ck_assert_str_eq(image->manifest_desc.media_type,
			 "application/vnd.oci.image.manifest.v1+json");
	ck_assert_str_eq(image->platform.architecture, "arm64");
	ck_assert_int_eq(oci_build_image(&b, &again, &e), 0);
	ck_assert_str_eq(image->manifest, again->manifest);
	ck_assert(digest_equal(&image->manifest_desc.digest, &again->manifest_desc.digest));
}
END_TEST

START_TEST(metadata_only)
{
	struct oci_image *base cleanup_oci_image = docker_base(base_config);
	struct oci_image *image cleanup_oci_image = NULL;
	static const char *const changes[] = {"CMD [\"a\", \"b c\"]"};
	struct oci_build b = {.base = base, .changes = changes, .n_changes = 1, .message = "why"};

	ck_assert_int_eq(oci_build_image(&b, &image, &e), 0);
	ck_assert_uint_eq(image->n_layers, 1);
	ck_assert_ptr_nonnull(strstr(image->config, "\"Cmd\":[\"a\",\"b c\"]"));
	ck_assert_ptr_nonnull(strstr(image->config, "\"created\":\"1970-01-01T00:00:00Z\","
						    "\"created_by\":\"/bin/sh -c #(nop) CMD "
						    "[\\\"a\\\", \\\"b c\\\"]\","
						    "\"comment\":\"why\",\"empty_layer\":true}]"));
	/* nothing at all: still a line */
	oci_image_free(image);
	b.n_changes = 0;
	ck_assert_int_eq(oci_build_image(&b, &image, &e), 0);
	ck_assert_ptr_nonnull(strstr(image->config, "\"created_by\":\"snap commit\","
						    "\"comment\":\"why\",\"empty_layer\":true}]"));
}
END_TEST

START_TEST(from_nothing)
{
	struct oci_image *image cleanup_oci_image = NULL;
	struct oci_layer_ref top =
		layer("application/vnd.oci.image.layer.v1.tar", BLOB_B, DIFF_B, OCI_PLAIN);
	struct oci_build b = {.layer = &top,
			      .created = 0,
			      .created_by = "me",
			      .platform = {"linux", "arm", "v7"}};

	ck_assert_msg(oci_build_image(&b, &image, &e) == 0, "%s: %s", e.where, e.msg);
	ck_assert_str_eq(image->config,
			 "{\"created\":\"1970-01-01T00:00:00Z\",\"architecture\":\"arm\","
			 "\"variant\":\"v7\",\"os\":\"linux\",\"config\":{},\"rootfs\":{\"type\":"
			 "\"layers\",\"diff_ids\":[\"" DIFF_B "\"]},\"history\":[{\"created\":"
			 "\"1970-01-01T00:00:00Z\",\"created_by\":\"me\"}]}");
	ck_assert_str_eq(image->platform.variant, "v7");
}
END_TEST

START_TEST(entrypoint_takes_the_old_command_away)
{
	struct oci_image *base cleanup_oci_image = docker_base(base_config);
	struct oci_image *image cleanup_oci_image = NULL;
	static const char *const changes[] = {"ENTRYPOINT exec top"};
	struct oci_build b = {.base = base, .changes = changes, .n_changes = 1};

	ck_assert_int_eq(oci_build_image(&b, &image, &e), 0);
	ck_assert_ptr_null(strstr(image->config, "\"Cmd\""));
	ck_assert_ptr_nonnull(
		strstr(image->config, "\"Entrypoint\":[\"/bin/sh\",\"-c\",\"exec top\"]"));
}
END_TEST

START_TEST(bad_time)
{
	struct oci_image *image = NULL;
	struct oci_build b = {.created = INT64_MAX, .platform = {"linux", "arm64", ""}};

	ck_assert_int_eq(oci_build_image(&b, &image, &e), -EINVAL);
	b.created = 253402300800; /* the year 10000 */
	ck_assert_int_eq(oci_build_image(&b, &image, &e), -EINVAL);
	ck_assert_ptr_null(image);
}
END_TEST

static struct oci_changes c;

static void setup(void)
{
	ck_assert_int_eq(oci_changes_init(&c, NULL), 0);
}

static void teardown(void)
{
	oci_changes_release(&c);
}

static int add(const char *text)
{
	return oci_changes_add(&c, text, &e);
}

START_TEST(words)
{
	ck_assert_int_eq(add("env A=\"x y\" B=a\\ b C='$A \"q\"' D=$A-${A}z E=\"\\$A\\n\""), 0);
	ck_assert_uint_eq(c.env.n, 5);
	ck_assert_str_eq(c.env.v[0], "A=x y");
	ck_assert_str_eq(c.env.v[1], "B=a b");
	ck_assert_str_eq(c.env.v[2], "C=$A \"q\"");
	/* what one line sets counts from its next word on */
	ck_assert_str_eq(c.env.v[3], "D=x y-x yz");
	ck_assert_str_eq(c.env.v[4], "E=$A\\n");
	ck_assert_int_eq(add("ENV A  the  rest=of it"), 0);
	ck_assert_str_eq(c.env.v[0], "A=the  rest=of it");
	ck_assert_int_eq(add("ENV=P=$NONE:/x"), 0);
	ck_assert_str_eq(c.env.v[5], "P=:/x");
	ck_assert_int_eq(add("ENV Q=$ R=${ S=$1"), 0);
	ck_assert_str_eq(c.env.v[6], "Q=$");
	ck_assert_str_eq(c.env.v[7], "R=${");
	ck_assert_str_eq(c.env.v[8], "S=$1");
	ck_assert_int_eq(add("ENV EMPTY="), 0);
	ck_assert_str_eq(c.env.v[9], "EMPTY=");
}
END_TEST

START_TEST(commands)
{
	ck_assert_int_eq(add("CMD [\"/bin/sh\",\"-c\",\"echo $A\"]"), 0);
	ck_assert_uint_eq(c.cmd.n, 3);
	ck_assert_str_eq(c.cmd.v[2], "echo $A");
	ck_assert_int_eq(add("CMD [ -f x ]"), 0);
	ck_assert_uint_eq(c.cmd.n, 3);
	ck_assert_str_eq(c.cmd.v[2], "[ -f x ]");
	ck_assert_int_eq(add("CMD [1]"), 0);
	ck_assert_str_eq(c.cmd.v[2], "[1]");
	ck_assert_int_eq(add("CMD []"), 0);
	ck_assert_uint_eq(c.cmd.n, 0);
	ck_assert(c.has_cmd);
	ck_assert_int_eq(add("CMD=/bin/bash"), 0);
	ck_assert_str_eq(c.cmd.v[2], "/bin/bash");
}
END_TEST

START_TEST(ports_and_volumes)
{
	ck_assert_int_eq(add("EXPOSE 80 53/udp 7000-7002/sctp 80/tcp"), 0);
	ck_assert_uint_eq(c.ports.n, 5);
	ck_assert_str_eq(c.ports.v[0], "80/tcp");
	ck_assert_str_eq(c.ports.v[4], "7002/sctp");
	ck_assert_int_eq(add("VOLUME [\"/a b\"]"), 0);
	ck_assert_int_eq(add("VOLUME /c /d"), 0);
	ck_assert_uint_eq(c.volumes.n, 3);
	ck_assert_int_eq(add("WORKDIR a"), 0);
	ck_assert_int_eq(add("WORKDIR b"), 0);
	ck_assert_str_eq(c.workdir, "/a/b");
	ck_assert_int_eq(add("WORKDIR /z"), 0);
	ck_assert_str_eq(c.workdir, "/z");
}
END_TEST

static const char *const bad[] = {
	"",	      "FROM x",	       "CMDx",	       "ENV",
	"ENV A",      "ENV =x",	       "LABEL k",      "LABEL a=1 b",
	"EXPOSE",     "EXPOSE 0",      "EXPOSE 65536", "EXPOSE 80/icmp",
	"EXPOSE 9-8", "EXPOSE a",      "EXPOSE 1-",    "VOLUME",
	"VOLUME []",  "USER",	       "WORKDIR",      "ENV A='x",
	"ENV A=\"x",  "VOLUME [\"\"]", "RUN true",     "EXPOSE 999999999999",
};

START_TEST(no_change)
{
	ck_assert_int_eq(add(bad[_i]), -EINVAL);
	ck_assert_ptr_nonnull(strstr(e.msg, bad[_i]));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("oci_build");
	TCase *d = tcase_create("documents"), *t = tcase_create("changes");
	SRunner *sr;
	int failed;

	tcase_add_test(d, adds_a_layer);
	tcase_add_test(d, metadata_only);
	tcase_add_test(d, from_nothing);
	tcase_add_test(d, entrypoint_takes_the_old_command_away);
	tcase_add_test(d, bad_time);
	tcase_add_test(d, replaces_a_blob);
	suite_add_tcase(s, d);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, words);
	tcase_add_test(t, commands);
	tcase_add_test(t, ports_and_volumes);
	tcase_add_loop_test(t, no_change, 0, (int)(sizeof(bad) / sizeof(bad[0])));
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
