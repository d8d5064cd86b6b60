/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_gen.h>
#include <yajl/yajl_parse.h>

#include "base/cleanup.h"

struct json {
	enum json_type type;
	bool boolean;
	size_t len; /* of the text; elements of an array or object */
	char *text; /* string, or number as written */
	char **keys; /* objects: NUL-terminated, as many as items */
	struct json **items;
	size_t cap;
};

struct parser {
	struct json *root;
	struct json *stack[JSON_DEPTH_MAX];
	size_t depth;
	char *key; /* read, waiting for its value */
	int code; /* why a callback stopped the parse */
	const char *why; /* NULL: err has it */
	size_t live, outside; /* values that are in memory; of them, not of an element */
	const char *list; /* NULL, or the list whose elements go to fn */
	json_list_fn fn;
	void *ctx;
	struct err *err; /* of the call that is under way */
};

void json_free(struct json *doc)
{
	if (!doc)
		return;
	for (size_t i = 0; (doc->type == JSON_ARRAY || doc->type == JSON_OBJECT) && i < doc->len;
	     i++) {
		json_free(doc->items[i]);
		if (doc->keys)
			free(doc->keys[i]);
	}
	free(doc->items);
	free(doc->keys);
	free(doc->text);
	free(doc);
}

static int stop(struct parser *p, int code, const char *why)
{
	p->code = code;
	p->why = why;
	return 0;
}

static int grow(struct json *parent)
{
	size_t cap = parent->cap ? parent->cap * 2 : 8;
	struct json **items = realloc(parent->items, cap * sizeof(*items));

	if (!items)
		return -ENOMEM;
	parent->items = items;
	if (parent->type == JSON_OBJECT) {
		char **keys = realloc(parent->keys, cap * sizeof(*keys));

		if (!keys)
			return -ENOMEM;
		parent->keys = keys;
	}
	parent->cap = cap;
	return 0;
}

/* Puts a new value where the parse stands. Returns it, or NULL after stop(). */
static struct json *add(struct parser *p, enum json_type type)
{
	struct json *parent = p->depth ? p->stack[p->depth - 1] : NULL;
	struct json *v;

	if (parent && parent->len == parent->cap && grow(parent) < 0) {
		(void)stop(p, -ENOMEM, "out of memory");
		return NULL;
	}
	/* a list that is handed out may be of any length, but nothing around it or in it */
	if (p->list && ++p->live > JSON_LIVE_MAX) {
		(void)stop(p, -EBADMSG, "too many values beside the list, or in one element of it");
		return NULL;
	}
	v = calloc(1, sizeof(*v));
	if (!v) {
		(void)stop(p, -ENOMEM, "out of memory");
		return NULL;
	}
	v->type = type;
	if (!parent) {
		p->root = v;
		return v;
	}
	if (parent->type == JSON_OBJECT) {
		parent->keys[parent->len] = p->key;
		p->key = NULL;
	}
	parent->items[parent->len++] = v;
	return v;
}

/* Length of the valid UTF-8 sequence at @s (Unicode 15, table 3-7), or 0. */
static size_t utf8_sequence(const unsigned char *s, size_t len)
{
	unsigned char lo = 0x80, hi = 0xbf;
	size_t n;

	if (s[0] < 0x80)
		return 1;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	if (n > len)
		return 0;
	if (s[0] == 0xe0)
		lo = 0xa0;
	else if (s[0] == 0xed)
		hi = 0x9f;
	else if (s[0] == 0xf0)
		lo = 0x90;
	else if (s[0] == 0xf4)
		hi = 0x8f;
	if (s[1] < lo || s[1] > hi)
		return 0;
	for (size_t i = 2; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	}
	return n;
}

static bool is_utf8(const void *text, size_t len)
{
	const unsigned char *p = text;
	size_t n = 1;

	for (size_t i = 0; i < len && n > 0; i += n)
		n = utf8_sequence(p + i, len - i);
	return n > 0;
}

bool json_is_text(const char *s)
{
	return is_utf8(s, strlen(s));
}

/* What a string or a key may not have in it; yajl makes bytes of half a surrogate pair. */
static const char *bad_text(const void *text, size_t len)
{
	if (memchr(text, '\0', len))
		return "NUL inside a string";
	return is_utf8(text, len) ? NULL : "half a surrogate pair";
}

