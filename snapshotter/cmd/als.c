/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/als.h"
#include "base/cleanup.h"
#include "snapshotter/cmd/cmd.h"

struct options {
	bool foreground;
	const char *release;
};

static const struct cmd_option options[] = {
	{"foreground", 'f', CMD_FLAG, NULL, "stay in the foreground",
	 offsetof(struct options, foreground)},
	{"release", 0, CMD_STRING, "REF", "end every use of this image's layers",
	 offsetof(struct options, release)},
	CMD_OPTIONS_END,
};

static int run(struct cmd_context *c, const void *opts, int argc, char **argv, struct err *err)
{
	struct snap_store *store cleanup_snap_store = NULL;
	const struct options *o = opts;
	struct snap_als_options als = {.root = c->root, .foreground = o->foreground};
	int r;

	if (o->release) {
		if (argc > 0 || o->foreground)
			return cmd_usage_error(err, "--release mounts nothing: no MOUNTPOINT");
		r = snap_store_open(c->root, &store, err);
		return r < 0 ? r : snap_als_release(store, o->release, err);
	}
	if (argc == 0)
		return cmd_usage_error(err, "als: MOUNTPOINT is needed");
	als.mountpoint = argv[0];
	return snap_als(&als, err);
}

const struct cmd cmd_als = {
	.name = "als",
	.summary = "Let podman and CRI-O use images without a copy of their layers",
	.usage = "[-f] MOUNTPOINT\n"
		 "--release REF",
	.help = "Mounts an additional layer store of containers/storage: what podman, buildah or\n"
		"CRI-O pull and this store has is used from here. Returns when the mount is live;\n"
		"'umount' or 'fusermount3 -u' ends it, SIGTERM too. storage.conf:\n"
		"[storage.options] additionallayerstores = [\"MOUNTPOINT:ref\"]\n"
		"An image with layers in use stays when it is forgotten, until podman has removed\n"
		"it as well; --release is for a podman store that is lost.",
	.options = options,
	.options_size = sizeof(struct options),
	.min_args = 0,
	.max_args = 1,
	.flags = CMD_NO_STORE,
	.run = run,
};
