/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/cmd/cmd.h"

static int run(struct cmd_context *c, const void *o, int argc, char **argv, struct err *err)
{
	(void)o;
	(void)argc;
	return cmd_print_mounts(c, argv[0], err);
}

const struct cmd cmd_mounts = {
	.name = "mounts",
	.summary = "Print how a snapshot is mounted",
	.usage = "KEY",
	.help = "Type, source and options, as 'mount -t TYPE SOURCE TARGET -o OPTIONS' takes them.",
	.min_args = 1,
	.max_args = 1,
	.run = run,
};
