/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/strbuf.h"
#include "overlay/params.h"

static struct ovl_config c;
static struct err e;

static void setup(void)
{
	c = (struct ovl_config)OVL_CONFIG_INIT;
	e = (struct err)ERR_INIT;
}

static void teardown(void)
{
	ovl_config_release(&c);
}

static int parse(const char *s)
{
	return ovl_params_parse(&c, s, &e);
}

START_TEST(podman_strings)
{
	ck_assert_int_eq(
		parse("lowerdir=/s/l/A:/s/l/B,upperdir=/s/d/diff,workdir=/s/d/work,,volatile"), 0);
	ck_assert_int_eq(ovl_params_verify(&c, &e), 0);
	ck_assert_uint_eq(c.n_lowers, 2);
	ck_assert_str_eq(c.lowers[0], "/s/l/A");
	ck_assert_str_eq(c.lowers[1], "/s/l/B");
	ck_assert_str_eq(c.upper, "/s/d/diff");
	ck_assert_str_eq(c.work, "/s/d/work");
	ck_assert(c.volatile_);
	ck_assert(!c.read_only);
	ovl_config_release(&c);

	ck_assert_int_eq(parse("lowerdir=/l,upperdir=/u,workdir=/w,"), 0);
	ck_assert(!c.volatile_);
	ovl_config_release(&c);

	ck_assert_int_eq(parse("lowerdir=/a:/b"), 0);
	ck_assert_int_eq(ovl_params_verify(&c, &e), 0);
	ck_assert(c.read_only);
	ovl_config_release(&c);

	ck_assert_int_eq(
		parse("context=\"system_u:object_r:container_file_t:s0:c1,c2\",lowerdir=/a,ro"), 0);
	ck_assert_uint_eq(c.n_lowers, 1);
	ck_assert(c.read_only);
}
END_TEST

START_TEST(containerd_strings)
{
	ck_assert_int_eq(parse("rw,nodev,nosuid,noatime,_netdev,x-systemd.automount,X-a=b"), 0);
	ck_assert(!c.dev);
	ck_assert(!c.suid);
	ck_assert_int_eq(parse("dev,suid"), 0);
	ck_assert(c.dev);
	ck_assert(c.suid);
	ck_assert_int_eq(parse("ro,rw"), 0);
	ck_assert(!c.read_only);
	ck_assert_int_eq(parse("lowerdir=/a,lowerdir=/b:/c"), 0);
	ck_assert_uint_eq(c.n_lowers, 2);
	ck_assert_str_eq(c.lowers[0], "/b");
}
END_TEST

START_TEST(escapes)
{
	ck_assert_int_eq(
		parse("lowerdir=/a\\:b\\,c:/d\\\\e:/f\\g,upperdir=/u\\,\\:x:y,workdir=/w=1"), 0);
	ck_assert_uint_eq(c.n_lowers, 3);
	ck_assert_str_eq(c.lowers[0], "/a:b,c");
	ck_assert_str_eq(c.lowers[1], "/d\\e");
	ck_assert_str_eq(c.lowers[2], "/fg");
	ck_assert_str_eq(c.upper, "/u,:x:y");
	ck_assert_str_eq(c.work, "/w=1");
}
END_TEST

START_TEST(values)
{
	ck_assert_int_eq(parse("ino_batch=7,timeout=1.5,threaded=0,fsync=0,redirect_dir=on"), 0);
	ck_assert(!c.noopen_set && c.passthrough == OVL_PASS_AUTO);
	ck_assert_uint_eq(c.ino_batch, 7);
	ck_assert(c.timeout_set);
	ck_assert_uint_eq(c.timeout_ms, 1500);
	ck_assert_uint_eq(c.threads, 1);
	ck_assert(c.volatile_);
	ck_assert(c.redirect_dir);
	ck_assert_int_eq(parse("redirect_dir=off,fsync=1,threaded=1,timeout=0,allow_other,noopen=0,"
			       "passthrough=1,writeback"),
			 0);
	ck_assert(c.writeback);
	ck_assert(c.noopen_set && !c.noopen && c.passthrough == OVL_PASS_WANTED);
	ck_assert(!c.redirect_dir);
	ck_assert(!c.volatile_);
	ck_assert_uint_eq(c.threads, 0);
	ck_assert_uint_eq(c.timeout_ms, 0);
	ck_assert(c.allow_other && c.allow_other_set);
	ck_assert_int_eq(parse("passthrough=0"), 0);
	ck_assert_int_eq(c.passthrough, OVL_PASS_NEVER);
	ck_assert_int_eq(parse("passthrough=1,passthrough=auto"), 0);
	ck_assert_int_eq(c.passthrough, OVL_PASS_AUTO);
	ck_assert_int_eq(parse("timeout=86400.0009,fsname=me,max_write=131072"), 0);
	ck_assert_uint_eq(c.timeout_ms, 86400000);
	ck_assert_str_eq(c.source, "me");
}
END_TEST

