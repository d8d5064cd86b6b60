/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/strbuf.h"
#include "snapshotter/cmd/cmd.h"
#include "snapshotter/cmd/layer_options.h"
#include "snapshotter/diff.h"

struct options {
	struct cmd_list labels, changes;
	const char *parent, *image, *message, *author, *created_by;
	struct cmd_layer_options layer;
	bool check, no_blobs;
};

static const struct cmd_option options[] = {
	{"label", 0, CMD_LIST, "K=V", "a label of the snapshot; may be given again",
	 offsetof(struct options, labels)},
	{"parent", 0, CMD_STRING, "PARENT", "what NAME stands on, if KEY was prepared on nothing",
	 offsetof(struct options, parent)},
	{"image", 0, CMD_STRING, "REF", "make an image instead; KEY stays active",
	 offsetof(struct options, image)},
	CMD_LAYER_OPTIONS(struct options, layer),
	{"message", 'm', CMD_STRING, "TEXT", "the image's history says so",
	 offsetof(struct options, message)},
	{"created-by", 0, CMD_STRING, "TEXT",
	 "the instruction that made the layer: for the history of images made of it",
	 offsetof(struct options, created_by)},
	{"author", 'a', CMD_STRING, "NAME", "of the image", offsetof(struct options, author)},
	{"change", 'c', CMD_LIST, "CHANGE",
	 "'CMD|ENV|ENTRYPOINT|WORKDIR|USER|LABEL|EXPOSE|VOLUME|STOPSIGNAL ...'; may be given again",
	 offsetof(struct options, changes)},
	{"check", 0, CMD_FLAG, NULL, "make the layer twice and compare",
	 offsetof(struct options, check)},
	{"no-blobs", 0, CMD_FLAG, NULL,
	 "keep the image's new layers as tars alone; 'snap push' compresses them again",
	 offsetof(struct options, no_blobs)},
	CMD_OPTIONS_END,
};

static int print(struct cmd_context *c, const char *ref, const struct snap_commit_result *result,
		 struct err *err)
{
	struct json_writer *w;
	char size[24];

	if (!c->json) {
		if (c->quiet)
			return 0;
		cmd_format_size(result->new_bytes, size);
		(void)fputs("committed ", stderr);
		cmd_put_name(stderr, ref);
		(void)fprintf(stderr, " (%zu layers, %zu new, %s)\n", result->layers,
			      result->new_layers, size);
		(void)printf("%s\n", result->manifest.text);
		return 0;
	}
	w = json_writer_new(JSON_PRETTY);
	json_w_object(w);
	json_w_key(w, "ref");
	json_w_string(w, ref);
	json_w_key(w, "digest");
	json_w_string(w, result->manifest.text);
	json_w_key(w, "layers");
	json_w_uint(w, result->layers);
	json_w_key(w, "new_layers");
	json_w_uint(w, result->new_layers);
	json_w_key(w, "new_size");
	json_w_uint(w, result->new_bytes);
	json_w_end(w);
	return cmd_print_json(w, err);
}

static int commit_image(struct cmd_context *c, const struct options *o, const char *key,
			struct err *err)
{
	struct snap_commit_options opt = {
		.message = o->message,
		.author = o->author,
		.created_by = o->created_by,
		.changes = o->changes.items,
		.n_changes = o->changes.n,
		.check = o->check,
		.no_blobs = o->no_blobs,
	};
	struct snap_commit_result result;
	int r = cmd_layer_options(&o->layer, &opt.layer, err);

	if (r == 0)
		r = snap_commit_image(c->store, o->image, key, &opt, &result, err);
	return r < 0 ? r : print(c, o->image, &result, err);
}

static int commit_snapshot(struct cmd_context *c, const struct options *o, char **argv,
			   struct err *err)
{
	struct strbuf created_by CLEANUP(strbuf_release) = STRBUF_INIT;
	const char **items cleanup_free = calloc(o->labels.n + 1, sizeof(*items));
	struct cmd_list list = {.items = items, .n = o->labels.n};
	struct snap_label *labels = NULL;
	int r = items ? 0 : err_set(err, -ENOMEM, "labels");

	if (r == 0 && list.n)
		memcpy(items, o->labels.items, list.n * sizeof(*items));
	if (r == 0 && o->created_by) {
		r = strbuf_addf(&created_by, SNAP_LABEL_CREATED_BY "=%s", o->created_by);
		items[list.n++] = created_by.s;
	}
	if (r == 0)
		r = cmd_parse_labels(&list, &labels, err);
	if (r == 0)
		r = snap_commit(c->store, argv[0], argv[1], o->parent, labels, list.n,
				SNAP_COMMIT_SYNC, err);
	cmd_free_labels(labels, list.n);
	return r;
}

static int run(struct cmd_context *c, const void *opts, int argc, char **argv, struct err *err)
{
	const struct options *o = opts;

	if (!o->image) {
		if (argc != 2)
			return cmd_usage_error(
				err, "commit: NAME and KEY are needed, or --image REF and KEY");
		if (o->changes.n || o->message || o->author || o->check || o->no_blobs ||
		    cmd_has_layer_options(&o->layer))
			return cmd_usage_error(err, "commit: these options are for --image only");
		return commit_snapshot(c, o, argv, err);
	}
	if (argc != 1)
		return cmd_usage_error(err, "commit: with --image REF, one KEY is needed");
	if (o->parent)
		return cmd_usage_error(err, "commit: --parent is for snapshots");
	if (o->labels.n)
		return cmd_usage_error(
			err, "commit: --label is for snapshots, use --change 'LABEL K=V'");
	return commit_image(c, o, argv[0], err);
}

const struct cmd cmd_commit = {
	.name = "commit",
	.summary = "Make an active snapshot a committed one, or an image of it",
	.usage = "[--label K=V]... [--parent PARENT] NAME KEY\n"
		 "--image REF [OPTION]... KEY",
	.help = "With NAME: KEY is known as NAME from then on, cannot be written to and may be a "
		"PARENT.\n"
		"With --image: a new image of the parent's layers and what was changed; KEY stays "
		"active, and\n"
		"mounted if it is. The same content and timestamp always give the same digests. "
		"Prints the\n"
		"manifest's digest.",
	.options = options,
	.options_size = sizeof(struct options),
	.min_args = 1,
	.max_args = 2,
	.flags = CMD_FOLLOWS_KEYS,
	.run = run,
};
