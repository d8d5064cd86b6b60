/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "snapshotter/cmd/cmd.h"
#include "snapshotter/gc.h"

struct options {
	bool dry_run;
};

static const struct cmd_option options[] = {
	{"dry-run", 'n', CMD_FLAG, NULL, "only say what would go",
	 offsetof(struct options, dry_run)},
	CMD_OPTIONS_END,
};

static int json_item(void *ctx, const struct snap_gc_item *item, struct err *err)
{
	struct json_writer *w = ctx;

	(void)err;
	json_w_object(w);
	json_w_key(w, "kind");
	json_w_string(w, item->kind);
	json_w_key(w, "name");
	json_w_string(w, item->name);
	json_w_key(w, "size");
	json_w_uint(w, item->bytes);
	json_w_key(w, "why");
	json_w_string(w, item->why);
	json_w_end(w);
	return 0;
}

static int print_item(void *ctx, const struct snap_gc_item *item, struct err *err)
{
	char size[24];

	(void)ctx;
	(void)err;
	cmd_format_size(item->bytes, size);
	(void)printf("%s ", item->kind);
	cmd_put_name(stdout, item->name);
	(void)printf(" (%s): %s\n", size, item->why);
	return 0;
}

static int run(struct cmd_context *c, const void *opts, int argc, char **argv, struct err *err)
{
	unsigned int flags = ((const struct options *)opts)->dry_run ? SNAP_GC_DRY_RUN : 0;
	struct json_writer *w = NULL;
	struct snap_gc_result result;
	char size[24];
	int r;

	(void)argc;
	(void)argv;
	if (c->json) {
		w = json_writer_new(JSON_PRETTY);
		json_w_array(w);
	}
	r = snap_gc(c->store, flags, w ? json_item : c->quiet ? NULL : print_item, w, &result, err);
	if (r != 0) {
		json_writer_free(w);
		return r;
	}
	if (w) {
		json_w_end(w);
		return cmd_print_json(w, err);
	}
	cmd_format_size(result.bytes, size);
	if (!c->quiet)
		(void)fprintf(stderr, "%s %" PRIu64 " things, %s\n",
			      flags ? "would remove" : "removed", result.items, size);
	return 0;
}

const struct cmd cmd_gc = {
	.name = "gc",
	.summary = "Remove what no image and no snapshot refers to",
	.usage = "[--dry-run]",
	.help = "Says what goes and why.",
	.options = options,
	.options_size = sizeof(struct options),
	.flags = CMD_USERNS_TRIES | /* folders that are left may have files of other ids */
		 CMD_KEEPS_TMP,
	.run = run,
};
