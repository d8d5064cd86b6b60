/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/reader_start.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "oci/limits.h"

#define PROGRAM	 "snap-reader"
#define FIRST_FD 10 /* above those that the reader gets */

bool oci_reader_is_confined(void)
{
	const char *how = getenv("SNAP_SANDBOX");

	return !how || strcmp(how, "off") != 0;
}

char *oci_reader_program(void)
{
	static const char *const places[] = {"", "../libexec/"};
	const char *named = getenv("SNAP_READER");
	char *self cleanup_free = NULL, *slash, *path;

	if (named)
		return strdup(named);
	self = realpath("/proc/self/exe", NULL);
	slash = self ? strrchr(self, '/') : NULL;
	for (size_t i = 0; slash && i < sizeof(places) / sizeof(places[0]); i++) {
		if (asprintf(&path, "%.*s/%s" PROGRAM, (int)(slash - self), self, places[i]) < 0)
			return NULL;
		if (access(path, X_OK) == 0)
			return path;
		free(path);
	}
	return access(SNAP_LIBEXECDIR "/" PROGRAM, X_OK) == 0 ? strdup(SNAP_LIBEXECDIR "/" PROGRAM)
							      : NULL;
}

/* Nothing of the environment is its business, but where libraries are and what a sanitizer is told.
 */
static void pick_environment(char *ret[8])
{
	static const char *const names[] = {"LD_LIBRARY_PATH=", "ASAN_OPTIONS=", "LSAN_OPTIONS=",
					    "TSAN_OPTIONS=", "UBSAN_OPTIONS="};
	size_t n = 0;

	for (char **e = environ; e && *e; e++) {
		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && n < 7; i++) {
			if (strncmp(*e, names[i], strlen(names[i])) == 0)
				ret[n++] = *e;
		}
	}
	ret[n] = NULL;
}

static int spawn(const char *program, const int fds[3], pid_t *ret)
{
	char *argv[] = {(char *)(uintptr_t)PROGRAM,
			oci_reader_is_confined() ? NULL : (char *)(uintptr_t) "unconfined", NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	char *env[8];
	int r = posix_spawn_file_actions_init(&actions);

	if (r)
		return -r;
	r = posix_spawnattr_init(&attr);
	if (r) {
		(void)posix_spawn_file_actions_destroy(&actions);
		return -r;
	}
	pick_environment(env);
	for (int i = 0; i < 3 && r == 0; i++)
		r = posix_spawn_file_actions_adddup2(&actions, fds[i], READER_SOCK + i);
	/* who started us may ignore or block what is to end it; a terminal's Ctrl-C is ours to
	 * answer */
	(void)sigemptyset(&none);
	(void)sigfillset(&all);
	(void)posix_spawnattr_setsigmask(&attr, &none);
	(void)posix_spawnattr_setsigdefault(&attr, &all);
	(void)posix_spawnattr_setpgroup(&attr, 0);
	if (r == 0)
		r = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
							    POSIX_SPAWN_SETPGROUP);
	if (r == 0)
		r = posix_spawn(ret, program, &actions, &attr, argv, env);
	(void)posix_spawnattr_destroy(&attr);
	(void)posix_spawn_file_actions_destroy(&actions);
	return -r;
}

/* Memory that both see. Nobody can make it shorter, which would be a SIGBUS for the other. */
static int share(const char *name, size_t size, int *ret_fd)
{
	int fd cleanup_close = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int high;

	if (fd < 0 || ftruncate(fd, (off_t)size) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
		return -errno;
	high = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FD);
	if (high < 0)
		return -errno;
	*ret_fd = high;
	return 0;
}

static int map(struct oci_reader_link *link, int in_fd, int out_fd)
{
	void *in = mmap(NULL, READER_IN_SLOTS * READER_IN_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			in_fd, 0);
	void *out;

	if (in == MAP_FAILED)
		return -errno;
	link->in = in;
	out = mmap(NULL, READER_OUT_SLOTS * READER_OUT_SIZE, PROT_READ, MAP_SHARED, out_fd, 0);
	if (out == MAP_FAILED)
		return -errno;
	link->out = out;
	/* whoever maps it from here on cannot write to it, neither now nor by mprotect(2) */
	return fcntl(in_fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) < 0 ? -errno : 0;
}

