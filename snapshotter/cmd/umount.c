/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/cmd/cmd.h"
#include "snapshotter/mount.h"

static int run(struct cmd_context *c, const void *o, int argc, char **argv, struct err *err)
{
	(void)o;
	(void)argc;
	return snap_umount(c->store, argv[0], err);
}

const struct cmd cmd_umount = {
	.name = "umount",
	.summary = "Unmount a snapshot",
	.usage = "TARGET|KEY",
	.help = "When it returns the mount and the process that served it are gone, and everything "
		"that was\n"
		"written is in the snapshot. Refused while something works in the mount.",
	.min_args = 1,
	.max_args = 1,
	.run = run,
};
