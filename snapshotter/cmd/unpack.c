/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stddef.h>

#include "base/log.h"
#include "snapshotter/cmd/cmd.h"
#include "snapshotter/unpack.h"

struct options {
	unsigned int jobs;
};

static const struct cmd_option options[] = {
	{"jobs", 'j', CMD_UINT, "N", "threads that write files (one for each processor)",
	 offsetof(struct options, jobs)},
	CMD_OPTIONS_END,
};

static int print_json(const char *ref, const char *dir, const struct snap_unpack_result *result,
		      struct err *err)
{
	struct json_writer *w = json_writer_new(JSON_PRETTY);

	json_w_object(w);
	json_w_key(w, "ref");
	json_w_string(w, ref);
	json_w_key(w, "directory");
	json_w_string(w, dir);
	json_w_key(w, "entries");
	json_w_uint(w, result->entries);
	json_w_key(w, "bytes");
	json_w_uint(w, result->bytes);
	json_w_key(w, "soft_owners");
	json_w_uint(w, result->soft_owners);
	json_w_key(w, "left_out");
	json_w_uint(w, result->left_out);
	json_w_end(w);
	return cmd_print_json(w, err);
}

static int run(struct cmd_context *c, const void *opts, int argc, char **argv, struct err *err)
{
	const struct options *o = opts;
	struct snap_unpack_result result;
	char size[24];
	int r = snap_unpack(c->store, argv[0], argv[1], o->jobs, &result, err);

	(void)argc;
	if (r < 0)
		return r;
	if (result.left_out > 0)
		log_warn("%" PRIu64 " device nodes were left out: only root can make them",
			 result.left_out);
	if (c->json)
		return print_json(argv[0], argv[1], &result, err);
	if (c->quiet)
		return 0;
	cmd_format_size(result.bytes, size);
	(void)fprintf(stderr, "unpacked %" PRIu64 " entries, %s", result.entries, size);
	if (result.soft_owners > 0)
		(void)fprintf(stderr, "; the owners of %" PRIu64 " are in xattrs",
			      result.soft_owners);
	(void)fputc('\n', stderr);
	return 0;
}

const struct cmd cmd_unpack = {
	.name = "unpack",
	.summary = "Write an image's root file system into a directory",
	.usage = "[--jobs N] REF DIR",
	.help = "DIR is made, or is empty. Owners that the caller may not give are kept in the "
		"xattr\n"
		"user.containers.override_stat, as podman and snapfs have it; device nodes that he "
		"may not\n"
		"make are left out. Nothing stays when it fails.",
	.options = options,
	.options_size = sizeof(struct options),
	.min_args = 2,
	.max_args = 2,
	.run = run,
};
