/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>

#include "snapshotter/cmd/cmd.h"
#include "snapshotter/fsck.h"

struct options {
	bool repair;
};

static const struct cmd_option options[] = {
	{"repair", 0, CMD_FLAG, NULL, "make anew what can be made, remove what is not what it says",
	 offsetof(struct options, repair)},
	CMD_OPTIONS_END,
};

static const char *const severities[] = {"leftover", "repaired", "broken"};

static int print_finding(void *ctx, const struct snap_fsck_finding *f, struct err *err)
{
	(void)ctx;
	(void)err;
	(void)printf("%s: %s ", severities[f->severity], f->kind);
	cmd_put_name(stdout, f->name);
	(void)fputs(": ", stdout);
	cmd_put_name(stdout, f->what);
	(void)putchar('\n');
	return 0;
}

static int json_finding(void *ctx, const struct snap_fsck_finding *f, struct err *err)
{
	struct json_writer *w = ctx;

	(void)err;
	json_w_object(w);
	json_w_key(w, "state");
	json_w_string(w, severities[f->severity]);
	json_w_key(w, "kind");
	json_w_string(w, f->kind);
	json_w_key(w, "name");
	json_w_string(w, f->name);
	json_w_key(w, "what");
	json_w_string(w, f->what);
	json_w_end(w);
	return 0;
}

static int finish_json(struct json_writer *w, const struct snap_fsck_result *result,
		       struct err *err)
{
	json_w_end(w);
	json_w_key(w, "checked");
	json_w_uint(w, result->checked);
	json_w_key(w, "broken");
	json_w_uint(w, result->broken);
	json_w_key(w, "repaired");
	json_w_uint(w, result->repaired);
	json_w_key(w, "leftover");
	json_w_uint(w, result->leftover);
	json_w_end(w);
	return cmd_print_json(w, err);
}

static int run(struct cmd_context *c, const void *opts, int argc, char **argv, struct err *err)
{
	unsigned int flags = ((const struct options *)opts)->repair ? SNAP_FSCK_REPAIR : 0;
	struct snap_fsck_result result;
	struct json_writer *w = NULL;
	int r;

	if (c->json) {
		w = json_writer_new(JSON_PRETTY);
		json_w_object(w);
		json_w_key(w, "findings");
		json_w_array(w);
	}
	r = snap_fsck(c->store, argv, (size_t)argc, flags, w ? json_finding : print_finding, w,
		      &result, err);
	if (r < 0) {
		json_writer_free(w);
		return r;
	}
	c->exit_code = result.broken > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	if (w)
		return finish_json(w, &result, err);
	if (!c->quiet)
		(void)fprintf(stderr,
			      "%" PRIu64 " checked, %" PRIu64 " broken, %" PRIu64 " repaired\n",
			      result.checked, result.broken, result.repaired);
	return 0;
}

const struct cmd cmd_fsck = {
	.name = "fsck",
	.summary = "Verify the store again",
	.usage = "[--repair] [KEY|REF|DIGEST]...",
	.help = "Every blob and every layer's tar is hashed, every index made anew and compared, "
		"every row\n"
		"compared with its folder. Names what is wrong; exit status 1 if anything is "
		"broken.",
	.options = options,
	.options_size = sizeof(struct options),
	.max_args = -1,
	.run = run,
};
