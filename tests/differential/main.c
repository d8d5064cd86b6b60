/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/io.h"
#include "tests/differential/diffop.h"
#include "tests/lib/idmap_bind.h"
#include "tests/lib/mount_command.h"
#include "tests/tools/treecmp.h"

enum {
	MAX_OPS = 5000,
	MAX_LAYERS = 4,
	MAX_PUSHES = 4,
	STUCK_SECONDS = 60,
	MINIMISE_SECONDS = 60,
	MAX_PROCESSES = 16,
	PARALLEL_SECONDS = 900
};

static const char usage[] =
	"usage: diffop [OPTION]... --ours COMMAND\n"
	"Does the same random operations on two mounts over the same lower trees.\n"
	"  --ours COMMAND      mounts the engine under test: %l lowerdir, %u upper, %w work, %m "
	"target\n"
	"  --ref COMMAND       mounts the reference ('kernel': overlayfs with "
	"index=on,redirect_dir=on)\n"
	"  --plain             the reference is a plain directory (needs no root; one lower)\n"
	"  --lower COMMAND     prints the lowerdir for ours, made of the directories %l\n"
	"  --dir DIR           scratch space (/tmp)      --seed S  --sequences N  --ops N\n"
	"  --processes N       at once, each in a directory of its own (1)\n"
	"  --upper DIR         scratch space on another file system: uppers, and every second "
	"lower\n"
	"  --mapped            stored ids are shown as others: %l's 1000.. as 2000.., as by\n"
	"                      uidmapping=0:0:1:1000:2000:100,gidmapping=0:0:1:1000:2000:100\n"
	"  --kept-times        files are not truncated to the size they have: a kernel that keeps "
	"times\n"
	"                      itself (writeback) takes that for no change\n"
	"  --rotate            at one of the remounts the upper becomes a lower, with a new upper\n"
	"  --push COMMAND      puts a new upper on top of the mount, instead of every second "
	"remount:\n"
	"                      %u upper, %w work, %m target, %l the work directory that it has\n"
	"  --no-cross          do not mount the upper of ours with the kernel afterwards\n"
	"  --keep-going        after a failing sequence  --verbose --no-minimise\n"
	"Exit: 0 no difference, 1 differences, 2 trouble.\n";

struct driver {
	const char *ref, *ours, *lower_command, *dir, *upper_dir, *push;
	uint64_t seed;
	unsigned int sequences, ops, processes;
	bool mapped; /* the reference's layers are on an idmapped mount */
	bool rotate;
	bool plain, cross, keep_going, verbose, minimise;
	/* of the sequence at hand */
	struct setup setup;
	char work_dir[160];
	char sides_dir[160]; /* of uppers: another file system with --upper */
	char mapped_dir[170]; /* work_dir, idmapped */
	char lowers[1024], ours_lowers[4096]; /* as for lowerdir= */
	struct side a, b;
};

static _Atomic time_t alive; /* the watchdog's */
static char doing[512];

void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)fputs("diffop: ", stderr);
	(void)vfprintf(stderr, fmt, ap);
	(void)fputc('\n', stderr);
	va_end(ap);
	_exit(2);
}

/* A mount that never answers cannot be left by a signal handler, but the process can end. */
static void *watchdog(void *arg)
{
	(void)arg;
	for (;;) {
		(void)sleep(1);
		if (time(NULL) - alive > STUCK_SECONDS) {
			(void)fprintf(stderr, "diffop: STUCK for %d s in %s\n", STUCK_SECONDS,
				      doing);
			_exit(3);
		}
	}
	return NULL;
}

static void now_doing(const char *what, uint64_t seed, size_t op)
{
	alive = time(NULL);
	(void)snprintf(doing, sizeof(doing), "%s of seed %llu, op %zu", what,
		       (unsigned long long)seed, op);
}

/* @path, seen through the idmapped mount. */
static void add_mapped(struct driver *d, char *out, size_t size, const char *path)
{
	size_t len = strlen(d->work_dir), at = strlen(out);

	if (d->mapped && !strncmp(path, d->work_dir, len))
		(void)snprintf(out + at, size - at, "%s%s", d->mapped_dir, path + len);
	else
		(void)snprintf(out + at, size - at, "%s", path);
}

