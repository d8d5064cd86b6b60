/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "oci/reader_start.h"

/* The frames of what a layer's reader says; what it says is its listener's to judge. */
#define ANSWERS (64u << 10) /* so much is taken at once */

int oci_reader_no_sense(struct err *err)
{
	return err_msg(err, -EBADMSG, "the layer's reader makes no sense");
}

struct listener {
	struct strbuf said; /* and not looked at yet */
	oci_reader_fn fn;
	void *ctx;
	bool end;
};

/* The first answer at @said; @ret_used: how many bytes it had, 0: it is not there as a whole. */
static int take_answer(struct listener *l, const char *said, size_t len, size_t *ret_used,
		       struct err *err)
{
	struct reader_answer a;
	size_t body = 0;

	*ret_used = 0;
	if (len < sizeof(a))
		return 0;
	memcpy(&a, said, sizeof(a));
	if (a.type == READER_MEMBER || a.type == READER_CHUNK || a.type == READER_FAILED)
		body = a.n;
	if (body > READER_BODY_MAX)
		return oci_reader_no_sense(err);
	if (len - sizeof(a) < body)
		return 0;
	*ret_used = sizeof(a) + body;
	said += sizeof(a);
	if (a.type == READER_FAILED)
		return reader_get_failure(said, body, err);
	l->end = a.type == READER_END;
	return l->end ? 0 : l->fn(l->ctx, &a, said, err);
}

/* All that is there as a whole. */
static int take_answers(struct listener *l, struct err *err)
{
	size_t at = 0, used = 0;
	int r;

	do {
		at += used;
		r = take_answer(l, l->said.s + at, l->said.len - at, &used, err);
	} while (r == 0 && used > 0 && !l->end);
	if (r < 0)
		return r;
	memmove(l->said.s, l->said.s + at, l->said.len - at);
	strbuf_truncate(&l->said, l->said.len - at);
	return 0;
}

int oci_reader_listen(struct oci_reader_link *link, oci_reader_fn fn, void *ctx, struct err *err)
{
	struct listener l = {.fn = fn, .ctx = ctx};
	int r = 0;

	strbuf_init(&l.said);
	while (r == 0 && !l.end) {
		ssize_t n;

		if (strbuf_reserve(&l.said, ANSWERS) < 0) {
			r = err_set(err, -ENOMEM, "read layer");
			break;
		}
		n = recv(link->sock, l.said.s + l.said.len, ANSWERS, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			r = oci_reader_why(link, err);
			break;
		}
		l.said.len += (size_t)n;
		l.said.s[l.said.len] = '\0';
		r = take_answers(&l, err);
	}
	strbuf_release(&l.said);
	return r;
}
