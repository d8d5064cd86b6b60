/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/cmd/cmd.h"

static void line(const char *name, const char *value)
{
	(void)printf("%-8s ", name);
	cmd_put_name(stdout, value);
	(void)putchar('\n');
}

static int run(struct cmd_context *c, const void *o, int argc, char **argv, struct err *err)
{
	struct snap_info info cleanup_snap_info = {.key = NULL};
	char time[40];
	int r = snap_stat(c->store, argv[0], &info, err);

	(void)o;
	(void)argc;
	if (r < 0)
		return r;
	if (c->json) {
		struct json_writer *w = json_writer_new(JSON_PRETTY);

		cmd_json_snapshot(w, &info);
		return cmd_print_json(w, err);
	}
	line("key", info.key);
	line("kind", snap_kind_name(info.kind));
	line("parent", info.parent ? info.parent : "-");
	cmd_format_time(info.created, time);
	line("created", time);
	cmd_format_time(info.updated, time);
	line("updated", time);
	for (size_t i = 0; i < info.n_labels; i++) {
		(void)printf("label    ");
		cmd_put_name(stdout, info.labels[i].key);
		(void)putchar('=');
		cmd_put_name(stdout, info.labels[i].value);
		(void)putchar('\n');
	}
	return 0;
}

const struct cmd cmd_stat = {
	.name = "stat",
	.summary = "Show what is known of a snapshot",
	.usage = "KEY",
	.min_args = 1,
	.max_args = 1,
	.run = run,
};
