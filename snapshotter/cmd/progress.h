/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pthread.h>

#include "snapshotter/pull.h"

/*
 * progress - what a pull is doing, on standard error: on a terminal a line for
 * each layer under way and one for all, drawn over what stood there; elsewhere
 * a line of bytes now and then.
 *
 * What else is said meanwhile, from any thread, goes between cmd_progress_pause() and
 * cmd_progress_resume(), so that no line of it is drawn over.
 */
struct cmd_progress {
	pthread_mutex_t lock;
	unsigned int lines; /* that are drawn; under lock */
};
#define CMD_PROGRESS_INIT                                                                          \
	{                                                                                          \
		.lock = PTHREAD_MUTEX_INITIALIZER                                                  \
	}
/* For snap_pull_options; @ctx: a struct cmd_progress. */
void cmd_progress_show(void *ctx, const struct snap_pull_layer *layers, size_t n);
/* Takes away what is drawn. */
void cmd_progress_pause(struct cmd_progress *p);
void cmd_progress_resume(struct cmd_progress *p);
