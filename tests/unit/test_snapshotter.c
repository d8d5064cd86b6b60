/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
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
#include "snapshotter/db.h"
#include "snapshotter/image.h"
#include "snapshotter/snapshot.h"

static char top[] = "/tmp/test-snapshotter.XXXXXX";
static char root[64];

static void setup(void)
{
	strcpy(top + strlen(top) - 6, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(top));
	(void)snprintf(root, sizeof(root), "%s/store", top);
}

static void teardown(void)
{
	ck_assert_int_eq(io_remove_tree(AT_FDCWD, top), 0);
}

static struct snap_store *reopen(struct snap_store *old)
{
	struct snap_store *store = NULL;
	struct err err = ERR_INIT;

	snap_store_close(old);
	if (snap_store_open(root, &store, &err) < 0)
		ck_abort_msg("%s: %s", err.where, err.msg);
	return store;
}

static int prepare(struct snap_store *s, const char *key, const char *parent)
{
	return snap_prepare(s, SNAP_ACTIVE, key, parent, NULL, 0, NULL);
}

static bool exists(const char *path)
{
	char full[256];

	(void)snprintf(full, sizeof(full), "%s/%s", root, path);
	return access(full, F_OK) == 0;
}

START_TEST(test_semantics)
{
	struct snap_store *s cleanup_snap_store = reopen(NULL);
	struct snap_info info cleanup_snap_info = {.key = NULL};
	struct snap_label label = {.key = (char[]){"k"}, .value = (char[]){"v"}};
	struct snap_mount m = {.type = NULL};

	ck_assert_int_eq(prepare(s, "", NULL), -EINVAL);
	ck_assert_int_eq(prepare(s, "a", "missing"), -ENOENT);
	ck_assert_int_eq(snap_stat(s, "a", &info, NULL), -ENOENT);
	ck_assert_int_eq(snap_prepare(s, SNAP_ACTIVE, "a", NULL, &label, 1, NULL), 0);
	ck_assert_int_eq(prepare(s, "a", NULL), -EEXIST);
	ck_assert_int_eq(prepare(s, "b", "a"), -EINVAL);
	ck_assert_int_eq(snap_commit(s, "base", "missing", NULL, NULL, 0, 0, NULL), -ENOENT);
	ck_assert_int_eq(snap_commit(s, "base", "a", NULL, &label, 1, 0, NULL), 0);
	ck_assert_int_eq(snap_stat(s, "a", &info, NULL), -ENOENT);
	ck_assert_int_eq(snap_stat(s, "base", &info, NULL), 0);
	ck_assert_int_eq(info.kind, SNAP_COMMITTED);
	ck_assert_int_eq(info.created, info.updated);
	ck_assert_uint_eq(info.n_labels, 1);
	ck_assert_str_eq(info.labels[0].value, "v");
	ck_assert_ptr_null(info.parent);
	ck_assert_int_eq(snap_mounts(s, "base", &m, NULL), -EBUSY);
	ck_assert_int_eq(snap_commit(s, "again", "base", NULL, NULL, 0, 0, NULL), -EBUSY);
	ck_assert_int_eq(snap_prepare(s, SNAP_VIEW, "v", "base", NULL, 0, NULL), 0);
	ck_assert_int_eq(snap_commit(s, "w", "v", NULL, NULL, 0, 0, NULL), -EBUSY);
	ck_assert_int_eq(prepare(s, "c", "base"), 0);
	ck_assert_int_eq(snap_commit(s, "base", "c", NULL, NULL, 0, 0, NULL), -EEXIST);
	ck_assert_int_eq(snap_commit(s, "c", "c", NULL, NULL, 0, 0, NULL), -EEXIST);
	ck_assert_int_eq(prepare(s, "c", "missing"), -ENOENT); /* the parent comes first */
	ck_assert_int_eq(snap_remove(s, "base", 0, NULL), -EBUSY);
	ck_assert_int_eq(snap_remove(s, "c", 0, NULL), 0);
	ck_assert_int_eq(snap_remove(s, "c", 0, NULL), -ENOENT);
	ck_assert_int_eq(snap_remove(s, "v", 0, NULL), 0);
	ck_assert_int_eq(snap_remove(s, "base", 0, NULL), 0);
	ck_assert(!exists("snapshots/1"));
	ck_assert(!exists("snapshots/2"));
}
END_TEST

