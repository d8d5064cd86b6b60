/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/userns.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "overlay/idmap.h"
#include "snapshotter/keeper.h"
#include "snapshotter/mount_private.h"
#include "snapshotter/running.h"

#define RANGES_FILE_MAX (1u << 20)

static bool entered;

bool snap_userns_entered(void)
{
	return entered;
}

struct range {
	uint64_t inside, outside, count;
};

/* Calls @fn for each line of /proc/self/@map until it returns true. */
static bool map_any(const char *map, bool (*fn)(void *ctx, const struct range *r), void *ctx)
{
	char path[40];
	struct range r;
	bool found = false;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/self/%s", map);
	f = fopen(path, "re");
	while (f && !found &&
	       fscanf(f, "%" SCNu64 " %" SCNu64 " %" SCNu64, &r.inside, &r.outside, &r.count) == 3)
		found = fn(ctx, &r);
	if (f)
		(void)fclose(f);
	return found;
}

static bool is_everything(void *ctx, const struct range *r)
{
	(void)ctx;
	return r->inside == 0 && r->outside == 0 && r->count >= UINT32_MAX;
}

bool snap_userns_inside(void)
{
	return !map_any("uid_map", is_everything, NULL);
}

static bool covers(void *ctx, const struct range *r)
{
	uint64_t id = *(const uint64_t *)ctx;

	return id >= r->inside && id - r->inside < r->count;
}

bool snap_userns_has(const char *map, uint32_t id)
{
	uint64_t wide = id;

	return map_any(map, covers, &wide);
}

static bool goes_on(void *ctx, const struct range *r)
{
	uint64_t *end = ctx;

	if (r->inside == *end) /* the kernel shows them in the order of their writing */
		*end += r->count;
	return false;
}

uint64_t snap_userns_ids(const char *map)
{
	uint64_t end = 0;

	(void)map_any(map, goes_on, &end);
	return end;
}

bool snap_userns_setgroups(void)
{
	char *text cleanup_free = NULL;
	size_t len;

	return io_read_path("/proc/self/setgroups", 100, &text, &len) < 0 ||
	       strncmp(text, "deny", 4) != 0;
}

size_t userns_ranges_parse(const char *text, const char *user, uid_t uid,
			   struct userns_range ret[USERNS_RANGES_MAX])
{
	char number[16];
	size_t n = 0;

	(void)snprintf(number, sizeof(number), "%u", uid);
	for (const char *p = text, *end; *p && n < USERNS_RANGES_MAX; p = *end ? end + 1 : end) {
		size_t len = strcspn(p, ":\n");
		struct userns_range r;
		int at = 0;

		end = strchrnul(p, '\n');
		if (p[len] != ':' || !((len == strlen(user) && strncmp(p, user, len) == 0) ||
				       (len == strlen(number) && strncmp(p, number, len) == 0)))
			continue;
		if (sscanf(p + len, ":%10" SCNu64 ":%10" SCNu64 "%n", &r.start, &r.count, &at) !=
			    2 ||
		    p + len + at != end || r.count == 0 || r.start + r.count > UINT32_MAX)
			continue;
		ret[n++] = r;
	}
	return n;
}

/* "0 OWN 1  1 START COUNT ..." as arguments of newuidmap. */
struct map_command {
	char *argv[3 + 3 * (USERNS_RANGES_MAX + 1) + 1];
	size_t n;
};

static void map_command_release(struct map_command *m)
{
	for (size_t i = 0; i < m->n; i++)
		free(m->argv[i]);
}

static int add_word(struct map_command *m, const char *word)
{
	m->argv[m->n] = strdup(word);
	return m->argv[m->n] ? (m->n++, 0) : -ENOMEM;
}

static int add_number(struct map_command *m, uint64_t v)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%" PRIu64, v);
	return add_word(m, text);
}

