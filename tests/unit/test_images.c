/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "snapshotter/diff.h"
#include "snapshotter/fsck.h"
#include "snapshotter/gc.h"
#include "snapshotter/image.h"
#include "snapshotter/pull.h"

/* Images in and out of a store, made by the store itself: no root, no mount. */

static char top[] = "/tmp/test-images.XXXXXX";
static char root[64], layout[80];
static struct digest made; /* the manifest that setup() pushed */

static struct snap_store *open_store(const char *path)
{
	struct snap_store *store = NULL;
	struct err err = ERR_INIT;

	if (snap_store_open(path, &store, &err) < 0)
		ck_abort_msg("%s: %s", err.where, err.msg);
	return store;
}

static void write_file(const char *dir, const char *name, char fill, size_t len)
{
	char path[256], buf[4096];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
	ck_assert_int_ge(fd, 0);
	memset(buf, fill, sizeof(buf));
	while (len > 0) {
		size_t n = len < sizeof(buf) ? len : sizeof(buf);

		buf[0] = (char)len; /* not all alike, so that it does not compress to nothing */
		ck_assert_int_eq(io_write_full(fd, buf, n), 0);
		len -= n;
	}
	ck_assert_int_eq(close(fd), 0);
}

static struct snap_commit_options options(void)
{
	return (struct snap_commit_options){
		.layer = {.compression = OCI_GZIP, .has_timestamp = true, .timestamp = 1700000000},
		.check = true,
	};
}

static void commit_image(struct snap_store *s, const char *ref, const char *key,
			 struct snap_commit_result *ret)
{
	struct snap_commit_options opt = options();
	struct err err = ERR_INIT;

	if (snap_commit_image(s, ref, key, &opt, ret, &err) < 0)
		ck_abort_msg("%s: %s", err.where, err.msg);
}

/* Three layers: two committed directories and a container's own changes. */
static void setup(void)
{
	static const char *const keys[] = {"a", "b", "c"};
	struct snap_commit_result result;
	char path[128], other[96];
	struct snap_push_result pushed;
	struct snap_store *s;

	strcpy(top + strlen(top) - 6, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(top));
	(void)snprintf(root, sizeof(root), "%s/store", top);
	(void)snprintf(layout, sizeof(layout), "oci:%s/layout:t", top);
	(void)snprintf(other, sizeof(other), "%s/made", top);
	s = open_store(other);
	for (int i = 0; i < 3; i++) {
		char committed[8] = {'l', (char)('0' + i), '\0'},
		     below[8] = {'l', (char)('0' + i - 1), '\0'};

		ck_assert_int_eq(
			snap_prepare(s, SNAP_ACTIVE, keys[i], i ? below : NULL, NULL, 0, NULL), 0);
		(void)snprintf(path, sizeof(path), "%s/snapshots/%d/upper", other, i + 1);
		write_file(path, keys[i], keys[i][0], 200000);
		write_file(path, "same", keys[i][0], 10);
		if (i < 2)
			ck_assert_int_eq(snap_commit(s, committed, keys[i], NULL, NULL, 0, 0, NULL),
					 0);
	}
	commit_image(s, "made:latest", "c", &result);
	ck_assert_uint_eq(result.layers, 3);
	ck_assert_uint_eq(result.new_layers, 3);
	ck_assert_int_eq(snap_push(s, "made", layout, NULL, &pushed, NULL), 0);
	made = pushed.manifest;
	ck_assert(digest_equal(&made, &result.manifest));
	/* the same once more gives the same */
	commit_image(s, "again", "c", &result);
	ck_assert(digest_equal(&made, &result.manifest));
	snap_store_close(s);
}

static void teardown(void)
{
	ck_assert_int_eq(io_remove_tree(AT_FDCWD, top), 0);
}

static int pull(struct snap_store *s, const char *name, struct snap_pull_result *ret)
{
	struct snap_pull_options opt = {.name = name, .jobs = 3};

	return snap_pull(s, layout, &opt, ret, NULL);
}

static int count_entries(const char *folder)
{
	char path[256];
	DIR *dir cleanup_closedir = NULL;
	struct dirent *d;
	int n = 0;

	(void)snprintf(path, sizeof(path), "%s/%s", root, folder);
	dir = opendir(path);
	ck_assert_ptr_nonnull(dir);
	while ((d = readdir(dir)))
		n += strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0;
	return n;
}

