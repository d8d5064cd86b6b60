/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "snapshotter/runtime_config.h"
#include "snapshotter/userns.h"

/* Who a container's process is, and what its runtime is told. */

static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\n"
			     "\n"
			     "broken line\n"
			     "bad:x:-1:5::/:\n"
			     "wrap:x:4294967296:0::/:\n"
			     "app:x:1000:100:an app:/srv/app:/bin/sh\n"
			     "1001:x:7:8::relative:\n"
			     "short:x:9:9\n"
			     "last:x:55:66::/last:/bin/sh";
static const char group[] =
	"root:x:0:\nusers:x:100:app,other\nwheel:x:10:other,app\nnot:x:11:apps,ap,appl\n"
	"plugdev:x:46:last";

static int find(const char *spec, struct runtime_user *u, struct err *err)
{
	return runtime_user_parse(passwd, group, spec, u, err);
}

START_TEST(test_users)
{
	static const struct {
		const char *spec;
		uint32_t uid, gid;
		const char *home;
		size_t n_groups;
	} cases[] = {
		{NULL, 0, 0, "/root", 0},
		{"", 0, 0, "/root", 0},
		{"app", 1000, 100, "/srv/app", 2},
		{"1000", 1000, 100, "/srv/app", 2},
		{"app:", 1000, 100, "/srv/app", 2},
		{"app:wheel", 1000, 10, "/srv/app", 0},
		{"app:4711", 1000, 4711, "/srv/app", 0},
		{"4711", 4711, 0, "/", 0},
		{"4711:users", 4711, 100, "/", 0},
		{":users", 0, 100, "/root", 0},
		{"1001", 7, 8, "/", 0}, /* a name that is a number; a home that is none */
		{"short", 9, 9, "/", 0},
		{"last", 55, 66, "/last", 1},
		{"2147483647", 2147483647, 0, "/", 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct runtime_user u cleanup_runtime_user = {.uid = 12345};
		struct err err = ERR_INIT;

		if (find(cases[i].spec, &u, &err) < 0)
			ck_abort_msg("'%s': %s", cases[i].spec, err.msg);
		ck_assert_uint_eq(u.uid, cases[i].uid);
		ck_assert_uint_eq(u.gid, cases[i].gid);
		ck_assert_str_eq(u.home, cases[i].home);
		ck_assert_uint_eq(u.n_groups, cases[i].n_groups);
	}
}
END_TEST

START_TEST(test_no_users)
{
	static const char *const cases[] = {
		"nobody", "app:nogroup", "bad", "wrap",	  "4294967296",	    "2147483648",
		"-1",	  "0x0",	 "1 ",	"app:-1", "app:4294967295", "broken line"};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct runtime_user u cleanup_runtime_user = {.uid = 12345};
		struct err err = ERR_INIT;

		ck_assert_msg(find(cases[i], &u, &err) == -ENOENT, "%s", cases[i]);
		ck_assert_uint_eq(u.uid, 12345);
		ck_assert_ptr_nonnull(strstr(err.msg, "/etc/"));
	}
}
END_TEST

static char root[] = "/tmp/test-runtime.XXXXXX";

static void put(const char *name, const char *text)
{
	char path[128];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", root, name);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	(void)fputs(text, f);
	ck_assert_int_eq(fclose(f), 0);
}

static int look(const char *spec, struct runtime_user *u)
{
	int fd cleanup_close = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return runtime_user_find(fd, spec, u, NULL);
}

