/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "oci/authfile.h"
#include "oci/challenge.h"
#include "oci/http.h"
#include "oci/http_range.h"
#include "oci/reference.h"

#define EMPTY "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

START_TEST(references)
{
	static const struct {
		const char *text, *full; /* NULL: refused */
	} rows[] = {
		{"debian", "docker.io/library/debian:latest"},
		{"debian:12", "docker.io/library/debian:12"},
		{"a/b", "docker.io/a/b:latest"},
		{"docker.io/debian", "docker.io/library/debian:latest"},
		{"localhost/x:1", "localhost/x:1"},
		{"localhost:5000/x/y/z:1", "localhost:5000/x/y/z:1"},
		{"quay.io/a__b/c--d.e", "quay.io/a__b/c--d.e:latest"},
		{"[::1]:5000/x", "[::1]:5000/x:latest"},
		{"[fe80::1]/x", "[fe80::1]/x:latest"},
		{"h.io/x@" EMPTY, "h.io/x@" EMPTY},
		{"h.io/x:1@" EMPTY, "h.io/x@" EMPTY},
		{"", NULL},
		{"/x", NULL},
		{"h.io/", NULL},
		{"h.io/X", NULL},
		{"h.io/a//b", NULL},
		{"h.io/../b", NULL},
		{"h.io/a:", NULL},
		{"h.io/a:-x", NULL},
		{"h.io/a@", NULL},
		{"h.io/a@sha256:00", NULL},
		{"h.io/a@md5:d41d8cd98f00b204e9800998ecf8427e", NULL},
		{"h.io/a b", NULL},
		{"user@h.io/a", NULL},
		{"[::1/x", NULL},
		{"h.io:x/a", NULL},
		{"h.io/a?b=c", NULL},
		{"h.io/a_", NULL},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct oci_reference ref;
		char *full cleanup_free = NULL;
		int r = oci_reference_parse(rows[i].text, &ref);

		ck_assert_msg(r == (rows[i].full ? 0 : -EINVAL), "'%s': %d", rows[i].text, r);
		if (!rows[i].full)
			continue;
		full = oci_reference_format(&ref);
		ck_assert_str_eq(full, rows[i].full);
		ck_assert(oci_reference_is_full(full));
	}
}
END_TEST

START_TEST(challenges)
{
	struct oci_challenge c;
	char *text cleanup_free = malloc(3000);

	ck_assert_int_eq(oci_challenge_parse("Bearer realm=\"https://a/t\",service=\"s\","
					     "scope=\"repository:a/b:pull,push\"",
					     &c, NULL),
			 0);
	ck_assert_int_eq(c.scheme, OCI_AUTH_BEARER);
	ck_assert_str_eq(c.realm, "https://a/t");
	ck_assert_str_eq(c.service, "s");
	ck_assert_str_eq(c.scope, "repository:a/b:pull,push");
	ck_assert_int_eq(oci_challenge_parse("basic REALM = \"a \\\"b\\\" c\" , x=y", &c, NULL), 0);
	ck_assert_int_eq(c.scheme, OCI_AUTH_BASIC);
	ck_assert_str_eq(c.realm, "a \"b\" c");
	ck_assert_int_eq(oci_challenge_parse("Negotiate dG9rZW4=, Basic realm=x, Bearer realm=y, "
					     "Basic realm=z",
					     &c, NULL),
			 0);
	ck_assert_int_eq(c.scheme, OCI_AUTH_BEARER);
	ck_assert_str_eq(c.realm, "y");
	ck_assert_int_eq(oci_challenge_parse("Basic", &c, NULL), 0);
	ck_assert_int_eq(c.scheme, OCI_AUTH_BASIC);
	ck_assert_int_eq(oci_challenge_parse("", &c, NULL), 0);
	ck_assert_int_eq(c.scheme, OCI_AUTH_NONE);
	ck_assert_int_eq(oci_challenge_parse("Digest nonce=\"x\"", &c, NULL), 0);
	ck_assert_int_eq(c.scheme, OCI_AUTH_NONE);
	ck_assert_int_eq(oci_challenge_parse("Bearer service=x", &c, NULL), -EBADMSG);
	ck_assert_int_eq(oci_challenge_parse("Bearer realm=\"open", &c, NULL), -EBADMSG);
	ck_assert_int_eq(oci_challenge_parse("Bearer realm=\"a\nb\"", &c, NULL), -EBADMSG);
	ck_assert_int_eq(oci_challenge_parse("Bearer realm=\"a\" \"b\"", &c, NULL), -EBADMSG);
	ck_assert_int_eq(oci_challenge_parse("(", &c, NULL), -EBADMSG);
	strcpy(text, "Bearer realm=");
	memset(text + 13, 'x', 2000);
	text[2013] = '\0';
	ck_assert_int_eq(oci_challenge_parse(text, &c, NULL), -EBADMSG);
}
END_TEST