static void assert_empty(void)
{
	static const char *const folders[] = {"blobs/sha256", "layers/sha256", "chains/sha256",
					      "tmp"};

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
		ck_assert_msg(count_entries(folders[i]) == 0, "something is left in %s",
			      folders[i]);
}

static uint64_t broken(struct snap_store *s, unsigned int flags)
{
	struct snap_fsck_result result;
	struct err err = ERR_INIT;

	if (snap_fsck(s, NULL, 0, flags, NULL, NULL, &result, &err) < 0)
		ck_abort_msg("%s: %s", err.where, err.msg);
	return result.broken;
}

START_TEST(test_pull)
{
	struct snap_store *s cleanup_snap_store = open_store(root);
	struct snap_image_info info cleanup_snap_image_info = {.ref = NULL};
	struct snap_pull_result result;
	struct snap_layer_info *layers;
	struct snap_push_result pushed;
	char out[96];
	size_t n;

	ck_assert_int_eq(pull(s, "x:1", &result), 0);
	ck_assert_uint_eq(result.new_layers, 3);
	ck_assert(digest_equal(&result.manifest, &made));
	ck_assert_str_eq(result.ref, "x:1");
	free(result.ref);
	/* again: another name, no work */
	ck_assert_int_eq(pull(s, "y", &result), 0);
	ck_assert_uint_eq(result.new_layers, 0);
	free(result.ref);
	ck_assert_int_eq(snap_image_find(s, "y:latest", &info, NULL), 0);
	ck_assert_uint_eq(info.n_layers, 3);
	ck_assert_int_eq(snap_image_layers(s, &made, &layers, &n, NULL), 0);
	ck_assert_uint_eq(n, 3);
	free(layers);
	(void)snprintf(out, sizeof(out), "oci:%s/out:u", top);
	ck_assert_int_eq(snap_push(s, "x:1", out, NULL, &pushed, NULL), 0);
	ck_assert(digest_equal(&pushed.manifest, &made));
	ck_assert_uint_eq(broken(s, 0), 0);
	ck_assert_int_eq(count_entries("tmp"), 0);
}
END_TEST

static void assert_kept(struct snap_store *s, bool kept, int blobs)
{
	struct snap_layer_info *layers = NULL;
	size_t n = 0;

	ck_assert_int_eq(snap_image_layers(s, &made, &layers, &n, NULL), 0);
	ck_assert_uint_eq(n, 3);
	for (size_t i = 0; i < n; i++)
		ck_assert_int_eq(layers[i].kept, kept);
	free(layers);
	ck_assert_int_eq(count_entries("blobs/sha256"), blobs);
	ck_assert_uint_eq(broken(s, 0), 0);
	ck_assert_int_eq(count_entries("tmp"), 0);
}

/* Manifest and config alone; what we compressed ourselves is the same when it is made again. */
START_TEST(test_without_blobs)
{
	struct snap_store *s cleanup_snap_store = open_store(root);
	struct snap_pull_options opt = {.name = "x", .jobs = 3, .no_blobs = true};
	struct snap_push_result pushed;
	struct snap_pull_result result;
	struct snap_gc_result gone;
	char out[4200];

	ck_assert_int_eq(snap_pull(s, layout, &opt, &result, NULL), 0);
	ck_assert_uint_eq(result.new_layers, 3);
	free(result.ref);
	assert_kept(s, false, 2);
	ck_assert_int_eq(snap_gc(s, 0, NULL, NULL, &gone, NULL), 0);
	ck_assert_uint_eq(gone.items, 0);
	(void)snprintf(out, sizeof(out), "oci:%s/out:u", top);
	ck_assert_int_eq(snap_push(s, "x", out, NULL, &pushed, NULL), 0);
	ck_assert(digest_equal(&pushed.manifest, &made));
	ck_assert_uint_eq(pushed.recompressed, 0);
	/* once more is nothing new; with blobs all of it is, and then they stay */
	ck_assert_int_eq(snap_pull(s, layout, &opt, &result, NULL), 0);
	ck_assert_uint_eq(result.new_layers, 0);
	free(result.ref);
	ck_assert_int_eq(pull(s, "x", &result), 0);
	ck_assert_uint_eq(result.new_layers, 3);
	free(result.ref);
	assert_kept(s, true, 5);
	ck_assert_int_eq(snap_pull(s, layout, &opt, &result, NULL), 0);
	ck_assert_uint_eq(result.new_layers, 0);
	free(result.ref);
	assert_kept(s, true, 5);
}
END_TEST