/* Does the parse stand in the list, between its elements? */
static bool in_list(const struct parser *p)
{
	return p->list && p->depth == 2 && p->root->type == JSON_OBJECT &&
	       p->stack[1]->type == JSON_ARRAY &&
	       strcmp(p->root->keys[p->root->len - 1], p->list) == 0;
}

/* A value is complete: is it one that is handed out? */
static int done(struct parser *p)
{
	struct json *list;
	int r;

	if (!in_list(p))
		return 1;
	list = p->stack[1];
	r = p->fn(p->ctx, list->items[0], p->err);
	json_free(list->items[0]);
	list->len = 0;
	p->live = p->outside;
	return r < 0 ? stop(p, r, NULL) : 1;
}

static int add_text(struct parser *p, enum json_type type, const void *text, size_t len)
{
	const char *why = bad_text(text, len);
	struct json *v;
	char *copy;

	if (why)
		return stop(p, -EBADMSG, why);
	copy = strndup(text, len);
	if (!copy)
		return stop(p, -ENOMEM, "out of memory");
	v = add(p, type);
	if (!v) {
		free(copy);
		return 0;
	}
	v->text = copy;
	v->len = len;
	return done(p);
}

static int open_container(struct parser *p, enum json_type type)
{
	struct json *v;

	if (p->depth == JSON_DEPTH_MAX)
		return stop(p, -EBADMSG, "nested too deep");
	v = add(p, type);
	if (!v)
		return 0;
	p->stack[p->depth++] = v;
	if (in_list(p))
		p->outside = p->live;
	return 1;
}

static int on_null(void *ctx)
{
	return add(ctx, JSON_NULL) ? done(ctx) : 0;
}

static int on_boolean(void *ctx, int value)
{
	struct json *v = add(ctx, JSON_BOOL);

	if (v)
		v->boolean = value != 0;
	return v ? done(ctx) : 0;
}

static int on_number(void *ctx, const char *text, size_t len)
{
	return add_text(ctx, JSON_NUMBER, text, len);
}

static int on_string(void *ctx, const unsigned char *text, size_t len)
{
	return add_text(ctx, JSON_STRING, text, len);
}

static int on_start_map(void *ctx)
{
	return open_container(ctx, JSON_OBJECT);
}

static int on_start_array(void *ctx)
{
	return open_container(ctx, JSON_ARRAY);
}

static int on_map_key(void *ctx, const unsigned char *text, size_t len)
{
	struct parser *p = ctx;
	const struct json *object = p->stack[p->depth - 1];
	const char *why = bad_text(text, len);

	if (why)
		return stop(p, -EBADMSG, why);
	for (size_t i = 0; i < object->len; i++) {
		if (strlen(object->keys[i]) == len && memcmp(object->keys[i], text, len) == 0)
			return stop(p, -EBADMSG, "the same key twice in one object");
	}
	/* what looks for duplicates is quadratic: no document of the field has a tenth of this */
	if (object->len >= 10000)
		return stop(p, -EBADMSG, "an object of more than 10000 members");
	p->key = strndup((const char *)text, len);
	return p->key ? 1 : stop(p, -ENOMEM, "out of memory");
}

static int on_end(void *ctx)
{
	struct parser *p = ctx;

	p->depth--;
	return done(p);
}

static const yajl_callbacks callbacks = {
	.yajl_null = on_null,
	.yajl_boolean = on_boolean,
	.yajl_number = on_number,
	.yajl_string = on_string,
	.yajl_start_map = on_start_map,
	.yajl_map_key = on_map_key,
	.yajl_end_map = on_end,
	.yajl_start_array = on_start_array,
	.yajl_end_array = on_end,
};

/* What yajl made of a piece of the document. */
static int explain(struct parser *p, yajl_handle h, yajl_status status, struct err *err)
{
	if (status != yajl_status_ok && !p->code)
		(void)stop(p, -EBADMSG, "not valid JSON");
	if (p->code && p->why)
		(void)err_msg(err, p->code, "%s (near byte %zu)", p->why,
			      yajl_get_bytes_consumed(h));
	return p->code;
}