START_TEST(test_hostile_files)
{
	struct runtime_user u cleanup_runtime_user = {.uid = 0};
	char etc[64], path[80], group_path[80];
	char *line cleanup_free = malloc(RUNTIME_USER_LINE_MAX + 2);

	ck_assert_ptr_nonnull(mkdtemp(root));
	(void)snprintf(etc, sizeof(etc), "%s/etc", root);
	(void)snprintf(path, sizeof(path), "%s/passwd", etc);
	(void)snprintf(group_path, sizeof(group_path), "%s/group", etc);
	ck_assert_int_eq(look("0", &u), 0); /* not even a folder: nothing is asked of it */
	runtime_user_release(&u);
	ck_assert_int_eq(look("app", &u), -ENOENT);
	ck_assert_int_eq(mkdir(etc, 0755), 0);
	put("etc/passwd", passwd);
	ck_assert_int_eq(look("app", &u), 0);
	ck_assert_uint_eq(u.uid, 1000);
	runtime_user_release(&u);
	/* inside of the root, whatever the link says */
	ck_assert_int_eq(rename(path, group_path), 0);
	ck_assert_int_eq(symlink("../../../../../../etc/group", path), 0);
	ck_assert_int_eq(look("app", &u), 0);
	runtime_user_release(&u);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(symlink("/proc/self/fd/0", path), 0);
	ck_assert_int_eq(look("0", &u), -EUCLEAN);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(symlink("passwd", path), 0);
	ck_assert_int_eq(look("0", &u), -ELOOP);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mkfifo(path, 0644), 0);
	ck_assert_int_eq(look("0", &u), -EUCLEAN);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mkdir(path, 0755), 0);
	ck_assert_int_eq(look("0", &u), -EUCLEAN);
	ck_assert_int_eq(rmdir(path), 0);
	put("etc/passwd", "");
	ck_assert_int_eq(truncate(path, (off_t)1 << 40), 0);
	ck_assert_int_eq(look("0", &u), -EFBIG);
	ck_assert_int_eq(truncate(path, 100), 0); /* NULs */
	ck_assert_int_eq(look("0", &u), -EUCLEAN);
	memset(line, 'x', RUNTIME_USER_LINE_MAX);
	line[RUNTIME_USER_LINE_MAX] = '\0';
	put("etc/passwd", line);
	ck_assert_int_eq(look("0", &u), -EUCLEAN);
	line[RUNTIME_USER_LINE_MAX - 1] = '\0';
	put("etc/passwd", line);
	ck_assert_int_eq(look("0", &u), 0);
	ck_assert_int_eq(io_remove_tree(AT_FDCWD, root), 0);
}
END_TEST

START_TEST(test_ranges)
{
	static const char text[] =
		"# comment\nme:100000:65536\nyou:1:2\n1000:5:6\nme:7\nme:8:9:10\nme:a:1\nme:1:0\n"
		"me:4294967295:1\nme2:1:1\nme:4294967200:95";
	struct userns_range r[USERNS_RANGES_MAX];
	struct strbuf many CLEANUP(strbuf_release) = STRBUF_INIT;

	ck_assert_uint_eq(userns_ranges_parse(text, "me", 1000, r), 3);
	ck_assert_uint_eq(r[0].start, 100000);
	ck_assert_uint_eq(r[0].count, 65536);
	ck_assert_uint_eq(r[1].start, 5);
	ck_assert_uint_eq(r[1].count, 6);
	ck_assert_uint_eq(r[2].start, 4294967200);
	ck_assert_uint_eq(userns_ranges_parse("", "me", 1000, r), 0);
	ck_assert_uint_eq(userns_ranges_parse("me", "me", 1000, r), 0);
	for (int i = 0; i < 2 * USERNS_RANGES_MAX; i++)
		ck_assert_int_eq(strbuf_addf(&many, "me:%d:1\n", i + 10), 0);
	ck_assert_uint_eq(userns_ranges_parse(many.s, "me", 1, r), USERNS_RANGES_MAX);
}
END_TEST

static struct json *parse(const char *text)
{
	struct json *doc = NULL;
	struct err err = ERR_INIT;

	if (json_parse(text, strlen(text), &doc, &err) < 0)
		ck_abort_msg("%s: %s", text, err.msg);
	return doc;
}

static struct json *make(const struct runtime_config *c)
{
	struct strbuf out CLEANUP(strbuf_release) = STRBUF_INIT;
	struct err err = ERR_INIT;

