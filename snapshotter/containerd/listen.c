/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/containerd/listen.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"

#define BACKLOG 128

static int address_of(const char *path, struct sockaddr_un *ret, struct err *err)
{
	memset(ret, 0, sizeof(*ret));
	ret->sun_family = AF_UNIX;
	if (strlen(path) >= sizeof(ret->sun_path)) {
		(void)err_msg(err, -ENAMETOOLONG,
			      "'%s' is too long for a socket: at most %zu bytes", path,
			      sizeof(ret->sun_path) - 1);
		return -ENAMETOOLONG;
	}
	memcpy(ret->sun_path, path, strlen(path));
	return 0;
}

/* Is there a socket at the path, and nobody behind it? Anything else is not ours to replace. */
static int check_old(const struct sockaddr_un *a, struct err *err)
{
	struct stat st;
	int fd cleanup_close = -1;

	if (lstat(a->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : err_set(err, -errno, "socket '%s'", a->sun_path);
	if (!S_ISSOCK(st.st_mode))
		return err_msg(err, -EEXIST, "'%s' is there and no socket", a->sun_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(err, -errno, "socket");
	if (connect(fd, (const void *)a, sizeof(*a)) == 0 || errno == EAGAIN)
		return err_msg(err, -EADDRINUSE, "another server answers at '%s'", a->sun_path);
	return errno == ECONNREFUSED || errno == ENOENT
		       ? 0
		       : err_set(err, -errno, "socket '%s'", a->sun_path);
}

int listener_open(const char *path, struct listener *ret, struct err *err)
{
	struct sockaddr_un final, aside;
	char *name cleanup_free = NULL;
	int fd cleanup_close = -1, r;

	/* bound aside and renamed: who sees the file can connect, and nobody else could before */
	if (asprintf(&name, "%s.%d", path, getpid()) < 0)
		return err_set(err, -ENOMEM, "socket");
	r = address_of(path, &final, err);
	if (r == 0)
		r = address_of(name, &aside, err);
	if (r == 0)
		r = check_old(&final, err);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(err, -errno, "socket");
	(void)unlink(name);
	if (bind(fd, (const void *)&aside, sizeof(aside)) < 0)
		return err_set(err, -errno, "make socket '%s'", name);
	if (chmod(name, 0600) < 0 || listen(fd, BACKLOG) < 0 || stat(name, &ret->st) < 0 ||
	    rename(name, path) < 0) {
		r = err_set(err, -errno, "socket '%s'", path);
		(void)unlink(name);
		return r;
	}
	ret->fd = steal_fd(&fd);
	ret->path = path;
	return 0;
}

void listener_close(struct listener *l)
{
	struct stat st;

	if (l->fd < 0)
		return;
	if (lstat(l->path, &st) == 0 && st.st_ino == l->st.st_ino && st.st_dev == l->st.st_dev)
		(void)unlink(l->path);
	closep(&l->fd);
	l->fd = -1;
}

int listener_accept(const struct listener *l)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int fd cleanup_close = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return errno == ECONNABORTED || errno == EINTR ? -EAGAIN : -errno;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return -EPERM;
	if (peer.uid != 0 && peer.uid != geteuid()) {
		log_warn("user %u may not connect", peer.uid);
		return -EPERM;
	}
	return steal_fd(&fd);
}