START_TEST(test_mounts_options)
{
	struct snap_store *s cleanup_snap_store = reopen(NULL);
	struct snap_mount a cleanup_snap_mount = {.type = NULL};
	struct snap_mount v cleanup_snap_mount = {.type = NULL};
	char want[512];

	ck_assert_int_eq(prepare(s, "one", NULL), 0);
	ck_assert_int_eq(snap_commit(s, "base", "one", NULL, NULL, 0, 0, NULL), 0);
	ck_assert_int_eq(prepare(s, "two", "base"), 0);
	ck_assert_int_eq(snap_prepare(s, SNAP_VIEW, "view", "base", NULL, 0, NULL), 0);
	ck_assert_int_eq(snap_mounts(s, "two", &a, NULL), 0);
	(void)snprintf(want, sizeof(want),
		       "lowerdir=%s/snapshots/1/upper,upperdir=%s/snapshots/2/upper,workdir="
		       "%s/snapshots/2/work,ino_batch=5,redirect_dir=on,metacopy=on",
		       root, root, root);
	ck_assert_str_eq(a.type, "fuse.snapfs");
	ck_assert_str_eq(a.options, want);
	ck_assert_int_eq(snap_mounts(s, "view", &v, NULL), 0);
	/* the batches of two overlays never meet: lower, upper and two spare ones of "two" are 5 to
	 * 8 */
	(void)snprintf(want, sizeof(want),
		       "ro,lowerdir=%s/snapshots/1/upper,ino_batch=9,redirect_dir=on,metacopy=on",
		       root);
	ck_assert_str_eq(v.options, want);
	ck_assert_str_ne(a.source, v.source);
	/* a committed one keeps only what was written */
	ck_assert(exists("snapshots/1/upper"));
	ck_assert(!exists("snapshots/1/work"));
}
END_TEST

START_TEST(test_keys_are_bytes)
{
	static const char *const keys[] = {"default/58/extract-881043938-HMh5 sha256:e170", "a\nb",
					   "\xff\xfe", "../../x", "it's"};
	struct snap_store *s cleanup_snap_store = reopen(NULL);

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		struct snap_info info cleanup_snap_info = {.key = NULL};

		ck_assert_int_eq(prepare(s, keys[i], NULL), 0);
		ck_assert_int_eq(snap_stat(s, keys[i], &info, NULL), 0);
		ck_assert_str_eq(info.key, keys[i]);
	}
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		ck_assert_int_eq(snap_remove(s, keys[i], 0, NULL), 0);
}
END_TEST

START_TEST(test_private_whatever_the_umask)
{
	mode_t old = umask(0777);
	struct snap_store *s = reopen(NULL);
	char path[256];
	struct stat st;

	ck_assert_int_eq(prepare(s, "a", NULL), 0);
	snap_store_close(s);
	(void)umask(old);
	ck_assert_int_eq(stat(root, &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0700);
	(void)snprintf(path, sizeof(path), "%s/snapshots/1", root);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0700);
	(void)snprintf(path, sizeof(path), "%s/snapshots/1/upper", root);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0755);
}
END_TEST

START_TEST(test_labels)
{
	struct snap_store *s cleanup_snap_store = reopen(NULL);
	struct snap_info info cleanup_snap_info = {.key = NULL};
	struct snap_label two[] = {{(char[]){"a"}, (char[]){"1"}}, {(char[]){"b"}, (char[]){"2"}}};
	struct snap_label gone = {(char[]){"a"}, (char[]){""}};
	struct snap_label huge = {(char[]){"a"}, NULL};
	char value[SNAP_LABEL_MAX + 1];

	ck_assert_int_eq(prepare(s, "k", NULL), 0);
	ck_assert_int_eq(snap_set_labels(s, "k", two, 2, 0, NULL), 0);
	ck_assert_int_eq(snap_set_labels(s, "k", &gone, 1, 0, NULL), 0);
	ck_assert_int_eq(snap_stat(s, "k", &info, NULL), 0);
	ck_assert_uint_eq(info.n_labels, 1);
	ck_assert_str_eq(info.labels[0].key, "b");
	ck_assert_int_gt(info.updated, info.created);
	snap_info_release(&info);
	ck_assert_int_eq(snap_set_labels(s, "k", two, 1, SNAP_LABELS_REPLACE, NULL), 0);
	ck_assert_int_eq(snap_stat(s, "k", &info, NULL), 0);
	ck_assert_uint_eq(info.n_labels, 1);
	ck_assert_str_eq(info.labels[0].key, "a");
	memset(value, 'x', sizeof(value) - 1);
	value[sizeof(value) - 1] = '\0';
	huge.value = value;
	ck_assert_int_eq(snap_set_labels(s, "k", &huge, 1, 0, NULL), -EINVAL);
	ck_assert_int_eq(snap_set_labels(s, "none", two, 1, 0, NULL), -ENOENT);
}
END_TEST

