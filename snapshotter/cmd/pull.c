/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "snapshotter/cmd/cmd.h"
#include "snapshotter/cmd/interrupt.h"
#include "snapshotter/cmd/progress.h"
#include "snapshotter/cmd/remote.h"
#include "snapshotter/pull.h"

struct options {
	const char *name, *platform, *lazy, *index, *expect, *prefetch, *rate;
	struct cmd_remote remote;
	bool no_blobs;
	unsigned int jobs;
	struct cmd_list limits;
};

static const struct cmd_option options[] = {
	{"name", 0, CMD_STRING, "REF", "what the image is called here",
	 offsetof(struct options, name)},
	{"platform", 0, CMD_STRING, "OS/ARCH[/VARIANT]", "of an image for several (this machine's)",
	 offsetof(struct options, platform)},
	{"lazy", 0, CMD_STRING, "HOW",
	 "use it before its contents are here: metadata, prefetch or background",
	 offsetof(struct options, lazy)},
	{"index", 0, CMD_STRING, "SOURCE", "where its lazy index is (SOURCE of the image)",
	 offsetof(struct options, index)},
	{"expect", 0, CMD_STRING, "DIGEST", "of the lazy index: no other one will do",
	 offsetof(struct options, expect)},
	{"prefetch", 0, CMD_STRING, "FILE",
	 "what to fetch first, from 'snap run --record' (the index's own list)",
	 offsetof(struct options, prefetch)},
	{"rate", 0, CMD_STRING, "BYTES", "a second in the background, K, M or G (no bound)",
	 offsetof(struct options, rate)},
	{"no-blobs", 0, CMD_FLAG, NULL,
	 "keep new layers as tars alone; 'snap push' has to compress them again",
	 offsetof(struct options, no_blobs)},
	{"jobs", 'j', CMD_UINT, "N", "layers at once (number of CPUs)",
	 offsetof(struct options, jobs)},
	{"limit", 0, CMD_LIST, "NAME=VALUE",
	 "bytes, ratio, entries, xattr-bytes, header-bytes or depth of a layer",
	 offsetof(struct options, limits)},
	CMD_REMOTE_OPTIONS(struct options, remote),
	CMD_OPTIONS_END,
};

static int print_json(const struct snap_pull_result *p, double seconds, struct err *err)
{
	struct json_writer *w = json_writer_new(JSON_PRETTY);

	json_w_object(w);
	json_w_key(w, "ref");
	json_w_string(w, p->ref);
	json_w_key(w, "digest");
	json_w_string(w, p->manifest.text);
	json_w_key(w, "layers");
	json_w_uint(w, p->layers);
	json_w_key(w, "new_layers");
	json_w_uint(w, p->new_layers);
	json_w_key(w, "lazy_layers");
	json_w_uint(w, p->lazy_layers);
	json_w_key(w, "prefetch");
	json_w_uint(w, p->prefetch);
	json_w_key(w, "new_size");
	json_w_uint(w, p->bytes);
	json_w_key(w, "temporary");
	json_w_uint(w, p->temporary);
	json_w_key(w, "milliseconds");
	json_w_uint(w, (uint64_t)(seconds * 1000));
	json_w_end(w);
	return cmd_print_json(w, err);
}

static int print_result(struct cmd_context *c, const struct snap_pull_result *p, double seconds,
			struct err *err)
{
	if (c->json)
		return print_json(p, seconds, err);
	if (c->quiet)
		return 0;
	(void)fputs("pulled ", stderr);
	cmd_put_name(stderr, p->ref);
	(void)fprintf(stderr, " %s (%zu layers, %zu new, %.1f MiB in %.2f s)\n", p->manifest.text,
		      p->layers, p->new_layers, (double)p->bytes / (1 << 20), seconds);
	cmd_put_name(stdout, p->ref);
	(void)putchar('\n');
	return 0;
}

static void show_whole(void *ctx, const struct digest *blob, const char *why)
{
	cmd_progress_pause(ctx);
	(void)fprintf(stderr, "%s%sfetched whole: ", blob ? blob->text : "",
		      blob ? ": " : "all layers are ");
	cmd_put_name(stderr, why);
	(void)fputc('\n', stderr);
	cmd_progress_resume(ctx);
}

static int parse_lazy(const char *text, enum snap_lazy *ret, struct err *err)
{
	*ret = SNAP_LAZY_NO;
	if (text && strcmp(text, "metadata") == 0)
		*ret = SNAP_LAZY_METADATA;
	else if (text && strcmp(text, "prefetch") == 0)
		*ret = SNAP_LAZY_PREFETCH;
	else if (text && strcmp(text, "background") == 0)
		*ret = SNAP_LAZY_BACKGROUND;
	else if (text)
		return cmd_usage_error(err, "--lazy is metadata, prefetch or background, not '%s'",
				       text);
	return 0;
}

/* What goes with --lazy; @expect is filled when it is asked for. */
static int read_lazy(const struct options *o, struct digest *expect, struct snap_pull_options *ret,
		     struct err *err)
{
	int r = parse_lazy(o->lazy, &ret->lazy, err);