static void kernel_mount(struct driver *d, const struct side *side, const char *work,
			 const char *more)
{
	char options[6144] = "lowerdir=", lowers[2304], *save = NULL;

	(void)snprintf(lowers, sizeof(lowers), "%s%s", side->over, d->lowers);
	for (char *p = strtok_r(lowers, ":", &save); p; p = strtok_r(NULL, ":", &save)) {
		if (p != lowers)
			strcat(options, ":");
		add_mapped(d, options, sizeof(options), p);
	}
	strcat(options, ",upperdir=");
	add_mapped(d, options, sizeof(options), side->upper);
	strcat(options, ",workdir=");
	add_mapped(d, options, sizeof(options), work);
	strcat(options, ",");
	strcat(options, more);
	if (mount("overlay", side->mnt, "overlay", 0, options) < 0)
		die("mount overlay on %s (%s): %s", side->mnt, options, strerror(errno));
}

static void side_mount(struct driver *d, struct side *side)
{
	char lowers[6000];
	struct mount_paths paths = {
		.lowers = lowers, .upper = side->upper, .work = side->work, .mnt = side->mnt};

	(void)snprintf(lowers, sizeof(lowers), "%s%s", side->over,
		       side == &d->b ? d->ours_lowers : d->lowers);
	if (side->plain) {
		/* nothing to mount */
	} else if (!strcmp(side->command, "kernel")) {
		kernel_mount(d, side, side->work, "index=on,redirect_dir=on,xino=off,metacopy=off");
	} else if (mount_command_run(side->command, &paths) != 0) {
		die("%s is not mounted", side->mnt);
	}
	side->root = open(side->mnt, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (side->root < 0)
		die("open %s: %s", side->mnt, strerror(errno));
}

static void unmount(const char *mnt)
{
	if (mount_end(mnt) < 0)
		die("%s stays mounted", mnt);
}

static void side_umount(struct side *side)
{
	for (int i = 0; i < DIFF_SLOTS; i++) {
		if (side->slot[i] >= 0)
			(void)close(side->slot[i]);
		side->slot[i] = -1;
	}
	(void)close(side->root);
	side->root = -1;
	if (!side->plain)
		unmount(side->mnt);
}

static int make_dir(const char *path)
{
	int fd;

	if (mkdir(path, 0755) < 0)
		die("mkdir %s: %s", path, strerror(errno));
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		die("open %s: %s", path, strerror(errno));
	return fd;
}

/* From inside of its file system: what is nested deep is moved about there. */
static void remove_in(const char *dir, const char *name)
{
	cleanup_close int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || io_remove_tree(fd, name) < 0)
		die("remove %s/%s", dir, name);
}

static void side_init(struct driver *d, struct side *side, char letter)
{
	char path[200];
	int fd;

	(void)snprintf(path, sizeof(path), "%c", letter);
	remove_in(d->sides_dir, path);
	(void)snprintf(path, sizeof(path), "%s/%c", d->sides_dir, letter);
	(void)close(make_dir(path));
	(void)snprintf(side->upper, sizeof(side->upper), "%s/upper", path);
	(void)snprintf(side->work, sizeof(side->work), "%s/work", path);
	(void)snprintf(side->mnt, sizeof(side->mnt), "%s/merged", path);
	side->over[0] = '\0';
	side->pushed = 0;
	(void)close(make_dir(side->upper));
	(void)close(make_dir(side->work));
	fd = make_dir(side->mnt);
	if (side->plain)
		tree_make(fd, -1, d->seed, 0, &d->setup);
	if (side->plain && futimens(fd, NULL) < 0) /* a mount's root is the upper's, which is new */
		die("utimens: %s", strerror(errno));
	(void)close(fd);
	for (int i = 0; i < DIFF_SLOTS; i++)
		side->slot[i] = -1;
	side->root = -1;
}

/* The upper is a lower from now on. */
static void side_rotate(struct side *side)
{
	size_t len = strlen(side->upper);

	if (len + 2 + strlen(side->over) > sizeof(side->over))
		die("%s: too long", side->upper);
	memmove(side->over + len + 1, side->over, strlen(side->over) + 1);
	memcpy(side->over, side->upper, len);
	side->over[len] = ':';
	strcat(side->upper, "2");
	strcat(side->work, "2");
	(void)close(make_dir(side->upper));
	(void)close(make_dir(side->work));
}

