/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "snapshotter/cmd/cmd.h"
#include "snapshotter/cmd/remote.h"
#include "snapshotter/image.h"
#include "snapshotter/lazy_index.h"

struct options {
	struct cmd_remote remote;
	const char *prefetch, *expect;
};

static const struct cmd_option options[] = {
	{"prefetch", 0, CMD_STRING, "FILE",
	 "export, push: what to fetch first, from 'snap run --record'",
	 offsetof(struct options, prefetch)},
	{"expect", 0, CMD_STRING, "DIGEST", "import: of the index's manifest; no other one will do",
	 offsetof(struct options, expect)},
	CMD_REMOTE_OPTIONS(struct options, remote),
	CMD_OPTIONS_END,
};

static const char *const states[] = {"ready", "missing", "never"};

static int list_json(const struct snap_index_layer *layers, size_t n, struct err *err)
{
	struct json_writer *w = json_writer_new(JSON_PRETTY);

	json_w_array(w);
	for (size_t i = 0; i < n; i++) {
		const struct snap_index_layer *l = &layers[i];

		json_w_object(w);
		json_w_key(w, "blob");
		json_w_string(w, l->blob.text);
		json_w_key(w, "blob_size");
		json_w_uint(w, l->blob_size);
		json_w_key(w, "tar_size");
		json_w_uint(w, l->tar_size);
		json_w_key(w, "state");
		json_w_string(w, states[l->state]);
		json_w_key(w, "spans");
		json_w_uint(w, l->spans);
		json_w_key(w, "spans_size");
		json_w_uint(w, l->size);
		json_w_key(w, "why");
		json_w_string(w, l->why[0] ? l->why : NULL);
		json_w_end(w);
	}
	json_w_end(w);
	return cmd_print_json(w, err);
}

static int list(struct cmd_context *c, const char *ref, struct err *err)
{
	static const char *const titles[] = {"BLOB", "SIZE", "TAR", "SPANS", "INDEX", "STATE"};
	struct snap_index_layer *layers cleanup_free = NULL;
	struct cmd_table t;
	size_t n = 0;
	int r = snap_index_layers(c->store, ref, false, &layers, &n, err);

	if (r < 0 || c->json)
		return r < 0 ? r : list_json(layers, n, err);
	cmd_table_init(&t, 6);
	for (size_t i = 0; i < 6 && !c->quiet; i++)
		cmd_table_add(&t, titles[i]);
	for (size_t i = 0; i < n; i++) {
		const struct snap_index_layer *l = &layers[i];
		char text[200];

		(void)snprintf(text, sizeof(text), "%.19s", l->blob.text);
		cmd_table_add(&t, text);
		cmd_format_size(l->blob_size, text);
		cmd_table_add(&t, text);
		cmd_format_size(l->tar_size, text);
		cmd_table_add(&t, text);
		(void)snprintf(text, sizeof(text), "%" PRIu64, l->spans);
		cmd_table_add(&t, l->spans ? text : "-");
		cmd_format_size(l->size, text);
		cmd_table_add(&t, l->size ? text : "-");
		(void)snprintf(text, sizeof(text), "%s%s%s", states[l->state],
			       l->why[0] ? ": " : "", l->why);
		cmd_table_add(&t, text);
	}
	return cmd_table_print(&t, err);
}

static int send(struct cmd_context *c, const char *ref, const char *dest, const char *list,
		const struct oci_remote *remote, struct err *err)
{
	struct snap_index_result result;
	int r = snap_index_push(c->store, ref, dest, list, remote, &result, err);

	if (r < 0)
		return r;
	if (c->json) {
		struct json_writer *w = json_writer_new(JSON_PRETTY);

		json_w_object(w);
		json_w_key(w, "ref");
		json_w_string(w, ref);
		json_w_key(w, "digest");
		json_w_string(w, result.manifest.text);
		json_w_key(w, "subject");
		json_w_string(w, result.subject.text);
		json_w_key(w, "layers");
		json_w_uint(w, result.layers);
		json_w_key(w, "left_out");
		json_w_uint(w, result.left_out);
		json_w_key(w, "size");
		json_w_uint(w, result.size);
		json_w_end(w);
		return cmd_print_json(w, err);
	}
	if (c->quiet)
		return 0;
	if (result.left_out)
		(void)fprintf(stderr, "%zu of %zu layers will be fetched whole: 'snap index ls'\n",
			      result.left_out, result.layers + result.left_out);
	(void)printf("%s\n", result.manifest.text);
	return 0;
}

