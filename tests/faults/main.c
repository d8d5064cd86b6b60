/* SPDX-License-Identifier: Apache-2.0 */

/*
 * faultop - each operation of the engine, mounted, with its n-th call failing, for every n until it
 * succeeds. After each: the caller got that very error, the tree is as it was before, as it is
 *after another mount, and (as root) as the kernel's overlayfs sees it; nothing is left in the work
 * directory. With --kill the process ends at the n-th call instead: then before or after, nothing
 * between.
 *
 *	faultop [--calls | --memory | --kill] [--stays] [--options O] [--metacopy] [--part I/N]
 *	        [--except SCENE]... [SCENE...]
 *
 * --metacopy: the mounts have metacopy=on, and only scenes that this changes are played.
 */
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tests/faults/mounted.h"
#include "tests/faults/scenes.h"
#include "tests/faults/tree.h"

#define CALLS_MAX 400 /* an operation that never comes to its end */

enum mode { CALLS, MEMORY, KILL };
static enum mode mode;
static bool stays;
static unsigned int only; /* scenes with these flags */
static const char *options = "";
static unsigned int failures, faulted, kernel_checks;

/* What one scene's tree is before and after; as the kernel's overlayfs has it, too. */
struct states {
	char *before, *after;
	char *kernel_before, *kernel_after; /* NULL where we may not mount it */
};

static void failed(const struct scene *s, unsigned int n, int error, const char *what)
{
	fprintf(stderr, "FAIL: %s: call %u, %s: %s\n", s->name, n,
		error > 0 ? strerrorname_np(error) : "killed", what);
	failures++;
}

static char *describe(void)
{
	return tree_describe("mnt", TREE_NUMBERS | (geteuid() == 0 ? 0 : TREE_PLAIN_NUMBERS));
}

/* What a reader without us finds: the kernel with the upper as its uppermost lower layer. */
static char *describe_by_kernel(void)
{
	char *text;

	if (geteuid() != 0)
		return NULL;
	if (mount("overlay", "mnt", "overlay", MS_RDONLY,
		  "lowerdir=up:low,redirect_dir=follow,metacopy=on") < 0) {
		fprintf(stderr, "the kernel's overlayfs: %s\n", strerror(errno));
		exit(2);
	}
	text = tree_describe("mnt", 0);
	if (umount2("mnt", 0) < 0) {
		fprintf(stderr, "unmount the kernel's overlayfs: %s\n", strerror(errno));
		exit(2);
	}
	kernel_checks++;
	return text;
}

static bool equal(const char *a, const char *b)
{
	return a && b && strcmp(a, b) == 0;
}

static bool work_is_empty(void)
{
	cleanup_closedir DIR *d = opendir("wk/work");
	struct dirent *de;

	while (d && (de = readdir(d)))
		if (de->d_name[0] != '.') {
			fprintf(stderr, "  left behind: %s\n", de->d_name);
			return false;
		}
	return d;
}

static void arm(unsigned int n, int error)
{
	struct ovl_fault *f = mode == MEMORY ? &faults->memory : &faults->sys;

	atomic_store(&f->error, error);
	atomic_store(&f->stays, stays);
	atomic_store(&f->calls, 0);
	atomic_store(&f->at, n);
}

/* The calls that were made. */
static unsigned int disarm(void)
{
	struct ovl_fault *f = mode == MEMORY ? &faults->memory : &faults->sys;

	atomic_store(&f->at, 0);
	return atomic_load(&f->calls);
}

/* A new upper, mounted, as the scene wants it. */
static void begin(const struct scene *s)
{
	mounted_clean();
	mounted_start(options);
	for (const struct step *b = s->before; b->act != ACT_END; b++) {
		int r = scene_step("mnt", b);

		if (r < 0) {
			fprintf(stderr, "%s: starting point: %s: %s\n", s->name, b->a,
				strerror(-r));
			exit(2);
		}
	}
}

/* Unmounts, asks the kernel, mounts again, asks, unmounts. @after: that state is wanted. */
static void check_remount(const struct scene *s, const struct states *st, bool after,
			  unsigned int n, int error)
{
	const char *wanted = after ? st->after : st->before;
	const char *by_kernel = after ? st->kernel_after : st->kernel_before;
	cleanup_free char *text = NULL, *kernel = NULL;

	mounted_stop();
	kernel = describe_by_kernel();
	if (by_kernel && !equal(kernel, by_kernel)) {
		failed(s, n, error, "the kernel's overlayfs sees something else");
		tree_diff(kernel ? kernel : "", by_kernel);
	}
	mounted_start(options);
	text = describe();
	if (!equal(text, wanted)) {
		failed(s, n, error, "another mount sees something else");
		tree_diff(text ? text : "", wanted);
	}
	mounted_stop();
	if (!work_is_empty())
		failed(s, n, error, "left in the work directory");
}

static int learn(const struct scene *s, struct states *ret)
{
	int r;

	begin(s);
	ret->before = describe();
	mounted_stop();
	ret->kernel_before = describe_by_kernel();
	begin(s);
	/* As in all that follows, the kernel knows every name by then. */
	free(describe());
	r = scene_step("mnt", &s->op);
	ret->after = describe();
	mounted_stop();
	ret->kernel_after = describe_by_kernel();
	if (r < 0 || !ret->before || !ret->after || equal(ret->before, ret->after)) {
		failed(s, 0, -r, "without a fault");
		return -1;
	}
	mounted_start(options);
	check_remount(s, ret, true, 0, 0);
	return 0;
}

static bool writes_data(const struct scene *s)
{
	return s->op.act == ACT_APPEND || s->op.act == ACT_COPY_RANGE;
}

