/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "snapshotter/cmd/cmd.h"
#include "snapshotter/mount.h"

struct options {
	const char *engine;
	struct cmd_list options;
};

static const struct cmd_option options[] = {
	{"engine", 0, CMD_STRING, "ENGINE", "auto, fuse or kernel (auto)",
	 offsetof(struct options, engine)},
	{"options", 'o', CMD_LIST, "OPT[,OPT]", "more options of the engine, such as ro,dev,suid",
	 offsetof(struct options, options)},
	CMD_OPTIONS_END,
};

static int join(const struct cmd_list *list, struct strbuf *out, struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < list->n && r == 0; i++)
		r = strbuf_addf(out, "%s%s", i > 0 ? "," : "", list->items[i]);
	return r < 0 ? err_set(err, r, "options") : 0;
}

static int print(struct cmd_context *c, const char *target, const struct snap_mount_result *m,
		 struct err *err)
{
	struct json_writer *w;

	if (!c->json) {
		if (!c->quiet)
			(void)printf("engine %s: %s\n", snap_engine_name(m->engine), m->reason);
		return 0;
	}
	w = json_writer_new(JSON_PRETTY);
	json_w_object(w);
	json_w_key(w, "target");
	json_w_string(w, target);
	json_w_key(w, "engine");
	json_w_string(w, snap_engine_name(m->engine));
	json_w_key(w, "reason");
	json_w_string(w, m->reason);
	json_w_end(w);
	return cmd_print_json(w, err);
}

static int run(struct cmd_context *c, const void *opts, int argc, char **argv, struct err *err)
{
	struct strbuf more CLEANUP(strbuf_release) = STRBUF_INIT;
	const struct options *o = opts;
	enum snap_engine engine = SNAP_ENGINE_AUTO;
	struct snap_mount_result result;
	int r = o->engine ? snap_engine_parse(o->engine, &engine, err) : 0;

	(void)argc;
	if (r < 0)
		return cmd_is_usage_error(r);
	r = join(&o->options, &more, err);
	if (r == 0)
		r = snap_mount(c->store, argv[0], argv[1], engine, more.s, &result, err);
	return r < 0 ? r : print(c, argv[1], &result, err);
}

const struct cmd cmd_mount = {
	.name = "mount",
	.summary = "Mount a snapshot",
	.usage = "[--engine auto|fuse|kernel] [-o OPT[,OPT]...] KEY TARGET",
	.help = "Returns when the mount is live; says which engine serves it and why. A dead mount "
		"of the\n"
		"same KEY is replaced, a live one refused. Device files and setuid work only with "
		"-o\n"
		"dev,suid.",
	.options = options,
	.options_size = sizeof(struct options),
	.min_args = 2,
	.max_args = 2,
	.run = run,
};
