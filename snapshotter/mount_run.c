/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "snapshotter/mount_private.h"

/* Programs that mount and unmount for us, and the processes they leave behind. */

/* All that it says until it lets go of its standard error; the last line that is not empty. */
static void read_last_line(int fd, char *line, size_t size)
{
	char buf[4096];
	size_t len = 0;
	ssize_t n;

	while ((n = read(fd, buf + len, sizeof(buf) - 1 - len)) > 0 || (n < 0 && errno == EINTR)) {
		if (n < 0)
			continue;
		len += (size_t)n;
		if (len == sizeof(buf) - 1) { /* keep the end */
			memmove(buf, buf + len / 2, len - len / 2);
			len -= len / 2;
		}
	}
	while (len > 0 && isspace((unsigned char)buf[len - 1]))
		len--;
	buf[len] = '\0';
	n = (ssize_t)len;
	while (n > 0 && buf[n - 1] != '\n')
		n--;
	(void)snprintf(line, size, "%s", buf + n);
}

static int spawn(const char *const argv[], int err_fd, pid_t *ret)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, defaults;
	int r = posix_spawn_file_actions_init(&actions);

	if (r != 0)
		return -r;
	r = posix_spawnattr_init(&attr);
	if (r != 0) {
		(void)posix_spawn_file_actions_destroy(&actions);
		return -r;
	}
	/* what we block or ignore is our own affair */
	(void)sigemptyset(&none);
	(void)sigemptyset(&defaults);
	(void)sigaddset(&defaults, SIGPIPE);
	(void)posix_spawnattr_setsigmask(&attr, &none);
	(void)posix_spawnattr_setsigdefault(&attr, &defaults);
	(void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	r = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&actions, 0, 1);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&actions, err_fd, 2);
	if (r == 0)
		r = posix_spawnp(ret, argv[0], &actions, &attr, (char *const *)(uintptr_t)argv,
				 environ);
	(void)posix_spawnattr_destroy(&attr);
	(void)posix_spawn_file_actions_destroy(&actions);
	return -r;
}

int run_program(const char *const argv[], struct err *err)
{
	char line[300] = "";
	int fds[2], status, r;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_set(err, -errno, "pipe");
	r = spawn(argv, fds[1], &pid);
	(void)close(fds[1]);
	if (r < 0) {
		(void)close(fds[0]);
		return err_set(err, r, "run '%s'", argv[0]);
	}
	read_last_line(fds[0], line, sizeof(line));
	(void)close(fds[0]);
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return err_set(err, -errno, "wait for '%s'", argv[0]);
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFSIGNALED(status))
		return err_msg(err, -EIO, "'%s' was killed by signal %d", argv[0],
			       WTERMSIG(status));
	return err_msg(err, -EIO, "%s", line[0] ? line : "the mount program failed without a word");
}

int unmount_target(const char *target, bool lazy, struct err *err)
{
	const char *argv[] = {"fusermount3", lazy ? "-uz" : "-u", "--", target, NULL};
	int r;

	if (umount2(target, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0)
		return 0;
	r = -errno;
	if (r == -EPERM)
		r = run_program(argv, err);
	else if (r == -EBUSY)
		r = err_msg(err, -EBUSY, "'%s' is in use", target);
	else
		r = err_set(err, r, "unmount '%s'", target);
	if (r == -EBUSY)
		err_hint(err, "end what works in it; 'fuser -vm' lists the processes");
	return r;
}

/* Is @source one of the process's arguments? */
static bool serves(int proc, const char *pid, const char *source)
{
	char path[32], buf[8192];
	int fd cleanup_close = -1;
	size_t len = 0;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "%.20s/cmdline", pid);
	fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	while (len < sizeof(buf) - 1 && (n = read(fd, buf + len, sizeof(buf) - 1 - len)) > 0)
		len += (size_t)n;
	buf[len] = '\0';
	for (const char *p = buf; p < buf + len; p += strlen(p) + 1) {
		if (strcmp(p, source) == 0)
			return true;
	}
	return false;
}

int mount_servers(const char *source, int **ret_pidfds, size_t *ret_n)
{
	DIR *dir cleanup_closedir = opendir("/proc");
	int *fds cleanup_free = NULL;
	struct dirent *d;
	size_t n = 0;

	if (!dir)
		return -errno;
	while ((d = readdir(dir))) {
		int *p, fd;

		if (!isdigit((unsigned char)d->d_name[0]) || atoi(d->d_name) == getpid() ||
		    !serves(dirfd(dir), d->d_name, source))
			continue;
		fd = (int)syscall(SYS_pidfd_open, atoi(d->d_name), 0);
		if (fd < 0)
			continue;
		p = reallocarray(fds, n + 1, sizeof(*fds));
		if (!p) {
			(void)close(fd);
			break;
		}
		fds = p;
		fds[n++] = fd;
	}
	*ret_pidfds = steal_ptr(&fds);
	*ret_n = n;
	return 0;
}
