/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "snapshotter/cmd/cmd.h"
#include "snapshotter/df.h"

static int print_json(const struct snap_df_part *parts, uint64_t total, struct err *err)
{
	struct json_writer *w = json_writer_new(JSON_PRETTY);

	json_w_object(w);
	json_w_key(w, "parts");
	json_w_array(w);
	for (size_t i = 0; i < SNAP_DF_PARTS; i++) {
		json_w_object(w);
		json_w_key(w, "what");
		json_w_string(w, parts[i].what);
		json_w_key(w, "count");
		json_w_uint(w, parts[i].count);
		json_w_key(w, "size");
		json_w_uint(w, parts[i].size);
		json_w_end(w);
	}
	json_w_end(w);
	json_w_key(w, "size");
	json_w_uint(w, total);
	json_w_end(w);
	return cmd_print_json(w, err);
}

static int run(struct cmd_context *c, const void *o, int argc, char **argv, struct err *err)
{
	struct snap_df_part parts[SNAP_DF_PARTS];
	struct cmd_table table;
	uint64_t total = 0;
	char text[24];
	int r = snap_df(c->store, parts, err);

	(void)o;
	(void)argc;
	(void)argv;
	if (r < 0)
		return r;
	for (size_t i = 0; i < SNAP_DF_PARTS; i++)
		total += parts[i].size;
	if (c->json)
		return print_json(parts, total, err);
	cmd_table_init(&table, 3);
	if (!c->quiet) {
		cmd_table_add(&table, "WHAT");
		cmd_table_add(&table, "COUNT");
		cmd_table_add(&table, "SIZE");
	}
	for (size_t i = 0; i < SNAP_DF_PARTS; i++) {
		cmd_table_add(&table, parts[i].what);
		(void)snprintf(text, sizeof(text), "%" PRIu64, parts[i].count);
		cmd_table_add(&table, text);
		cmd_format_size(parts[i].size, text);
		cmd_table_add(&table, text);
	}
	cmd_table_add(&table, "total");
	cmd_table_add(&table, "");
	cmd_format_size(total, text);
	cmd_table_add(&table, text);
	return cmd_table_print(&table, err);
}

const struct cmd cmd_df = {
	.name = "df",
	.summary = "Show who owns which bytes of the store",
	.usage = "",
	.help = "blobs as they were received, layers (tars and their indexes), chains (merged\n"
		"indexes), what snapshots hold themselves, what is being made, and the rest:\n"
		"the database and the directories. 'snap gc --dry-run' says what could go.",
	.flags = CMD_USERNS_TRIES, /* snapshots may have files of other ids */
	.run = run,
};