static const char *const bad[] = {
	"passthrough=maybe",
	"lowerdir=",
	"lowerdir",
	"lowerdir=/a::/b",
	"lowerdir=:/a",
	"lowerdir=/a:",
	"lowerdir=/a\\",
	"upperdir=",
	"upperdir",
	"workdir=",
	"ino_batch=",
	"ino_batch",
	"ino_batch=-1",
	"ino_batch=1x",
	"timeout=",
	"timeout=x",
	"timeout=-1",
	"timeout=1.x",
	"volatile=1",
	"ro=1",
	"fsync=2",
	"threaded=z",
	"redirect_dir",
	"redirect_dir=x",
	"nosuch",
	"nosuch=1",
	"=",
	"=x",
	" ro",
	"LOWERDIR=/a",
	"max_write=a",
	"ino_batch=99999999999999999999",
	"ino_batch=4294967295",
	"timeout=99999999",
	"uidmapping",
	"uidmapping=1:2",
	"gidmapping=0:0:2:1:9:1",
	"squash_to_uid=4294967295",
	"squash_to_gid",
	"static_nlink=x",
	"xattr_permissions=3",
	"xattr_permissions=x",
};

START_TEST(refused_by_grammar)
{
	ck_assert_int_eq(parse(bad[_i]), -EINVAL);
	ck_assert_int_ne(e.msg[0], '\0');
}
END_TEST

static const char *const unsupported[] = {
	"verity=on",
	"nfs_export",
	"ino32_t",
	"plugins=a",
};

START_TEST(refused_by_name)
{
	char name[32];

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(unsupported[_i], "="), unsupported[_i]);
	ck_assert_int_eq(parse(unsupported[_i]), -EOPNOTSUPP);
	ck_assert_ptr_nonnull(strstr(e.msg, name));
	ck_assert_ptr_nonnull(strstr(e.msg, "not supported by this version"));
}
END_TEST

START_TEST(quotas)
{
	static const struct {
		const char *options;
		uint64_t bytes, inodes;
	} good[] = {{"quota_bytes=1", 1, 0},
		    {"quota_bytes=10k", 10240, 0},
		    {"quota_bytes=3G,quota_inodes=2M", UINT64_C(3) << 30, 2 << 20},
		    {"quota_bytes=8388607t", UINT64_C(8388607) << 40, 0}};
	static const char *const no[] = {"quota_bytes",	   "quota_bytes=",   "quota_bytes=0",
					 "quota_bytes=k",  "quota_bytes=1x", "quota_bytes=8388608t",
					 "quota_inodes=-1"};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		ck_assert_int_eq(parse(good[i].options), 0);
		ck_assert_uint_eq(c.quota_bytes, good[i].bytes);
		ck_assert_uint_eq(c.quota_inodes, good[i].inodes);
		ovl_config_release(&c);
	}
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
		ck_assert_int_eq(parse(no[i]), -EINVAL);
		ovl_config_release(&c);
	}
}
END_TEST

START_TEST(owners)
{
	ck_assert_int_eq(
		parse("lowerdir=/l,,volatile,uidmapping=:0:1:1001:1001:0:1:1002:1002:64535,"
		      "gidmapping=0:100000:5000,noacl,noxattrs=1,static_nlink"),
		0);
	ck_assert_int_eq(ovl_params_verify(&c, &e), 0);
	ck_assert_uint_eq(c.uids.n, 3);
	ck_assert_uint_eq(c.gids.n, 1);
	ck_assert(!c.uids.squash && !c.gids.squash);
	ck_assert(c.no_acl && c.no_xattrs && c.static_nlink);
	/* the later one replaces, the more exact one wins */
	ck_assert_int_eq(parse("gidmapping=,squash_to_uid=7,squash_to_root"), 0);
	ck_assert_int_eq(ovl_params_verify(&c, &e), 0);
	ck_assert_uint_eq(c.gids.n, 0);
	ck_assert(c.uids.squash && c.uids.squash_to == 7);
	ck_assert(c.gids.squash && c.gids.squash_to == 0);
}
END_TEST