static int count_one(void *ctx, const struct snap_info *info, struct err *err)
{
	(void)info;
	(void)err;
	++*(int *)ctx;
	return 0;
}

START_TEST(test_update_mask)
{
	struct snap_store *s cleanup_snap_store = reopen(NULL);
	struct snap_info info cleanup_snap_info = {.key = NULL};
	struct snap_label two[] = {{(char[]){"a.b"}, (char[]){"1"}},
				   {(char[]){"b"}, (char[]){"2"}}};
	struct snap_label other = {(char[]){"a.b"}, (char[]){"3"}};
	const char *one[] = {"labels.a.b", "labels.gone"}, *all = "labels", *bad = "parent";

	ck_assert_int_eq(snap_prepare(s, SNAP_ACTIVE, "k", NULL, two, 2, NULL), 0);
	ck_assert_int_eq(snap_update(s, "k", &other, 1, one, 2, NULL), 0);
	ck_assert_int_eq(snap_stat(s, "k", &info, NULL), 0);
	ck_assert_uint_eq(info.n_labels, 2);
	ck_assert_str_eq(info.labels[0].value, "3");
	ck_assert_int_gt(info.updated, info.created);
	snap_info_release(&info);
	ck_assert_int_eq(snap_update(s, "k", &two[1], 1, one, 1, NULL), 0); /* not given: goes */
	ck_assert_int_eq(snap_stat(s, "k", &info, NULL), 0);
	ck_assert_uint_eq(info.n_labels, 1);
	ck_assert_str_eq(info.labels[0].key, "b");
	snap_info_release(&info);
	ck_assert_int_eq(snap_update(s, "k", &other, 1, &all, 1, NULL), 0);
	ck_assert_int_eq(snap_update(s, "k", NULL, 0, &bad, 1, NULL), -EINVAL);
	ck_assert_int_eq(snap_stat(s, "k", &info, NULL), 0);
	ck_assert_uint_eq(info.n_labels, 1);
	ck_assert_str_eq(info.labels[0].key, "a.b");
	snap_info_release(&info);
	ck_assert_int_eq(snap_update(s, "k", NULL, 0, NULL, 0, NULL), 0);
	ck_assert_int_eq(snap_stat(s, "k", &info, NULL), 0);
	ck_assert_uint_eq(info.n_labels, 0);
	ck_assert_int_eq(snap_update(s, "none", NULL, 0, NULL, 0, NULL), -ENOENT);
}
END_TEST

START_TEST(test_owners)
{
	struct snap_store *mine = reopen(NULL), *theirs = NULL;
	int count = 0;

	ck_assert_int_eq(snap_store_open(root, &theirs, NULL), 0);
	snap_store_set_owner(theirs, "somebody");
	ck_assert_int_eq(prepare(mine, "mine", NULL), 0);
	ck_assert_int_eq(prepare(theirs, "theirs", NULL), 0);
	ck_assert_int_eq(snap_commit(theirs, "committed", "theirs", NULL, NULL, 0, 0, NULL), 0);
	ck_assert_int_eq(snap_walk(theirs, NULL, count_one, &count, NULL), 0);
	ck_assert_int_eq(count, 1);
	ck_assert_int_eq(snap_walk(mine, NULL, count_one, &count, NULL), 0);
	ck_assert_int_eq(count, 1 + 2);
	ck_assert_int_eq(prepare(theirs, "mine", NULL), -EEXIST); /* one name space */
	snap_store_close(theirs);
	snap_store_close(mine);
}
END_TEST

START_TEST(test_store_of_version_1)
{
	struct snap_store *s = reopen(NULL);
	struct snap_info info cleanup_snap_info = {.key = NULL};
	char path[256];
	struct db *db;

	ck_assert_int_eq(prepare(s, "old", NULL), 0);
	snap_store_close(s);
	(void)snprintf(path, sizeof(path), "%s/meta.db", root);
	ck_assert_int_eq(db_open(path, &db, NULL), 0);
	ck_assert_int_eq(db_run(db, "ALTER TABLE snapshots DROP COLUMN owner", DB_NONE, NULL), 0);
	ck_assert_int_eq(db_run(db, "DROP TABLE layer_uses", DB_NONE, NULL), 0);
	ck_assert_int_eq(db_run(db, "ALTER TABLE manifest_layers DROP COLUMN whole", DB_NONE, NULL),
			 0);
	ck_assert_int_eq(db_run(db, "ALTER TABLE layer_blobs DROP COLUMN kept", DB_NONE, NULL), 0);
	ck_assert_int_eq(db_run(db, "ALTER TABLE layer_blobs DROP COLUMN level", DB_NONE, NULL), 0);
	ck_assert_int_eq(db_run(db, "PRAGMA user_version = 1", DB_NONE, NULL), 0);
	db_close(db);
	s = reopen(NULL);
	ck_assert_int_eq(snap_stat(s, "old", &info, NULL), 0);
	ck_assert_int_eq(prepare(s, "new", NULL), 0);
	snap_store_close(reopen(s)); /* nothing to do the second time */
}
END_TEST

