/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/cmd/cmd.h"
#include "snapshotter/containerd/server.h"

struct options {
	const char *address, *engine;
};

static const struct cmd_option options[] = {
	{"address", 0, CMD_STRING, "SOCKET", "the unix socket to serve at",
	 offsetof(struct options, address)},
	{"engine", 0, CMD_STRING, "ENGINE", "auto, fuse or kernel (auto)",
	 offsetof(struct options, engine)},
	CMD_OPTIONS_END,
};

static int run(struct cmd_context *c, const void *opts, int argc, char **argv, struct err *err)
{
	const struct options *o = opts;
	struct snap_serve_options s = {
		.root = c->root, .address = o->address, .engine = SNAP_ENGINE_AUTO};
	int r = o->engine ? snap_engine_parse(o->engine, &s.engine, err) : 0;

	(void)argc;
	(void)argv;
	if (r < 0)
		return cmd_is_usage_error(r);
	if (!o->address || !o->address[0])
		return cmd_usage_error(err, "serve: --address SOCKET is needed");
	return snap_serve(&s, err);
}

const struct cmd cmd_serve = {
	.name = "serve",
	.summary = "Serve containerd as a proxy snapshotter",
	.usage = "[--engine auto|fuse|kernel] --address SOCKET",
	.help = "Until SIGTERM, which lets what is under way end. The socket is for this user and "
		"root.\n"
		"Containers keep their file systems when it ends, and it goes on with them when it "
		"is\n"
		"started again. containerd's configuration: [proxy_plugins.snap] type = "
		"\"snapshot\",\n"
		"address = \"SOCKET\".",
	.options = options,
	.options_size = sizeof(struct options),
	.max_args = 0,
	.flags = CMD_NO_STORE,
	.run = run,
};
