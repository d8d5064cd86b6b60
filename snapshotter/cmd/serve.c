/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "snapshotter/cmd/cmd.h"
#include "snapshotter/cmd/remote.h"
#include "snapshotter/containerd/server.h"

struct options {
	const char *address, *engine, *pull, *content;
	struct cmd_remote remote;
	bool fuse_helper;
};

static const struct cmd_option options[] = {
	{"address", 0, CMD_STRING, "SOCKET", "the unix socket to serve at",
	 offsetof(struct options, address)},
	{"engine", 0, CMD_STRING, "ENGINE", "auto, fuse or kernel (auto)",
	 offsetof(struct options, engine)},
	{"fuse-helper", 0, CMD_FLAG, NULL,
	 "containerd mounts by mount.fuse3 what FUSE serves, not this server",
	 offsetof(struct options, fuse_helper)},
	{"pull", 0, CMD_STRING, "HOW",
	 "bring images in that containerd asks for: whole, metadata, prefetch or background",
	 offsetof(struct options, pull)},
	{"content", 0, CMD_STRING, "DIR", "containerd's content store, looked into first",
	 offsetof(struct options, content)},
	CMD_REMOTE_OPTIONS(struct options, remote),
	CMD_OPTIONS_END,
};

#define CONTENT                                                                                    \
	"/var/lib/containerd/io.containerd.content.v1.content" /* Debian's, and most others' */

static int read_fetch(const struct options *o, struct oci_remote *remote, struct fetch_options *ret,
		      struct err *err)
{
	int r = cmd_remote_read(&o->remote, remote, err);

	if (r < 0)
		return cmd_is_usage_error(r);
	*ret = (struct fetch_options){
		.on = o->pull, .remote = remote, .content = o->content ? o->content : CONTENT};
	if (!o->pull || strcmp(o->pull, "whole") == 0)
		return 0;
	if (strcmp(o->pull, "metadata") == 0)
		ret->lazy = SNAP_LAZY_METADATA;
	else if (strcmp(o->pull, "prefetch") == 0)
		ret->lazy = SNAP_LAZY_PREFETCH;
	else if (strcmp(o->pull, "background") == 0)
		ret->lazy = SNAP_LAZY_BACKGROUND;
	else
		return cmd_usage_error(
			err, "--pull is whole, metadata, prefetch or background, not '%s'",
			o->pull);
	return 0;
}

static int run(struct cmd_context *c, const void *opts, int argc, char **argv, struct err *err)
{
	const struct options *o = opts;
	struct snap_serve_options s = {
		.root = c->root, .address = o->address, .engine = SNAP_ENGINE_AUTO};
	struct oci_remote remote;
	int r = o->engine ? snap_engine_parse(o->engine, &s.engine, err) : 0;

	(void)argc;
	(void)argv;
	if (r < 0)
		return cmd_is_usage_error(r);
	if (!o->address || !o->address[0])
		return cmd_usage_error(err, "serve: --address SOCKET is needed");
	s.fuse_helper = o->fuse_helper;
	r = read_fetch(o, &remote, &s.fetch, err);
	return r < 0 ? r : snap_serve(&s, err);
}

const struct cmd cmd_serve = {
	.name = "serve",
	.summary = "Serve containerd as a proxy snapshotter",
	.usage = "[--engine auto|fuse|kernel] [--fuse-helper] [--pull "
		 "whole|metadata|prefetch|background] "
		 "--address SOCKET",
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
