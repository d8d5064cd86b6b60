/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "snapshotter/cmd/cmd.h"
#include "snapshotter/df.h"

static int print_json(const struct snap_df *df, struct err *err)
{
	struct json_writer *w = json_writer_new(JSON_PRETTY);

	json_w_object(w);
	json_w_key(w, "parts");
	json_w_array(w);
	for (size_t i = 0; i < SNAP_DF_PARTS; i++) {
		json_w_object(w);
		json_w_key(w, "what");
		json_w_string(w, df->parts[i].what);
		json_w_key(w, "count");
		json_w_uint(w, df->parts[i].count);
		json_w_key(w, "size");
		json_w_uint(w, df->parts[i].size);
		json_w_end(w);
	}
	json_w_end(w);
	json_w_key(w, "size");
	json_w_uint(w, df->size);
	json_w_key(w, "left_out");
	json_w_object(w);
	json_w_key(w, "count");
	json_w_uint(w, df->left_out);
	json_w_key(w, "size");
	json_w_uint(w, df->left_out_size);
	json_w_end(w);
	json_w_key(w, "pull_temporary");
	json_w_uint(w, df->pull_temporary);
	json_w_end(w);
	return cmd_print_json(w, err);
}

/* What is not on disk, and what was. */
static void print_rest(const struct snap_df *df)
{
	char text[24];

	cmd_format_size(df->pull_temporary, text);
	(void)printf("\na pull needed at most %s beyond what it kept\n", text);
	cmd_format_size(df->left_out_size, text);
	if (df->left_out)
		(void)printf("%" PRIu64 " blobs of %s are not kept, their layers are\n",
			     df->left_out, text);
}

static int run(struct cmd_context *c, const void *o, int argc, char **argv, struct err *err)
{
	struct cmd_table table;
	struct snap_df df;
	char text[24];
	int r = snap_df(c->store, &df, err);

	(void)o;
	(void)argc;
	(void)argv;
	if (r < 0)
		return r;
	if (c->json)
		return print_json(&df, err);
	cmd_table_init(&table, 3);
	if (!c->quiet) {
		cmd_table_add(&table, "WHAT");
		cmd_table_add(&table, "COUNT");
		cmd_table_add(&table, "SIZE");
	}
	for (size_t i = 0; i < SNAP_DF_PARTS; i++) {
		cmd_table_add(&table, df.parts[i].what);
		(void)snprintf(text, sizeof(text), "%" PRIu64, df.parts[i].count);
		cmd_table_add(&table, text);
		cmd_format_size(df.parts[i].size, text);
		cmd_table_add(&table, text);
	}
	cmd_table_add(&table, "total");
	cmd_table_add(&table, "");
	cmd_format_size(df.size, text);
	cmd_table_add(&table, text);
	r = cmd_table_print(&table, err);
	if (r == 0 && !c->quiet)
		print_rest(&df);
	return r;
}

const struct cmd cmd_df = {
	.name = "df",
	.summary = "Show who owns which bytes of the store",
	.usage = "",
	.help = "blobs as they were received, layers (tars and their indexes), chains (merged\n"
		"indexes), what snapshots hold themselves, what is being made, and the rest:\n"
		"the database and the directories. 'snap gc --dry-run' says what could go.\n"
		"Below: the most that a pull needed for a while beyond what it kept. It writes in\n"
		"place what it keeps; only a layer that is here already, and comes with another\n"
		"blob, is there twice until it is verified, for as many layers as come at once.",
	.flags = CMD_USERNS_TRIES, /* snapshots may have files of other ids */
	.run = run,
};
