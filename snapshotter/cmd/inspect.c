/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "snapshotter/cmd/cmd.h"
#include "snapshotter/image.h"

struct options {
	bool layers;
};

static const struct cmd_option options[] = {
	{"layers", 'l', CMD_FLAG, NULL,
	 "what each layer adds, changes and hides, and the bytes that it wastes",
	 offsetof(struct options, layers)},
	CMD_OPTIONS_END,
};

/* An image, and what there is to say of it. */
struct image {
	struct snap_image_info info;
	struct oci_image *doc;
	struct snap_layer_info *layers;
	struct erofs_effect *effects; /* NULL: nobody asked */
	size_t n;
};

static void image_release(struct image *i)
{
	snap_image_info_release(&i->info);
	oci_image_free(i->doc);
	free(i->layers);
	free(i->effects);
}

static const struct json *history_of(const struct image *image)
{
	return json_get(image->doc->config_doc, "history");
}

/* The history line of layer @n; NULL: the image has none. */
static const struct json *layer_history(const struct image *image, size_t n)
{
	const struct json *list = history_of(image);

	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *line = json_at(list, i);

		if (!json_bool(json_get(line, "empty_layer"), false) && n-- == 0)
			return line;
	}
	return NULL;
}

static const char *text_of(const struct json *line, const char *key)
{
	const char *text = json_string(json_get(line, key));

	return text ? text : "";
}

static void json_layer(struct json_writer *w, const struct image *image, size_t i)
{
	const struct snap_layer_info *l = &image->layers[i];
	const struct json *line = layer_history(image, i);

	json_w_object(w);
	json_w_key(w, "digest");
	json_w_string(w, l->blob.text);
	json_w_key(w, "diff_id");
	json_w_string(w, l->diff_id.text);
	json_w_key(w, "chain_id");
	json_w_string(w, l->chain);
	json_w_key(w, "size");
	json_w_uint(w, l->blob_size);
	json_w_key(w, "tar_size");
	json_w_uint(w, l->tar_size);
	json_w_key(w, "entries");
	json_w_uint(w, l->entries);
	json_w_key(w, "state");
	json_w_string(w, l->state);
	json_w_key(w, "blob_kept");
	json_w_bool(w, l->kept);
	json_w_key(w, "whole");
	json_w_string(w, l->whole[0] ? l->whole : NULL);
	json_w_key(w, "created_by");
	json_w_string(w, line ? text_of(line, "created_by") : NULL);
	if (image->effects)
		cmd_json_effect(w, &image->effects[i]);
	json_w_end(w);
}

static int print_json(const struct image *image, struct err *err)
{
	const struct snap_image_info *info = &image->info;
	struct json *manifest cleanup_json = NULL;
	struct json_writer *w;
	int r = json_parse(image->doc->manifest, info->manifest_size, &manifest, err);

	if (r < 0)
		return r;
	w = json_writer_new(JSON_PRETTY);
	json_w_object(w);
	json_w_key(w, "ref");
	json_w_string(w, info->ref);
	json_w_key(w, "digest");
	json_w_string(w, info->manifest.text);
	json_w_key(w, "media_type");
	json_w_string(w, info->media_type);
	json_w_key(w, "platform");
	json_w_string(w, info->platform);
	json_w_key(w, "created");
	json_w_string(w, info->created[0] ? info->created : NULL);
	json_w_key(w, "size");
	json_w_uint(w, info->size);
	json_w_key(w, "state");
	json_w_string(w, info->n_lazy ? "lazy" : "complete");
	json_w_key(w, "layers");
	json_w_array(w);
	for (size_t i = 0; i < image->n; i++)
		json_layer(w, image, i);
	json_w_end(w);
	json_w_key(w, "manifest");
	json_w_value(w, manifest);
	json_w_key(w, "config");
	json_w_value(w, image->doc->config_doc);
	json_w_end(w);
	return cmd_print_json(w, err);
}

/* As people know it: oldest first, those that made no layer too. */
static void print_history(const struct image *image)
{
	const struct json *list = history_of(image);

	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *line = json_at(list, i);
		const char *comment = text_of(line, "comment");

		(void)printf("history   %-19.19s  ", text_of(line, "created"));
		cmd_put_name(stdout, text_of(line, "created_by"));
		if (comment[0]) {
			(void)fputs("  # ", stdout);
			cmd_put_name(stdout, comment);
		}
		(void)puts(json_bool(json_get(line, "empty_layer"), false) ? "  (no layer)" : "");
	}
}