static int look_up(const char *doc, const char *host, const char *name, const char *want)
{
	struct oci_credentials c cleanup_oci_credentials = {.user = NULL};
	char got[200] = "";
	int r = oci_authfile_parse(doc, strlen(doc), host, name, &c, NULL);

	if (r == 1)
		(void)snprintf(got, sizeof(got), "%s:%s:%s", c.user ? c.user : "",
			       c.password ? c.password : "", c.identity ? c.identity : "");
	ck_assert_str_eq(got, want ? want : "");
	return r;
}

START_TEST(auth_files)
{
	static const char doc[] =
		"{\"auths\":{\"h:5000\":{\"auth\":\"dTpw\"},\"h:5000/a\":{\"auth\":\"dTpx\"},"
		"\"h:5000/a/bb\":{\"auth\":\"dTpyOno=\"},\"https://old.io/v1/"
		"\":{\"auth\":\"dTpv\"},"
		"\"t.io\":{\"auth\":\"dTpw\",\"identitytoken\":\"tok\"},\"empty.io\":{},"
		"\"bad.io\":{\"auth\":\"!!!!\"},\"line.io\":{\"auth\":\"dTpwCng=\"},"
		"\"docker.pad\":{\"auth\":\"dTpwAAAA\"}}}";

	ck_assert_int_eq(look_up(doc, "h:5000", "x", "u:p:"), 1);
	ck_assert_int_eq(look_up(doc, "h:5000", "a", "u:q:"), 1);
	ck_assert_int_eq(look_up(doc, "h:5000", "a/b", "u:q:"), 1);
	ck_assert_int_eq(look_up(doc, "h:5000", "a/bb/c", "u:r:z:"), 1);
	ck_assert_int_eq(look_up(doc, "h:500", "a", NULL), 0);
	ck_assert_int_eq(look_up(doc, "h", "a", NULL), 0);
	ck_assert_int_eq(look_up(doc, "old.io", "a", "u:o:"), 1);
	ck_assert_int_eq(look_up(doc, "t.io", "a", "u:p:tok"), 1);
	ck_assert_int_eq(look_up(doc, "empty.io", "a", NULL), 0);
	ck_assert_int_eq(look_up(doc, "bad.io", "a", NULL), -EBADMSG);
	ck_assert_int_eq(look_up(doc, "line.io", "a", NULL), -EBADMSG);
	ck_assert_int_eq(look_up(doc, "docker.pad", "a", "u:p:"), 1);
	ck_assert_int_eq(look_up("{}", "h", "a", NULL), 0);
	ck_assert_int_eq(look_up("{\"auths\":[]}", "h", "a", NULL), -EBADMSG);
	ck_assert_int_eq(look_up("[]", "h", "a", NULL), -EBADMSG);
	ck_assert_int_eq(look_up("{", "h", "a", NULL), -EBADMSG);
}
END_TEST

