/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "erofs/image.h"
#include "overlay/fs.h"
#include "overlay/held.h"
#include "overlay/ops.h"
#include "tests/lib/rng.h"

/*
 * Listings of one directory, the root, merged of layers of both kinds at random, while it changes;
 * a model says which names must come, once, and with which number.
 */
#define NAMES	   120
#define LAYERS_MAX 5

static char top[] = "/tmp/test-readdir-XXXXXX";
static int top_fd = -1;
static struct ovl_fs *fs;
static struct ovl_cred cred;
static struct rng rng;
static struct {
	char name[256];
	bool seen, changed; /* in the union; made or removed since the listing began */
	uint64_t ino;
	unsigned int told;
} model[NAMES];

static void setup(void)
{
	strcpy(top + strlen(top) - 6, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(top));
	top_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(top_fd, 0);
	ck_assert_int_eq(io_mkdir_p(top_fd, "u", 0755), 0);
	ck_assert_int_eq(io_mkdir_p(top_fd, "w", 0755), 0);
	cred = (struct ovl_cred){.uid = geteuid(), .gid = getegid(), .umask = 022};
}

static void teardown(void)
{
	ovl_fs_close(fs);
	fs = NULL;
	(void)close(top_fd);
	ck_assert_int_eq(io_remove_tree(AT_FDCWD, top), 0);
}