	if (runtime_config_write(c, &out, &err) < 0)
		ck_abort_msg("%s", err.msg);
	return parse(out.s);
}

/* "a b c" of an array of strings. */
static void check_strings(const struct json *array, const char *expected)
{
	struct strbuf s CLEANUP(strbuf_release) = STRBUF_INIT;

	for (size_t i = 0; i < json_len(array); i++)
		ck_assert_int_eq(
			strbuf_addf(&s, "%s%s", i ? " " : "", json_string(json_at(array, i))), 0);
	ck_assert_str_eq(s.s, expected);
}

static const struct json *mount_at(const struct json *doc, const char *destination)
{
	const struct json *mounts = json_get(doc, "mounts");

	for (size_t i = 0; i < json_len(mounts); i++) {
		const struct json *m = json_at(mounts, i);

		if (strcmp(json_string(json_get(m, "destination")), destination) == 0)
			return m;
	}
	return NULL;
}

static const char image_text[] =
	"{\"architecture\":\"amd64\",\"os\":\"linux\",\"author\":\"me\",\"created\":\"2020-01-"
	"01T00:00:00Z\","
	"\"config\":{\"User\":\"app\",\"Env\":[\"PATH=/"
	"bin\",\"A=1\",\"EMPTY=\",\"NOTHING\",\"A=2\"],"
	"\"Entrypoint\":[\"/entry\",\"-x\"],\"Cmd\":[\"cmd\"],\"WorkingDir\":\"/"
	"w\",\"StopSignal\":\"SIGQUIT\","
	"\"ExposedPorts\":{\"80/tcp\":{},\"53/udp\":{}},"
	"\"Labels\":{\"k\":\"v\",\"org.opencontainers.image.author\":\"label\"}}}";

START_TEST(test_config)
{
	struct json *image cleanup_json = parse(image_text), *doc cleanup_json = NULL;
	uint32_t groups[] = {10, 20};
	struct runtime_user u = {
		.uid = 1000, .gid = 100, .groups = groups, .n_groups = 2, .home = (char[]){"/h"}};
	static const char *const env[] = {"B=3", "A=4"};
	const struct runtime_bind bind = {"/src", "/dst", true, false};
	struct runtime_config c = {.image = image,
				   .root = "rootfs",
				   .id = "id",
				   .hostname = "host",
				   .env = env,
				   .n_env = 2,
				   .user = &u,
				   .binds = &bind,
				   .n_binds = 1};
	const struct json *process, *linux_part, *annotations;

	doc = make(&c);
	process = json_get(doc, "process");
	linux_part = json_get(doc, "linux");
	annotations = json_get(doc, "annotations");
	ck_assert_str_eq(json_string(json_get(doc, "ociVersion")), "1.0.2");
	check_strings(json_get(process, "args"), "/entry -x cmd");
	check_strings(json_get(process, "env"),
		      "PATH=/bin container=oci HOSTNAME=host A=4 EMPTY= HOME=/h B=3");
	ck_assert_str_eq(json_string(json_get(process, "cwd")), "/w");
	ck_assert(!json_bool(json_get(process, "terminal"), true));
	ck_assert_uint_eq(json_len(json_get(json_get(process, "user"), "additionalGids")), 2);
	ck_assert_uint_eq(json_len(json_get(json_get(process, "capabilities"), "bounding")), 14);
	ck_assert_uint_eq(json_len(json_get(json_get(process, "capabilities"), "effective")), 0);
	ck_assert_uint_eq(json_len(json_get(linux_part, "namespaces")), 4);
	ck_assert_str_eq(json_string(json_get(linux_part, "cgroupsPath")), "/snap/id");
	check_strings(json_get(mount_at(doc, "/dst"), "options"), "rbind rprivate ro");
	check_strings(json_get(mount_at(doc, "/dev/pts"), "options"),
		      "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5");
	ck_assert_str_eq(json_string(json_get(mount_at(doc, "/sys"), "type")), "sysfs");
	ck_assert_str_eq(json_string(json_get(annotations, "org.opencontainers.image.author")),
			 "label");
	ck_assert_str_eq(json_string(json_get(annotations, "org.opencontainers.image.stopSignal")),
			 "SIGQUIT");
	ck_assert_str_eq(
		json_string(json_get(annotations, "org.opencontainers.image.exposedPorts")),
		"80/tcp,53/udp");
	ck_assert_str_eq(json_string(json_get(annotations, "k")), "v");
	ck_assert_uint_eq(json_len(json_get(linux_part, "maskedPaths")), 11);
	ck_assert_uint_eq(json_len(json_get(linux_part, "readonlyPaths")), 6);
	ck_assert_str_eq(json_string(json_get(json_get(linux_part, "seccomp"), "defaultAction")),
			 "SCMP_ACT_ERRNO");
}
END_TEST