static int end_parse(struct parser *p, yajl_handle h, struct json **ret, struct err *err)
{
	yajl_status status = yajl_complete_parse(h);
	int r;

	if (status == yajl_status_ok && !p->root)
		(void)stop(p, -EBADMSG, "empty document");
	r = explain(p, h, status, err);
	if (r == 0)
		*ret = steal_ptr(&p->root);
	return r;
}

static void release(struct parser *p)
{
	json_free(p->root);
	free(p->key);
}

int json_parse(const void *text, size_t len, struct json **ret, struct err *err)
{
	struct parser p = {.code = 0};
	yajl_handle h;
	int r;

	if (len > JSON_SIZE_MAX)
		return err_msg(err, -EBADMSG, "JSON document of %zu bytes: the limit is %u", len,
			       JSON_SIZE_MAX);
	h = yajl_alloc(&callbacks, NULL, &p);
	if (!h)
		return err_set(err, -ENOMEM, "parse JSON");
	r = explain(&p, h, yajl_parse(h, text, len), err);
	if (r == 0)
		r = end_parse(&p, h, ret, err);
	release(&p);
	yajl_free(h);
	return r;
}

struct json_list {
	struct parser p;
	yajl_handle h;
};

struct json_list *json_list_new(const char *list, json_list_fn fn, void *ctx)
{
	struct json_list *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->p.list = list;
	l->p.fn = fn;
	l->p.ctx = ctx;
	l->h = yajl_alloc(&callbacks, NULL, &l->p);
	if (!l->h) {
		free(l);
		return NULL;
	}
	return l;
}

int json_list_push(struct json_list *l, const void *text, size_t len, struct err *err)
{
	l->p.err = err;
	return explain(&l->p, l->h, yajl_parse(l->h, text, len), err);
}

int json_list_finish(struct json_list *l, struct json **ret, struct err *err)
{
	l->p.err = err;
	return end_parse(&l->p, l->h, ret, err);
}

void json_list_free(struct json_list *l)
{
	if (!l)
		return;
	release(&l->p);
	yajl_free(l->h);
	free(l);
}

enum json_type json_type(const struct json *v)
{
	return v ? v->type : JSON_NULL;
}

const struct json *json_get(const struct json *v, const char *key)
{
	if (!v || v->type != JSON_OBJECT)
		return NULL;
	for (size_t i = 0; i < v->len; i++) {
		if (strcmp(v->keys[i], key) == 0)
			return v->items[i];
	}
	return NULL;
}

size_t json_len(const struct json *v)
{
	return v && (v->type == JSON_ARRAY || v->type == JSON_OBJECT) ? v->len : 0;
}

const struct json *json_at(const struct json *v, size_t i)
{
	return i < json_len(v) ? v->items[i] : NULL;
}

const char *json_key_at(const struct json *v, size_t i)
{
	return v && v->type == JSON_OBJECT && i < v->len ? v->keys[i] : NULL;
}

const char *json_string(const struct json *v)
{
	return v && v->type == JSON_STRING ? v->text : NULL;
}

int json_int(const struct json *v, int64_t *ret)
{
	long long n;
	char *end;

	if (!v)
		return -ENOENT;
	if (v->type != JSON_NUMBER)
		return -EBADMSG;
	errno = 0;
	n = strtoll(v->text, &end, 10);
	if (errno || *end != '\0' || end == v->text)
		return -EBADMSG;
	*ret = n;
	return 0;
}

bool json_bool(const struct json *v, bool fallback)
{
	return v && v->type == JSON_BOOL ? v->boolean : fallback;
}

struct json_writer {
	yajl_gen gen;
	yajl_gen_status status; /* the first failure stays */
	unsigned int depth;
	bool is_array[JSON_DEPTH_MAX];
};

struct json_writer *json_writer_new(unsigned int flags)
{
	struct json_writer *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->gen = yajl_gen_alloc(NULL);
	if (!w->gen) {
		free(w);
		return NULL;
	}
	w->status = yajl_gen_status_ok;
	if (flags & JSON_PRETTY) {
		(void)yajl_gen_config(w->gen, yajl_gen_beautify, 1);
		(void)yajl_gen_config(w->gen, yajl_gen_indent_string, "  ");
	}
	return w;
}

