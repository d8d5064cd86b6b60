/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/filter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/strbuf.h"
#include "snapshotter/filter_regex.h"
#include "snapshotter/filter_scan.h"

enum filter_op { OP_PRESENT, OP_EQUAL, OP_NOT_EQUAL, OP_MATCHES };

struct selector {
	struct strbuf field; /* the first of the path */
	struct strbuf rest; /* the others, with '.' between them: a label's key */
	enum filter_op op;
	struct strbuf value;
	struct filter_regex *re; /* of OP_MATCHES; NULL: matches nothing */
};

struct all { /* selectors that must hold together; none: holds */
	struct selector *s;
	size_t n;
};

struct snap_filter {
	struct all *any;
	size_t n;
};

struct parser {
	struct filter_scan scan;
	struct err *err;
};

static int fail(struct parser *p, size_t at, const char *why)
{
	const char *text = p->scan.text;

	if (at >= p->scan.len)
		return err_msg(p->err, -EINVAL, "filters: parse error: [%.160s]: %s", text, why);
	return err_msg(p->err, -EINVAL, "filters: parse error: [%.*s >|%c|< %.80s]: %s",
		       (int)(at < 120 ? at : 120), text, text[at], text + at + 1, why);
}

static int unquote(struct parser *p, size_t at, size_t len, bool any_quote, struct strbuf *out)
{
	int r;

	if (!any_quote && p->scan.text[at] != '"')
		return fail(p, at, "invalid quote encountered");
	r = filter_unquote(p->scan.text + at, len, out);
	return r == -EINVAL ? fail(p, at, "unquoting failed: quote syntax error")
	       : r < 0	    ? err_set(p->err, r, "filter")
			    : 0;
}

static int parse_field(struct parser *p, struct strbuf *out)
{
	size_t at, len;
	int r;

	switch (filter_scan_next(&p->scan, &at, &len)) {
	case FILTER_FIELD:
		r = strbuf_add(out, p->scan.text + at, len);
		return r < 0 ? err_set(p->err, r, "filter") : 0;
	case FILTER_QUOTED:
		return unquote(p, at, len, false, out);
	case FILTER_ILLEGAL:
		return fail(p, at, p->scan.error);
	case FILTER_END:
	case FILTER_VALUE:
	case FILTER_SEPARATOR:
	case FILTER_OPERATOR:
	case FILTER_OTHER:
		break;
	}
	return fail(p, at, "expected field or quoted");
}

static int parse_path(struct parser *p, struct selector *s)
{
	int r = parse_field(p, &s->field);

	while (r == 0 && filter_scan_peek(&p->scan) == '.') {
		size_t at, len;

		(void)filter_scan_next(&p->scan, &at, &len);
		if (s->rest.len > 0)
			r = strbuf_addc(&s->rest, '.');
		if (r < 0)
			return err_set(p->err, r, "filter");
		r = parse_field(p, &s->rest);
	}
	return r;
}

static int parse_operator(struct parser *p, enum filter_op *ret)
{
	static const char names[][3] = {
		[OP_EQUAL] = "==", [OP_NOT_EQUAL] = "!=", [OP_MATCHES] = "~="};
	size_t at, len;
	enum filter_token token = filter_scan_next(&p->scan, &at, &len);

	if (token == FILTER_ILLEGAL)
		return fail(p, at, p->scan.error);
	if (token != FILTER_OPERATOR)
		return fail(p, at, "expected an operator (\"==\"|\"!=\"|\"~=\")");
	for (enum filter_op op = OP_EQUAL; op <= OP_MATCHES; op++) {
		if (len == 2 && memcmp(p->scan.text + at, names[op], 2) == 0) {
			*ret = op;
			return 0;
		}
	}
	return fail(p, at, "unsupported operator");
}

static int parse_value(struct parser *p, struct selector *s)
{
	size_t at, len;
	int r;

	switch (filter_scan_next(&p->scan, &at, &len)) {
	case FILTER_VALUE:
	case FILTER_FIELD:
		r = strbuf_add(&s->value, p->scan.text + at, len);
		return r < 0 ? err_set(p->err, r, "filter") : 0;
	case FILTER_QUOTED:
		return unquote(p, at, len, s->op == OP_MATCHES, &s->value);
	case FILTER_ILLEGAL:
		return fail(p, at, p->scan.error);
	case FILTER_END:
	case FILTER_SEPARATOR:
	case FILTER_OPERATOR:
	case FILTER_OTHER:
		break;
	}
	return fail(p, at, "expected value or quoted");
}