/* -ENOENT: the user has no range in @file. */
static int read_ranges(const char *file, struct userns_range ret[USERNS_RANGES_MAX], size_t *ret_n)
{
	struct passwd *pw = getpwuid(getuid());
	char *text cleanup_free = NULL;
	size_t len;
	int r = io_read_path(file, RANGES_FILE_MAX, &text, &len);

	if (r < 0)
		return r;
	*ret_n = userns_ranges_parse(text, pw ? pw->pw_name : "", getuid(), ret);
	return *ret_n == 0 ? -ENOENT : 0;
}

static int make_command(struct map_command *m, const char *program, pid_t pid, const char *file,
			uint64_t own)
{
	struct userns_range *ranges cleanup_free = calloc(USERNS_RANGES_MAX, sizeof(*ranges));
	size_t n = 0;
	uint64_t next = 1;
	int r = ranges ? read_ranges(file, ranges, &n) : -ENOMEM;

	if (r == 0)
		r = add_word(m, program);
	if (r == 0)
		r = add_number(m, (uint64_t)pid);
	for (size_t i = 0; i <= n && r == 0; i++) {
		r = add_number(m, i > 0 ? next : 0);
		if (r == 0)
			r = add_number(m, i > 0 ? ranges[i - 1].start : own);
		if (r == 0)
			r = add_number(m, i > 0 ? ranges[i - 1].count : 1);
		next += i > 0 ? ranges[i - 1].count : 0;
	}
	m->argv[m->n] = NULL;
	return r;
}

static int add_host_ids(struct ovl_idmap *m, const char *file, uint32_t own)
{
	struct userns_range *ranges cleanup_free = calloc(USERNS_RANGES_MAX, sizeof(*ranges));
	struct strbuf text CLEANUP(strbuf_release) = STRBUF_INIT;
	size_t n = 0;
	uint64_t next = 1;
	int none = ranges ? read_ranges(file, ranges, &n) : -ENOMEM;
	int r = none < 0 && none != -ENOENT ? none : strbuf_addf(&text, "0:%u:1", own);

	for (size_t i = 0; r == 0 && i < n; i++) {
		r = strbuf_addf(&text, ":%" PRIu64 ":%" PRIu64 ":%" PRIu64, next, ranges[i].start,
				ranges[i].count);
		next += ranges[i].count;
	}
	if (r == 0)
		r = ovl_idmap_parse(m, text.s);
	return r < 0 ? r : none;
}

int userns_host_ids(struct ovl_idmap *uids, struct ovl_idmap *gids, struct err *err)
{
	int r = add_host_ids(uids, "/etc/subuid", geteuid());
	int g = r == 0 || r == -ENOENT ? add_host_ids(gids, "/etc/subgid", getegid()) : r;

	if (g < 0 && g != -ENOENT)
		return err_set(err, g, "read the ranges of /etc/subuid and /etc/subgid");
	return r < 0 ? r : g;
}

/* Runs outside of the new namespace: there it is still the user that newuidmap(1) knows. */
static int map_from_outside(pid_t pid)
{
	static const char *const what[][2] = {{"newgidmap", "/etc/subgid"},
					      {"newuidmap", "/etc/subuid"}};
	struct map_command m[2] = {{.n = 0}, {.n = 0}};
	struct err err = ERR_INIT;
	int r = 0;

	/* both or none: one that fails leaves the other to the single id */
	for (int i = 0; i < 2 && r == 0; i++)
		r = make_command(&m[i], what[i][0], pid, what[i][1], i == 0 ? getgid() : getuid());
	for (int i = 0; i < 2 && r == 0; i++) {
		r = run_program((const char *const *)m[i].argv, &err);
		if (r < 0)
			log_warn("%s: %s: there is one id only", what[i][0], err.msg);
	}
	map_command_release(&m[0]);
	map_command_release(&m[1]);
	return r;
}

static int write_file(const char *path, const char *text)
{
	int fd cleanup_close = open(path, O_WRONLY | O_CLOEXEC);

	return fd < 0 ? -errno : io_write_full(fd, text, strlen(text));
}

