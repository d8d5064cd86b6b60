/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "snapshotter/cmd/cmd.h"
#include "snapshotter/cmd/layer_options.h"
#include "snapshotter/diff.h"

struct options {
	const char *output;
	struct cmd_layer_options layer;
	bool list;
};

static const struct cmd_option options[] = {
	{"list", 'l', CMD_FLAG, NULL, "only say what changed: A added, C changed, D deleted",
	 offsetof(struct options, list)},
	{"output", 'o', CMD_STRING, "FILE", "write the layer there instead of to standard output",
	 offsetof(struct options, output)},
	CMD_LAYER_OPTIONS(struct options, layer),
	CMD_OPTIONS_END,
};

static char letter(enum ovl_change_kind kind)
{
	return kind == OVL_ADDED ? 'A' : kind == OVL_CHANGED ? 'C' : 'D';
}

static int list_one(void *ctx, const struct ovl_change *ch, struct err *err)
{
	struct json_writer *w = ctx;
	const char *path = ch->path[0] ? ch->path : ".";

	(void)err;
	if (ch->kind == OVL_OPAQUE)
		return 0;
	if (w) {
		json_w_object(w);
		json_w_key(w, "kind");
		json_w_stringn(w, (const char[]){letter(ch->kind)}, 1);
		json_w_key(w, "path");
		json_w_string(w, path);
		json_w_end(w);
		return 0;
	}
	(void)printf("%c ", letter(ch->kind));
	cmd_put_name(stdout, path);
	(void)putchar('\n');
	return 0;
}

static int list(struct cmd_context *c, const char *key, struct err *err)
{
	struct json_writer *w = c->json ? json_writer_new(JSON_PRETTY) : NULL;
	int r;

	if (!w)
		return snap_diff_list(c->store, key, list_one, NULL, err);
	json_w_array(w);
	r = snap_diff_list(c->store, key, list_one, w, err);
	json_w_end(w);
	if (r == 0)
		return cmd_print_json(w, err);
	json_writer_free(w);
	return r;
}

static int print(struct cmd_context *c, const struct oci_layer_ref *ref, struct err *err)
{
	struct json_writer *w;

	if (!c->json)
		return 0;
	w = json_writer_new(JSON_PRETTY);
	json_w_object(w);
	json_w_key(w, "media_type");
	json_w_string(w, ref->desc.media_type);
	json_w_key(w, "digest");
	json_w_string(w, ref->desc.digest.text);
	json_w_key(w, "diff_id");
	json_w_string(w, ref->diff_id.text);
	json_w_key(w, "size");
	json_w_uint(w, ref->desc.size);
	json_w_end(w);
	return cmd_print_json(w, err);
}

/* The file appears at once, or not at all. */
static int to_file(struct cmd_context *c, const char *key, const char *path,
		   const struct snap_layer_options *opt, struct oci_layer_ref *ref, struct err *err)
{
	const char *slash = strrchr(path, '/');
	char *folder cleanup_free = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	struct io_tmp tmp cleanup_io_tmp = IO_TMP_INIT;
	int dir cleanup_close = -1, r;

	if (!folder)
		return err_set(err, -ENOMEM, "'%s'", path);
	dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = dir < 0 ? -errno : io_tmp_create(dir, 0644, &tmp);
	if (r < 0)
		return err_set(err, r, "make '%s'", path);
	r = snap_diff(c->store, key, tmp.fd, opt, ref, err);
	if (r < 0)
		return r;
	r = io_tmp_publish(&tmp, dir, slash ? slash + 1 : path);
	return r < 0 ? err_set(err, r, "write '%s'", path) : 0;
}

static int run(struct cmd_context *c, const void *opts, int argc, char **argv, struct err *err)
{
	const struct options *o = opts;
	struct snap_layer_options opt = {.level = 0};
	struct oci_layer_ref ref;
	struct cmd_layer_options layer = o->layer;
	int r;

	(void)argc;
	if (o->list)
		return list(c, argv[0], err);
	if (!layer.compression)
		layer.compression = "none";
	r = cmd_layer_options(&layer, &opt, err);
	if (r < 0)
		return r;
	if (!o->output) {
		if (isatty(STDOUT_FILENO) == 1)
			return cmd_usage_error(
				err,
				"diff: the layer goes to no terminal: redirect it, or -o FILE");
		if (c->json)
			return cmd_usage_error(err, "diff: with --json the layer needs -o FILE");
		return snap_diff(c->store, argv[0], STDOUT_FILENO, &opt, NULL, err);
	}
	r = to_file(c, argv[0], o->output, &opt, &ref, err);
	return r < 0 ? r : print(c, &ref, err);
}

const struct cmd cmd_diff = {
	.name = "diff",
	.summary = "Show what was changed in a snapshot, as a layer or a list",
	.usage = "[-o FILE] [--compression gzip|zstd|none] [--level N] [--timestamp T] KEY\n"
		 "--list KEY",
	.help = "The layer is a tar with OCI whiteouts, plain unless --compression says otherwise.",
	.options = options,
	.options_size = sizeof(struct options),
	.min_args = 1,
	.max_args = 1,
	.flags = CMD_FOLLOWS_KEYS,
	.run = run,
};