START_TEST(test_usage)
{
	struct snap_store *s cleanup_snap_store = reopen(NULL);
	struct snap_usage empty, u;
	char path[256], other[256];
	int fd;

	ck_assert_int_eq(prepare(s, "k", NULL), 0);
	ck_assert_int_eq(snap_usage(s, "k", &empty, NULL), 0);
	ck_assert_uint_eq(empty.inodes, 1);
	(void)snprintf(path, sizeof(path), "%s/snapshots/1/upper/f", root);
	(void)snprintf(other, sizeof(other), "%s/snapshots/1/upper/g", root);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(posix_fallocate(fd, 0, 65536), 0);
	ck_assert_int_eq(close(fd), 0);
	ck_assert_int_eq(link(path, other), 0);
	ck_assert_int_eq(snap_usage(s, "k", &u, NULL), 0);
	ck_assert_uint_eq(u.inodes, 2); /* two names, one inode */
	ck_assert_uint_eq(u.size - empty.size, 65536);
	ck_assert_int_eq(snap_commit(s, "c", "k", NULL, NULL, 0, 0, NULL), 0);
	ck_assert_int_eq(unlink(path), 0); /* as it was at the commit */
	ck_assert_int_eq(snap_usage(s, "c", &empty, NULL), 0);
	ck_assert_uint_eq(empty.size, u.size);
	ck_assert_int_eq(snap_prepare(s, SNAP_VIEW, "v", "c", NULL, 0, NULL), 0);
	ck_assert_int_eq(snap_usage(s, "v", &u, NULL), 0);
	ck_assert_uint_eq(u.inodes + u.size, 0);
}
END_TEST

static void worker(int n)
{
	struct snap_store *s = NULL;
	char key[32], name[32];

	if (snap_store_open(root, &s, NULL) < 0)
		_exit(2);
	for (int i = 0; i < 20; i++) {
		(void)snprintf(key, sizeof(key), "k-%d-%d", n, i);
		(void)snprintf(name, sizeof(name), "c-%d-%d", n, i);
		if (prepare(s, key, NULL) < 0 ||
		    snap_commit(s, name, key, NULL, NULL, 0, 0, NULL) < 0)
			_exit(3);
		if (i % 2 && snap_remove(s, name, 0, NULL) < 0)
			_exit(4);
		/* one name for all: exactly one wins, the others are told */
		(void)snprintf(key, sizeof(key), "shared-%d", i);
		if (prepare(s, key, NULL) == 0)
			continue;
	}
	snap_store_close(s);
	_exit(0);
}

START_TEST(test_eight_processes)
{
	struct snap_store *s cleanup_snap_store = NULL;
	int count = 0, status;
	pid_t pids[8];

	for (int i = 0; i < 8; i++) {
		pids[i] = fork();
		ck_assert_int_ge(pids[i], 0);
		if (pids[i] == 0)
			worker(i);
	}
	for (int i = 0; i < 8; i++) {
		ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
		ck_assert_int_eq(status, 0);
	}
	s = reopen(NULL);
	ck_assert_int_eq(snap_walk(s, NULL, count_one, &count, NULL), 0);
	ck_assert_int_eq(count, 8 * 10 + 20);
}
END_TEST

static int count_folders(const char *name)
{
	char path[256];
	DIR *dir cleanup_closedir = NULL;
	struct dirent *d;
	int n = 0;

	(void)snprintf(path, sizeof(path), "%s/%s", root, name);
	dir = opendir(path);
	ck_assert_ptr_nonnull(dir);
	while ((d = readdir(dir)))
		n += d->d_name[0] != '.';
	return n;
}