/* Mounted, and in use. */
static void side_push(struct driver *d, struct side *side)
{
	char frozen[256], copy[600], work[256];
	struct mount_paths paths = {
		.lowers = work, .upper = side->upper, .work = side->work, .mnt = side->mnt};

	(void)snprintf(work, sizeof(work), "%s", side->work);
	(void)snprintf(frozen, sizeof(frozen), "%s", side->upper);
	side_rotate(side);
	if (mount_command_run(d->push, &paths) != 0)
		die("%s gets no new upper", side->mnt);
	(void)snprintf(copy, sizeof(copy), "cp -a '%s' '%s/pristine-upper%u'", frozen, d->sides_dir,
		       side->pushed++);
	if (shell_run(copy) != 0)
		die("%s", copy);
}

/* A layer, or its @what "pristine" copy. With two file systems every second one is on that of
 * the uppers. */
static void lower_path(const struct driver *d, const char *what, unsigned int layer, char *path,
		       size_t size)
{
	(void)snprintf(path, size, "%s/%s%u", layer % 2 ? d->sides_dir : d->work_dir, what, layer);
}

static void mapped_start(struct driver *d)
{
	(void)snprintf(d->mapped_dir, sizeof(d->mapped_dir), "%s.mapped", d->work_dir);
	if (mkdir(d->mapped_dir, 0755) < 0 && errno != EEXIST)
		die("mkdir %s: %s", d->mapped_dir, strerror(errno));
	if (idmap_bind(d->work_dir, d->mapped_dir, "0 0 1\n1000 2000 100\n") < 0)
		die("idmapped mount on %s: %s", d->mapped_dir, strerror(errno));
}