/* One call that fails, with every error, in one mount. Returns whether the operation is past it. */
static bool fail_at(const struct scene *s, const struct states *st, unsigned int n)
{
	static const int sys_errors[] = {ENOSPC, EIO, EDQUOT, ENOMEM, 0}, memory[] = {ENOMEM, 0};
	const int *errors = mode == MEMORY ? memory : sys_errors;
	bool done = false, past = false;
	int error = 0;

	begin(s);
	free(describe());
	for (int i = 0; errors[i] && !done; i++) {
		cleanup_free char *text = NULL;
		unsigned int calls;
		int r;

		error = errors[i];
		arm(n, error);
		r = scene_step("mnt", &s->op);
		calls = disarm();
		past = calls < n;
		done = r == 0;
		faulted += !past;
		if (r < 0 && r != -error) {
			char what[64];

			snprintf(what, sizeof(what), "the caller got %s", strerrorname_np(-r));
			failed(s, n, error, what);
		}
		text = describe();
		/* Written, and the sync of it failed: what the file has then is what was written.
		 */
		if (r < 0 && writes_data(s) && equal(text, st->after))
			done = true;
		if (!equal(text, done ? st->after : st->before)) {
			failed(s, n, error, done ? "it says done, and is not" : "half visible");
			tree_diff(text ? text : "", done ? st->after : st->before);
			break;
		}
	}
	check_remount(s, st, done, n, error);
	return past;
}

/* The process dies at call @n. Returns whether the operation had ended before. */
static bool kill_at(const struct scene *s, const struct states *st, unsigned int n)
{
	cleanup_free char *text = NULL, *kernel = NULL;
	bool after, past;
	int r;

	begin(s);
	free(describe());
	arm(n, OVL_FAULT_KILL);
	r = scene_step("mnt", &s->op);
	past = disarm() < n;
	faulted += !past;
	mounted_stop();
	kernel = describe_by_kernel();
	mounted_start(options);
	text = describe();
	after = equal(text, st->after);
	if (!after && !equal(text, st->before)) {
		failed(s, n, 0, "neither before nor after");
		tree_diff(text ? text : "", st->before);
	}
	if (!after && r == 0)
		failed(s, n, 0, "it said done, and is not");
	if (st->kernel_before && !equal(kernel, after ? st->kernel_after : st->kernel_before)) {
		failed(s, n, 0, "the kernel's overlayfs sees something else");
		tree_diff(kernel ? kernel : "", after ? st->kernel_after : st->kernel_before);
	}
	if (!work_is_empty())
		failed(s, n, 0, "left in the work directory");
	/* What was not done can be done now. */
	if (!after) {
		r = scene_step("mnt", &s->op);
		if (r < 0)
			failed(s, n, -r, "it cannot be done again");
	}
	check_remount(s, st, true, n, 0);
	return past;
}

static void play(const struct scene *s)
{
	struct states st = {.before = NULL};
	unsigned int n = 1, failures_before = failures;

	if (learn(s, &st) == 0)
		while (!(mode == KILL ? kill_at : fail_at)(s, &st, n) && n < CALLS_MAX &&
		       failures - failures_before < 8)
			n++;
	if (n == CALLS_MAX)
		failed(s, n, 0, "it never comes to an end");
	printf("%-50s %3u calls%s\n", s->name, n - 1, failures > failures_before ? "  FAILED" : "");
	(void)fflush(stdout);
	free(st.before);
	free(st.after);
	free(st.kernel_before);
	free(st.kernel_after);
}

static const char *excepted[32];
static unsigned int n_excepted;

static bool chosen(const struct scene *s, char **names)
{
	if ((s->flags & SCENE_ROOT && geteuid() != 0) || (s->flags & only) != only)
		return false;
	for (unsigned int i = 0; i < n_excepted; i++)
		if (strcmp(excepted[i], s->name) == 0)
			return false;
	for (char **name = names; *name; name++)
		if (strcmp(*name, s->name) == 0)
			return true;
	return !*names;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{"calls", no_argument, NULL, 'c'},
		{"except", required_argument, NULL, 'x'},
		{"memory", no_argument, NULL, 'm'},
		{"kill", no_argument, NULL, 'k'},
		{"stays", no_argument, NULL, 's'},
		{"options", required_argument, NULL, 'o'},
		{"part", required_argument, NULL, 'p'},
		{"metacopy", no_argument, NULL, 'M'},
		{NULL, 0, NULL, 0},
	};
	unsigned int part = 0, parts = 1, played = 0;
	char **names;
	int opt;

	while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (opt == 'c')
			mode = CALLS;
		else if (opt == 'm')
			mode = MEMORY;
		else if (opt == 'k')
			mode = KILL;
		else if (opt == 's')
			stays = true;
		else if (opt == 'o')
			options = optarg;
		else if (opt == 'M')
			only = SCENE_BARE;
		else if (opt == 'x' && n_excepted < 32)
			excepted[n_excepted++] = optarg;
		else if (opt != 'p' || sscanf(optarg, "%u/%u", &part, &parts) != 2 || parts == 0)
			return 2;
	}
	if (only & SCENE_BARE)
		options = "metacopy=on";
	names = argv + optind; /* before the mounts' own use of getopt */
	(void)umask(022);
	scene_lower("low");
	mounted_init();
	for (size_t i = 0; i < n_scenes; i++)
		if (chosen(&scenes[i], names) && i % parts == part % parts) {
			play(&scenes[i]);
			played++;
		}
	printf("%u operations, %u faults met, %u looks by the kernel, %u failures\n", played,
	       faulted, kernel_checks, failures);
	return failures || played == 0 ? 1 : 0;
}
