/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/cmd/cmd.h"
#include "snapshotter/image.h"

static int run(struct cmd_context *c, const void *o, int argc, char **argv, struct err *err)
{
	int r = 0;

	(void)o;
	for (int i = 0; i < argc && r == 0; i++)
		r = snap_image_remove(c->store, argv[i], err);
	return r;
}

const struct cmd cmd_rmi = {
	.name = "rmi",
	.summary = "Forget images",
	.usage = "REF...",
	.help = "Snapshots made of them stay usable; what nothing refers to any more goes with\n"
		"'snap gc'.",
	.min_args = 1,
	.max_args = -1,
	.run = run,
};
