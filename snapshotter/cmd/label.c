/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/cmd/cmd.h"

static int run(struct cmd_context *c, const void *o, int argc, char **argv, struct err *err)
{
	struct snap_label *labels;
	int r = cmd_parse_label_args(argc - 1, argv + 1, &labels, err);

	(void)o;
	if (r < 0)
		return r;
	r = snap_set_labels(c->store, argv[0], labels, (size_t)argc - 1, 0, err);
	cmd_free_labels(labels, (size_t)argc - 1);
	return r;
}

const struct cmd cmd_label = {
	.name = "label",
	.summary = "Set or remove labels of a snapshot",
	.usage = "KEY K=V...",
	.help = "An empty value removes the label.",
	.min_args = 2,
	.max_args = -1,
	.run = run,
};