START_TEST(test_config_rootless)
{
	struct json *doc cleanup_json = NULL;
	static const char *const command[] = {"run", "me"};
	uint32_t groups[] = {10};
	struct runtime_user u = {.groups = groups, .n_groups = 1, .home = (char[]){"/"}};
	struct runtime_config c = {.root = "/r",
				   .id = "id",
				   .hostname = "host",
				   .command = command,
				   .n_command = 2,
				   .user = &u,
				   .flags = RUNTIME_USERNS | RUNTIME_NO_TTY_GROUP |
					    RUNTIME_NO_SETGROUPS | RUNTIME_CGROUP2 |
					    RUNTIME_TERMINAL | RUNTIME_READ_ONLY};
	const struct json *process;

	doc = make(&c);
	process = json_get(doc, "process");
	check_strings(json_get(process, "args"), "run me");
	ck_assert_str_eq(json_string(json_get(process, "cwd")), "/");
	ck_assert(json_bool(json_get(process, "terminal"), false));
	ck_assert_ptr_null(json_get(json_get(process, "user"), "additionalGids"));
	ck_assert_uint_eq(json_len(json_get(json_get(process, "capabilities"), "effective")), 14);
	ck_assert(json_bool(json_get(json_get(doc, "root"), "readonly"), false));
	ck_assert_ptr_null(json_get(json_get(doc, "linux"), "resources"));
	ck_assert_ptr_null(json_get(json_get(doc, "linux"), "cgroupsPath"));
	ck_assert_uint_eq(json_len(json_get(json_get(doc, "linux"), "namespaces")), 5);
	ck_assert_str_eq(json_string(json_get(mount_at(doc, "/sys"), "source")), "/sys");
	check_strings(json_get(mount_at(doc, "/dev/pts"), "options"),
		      "nosuid noexec newinstance ptmxmode=0666 mode=0620");
}
END_TEST

START_TEST(test_nothing_to_run)
{
	struct runtime_user u = {.home = (char[]){"/"}};
	struct runtime_config c = {.root = "/r", .id = "id", .hostname = "host", .user = &u};
	struct strbuf out CLEANUP(strbuf_release) = STRBUF_INIT;

	ck_assert_int_eq(runtime_config_write(&c, &out, NULL), -EINVAL);
	c.command = (const char *const[]){"ok", "caf\xe9"};
	c.n_command = 2;
	ck_assert_int_eq(runtime_config_write(&c, &out, NULL), -EILSEQ);
	c.command = (const char *const[]){"ok", "caf\xc3\xa9", ""};
	c.n_command = 3;
	c.workdir = "/\xed\xa0\x80";
	ck_assert_int_eq(runtime_config_write(&c, &out, NULL), -EILSEQ);
	ck_assert_uint_eq(out.len, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("runtime");
	TCase *tc = tcase_create("runtime");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, test_users);
	tcase_add_test(tc, test_no_users);
	tcase_add_test(tc, test_hostile_files);
	tcase_add_test(tc, test_ranges);
	tcase_add_test(tc, test_config);
	tcase_add_test(tc, test_config_rootless);
	tcase_add_test(tc, test_nothing_to_run);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
