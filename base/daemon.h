/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/err.h"

/*
 * daemon - a server that goes on behind its caller once it serves.
 *
 *	static int serve(void *ctx, struct daemon *d, struct err *err)
 *	{
 *		... open what is needed; an error here is the caller's ...
 *		r = daemon_ready(d, err);
 *		... serve ...
 *	}
 *	r = daemon_start("the layer store", serve, &ctx, err);
 *
 * @serve runs in a child in a session of its own, in the folder /, and when it has become ready
 * with nothing of the caller's standard streams. By a process of one thread.
 */
struct daemon {
	int report_fd; /* -1: nobody waits */
};
typedef int (*daemon_fn)(void *ctx, struct daemon *d, struct err *err);

/* 0 once @serve is ready, or has ended without an error; else its error, or -EIO: it died. */
int daemon_start(const char *what, daemon_fn serve, void *ctx, struct err *err)
	__attribute__((warn_unused_result));
int daemon_ready(struct daemon *d, struct err *err) __attribute__((warn_unused_result));
/* The same @serve in the foreground. */
int daemon_run(daemon_fn serve, void *ctx, struct err *err) __attribute__((warn_unused_result));
