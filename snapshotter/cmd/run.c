/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "snapshotter/cmd/cmd.h"

struct options {
	const char *name, *runtime, *engine, *workdir, *user, *record;
	struct cmd_list env, volumes;
	bool remove;
};

#define COMMON_OPTIONS                                                                             \
	{"runtime",                                                                                \
	 0,                                                                                        \
	 CMD_STRING,                                                                               \
	 "NAME",                                                                                   \
	 "runc or crun (the better one that is in PATH)",                                          \
	 offsetof(struct options, runtime)},                                                       \
		{"engine",                                                                         \
		 0,                                                                                \
		 CMD_STRING,                                                                       \
		 "ENGINE",                                                                         \
		 "auto, fuse or kernel (auto)",                                                    \
		 offsetof(struct options, engine)},                                                \
		{"env",                                                                            \
		 'e',                                                                              \
		 CMD_LIST,                                                                         \
		 "K[=V]",                                                                          \
		 "a variable; without a value the caller's own; may be given again",               \
		 offsetof(struct options, env)},                                                   \
		{"workdir",                                                                        \
		 'w',                                                                              \
		 CMD_STRING,                                                                       \
		 "DIR",                                                                            \
		 "the command's working directory (the image's)",                                  \
		 offsetof(struct options, workdir)},                                               \
		{"user",                                                                           \
		 'u',                                                                              \
		 CMD_STRING,                                                                       \
		 "USER[:GROUP]",                                                                   \
		 "who runs it, by name or number (the image's)",                                   \
		 offsetof(struct options, user)},                                                  \
	{                                                                                          \
		"volume", 'v', CMD_LIST, "HOST:CONTAINER[:ro]",                                    \
			"a file or directory of the host; may be given again",                     \
			offsetof(struct options, volumes)                                          \
	}

static const struct cmd_option run_options[] = {
	{"rm", 0, CMD_FLAG, NULL, "remove the snapshot that was made of IMAGE when it ends",
	 offsetof(struct options, remove)},
	{"name", 0, CMD_STRING, "KEY", "of the snapshot that is made of IMAGE",
	 offsetof(struct options, name)},
	{"record", 0, CMD_STRING, "FILE",
	 "what is read of the image, in order, for 'snap pull --prefetch'",
	 offsetof(struct options, record)},
	COMMON_OPTIONS,
	CMD_OPTIONS_END,
};

static const struct cmd_option bundle_options[] = {
	COMMON_OPTIONS,
	CMD_OPTIONS_END,
};

static int make(const struct cmd_context *c, const struct options *o, int argc, char **argv,
		struct snap_run_options *ret, struct err *err)
{
	enum snap_engine engine = SNAP_ENGINE_AUTO;
	int r = o->engine ? snap_engine_parse(o->engine, &engine, err) : 0;

	if (r < 0)
		return cmd_is_usage_error(r);
	if (o->runtime && strcmp(o->runtime, "runc") != 0 && strcmp(o->runtime, "crun") != 0)
		return cmd_usage_error(err, "'%s' is no runtime: runc or crun", o->runtime);
	if (o->record && engine == SNAP_ENGINE_KERNEL)
		return cmd_usage_error(err,
				       "--record: the kernel's engine does not say what is read");
	if (o->record && !o->record[0])
		return cmd_usage_error(err, "--record needs the name of a file");
	*ret = (struct snap_run_options){
		.name = o->name,
		.runtime = o->runtime,
		.workdir = o->workdir,
		.user = o->user,
		.env = o->env.items,
		.n_env = o->env.n,
		.volumes = o->volumes.items,
		.n_volumes = o->volumes.n,
		.command = (const char *const *)argv,
		.n_command = (size_t)argc,
		.engine = engine,
		.record = o->record,
		.remove = o->remove,
		.speak = c->json,
	};
	return 0;
}

static int run(struct cmd_context *c, const void *opts, int argc, char **argv, struct err *err)
{
	struct snap_run_options opt;
	int r = make(c, opts, argc - 1, argv + 1, &opt, err);

	return r < 0 ? r : snap_run(c->store, argv[0], &opt, &c->exit_code, err);
}

static int bundle(struct cmd_context *c, const void *opts, int argc, char **argv, struct err *err)
{
	struct snap_run_options opt;
	struct snap_mount_result result;
	struct json_writer *w;
	int r = make(c, opts, argc - 2, argv + 2, &opt, err);

	if (r == 0)
		r = snap_bundle(c->store, argv[0], argv[1], &opt, &result, err);
	if (r < 0)
		return r;
	if (!c->json) {
		if (!c->quiet)
			(void)printf("engine %s: %s\n", snap_engine_name(result.engine),
				     result.reason);
		return 0;
	}
	w = json_writer_new(JSON_PRETTY);
	json_w_object(w);
	json_w_key(w, "bundle");
	json_w_string(w, argv[1]);
	json_w_key(w, "engine");
	json_w_string(w, snap_engine_name(result.engine));
	json_w_key(w, "reason");
	json_w_string(w, result.reason);
	json_w_end(w);
	return cmd_print_json(w, err);
}

const struct cmd cmd_run = {
	.name = "run",
	.summary = "Run a command in a container",
	.usage = "[OPTION]... IMAGE|KEY [COMMAND [ARG]...]",
	.help = "IMAGE gets a new snapshot, which stays unless --rm is given; KEY is used as it "
		"is. Without\n"
		"COMMAND the image's own runs. The container is in the host's network. Returns "
		"the\n"
		"command's exit status; 125: the container could not be started, 126: the command "
		"cannot\n"
		"be run, 127: there is no such command.",
	.options = run_options,
	.options_size = sizeof(struct options),
	.min_args = 1,
	.max_args = -1,
	.rest_after = 1,
	.failure = 125,
	.flags = CMD_NAMESPACES,
	.run = run,
};

const struct cmd cmd_bundle = {
	.name = "bundle",
	.summary = "Make an OCI runtime bundle of a snapshot",
	.usage = "[OPTION]... KEY DIR [COMMAND [ARG]...]",
	.help = "DIR gets config.json, and the snapshot mounted at rootfs until 'snap umount "
		"DIR/rootfs'.\n"
		"An ordinary user does this in 'snap unshare'.",
	.options = bundle_options,
	.options_size = sizeof(struct options),
	.min_args = 2,
	.max_args = -1,
	.rest_after = 2,
	.run = bundle,
};