/* One layer, on top of @below (or -1); returns its directory. */
static int lower_make(struct driver *d, const char *path, int below, uint64_t seed,
		      unsigned int layer)
{
	struct setup setup = d->setup;
	int fd = make_dir(path);

	setup.id_shift = 0;
	if (d->processes == 1)
		tree_make(fd, below, seed, layer, &setup);
	for (unsigned int i = 0; d->processes > 1 && i < d->processes; i++) {
		cleanup_close int under = -EBADF, region = -EBADF;
		char name[16];

		(void)snprintf(name, sizeof(name), "p%u", i);
		if (below >= 0)
			under = openat(below, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (mkdirat(fd, name, 0755) < 0)
			die("mkdir %s/%s: %s", path, name, strerror(errno));
		region = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		tree_make(region, under >= 0 ? under : -1, seed * 64 + i, layer, &setup);
	}
	return fd;
}

static void lowers_init(struct driver *d, uint64_t seed)
{
	char path[200];
	size_t at = 0;

	(void)snprintf(d->work_dir, sizeof(d->work_dir), "%s/seq", d->dir);
	(void)snprintf(d->sides_dir, sizeof(d->sides_dir), "%s/seq",
		       d->upper_dir ? d->upper_dir : d->dir);
	remove_in(d->dir, "seq");
	(void)close(make_dir(d->work_dir));
	if (d->upper_dir)
		remove_in(d->upper_dir, "seq");
	if (d->upper_dir)
		(void)close(make_dir(d->sides_dir));
	for (int copy = 0; copy < 2; copy++) {
		int below = -1;

		for (unsigned int i = 0; i < d->setup.layers; i++) {
			int fd;

			lower_path(d, copy ? "pristine" : "lower", i, path, sizeof(path));
			fd = lower_make(d, path, below, seed, i);
			if (below >= 0)
				(void)close(below);
			below = fd;
		}
		(void)close(below);
	}
	for (unsigned int i = d->setup.layers; i-- > 0;) { /* the uppermost first */
		lower_path(d, "lower", i, path, sizeof(path));
		at += (size_t)snprintf(d->lowers + at, sizeof(d->lowers) - at, "%s%s",
				       at ? ":" : "", path);
	}
	if (d->mapped)
		mapped_start(d);
	(void)snprintf(d->ours_lowers, sizeof(d->ours_lowers), "%s", d->lowers);
	if (d->lower_command) {
		struct mount_paths paths = {.lowers = d->lowers};

		if (mount_command_line(d->lower_command, &paths, d->ours_lowers,
				       sizeof(d->ours_lowers)) < 0)
			die("no lower");
	}
}

static unsigned long compare(struct driver *d, const char *a, const char *b, unsigned int ignore,
			     const char *when, bool quiet)
{
	/*
	 * Engines may be asked to read either family of marks; ours reads and therefore escapes
	 * both, the kernel only its own: a user's "user.overlay.x" has another name there.
	 */
	static const char *no_xattr[] = {DIFF_XFS_ACL, "user.overlay."};
	struct treecmp_options opt = {.ignore = ignore,
				      .limit = 10,
				      .recent = &d->setup.start,
				      .no_xattr = no_xattr,
				      .n_no_xattr = 1,
				      .out = quiet ? NULL : stdout};
	cleanup_close int fd_a = open(a, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_close int fd_b = open(b, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct treecmp_result res;

	if (fd_a < 0 || fd_b < 0)
		die("open %s or %s: %s", a, b, strerror(errno));
	if (ignore & TREECMP_XATTR) { /* those */
		opt.ignore &= ~(unsigned int)TREECMP_XATTR;
		opt.n_no_xattr = 2;
	}
	if (treecmp_run(fd_a, fd_b, &opt, &res) < 0)
		res.differences++;
	if (res.differences && !quiet)
		(void)printf("seed %llu: %lu differences %s\n", (unsigned long long)d->seed,
			     res.differences, when);
	return res.differences;
}

/* @a but for its link counts of 1, which are 0 in @b. */
static bool same_but_unlinked(const char *a, const char *b)
{
	static const char one[] = "links=1 ", none[] = "links=0 ";

	while (*a && *b) {
		if (!strncmp(a, one, sizeof(one) - 1) && !strncmp(b, none, sizeof(none) - 1)) {
			a += sizeof(one) - 1;
			b += sizeof(none) - 1;
		} else if (*a++ != *b++) {
			return false;
		}
	}
	return *a == *b;
}

/*
 * To remove an ACL that is not there, also by setting an empty one, is no error on a plain file
 * system; on a lower object it is one with the engine, as it is with overlayfs.
 */
static bool excused_plain(const struct op *op, const struct result *a, const struct result *b)
{
	return (op->kind == OP_REMOVEXATTR || op->kind == OP_SETXATTR) && a->err == 0 &&
	       b->err == ENODATA && strncmp(op->b, "system.posix_acl_", 17) == 0;
}

/*
 * Answers that may differ; the reason is the kernel's, not the engine's.
 *  - EEXIST: overlayfs cannot copy up a lower file that has lost its name, so
 *    what needs it through an open fd fails; the engine does it.
 *  - A lower file with one link that is unlinked while open: overlayfs shows
 *    the lower inode's count, 1; the engine 0, as any other file system.
 *  - ENODATA: overlayfs takes an ACL that is not there away without a word from
 *    a file of the upper, not from one of a lower. It copies up when a file is
 *    opened for writing, the engine may wait until it is written to.
 */
static bool excused(struct driver *d, const struct op *op, const struct result *a,
		    const struct result *b)
{
	if (d->a.plain)
		return excused_plain(op, a, b);
	if (a->err == EEXIST && (op->kind == OP_FCHMOD || op->kind == OP_FTRUNCATE)) {
		(void)close(d->a.slot[op->slot]);
		(void)close(d->b.slot[op->slot]);
		d->a.slot[op->slot] = d->b.slot[op->slot] = -1;
		return true;
	}
	if (op->kind == OP_REMOVEXATTR && strncmp(op->b, "system.posix_acl_", 17) == 0)
		return a->err == 0 && b->err == ENODATA;
	if (op->kind == OP_FSTAT || (op->kind == OP_UNLINK_OPEN && strstr(a->text, "before=1 ")))
		return a->err == b->err && same_but_unlinked(a->text, b->text);
	return false;
}

/*
 * overlayfs may have changed a parent's mtime when it finds that the target of a rename is not
 * empty; the engine leaves it. Both are given the same.
 */
static void level_parents(struct driver *d, const struct op *op)
{
	const char *paths[] = {op->a, op->b};
	struct side *sides[] = {&d->a, &d->b};

	for (int i = 0; i < 4; i++) {
		char parent[DIFF_PATH];
		char *slash;

		(void)snprintf(parent, sizeof(parent), "%s", paths[i / 2]);
		slash = strrchr(parent, '/');
		if (slash)
			*slash = '\0';
		(void)utimensat(sides[i % 2]->root, slash ? parent : ".", NULL, 0);
	}
}

static void print_result(const char *who, const struct result *r)
{
	(void)printf("  %-6s %s %s", who, r->err ? err_name(-r->err) : "ok", "");
	print_escaped(stdout, r->text);
	(void)putchar('\n');
}

/* True when both sides answered the same. */
static bool one_op(struct driver *d, const struct op *op, size_t n, bool quiet)
{
	struct result ra, rb;

	if (op->kind == OP_REMOUNT && d->push && op->flags & 1) {
		if (d->b.pushed < MAX_PUSHES)
			side_push(d, &d->b);
		return true;
	}
	if (op->kind == OP_REMOUNT) {
		side_umount(&d->a);
		side_umount(&d->b);
		if (d->rotate && op->flags & 1 && !d->a.over[0]) {
			side_rotate(&d->a);
			side_rotate(&d->b);
		}
		side_mount(d, &d->a);
		side_mount(d, &d->b);
		return true;
	}
	op_do(&d->a, &d->setup, op, &ra);
	op_do(&d->b, &d->setup, op, &rb);
	if (d->verbose && !quiet) {
		(void)printf("%zu: ", n);
		op_print(stdout, op);
		(void)printf(" -> %s\n", ra.err ? err_name(-ra.err) : "ok");
	}
	if ((op->kind == OP_RENAME && ra.err == ENOTEMPTY && rb.err == ENOTEMPTY) ||
	    (op->kind == OP_RMDIR_OPEN && strstr(ra.text, "remove=ENOTEMPTY")))
		level_parents(d, op);
	if (ra.err == rb.err && !strcmp(ra.text, rb.text))
		return true;
	if (excused(d, op, &ra, &rb))
		return true;
	if (!quiet) {
		(void)printf("seed %llu, op %zu: ", (unsigned long long)d->seed, n);
		op_print(stdout, op);
		(void)putchar('\n');
		print_result(d->a.name, &ra);
		print_result(d->b.name, &rb);
	}
	return false;
}

static bool lowers_touched(struct driver *d, bool quiet)
{
	char a[200], b[200];

	for (unsigned int i = 0; i < d->setup.layers; i++) {
		lower_path(d, "pristine", i, a, sizeof(a));
		lower_path(d, "lower", i, b, sizeof(b));
		if (compare(d, a, b, 0, "in a lower layer, which must never change", quiet))
			return true;
	}
	return false;
}

/* What was frozen by a push is what it was then. */
static bool frozen_touched(struct driver *d, bool quiet)
{
	char lowers[sizeof(d->b.over)], copy[200], *save = NULL;
	unsigned int i = d->b.pushed;

	(void)snprintf(lowers, sizeof(lowers), "%s", d->b.over);
	for (char *p = strtok_r(lowers, ":", &save); p && i > 0; p = strtok_r(NULL, ":", &save)) {
		(void)snprintf(copy, sizeof(copy), "%s/pristine-upper%u", d->sides_dir, --i);
		if (compare(d, copy, p, TREECMP_XATTR, "in an upper that was frozen", quiet))
			return true;
	}
	return false;
}

/* The upper of ours below the kernel's overlayfs gives the same tree. */
static bool cross_check(struct driver *d, bool quiet)
{
	char work[300];
	bool ok;

	(void)snprintf(work, sizeof(work), "%s/b/kernel-work", d->sides_dir);
	(void)close(make_dir(work));
	kernel_mount(d, &d->b, work, "index=off,redirect_dir=on,xino=off,metacopy=on");
	/*
	 * Names of one lower inode that were not all copied up are joined by our
	 * work directory, which this mount has not: then only the mount is tried.
	 */
	ok = d->setup.links || d->b.over[0] ||
	     !compare(d, d->a.mnt, d->b.mnt, TREECMP_XATTR,
		      "with the upper below the kernel's overlayfs", quiet);
	unmount(d->b.mnt);
	return ok;
}

/* The end of a sequence: trees before and after a remount. */
static bool check_end(struct driver *d, bool quiet)
{
	bool ok = !compare(d, d->a.mnt, d->b.mnt, 0, "at the end", quiet);

	side_umount(&d->a);
	side_umount(&d->b);
	side_mount(d, &d->a);
	if (ok) {
		side_mount(d, &d->b);
		ok = !compare(d, d->a.mnt, d->b.mnt, 0, "after a remount", quiet);
		side_umount(&d->b);
	}
	if (ok && d->cross && !d->plain)
		ok = cross_check(d, quiet);
	side_umount(&d->a);
	return !lowers_touched(d, quiet) && !frozen_touched(d, quiet) && ok;
}

static void start(struct driver *d)
{
	side_init(d, &d->a, 'a');
	side_init(d, &d->b, 'b');
	for (unsigned int i = 0; d->push && i < MAX_PUSHES; i++) {
		char path[40];

		(void)snprintf(path, sizeof(path), "pristine-upper%u", i);
		remove_in(d->sides_dir, path);
	}
	side_mount(d, &d->a);
	side_mount(d, &d->b);
}

/* Does @n recorded operations, those with @drop set left out; true when all is equal. */
static bool replay(struct driver *d, const struct op *ops, const bool *drop, size_t n)
{
	bool ok = true;

	start(d);
	for (size_t i = 0; i < n && ok; i++)
		if (!drop[i])
			ok = one_op(d, &ops[i], i, true);
	if (ok)
		return check_end(d, true);
	side_umount(&d->a);
	side_umount(&d->b);
	return false;
}

static void minimise(struct driver *d, const struct op *ops, size_t n)
{
	cleanup_free bool *drop = calloc(n, sizeof(*drop));
	time_t end = time(NULL) + MINIMISE_SECONDS;
	size_t left = 0;

	if (!drop)
		die("out of memory");
	for (size_t chunk = n / 2 ? n / 2 : 1; chunk && time(NULL) < end; chunk /= 2) {
		for (size_t i = 0; i < n && time(NULL) < end; i += chunk) {
			cleanup_free bool *try = malloc(n * sizeof(*try));
			size_t dropped = 0;

			if (!try)
				die("out of memory");
			memcpy(try, drop, n * sizeof(*try));
			for (size_t j = i; j < i + chunk && j < n; j++) {
				dropped += !try[j];
				try[j] = true;
			}
			now_doing("minimising", d->seed, i);
			if (dropped && !replay(d, ops, try, n))
				memcpy(drop, try, n * sizeof(*drop));
		}
	}
	(void)printf("seed %llu: these operations are enough:\n", (unsigned long long)d->seed);
	for (size_t i = 0; i < n; i++) {
		if (drop[i])
			continue;
		(void)printf("  %zu: ", i);
		op_print(stdout, &ops[i]);
		(void)putchar('\n');
		left++;
	}
	(void)printf("seed %llu: %zu of %zu operations\n", (unsigned long long)d->seed, left, n);
}

/* One of several processes: its own operations in its own directory. The answer is its status. */
static int process_main(struct driver *d, unsigned int number, struct op *ops)
{
	struct rng rng = {d->seed * 64 + number};
	struct side *sides[] = {&d->a, &d->b};
	char name[16];
	bool ok = true;

	(void)snprintf(name, sizeof(name), "p%u", number);
	for (int i = 0; i < 2; i++) {
		int root = openat(sides[i]->root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (root < 0)
			die("open %s: %s", name, strerror(errno));
		(void)close(sides[i]->root);
		sides[i]->root = root;
	}
	for (size_t n = 0; n < d->ops && ok; n++) {
		(void)alarm(STUCK_SECONDS); /* its watchdog */
		op_generate(&rng, &d->setup, &d->a, &ops[n]);
		ok = ops[n].kind == OP_REMOUNT || one_op(d, &ops[n], n, false);
	}
	if (!ok)
		(void)printf("seed %llu: that was process %u\n", (unsigned long long)d->seed,
			     number);
	(void)fflush(stdout);
	return ok ? 0 : 1;
}

static bool processes_run(struct driver *d, struct op *ops)
{
	pid_t pid[MAX_PROCESSES];
	bool ok = true;

	alive = time(NULL) + PARALLEL_SECONDS;
	(void)fflush(stdout);
	for (unsigned int i = 0; i < d->processes; i++) {
		pid[i] = fork();
		if (pid[i] < 0)
			die("fork: %s", strerror(errno));
		if (pid[i] == 0)
			_exit(process_main(d, i, ops));
	}
	for (unsigned int i = 0; i < d->processes; i++) {
		int status;

		if (waitpid(pid[i], &status, 0) < 0)
			die("wait: %s", strerror(errno));
		if (status && !WIFEXITED(status))
			(void)printf("seed %llu: process %u was ended by a signal, stuck?\n",
				     (unsigned long long)d->seed, i);
		ok = ok && status == 0;
	}
	return ok;
}

static bool sequence(struct driver *d, struct op *ops)
{
	struct rng rng = {d->seed};
	size_t n = 0;
	bool ok = true;

	now_doing("the start", d->seed, 0);
	(void)clock_gettime(CLOCK_REALTIME, &d->setup.start);
	d->setup.start.tv_sec -= 2; /* file times come from a coarser clock */
	/* what joins the names of a lower inode stays behind with the work directory */
	d->setup.links = rng_percent(&rng, 50) && !d->rotate;
	d->setup.through_tar = d->lower_command != NULL;
	d->setup.layers = d->plain ? 1 : 1 + rng_below(&rng, MAX_LAYERS);
	/*
	 * overlayfs counts names of a layer's inode that an upper layer hides; a chain index has
	 * only the names that are left. With one layer nothing is hidden.
	 */
	if (d->setup.through_tar && d->setup.links)
		d->setup.layers = 1;
	lowers_init(d, d->seed);
	start(d);
	if (d->processes > 1)
		ok = processes_run(d, ops);
	for (; d->processes == 1 && n < d->ops && ok; n++) {
		op_generate(&rng, &d->setup, &d->a, &ops[n]);
		now_doing("an operation", d->seed, n);
		ok = one_op(d, &ops[n], n, false);
	}
	if (ok) {
		now_doing("the end", d->seed, n);
		ok = check_end(d, false);
	} else {
		side_umount(&d->a);
		side_umount(&d->b);
	}
	if (!ok)
		(void)printf("seed %llu: FAILED (again: --seed %llu --sequences 1 --ops %u)\n",
			     (unsigned long long)d->seed, (unsigned long long)d->seed, d->ops);
	if (!ok && d->minimise && d->processes == 1)
		minimise(d, ops, n);
	if (d->mapped)
		unmount(d->mapped_dir);
	(void)fflush(stdout);
	return ok;
}

enum {
	OPT_OURS = 1,
	OPT_REF,
	OPT_PLAIN,
	OPT_LOWER,
	OPT_DIR,
	OPT_SEED,
	OPT_SEQUENCES,
	OPT_OPS,
	OPT_NO_CROSS,
	OPT_KEEP_GOING,
	OPT_PROCESSES,
	OPT_UPPER,
	OPT_MAPPED,
	OPT_ROTATE,
	OPT_KEPT_TIMES,
	OPT_PUSH,
	OPT_VERBOSE,
	OPT_NO_MINIMISE,
	OPT_HELP
};

static const struct option options[] = {
	{"ours", required_argument, NULL, OPT_OURS},
	{"ref", required_argument, NULL, OPT_REF},
	{"plain", no_argument, NULL, OPT_PLAIN},
	{"lower", required_argument, NULL, OPT_LOWER},
	{"dir", required_argument, NULL, OPT_DIR},
	{"seed", required_argument, NULL, OPT_SEED},
	{"sequences", required_argument, NULL, OPT_SEQUENCES},
	{"ops", required_argument, NULL, OPT_OPS},
	{"no-cross", no_argument, NULL, OPT_NO_CROSS},
	{"processes", required_argument, NULL, OPT_PROCESSES},
	{"upper", required_argument, NULL, OPT_UPPER},
	{"mapped", no_argument, NULL, OPT_MAPPED},
	{"keep-going", no_argument, NULL, OPT_KEEP_GOING},
	{"rotate", no_argument, NULL, OPT_ROTATE},
	{"kept-times", no_argument, NULL, OPT_KEPT_TIMES},
	{"push", required_argument, NULL, OPT_PUSH},
	{"verbose", no_argument, NULL, OPT_VERBOSE},
	{"no-minimise", no_argument, NULL, OPT_NO_MINIMISE},
	{"help", no_argument, NULL, OPT_HELP},
	{0},
};

static bool parse(int argc, char **argv, struct driver *d)
{
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (o) {
		case OPT_OURS:
			d->ours = optarg;
			break;
		case OPT_REF:
			d->ref = optarg;
			break;
		case OPT_PLAIN:
			d->plain = true;
			break;
		case OPT_LOWER:
			d->lower_command = optarg;
			break;
		case OPT_DIR:
			d->dir = optarg;
			break;
		case OPT_SEED:
			d->seed = strtoull(optarg, NULL, 10);
			break;
		case OPT_SEQUENCES:
			d->sequences = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		case OPT_OPS:
			d->ops = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		case OPT_PROCESSES:
			d->processes = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		case OPT_UPPER:
			d->upper_dir = optarg;
			break;
		case OPT_MAPPED:
			d->mapped = true;
			d->setup.id_shift = 1000;
			break;
		case OPT_KEPT_TIMES:
			d->setup.kept_times = true;
			break;
		case OPT_ROTATE:
			d->rotate = true;
			break;
		case OPT_PUSH:
			d->push = optarg;
			break;
		case OPT_NO_CROSS:
			d->cross = false;
			break;
		case OPT_KEEP_GOING:
			d->keep_going = true;
			break;
		case OPT_VERBOSE:
			d->verbose = true;
			break;
		case OPT_NO_MINIMISE:
			d->minimise = false;
			break;
		default:
			return false;
		}
	}
	return optind == argc && d->ours && d->ops <= MAX_OPS && d->processes &&
	       d->processes <= MAX_PROCESSES && !(d->mapped && d->upper_dir) &&
	       !(d->rotate && d->plain);
}

static const char *scratch_make(const char *dir, char *path, size_t size)
{
	(void)snprintf(path, size, "%s/diffop-XXXXXX", dir);
	if (!mkdtemp(path) || chmod(path, 0755) < 0)
		die("%s: %s", path, strerror(errno));
	return path;
}

static void scratch_remove(char *path)
{
	char *slash = strrchr(path, '/');

	*slash = '\0';
	remove_in(path, slash + 1);
}

int main(int argc, char **argv)
{
	static struct driver d = {.ref = "kernel",
				  .dir = "/tmp",
				  .seed = 0,
				  .sequences = 1,
				  .ops = 200,
				  .processes = 1,
				  .cross = true,
				  .minimise = true};
	struct op *ops = calloc(MAX_OPS, sizeof(*ops));
	char scratch[120], upper_scratch[120] = "";
	unsigned int failed = 0, done = 0;
	pthread_t thread;
	uint64_t first;

	d.seed = (uint64_t)time(NULL);
	if (!parse(argc, argv, &d) || !ops) {
		(void)fputs(usage, stderr);
		return 2;
	}
	memset(diff_long_name, 'L', 255);
	memset(diff_too_long_name, 'L', 256);
	d.a = (struct side){.name = d.plain ? "plain" : "ref", .command = d.ref, .plain = d.plain};
	d.b = (struct side){
		.name = "ours", .command = d.ours, .check_ino = strcmp(d.ours, "kernel") != 0};
	d.setup.root = geteuid() == 0 && !d.plain;
	if (geteuid() == 0) {
		(void)setgroups(0, NULL);
		/* whatever happens, no mount outlives us */
		if (unshare(CLONE_NEWNS) < 0 ||
		    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
			die("own mount namespace: %s", strerror(errno));
	}
	d.dir = scratch_make(d.dir, scratch, sizeof(scratch));
	if (d.upper_dir)
		d.upper_dir = scratch_make(d.upper_dir, upper_scratch, sizeof(upper_scratch));
	alive = time(NULL);
	if (pthread_create(&thread, NULL, watchdog, NULL) != 0)
		die("thread");
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	first = d.seed;
	(void)printf("diffop: seeds %llu to %llu, %u operations each, ours: %s, reference: %s\n",
		     (unsigned long long)first, (unsigned long long)(first + d.sequences - 1),
		     d.ops, d.ours, d.plain ? "a plain directory" : d.ref);
	for (; done < d.sequences && (failed == 0 || d.keep_going); done++, d.seed++) {
		failed += !sequence(&d, ops);
		if (failed)
			d.minimise = false; /* one is enough to start with */
	}
	(void)printf("diffop: %u of %u sequences differ\n", failed, done);
	free(ops);
	scratch_remove(scratch);
	if (d.upper_dir)
		scratch_remove(upper_scratch);
	return failed ? 1 : 0;
}
