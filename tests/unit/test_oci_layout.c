/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "oci/media.h"
#include "oci/source.h"

static char scratch[] = "/tmp/test-oci-XXXXXX";
static char path[128], spec[160];

static void setup(void)
{
	strcpy(scratch + sizeof(scratch) - 7, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(scratch));
}

static void teardown(void)
{
	ck_assert_int_eq(io_remove_tree(AT_FDCWD, scratch), 0);
}

static const char *in_scratch(const char *name)
{
	snprintf(path, sizeof(path), "%s/%s", scratch, name);
	return path;
}

static const char *spec_of(const char *name)
{
	snprintf(spec, sizeof(spec), "oci:%s/%s", scratch, name);
	return spec;
}

static void put(const char *name, const char *text)
{
	int fd = open(in_scratch(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(io_write_full(fd, text, strlen(text)), 0);
	close(fd);
}

static void describe(struct oci_descriptor *d, const char *type, const char *text)
{
	strcpy(d->media_type, type);
	d->size = strlen(text);
	ck_assert_int_eq(digest_buffer(DIGEST_SHA256, text, d->size, &d->digest), 0);
}

/* An image whose only layer is the text @layer; @arch tells images apart. */
static struct oci_image *make_image(const char *layer, const char *arch)
{
	struct oci_descriptor l, c, m;
	struct oci_image *image = NULL;
	char *config = NULL, *manifest = NULL;

	describe(&l, OCI_MEDIA_LAYER, layer);
	ck_assert_int_gt(asprintf(&config,
				  "{\"os\":\"linux\",\"architecture\":\"%s\",\"rootfs\":{\"type\":"
				  "\"layers\",\"diff_ids\":[\"%s\"]}}",
				  arch, l.digest.text),
			 0);
	describe(&c, OCI_MEDIA_CONFIG, config);
	ck_assert_int_gt(asprintf(&manifest,
				  "{\"schemaVersion\":2,\"mediaType\":\"%s\",\"config\":{"
				  "\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%zu},"
				  "\"layers\":[{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":"
				  "%zu}]}",
				  OCI_MEDIA_MANIFEST, c.media_type, c.digest.text, (size_t)c.size,
				  l.media_type, l.digest.text, (size_t)l.size),
			 0);
	describe(&m, OCI_MEDIA_MANIFEST, manifest);
	ck_assert_int_eq(oci_image_parse(&m, manifest, strlen(manifest), config, strlen(config),
					 &image, NULL),
			 0);
	free(config);
	free(manifest);
	return image;
}

static int push(const char *to, const char *layer, const char *arch, const char *ref)
{
	struct oci_image *image cleanup_oci_image = make_image(layer, arch);
	struct oci_dest *dest cleanup_oci_dest = NULL;
	struct err err = ERR_INIT;
	int fd cleanup_close = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600), r;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(io_write_full(fd, layer, strlen(layer)), 0);
	r = oci_dest_open(to, NULL, &dest, &err);
	if (r < 0)
		return r;
	r = oci_dest_blob(dest, &image->layers[0].desc, fd, &err);
	ck_assert_msg(r == 0, "%s", err.msg);
	ck_assert(oci_dest_has(dest, &image->layers[0].desc));
	r = oci_dest_image(dest, image, ref, &err);
	ck_assert_msg(r == 0, "%s", err.msg);
	return 0;
}

/* What opening and resolving @from gives; on success its REF is in @ret_ref. */
static int pull(const char *from, const char *platform, char ret_ref[128], struct err *err)
{
	struct oci_source *src cleanup_oci_source = NULL;
	struct oci_image *image cleanup_oci_image = NULL;
	struct oci_platform p;
	struct oci_blob blob cleanup_oci_blob = OCI_BLOB_INIT;
	int r;

	ck_assert_int_eq(oci_platform_parse(platform, &p, NULL), 0);
	r = oci_source_open(from, NULL, &src, err);
	if (r == 0)
		r = oci_source_image(src, &p, &image, err);
	if (r < 0)
		return r;
	if (ret_ref)
		snprintf(ret_ref, 128, "%s", oci_source_ref(src));
	return oci_source_blob(src, &image->layers[0].desc, &blob, err);
}

static int pull_error(const char *from, const char *why)
{
	struct err err = ERR_INIT;
	int r = pull(from, "linux/amd64", NULL, &err);

	ck_assert_int_lt(r, 0);
	ck_assert_msg(strstr(err.msg, why) || strstr(err.hint, why), "'%s' is not in '%s' '%s'",
		      why, err.msg, err.hint);
	return r;
}

START_TEST(round_trip)
{
	struct err err = ERR_INIT;
	char ref[128];

	ck_assert_int_eq(push(spec_of("a/My Img:one"), "layer one", "amd64", NULL), 0);
	ck_assert_int_eq(push(spec_of("a/My Img:two"), "layer two", "amd64", "quay.io/x/y:z"), 0);
	ck_assert_int_eq(pull(spec_of("a/My Img:one"), "linux/amd64", ref, &err), 0);
	ck_assert_str_eq(ref, "localhost/my-img:one");
	ck_assert_int_eq(pull(spec_of("a/My Img:two"), "linux/amd64", ref, &err), 0);
	ck_assert_str_eq(ref, "quay.io/x/y:z");
	ck_assert_int_eq(pull_error(spec_of("a/My Img:three"), "'one', 'two'"), -ENOENT);
	ck_assert_int_eq(pull_error(spec_of("a/My Img"), "a tag is needed"), -EINVAL);
	/* the same tag again: replaced, and the other one stays */
	ck_assert_int_eq(push(spec_of("a/My Img:one"), "layer three", "arm64", NULL), 0);
	ck_assert_int_eq(pull(spec_of("a/My Img:one"), "linux/arm64", ref, &err), 0);
	ck_assert_int_eq(pull_error(spec_of("a/My Img:one"), "linux/arm64"), -ENOENT);
	ck_assert_int_eq(pull(spec_of("a/My Img:two"), "linux/amd64", ref, &err), 0);
}
END_TEST

START_TEST(without_tag)
{
	struct err err = ERR_INIT;
	char ref[128];

	ck_assert_int_eq(push(spec_of("b"), "layer", "amd64", "quay.io/x/y:z"), 0);
	ck_assert_int_eq(pull(spec_of("b"), "linux/amd64", ref, &err), 0);
	ck_assert_int_eq(pull(spec_of("b:z"), "linux/amd64", ref, &err), 0);
	ck_assert_int_eq(pull(spec_of("b/."), "linux/amd64", ref, &err), 0);
	ck_assert_int_eq(push(spec_of("c:latest"), "layer", "amd64", NULL), 0);
	ck_assert_int_eq(pull(spec_of("c/."), "linux/amd64", ref, &err), 0);
	ck_assert_str_eq(ref, "localhost/c:latest");
	/* a folder with a colon in its name */
	ck_assert_int_eq(mkdir(in_scratch("d:e"), 0755), 0);
	ck_assert_int_eq(push(spec_of("d:e"), "layer", "amd64", NULL), 0);
	ck_assert_int_eq(pull(spec_of("d:e"), "linux/amd64", ref, &err), 0);
	ck_assert_str_eq(ref, "localhost/d-e:latest");
	ck_assert_int_eq(pull(spec_of("d:e:latest"), "linux/amd64", ref, &err), 0);
}
END_TEST

START_TEST(keeps_unknown_members)
{
	char *text cleanup_free = NULL;
	int dir cleanup_close = -1;
	size_t len;

	ck_assert_int_eq(push(spec_of("a:one"), "layer", "amd64", NULL), 0);
	put("a/index.json",
	    "{\"x\":[1.50],\"schemaVersion\":2,\"manifests\":[{\"y\":true}],\"annotations\":{}}");
	ck_assert_int_eq(push(spec_of("a:one"), "layer", "amd64", NULL), 0);
	dir = open(scratch, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_eq(io_read_file(dir, "a/index.json", 1 << 20, &text, &len), 0);
	ck_assert_ptr_nonnull(strstr(text, "\"x\":[1.50]"));
	ck_assert_ptr_nonnull(strstr(text, "{\"y\":true}"));
	ck_assert_ptr_nonnull(strstr(text, "\"annotations\":{}"));
}
END_TEST

START_TEST(wrong_layouts)
{
	ck_assert_int_eq(pull_error("docker-daemon:x", "no such transport"), -EINVAL);
	ck_assert_int_eq(pull_error("oci:", "needs a folder"), -EINVAL);
	ck_assert_int_eq(pull_error(spec_of("none"), "No such file"), -ENOENT);
	ck_assert_int_eq(mkdir(in_scratch("a"), 0755), 0);
	ck_assert_int_eq(pull_error(spec_of("a"), "no 'oci-layout' file"), -ENOENT);
	put("a/other", "x");
	ck_assert_int_eq(push(spec_of("a:x"), "layer", "amd64", NULL), -ENOTEMPTY);
	put("a/oci-layout", "{\"imageLayoutVersion\":\"2.0.0\"}");
	ck_assert_int_eq(pull_error(spec_of("a"), "version '2.0.0'"), -EBADMSG);
	put("a/oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}");
	(void)pull_error(spec_of("a"), "index.json");
	put("a/index.json", "{\"schemaVersion\":2,\"manifests\":[]}");
	ck_assert_int_eq(pull_error(spec_of("a"), "has no image"), -ENOENT);
	put("a/index.json", "garbage");
	ck_assert_int_eq(pull_error(spec_of("a"), "not valid JSON"), -EBADMSG);
	put("a/index.json",
	    "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"" OCI_MEDIA_MANIFEST
	    "\",\"size\":2,\"digest\":\"sha256:../../../etc/passwd\"}]}");
	ck_assert_int_eq(pull_error(spec_of("a"), "is not a digest"), -EBADMSG);
#define ENTRY(c)                                                                                   \
	"{\"mediaType\":\"" OCI_MEDIA_MANIFEST "\",\"size\":2,\"digest\":\"" c                     \
	"\",\"annotations\":{\"org.opencontainers.image.ref.name\":\"t\"}}"
	put("a/index.json", "{\"schemaVersion\":2,\"manifests\":[" ENTRY("a") "," ENTRY("b") "]}");
	ck_assert_int_eq(pull_error(spec_of("a:t"), "more than one image named 't'"), -EBADMSG);
}
END_TEST

START_TEST(wrong_blobs)
{
	struct oci_image *image cleanup_oci_image = make_image("layer", "amd64");
	char blob[160], other[160];
	int fd;

	ck_assert_int_eq(push(spec_of("a:x"), "layer", "amd64", NULL), 0);
	snprintf(blob, sizeof(blob), "%s/a/blobs/sha256/%s", scratch,
		 digest_hex(&image->config_desc.digest));
	snprintf(other, sizeof(other), "%s/aside", scratch);
	ck_assert_int_eq(rename(blob, other), 0);
	ck_assert_int_eq(pull_error(spec_of("a:x"), "is missing"), -ENOENT);
	ck_assert_int_eq(symlink(other, blob), 0);
	ck_assert_int_eq(pull_error(spec_of("a:x"), "symlink"), -EBADMSG);
	ck_assert_int_eq(unlink(blob), 0);
	ck_assert_int_eq(mkfifo(blob, 0600), 0);
	ck_assert_int_eq(pull_error(spec_of("a:x"), "not a regular file"), -EBADMSG);
	ck_assert_int_eq(unlink(blob), 0);
	ck_assert_int_eq(rename(other, blob), 0);
	fd = open(blob, O_WRONLY | O_CLOEXEC);
	ck_assert_int_eq(io_pwrite_full(fd, "[", 1, 0), 0);
	ck_assert_int_eq(pull_error(spec_of("a:x"), "digest does not match"), -EBADMSG);
	ck_assert_int_eq(ftruncate(fd, 3), 0);
	ck_assert_int_eq(pull_error(spec_of("a:x"), "size is 3"), -EBADMSG);
	close(fd);
}
END_TEST

START_TEST(refuses_wrong_content)
{
	struct oci_image *image cleanup_oci_image = make_image("layer", "amd64");
	struct oci_dest *dest cleanup_oci_dest = NULL;
	int fd cleanup_close = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	struct err err = ERR_INIT;

	ck_assert_int_eq(io_write_full(fd, "other", 5), 0);
	ck_assert_int_eq(oci_dest_open(spec_of("a:x"), NULL, &dest, &err), 0);
	ck_assert_int_eq(oci_dest_blob(dest, &image->layers[0].desc, fd, &err), -EBADMSG);
	ck_assert_int_eq(io_write_full(fd, "more", 4), 0);
	ck_assert_int_eq(oci_dest_blob(dest, &image->layers[0].desc, fd, &err), -EBADMSG);
	ck_assert(!oci_dest_has(dest, &image->layers[0].desc));
	/* a layer is missing: nothing becomes visible */
	ck_assert_int_eq(oci_dest_image(dest, image, NULL, &err), -ENOENT);
	ck_assert_int_eq(pull_error(spec_of("a:x"), "no image"), -ENOENT);
}
END_TEST

START_TEST(sweeps_what_a_dead_push_left)
{
	struct stat st;

	ck_assert_int_eq(mkdir(in_scratch("a"), 0755), 0);
	put("a/tmp-1-2-3", "left behind");
	ck_assert_int_eq(push(spec_of("a:x"), "layer", "amd64", NULL), 0);
	ck_assert_int_lt(stat(in_scratch("a/tmp-1-2-3"), &st), 0);
}
END_TEST

static void *push_many(void *arg)
{
	const char *name = arg;
	char to[160], layer[32];

	for (int i = 0; i < 8; i++) {
		snprintf(to, sizeof(to), "oci:%s/shared:%s%d", scratch, name, i);
		snprintf(layer, sizeof(layer), "%s %d", name, i);
		ck_assert_int_eq(push(to, layer, "amd64", NULL), 0);
	}
	return NULL;
}

START_TEST(two_pushes_lose_nothing)
{
	pthread_t a, b;
	char name_a[] = "a", name_b[] = "b", from[160];
	struct err err = ERR_INIT;

	ck_assert_int_eq(pthread_create(&a, NULL, push_many, name_a), 0);
	ck_assert_int_eq(pthread_create(&b, NULL, push_many, name_b), 0);
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	for (int i = 0; i < 16; i++) {
		snprintf(from, sizeof(from), "oci:%s/shared:%s%d", scratch, i < 8 ? "a" : "b",
			 i % 8);
		ck_assert_msg(pull(from, "linux/amd64", NULL, &err) == 0, "%s", err.msg);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("oci_layout");
	TCase *t = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, round_trip);
	tcase_add_test(t, without_tag);
	tcase_add_test(t, keeps_unknown_members);
	tcase_add_test(t, wrong_layouts);
	tcase_add_test(t, wrong_blobs);
	tcase_add_test(t, refuses_wrong_content);
	tcase_add_test(t, sweeps_what_a_dead_push_left);
	tcase_add_test(t, two_pushes_lose_nothing);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