static int start(struct oci_reader_link *link, const char *program)
{
	int in cleanup_close = -1, out cleanup_close = -1, theirs cleanup_close = -1, pair[2];
	int r = share("snap-reader-in", READER_IN_SLOTS * READER_IN_SIZE, &in);

	if (r == 0)
		r = share("snap-reader-out", READER_OUT_SLOTS * READER_OUT_SIZE, &out);
	if (r == 0)
		r = map(link, in, out);
	if (r < 0)
		return r;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	link->sock = pair[0];
	theirs = fcntl(pair[1], F_DUPFD_CLOEXEC, FIRST_FD);
	(void)close(pair[1]);
	if (theirs < 0)
		return -errno;
	return spawn(program, (const int[]){theirs, in, out}, &link->pid);
}

static int send_all(int sock, const void *data, size_t len)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = send(sock, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -EPIPE;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int oci_reader_start(struct oci_reader_link *ret, enum oci_compression compression,
		     enum reader_content content, const struct oci_limits *limits, struct err *err)
{
	struct oci_reader_link link = OCI_READER_LINK_INIT;
	struct reader_start first = {.magic = READER_MAGIC,
				     .compression = compression,
				     .content = content,
				     .limits = *limits};
	char *program cleanup_free = oci_reader_program();
	int r;

	if (!program) {
		(void)err_msg(err, -ENOENT,
			      "the program that reads layers, " PROGRAM ", is not installed");
		err_hint(err, "it belongs into " SNAP_LIBEXECDIR);
		return -ENOENT;
	}
	r = start(&link, program);
	if (r < 0) {
		oci_reader_end(&link);
		return err_set(err, r, "start '%s'", program);
	}
	/* if it is gone already, that is found out by who waits for its answer */
	(void)send_all(link.sock, &first, sizeof(first));
	*ret = link;
	return 0;
}

int oci_reader_order(const struct oci_reader_link *link, uint32_t type, uint32_t n)
{
	struct reader_order order = {.type = type, .n = n};

	return send_all(link->sock, &order, sizeof(order));
}

void oci_reader_hang_up(const struct oci_reader_link *link)
{
	(void)shutdown(link->sock, SHUT_WR);
}

static int wait_for(struct oci_reader_link *link)
{
	int status = 0;
	pid_t pid;

	do
		pid = waitpid(link->pid, &status, 0);
	while (pid < 0 && errno == EINTR);
	link->pid = 0;
	return status;
}

int oci_reader_why(struct oci_reader_link *link, struct err *err)
{
	int status;

	if (!link->pid)
		return err_msg(err, -EBADMSG, "the layer's reader is gone");
	/* it may have closed its socket and go on; one that is ending already keeps its reason */
	(void)kill(link->pid, SIGKILL);
	status = wait_for(link);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
		return err_msg(err, -EBADMSG,
			       "the layer's reader was stopped when it tried what it may not");
	if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
		return err_msg(err, -EBADMSG, "the layer's reader died: SIG%s",
			       sigabbrev_np(WTERMSIG(status)));
	return err_msg(err, -EBADMSG, "the layer's reader ended too early");
}

void oci_reader_end(struct oci_reader_link *link)
{
	if (link->pid) {
		(void)kill(link->pid, SIGKILL);
		(void)wait_for(link);
	}
	if (link->in)
		(void)munmap(link->in, READER_IN_SLOTS * READER_IN_SIZE);
	if (link->out)
		(void)munmap((void *)(uintptr_t)link->out, READER_OUT_SLOTS * READER_OUT_SIZE);
	closep(&link->sock);
	*link = (struct oci_reader_link)OCI_READER_LINK_INIT;
}

int oci_reader_try(struct err *err)
{
	struct oci_reader_link link CLEANUP(oci_reader_end) = OCI_READER_LINK_INIT;
	struct oci_limits limits;
	struct reader_answer a;
	struct reader_failure f;
	int r;

	oci_limits_fill(NULL, &limits);
	r = oci_reader_start(&link, OCI_PLAIN, READER_LAYER, &limits, err);
	if (r == 0 && oci_reader_order(&link, READER_INPUT, 0) < 0)
		r = oci_reader_why(&link, err);
	if (r < 0)
		return r;
	if (io_read_full(link.sock, &a, sizeof(a)) < 0)
		return oci_reader_why(&link, err);
	if (a.type == READER_END)
		return 0;
	if (a.type != READER_FAILED || io_read_full(link.sock, &f, sizeof(f)) < 0)
		return oci_reader_why(&link, err);
	return reader_get_failure(&f, sizeof(f), err);
}
