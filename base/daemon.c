/* SPDX-License-Identifier: Apache-2.0 */
#include "base/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"

/* Nobody who waits for the end of our output may wait for the end of the server. */
static int release_streams(struct err *err)
{
	int null cleanup_close = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return err_set(err, -errno, "open '/dev/null'");
	for (int fd = 0; fd <= 2; fd++)
		if (null != fd && dup2(null, fd) < 0)
			return err_set(err, -errno, "release standard streams");
	if (null <= 2)
		(void)steal_fd(&null);
	return 0;
}

static void report(struct daemon *d, const struct err *err)
{
	if (d->report_fd < 0)
		return;
	/* The caller died: then nobody is told, and the server is as good. */
	if (io_write_full(d->report_fd, err, sizeof(*err)) < 0)
		log_debug("nobody waits for the server any more");
	closep(&d->report_fd);
}

int daemon_ready(struct daemon *d, struct err *err)
{
	static const struct err fine = ERR_INIT;
	int r = d->report_fd >= 0 ? release_streams(err) : 0;

	if (r == 0)
		report(d, &fine);
	return r;
}

int daemon_run(daemon_fn serve, void *ctx, struct err *err)
{
	struct daemon d = {.report_fd = -1};

	return serve(ctx, &d, err);
}

static _Noreturn void child(daemon_fn serve, void *ctx, int fd)
{
	struct daemon d = {.report_fd = fd};
	struct err err = ERR_INIT;
	int r = 0;

	(void)setsid();
	if (chdir("/") < 0) /* the caller's folder must stay free to be unmounted or removed */
		r = err_set(&err, -errno, "chdir '/'");
	if (r == 0)
		r = serve(ctx, &d, &err);
	if (r < 0 && err.code == 0)
		(void)err_set(&err, r, "serve");
	if (r < 0 && d.report_fd < 0)
		log_error("%s", err.msg);
	report(&d, &err);
	_exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

int daemon_start(const char *what, daemon_fn serve, void *ctx, struct err *err)
{
	struct err told = ERR_INIT;
	int pipes[2], status = 0, r;
	pid_t pid;

	if (pipe2(pipes, O_CLOEXEC) < 0)
		return err_set(err, -errno, "make a pipe");
	pid = fork();
	if (pid < 0) {
		r = err_set(err, -errno, "start %s", what);
		(void)close(pipes[0]);
		(void)close(pipes[1]);
		return r;
	}
	if (pid == 0) {
		(void)close(pipes[0]);
		child(serve, ctx, pipes[1]);
	}
	(void)close(pipes[1]);
	r = io_read_full(pipes[0], &told, sizeof(told));
	(void)close(pipes[0]);
	if (r == 0 && told.code == 0)
		return 0;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (r < 0)
		return err_msg(err, -EIO, "%s died with %s %d", what,
			       WIFSIGNALED(status) ? "signal" : "status",
			       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	if (err)
		*err = told;
	return told.code;
}
