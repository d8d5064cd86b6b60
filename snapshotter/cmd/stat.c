/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/cmd/cmd.h"
#include "snapshotter/lazy.h"

static void line(const char *name, const char *value)
{
	(void)printf("%-8s ", name);
	cmd_put_name(stdout, value);
	(void)putchar('\n');
}

static int run(struct cmd_context *c, const void *o, int argc, char **argv, struct err *err)
{
	struct snap_info info cleanup_snap_info = {.key = NULL};
	struct lazy_progress p = {.needed = 0};
	char time[40], a[24], b[24];
	int r = snap_stat(c->store, argv[0], &info, err);

	(void)o;
	(void)argc;
	if (r == 0)
		r = lazy_snapshot_progress(c->store, argv[0], &p, err);
	if (r < 0)
		return r;
	if (c->json) {
		struct json_writer *w = json_writer_new(JSON_PRETTY);

		json_w_object(w);
		cmd_json_snapshot_members(w, &info);
		json_w_key(w, "needed");
		json_w_uint(w, p.needed);
		json_w_key(w, "fetched");
		json_w_uint(w, p.fetched);
		json_w_key(w, "lazy_layers");
		json_w_uint(w, p.layers);
		json_w_key(w, "whole_layers");
		json_w_uint(w, p.whole);
		json_w_key(w, "whole");
		json_w_string(w, p.why[0] ? p.why : NULL);
		json_w_end(w);
		return cmd_print_json(w, err);
	}
	line("key", info.key);
	line("kind", snap_kind_name(info.kind));
	line("parent", info.parent ? info.parent : "-");
	cmd_format_time(info.created, time);
	line("created", time);
	cmd_format_time(info.updated, time);
	line("updated", time);
	if (p.layers > 0) {
		cmd_format_size(p.fetched, a);
		cmd_format_size(p.needed, b);
		(void)printf("fetched  %s of %s, %zu lazy layers\n", a, b, p.layers);
	}
	if (p.whole > 0) {
		(void)printf("whole    %zu layers: ", p.whole);
		cmd_put_name(stdout, p.why);
		(void)putchar('\n');
	}
	for (size_t i = 0; i < info.n_labels; i++) {
		(void)printf("label    ");
		cmd_put_name(stdout, info.labels[i].key);
		(void)putchar('=');
		cmd_put_name(stdout, info.labels[i].value);
		(void)putchar('\n');
	}
	return 0;
}

const struct cmd cmd_stat = {
	.name = "stat",
	.summary = "Show what is known of a snapshot",
	.usage = "KEY",
	.min_args = 1,
	.max_args = 1,
	.run = run,
};