static void print_text(const struct image *image)
{
	const struct snap_image_info *info = &image->info;
	char size[24], tar[24];

	(void)printf("ref       ");
	cmd_put_name(stdout, info->ref);
	cmd_format_size(info->size, size);
	(void)printf("\nmanifest  %s\nconfig    %s\ntype      %s\nplatform  %s\ncreated   %s\nsize "
		     "     %s\n",
		     info->manifest.text, info->config.text, info->media_type, info->platform,
		     info->created[0] ? info->created : "-", size);
	for (size_t i = 0; i < image->n; i++) {
		const struct snap_layer_info *l = &image->layers[i];

		cmd_format_size(l->blob_size, size);
		cmd_format_size(l->tar_size, tar);
		(void)printf("layer     %s\n  diff id   %s\n  chain id  %s\n", l->blob.text,
			     l->diff_id.text, l->chain);
		(void)printf("  size      %s, %s as tar, %" PRIu64 " entries, %s%s\n", size, tar,
			     l->entries, l->state, l->kept ? "" : ", its blob is not kept");
		if (l->whole[0]) {
			(void)printf("  whole     ");
			cmd_put_name(stdout, l->whole);
			(void)putchar('\n');
		}
	}
	print_history(image);
}

static int print_layers(struct cmd_context *c, const struct image *image, struct err *err)
{
	static const char *const titles[] = {"LAYER", "SIZE",  "ADDS",	 "CHANGES",
					     "HIDES", "BYTES", "WASTED", "CREATED BY"};
	uint64_t bytes = 0, wasted = 0;
	struct cmd_table t;
	char text[32], size[24];
	int r;

	cmd_table_init(&t, 8);
	for (size_t i = 0; i < 8 && !c->quiet; i++)
		cmd_table_add(&t, titles[i]);
	for (size_t i = 0; i < image->n; i++) {
		const struct erofs_effect *e = &image->effects[i];
		const uint64_t counts[] = {e->adds, e->changes, e->hides};

		(void)snprintf(text, sizeof(text), "%.19s", image->layers[i].blob.text);
		cmd_table_add(&t, text);
		cmd_format_size(image->layers[i].blob_size, size);
		cmd_table_add(&t, size);
		for (size_t k = 0; k < 3; k++) {
			(void)snprintf(text, sizeof(text), "%" PRIu64, counts[k]);
			cmd_table_add(&t, text);
		}
		cmd_format_size(e->bytes, size);
		cmd_table_add(&t, size);
		cmd_format_size(e->wasted, size);
		cmd_table_add(&t, size);
		(void)snprintf(text, sizeof(text), "%.31s",
			       text_of(layer_history(image, i), "created_by"));
		cmd_table_add(&t, text);
		bytes += e->bytes;
		wasted += e->wasted;
	}
	r = cmd_table_print(&t, err);
	if (r < 0 || c->quiet)
		return r;
	cmd_format_size(bytes, size);
	cmd_format_size(wasted, text);
	(void)printf("of %s in files %s are wasted\n", size, text);
	return 0;
}

static int run(struct cmd_context *c, const void *o, int argc, char **argv, struct err *err)
{
	const struct options *opt = o;
	struct image image CLEANUP(image_release) = {.n = 0};
	int r = snap_image_find(c->store, argv[0], &image.info, err);

	(void)argc;
	if (r == 0)
		r = snap_image_layers(c->store, &image.info.manifest, &image.layers, &image.n, err);
	if (r == 0)
		r = snap_image_load(c->store, &image.info.manifest, &image.doc, err);
	if (r == 0 && opt->layers) {
		image.effects = calloc(image.n + 1, sizeof(*image.effects));
		r = image.effects ? snap_image_effects(c->store, image.layers, image.n,
						       image.effects, err)
				  : err_set(err, -ENOMEM, "layers");
	}
	if (r < 0)
		return r;
	if (c->json)
		return print_json(&image, err);
	if (opt->layers)
		return print_layers(c, &image, err);
	print_text(&image);
	return 0;
}

const struct cmd cmd_inspect = {
	.name = "inspect",
	.summary = "Show an image's documents and layers",
	.usage = "REF",
	.help = "With --json also manifest and config as they are.\n"
		"With --layers a line for each layer: names that it adds, changes (contents, "
		"type,\n"
		"mode, owner, time, xattrs) and hides; bytes of the files that it brings; and "
		"wasted\n"
		"bytes, of files below that nobody sees any more because of it.",
	.options = options,
	.options_size = sizeof(struct options),
	.min_args = 1,
	.max_args = 1,
	.run = run,
};