	if (r < 0)
		return r;
	if (ret->lazy == SNAP_LAZY_NO && (o->index || o->expect || o->prefetch || o->rate))
		return cmd_usage_error(err,
				       "--index, --expect, --prefetch and --rate go with --lazy");
	if (o->prefetch && ret->lazy == SNAP_LAZY_METADATA)
		return cmd_usage_error(err, "--prefetch needs --lazy prefetch or background");
	if (o->rate && ret->lazy != SNAP_LAZY_BACKGROUND)
		return cmd_usage_error(err, "--rate is of --lazy background");
	if (o->rate && (cmd_parse_size(o->rate, &ret->rate) < 0 || ret->rate == 0))
		return cmd_usage_error(err, "--rate: '%s' is no number of bytes", o->rate);
	if (o->expect && digest_parse(o->expect, expect) < 0)
		return cmd_usage_error(err, "--expect: '%s' is no digest", o->expect);
	if (o->no_blobs && ret->lazy != SNAP_LAZY_NO)
		return cmd_usage_error(err, "--no-blobs: a lazy layer comes as parts of its blob");
	ret->expect = o->expect ? expect : NULL;
	ret->index = o->index;
	ret->prefetch = o->prefetch;
	return 0;
}

static int run(struct cmd_context *c, const void *opts, int argc, char **argv, struct err *err)
{
	const struct options *o = opts;
	struct snap_pull_options pull = {.name = o->name, .jobs = o->jobs, .no_blobs = o->no_blobs};
	struct snap_pull_result result;
	struct oci_limits limits = {.bytes = 0};
	struct oci_platform platform;
	struct oci_remote remote;
	struct digest expect;
	struct cmd_progress progress = CMD_PROGRESS_INIT;
	struct timespec start, end;
	int r = 0;

	(void)argc;
	for (size_t i = 0; i < o->limits.n && r == 0; i++)
		r = oci_limits_set(&limits, o->limits.items[i], err);
	if (r == 0 && o->platform)
		r = oci_platform_parse(o->platform, &platform, err);
	if (r == 0)
		r = cmd_remote_read(&o->remote, &remote, err);
	if (r < 0)
		return cmd_is_usage_error(r);
	r = read_lazy(o, &expect, &pull, err);
	if (r < 0)
		return r;
	pull.whole = c->quiet ? NULL : show_whole;
	pull.limits = &limits;
	pull.remote = &remote;
	pull.platform = o->platform ? &platform : NULL;
	pull.progress = c->progress ? cmd_progress_show : NULL;
	pull.ctx = &progress;
	pull.cancel = &cmd_interrupted;
	cmd_interrupt_catch();
	(void)clock_gettime(CLOCK_MONOTONIC, &start);
	r = snap_pull(c->store, argv[0], &pull, &result, err);
	cmd_progress_pause(&progress);
	cmd_progress_resume(&progress);
	if (r == -ECANCELED && cmd_interrupted) {
		err_hint(err, "layers that are complete stay: pull it again, and it goes on from "
			      "there");
		c->exit_code = cmd_interrupt_status();
	}
	if (r < 0)
		return r;
	(void)clock_gettime(CLOCK_MONOTONIC, &end);
	r = print_result(c, &result,
			 (double)(end.tv_sec - start.tv_sec) +
				 (double)(end.tv_nsec - start.tv_nsec) / 1e9,
			 err);
	free(result.ref);
	return r;
}

const struct cmd cmd_pull = {
	.name = "pull",
	.summary = "Bring an image into the store",
	.usage = "[--name REF] [--platform OS/ARCH[/VARIANT]] [--jobs N] [--no-blobs] "
		 "[--lazy HOW [--index SOURCE] [--expect DIGEST] [--prefetch FILE] [--rate BYTES]] "
		 "[--limit NAME=VALUE]... "
		 "[--tls-verify BOOL] [--creds USER:PASSWORD] [--authfile FILE] SOURCE",
	.help = "SOURCE is one of\n"
		"  oci:DIR[:TAG]              an OCI image layout\n"
		"  oci-archive:FILE[:TAG]     the same in a tar\n"
		"  docker-archive:FILE[:TAG]  what docker save and podman save write\n"
		"  docker://[HOST[:PORT]/]NAME[:TAG|@DIGEST]\n"
		"                             a registry; docker.io without HOST\n"
		"Every digest and size is verified; the image is in the store with all of its "
		"layers or\n"
		"not at all. Prints its REF.\n"
		"With --no-blobs a layer is kept once, as its tar, and not as it came as well: "
		"half "
		"the disk.\n"
		"A push then compresses it again.\n"
		"With --lazy the image can be used at once when a lazy index of it is where it "
		"comes\n"
		"from ('snap index push'): contents are fetched when they are read (metadata), "
		"what\n"
		"an earlier run read meanwhile (prefetch), or that and then all the rest "
		"(background).\n"
		"Layers of eStargz and zstd:chunked need no index. What has neither comes whole,\n"
		"and why is told.",
	.options = options,
	.options_size = sizeof(struct options),
	.min_args = 1,
	.max_args = 1,
	.run = run,
};
