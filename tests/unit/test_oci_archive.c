/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "oci/docker_archive.h"
#include "oci/source.h"
#include "oci/tarball.h"
#include "tests/lib/tarmaker.h"

static char file[] = "/tmp/test-archive-XXXXXX";
static struct strbuf tar;

static void setup(void)
{
	int fd;

	strcpy(file + sizeof(file) - 7, "XXXXXX");
	fd = mkstemp(file);
	ck_assert_int_ge(fd, 0);
	(void)close(fd);
	strbuf_init(&tar);
}

static void teardown(void)
{
	ck_assert_int_eq(unlink(file), 0);
	strbuf_release(&tar);
}

static void save(void)
{
	int fd cleanup_close = open(file, O_WRONLY | O_TRUNC | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(io_write_full(fd, tar.s, tar.len), 0);
}

static struct oci_tarball *must_open(void)
{
	struct oci_tarball *t = NULL;
	struct err err = ERR_INIT;
	int r;

	save();
	r = oci_tarball_open(file, &t, &err);
	ck_assert_msg(r == 0, "%s", err.msg);
	return t;
}

static void must_refuse(const char *why)
{
	struct oci_tarball *t = NULL;
	struct err err = ERR_INIT;

	save();
	ck_assert_int_eq(oci_tarball_open(file, &t, &err), -EBADMSG);
	ck_assert_msg(strstr(err.msg, why), "'%s' is not in '%s'", why, err.msg);
	strbuf_reset(&tar);
}

static void is_text(const struct oci_tarball *t, const char *name, const char *want)
{
	char *text cleanup_free = NULL;
	size_t len;

	ck_assert_int_eq(oci_tarball_read(t, name, 100, &text, &len, NULL), 0);
	ck_assert_str_eq(text, want);
	ck_assert_uint_eq(len, strlen(want));
}

START_TEST(members)
{
	struct oci_tarball *t cleanup_oci_tarball = NULL;
	char name[200], *text = NULL;
	int fd cleanup_close = -1;
	uint64_t size;
	size_t len;

	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	tm_pax1(&tar, 'g', "comment", "0123456789");
	tm_line(&tar, "d blobs");
	tm_line(&tar, "f ./blobs/a=alpha");
	tm_line(&tar, "s ids/l -> ../blobs/a");
	tm_line(&tar, "h ids/h -> ids/l");
	tm_line(&tar, "s loop -> loop");
	tm_gnu(&tar, 'L', name);
	tm_line(&tar, "f short=gnu");
	tm_pax1(&tar, 'x', "path", "by/pax");
	tm_line(&tar, "f other=pax");
	tm_end(&tar);
	t = must_open();
	is_text(t, "blobs/a", "alpha");
	is_text(t, "./blobs//a", "alpha");
	is_text(t, "ids/l", "alpha");
	is_text(t, "ids/h", "alpha");
	is_text(t, name, "gnu");
	is_text(t, "by/pax", "pax");
	ck_assert_int_eq(oci_tarball_size(t, "blobs/a", &size), 0);
	ck_assert_uint_eq(size, 5);
	ck_assert_int_eq(oci_tarball_size(t, "loop", &size), -ENOENT);
	ck_assert_int_eq(oci_tarball_size(t, "blobs", &size), -ENOENT);
	ck_assert_int_eq(oci_tarball_size(t, "x/../blobs/a", &size), -ENOENT);
	ck_assert_int_eq(oci_tarball_read(t, "blobs/a", 4, &text, &len, NULL), -EBADMSG);
	ck_assert_int_eq(oci_tarball_open_member(t, "ids/h", &fd, NULL), 0);
	ck_assert_int_eq(io_read_full(fd, name, 5), 0);
	ck_assert_int_eq(memcmp(name, "alpha", 5), 0);
}
END_TEST

START_TEST(hostile)
{
	struct tar_header *h;

	must_refuse("is empty");
	ck_assert_int_eq(strbuf_adds(&tar, "no tar"), 0);
	must_refuse("is no tar");
	ck_assert_int_eq(strbuf_add(&tar, "\x1f\x8b\x08", 3), 0);
	for (int i = 0; i < 600; i++)
		ck_assert_int_eq(strbuf_addc(&tar, 'x'), 0);
	must_refuse("but compressed");
	tm_line(&tar, "f ../a=b");
	must_refuse("leads out of it");
	tm_line(&tar, "f /a=b");
	must_refuse("leads out of it");
	tm_line(&tar, "s a -> ../../b");
	must_refuse("leads out of it");
	tm_line(&tar, "s a -> /etc/passwd");
	must_refuse("leads out of it");
	tm_line(&tar, "p fifo");
	must_refuse("neither a file");
	tm_line(&tar, "c dev");
	must_refuse("neither a file");
	tm_line(&tar, "f a=1");
	tm_line(&tar, "f ./a=2");
	must_refuse("two members");
	tm_line(&tar, "f a=1");
	strbuf_truncate(&tar, 513 + 100);
	tar.s[0] = 'b'; /* the checksum is wrong now */
	must_refuse("is no tar");
	h = tm_header(&tar, '0', "long");
	tm_octal(h->size, sizeof(h->size), 4096);
	tm_seal(h);
	must_refuse("cut short");
	h = tm_header(&tar, 'L', "long");
	tm_octal(h->size, sizeof(h->size), 2u << 20);
	tm_seal(h);
	ck_assert_int_eq(strbuf_reserve(&tar, 3u << 20), 0);
	memset(tar.s + tar.len, 'x', 3u << 20);
	tar.len += 3u << 20;
	must_refuse("a header of");
	tm_pax1(&tar, 'x', "size", "-1");
	tm_line(&tar, "f a=1");
	must_refuse("size");
}
END_TEST

static int choose(const char *text, const char *want, const char *config)
{
	struct json *doc cleanup_json = NULL;
	struct oci_docker_entry e;
	struct err err = ERR_INIT;
	int r;

	ck_assert_int_eq(json_parse(text, strlen(text), &doc, NULL), 0);
	r = oci_docker_entry_find(doc, want, &e, &err);
	if (r == 0)
		ck_assert_str_eq(e.config, config);
	else
		ck_assert(err.msg[0]);
	return r;
}

START_TEST(manifest_json)
{
	static const char two[] =
		"[{\"Config\":\"a\",\"RepoTags\":[\"docker.io/library/"
		"x:1\",\"y:2\"],\"Layers\":[]},"
		"{\"Config\":\"b\",\"RepoTags\":null,\"Layers\":null},"
		"{\"Config\":\"c\",\"RepoTags\":[\"host:5000/z:1\"],\"Layers\":[\"l\"]}]";

	ck_assert_int_eq(choose(two, "x:1", "a"), 0);
	ck_assert_int_eq(choose(two, "docker.io/library/y:2", "a"), 0);
	ck_assert_int_eq(choose(two, "2", "a"), 0);
	ck_assert_int_eq(choose(two, "host:5000/z:1", "c"), 0);
	ck_assert_int_eq(choose(two, "1", NULL), -EINVAL); /* two have it */
	ck_assert_int_eq(choose(two, "3", NULL), -ENOENT);
	ck_assert_int_eq(choose(two, NULL, NULL), -EINVAL);
	ck_assert_int_eq(choose("[{\"Config\":\"a\"}]", NULL, "a"), 0);
	ck_assert_int_eq(choose("[]", NULL, NULL), -EBADMSG);
	ck_assert_int_eq(choose("{}", NULL, NULL), -EBADMSG);
	ck_assert_int_eq(choose("[1]", NULL, NULL), -EBADMSG);
	ck_assert_int_eq(choose("[{\"Config\":\"a\",\"Layers\":[1]}]", NULL, NULL), -EBADMSG);
	ck_assert_int_eq(choose("[{\"Config\":\"a\",\"RepoTags\":\"x\"}]", NULL, NULL), -EBADMSG);
}
END_TEST

static int image_of(const char *what, const char *want, char ref[128])
{
	struct oci_source *src cleanup_oci_source = NULL;
	struct oci_image *image cleanup_oci_image = NULL;
	char spec[200];
	int r;

	(void)snprintf(spec, sizeof(spec), "%s:%s%s%s", what, file, want ? ":" : "",
		       want ? want : "");
	save();
	r = oci_source_open(spec, NULL, &src, NULL);
	if (r == 0)
		r = oci_source_image(src, NULL, &image, NULL);
	if (r == 0)
		(void)snprintf(ref, 128, "%s", oci_source_ref(src));
	return r;
}

START_TEST(docker_save)
{
	char ref[128];

	ck_assert_int_eq(image_of("oci-archive", NULL, ref), -EBADMSG);
	tm_line(&tar, "f c.json={\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:"
		      "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"]}}");
	tm_line(&tar, "f id/real=x");
	tm_line(&tar, "s id/layer.tar -> real");
	tm_line(&tar, "f manifest.json=[{\"Config\":\"c.json\",\"RepoTags\":[\"x:1\"],"
		      "\"Layers\":[\"id/layer.tar\"]}]");
	tm_end(&tar);
	ck_assert_int_eq(image_of("docker-archive", NULL, ref), 0);
	ck_assert_str_eq(ref, "docker.io/library/x:1");
	ck_assert_int_eq(image_of("docker-archive", "1", ref), 0);
	ck_assert_int_eq(image_of("docker-archive", "x:1", ref), 0);
	ck_assert_str_eq(ref, "docker.io/library/x:1");
	ck_assert_int_eq(image_of("docker-archive", "docker.io/library/x:1", ref), 0);
	ck_assert_int_eq(image_of("docker-archive", "x:2", ref), -ENOENT);
	ck_assert_int_eq(image_of("oci-archive", NULL, ref), -ENOENT);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("archive");
	TCase *t = tcase_create("archive");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, members);
	tcase_add_test(t, hostile);
	tcase_add_test(t, manifest_json);
	tcase_add_test(t, docker_save);
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