START_TEST(accepted)
{
	ck_assert_int_eq(parse("metacopy=off,nfs_export=off,default_permissions,allow_root,private,"
			       "subtype=x,exec,noexec,atime,kernel_cache,clone_fd,xino=auto,,,"
			       "index=on,userxattr,defaults,context=a:b:c,async"),
			 0);
	ck_assert_int_eq(parse(""), 0);
	ck_assert_int_eq(parse(","), 0);
	ck_assert_int_eq(parse("context=\"open,ro"), 0); /* no end: two options */
	ck_assert(c.read_only);
}
END_TEST

START_TEST(together)
{
	ck_assert_int_eq(ovl_params_verify(&c, &e), -EINVAL);
	ck_assert_int_eq(parse("upperdir=/u"), 0);
	ck_assert_int_eq(ovl_params_verify(&c, &e), -EINVAL);
	ck_assert_ptr_nonnull(strstr(e.msg, "workdir"));
	ck_assert_int_eq(parse("workdir=/w"), 0);
	ck_assert_int_eq(ovl_params_verify(&c, &e), 0);
	ovl_config_release(&c);
	ck_assert_int_eq(parse("lowerdir=/l,workdir=/w"), 0);
	ck_assert_int_eq(ovl_params_verify(&c, &e), 0);
	ck_assert_ptr_null(c.work);
}
END_TEST

START_TEST(many_lowers)
{
	struct strbuf s = STRBUF_INIT;

	ck_assert_int_eq(strbuf_adds(&s, "lowerdir=/0"), 0);
	for (int i = 1; i < 500; i++)
		ck_assert_int_eq(strbuf_addf(&s, ":/%d", i), 0);
	ck_assert_int_eq(parse(s.s), 0);
	ck_assert_uint_eq(c.n_lowers, 500);
	ck_assert_str_eq(c.lowers[499], "/499");
	for (int i = 0; i < 5000; i++)
		ck_assert_int_eq(strbuf_adds(&s, ":/x"), 0);
	ck_assert_int_eq(parse(s.s), -EINVAL);
	ck_assert_uint_eq(c.n_lowers, 500); /* as it was */
	strbuf_release(&s);
}
END_TEST

START_TEST(resolves)
{
	char dir[] = "/tmp/snap-params-XXXXXX", cwd[PATH_MAX], want[PATH_MAX];

	ck_assert_ptr_nonnull(getcwd(cwd, sizeof(cwd)));
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(chdir(dir), 0);
	ck_assert_int_eq(mkdir("low", 0700), 0);
	ck_assert_int_eq(mkdir("up", 0700), 0);
	ck_assert_int_eq(mkdir("up/work", 0700), 0);
	ck_assert_int_eq(mkdir("upx", 0700), 0);
	ck_assert_int_eq(symlink("low", "link"), 0);

	ck_assert_int_eq(parse("lowerdir=link:./low,upperdir=up,workdir=upx"), 0);
	ck_assert_int_eq(ovl_params_resolve(&c, &e), 0);
	snprintf(want, sizeof(want), "%s/low", dir);
	ck_assert_str_eq(c.lowers[0], want);
	ck_assert_str_eq(c.lowers[1], want);
	ck_assert_int_eq(parse("workdir=up/work"), 0);
	ck_assert_int_eq(ovl_params_resolve(&c, &e), -EINVAL);
	ck_assert_int_eq(parse("workdir=up"), 0);
	ck_assert_int_eq(ovl_params_resolve(&c, &e), -EINVAL);
	ck_assert_int_eq(parse("workdir=none"), 0);
	ck_assert_int_eq(ovl_params_resolve(&c, &e), -ENOENT);
	ck_assert_ptr_nonnull(strstr(e.msg, "none"));
	/* it is taken apart beside where it stands */
	ck_assert_int_eq(chdir("/tmp"), 0);
	ck_assert_int_eq(io_remove_tree(AT_FDCWD, strrchr(dir, '/') + 1), 0);
	ck_assert_int_eq(chdir(cwd), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("params");
	TCase *t = tcase_create("core");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, podman_strings);
	tcase_add_test(t, containerd_strings);
	tcase_add_test(t, escapes);
	tcase_add_test(t, values);
	tcase_add_loop_test(t, refused_by_grammar, 0, (int)(sizeof(bad) / sizeof(bad[0])));
	tcase_add_loop_test(t, refused_by_name, 0,
			    (int)(sizeof(unsupported) / sizeof(unsupported[0])));
	tcase_add_test(t, owners);
	tcase_add_test(t, quotas);
	tcase_add_test(t, accepted);
	tcase_add_test(t, together);
	tcase_add_test(t, many_lowers);
	tcase_add_test(t, resolves);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