/* Where the image was pulled from, as its REF says. */
static int push(struct cmd_context *c, const char *ref, const char *dest, const char *list,
		const struct oci_remote *remote, struct err *err)
{
	struct snap_image_info info cleanup_snap_image_info = {.ref = NULL};
	char *spec cleanup_free = NULL;
	int r = dest ? 0 : snap_image_find(c->store, ref, &info, err);

	if (r == 0 && !dest && asprintf(&spec, "docker://%s", info.ref) < 0) {
		spec = NULL;
		return err_set(err, -ENOMEM, "index");
	}
	return r < 0 ? r : send(c, ref, dest ? dest : spec, list, remote, err);
}

static void tell_left_out(const struct digest *blob, const char *why)
{
	(void)fprintf(stderr, "%s: not taken: ", blob->text);
	cmd_put_name(stderr, why);
	(void)fputc('\n', stderr);
}

static int take(struct cmd_context *c, const char *ref, const char *source, const char *digest,
		const struct oci_remote *remote, struct err *err)
{
	struct snap_index_import result;
	struct json_writer *w;
	struct digest expect;
	int r;

	if (digest && digest_parse(digest, &expect) < 0)
		return cmd_usage_error(err, "--expect: '%s' is no digest", digest);
	r = snap_index_import(c->store, ref, source, remote, digest ? &expect : NULL,
			      c->quiet || c->json ? NULL : tell_left_out, &result, err);
	if (r < 0)
		return r;
	if (!c->json) {
		if (!c->quiet)
			(void)printf("%zu layers taken, %zu had already, %zu left out\n",
				     result.layers, result.known, result.left_out);
		return 0;
	}
	w = json_writer_new(JSON_PRETTY);
	json_w_object(w);
	json_w_key(w, "ref");
	json_w_string(w, ref);
	json_w_key(w, "layers");
	json_w_uint(w, result.layers);
	json_w_key(w, "known");
	json_w_uint(w, result.known);
	json_w_key(w, "left_out");
	json_w_uint(w, result.left_out);
	json_w_end(w);
	return cmd_print_json(w, err);
}

static int run(struct cmd_context *c, const void *opts, int argc, char **argv, struct err *err)
{
	const struct options *o = opts;
	struct oci_remote remote;
	int r = cmd_remote_read(&o->remote, &remote, err);

	if (r < 0)
		return cmd_is_usage_error(r);
	if (o->expect && strcmp(argv[0], "import") != 0)
		return cmd_usage_error(err, "--expect goes with import");
	if (o->prefetch && strcmp(argv[0], "export") != 0 && strcmp(argv[0], "push") != 0)
		return cmd_usage_error(err, "--prefetch goes with export and push");
	if (strcmp(argv[0], "ls") == 0 && argc == 2)
		return list(c, argv[1], err);
	if (strcmp(argv[0], "export") == 0 && argc == 3)
		return send(c, argv[1], argv[2], o->prefetch, &remote, err);
	if (strcmp(argv[0], "push") == 0)
		return push(c, argv[1], argc == 3 ? argv[2] : NULL, o->prefetch, &remote, err);
	if (strcmp(argv[0], "import") == 0 && argc == 3)
		return take(c, argv[1], argv[2], o->expect, &remote, err);
	return cmd_usage_error(err, "'index' has ls REF, export REF DEST, push REF [DEST] and "
				    "import REF SOURCE");
}

const struct cmd cmd_index = {
	.name = "index",
	.summary = "Make and publish the lazy index of an image",
	.usage = "ls REF\n"
		 "export [--prefetch FILE] REF DEST\n"
		 "push [--prefetch FILE] [--tls-verify BOOL] [--creds USER:PASSWORD] [--authfile "
		 "FILE] "
		 "REF [DEST]\n"
		 "import [--expect DIGEST] [--tls-verify BOOL] [--creds USER:PASSWORD] [--authfile "
		 "FILE] REF SOURCE",
	.help = "With a lazy index beside it an image can be used before its contents have come:\n"
		"'snap pull --lazy' finds it by the digest of the image's manifest.\n"
		"  ls      what there is for each layer, and why a layer is always fetched whole\n"
		"  export  makes it and adds it to the OCI layout oci:DIR that has the image\n"
		"  push    makes it and adds it to the registry that has the image, docker:// and\n"
		"          the REF when no DEST is given\n"
		"  import  takes one that was made elsewhere, so that it need not be made here; "
		"each\n"
		"          part of it is tried on the image's own blobs first\n"
		"It is an artifact that refers to the image (OCI 1.1), listed under the tag\n"
		"sha256-DIGEST too. export and push print the digest of its manifest, which "
		"stands\n"
		"for all of it: sign that, and give it to 'import --expect' and 'pull --expect'.",
	.options = options,
	.options_size = sizeof(struct options),
	.min_args = 2,
	.max_args = 3,
	.run = run,
};