static int count_change(void *ctx, const struct ovl_change *ch, struct err *err)
{
	(void)err;
	ck_assert_str_eq(ch->path, "same");
	ck_assert_int_eq(ch->kind, OVL_CHANGED);
	++*(int *)ctx;
	return 0;
}

START_TEST(test_snapshot_of_an_image)
{
	struct snap_store *s cleanup_snap_store = open_store(root);
	struct snap_info info cleanup_snap_info = {.key = NULL};
	struct snap_mount m cleanup_snap_mount = {.type = NULL};
	struct snap_commit_result committed;
	struct snap_pull_result result;
	char path[128];
	int changes = 0;

	ck_assert_int_eq(pull(s, "x:latest", &result), 0);
	free(result.ref);
	ck_assert_int_eq(snap_prepare(s, SNAP_ACTIVE, "k", "x", NULL, 0, NULL), 0);
	ck_assert_int_eq(snap_stat(s, "k", &info, NULL), 0);
	ck_assert_str_eq(info.parent, "x:latest");
	ck_assert(info.parent_is_image);
	ck_assert_int_eq(snap_mounts(s, "k", &m, NULL), 0);
	ck_assert_ptr_nonnull(strstr(m.options, "/chains/sha256/"));
	/* nothing changed: no layer */
	commit_image(s, "nothing", "k", &committed);
	ck_assert_uint_eq(committed.layers, 3);
	ck_assert_uint_eq(committed.new_layers, 0);
	(void)snprintf(path, sizeof(path), "%s/snapshots/1/upper", root);
	write_file(path, "same", 'n', 20);
	ck_assert_int_eq(utimensat(AT_FDCWD, path,
				   (struct timespec[2]){{0, UTIME_OMIT}, {1700000000, 0}}, 0),
			 0);
	commit_image(s, "something", "k", &committed);
	ck_assert_uint_eq(committed.layers, 4);
	ck_assert_uint_eq(committed.new_layers, 1);
	ck_assert_int_eq(snap_diff_list(s, "k", count_change, &changes, NULL), 0);
	ck_assert_int_eq(changes, 1);
	/* a name is one thing only */
	ck_assert_int_eq(snap_commit(s, "x:latest", "k", NULL, NULL, 0, 0, NULL), -EEXIST);
	ck_assert_int_eq(snap_commit(s, "dir", "k", NULL, NULL, 0, 0, NULL), 0);
	ck_assert_int_eq(pull(s, "dir", &result), -EEXIST);
	ck_assert_uint_eq(broken(s, 0), 0);
}
END_TEST

START_TEST(test_gc_keeps_what_is_used)
{
	struct snap_store *s cleanup_snap_store = open_store(root);
	struct snap_pull_result result;
	struct snap_gc_result gone;

	ck_assert_int_eq(pull(s, "x", &result), 0);
	free(result.ref);
	ck_assert_int_eq(snap_prepare(s, SNAP_VIEW, "k", "x", NULL, 0, NULL), 0);
	ck_assert_int_eq(snap_gc(s, 0, NULL, NULL, &gone, NULL), 0);
	ck_assert_uint_eq(gone.items, 0);
	ck_assert_int_eq(snap_image_remove(s, "x", NULL), 0);
	ck_assert_int_eq(snap_gc(s, 0, NULL, NULL, &gone, NULL), 0);
	ck_assert_uint_eq(gone.items, 0); /* the view stands on it */
	ck_assert_uint_eq(broken(s, 0), 0);
	ck_assert_int_eq(snap_remove(s, "k", 0, NULL), 0);
	ck_assert_int_eq(snap_gc(s, SNAP_GC_DRY_RUN, NULL, NULL, &gone, NULL), 0);
	ck_assert_uint_eq(gone.items, 3 + 2 + 3 + 1); /* blobs, documents, layers, chain */
	ck_assert_int_eq(count_entries("layers/sha256"), 3);
	ck_assert_int_eq(snap_gc(s, 0, NULL, NULL, &gone, NULL), 0);
	ck_assert_uint_eq(gone.items, 9);
	assert_empty();
}
END_TEST

