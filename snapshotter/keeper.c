/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "snapshotter/mountinfo.h"
#include "snapshotter/userns_private.h"

/*
 * The server of a FUSE mount is in the mount namespace that the mount is in: the two would keep
 * each other for ever once the last other process is gone. So a process waits for the one that
 * entered, however it ends, and takes the mounts away then; what still works in one keeps it until
 * it ends.
 */

static void close_all_but(int keep)
{
	int null = open("/dev/null", O_RDWR);

	for (int fd = 0; fd < 3 && null >= 0; fd++)
		(void)dup2(null, fd);
	if (keep > 3)
		(void)syscall(SYS_close_range, 3u, (unsigned int)keep - 1, 0u);
	(void)syscall(SYS_close_range, (unsigned int)keep + 1, ~0u, 0u);
}

static void wait_for(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	while (poll(&p, 1, -1) < 0 && errno == EINTR)
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

int userns_start_keeper(struct err *err)
{
	int pidfd cleanup_close = (int)syscall(SYS_pidfd_open, getpid(), 0);
	pid_t pid;

	if (pidfd < 0)
		return err_set(err, -errno, "watch this process");
	pid = fork();
	if (pid < 0)
		return err_set(err, -errno, "start a process that unmounts");
	if (pid > 0)
		return 0;
	(void)setsid();
	if (chdir("/") < 0) /* a folder that could not be removed otherwise */
		_exit(1);
	close_all_but(pidfd);
	wait_for(pidfd);
	detach_mounts();
	_exit(0);
}
