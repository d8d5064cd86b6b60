/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/cmd/cmd.h"

static int run(struct cmd_context *c, const void *o, int argc, char **argv, struct err *err)
{
	int r = 0;

	(void)o;
	for (int i = 0; i < argc && r == 0; i++)
		r = snap_remove(c->store, argv[i], 0, err);
	return r;
}

const struct cmd cmd_rm = {
	.name = "rm",
	.summary = "Remove snapshots",
	.usage = "KEY...",
	.help = "Refuses a snapshot that others stand on, and one that is mounted. Stops at the "
		"first\n"
		"that cannot be removed.",
	.min_args = 1,
	.max_args = -1,
	.flags = CMD_FOLLOWS_KEYS,
	.run = run,
};