START_TEST(test_killed_anywhere)
{
	struct snap_store *s = NULL;
	int rows = 0;

	for (int round = 0; round < 40; round++) {
		pid_t pid = fork();
		int status;

		ck_assert_int_ge(pid, 0);
		if (pid == 0) {
			char key[32];

			if (snap_store_open(root, &s, NULL) < 0)
				_exit(2);
			for (int i = 0;; i++) {
				(void)snprintf(key, sizeof(key), "k%d-%d", round, i);
				if (prepare(s, key, NULL) < 0)
					_exit(3);
				if (i % 3 == 0 && snap_remove(s, key, 0, NULL) < 0)
					_exit(4);
			}
		}
		(void)usleep(2000 + (useconds_t)round * 700); /* where it hits is up to chance */
		ck_assert_int_eq(kill(pid, SIGKILL), 0);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert(WIFSIGNALED(status));
	}
	s = reopen(NULL);
	ck_assert_int_eq(prepare(s, "after", NULL), 0);
	ck_assert_int_eq(snap_walk(s, NULL, count_one, &rows, NULL), 0);
	ck_assert_int_eq(count_folders("tmp"), 0);
	/* every row has its folder; a kill may leave a folder without a row, which gc takes */
	ck_assert_int_ge(count_folders("snapshots"), rows);
	snap_store_close(s);
}
END_TEST

static int rename_one(void *ctx, const struct snap_info *info, struct err *err)
{
	struct snap_mount m cleanup_snap_mount = {.type = NULL};
	struct snap_info again cleanup_snap_info = {.key = NULL};
	int r = snap_stat(ctx, info->key, &again, err);

	ck_assert_int_eq(r, 0);
	ck_assert_int_eq(again.updated, info->updated);
	return snap_mounts(ctx, info->key, &m, err);
}

START_TEST(test_calls_inside_walk)
{
	struct snap_store *s cleanup_snap_store = reopen(NULL);

	ck_assert_int_eq(prepare(s, "a", NULL), 0);
	ck_assert_int_eq(prepare(s, "b", NULL), 0);
	ck_assert_int_eq(snap_walk(s, NULL, rename_one, s, NULL), 0);
}
END_TEST

START_TEST(test_newer_store_is_refused)
{
	struct snap_store *s = reopen(NULL);
	struct err err = ERR_INIT;
	char path[256];
	struct db *db;

	snap_store_close(s);
	(void)snprintf(path, sizeof(path), "%s/meta.db", root);
	ck_assert_int_eq(db_open(path, &db, NULL), 0);
	ck_assert_int_eq(db_run(db, "PRAGMA user_version = 99", DB_NONE, NULL), 0);
	db_close(db);
	s = NULL;
	ck_assert_int_eq(snap_store_open(root, &s, &err), -EPROTONOSUPPORT);
	ck_assert_ptr_nonnull(strstr(err.msg, "version 99"));
	ck_assert_ptr_null(s);
}
END_TEST

START_TEST(test_damaged_database)
{
	struct snap_store *s = reopen(NULL);
	char path[256];
	int fd;

	snap_store_close(s);
	(void)snprintf(path, sizeof(path), "%s/meta.db-wal", root);
	(void)unlink(path);
	(void)snprintf(path, sizeof(path), "%s/meta.db", root);
	fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(io_write_full(fd, "this is no database, is it? no.", 31), 0);
	ck_assert_int_eq(close(fd), 0);
	s = NULL;
	ck_assert_int_eq(snap_store_open(root, &s, NULL), -EUCLEAN);
}
END_TEST

START_TEST(test_images_empty)
{
	struct snap_store *s cleanup_snap_store = reopen(NULL);
	struct snap_image_info info cleanup_snap_image_info = {.ref = NULL};

	ck_assert_int_eq(snap_image_find(s, "x", &info, NULL), -ENOENT);
	ck_assert_int_eq(snap_image_remove(s, "x", NULL), -ENOENT);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("snapshotter");
	TCase *tc = tcase_create("store");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, test_semantics);
	tcase_add_test(tc, test_mounts_options);
	tcase_add_test(tc, test_keys_are_bytes);
	tcase_add_test(tc, test_private_whatever_the_umask);
	tcase_add_test(tc, test_labels);
	tcase_add_test(tc, test_update_mask);
	tcase_add_test(tc, test_owners);
	tcase_add_test(tc, test_store_of_version_1);
	tcase_add_test(tc, test_usage);
	tcase_add_test(tc, test_eight_processes);
	tcase_add_test(tc, test_killed_anywhere);
	tcase_add_test(tc, test_calls_inside_walk);
	tcase_add_test(tc, test_newer_store_is_refused);
	tcase_add_test(tc, test_damaged_database);
	tcase_add_test(tc, test_images_empty);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
