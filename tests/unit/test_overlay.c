/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "overlay/fs.h"
#include "overlay/namei.h"
#include "overlay/ops.h"
#include "overlay/whiteout.h"

/*
 * The engine without a mount: requests as the kernel would send them, on directories of an
 * ordinary user, and after each story a second opening that must see the same.
 */
static char top[] = "/tmp/test-overlay-XXXXXX";
static int top_fd = -1;
static struct ovl_fs *fs;
static struct ovl_cred cred;
static uint64_t batch_size; /* of the next opening; 0: what it always is */
static uint64_t first_batch; /* of the next opening */
static const char *own = ""; /* upper and work of the next opening: what their names end with */

static void put_file(const char *path, const char *text, mode_t mode)
{
	cleanup_close int fd = openat(top_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(io_write_full(fd, text, strlen(text)), 0);
	ck_assert_int_eq(fchmod(fd, mode), 0);
}

static void put_dir(const char *path)
{
	ck_assert_int_eq(io_mkdir_p(top_fd, path, 0755), 0);
}

static void open_fs_with(unsigned int n_lowers, bool redirect)
{
	char low[2][64], up[64], work[64];
	char *lowers[2] = {low[0], low[1]};
	struct ovl_config c = {.lowers = lowers,
			       .n_lowers = n_lowers,
			       .upper = up,
			       .work = work,
			       .redirect_dir = redirect,
			       .batch_size = batch_size,
			       .ino_batch = first_batch,
			       .volatile_ = true};
	struct err err = ERR_INIT;

	snprintf(low[0], sizeof(low[0]), "%s/%s", top, n_lowers > 1 ? "l2" : "l1");
	snprintf(low[1], sizeof(low[1]), "%s/l1", top);
	snprintf(up, sizeof(up), "%s/u%s", top, own);
	snprintf(work, sizeof(work), "%s/w%s", top, own);
	ck_assert_msg(ovl_fs_open(&c, &fs, &err) == 0, "%s: %s", err.where, err.msg);
}

static void reopen(void)
{
	unsigned int n = (unsigned int)fs->n_layers;

	ovl_fs_close(fs);
	open_fs_with(n, true);
}

static void setup(void)
{
	strcpy(top + strlen(top) - 6, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(top));
	top_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(top_fd, 0);
	(void)umask(0);
	put_dir("l1/d/sub");
	put_dir("l2/d");
	put_dir("u");
	put_dir("w");
	put_file("l1/f", "lower", 0640);
	put_file("l1/d/a", "aaa", 0644);
	put_file("l1/d/sub/b", "bbb", 0644);
	put_file("l1/h1", "hard", 0644);
	ck_assert_int_eq(linkat(top_fd, "l1/h1", top_fd, "l1/h2", 0), 0);
	put_file("l2/d/top", "ttt", 0644);
	cred = (struct ovl_cred){.uid = geteuid(), .gid = getegid(), .umask = 022};
}

static void teardown(void)
{
	ovl_fault_set(0, 0);
	batch_size = first_batch = 0;
	own = "";
	ovl_fs_close(fs);
	fs = NULL;
	(void)close(top_fd);
	ck_assert_int_eq(io_remove_tree(AT_FDCWD, top), 0);
}

/* Walks @path as the kernel does, look-up by look-up; the node's look-up is the caller's. */
static int walk(const char *path, struct ovl_node **ret, struct stat *st)
{
	struct ovl_node *n = fs->root, *next;
	char name[300];
	int r;

	ck_assert_int_eq(ovl_getattr(fs, n, st), 0);
	while (*path) {
		size_t len = strcspn(path, "/");

		memcpy(name, path, len);
		name[len] = '\0';
		path += len + (path[len] == '/');
		r = ovl_lookup(fs, n, name, &next, st);
		if (n != fs->root)
			ovl_node_forget(fs, n, 1);
		if (r < 0)
			return r;
		n = next;
	}
	*ret = n;
	return 0;
}

static struct ovl_node *get(const char *path)
{
	struct ovl_node *n = NULL;
	struct stat st;
	int r = walk(path, &n, &st);

	ck_assert_msg(r == 0, "%s: %s", path, strerror(-r));
	return n;
}

static void put(struct ovl_node *n)
{
	if (n != fs->root)
		ovl_node_forget(fs, n, 1);
}

static bool exists(const char *path)
{
	struct ovl_node *n;
	struct stat st;
	int r = walk(path, &n, &st);

	ck_assert(r == 0 || r == -ENOENT);
	if (r == 0)
		put(n);
	return r == 0;
}

static struct stat stat_of(const char *path)
{
	struct ovl_node *n;
	struct stat st;

	ck_assert_int_eq(walk(path, &n, &st), 0);
	put(n);
	return st;
}

static void read_all(struct ovl_file *f, char *buf, size_t size)
{
	struct ovl_span s;
	ssize_t n;

	ck_assert_int_eq(ovl_read_map(fs, f, 0, size - 1, &s), 0);
	n = s.fd < 0 ? 0 : pread(s.fd, buf, s.len, s.off);
	ck_assert_int_ge(n, 0);
	buf[n] = '\0';
}

static void expect_text(const char *path, const char *text)
{
	struct ovl_node *n = get(path);
	struct ovl_file *f;
	char buf[64];

	ck_assert_int_eq(ovl_open(fs, n, O_RDONLY, &f), 0);
	read_all(f, buf, sizeof(buf));
	ck_assert_str_eq(buf, text);
	ovl_close(fs, f);
	put(n);
}

/* The fault that the next operation meets: 0 none. Only the operation's own calls count. */
static unsigned int fault_at, fault_calls;

static void arm(void)
{
	if (fault_at)
		ovl_fault_set(fault_at, EIO);
}

static int disarm(int r)
{
	fault_calls = ovl_fault_count();
	ovl_fault_set(0, 0);
	return r;
}

static int overwrite(const char *path, const char *text)
{
	struct ovl_node *n = get(path);
	struct ovl_file *f;
	int r;

	arm();
	r = disarm(ovl_open(fs, n, O_WRONLY, &f));
	if (r == 0) {
		ck_assert_int_eq(io_pwrite_full(ovl_write_fd(fs, f), text, strlen(text), 0), 0);
		ovl_close(fs, f);
	}
	put(n);
	return r;
}

static int make(const char *dir, const char *name, mode_t mode)
{
	const struct ovl_new what = {.mode = mode};
	struct ovl_node *parent = get(dir), *n;
	struct stat st;
	int r;

	arm();
	r = disarm(ovl_create(fs, parent, name, &what, &cred, &n, &st, 0, NULL));
	if (r == 0)
		put(n);
	put(parent);
	return r;
}

static int unlink_in(const char *dir, const char *name)
{
	struct ovl_node *n = get(dir);
	int r;

	arm();
	r = disarm(ovl_unlink(fs, n, name));
	put(n);
	return r;
}

static int rename_in(const char *dir, const char *name, const char *to, const char *to_name,
		     unsigned int flags)
{
	struct ovl_node *a = get(dir), *b = get(to);
	int r;

	arm();
	r = disarm(ovl_rename(fs, a, name, b, to_name, flags));
	put(a);
	put(b);
	return r;
}

static bool in_upper(const char *name)
{
	char path[300];

	snprintf(path, sizeof(path), "u/%s", name);
	return faccessat(top_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

struct names {
	char text[512];
	unsigned int n;
	uint64_t stop_at, next; /* stops behind that many */
};

static int collect(void *ctx, const struct ovl_dirent *e)
{
	struct names *c = ctx;

	if (strcmp(e->name, ".") != 0 && strcmp(e->name, "..") != 0) {
		snprintf(c->text + strlen(c->text), sizeof(c->text) - strlen(c->text), "%s ",
			 e->name);
		c->n++;
	}
	c->next = e->next;
	return c->stop_at && c->n >= c->stop_at ? 1 : 0;
}

static unsigned int count_names(const char *path)
{
	struct ovl_node *n = get(path);
	struct names c = {.n = 0};

	ck_assert_int_eq(ovl_dir_read(fs, n, 0, collect, &c), 0);
	put(n);
	return c.n;
}

START_TEST(test_merge)
{
	open_fs_with(2, true);
	expect_text("f", "lower");
	expect_text("d/top", "ttt");
	expect_text("d/sub/b", "bbb");
	ck_assert_uint_eq(count_names("d"), 3);
	ck_assert_uint_eq(count_names(""), 4);
	ck_assert(!exists("none"));
}
END_TEST

START_TEST(test_marks_of_lower_directories)
{
	put_file("l2/.wh.f", "", 0);
	put_file("l2/d/.wh..wh..opq", "", 0);
	put_file("l2/d/.wh.sub", "", 0);
	open_fs_with(2, true);
	ck_assert(!exists("f"));
	ck_assert(!exists("d/a"));
	ck_assert(!exists(".wh.f"));
	ck_assert_uint_eq(count_names("d"), 1);
	expect_text("d/top", "ttt");
}
END_TEST

START_TEST(test_copy_up_keeps)
{
	const struct timespec ts[2] = {{.tv_sec = 1000, .tv_nsec = 5},
				       {.tv_sec = 2000, .tv_nsec = 7}};
	struct stat before, after;
	struct ovl_node *n;
	char value[8];

	ck_assert_int_eq(utimensat(top_fd, "l1/f", ts, 0), 0);
	{
		char path[64];

		snprintf(path, sizeof(path), "%s/l1/f", top);
		ck_assert_int_eq(setxattr(path, "user.k", "v", 1, 0), 0);
	}
	open_fs_with(1, true);
	n = get("f");
	ck_assert_int_eq(ovl_getattr(fs, n, &before), 0);
	ck_assert_int_eq(ovl_copy_up(fs, n, OVL_COPY_ALL), 0);
	ck_assert_int_eq(ovl_getattr(fs, n, &after), 0);
	ck_assert_uint_eq(before.st_ino, after.st_ino);
	ck_assert_uint_eq(after.st_mode, S_IFREG | 0640);
	ck_assert_int_eq(after.st_mtim.tv_sec, 2000);
	ck_assert_int_eq(after.st_mtim.tv_nsec, 7);
	ck_assert_int_eq((int)ovl_getxattr(fs, n, "user.k", value, sizeof(value)), 1);
	/* The union's own marks do not show. */
	ck_assert_int_eq((int)ovl_listxattr(fs, n, NULL, 0), (int)sizeof("user.k"));
	put(n);
	reopen();
	ck_assert_uint_eq(stat_of("f").st_ino, before.st_ino);
	expect_text("f", "lower");
}
END_TEST

START_TEST(test_reader_sees_the_copy)
{
	struct ovl_node *n;
	struct ovl_file *f;
	char buf[16];

	open_fs_with(1, true);
	n = get("f");
	ck_assert_int_eq(ovl_open(fs, n, O_RDONLY, &f), 0);
	ck_assert_int_eq(overwrite("f", "LOWER"), 0);
	read_all(f, buf, sizeof(buf));
	ck_assert_str_eq(buf, "LOWER");
	ck_assert_int_eq(ovl_write_fd(fs, f), -EBADF);
	ovl_close(fs, f);
	put(n);
}
END_TEST

START_TEST(test_truncate_copies_no_data)
{
	struct stat attr = {.st_size = 0}, st;
	struct ovl_node *n;

	open_fs_with(1, true);
	n = get("f");
	ck_assert_int_eq(ovl_setattr(fs, n, &attr, OVL_SET_SIZE, NULL, &cred, &st), 0);
	ck_assert_int_eq(st.st_size, 0);
	put(n);
}
END_TEST

START_TEST(test_unlink_leaves_whiteouts_only_where_needed)
{
	open_fs_with(1, true);
	ck_assert_int_eq(make("", "new", S_IFREG | 0644), 0);
	ck_assert_int_eq(unlink_in("", "new"), 0);
	ck_assert(!in_upper("new"));
	ck_assert_int_eq(unlink_in("", "f"), 0);
	ck_assert(in_upper("f"));
	ck_assert(!exists("f"));
	ck_assert_int_eq(unlink_in("", "f"), -ENOENT);
	reopen();
	ck_assert(!exists("f"));
	ck_assert_int_eq(make("", "f", S_IFREG | 0600), 0);
	ck_assert_uint_eq(stat_of("f").st_mode, S_IFREG | 0600);
}
END_TEST

START_TEST(test_directory_made_anew_is_opaque)
{
	open_fs_with(1, true);
	ck_assert_int_eq(ovl_rmdir(fs, fs->root, "d"), -ENOTEMPTY);
	ck_assert_int_eq(unlink_in("d/sub", "b"), 0);
	ck_assert_int_eq(unlink_in("d", "a"), 0);
	ck_assert_int_eq(unlink_in("d", "sub"), -EISDIR);
	{
		struct ovl_node *d = get("d");

		ck_assert_int_eq(ovl_rmdir(fs, d, "sub"), 0);
		put(d);
	}
	ck_assert_int_eq(ovl_rmdir(fs, fs->root, "d"), 0);
	ck_assert_int_eq(make("", "d", S_IFDIR | 0755), 0);
	ck_assert_uint_eq(count_names("d"), 0);
	reopen();
	ck_assert_uint_eq(count_names("d"), 0);
	ck_assert(!exists("d/a"));
}
END_TEST

START_TEST(test_rename_of_a_lower_directory)
{
	uint64_t ino;

	open_fs_with(2, false);
	ck_assert_int_eq(rename_in("", "d", "", "e", 0), -EXDEV);
	ovl_fs_close(fs);
	open_fs_with(2, true);
	ino = stat_of("d/sub").st_ino;
	ck_assert_int_eq(rename_in("", "d", "", "e", 0), 0);
	ck_assert_int_eq(make("", "box", S_IFDIR | 0755), 0);
	ck_assert_int_eq(rename_in("", "e", "box", "e", 0), 0);
	for (int i = 0; i < 2; i++) {
		ck_assert(!exists("d"));
		ck_assert(!exists("e"));
		expect_text("box/e/sub/b", "bbb");
		expect_text("box/e/top", "ttt");
		ck_assert_uint_eq(stat_of("box/e/sub").st_ino, ino);
		reopen();
	}
}
END_TEST

START_TEST(test_rename_rules)
{
	open_fs_with(2, true);
	ck_assert_int_eq(rename_in("", "f", "", "d", 0), -EISDIR);
	ck_assert_int_eq(rename_in("", "d", "", "f", 0), -ENOTDIR);
	ck_assert_int_eq(rename_in("", "f", "", "h1", RENAME_NOREPLACE), -EEXIST);
	ck_assert_int_eq(rename_in("", "f", "", "x", RENAME_WHITEOUT), -EINVAL);
	ck_assert_int_eq(rename_in("", "f", "", ".wh.x", 0), -EINVAL);
	ck_assert_int_eq(rename_in("", "f", "", "x", RENAME_EXCHANGE), -ENOENT);
	ck_assert_int_eq(rename_in("", "f", "", "d", RENAME_EXCHANGE), 0);
	reopen();
	expect_text("d", "lower");
	expect_text("f/top", "ttt");
}
END_TEST

START_TEST(test_hard_links_survive_copy_up)
{
	open_fs_with(1, true);
	ck_assert_uint_eq(stat_of("h1").st_ino, stat_of("h2").st_ino);
	ck_assert_int_eq(overwrite("h1", "HARD"), 0);
	for (int i = 0; i < 2; i++) {
		expect_text("h2", "HARD");
		ck_assert_uint_eq(stat_of("h1").st_ino, stat_of("h2").st_ino);
		ck_assert_uint_eq(stat_of("h2").st_nlink, 2);
		reopen();
	}
	ck_assert_int_eq(unlink_in("", "h1"), 0);
	for (int i = 0; i < 2; i++) {
		ck_assert(!exists("h1"));
		expect_text("h2", "HARD");
		ck_assert_uint_eq(stat_of("h2").st_nlink, 1);
		reopen();
	}
	ck_assert_int_eq(unlink_in("", "h2"), 0);
	ck_assert(!exists("h2"));
}
END_TEST

/* An ordinary user's marks, which symlinks cannot have, also where root runs this. */
static void use_user_marks(void)
{
	static const char *const names[OVL_MARK_COUNT] = {"opaque",	 "redirect",   "impure",
							  "snap.origin", "snap.nlink", "metacopy",
							  "protattr",	 "snap.place"};

	for (int i = 0; i < OVL_MARK_COUNT; i++)
		snprintf(fs->mark[i], sizeof(fs->mark[i]), "%s%s", OVL_XATTR_USER, names[i]);
}

START_TEST(test_symlink_keeps_its_node_without_marks)
{
	struct ovl_node *n, *again;
	uint64_t upper_ino, number;
	struct stat st, moved;

	ck_assert_int_eq(symlinkat("f", top_fd, "l1/s"), 0);
	ck_assert_int_eq(symlinkat("f", top_fd, "l1/s1"), 0);
	ck_assert_int_eq(linkat(top_fd, "l1/s1", top_fd, "l1/s2", 0), 0);
	open_fs_with(1, true);
	use_user_marks();
	n = get("s");
	ck_assert_int_eq(ovl_getattr(fs, n, &st), 0);
	/* Copied up and moved twice while the kernel knows it: one node, wherever it is found. */
	ck_assert_int_eq(rename_in("", "s", "d", "s", 0), 0);
	again = get("d/s");
	ck_assert_ptr_eq(again, n);
	put(again);
	upper_ino = n->upper_ino;
	ck_assert(ovl_origins_find(fs->numbers, fs->upper_batch, upper_ino, &number));
	put_file("u/other", "x", 0644);
	ck_assert_int_eq(rename_in("d", "s", "", "other", 0), 0);
	ck_assert_int_eq(ovl_getattr(fs, n, &moved), 0);
	ck_assert_uint_eq(moved.st_ino, st.st_ino);
	ck_assert_int_eq(unlink_in("", "other"), 0);
	ck_assert(!exists("other") && !exists("d/s") && !exists("s"));
	put(n);
	/* The number went with the object: whatever has its inode next is another one. */
	ck_assert(!ovl_origins_find(fs->numbers, fs->upper_batch, upper_ino, &number));
	/* Hard links of one, over a remount too. */
	ck_assert_int_eq(rename_in("", "s1", "", "s3", 0), 0);
	ck_assert_uint_eq(stat_of("s3").st_ino, stat_of("s2").st_ino);
	ovl_fs_close(fs);
	open_fs_with(1, true);
	use_user_marks();
	ck_assert_uint_eq(stat_of("s3").st_ino, stat_of("s2").st_ino);
}
END_TEST

START_TEST(test_refused)
{
	struct ovl_node *n;
	char name[257];

	memset(name, 'n', 256);
	name[256] = '\0';
	open_fs_with(1, true);
	ck_assert_int_eq(make("", "w", S_IFCHR), -EPERM);
	ck_assert_int_eq(make("", name, S_IFREG | 0644), -ENAMETOOLONG);
	ck_assert_int_eq(make("", "f", S_IFREG | 0644), -EEXIST);
	ck_assert_int_eq(make("", ".wh.f", S_IFREG | 0644), -EINVAL);
	name[255] = '\0';
	ck_assert_int_eq(make("", name, S_IFREG | 0644), 0);
	n = get("f");
	ck_assert_int_eq(ovl_setxattr(fs, n, OVL_XATTR_OVERRIDE, "0:0:0", 5, 0, &cred), -EPERM);
	ck_assert_int_eq(ovl_setxattr(fs, n, "user.overlay.opaque", "y", 1, 0, &cred), 0);
	ck_assert_int_eq((int)ovl_getxattr(fs, n, "user.overlay.opaque", name, 8), 1);
	ck_assert_int_eq(ovl_removexattr(fs, n, "user.overlay.opaque"), 0);
	ck_assert_int_eq(ovl_removexattr(fs, n, "user.overlay.opaque"), -ENODATA);
	put(n);
}
END_TEST

START_TEST(test_unlinked_but_open)
{
	struct ovl_node *n;
	struct ovl_file *f;
	struct stat st, attr = {.st_mode = 0600};

	open_fs_with(1, true);
	n = get("f");
	ck_assert_int_eq(ovl_open(fs, n, O_RDONLY, &f), 0);
	ck_assert_int_eq(unlink_in("", "f"), 0);
	ck_assert_int_eq(ovl_getattr(fs, n, &st), 0);
	ck_assert_uint_eq(st.st_nlink, 0);
	/* It never was in the upper: it is copied up without a name. */
	ck_assert_int_eq(ovl_setattr(fs, n, &attr, OVL_SET_MODE, NULL, &cred, &st), 0);
	ck_assert_uint_eq(st.st_mode, S_IFREG | 0600);
	ck_assert_uint_eq(st.st_nlink, 0);
	ck_assert(!exists("f"));
	ovl_close(fs, f);
	put(n);
}
END_TEST

START_TEST(test_listing_goes_on_where_it_stopped)
{
	struct ovl_node *n;
	struct names c = {.stop_at = 1};
	unsigned int seen = 0;

	open_fs_with(2, true);
	n = get("d");
	for (uint64_t off = 0;; off = c.next) {
		c.n = 0;
		ck_assert_int_eq(ovl_dir_read(fs, n, off, collect, &c), 0);
		if (c.n == 0)
			break;
		seen += c.n;
		/* What goes meanwhile does not move what is to come. */
		if (seen == 1)
			(void)!unlink_in("d", strtok(c.text, " "));
	}
	ck_assert_uint_eq(seen, 3);
	put(n);
}
END_TEST

/* Deeper than any path may be long. */
START_TEST(test_depth)
{
	const struct ovl_new what = {.mode = S_IFDIR | 0755};
	struct ovl_node *n, *next;
	struct stat st;
	char name[200];

	memset(name, 'x', 199);
	name[199] = '\0';
	open_fs_with(1, true);
	n = fs->root;
	for (int i = 0; i < 60; i++) {
		ck_assert_int_eq(ovl_create(fs, n, name, &what, &cred, &next, &st, 0, NULL), 0);
		put(n);
		n = next;
	}
	ck_assert_int_eq(ovl_getattr(fs, n, &st), 0);
	put(n);
}
END_TEST

/* One operation that a fault may hit. Returns 0 or -errno. */
typedef int (*story_fn)(void);

static int story_copy_up(void)
{
	return overwrite("d/a", "AAA");
}

static int story_create(void)
{
	return make("d", "new", S_IFREG | 0644);
}

static int story_unlink(void)
{
	return unlink_in("d", "a");
}

static int story_rename(void)
{
	return rename_in("d", "a", "", "moved", 0);
}

static int story_rename_dir(void)
{
	return rename_in("", "d", "", "moved", 0);
}

static int story_unlink_link(void)
{
	return unlink_in("", "h1");
}

/*
 * The n-th call fails, for every n: the operation says so, nothing is half done, and the next
 * attempt succeeds.
 */
static void fault_story(story_fn run, const char *gone, const char *there)
{
	for (unsigned int n = 1;; n++) {
		bool was_gone = gone && exists(gone), was_there = there && exists(there);
		int r;

		fault_at = n;
		r = run();
		fault_at = 0;
		if (r == 0 && fault_calls < n)
			return; /* beyond its last call: it went through */
		if (r < 0) {
			ck_assert_int_eq(r, -EIO);
			if (gone)
				ck_assert(exists(gone) == was_gone);
			if (there)
				ck_assert(exists(there) == was_there);
			reopen();
			if (gone)
				ck_assert(exists(gone) == was_gone);
			if (there)
				ck_assert(exists(there) == was_there);
			continue;
		}
		/* A call whose failure does not matter: back to the start, on to the next. */
		teardown();
		setup();
		open_fs_with(1, true);
	}
}

START_TEST(test_faults)
{
	static const struct {
		story_fn run;
		const char *gone, *there;
	} stories[] = {
		{story_copy_up, NULL, "d/a"},	  {story_create, NULL, "d/new"},
		{story_unlink, "d/a", NULL},	  {story_rename, "d/a", "moved"},
		{story_rename_dir, "d", "moved"}, {story_unlink_link, "h1", "h2"},
	};

	open_fs_with(1, true);
	fault_story(stories[_i].run, stories[_i].gone, stories[_i].there);
	if (stories[_i].gone)
		ck_assert(!exists(stories[_i].gone));
	if (stories[_i].there)
		ck_assert(exists(stories[_i].there));
}
END_TEST

START_TEST(test_override)
{
	struct stat st = {.st_mode = S_IFREG | 0600};

	ck_assert(ovl_override_parse("1:2:0754", 8, &st));
	ck_assert_uint_eq(st.st_uid, 1);
	ck_assert_uint_eq(st.st_gid, 2);
	ck_assert_uint_eq(st.st_mode, S_IFREG | 0754);
	ck_assert(ovl_override_parse("3:4:755:file", 12, &st));
	ck_assert(!ovl_override_parse("", 0, &st));
	ck_assert(!ovl_override_parse("1:2", 3, &st));
	ck_assert(!ovl_override_parse("1:2:755x", 8, &st));
	ck_assert_uint_eq(st.st_uid, 3);
}
END_TEST

START_TEST(test_acl)
{
	/* u::rwx g::r-x m::rwx o::r-- , little endian */
	static const unsigned char acl[] = {
		2,   0,	  0,	0, 1, 0, 7,   0,   255, 255, 255,  255, 4, 0, 5,   0,	255, 255,
		255, 255, 0x10, 0, 7, 0, 255, 255, 255, 255, 0x20, 0,	4, 0, 255, 255, 255, 255};
	cleanup_free void *out = NULL;
	mode_t mode = S_IFREG | 0640;
	size_t len = 0;

	ck_assert_int_eq(ovl_acl_inherit(acl, sizeof(acl), &mode, &out, &len), 0);
	ck_assert_uint_eq(mode, S_IFREG | 0640);
	ck_assert_uint_eq(len, sizeof(acl));
	ck_assert_ptr_nonnull(out);
	ck_assert_int_eq(ovl_acl_inherit(acl, 3, &mode, &out, &len), -EINVAL);
	ck_assert_int_eq(ovl_acl_inherit(acl, 12, &mode, &out, &len), -EINVAL);
}
END_TEST

/* A batch of numbers is used up: the next one goes on, its marks are believed, and no other begins.
 */
START_TEST(test_batches)
{
	uint64_t n, last = 0;
	int fd, r;

	batch_size = 5;
	open_fs_with(1, true);
	for (unsigned int i = 0; (r = ovl_number_fresh(fs->numbers, &n)) == 0; i++) {
		ck_assert_uint_lt(i, 9);
		ck_assert_uint_gt(n, last);
		ck_assert_uint_eq(n >> 32, fs->upper_batch + (i < 4 ? 1 : 2));
		last = n;
	}
	ck_assert_int_eq(r, -EOVERFLOW);
	ck_assert_uint_eq(last, ((uint64_t)fs->upper_batch + 2) << 32 | 4);
	put_file("u/x", "x", 0600);
	fd = openat(top_fd, "u", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ovl_origin_set(fs, fd, "x", last, 0), 0);
	ck_assert_int_eq(ovl_origin_get(fs, fd, "x", &n), 0);
	ck_assert_uint_eq(n, last);
	/* what is no number of ours is not believed */
	ck_assert_int_eq(ovl_sys_setxattr(fd, "x", fs->mark[OVL_MARK_ORIGIN], "17179869184", 11, 0),
			 0);
	ck_assert_int_eq(ovl_origin_get(fs, fd, "x", &n), -ENODATA);
	(void)close(fd);
}
END_TEST

static void expect_batches(const char *path, uint64_t first, uint64_t last)
{
	uint64_t ino = stat_of(path).st_ino;

	ck_assert_msg(ino >> 32 >= first && ino >> 32 <= last, "%s: %ju", path, (uintmax_t)ino);
}

/* All that an overlay of two layers shows, and gives out until there are no more, is its own. */
static void use_up_batches(void)
{
	static const char *const shown[] = {"", "f", "d", "d/a", "d/sub/b", "d/top", "h1", "own"};
	uint64_t n, ino, last = 0;
	int r;

	for (size_t i = 0; i < sizeof(shown) / sizeof(*shown); i++)
		expect_batches(shown[i], first_batch, first_batch + 4);
	/* host inodes that do not fit, of a lower layer and of the upper */
	for (ino = UINT64_C(1) << 40;
	     (r = ovl_number(fs->numbers, ino & 1 ? fs->upper_batch : 0, ino, 0, &n)) == 0; ino++) {
		ck_assert_uint_lt(ino, (UINT64_C(1) << 40) + 9);
		last = fs->base + n;
		ck_assert(last >> 32 == first_batch + 3 || last >> 32 == first_batch + 4);
	}
	ck_assert_int_eq(r, -EOVERFLOW);
	ck_assert_uint_eq(last, (first_batch + 4) << 32 | 4);
}

/* Two overlays of the same layers, neighbours by their batches: neither has a number of the
 * other's. */
START_TEST(test_batches_of_two)
{
	struct ovl_fs *first;

	batch_size = 5;
	first_batch = 2;
	put_file("u/own", "1", 0600);
	open_fs_with(2, true);
	use_up_batches();
	reopen();
	use_up_batches();
	first = fs;
	put_dir("u2");
	put_dir("w2");
	put_file("u2/own", "2", 0600);
	own = "2";
	first_batch = 2 + 5;
	open_fs_with(2, true);
	use_up_batches();
	reopen();
	use_up_batches();
	ovl_fs_close(first);
}
END_TEST

/* What is forgotten is freed, however often it is looked up; what is known is small. */
START_TEST(test_forget_frees)
{
	enum { MALLOC = 16, BUCKETS = 2 };
	const char *many = getenv("SNAP_TEST_LOOKUPS");
	unsigned long rounds = many ? strtoul(many, NULL, 10) : 20000;
	struct ovl_node *dir, *n;
	struct stat st;
	size_t before;

	ck_assert_uint_le(sizeof(struct ovl_node) + sizeof(struct ovl_obj) + 4 * MALLOC +
				  BUCKETS * sizeof(void *),
			  300);
	open_fs_with(1, true);
	dir = get("d");
	before = fs->table.count;
	for (unsigned long i = 0; i < rounds; i++) {
		ck_assert_int_eq(ovl_lookup(fs, dir, "a", &n, &st), 0);
		ck_assert_uint_eq(fs->table.count, before + 1);
		ck_assert_int_eq(ovl_lookup(fs, dir, "none", &n, &st), -ENOENT);
		ovl_node_forget(fs, n, 1);
		ck_assert_uint_eq(fs->table.count, before);
	}
	put(dir);
	ck_assert_uint_eq(fs->table.count, 1);
}
END_TEST

START_TEST(test_work_is_swept)
{
	cleanup_close int other = -1;

	open_fs_with(1, true);
	other = openat(top_fd, "w/work", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(other, 0);
	/* What a killed mount left is swept. */
	ck_assert_int_eq(mkdirat(other, "#left", 0700), 0);
	reopen();
	ck_assert_int_lt(faccessat(other, "#left", F_OK, 0), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("overlay");
	TCase *t = tcase_create("engine");
	SRunner *run;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_merge);
	tcase_add_test(t, test_marks_of_lower_directories);
	tcase_add_test(t, test_copy_up_keeps);
	tcase_add_test(t, test_reader_sees_the_copy);
	tcase_add_test(t, test_truncate_copies_no_data);
	tcase_add_test(t, test_unlink_leaves_whiteouts_only_where_needed);
	tcase_add_test(t, test_directory_made_anew_is_opaque);
	tcase_add_test(t, test_rename_of_a_lower_directory);
	tcase_add_test(t, test_rename_rules);
	tcase_add_test(t, test_hard_links_survive_copy_up);
	tcase_add_test(t, test_symlink_keeps_its_node_without_marks);
	tcase_add_test(t, test_refused);
	tcase_add_test(t, test_unlinked_but_open);
	tcase_add_test(t, test_listing_goes_on_where_it_stopped);
	tcase_add_test(t, test_depth);
	tcase_add_loop_test(t, test_faults, 0, 6);
	tcase_add_test(t, test_work_is_swept);
	tcase_add_test(t, test_batches);
	tcase_add_test(t, test_batches_of_two);
	tcase_add_test(t, test_forget_frees);
	suite_add_tcase(s, t);
	t = tcase_create("parts");
	tcase_add_test(t, test_override);
	tcase_add_test(t, test_acl);
	suite_add_tcase(s, t);
	run = srunner_create(s);
	srunner_run_all(run, CK_ENV);
	failed = srunner_ntests_failed(run);
	srunner_free(run);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
