/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/json.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "snapshotter/keeper.h"
#include "snapshotter/mount_private.h"

#define STATUS_NOT_STARTED  125
#define STATUS_NOT_RUNNABLE 126
#define STATUS_NOT_FOUND    127
#define LOG_SIZE_MAX	    (1u << 20)

static bool in_path(const char *name)
{
	const char *path = getenv("PATH");
	char *copy cleanup_free = strdup(path ? path : "/usr/sbin:/usr/bin:/sbin:/bin"), *save;
	bool found = false;

	for (char *dir = copy ? strtok_r(copy, ":", &save) : NULL; dir && !found;
	     dir = strtok_r(NULL, ":", &save)) {
		char *full cleanup_free = NULL;

		found = asprintf(&full, "%s/%s", dir, name) > 0 && access(full, X_OK) == 0;
	}
	return found;
}

static bool has_cgroup2_alone(void)
{
	struct statfs st;

	return statfs("/sys/fs/cgroup", &st) == 0 &&
	       (unsigned long)st.f_type == CGROUP2_SUPER_MAGIC;
}

int runtime_find(const char *name, struct runtime *ret, struct err *err)
{
	struct runtime rt = {.cgroup2 = has_cgroup2_alone()};

	if (name && strcmp(name, "runc") != 0 && strcmp(name, "crun") != 0)
		return err_msg(err, -EINVAL, "'%s' is no runtime: runc or crun", name);
	if (name)
		rt.name = strcmp(name, "runc") == 0 ? "runc" : "crun";
	else if (rt.cgroup2) /* crun is the faster one, but refuses the older hierarchies */
		rt.name = in_path("crun") ? "crun" : "runc";
	else
		rt.name = in_path("runc") ? "runc" : "crun";
	if (!in_path(rt.name)) {
		(void)err_msg(err, -ENOENT, "%s is not in PATH",
			      name ? name : "neither runc nor crun");
		err_hint(err, "install runc or crun");
		return -ENOENT;
	}
	rt.no_cgroups = !rt.cgroup2 && strcmp(rt.name, "crun") == 0;
	*ret = rt;
	return 0;
}

struct call {
	const struct runtime *rt;
	const char *id;
	char *bundle, *state, *log;
};

static void call_release(struct call *c)
{
	free(c->bundle);
	free(c->state);
	free(c->log);
}

static int call_init(struct call *c, const struct runtime *rt, const char *dir, const char *id)
{
	*c = (struct call){.rt = rt, .id = id};
	return asprintf(&c->bundle, "%s", dir) < 0 || asprintf(&c->state, "%s/state", dir) < 0 ||
			       asprintf(&c->log, "%s/log", dir) < 0
		       ? -ENOMEM
		       : 0;
}

/* In the child: nothing of ours but the standard streams goes on. Does not return. */
static void become_runtime(const struct call *c, pid_t parent, const sigset_t *mask)
{
	const char *argv[16];
	size_t n = 0;

	argv[n++] = c->rt->name;
	argv[n++] = "--root";
	argv[n++] = c->state;
	argv[n++] = "--log";
	argv[n++] = c->log;
	argv[n++] = "--log-format";
	argv[n++] = "json";
	if (c->rt->no_cgroups)
		argv[n++] = "--cgroup-manager=disabled";
	argv[n++] = "run";
	argv[n++] = "--bundle";
	argv[n++] = c->bundle;
	argv[n++] = c->id;
	argv[n] = NULL;
	(void)signal(SIGPIPE, SIG_DFL);
	/* a snap that was killed cannot clean up, but its container is asked to end */
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent) /* too late to hear of it */
		_exit(STATUS_NOT_STARTED);
	(void)syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC);
	(void)sigprocmask(SIG_SETMASK, mask, NULL);
	(void)execvp(argv[0], (char *const *)(uintptr_t)argv);
	(void)fprintf(stderr, "snap: run '%s': %s\n", argv[0], strerror(errno));
	_exit(STATUS_NOT_STARTED);
}

/* All that may be passed on. What the terminal sends to the whole group reaches the runtime itself.
 */
