/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "oci/registry.h"

/* A piece of a blob: goes on where it was when a connection breaks. */
struct range {
	uint64_t from, len, done; /* done: of len, in the file */
	uint64_t skip; /* a server that sends all of the blob: bytes in front of ours */
	int fd;
	bool started;
};

bool registry_range_starts_at(const char *text, uint64_t from)
{
	char *end;
	unsigned long long n;

	if (!text || strncasecmp(text, "bytes ", 6) != 0 || text[6] < '0' || text[6] > '9')
		return false;
	errno = 0;
	n = strtoull(text + 6, &end, 10);
	return errno == 0 && *end == '-' && n == from;
}

static int take_bytes(void *ctx, unsigned int status, const char *content_range, const void *data,
		      size_t len)
{
	struct range *g = ctx;
	const char *p = data;
	size_t n;
	int r;

	if (!g->started) {
		g->started = true;
		if (status == 206 && !registry_range_starts_at(content_range, g->from + g->done))
			return -EBADMSG;
		g->skip = status == 206 ? 0 : g->from + g->done;
	}
	n = g->skip < len ? (size_t)g->skip : len;
	g->skip -= n;
	p += n;
	len -= n;
	n = len < g->len - g->done ? len : (size_t)(g->len - g->done);
	r = io_pwrite_full(g->fd, p, n, (off_t)(g->from + g->done));
	if (r < 0)
		return r;
	g->done += n;
	return n < len ? -ECANCELED : 0; /* it sends more than was asked for */
}

static int range_once(struct registry *r, const struct oci_descriptor *desc, struct range *g,
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
	(void)snprintf(range, sizeof(range), "bytes=%" PRIu64 "-%" PRIu64, g->from + g->done,
		       g->from + g->len - 1);
	g->started = false;
	code = registry_try(r, &req, a, err);
	if (g->done == g->len)
		return 0;
	if (code == -EBADMSG && g->started)
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

int registry_range(struct registry *r, const struct oci_descriptor *desc, uint64_t from,
		   uint64_t len, int fd, unsigned int seconds, struct err *err)
{
	struct range g = {.from = from, .len = len, .fd = fd};
	struct timespec start, now;
	unsigned int idle = 0;

	(void)clock_gettime(CLOCK_MONOTONIC, &start);
	for (;;) {
		struct http_answer a cleanup_http_answer = HTTP_ANSWER_INIT;
		uint64_t before = g.done;
		int code = range_once(r, desc, &g, &a, err);

		if (code != -ECONNABORTED)
			return code;
		(void)clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec - start.tv_sec >= (time_t)seconds)
			return code;
		idle = g.done > before ? 1 : idle + 1;
		log_info("blob %s: a range broke at byte %" PRIu64, desc->digest.text,
			 from + g.done);
		if (registry_wait(idle > 4 ? 4 : idle, &a, NULL) < 0)
			return -ECANCELED;
	}
}
