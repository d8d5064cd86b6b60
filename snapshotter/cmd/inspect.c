/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "base/cleanup.h"
#include "snapshotter/cmd/cmd.h"
#include "snapshotter/image.h"

static void json_layer(struct json_writer *w, const struct snap_layer_info *l)
{
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
	json_w_end(w);
}

static int print_json(const struct snap_image_info *info, const struct oci_image *image,
		      const struct snap_layer_info *layers, size_t n, struct err *err)
{
	struct json *manifest cleanup_json = NULL;
	struct json_writer *w;
	int r = json_parse(image->manifest, info->manifest_size, &manifest, err);

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
	for (size_t i = 0; i < n; i++)
		json_layer(w, &layers[i]);
	json_w_end(w);
	json_w_key(w, "manifest");
	json_w_value(w, manifest);
	json_w_key(w, "config");
	json_w_value(w, image->config_doc);
	json_w_end(w);
	return cmd_print_json(w, err);
}

static void print_text(const struct snap_image_info *info, const struct snap_layer_info *layers,
		       size_t n)
{
	char size[24], tar[24];

	(void)printf("ref       ");
	cmd_put_name(stdout, info->ref);
	cmd_format_size(info->size, size);
	(void)printf("\nmanifest  %s\nconfig    %s\ntype      %s\nplatform  %s\ncreated   %s\nsize "
		     "     %s\n",
		     info->manifest.text, info->config.text, info->media_type, info->platform,
		     info->created[0] ? info->created : "-", size);
	for (size_t i = 0; i < n; i++) {
		cmd_format_size(layers[i].blob_size, size);
		cmd_format_size(layers[i].tar_size, tar);
		(void)printf("layer     %s\n  diff id   %s\n  chain id  %s\n", layers[i].blob.text,
			     layers[i].diff_id.text, layers[i].chain);
		(void)printf("  size      %s, %s as tar, %" PRIu64 " entries, %s%s\n", size, tar,
			     layers[i].entries, layers[i].state,
			     layers[i].kept ? "" : ", its blob is not kept");
		if (layers[i].whole[0]) {
			(void)printf("  whole     ");
			cmd_put_name(stdout, layers[i].whole);
			(void)putchar('\n');
		}
	}
}

static int run(struct cmd_context *c, const void *o, int argc, char **argv, struct err *err)
{
	struct snap_image_info info cleanup_snap_image_info = {.ref = NULL};
	struct snap_layer_info *layers cleanup_free = NULL;
	struct oci_image *image cleanup_oci_image = NULL;
	size_t n = 0;
	int r = snap_image_find(c->store, argv[0], &info, err);

	(void)o;
	(void)argc;
	if (r == 0)
		r = snap_image_layers(c->store, &info.manifest, &layers, &n, err);
	if (r == 0)
		r = snap_image_load(c->store, &info.manifest, &image, err);
	if (r < 0)
		return r;
	if (c->json)
		return print_json(&info, image, layers, n, err);
	print_text(&info, layers, n);
	return 0;
}

const struct cmd cmd_inspect = {
	.name = "inspect",
	.summary = "Show an image's documents and layers",
	.usage = "REF",
	.help = "With --json also manifest and config as they are.",
	.min_args = 1,
	.max_args = 1,
	.run = run,
};