/* The first file in @folder below @base, largest first when @largest. */
static void find_file(const char *base, const char *folder, const char *below, char path[256])
{
	char dir_path[256];
	DIR *dir cleanup_closedir = NULL;
	struct dirent *d;
	off_t best = -1;

	(void)snprintf(dir_path, sizeof(dir_path), "%s/%s", base, folder);
	dir = opendir(dir_path);
	ck_assert_ptr_nonnull(dir);
	while ((d = readdir(dir))) {
		char candidate[600];
		struct stat st;

		if (d->d_name[0] == '.')
			continue;
		(void)snprintf(candidate, sizeof(candidate), "%s/%s%s", dir_path, d->d_name, below);
		if (stat(candidate, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > best) {
			ck_assert_uint_lt(strlen(candidate), 256);
			memcpy(path, candidate, strlen(candidate) + 1);
			best = st.st_size;
		}
	}
	ck_assert_int_ge(best, 0);
}

static void damage(const char *path, off_t at)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	char c;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pread(fd, &c, 1, at), 1);
	c ^= 0x20;
	ck_assert_int_eq(pwrite(fd, &c, 1, at), 1);
	ck_assert_int_eq(close(fd), 0);
}

START_TEST(test_fsck_finds_and_repairs)
{
	static const char *const files[][2] = {{"layers/sha256", "/data"},
					       {"layers/sha256", "/index"},
					       {"chains/sha256", "/index"}};
	struct snap_store *s cleanup_snap_store = open_store(root);
	struct snap_pull_result result;
	struct snap_layer_info *layers;
	char path[256];
	size_t n;

	ck_assert_int_eq(pull(s, "x", &result), 0);
	free(result.ref);
	for (size_t i = 0; i < 3; i++) {
		find_file(root, files[i][0], files[i][1], path);
		damage(path,
		       1030); /* in a tar: a file's name or content; in an index: its super block */
		ck_assert_uint_ge(broken(s, 0), 1);
		ck_assert_uint_eq(broken(s, SNAP_FSCK_REPAIR), 0);
		ck_assert_uint_eq(broken(s, 0), 0);
		ck_assert_int_eq(unlink(path), 0);
		ck_assert_uint_ge(broken(s, 0), 1);
		ck_assert_uint_eq(broken(s, SNAP_FSCK_REPAIR), 0);
		ck_assert_uint_eq(broken(s, 0), 0);
	}
	/* a blob cannot be made anew: it goes, and the next pull brings it back */
	ck_assert_int_eq(snap_image_layers(s, &made, &layers, &n, NULL), 0);
	(void)snprintf(path, sizeof(path), "%s/blobs/sha256/%s", root, digest_hex(&layers[1].blob));
	free(layers);
	damage(path, 100);
	ck_assert_uint_eq(broken(s, SNAP_FSCK_REPAIR), 1);
	ck_assert_int_lt(access(path, F_OK), 0);
	ck_assert_int_eq(pull(s, "x", &result), 0);
	ck_assert_uint_eq(result.new_layers, 1);
	free(result.ref);
	ck_assert_uint_eq(broken(s, 0), 0);
}
END_TEST

START_TEST(test_bad_source_leaves_nothing)
{
	struct snap_store *s cleanup_snap_store = open_store(root);
	struct snap_pull_result result;
	char base[80], path[256];

	(void)snprintf(base, sizeof(base), "%s/layout", top);
	find_file(base, "blobs/sha256", "", path);
	damage(path, 100);
	ck_assert_int_lt(pull(s, "x", &result), 0);
	assert_empty();
	ck_assert_int_eq(truncate(path, 50), 0);
	ck_assert_int_lt(pull(s, "x", &result), 0);
	assert_empty();
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_lt(pull(s, "x", &result), 0);
	assert_empty();
	ck_assert_int_eq(snap_image_remove(s, "x", NULL), -ENOENT);
}
END_TEST

static void pull_in_child(void)
{
	struct snap_pull_options opt = {.name = "x", .jobs = 2};
	struct snap_pull_result result;
	struct snap_store *s = NULL;

	if (snap_store_open(root, &s, NULL) < 0)
		_exit(2);
	if (snap_pull(s, layout, &opt, &result, NULL) < 0)
		_exit(3);
	free(result.ref);
	snap_store_close(s);
	_exit(result.new_layers > 3 ? 4 : (int)(100 + result.new_layers));
}

START_TEST(test_eight_pulls_at_once)
{
	struct snap_store *s cleanup_snap_store = NULL;
	int status, done = 0;
	pid_t pids[8];

	for (int i = 0; i < 8; i++) {
		pids[i] = fork();
		ck_assert_int_ge(pids[i], 0);
		if (pids[i] == 0)
			pull_in_child();
	}
	for (int i = 0; i < 8; i++) {
		ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
		ck_assert(WIFEXITED(status));
		ck_assert_int_ge(WEXITSTATUS(status), 100);
		done += WEXITSTATUS(status) - 100;
	}
	ck_assert_int_eq(done, 3); /* each layer was brought in once */
	s = open_store(root);
	ck_assert_uint_eq(broken(s, 0), 0);
	ck_assert_int_eq(count_entries("tmp"), 0);
}
END_TEST

