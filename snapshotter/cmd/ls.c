/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "snapshotter/cmd/cmd.h"
#include "snapshotter/filter.h"

struct output {
	struct json_writer *json; /* NULL: a table */
	struct cmd_table table;
};

static int add(void *ctx, const struct snap_info *info, struct err *err)
{
	struct output *out = ctx;
	char time[40];

	(void)err;
	if (out->json) {
		cmd_json_snapshot(out->json, info);
		return 0;
	}
	cmd_format_time(info->created, time);
	cmd_table_add(&out->table, info->key);
	cmd_table_add(&out->table, snap_kind_name(info->kind));
	cmd_table_add(&out->table, info->parent ? info->parent : "-");
	cmd_table_add(&out->table, time);
	return 0;
}

static int run(struct cmd_context *c, const void *o, int argc, char **argv, struct err *err)
{
	struct output out = {.json = NULL};
	struct err ignored = ERR_INIT;
	struct snap_filter *filter cleanup_snap_filter = NULL;
	int r = snap_filter_parse((const char *const *)argv, (size_t)argc, &filter, err);

	(void)o;
	if (r < 0)
		return cmd_is_usage_error(r);
	out.json = c->json ? json_writer_new(JSON_PRETTY) : NULL;
	cmd_table_init(&out.table, 4);
	if (out.json) {
		json_w_array(out.json);
	} else if (!c->quiet) {
		cmd_table_add(&out.table, "KEY");
		cmd_table_add(&out.table, "KIND");
		cmd_table_add(&out.table, "PARENT");
		cmd_table_add(&out.table, "CREATED");
	}
	r = snap_walk(c->store, filter, add, &out, err);
	if (r < 0) {
		json_writer_free(out.json);
		for (size_t i = 0; i < out.table.n; i++)
			free(out.table.cells[i]);
		free(out.table.cells);
		return r;
	}
	if (out.json) {
		json_w_end(out.json);
		r = cmd_table_print(&out.table, &ignored);
		return r < 0 ? r : cmd_print_json(out.json, err);
	}
	return cmd_table_print(&out.table, err);
}

const struct cmd cmd_ls = {
	.name = "ls",
	.summary = "List snapshots",
	.usage = "[FILTER]...",
	.help = "All of them, or those that a FILTER matches, in containerd's language: "
		"name==KEY,\n"
		"kind==active, parent~=REGEX, 'labels.\"a.b/c\"' (is there), != ; ',' between two "
		"means\n"
		"both, a second FILTER either.",
	.max_args = -1,
	.run = run,
};
