/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <sys/types.h>

#include "base/err.h"

/*
 * keeper - a process that waits for the one that entered namespaces, however that
 * ends, and tidies up behind it: a container that still runs is asked to end and
 * then made to, and our mounts are taken out of the mount namespace. (The server
 * of a FUSE mount is in the mount namespace that its mount is in: the two would
 * keep each other for ever.)
 */

/* Starts the calling process's keeper, in the namespaces of the moment. */
int keeper_start(struct err *err) __attribute__((warn_unused_result));

/*
 * A container is about to run, by @runtime with its state in @state. The keeper holds the locks
 * that hang on @tmp_fd and @lock_fd until it is gone, so that nobody uses what it uses. Without a
 * keeper nothing happens.
 */
int keeper_watch(const char *runtime, const char *state, const char *id, int tmp_fd, int lock_fd,
		 struct err *err) __attribute__((warn_unused_result));
/* The runtime's process. */
void keeper_runtime(pid_t pid);
/* It ended, and left nothing; or this process is about to end in good order. */
void keeper_done(void);
