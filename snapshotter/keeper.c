/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "snapshotter/mount_private.h"
#include "snapshotter/mountinfo.h"

/* The runtime was told by the kernel (PR_SET_PDEATHSIG) and told its container. */
#define GRACE_MS 3000

#define LATE_MOUNT_MS 10000

enum kind { WATCH, RUNTIME, DONE };

/* Read only when the sender is dead: until then the descriptors, and their locks, are in the queue.
 */
struct message {
	enum kind kind;
	pid_t pid;
	char runtime[16], id[32], state[PATH_MAX];
};

static int to_keeper = -1;

static void close_all_but(int a, int b)
{
	int null = open("/dev/null", O_RDWR), low = a < b ? a : b, high = a < b ? b : a;

	for (int fd = 0; fd < 3 && null >= 0; fd++)
		(void)dup2(null, fd);
	if (low > 3)
		(void)syscall(SYS_close_range, 3u, (unsigned int)low - 1, 0u);
	if (high > low + 1)
		(void)syscall(SYS_close_range, (unsigned int)low + 1, (unsigned int)high - 1, 0u);
	(void)syscall(SYS_close_range, (unsigned int)high + 1, ~0u, 0u);
}

static void wait_for(int pidfd, int timeout_ms)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	while (poll(&p, 1, timeout_ms) < 0 && errno == EINTR)
		;
}

static void detach_mounts(void)
{
	char **targets = NULL;
	size_t n = 0;

	if (mountinfo_ours(&targets, &n) < 0)
		return;
	/* the later ones may lie on the earlier; those of the namespace outside cannot be detached
	 */
	for (; n > 0; n--)
		(void)umount2(targets[n - 1], MNT_DETACH | UMOUNT_NOFOLLOW);
}

/* The descriptors that come with it stay open for good: they hold locks. */
static bool next_message(int from, struct message *m)
{
	char control[CMSG_SPACE(2 * sizeof(int))];
	struct iovec iov = {.iov_base = m, .iov_len = sizeof(*m)};
	struct msghdr h = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control,
			   .msg_controllen = sizeof(control)};

	return recvmsg(from, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) == (ssize_t)sizeof(*m);
}

static void end_container(const struct message *watched, pid_t runtime)
{
	int pidfd cleanup_close = runtime > 0 ? (int)syscall(SYS_pidfd_open, runtime, 0) : -1;

	if (pidfd >= 0)
		wait_for(pidfd, GRACE_MS);
	/* also what a runtime that was hit half-way has left; that there is nothing is no news */
	if (run_program((const char *const[]){watched->runtime, "--root", watched->state, "delete",
					      "--force", watched->id, NULL},
			NULL) < 0)
		return;
}

static void keep(int pidfd, int from)
{
	struct message m, watched = {.kind = RUNTIME};
	const struct timespec pause = {.tv_nsec = 100 * 1000 * 1000};
	pid_t runtime = 0;

	wait_for(pidfd, -1);
	while (next_message(from, &m)) {
		if (m.kind == RUNTIME)
			runtime = m.pid;
		else
			watched = m;
	}
	if (watched.kind == WATCH)
		end_container(&watched, runtime);
	detach_mounts();
	if (watched.kind == DONE)
		return;
	/* it was killed: a server that it had started may still bring its mount up; locks go now */
	(void)syscall(SYS_close_range, 3u, ~0u, 0u);
	for (int ms = 0; ms < LATE_MOUNT_MS; ms += 100) {
		(void)nanosleep(&pause, NULL);
		detach_mounts();
	}
}

int keeper_start(struct err *err)
{
	int pidfd cleanup_close = (int)syscall(SYS_pidfd_open, getpid(), 0), sockets[2];
	pid_t pid;

	if (pidfd < 0)
		return err_set(err, -errno, "watch this process");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
		return err_set(err, -errno, "socket");
	pid = fork();
	if (pid < 0) {
		int r = err_set(err, -errno, "start a process that tidies up");

		(void)close(sockets[0]);
		(void)close(sockets[1]);
		return r;
	}
	if (pid > 0) {
		(void)close(sockets[1]);
		closep(&to_keeper);
		to_keeper = sockets[0];
		return 0;
	}
	(void)setsid();
	if (chdir("/") < 0) /* a folder that could not be removed otherwise */
		_exit(1);
	close_all_but(pidfd, sockets[1]);
	keep(pidfd, sockets[1]);
	_exit(0);
}

static int tell(const struct message *m, const int *fds, size_t n_fds)
{
	char control[CMSG_SPACE(2 * sizeof(int))] = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)m, .iov_len = sizeof(*m)};
	struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n_fds > 0) {
		struct cmsghdr *c = (struct cmsghdr *)(void *)control;

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
		h.msg_control = control;
		h.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
	}
	return sendmsg(to_keeper, &h, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int keeper_watch(const char *runtime, const char *state, const char *id, int tmp_fd, int lock_fd,
		 struct err *err)
{
	struct message m = {.kind = WATCH};
	int r;

	if (to_keeper < 0)
		return 0;
	if (strlen(runtime) >= sizeof(m.runtime) || strlen(id) >= sizeof(m.id) ||
	    strlen(state) >= sizeof(m.state))
		return err_msg(err, -ENAMETOOLONG, "'%s' is too long", state);
	memcpy(m.runtime, runtime, strlen(runtime));
	memcpy(m.id, id, strlen(id));
	memcpy(m.state, state, strlen(state));
	r = tell(&m, (const int[]){tmp_fd, lock_fd}, 2);
	return r < 0 ? err_set(err, r, "tell the process that tidies up") : 0;
}

void keeper_runtime(pid_t pid)
{
	const struct message m = {.kind = RUNTIME, .pid = pid};

	if (to_keeper >= 0)
		(void)tell(&m, NULL, 0);
}

void keeper_done(void)
{
	const struct message m = {.kind = DONE};

	if (to_keeper >= 0)
		(void)tell(&m, NULL, 0);
}