void json_writer_free(struct json_writer *w)
{
	if (!w)
		return;
	yajl_gen_free(w->gen);
	free(w);
}

static void note(struct json_writer *w, yajl_gen_status status)
{
	/* a complete document: fine, as long as nothing is written behind it */
	if (w->status == yajl_gen_status_ok && status != yajl_gen_generation_complete)
		w->status = status;
}

static void open_level(struct json_writer *w, bool is_array)
{
	if (w->depth == JSON_DEPTH_MAX) {
		note(w, yajl_max_depth_exceeded);
		return;
	}
	w->is_array[w->depth++] = is_array;
	note(w, is_array ? yajl_gen_array_open(w->gen) : yajl_gen_map_open(w->gen));
}

void json_w_object(struct json_writer *w)
{
	open_level(w, false);
}

void json_w_array(struct json_writer *w)
{
	open_level(w, true);
}

void json_w_end(struct json_writer *w)
{
	if (w->depth == 0) {
		note(w, yajl_gen_in_error_state);
		return;
	}
	w->depth--;
	note(w, w->is_array[w->depth] ? yajl_gen_array_close(w->gen) : yajl_gen_map_close(w->gen));
}

void json_w_stringn(struct json_writer *w, const char *s, size_t len)
{
	const unsigned char *p = (const unsigned char *)s;
	struct strbuf clean = STRBUF_INIT;
	int r = 0;

	if (is_utf8(s, len)) {
		note(w, yajl_gen_string(w->gen, p, len));
		return;
	}
	for (size_t i = 0; i < len && r == 0;) {
		size_t n = utf8_sequence(p + i, len - i);

		r = n ? strbuf_add(&clean, p + i, n) : strbuf_adds(&clean, "\xef\xbf\xbd");
		i += n ? n : 1;
	}
	if (r == 0)
		note(w, yajl_gen_string(w->gen, (const unsigned char *)clean.s, clean.len));
	else
		note(w, yajl_gen_in_error_state);
	strbuf_release(&clean);
}

void json_w_string(struct json_writer *w, const char *s)
{
	if (s)
		json_w_stringn(w, s, strlen(s));
	else
		json_w_null(w);
}

void json_w_key(struct json_writer *w, const char *key)
{
	json_w_string(w, key);
}

void json_w_int(struct json_writer *w, int64_t v)
{
	note(w, yajl_gen_integer(w->gen, v));
}

void json_w_uint(struct json_writer *w, uint64_t v)
{
	char text[24];
	int n = snprintf(text, sizeof(text), "%" PRIu64, v);

	note(w, yajl_gen_number(w->gen, text, (size_t)n));
}

void json_w_bool(struct json_writer *w, bool v)
{
	note(w, yajl_gen_bool(w->gen, v));
}

void json_w_null(struct json_writer *w)
{
	note(w, yajl_gen_null(w->gen));
}

void json_w_value(struct json_writer *w, const struct json *v)
{
	switch (json_type(v)) {
	case JSON_NULL:
		json_w_null(w);
		return;
	case JSON_BOOL:
		json_w_bool(w, v->boolean);
		return;
	case JSON_NUMBER:
		note(w, yajl_gen_number(w->gen, v->text, v->len));
		return;
	case JSON_STRING:
		json_w_stringn(w, v->text, v->len);
		return;
	case JSON_ARRAY:
	case JSON_OBJECT:
		open_level(w, v->type == JSON_ARRAY);
		for (size_t i = 0; i < v->len; i++) {
			if (v->type == JSON_OBJECT)
				json_w_key(w, v->keys[i]);
			json_w_value(w, v->items[i]);
		}
		json_w_end(w);
		return;
	}
}

int json_writer_finish(struct json_writer *w, struct strbuf *out)
{
	const unsigned char *text;
	size_t len;
	int r = -EINVAL;

	if (w->status == yajl_gen_status_ok && w->depth == 0) {
		note(w, yajl_gen_get_buf(w->gen, &text, &len));
		r = w->status == yajl_gen_status_ok ? strbuf_add(out, text, len) : -EINVAL;
	}
	json_writer_free(w);
	return r;
}