/*
 * The reader of a process that was killed goes a moment after it, and if it was just being started
 * it has the lock of the folder in tmp until then.
 */
static struct snap_store *open_after_kill(void)
{
	struct snap_store *s = open_store(root);

	for (int i = 0; i < 1000 && count_entries("tmp") > 0; i++) {
		snap_store_close(s);
		(void)usleep(5000);
		s = open_store(root);
	}
	return s;
}

START_TEST(test_killed_pulls)
{
	struct snap_store *s cleanup_snap_store = NULL;
	struct snap_pull_result result;
	struct snap_gc_result gone;
	int killed = 0;

	for (int round = 0; round < 60; round++) {
		pid_t pid = fork();
		int status;

		ck_assert_int_ge(pid, 0);
		if (pid == 0)
			pull_in_child();
		(void)usleep(200 + (useconds_t)round * 300); /* where it hits is up to chance */
		(void)kill(pid, SIGKILL);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		killed += WIFSIGNALED(status);
		s = open_after_kill();
		ck_assert_uint_eq(broken(s, 0), 0);
		ck_assert_int_eq(count_entries("tmp"), 0);
		if (round % 2) { /* start anew, or go on with what is there */
			(void)!snap_image_remove(s, "x", NULL);
			ck_assert_int_eq(snap_gc(s, 0, NULL, NULL, &gone, NULL), 0);
			assert_empty();
		}
		snap_store_close(s);
		s = NULL;
	}
	ck_assert_int_gt(killed, 0);
	s = open_store(root);
	ck_assert_int_eq(pull(s, "x", &result), 0);
	free(result.ref);
	ck_assert_uint_eq(broken(s, 0), 0);
}
END_TEST

static void commit_in_child(void)
{
	struct snap_commit_options opt = options();
	struct snap_commit_result result;
	struct snap_store *s = NULL;

	if (snap_store_open(root, &s, NULL) < 0)
		_exit(2);
	for (;;) {
		if (snap_commit_image(s, "new", "k", &opt, &result, NULL) < 0)
			_exit(3);
	}
}

START_TEST(test_killed_commits)
{
	struct snap_store *s = open_store(root);
	struct snap_commit_result first, last;
	struct snap_pull_result result;
	struct snap_gc_result gone;
	char path[128];

	ck_assert_int_eq(pull(s, "x", &result), 0);
	free(result.ref);
	ck_assert_int_eq(snap_prepare(s, SNAP_ACTIVE, "k", "x", NULL, 0, NULL), 0);
	(void)snprintf(path, sizeof(path), "%s/snapshots/1/upper", root);
	write_file(path, "big", 'q', 500000);
	commit_image(s, "first", "k", &first);
	ck_assert_int_eq(snap_image_remove(s, "first", NULL), 0);
	snap_store_close(s);
	for (int round = 0; round < 30; round++) {
		pid_t pid = fork();
		int status;

		ck_assert_int_ge(pid, 0);
		if (pid == 0)
			commit_in_child();
		(void)usleep(1000 + (useconds_t)round * 900);
		ck_assert_int_eq(kill(pid, SIGKILL), 0);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert(WIFSIGNALED(status));
		s = open_store(root);
		ck_assert_uint_eq(broken(s, 0), 0);
		(void)!snap_image_remove(s, "new", NULL);
		ck_assert_int_eq(snap_gc(s, 0, NULL, NULL, &gone, NULL), 0);
		ck_assert_uint_eq(broken(s, 0), 0);
		snap_store_close(s);
	}
	s = open_store(root);
	commit_image(s, "new", "k", &last);
	ck_assert(digest_equal(&first.manifest, &last.manifest));
	snap_store_close(s);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("images");
	TCase *tc = tcase_create("images");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, test_pull);
	tcase_add_test(tc, test_without_blobs);
	tcase_add_test(tc, test_snapshot_of_an_image);
	tcase_add_test(tc, test_gc_keeps_what_is_used);
	tcase_add_test(tc, test_fsck_finds_and_repairs);
	tcase_add_test(tc, test_bad_source_leaves_nothing);
	tcase_add_test(tc, test_eight_pulls_at_once);
	tcase_add_test(tc, test_killed_pulls);
	tcase_add_test(tc, test_killed_commits);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