static int parse_selector(struct parser *p, struct selector *s)
{
	int r = parse_path(p, s), next = filter_scan_peek(&p->scan);

	if (r < 0 || next == ',' || next == -1)
		return r;
	r = parse_operator(p, &s->op);
	if (r == 0)
		r = parse_value(p, s);
	if (r == 0 && s->op == OP_MATCHES)
		s->re = filter_regex_new(s->value.s, s->value.len);
	return r;
}

static int parse_all(struct parser *p, struct all *all)
{
	for (;;) {
		struct selector *s = reallocarray(all->s, all->n + 1, sizeof(*s));
		size_t at, len;
		int r, next;

		if (!s)
			return err_set(p->err, -ENOMEM, "filter");
		all->s = s;
		s += all->n++;
		memset(s, 0, sizeof(*s));
		strbuf_init(&s->field);
		strbuf_init(&s->rest);
		strbuf_init(&s->value);
		r = parse_selector(p, s);
		if (r < 0)
			return r;
		next = filter_scan_peek(&p->scan);
		if (next == -1)
			return 0;
		if (next != ',')
			return fail(p, p->scan.pos, "unexpected input");
		(void)filter_scan_next(&p->scan, &at, &len);
	}
}

int snap_filter_parse(const char *const *texts, size_t n, struct snap_filter **ret, struct err *err)
{
	struct snap_filter *f = calloc(1, sizeof(*f));
	int r = 0;

	if (f)
		f->any = calloc(n + 1, sizeof(*f->any));
	if (!f || !f->any) {
		snap_filter_free(f);
		return err_set(err, -ENOMEM, "filter");
	}
	for (size_t i = 0; i < n && r == 0; i++) {
		struct parser p = {.scan = {.text = texts[i], .len = strlen(texts[i])}, .err = err};

		f->n++;
		if (p.scan.len > 0)
			r = parse_all(&p, &f->any[i]);
	}
	if (r < 0)
		snap_filter_free(f);
	else
		*ret = f;
	return r;
}

static bool is(const struct strbuf *s, const char *text)
{
	return s->len == strlen(text) && memcmp(s->s, text, s->len) == 0;
}

/* NULL: the snapshot has no such field. */
static const char *field_of(const struct selector *s, const struct snap_info *info)
{
	if (is(&s->field, "name"))
		return info->key;
	if (is(&s->field, "parent"))
		return info->parent ? info->parent : "";
	if (is(&s->field, "kind"))
		return snap_kind_name(info->kind);
	if (!is(&s->field, "labels"))
		return NULL;
	for (size_t i = 0; i < info->n_labels; i++) {
		if (is(&s->rest, info->labels[i].key))
			return info->labels[i].value;
	}
	return NULL;
}

static bool holds(const struct selector *s, const struct snap_info *info)
{
	const char *value = field_of(s, info);

	switch (s->op) {
	case OP_PRESENT:
		return value != NULL;
	case OP_EQUAL:
		return value && is(&s->value, value);
	case OP_NOT_EQUAL:
		return !is(&s->value, value ? value : "");
	case OP_MATCHES:
		return s->re &&
		       filter_regex_match(s->re, value ? value : "", value ? strlen(value) : 0);
	}
	return false;
}

bool snap_filter_match(const struct snap_filter *f, const struct snap_info *info)
{
	if (!f || f->n == 0)
		return true;
	for (size_t i = 0; i < f->n; i++) {
		const struct all *all = &f->any[i];
		size_t k = 0;

		while (k < all->n && holds(&all->s[k], info))
			k++;
		if (k == all->n)
			return true;
	}
	return false;
}

void snap_filter_free(struct snap_filter *f)
{
	if (!f)
		return;
	for (size_t i = 0; f->any && i < f->n; i++) {
		for (size_t k = 0; k < f->any[i].n; k++) {
			struct selector *s = &f->any[i].s[k];

			strbuf_release(&s->field);
			strbuf_release(&s->rest);
			strbuf_release(&s->value);
			filter_regex_free(s->re);
		}
		free(f->any[i].s);
	}
	free(f->any);
	free(f);
}
