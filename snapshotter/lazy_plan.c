/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/lazy_plan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/json.h"
#include "snapshotter/store_private.h"

/* Digits up to @end, the next character: it is stepped over. */
static int take_number(const char **p, const char *stop, char end, uint64_t *ret)
{
	const char *s = *p;
	uint64_t v = 0;

	for (; s < stop && *s >= '0' && *s <= '9'; s++) {
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
			return -EBADMSG;
	}
	if (s == *p || s == stop || *s != end)
		return -EBADMSG;
	*p = s + 1;
	*ret = v;
	return 0;
}

/* "sha256:HEX OFFSET LENGTH PATH": the path is for people. */
static int parse_line(const char *s, const char *stop, struct lazy_want *ret)
{
	static const char algorithm[] = "sha256:";
	uint64_t end;
	int r;

	if (stop - s < 7 + 64 + 1 || memcmp(s, algorithm, 7) != 0 || s[7 + 64] != ' ')
		return -EBADMSG;
	memcpy(ret->layer, s + 7, 64);
	ret->layer[64] = '\0';
	if (strspn(ret->layer, "0123456789abcdef") != 64)
		return -EBADMSG;
	s += 7 + 64 + 1;
	r = take_number(&s, stop, ' ', &ret->off);
	if (r == 0)
		r = take_number(&s, stop, ' ', &ret->len);
	if (r == 0 && (ret->len == 0 || __builtin_add_overflow(ret->off, ret->len, &end)))
		r = -EBADMSG;
	return r;
}

int lazy_list_parse(const char *text, size_t len, struct lazy_list *ret, struct err *err)
{
	static const size_t top = sizeof(LAZY_RECORD_TOP) - 1;
	struct lazy_list l cleanup_lazy_list = LAZY_LIST_INIT;
	const char *end = text + len, *p;
	size_t lines = 1, cap = 0;

	if (len < top || memcmp(text, LAZY_RECORD_TOP, top) != 0)
		return err_msg(err, -EBADMSG,
			       "it does not begin with '%.15s', as 'snap run --record' "
			       "writes it",
			       LAZY_RECORD_TOP);
	for (p = text + top; p < end && l.n < LAZY_WANTS_MAX; p++) {
		const char *stop = memchr(p, '\n', (size_t)(end - p));

		lines++;
		if (!stop)
			break; /* who wrote it was killed */
		if (*p != '#' && stop > p) {
			if (l.n == cap) {
				size_t more = cap ? cap * 2 : 256;
				void *grown = reallocarray(l.wants, more, sizeof(*l.wants));

				if (!grown)
					return err_set(err, -ENOMEM, "list");
				l.wants = grown;
				cap = more;
			}
			if (parse_line(p, stop, &l.wants[l.n]) < 0)
				return err_msg(err, -EBADMSG,
					       "line %zu is not 'sha256:LAYER OFFSET LENGTH PATH'",
					       lines);
			l.n++;
		}
		p = stop;
	}
	*ret = l;
	l.wants = NULL;
	return 0;
}

int lazy_list_load(const char *path, char **ret_text, size_t *ret_len, struct lazy_list *ret,
		   struct err *err)
{
	char *text cleanup_free = NULL;
	size_t len = 0;
	int r = io_read_path(path, LAZY_LIST_MAX, &text, &len);

	if (r < 0)
		return err_set(err, r, "read '%s'", path);
	r = lazy_list_parse(text, len, ret, err);
	if (r < 0)
		return err_wrap(err, r, "'%s'", path);
	if (ret_text) {
		*ret_text = steal_ptr(&text);
		*ret_len = len;
	}
	return 0;
}

void lazy_list_release(struct lazy_list *l)
{
	free(l->wants);
	l->wants = NULL;
	l->n = 0;
}

void lazy_plan_release(struct lazy_plan *p)
{
	free(p->ranges);
	p->ranges = NULL;
	p->n = 0;
}

static int get_uint(const struct json *v, uint64_t *ret)
{
	int64_t n;

	if (json_int(v, &n) < 0 || n < 0)
		return -EBADMSG;
	*ret = (uint64_t)n;
	return 0;
}

static int read_ranges(const struct json *list, struct lazy_plan *p, struct err *err)
{
	size_t n = json_len(list);

	if (n > LAZY_WANTS_MAX)
		return err_msg(err, -EBADMSG, "'plan' is too long");
	p->ranges = calloc(n + 1, sizeof(*p->ranges));
	if (!p->ranges)
		return err_set(err, -ENOMEM, "'plan'");
	for (; p->n < n; p->n++) {
		const struct json *v = json_at(list, p->n);
		struct lazy_range *x = &p->ranges[p->n];

		if (get_uint(json_at(v, 0), &x->order) < 0 ||
		    get_uint(json_at(v, 1), &x->off) < 0 || get_uint(json_at(v, 2), &x->len) < 0)
			return err_msg(err, -EBADMSG, "'plan': a number is missing");
	}
	return 0;
}

