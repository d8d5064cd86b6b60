/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "snapshotter/cmd/cmd.h"

static int run(struct cmd_context *c, const void *o, int argc, char **argv, struct err *err)
{
	struct snap_usage usage;
	char size[24];
	int r = snap_usage(c->store, argv[0], &usage, err);

	(void)o;
	(void)argc;
	if (r < 0)
		return r;
	if (c->json) {
		struct json_writer *w = json_writer_new(JSON_PRETTY);

		json_w_object(w);
		json_w_key(w, "size");
		json_w_uint(w, usage.size);
		json_w_key(w, "inodes");
		json_w_uint(w, usage.inodes);
		json_w_end(w);
		return cmd_print_json(w, err);
	}
	cmd_format_size(usage.size, size);
	(void)printf("%s, %" PRIu64 " inodes\n", size, usage.inodes);
	return 0;
}

const struct cmd cmd_usage = {
	.name = "usage",
	.summary = "Show how much a snapshot itself holds",
	.usage = "KEY",
	.help = "Without what lies below it: an active one as it is now, a committed one as it "
		"was\n"
		"committed, a view nothing.",
	.min_args = 1,
	.max_args = 1,
	.flags = CMD_FOLLOWS_KEYS,
	.run = run,
};