START_TEST(auth_search)
{
	static const char doc[] = "{\"auths\":{\"h\":{\"auth\":\"dTpw\"}}}";
	char dir[] = "/tmp/test-auth-XXXXXX", path[100];
	struct oci_credentials c cleanup_oci_credentials = {.user = NULL};
	struct strbuf basic CLEANUP(strbuf_release) = STRBUF_INIT;
	int dirfd cleanup_close = -1, fd;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_eq(io_mkdir_p(dirfd, ".docker", 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/.docker/config.json", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_eq(io_write_full(fd, doc, strlen(doc)), 0);
	(void)close(fd);
	(void)unsetenv("REGISTRY_AUTH_FILE");
	(void)unsetenv("XDG_CONFIG_HOME");
	(void)setenv("XDG_RUNTIME_DIR", dir, 1);
	(void)setenv("HOME", dir, 1);
	ck_assert_int_eq(oci_authfile_find(NULL, "other", "x", &c, NULL), 0);
	ck_assert_int_eq(oci_authfile_find(NULL, "h", "x", &c, NULL), 1);
	ck_assert_int_eq(oci_credentials_basic(&c, &basic), 0);
	ck_assert_str_eq(basic.s, "Basic dTpw");
	oci_credentials_release(&c);
	/* one that was named must be there */
	ck_assert_int_eq(oci_authfile_find("/nowhere/auth.json", "h", "x", &c, NULL), -ENOENT);
	(void)setenv("REGISTRY_AUTH_FILE", "/nowhere/auth.json", 1);
	ck_assert_int_eq(oci_authfile_find(NULL, "h", "x", &c, NULL), -ENOENT);
	ck_assert_int_eq(oci_authfile_find(path, "h", "x", &c, NULL), 1);
	oci_credentials_release(&c);
	ck_assert_int_eq(oci_credentials_parse("a:b:c", &c, NULL), 0);
	ck_assert_str_eq(c.user, "a");
	ck_assert_str_eq(c.password, "b:c");
	oci_credentials_release(&c);
	ck_assert_int_eq(oci_credentials_parse("a", &c, NULL), -EINVAL);
	ck_assert_int_eq(oci_credentials_parse(":b", &c, NULL), -EINVAL);
	ck_assert_int_eq(oci_credentials_parse("a:b\nc", &c, NULL), -EINVAL);
	ck_assert_int_eq(io_remove_tree(AT_FDCWD, dir), 0);
}
END_TEST

START_TEST(urls)
{
	struct strbuf q CLEANUP(strbuf_release) = STRBUF_INIT;
	static const struct {
		const char *location, *want;
	} rows[] = {
		{"/v2/x", "https://h:1/v2/x"}, {"b?c=d", "https://h:1/a/b?c=d"},
		{"http://o/x", "http://o/x"},  {"//o/x", "https://o/x"},
		{"ftp://o/x", NULL},	       {"file:///etc/passwd", NULL},
		{"https://u:p@o/x", NULL},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *got cleanup_free = http_url_join("https://h:1/a/z", rows[i].location);

		if (rows[i].want)
			ck_assert_str_eq(got, rows[i].want);
		else
			ck_assert_msg(!got, "%s: %s", rows[i].location, got);
	}
	ck_assert(http_same_origin("https://h/a", "https://H:443/b"));
	ck_assert(!http_same_origin("https://h/a", "http://h/a"));
	ck_assert(!http_same_origin("https://h/a", "https://h:444/a"));
	ck_assert(!http_same_origin("https://h/a", "https://h.evil/a"));
	ck_assert(http_is_loopback("http://localhost:5000/"));
	ck_assert(http_is_loopback("http://127.1.2.3/"));
	ck_assert(http_is_loopback("http://[::1]:5/"));
	ck_assert(!http_is_loopback("http://127.0.0.1.evil.io/"));
	ck_assert(!http_is_loopback("http://128.0.0.1/"));
	ck_assert_int_eq(http_query_escape("a b&c=\xc3/~", &q), 0);
	ck_assert_str_eq(q.s, "a%20b%26c%3D%C3%2F~");
}
END_TEST

/* One answer to who wants [@from, @to): how much of @len bytes of it is theirs, and from where. */
static int part(uint64_t from, uint64_t to, unsigned int status, const char *content_range,
		size_t len, size_t want_off, size_t want_len)
{
	struct http_range g = {.pos = from, .end = to};
	static const char bytes[64] = "";
	const void *p = bytes;
	int r;

	http_range_begin(&g);
	r = http_range_take(&g, status, content_range, &p, &len);
	if (r >= 0) {
		ck_assert_ptr_eq(p, bytes + want_off);
		ck_assert_uint_eq(len, want_len);
	}
	ck_assert_uint_eq(g.pos, r < 0 ? from : from + want_len);
	return r;
}

START_TEST(ranges)
{
	ck_assert_int_eq(part(0, 20, 200, NULL, 10, 0, 10), 0);
	ck_assert_int_eq(part(0, 10, 200, NULL, 10, 0, 10), 0);
	ck_assert_int_eq(part(0, 9, 200, NULL, 10, 0, 9), 1);
	ck_assert_int_eq(part(4, 20, 200, NULL, 10, 4, 6), 0); /* it starts over */
	ck_assert_int_eq(part(12, 20, 200, NULL, 10, 10, 0), 0);
	ck_assert_int_eq(part(4, 20, 206, "bytes 4-19/20", 10, 0, 10), 0);
	ck_assert_int_eq(part(4, 20, 206, "Bytes 4-19/*", 17, 0, 16), 1);
	ck_assert_int_eq(part(4, 20, 206, "bytes 0-19/20", 10, 0, 0), -EBADMSG);
	ck_assert_int_eq(part(4, 20, 206, "bytes  4-19/20", 10, 0, 0), -EBADMSG);
	ck_assert_int_eq(part(4, 20, 206, "bytes +4-19/20", 10, 0, 0), -EBADMSG);
	ck_assert_int_eq(part(4, 20, 206, "bytes */20", 10, 0, 0), -EBADMSG);
	ck_assert_int_eq(part(0, 20, 206, NULL, 10, 0, 0), -EBADMSG); /* multipart/byteranges */
	ck_assert_int_eq(part(4, 20, 206, "bytes 18446744073709551620-19/20", 10, 0, 0), -EBADMSG);
	ck_assert_uint_eq(http_range_uploaded("0-9", 20), 10);
	ck_assert_uint_eq(http_range_uploaded("0-19", 20), 20);
	ck_assert_uint_eq(http_range_uploaded("0-20", 20), 0);
	ck_assert_uint_eq(http_range_uploaded("0-0", 20), 0);
	ck_assert_uint_eq(http_range_uploaded("1-9", 20), 0);
	ck_assert_uint_eq(http_range_uploaded("0-9 ", 20), 0);
	ck_assert_uint_eq(http_range_uploaded("bytes=0-9", 20), 0);
	ck_assert_uint_eq(http_range_uploaded("0-18446744073709551615", UINT64_MAX), 0);
	ck_assert_uint_eq(http_range_uploaded(NULL, 20), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("registry");
	TCase *t = tcase_create("registry");
	SRunner *runner;
	int failed;

	tcase_add_test(t, ranges);
	tcase_add_test(t, references);
	tcase_add_test(t, challenges);
	tcase_add_test(t, auth_files);
	tcase_add_test(t, auth_search);
	tcase_add_test(t, urls);
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
