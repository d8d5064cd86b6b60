/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "oci/http_range.h"
#include "oci/registry.h"

struct piece {
	const struct oci_range *want;
	struct http_range range;
	int stopped; /* by who is told what arrived: for the reason in @why */
	struct err why;
};

static int take_bytes(void *ctx, unsigned int status, const char *content_range, const void *data,
		      size_t len)
{
	struct piece *g = ctx;
	int more = http_range_take(&g->range, status, content_range, &data, &len);
	int r;

	if (more < 0)
		return more;
	r = io_pwrite_full(g->want->fd, data, len, (off_t)(g->range.pos - len));
	if (r < 0) {
		g->range.pos -= len;
		return r;
	}
	if (g->want->arrived)
		g->stopped = g->want->arrived(g->want->ctx, g->range.pos, &g->why);
	if (g->stopped < 0)
		return -ECANCELED;
	return more ? -ECANCELED : 0; /* it sends more than was asked for: nothing to wait for */
}

static int range_once(struct registry *r, const struct oci_descriptor *desc, struct piece *g,
		      struct http_answer *a, struct err *err)
{
	char *url cleanup_free = registry_url(r, "blobs/%s", desc->digest.text);
	char range[64], what[200];
	struct http_request req = {.method = "GET",
				   .url = url,
				   .sink = take_bytes,
				   .ctx = g,
				   .max = 1u << 20,
				   .range = range};
	int code;

	if (!url)
		return err_set(err, -ENOMEM, "blob %s", desc->digest.text);
	(void)snprintf(range, sizeof(range), "bytes=%" PRIu64 "-%" PRIu64, g->range.pos,
		       g->range.end - 1);
	http_range_begin(&g->range);
	code = registry_try(r, &req, a, err);
	if (g->stopped < 0) {
		if (err)
			*err = g->why;
		return g->stopped;
	}
	if (g->range.pos == g->range.end)
		return 0;
	if (code == -EBADMSG && g->range.looked)
		return err_msg(err, code, "blob %s: the registry sent another range than asked for",
			       desc->digest.text);
	if (code < 0)
		return code;
	if (a->status == 200 || a->status == 206)
		return err_msg(err, -ECONNABORTED, "blob %s: the registry's answer ended early",
			       desc->digest.text);
	if (registry_is_passing(0, a))
		return err_msg(err, -ECONNABORTED, "blob %s: HTTP status %u", desc->digest.text,
			       a->status);
	(void)snprintf(what, sizeof(what), "blob %s", desc->digest.text);
	return registry_error(a, what, err);
}

int registry_range(struct registry *r, const struct oci_descriptor *desc,
		   const struct oci_range *want, struct err *err)
{
	struct piece g = {.want = want,
			  .range = {.pos = want->from, .end = want->from + want->len},
			  .why = ERR_INIT};
	struct timespec start, now;
	unsigned int idle = 0;

	(void)clock_gettime(CLOCK_MONOTONIC, &start);
	for (;;) {
		struct http_answer a cleanup_http_answer = HTTP_ANSWER_INIT;
		uint64_t before = g.range.pos;
		int code = range_once(r, desc, &g, &a, err);

		if (code != -ECONNABORTED || g.stopped < 0)
			return code;
		(void)clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec - start.tv_sec >= (time_t)want->seconds)
			return code;
		idle = g.range.pos > before ? 1 : idle + 1;
		log_info("blob %s: a range broke at byte %" PRIu64, desc->digest.text, g.range.pos);
		if (registry_wait(idle > 4 ? 4 : idle, &a, NULL) < 0)
			return -ECANCELED;
	}
}
