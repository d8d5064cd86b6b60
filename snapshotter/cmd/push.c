/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/cmd/cmd.h"
#include "snapshotter/cmd/remote.h"
#include "snapshotter/pull.h"

struct options {
	struct cmd_remote remote;
	bool recompress;
};

static const struct cmd_option options[] = {
	{"recompress", 0, CMD_FLAG, NULL,
	 "give layers whose blobs were not kept other digests, and the image",
	 offsetof(struct options, recompress)},
	CMD_REMOTE_OPTIONS(struct options, remote),
	CMD_OPTIONS_END,
};

static int run(struct cmd_context *c, const void *opts, int argc, char **argv, struct err *err)
{
	const struct options *o = opts;
	struct snap_push_options opt = {.recompress = o->recompress};
	struct snap_push_result result;
	struct oci_remote remote;
	int r = cmd_remote_read(&o->remote, &remote, err);

	(void)argc;
	if (r < 0)
		return cmd_is_usage_error(r);
	opt.remote = &remote;
	r = snap_push(c->store, argv[0], argv[1], &opt, &result, err);
	if (r < 0)
		return r;
	if (c->json) {
		struct json_writer *w = json_writer_new(JSON_PRETTY);

		json_w_object(w);
		json_w_key(w, "ref");
		json_w_string(w, argv[0]);
		json_w_key(w, "digest");
		json_w_string(w, result.manifest.text);
		json_w_key(w, "recompressed");
		json_w_uint(w, result.recompressed);
		json_w_end(w);
		return cmd_print_json(w, err);
	}
	if (c->quiet)
		return 0;
	if (result.recompressed)
		(void)fprintf(stderr, "%zu layers have other digests: the image there is not %s\n",
			      result.recompressed, result.image.text);
	(void)printf("%s\n", result.manifest.text);
	return 0;
}

const struct cmd cmd_push = {
	.name = "push",
	.summary = "Copy an image out of the store",
	.usage = "[--recompress] [--tls-verify BOOL] [--creds USER:PASSWORD] [--authfile FILE] REF "
		 "DEST",
	.help = "DEST is one of\n"
		"  oci:DIR[:TAG]           an OCI image layout: made when it is not there, other "
		"tags in\n"
		"                          it stay\n"
		"  oci-archive:FILE[:TAG]  the same in a tar, which is replaced when it is there\n"
		"  docker://[HOST[:PORT]/]NAME[:TAG]\n"
		"                          a registry: what it has is not sent again\n"
		"Blobs go out byte for byte as they came in. One that was not kept (--no-blobs) "
		"is\n"
		"compressed again, which has to give the same bytes: others are refused, or, with\n"
		"--recompress, pushed with a manifest that names them. Prints the manifest's "
		"digest.",
	.options = options,
	.options_size = sizeof(struct options),
	.min_args = 2,
	.max_args = 2,
	.run = run,
};