/* What needs no privilege: the own id is 0, and there is no other (user_namespaces(7)). */
static int map_single(uid_t uid, gid_t gid, struct err *err)
{
	char text[40];
	int r = write_file("/proc/self/setgroups", "deny");

	if (r == -ENOENT) /* before Linux 3.19 */
		r = 0;
	(void)snprintf(text, sizeof(text), "0 %u 1\n", gid);
	if (r == 0)
		r = write_file("/proc/self/gid_map", text);
	if (r == -EPERM) /* newgidmap did its part before newuidmap failed */
		r = 0;
	(void)snprintf(text, sizeof(text), "0 %u 1\n", uid);
	if (r == 0)
		r = write_file("/proc/self/uid_map", text);
	return r < 0 ? err_set(err, r, "map the user into the namespace") : 0;
}

static int no_namespace(int code, struct err *err)
{
	(void)err_set(err, code, "make a user namespace");
	err_hint(err, "'snap doctor' says what is missing and how to mend it");
	return code;
}

static int export_owner(uid_t uid)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "%u", uid);
	return setenv("SNAP_ROOTLESS_UID", text, 1) < 0 ? -errno : 0;
}

/* The helper waits for the namespace to be there and is told by one byte; nothing: it is not. */
static pid_t start_helper(int go[2])
{
	pid_t parent = getpid(), pid;
	char byte;

	if (pipe2(go, O_CLOEXEC) < 0)
		return -1;
	pid = fork();
	if (pid != 0) {
		int saved = errno;

		closep(&go[0]);
		errno = saved;
		return pid;
	}
	closep(&go[1]);
	if (io_read_full(go[0], &byte, 1) < 0)
		_exit(2);
	_exit(map_from_outside(parent) == 0 ? 0 : 1);
}

static int enter_user(struct err *err)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	int go[2] = {-1, -1}, status = 0, r = 0;
	pid_t helper;

	(void)fflush(NULL);
	helper = start_helper(go);
	if (helper < 0) {
		r = err_set(err, -errno, "start a helper");
		closep(&go[1]);
		return r;
	}
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		r = no_namespace(-errno, err);
	else if (io_write_full(go[1], "", 1) < 0)
		r = err_msg(err, -EIO, "the helper that maps ids is gone");
	closep(&go[1]);
	while (waitpid(helper, &status, 0) < 0 && errno == EINTR)
		;
	if (r < 0)
		return r;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		r = map_single(uid, gid, err);
	if (r == 0 && (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0))
		r = err_set(err, -errno, "become root of the namespace");
	if (r == 0)
		r = export_owner(uid);
	entered = r == 0;
	return r;
}

int snap_userns_enter(struct err *err)
{
	int r = 0;

	if (geteuid() != 0)
		r = enter_user(err);
	else if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		r = err_set(err, -errno, "make a mount namespace");
	return r < 0 ? r : keeper_start(err);
}

/* The namespaces of a live process; the working directory stays where its name leads there. */
static int join(int pidfd, struct err *err)
{
	char *cwd cleanup_free = get_current_dir_name();
	uid_t uid = geteuid();
	bool user = uid != 0;

	if (setns(pidfd, (user ? CLONE_NEWUSER : 0) | CLONE_NEWNS) < 0)
		return err_set(err, -errno, "enter the namespaces of the container");
	if (user && (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0))
		return err_set(err, -errno, "become root of the container's namespace");
	if (cwd && chdir(cwd) < 0)
		return err_set(err, -errno, "change to '%s' in the container's namespace", cwd);
	entered = entered || user;
	return user ? export_owner(uid) : 0;
}

int snap_userns_follow(struct snap_store **store, const char *key, struct err *err)
{
	int pidfd cleanup_close = snap_running(*store, key);
	bool marked = pidfd < 0 && geteuid() != 0 && snap_written_inside(*store, key);
	int r;

	if (pidfd < 0 && !marked)
		return 0;
	snap_store_close(*store);
	*store = NULL;
	r = pidfd >= 0 ? join(pidfd, err) : snap_userns_enter(err);
	return r < 0 ? err_wrap(err, r, "'%s'", key) : 1;
}