static void make_directory(const char *path, const char *what)
{
	ck_assert_int_eq(io_mkdir_p(top_fd, path, 0755), 0);
	for (unsigned int i = 0; i < NAMES; i++) {
		char file[400];
		int fd;

		if (what[i] == '-')
			continue;
		snprintf(file, sizeof(file), "%s/%s%.255s", path, what[i] == 'w' ? ".wh." : "",
			 model[i].name);
		fd = openat(top_fd, file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		ck_assert_int_ge(fd, 0);
		(void)close(fd);
	}
}

static void make_index(const char *path, const char *what)
{
	cleanup_close int fd = openat(top_fd, path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	struct erofs_tree *t = erofs_tree_new();
	struct err err = ERR_INIT;

	ck_assert(fd >= 0 && t);
	for (unsigned int i = 0; i < NAMES; i++) {
		struct erofs_inode *inode;

		if (what[i] == '-')
			continue;
		inode = erofs_inode_new(t, what[i] == 'w' ? S_IFCHR : S_IFREG | 0644);
		ck_assert_ptr_nonnull(inode);
		ck_assert_int_eq(erofs_dir_add(t, erofs_tree_root(t), model[i].name,
					       strlen(model[i].name), inode),
				 0);
	}
	ck_assert_msg(erofs_write(t, NULL, 0, fd, &err) == 0, "%s %s", err.where, err.msg);
	erofs_tree_free(t);
}

/* What the next layer from the top has of each name; what is seen of it all is in the model. */
static void draw_layer(char *what, bool *decided)
{
	for (unsigned int i = 0; i < NAMES; i++) {
		unsigned int n = rng_below(&rng, 100);

		what[i] = n < 50 ? '-' : n < 60 ? 'w' : 'f';
		if (what[i] == '-' || decided[i])
			continue;
		decided[i] = true;
		model[i].seen = what[i] == 'f';
	}
}

static void open_fs(uint64_t hold_max)
{
	unsigned int n = 1 + rng_below(&rng, LAYERS_MAX);
	char paths[LAYERS_MAX][64], up[64], work[64], what[NAMES], name[16];
	char *lowers[LAYERS_MAX];
	bool decided[NAMES] = {false};
	struct ovl_config c = {.lowers = lowers,
			       .n_lowers = n,
			       .upper = up,
			       .work = work,
			       .redirect_dir = true,
			       .volatile_ = true};
	struct err err = ERR_INIT;

	for (unsigned int i = 0; i < NAMES; i++) {
		/* some of the longest that a file ".wh.NAME" can hide */
		snprintf(model[i].name, sizeof(model[i].name), "%03u%*s", i,
			 i % 10 == 0 ? 248 : (int)(i % 7), "x");
		model[i].seen = false;
	}
	for (unsigned int k = 0; k < n; k++) {
		snprintf(name, sizeof(name), "l%u", k);
		draw_layer(what, decided);
		(rng_percent(&rng, 60) ? make_index : make_directory)(name, what);
		snprintf(paths[k], sizeof(paths[k]), "%s/%s", top, name);
		lowers[k] = paths[k];
	}
	snprintf(up, sizeof(up), "%s/u", top);
	snprintf(work, sizeof(work), "%s/w", top);
	ck_assert_msg(ovl_fs_open(&c, &fs, &err) == 0, "%s: %s", err.where, err.msg);
	fs->hold_max = hold_max;
}

static uint64_t look_up(unsigned int i)
{
	struct ovl_node *n;
	struct stat st;
	int r = ovl_lookup(fs, fs->root, model[i].name, &n, &st);

	ck_assert_int_eq(r, model[i].seen ? 0 : -ENOENT);
	if (r < 0)
		return 0;
	ovl_node_forget(fs, n, 1);
	return st.st_ino;
}

/* Makes, removes or copies up any name. */
static void change(void)
{
	const struct ovl_new what = {.mode = S_IFREG | 0644};
	const struct stat attr = {.st_mode = 0600};
	unsigned int i = rng_below(&rng, NAMES);
	struct ovl_node *n;
	struct stat st;

	if (!model[i].seen) {
		ck_assert_int_eq(
			ovl_create(fs, fs->root, model[i].name, &what, &cred, &n, &st, 0, NULL), 0);
		ovl_node_forget(fs, n, 1);
	} else if (rng_percent(&rng, 50)) {
		ck_assert_int_eq(ovl_unlink(fs, fs->root, model[i].name), 0);
	} else {
		ck_assert_int_eq(ovl_lookup(fs, fs->root, model[i].name, &n, &st), 0);
		ck_assert_int_eq(ovl_setattr(fs, n, &attr, OVL_SET_MODE, NULL, &cred, &st), 0);
		ovl_node_forget(fs, n, 1);
		return;
	}
	model[i].seen = !model[i].seen;
	model[i].changed = true;
}

struct told {
	char name[256];
	uint64_t ino, next;
};
struct reply {
	struct told entries[8];
	unsigned int n, max;
};

static int collect(void *ctx, const struct ovl_dirent *e)
{
	struct reply *c = ctx;
	struct told *t = &c->entries[c->n++];

	ck_assert_uint_lt(strlen(e->name), sizeof(t->name));
	ck_assert_uint_lt(e->next, 1ULL << 62);
	strcpy(t->name, e->name);
	t->ino = e->ino;
	t->next = e->next;
	return c->n == c->max;
}

static struct reply read_some(uint64_t off, unsigned int max)
{
	struct reply c = {.max = max};

	ck_assert_int_eq(ovl_dir_read(fs, fs->root, off, collect, &c), 0);
	return c;
}

static void tell(const struct told *t)
{
	unsigned int i = (unsigned int)strtoul(t->name, NULL, 10);

	if (strcmp(t->name, ".") == 0 || strcmp(t->name, "..") == 0)
		return;
	ck_assert_msg(i < NAMES && strcmp(model[i].name, t->name) == 0, "'%s'", t->name);
	model[i].told++;
	ck_assert_msg(model[i].changed || t->ino == model[i].ino, "%s: another number", t->name);
}

/* What the model has by the time the listing begins. */
static void begin(void)
{
	for (unsigned int i = 0; i < NAMES; i++) {
		model[i].changed = false;
		model[i].told = 0;
		model[i].ino = look_up(i);
	}
}

static void check_told(void)
{
	for (unsigned int i = 0; i < NAMES; i++) {
		if (model[i].changed)
			ck_assert_msg(model[i].told <= 1, "%s: twice", model[i].name);
		else
			ck_assert_msg(model[i].told == model[i].seen, "%s: told %u times",
				      model[i].name, model[i].told);
	}
}

static void list_while_it_changes(unsigned int changes)
{
	static struct told before[NAMES + 2];
	unsigned int n = 0;
	uint64_t off = 0;

	begin();
	for (;;) {
		struct reply c = read_some(off, 1 + rng_below(&rng, 8));

		if (c.n == 0)
			break;
		for (unsigned int i = 0; i < c.n; i++) {
			tell(&c.entries[i]);
			ck_assert_uint_lt(n, NAMES + 2);
			before[n++] = c.entries[i];
		}
		off = before[n - 1].next;
		for (unsigned int i = rng_below(&rng, 2 * changes + 1); i > 0; i--)
			change();
		/* Back to where it was, behind the dots. */
		if (n > 3) {
			unsigned int back = 2 + rng_below(&rng, n - 3);

			c = read_some(before[back].next, 1);
			ck_assert_uint_eq(c.n, 1);
			ck_assert_str_eq(c.entries[0].name, before[back + 1].name);
			ck_assert_uint_eq(c.entries[0].next, before[back + 1].next);
		}
	}
	check_told();
	/* Wherever a program may seek to. */
	for (unsigned int i = 0; i < 50; i++) {
		struct reply c = read_some(rng_next(&rng) >> (1 + rng_below(&rng, 63)), 8);

		for (unsigned int k = 0; k < c.n; k++)
			if (c.entries[k].name[0] != '.')
				ck_assert_str_eq(model[strtoul(c.entries[k].name, NULL, 10)].name,
						 c.entries[k].name);
	}
}

START_TEST(test_listings)
{
	static const uint64_t hold[] = {0, 3000, 4096, OVL_HOLD_MAX};

	rng.s = (uint64_t)_i;
	open_fs(hold[_i % 4]);
	list_while_it_changes(0);
	list_while_it_changes(1);
	list_while_it_changes(2);
}
END_TEST

static void names_put(struct ovl_held *n, unsigned int i)
{
	char text[32];
	struct ovl_held_name e = {
		.name = text, .number = i * 3ULL << 20, .type = i % 15, .whiteout = i % 4 == 0};

	snprintf(text, sizeof(text), "name%u", i);
	ck_assert_int_eq(ovl_held_add(n, &e), 0);
}

static bool names_have(const struct ovl_held *n, unsigned int i)
{
	char text[32];

	snprintf(text, sizeof(text), "name%u", i);
	return ovl_held_has(n, text);
}

START_TEST(test_names)
{
	enum { COUNT = 50000 };
	struct ovl_held n;
	struct ovl_held_name e;
	uint64_t pos = 0, *behind = calloc(COUNT, sizeof(*behind));
	char text[300];

	ck_assert_ptr_nonnull(behind);
	ovl_held_init(&n);
	ck_assert(!ovl_held_has(&n, "name0") && !ovl_held_next(&n, &pos, &e));
	for (unsigned int i = 0; i < COUNT / 2; i++)
		names_put(&n, i);
	ck_assert(!names_have(&n, 5));
	ck_assert_int_eq(ovl_held_index(&n), 0);
	for (unsigned int i = COUNT / 2; i < COUNT; i++)
		names_put(&n, i);
	for (unsigned int i = 0; i < 2 * COUNT; i++)
		ck_assert_int_eq(names_have(&n, i), i < COUNT);
	ovl_held_unindex(&n);
	/* 20 to 24 bytes for names of 5 to 9, and half a chunk for each that is begun */
	ck_assert_uint_lt(n.bytes, COUNT * 24 + 70000);
	for (unsigned int i = 0; i < COUNT; i++) {
		ck_assert(ovl_held_next(&n, &pos, &e));
		snprintf(text, sizeof(text), "name%u", i);
		ck_assert_str_eq(e.name, text);
		ck_assert_uint_eq(e.number, i * 3ULL << 20);
		ck_assert(e.type == i % 15 && e.whiteout == (i % 4 == 0));
		behind[i] = pos;
	}
	ck_assert(!ovl_held_next(&n, &pos, &e));
	/* A position between two records is that of the next. */
	for (unsigned int i = 0; i + 2 < COUNT; i += 97)
		for (uint64_t at = behind[i] + 1; at <= behind[i + 1]; at++) {
			pos = at;
			ck_assert(ovl_held_next(&n, &pos, &e));
			ck_assert_uint_eq(pos, behind[i + 2]);
		}
	pos = OVL_HELD_MAX - 1;
	ck_assert(!ovl_held_next(&n, &pos, &e));
	memset(text, 'y', 256);
	text[256] = '\0';
	e.name = text;
	ck_assert_int_eq(ovl_held_add(&n, &e), -EOVERFLOW);
	text[255] = '\0';
	ck_assert_int_eq(ovl_held_add(&n, &e), 0);
	ovl_held_release(&n);
	free(behind);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("readdir");
	TCase *t = tcase_create("merged");
	SRunner *run;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, test_listings, 0, 48);
	suite_add_tcase(s, t);
	t = tcase_create("names");
	tcase_add_test(t, test_names);
	suite_add_tcase(s, t);
	run = srunner_create(s);
	srunner_run_all(run, CK_ENV);
	failed = srunner_ntests_failed(run);
	srunner_free(run);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
