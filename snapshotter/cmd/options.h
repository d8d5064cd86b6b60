/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "snapshotter/cmd/cmd.h"

/* options - the command line into a command and its options struct; all help text comes from here.
 */
struct cmd_parsed {
	const struct cmd *cmd;
	void *options; /* owned */
	int argc; /* positional arguments */
	char **argv; /* owned array, borrowed strings */
};
void cmd_parsed_release(struct cmd_parsed *p);

/* 0: run it; 1: help or version was printed; else a failure. Sets the context's switches. */
int cmd_parse_line(int argc, char **argv, struct cmd_context *c, struct cmd_parsed *ret,
		   struct err *err) __attribute__((warn_unused_result));
bool cmd_was_usage_error(void);
int open_null(void);
