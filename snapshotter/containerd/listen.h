/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <sys/stat.h>

#include "base/err.h"

/*
 * listen - the server's socket: 0600, there at once and ready, and only for our own user and root.
 */
struct listener {
	int fd; /* -1: closed */
	const char *path; /* borrowed */
	struct stat st; /* of the socket's file */
};

/* What a server that was killed left is replaced. -EADDRINUSE: somebody answers there. */
int listener_open(const char *path, struct listener *ret, struct err *err)
	__attribute__((warn_unused_result));
/* Takes the file away, if it still is this one's. */
void listener_close(struct listener *l);
/* The next connection (owned fd, non-blocking); -EAGAIN: none; -EPERM: of a user who may not. */
int listener_accept(const struct listener *l) __attribute__((warn_unused_result));
