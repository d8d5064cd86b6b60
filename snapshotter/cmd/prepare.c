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

static int make(struct cmd_context *c, enum snap_kind kind, const struct options *o, int argc,
		char **argv, struct err *err)
{
	struct snap_label *labels = NULL;
	int r = cmd_parse_labels(&o->labels, &labels, err);

	if (r == 0)
		r = snap_prepare(c->store, kind, argv[0], argc > 1 ? argv[1] : NULL, labels,
				 o->labels.n, err);
	cmd_free_labels(labels, o->labels.n);
	if (r < 0 || c->quiet)
		return r;
	return cmd_print_mounts(c, argv[0], err);
}

static int run_prepare(struct cmd_context *c, const void *o, int argc, char **argv, struct err *err)
{
	return make(c, SNAP_ACTIVE, o, argc, argv, err);
}

static int run_view(struct cmd_context *c, const void *o, int argc, char **argv, struct err *err)
{
	return make(c, SNAP_VIEW, o, argc, argv, err);
}

const struct cmd cmd_prepare = {
	.name = "prepare",
	.summary = "Make a writable snapshot",
	.usage = "[--label K=V]... KEY [PARENT]",
	.help = "PARENT is the name of a committed snapshot or an image's REF; without one the "
		"snapshot\n"
		"starts empty. Prints what mount(8) takes: type, source, options.",
	.options = options,
	.options_size = sizeof(struct options),
	.min_args = 1,
	.max_args = 2,
	.run = run_prepare,
};

const struct cmd cmd_view = {
	.name = "view",
	.summary = "Make a read-only snapshot",
	.usage = "[--label K=V]... KEY [PARENT]",
	.help = "As 'snap prepare', but nothing can be written.",
	.options = options,
	.options_size = sizeof(struct options),
	.min_args = 1,
	.max_args = 2,
	.run = run_view,
};
