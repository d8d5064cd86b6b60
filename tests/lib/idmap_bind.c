/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tests/lib/idmap_bind.h"

static int write_map(pid_t pid, const char *file, const char *map)
{
	cleanup_close int fd = -EBADF;
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd >= 0 && write(fd, map, strlen(map)) == (ssize_t)strlen(map) ? 0 : -1;
}

/* A user namespace with that map, which lives by its fd alone. */
static int userns_open(const char *map)
{
	int ready[2], fd = -1;
	char byte, path[64];
	pid_t pid;

	if (pipe2(ready, O_CLOEXEC) < 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		if (unshare(CLONE_NEWUSER) < 0 || write(ready[1], "", 1) != 1)
			_exit(1);
		(void)pause();
		_exit(0);
	}
	(void)close(ready[1]);
	if (pid > 0 && read(ready[0], &byte, 1) == 1 && write_map(pid, "uid_map", map) == 0 &&
	    write_map(pid, "gid_map", map) == 0) {
		(void)snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
		fd = open(path, O_RDONLY | O_CLOEXEC);
	}
	(void)close(ready[0]);
	if (pid > 0) {
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
	}
	return fd;
}

int idmap_bind(const char *from, const char *to, const char *map)
{
	cleanup_close int ns = userns_open(map), tree = -EBADF;
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP};

	if (ns < 0)
		return -1;
	attr.userns_fd = (unsigned int)ns;
	tree = open_tree(AT_FDCWD, from, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (tree < 0 || mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return -1;
	return move_mount(tree, "", AT_FDCWD, to, MOVE_MOUNT_F_EMPTY_PATH);
}
