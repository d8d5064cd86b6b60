/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "snapshotter/cmd/cmd.h"
#include "snapshotter/filler.h"

struct options {
	bool serve, background;
};

static const struct cmd_option options[] = {
	{"serve", 0, CMD_FLAG, NULL,
	 "be the filler of the store: answer mounts that miss something",
	 offsetof(struct options, serve)},
	{"background", 0, CMD_FLAG, NULL, "with --serve: go there once it can be asked",
	 offsetof(struct options, background)},
	CMD_OPTIONS_END,
};

static int fill(struct cmd_context *c, int argc, char **argv, struct err *err)
{
	struct json_writer *w = NULL;
	int r = 0;

	if (c->json) {
		w = json_writer_new(JSON_PRETTY);
		json_w_array(w);
	}
	for (int i = 0; i < argc && r == 0; i++) {
		size_t layers = 0;

		r = snap_fill(c->store, argv[i], &layers, err);
		if (r < 0)
			break;
		if (w) {
			json_w_object(w);
			json_w_key(w, "ref");
			json_w_string(w, argv[i]);
			json_w_key(w, "filled");
			json_w_uint(w, layers);
			json_w_end(w);
		} else if (!c->quiet) {
			cmd_put_name(stdout, argv[i]);
			(void)printf(": complete (%zu layers filled)\n", layers);
		}
	}
	if (r < 0) {
		json_writer_free(w);
		return r;
	}
	if (!w)
		return 0;
	json_w_end(w);
	return cmd_print_json(w, err);
}

static int run(struct cmd_context *c, const void *opts, int argc, char **argv, struct err *err)
{
	const struct options *o = opts;
	struct snap_store *store cleanup_snap_store = NULL;
	int r;

	if (o->serve && argc > 0)
		return cmd_usage_error(err, "--serve fills what it is asked for: no REF");
	if (!o->serve && (argc == 0 || o->background))
		return cmd_usage_error(err, argc == 0 ? "which image? REF, or --serve"
						      : "--background is for --serve");
	if (o->serve)
		return snap_filler_serve(c->root, o->background, err);
	r = snap_store_open(c->root, &store, err);
	if (r < 0)
		return r;
	c->store = store;
	r = fill(c, argc, argv, err);
	c->store = NULL;
	return r;
}

const struct cmd cmd_fill = {
	.name = "fill",
	.summary = "Fetch what lazy images still miss",
	.usage = "REF...\n"
		 "--serve [--background]",
	.help = "Fetches the rest of each image, verifies its layers as a whole and makes them\n"
		"ordinary ones. What is mounted stays mounted.\n"
		"With --serve it is the process that does so for others: for mounts that read "
		"what\n"
		"is not here yet, and for images pulled with --lazy=background. One runs a store;\n"
		"whoever needs it starts it, and it ends when nothing is left to be done. What it\n"
		"has to say goes to ROOT/run/fill.log. A reader waits 60 seconds at most\n"
		"(SNAP_FILL_TIMEOUT), then gets an I/O error; the next one tries again.",
	.options = options,
	.options_size = sizeof(struct options),
	.min_args = 0,
	.max_args = -1,
	.flags = CMD_NO_STORE,
	.run = run,
};