static void signals_to_pass(sigset_t *set)
{
	static const int ours[] = {SIGSEGV, SIGBUS,  SIGFPE,  SIGILL,  SIGTRAP,
				   SIGABRT, SIGTSTP, SIGTTIN, SIGTTOU, SIGPIPE};

	(void)sigfillset(set);
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		(void)sigdelset(set, ours[i]);
}

static int wait_and_pass(pid_t pid, const sigset_t *set)
{
	for (;;) {
		siginfo_t info;
		int status, sig = sigwaitinfo(set, &info);

		if (sig < 0)
			continue;
		if (sig != SIGCHLD) {
			if (info.si_code <= 0) /* of a process, not of the kernel */
				(void)kill(pid, sig);
			continue;
		}
		if (waitpid(pid, &status, WNOHANG) == pid)
			return status;
	}
}

/* The runtime's last error, free() it; NULL: it had none. */
static char *runtime_error(const struct call *c)
{
	char *text cleanup_free = NULL, *save, *message = NULL;
	size_t len;

	if (io_read_path(c->log, LOG_SIZE_MAX, &text, &len) < 0)
		return NULL;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		struct json *doc cleanup_json = NULL;
		const char *level, *msg;

		if (json_parse(line, strlen(line), &doc, NULL) < 0)
			continue;
		level = json_string(json_get(doc, "level"));
		msg = json_string(json_get(doc, "msg"));
		if (!msg || (level && strcmp(level, "error") != 0 && strcmp(level, "fatal") != 0))
			continue;
		free(message);
		message = strdup(msg);
	}
	return message;
}

/* As podman tells them apart. */
static int status_of(const char *message)
{
	if (strcasestr(message, "executable file not found") ||
	    strcasestr(message, "no such file or directory"))
		return STATUS_NOT_FOUND;
	if (strcasestr(message, "permission denied") || strcasestr(message, "exec format error") ||
	    strcasestr(message, "is a directory"))
		return STATUS_NOT_RUNNABLE;
	return STATUS_NOT_STARTED;
}

static int result(const struct call *c, int status, bool speak, int *ret, struct err *err)
{
	char *message cleanup_free = NULL;

	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		*ret = 0;
		return 0;
	}
	message = runtime_error(c);
	if (!message) {
		*ret = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
		return 0;
	}
	*ret = status_of(message);
	if (!speak) /* the runtime has said so */
		return 0;
	return err_msg(err, -EIO, "%s: %s", c->rt->name, message);
}

/* One that was killed half-way leaves its container. */
static void remove_container(const struct call *c)
{
	struct err err = ERR_INIT;

	if (run_program((const char *const[]){c->rt->name, "--root", c->state, "delete", "--force",
					      c->id, NULL},
			&err) < 0)
		log_info("%s delete: %s", c->rt->name, err.msg);
}

int runtime_run(const struct runtime *rt, const struct runtime_place *place, const char *id,
		bool speak, int *ret, struct err *err)
{
	struct call c CLEANUP(call_release) = {.rt = rt};
	sigset_t set, before;
	pid_t pid, own = getpid();
	int status, r;

	if (call_init(&c, rt, place->dir, id) < 0)
		return err_set(err, -ENOMEM, "run '%s'", rt->name);
	r = keeper_watch(rt->name, c.state, id, place->dir_fd, place->lock_fd, err);
	if (r < 0)
		return r;
	signals_to_pass(&set);
	(void)sigprocmask(SIG_BLOCK, &set, &before);
	pid = fork();
	if (pid == 0)
		become_runtime(&c, own, &before);
	if (pid < 0) {
		keeper_done();
		(void)sigprocmask(SIG_SETMASK, &before, NULL);
		return err_set(err, -errno, "run '%s'", rt->name);
	}
	keeper_runtime(pid);
	status = wait_and_pass(pid, &set);
	if (WIFSIGNALED(status))
		remove_container(&c);
	keeper_done();
	/* they stay blocked: what follows is cleaning up, and not to be interrupted */
	return result(&c, status, speak, ret, err);
}
