/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>

#include "snapshotter/cmd/cmd.h"
#include "snapshotter/image.h"

struct output {
	struct json_writer *json;
	struct cmd_table table;
};

static int add_json(void *ctx, const struct snap_image_info *i, struct err *err)
{
	struct json_writer *w = ((struct output *)ctx)->json;

	(void)err;
	json_w_object(w);
	json_w_key(w, "ref");
	json_w_string(w, i->ref);
	json_w_key(w, "digest");
	json_w_string(w, i->manifest.text);
	json_w_key(w, "media_type");
	json_w_string(w, i->media_type);
	json_w_key(w, "created");
	json_w_string(w, i->created[0] ? i->created : NULL);
	json_w_key(w, "layers");
	json_w_uint(w, i->n_layers);
	json_w_key(w, "size");
	json_w_uint(w, i->size);
	json_w_key(w, "state");
	json_w_string(w, i->n_lazy ? "lazy" : "complete");
	json_w_key(w, "needed");
	json_w_uint(w, i->needed);
	json_w_key(w, "fetched");
	json_w_uint(w, i->fetched);
	json_w_key(w, "whole_layers");
	json_w_uint(w, i->n_whole);
	json_w_key(w, "whole");
	json_w_string(w, i->whole[0] ? i->whole : NULL);
	json_w_key(w, "platform");
	json_w_string(w, i->platform);
	json_w_end(w);
	return 0;
}

static int add_row(void *ctx, const struct snap_image_info *i, struct err *err)
{
	struct cmd_table *t = &((struct output *)ctx)->table;
	char text[32];

	(void)err;
	cmd_table_add(t, i->ref);
	(void)snprintf(text, sizeof(text), "%.19s", i->manifest.text);
	cmd_table_add(t, text);
	(void)snprintf(text, sizeof(text), "%.20s", i->created[0] ? i->created : "-");
	cmd_table_add(t, text);
	(void)snprintf(text, sizeof(text), "%zu", i->n_layers);
	cmd_table_add(t, text);
	cmd_format_size(i->size, text);
	cmd_table_add(t, text);
	if (i->n_lazy) /* rounded down: 100 % is what is complete */
		(void)snprintf(text, sizeof(text), "lazy %u %%",
			       i->needed ? (unsigned int)(i->fetched * 100 / i->needed) : 0);
	cmd_table_add(t, i->n_lazy ? text : "complete");
	return 0;
}

static int run(struct cmd_context *c, const void *o, int argc, char **argv, struct err *err)
{
	static const char *const titles[] = {"REF", "DIGEST", "CREATED", "LAYERS", "SIZE", "STATE"};
	struct output out = {.json = NULL};
	int r;

	(void)o;
	(void)argc;
	(void)argv;
	if (c->json) {
		out.json = json_writer_new(JSON_PRETTY);
		json_w_array(out.json);
		r = snap_image_walk(c->store, add_json, &out, err);
		json_w_end(out.json);
		if (r == 0)
			return cmd_print_json(out.json, err);
		json_writer_free(out.json);
		return r;
	}
	cmd_table_init(&out.table, 6);
	for (size_t i = 0; i < 6 && !c->quiet; i++)
		cmd_table_add(&out.table, titles[i]);
	r = snap_image_walk(c->store, add_row, &out, err);
	return r < 0 ? r : cmd_table_print(&out.table, err);
}

const struct cmd cmd_images = {
	.name = "images",
	.summary = "List images",
	.usage = "",
	.run = run,
};