static int read_plan(int dir, struct lazy_plan *ret, struct err *err)
{
	struct lazy_plan p cleanup_lazy_plan = LAZY_PLAN_INIT;
	struct json *doc cleanup_json = NULL;
	char *text cleanup_free = NULL;
	size_t len = 0;
	int r = io_read_file(dir, "plan", JSON_SIZE_MAX, &text, &len);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return err_set(err, r, "read 'plan'");
	r = json_parse(text, len, &doc, err);
	if (r < 0)
		return r;
	p.background = json_bool(json_get(doc, "background"), false);
	if (get_uint(json_get(doc, "rate"), &p.rate) < 0)
		return err_msg(err, -EBADMSG, "'plan' has no rate");
	r = read_ranges(json_get(doc, "prefetch"), &p, err);
	if (r < 0)
		return r;
	*ret = p;
	p.ranges = NULL;
	return 0;
}

static int open_layer(struct snap_store *store, const char *id)
{
	char path[STORE_PATH_MAX];
	int fd;

	store_layer_path(id, NULL, path);
	fd = openat(store->root_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int lazy_plan_read(struct snap_store *store, const char *id, struct lazy_plan *ret, struct err *err)
{
	int dir cleanup_close = open_layer(store, id), r;

	*ret = (struct lazy_plan)LAZY_PLAN_INIT;
	if (dir == -ENOENT)
		return 0;
	r = dir < 0 ? err_set(err, dir, "open layer") : read_plan(dir, ret, err);
	return r < 0 ? err_wrap(err, r, "layer %s", id) : 0;
}

static int write_plan(struct snap_store *store, int dir, const struct lazy_plan *p, struct err *err)
{
	struct strbuf text CLEANUP(strbuf_release) = STRBUF_INIT;
	struct io_tmp t cleanup_io_tmp = IO_TMP_INIT;
	struct json_writer *w = json_writer_new(0);
	int r;

	json_w_object(w);
	json_w_key(w, "background");
	json_w_bool(w, p->background);
	json_w_key(w, "rate");
	json_w_uint(w, p->rate);
	json_w_key(w, "prefetch");
	json_w_array(w);
	for (size_t i = 0; i < p->n; i++) {
		json_w_array(w);
		json_w_uint(w, p->ranges[i].order);
		json_w_uint(w, p->ranges[i].off);
		json_w_uint(w, p->ranges[i].len);
		json_w_end(w);
	}
	json_w_end(w);
	json_w_end(w);
	r = json_writer_finish(w, &text);
	if (r == 0)
		r = io_tmp_create(store->tmp_fd, 0600, &t);
	if (r == 0)
		r = io_write_full(t.fd, text.s, text.len);
	if (r == 0)
		r = io_tmp_publish(&t, dir, "plan");
	return r < 0 ? err_set(err, r, "write 'plan'") : 0;
}

/* The lines of @list that are of this layer, instead of what @p had. */
static int take_ranges(struct lazy_plan *p, const char *id, const struct lazy_list *list)
{
	struct lazy_range *ranges = calloc(list->n + 1, sizeof(*ranges));

	if (!ranges)
		return -ENOMEM;
	lazy_plan_release(p);
	p->ranges = ranges;
	for (size_t i = 0; i < list->n; i++) {
		const struct lazy_want *x = &list->wants[i];

		if (strcmp(x->layer, id) == 0)
			ranges[p->n++] =
				(struct lazy_range){.order = i, .off = x->off, .len = x->len};
	}
	return 0;
}

int lazy_plan_make(struct snap_store *store, const char *id, const struct lazy_wish *wish,
		   struct err *err)
{
	struct lazy_plan p cleanup_lazy_plan = LAZY_PLAN_INIT;
	int dir cleanup_close = open_layer(store, id);
	int r = dir < 0 ? err_set(err, dir, "open layer") : read_plan(dir, &p, err);

	if (r == -EBADMSG) /* an older one that is damaged is no reason to have none */
		r = 0;
	if (r == 0 && wish->background) {
		p.background = true;
		p.rate = wish->rate;
	}
	if (r == 0 && wish->list && take_ranges(&p, id, wish->list) < 0)
		r = err_set(err, -ENOMEM, "plan");
	if (r == 0 && (p.background || p.n > 0))
		r = write_plan(store, dir, &p, err);
	return r < 0 ? err_wrap(err, r, "layer %s", id) : 0;
}
