/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/cmd/cmd.h"

struct options {
	struct cmd_list labels;
};

static const struct cmd_option options[] = {
	{"label", 0, CMD_LIST, "K=V", "a label; may be given again",
	 offsetof(struct options, labels)},
	CMD_OPTIONS_END,
};

static int run(struct cmd_context *c, const void *opts, int argc, char **argv, struct err *err)
{
	const struct options *o = opts;
	struct snap_label *labels = NULL;
	int r = cmd_parse_labels(&o->labels, &labels, err);

	(void)argc;
	if (r == 0)
		r = snap_commit(c->store, argv[0], argv[1], labels, o->labels.n, SNAP_COMMIT_SYNC,
				err);
	cmd_free_labels(labels, o->labels.n);
	return r;
}

const struct cmd cmd_commit = {
	.name = "commit",
	.summary = "Make an active snapshot a committed one",
	.usage = "[--label K=V]... NAME KEY",
	.help = "KEY is known as NAME from then on, cannot be written to and may be a PARENT.",
	.options = options,
	.options_size = sizeof(struct options),
	.min_args = 2,
	.max_args = 2,
	.run = run,
};
