/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "snapshotter/cmd/cmd.h"

void cmd_put_name(FILE *f, const char *name)
{
	for (const unsigned char *p = (const unsigned char *)name; *p; p++) {
		if (*p < 0x20 || *p == 0x7f || *p == '\\')
			(void)fprintf(f, "\\%03o", *p);
		else
			(void)fputc(*p, f);
	}
}

void cmd_format_time(int64_t ns, char ret[40])
{
	time_t s = (time_t)(ns / 1000000000);
	struct tm tm;
	size_t n;

	(void)gmtime_r(&s, &tm);
	n = strftime(ret, 24, "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(ret + n, 40 - n, ".%09dZ", (int)(ns % 1000000000));
}

int cmd_parse_size(const char *text, uint64_t *ret)
{
	static const char units[] = "KMGT";
	const char *p = text, *unit;
	uint64_t v = 0;

	for (; *p >= '0' && *p <= '9'; p++) {
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
			return -EINVAL;
	}
	unit = *p ? strchr(units, *p) : NULL;
	if (p == text || (*p && (!unit || p[1])))
		return -EINVAL;
	for (ptrdiff_t i = 0; unit && i <= unit - units; i++) {
		if (__builtin_mul_overflow(v, 1024, &v))
			return -EINVAL;
	}
	*ret = v;
	return 0;
}

void cmd_format_size(uint64_t bytes, char ret[24])
{
	static const char units[] = "KMGTPE";
	double v = (double)bytes;
	int u = -1;

	while (v >= 1024 && u < 5) {
		v /= 1024;
		u++;
	}
	if (u < 0)
		(void)snprintf(ret, 24, "%u B", (unsigned int)bytes);
	else
		(void)snprintf(ret, 24, "%.1f %ciB", v, units[u]);
}

int cmd_print_json(struct json_writer *w, struct err *err)
{
	struct strbuf s CLEANUP(strbuf_release) = STRBUF_INIT;
	int r = w ? json_writer_finish(w, &s) : -ENOMEM;

	if (r < 0)
		return err_set(err, r, "JSON");
	(void)fwrite(s.s, 1, s.len, stdout);
	if (s.len == 0 || s.s[s.len - 1] != '\n')
		(void)fputc('\n', stdout);
	return 0;
}

void cmd_json_snapshot(struct json_writer *w, const struct snap_info *info)
{
	json_w_object(w);
	cmd_json_snapshot_members(w, info);
	json_w_end(w);
}

void cmd_json_snapshot_members(struct json_writer *w, const struct snap_info *info)
{
	char time[40];

	json_w_key(w, "key");
	json_w_string(w, info->key);
	json_w_key(w, "kind");
	json_w_string(w, snap_kind_name(info->kind));
	json_w_key(w, "parent");
	json_w_string(w, info->parent);
	json_w_key(w, "created");
	cmd_format_time(info->created, time);
	json_w_string(w, time);
	json_w_key(w, "updated");
	cmd_format_time(info->updated, time);
	json_w_string(w, time);
	json_w_key(w, "labels");
	json_w_object(w);
	for (size_t i = 0; i < info->n_labels; i++) {
		json_w_key(w, info->labels[i].key);
		json_w_string(w, info->labels[i].value);
	}
	json_w_end(w);
}

/* Splits at commas that no backslash escapes. */
static void json_options(struct json_writer *w, const char *options)
{
	const char *start = options;

	json_w_array(w);
	for (const char *p = options;; p++) {
		if (*p == '\\' && p[1]) {
			p++;
		} else if (*p == ',' || *p == '\0') {
			json_w_stringn(w, start, (size_t)(p - start));
			start = p + 1;
		}
		if (*p == '\0')
			break;
	}
	json_w_end(w);
}

int cmd_print_mounts(struct cmd_context *c, const char *key, struct err *err)
{
	struct snap_mount m cleanup_snap_mount = {.type = NULL};
	struct json_writer *w;
	int r = snap_mounts(c->store, key, &m, err);

	if (r < 0)
		return r;
	if (!c->json) {
		(void)printf("%s %s %s\n", m.type, m.source, m.options);
		return 0;
	}
	w = json_writer_new(JSON_PRETTY);
	json_w_array(w);
	json_w_object(w);
	json_w_key(w, "type");
	json_w_string(w, m.type);
	json_w_key(w, "source");
	json_w_string(w, m.source);
	json_w_key(w, "options");
	json_options(w, m.options);
	json_w_end(w);
	json_w_end(w);
	return cmd_print_json(w, err);
}

static int parse_label(const char *text, struct snap_label *ret, struct err *err)
{
	const char *eq = strchr(text, '=');

	if (!eq || eq == text)
		return cmd_usage_error(err, "'%s' is no label: KEY=VALUE", text);
	ret->key = strndup(text, (size_t)(eq - text));
	ret->value = strdup(eq + 1);
	return ret->key && ret->value ? 0 : err_set(err, -ENOMEM, "labels");
}

void cmd_free_labels(struct snap_label *labels, size_t n)
{
	for (size_t i = 0; labels && i < n; i++) {
		free(labels[i].key);
		free(labels[i].value);
	}
	free(labels);
}

static int parse_labels(const char *const *text, size_t n, struct snap_label **ret, struct err *err)
{
	struct snap_label *labels = calloc(n + 1, sizeof(*labels));
	int r = labels ? 0 : err_set(err, -ENOMEM, "labels");

	for (size_t i = 0; i < n && r == 0; i++)
		r = parse_label(text[i], &labels[i], err);
	if (r < 0)
		cmd_free_labels(labels, n);
	else
		*ret = labels;
	return r;
}

int cmd_parse_labels(const struct cmd_list *list, struct snap_label **ret, struct err *err)
{
	return parse_labels(list->items, list->n, ret, err);
}

int cmd_parse_label_args(int argc, char **argv, struct snap_label **ret, struct err *err)
{
	return parse_labels((const char *const *)argv, (size_t)argc, ret, err);
}

void cmd_table_init(struct cmd_table *t, size_t columns)
{
	memset(t, 0, sizeof(*t));
	t->columns = columns;
}

static char *escaped(const char *cell)
{
	size_t len = 0;
	char *s = NULL;
	FILE *f = open_memstream(&s, &len);

	if (!f)
		return NULL;
	cmd_put_name(f, cell);
	return fclose(f) == 0 ? s : NULL;
}

void cmd_table_add(struct cmd_table *t, const char *cell)
{
	if (t->n == t->cap && t->error == 0) {
		size_t cap = t->cap ? t->cap * 2 : 64;
		char **p = reallocarray(t->cells, cap, sizeof(*p));

		if (p) {
			t->cells = p;
			t->cap = cap;
		} else {
			t->error = -ENOMEM;
		}
	}
	if (t->error < 0)
		return;
	t->cells[t->n] = escaped(cell ? cell : "");
	if (t->cells[t->n])
		t->n++;
	else
		t->error = -ENOMEM;
}

int cmd_table_print(struct cmd_table *t, struct err *err)
{
	size_t *width cleanup_free = calloc(t->columns, sizeof(*width));
	int r = width ? t->error : -ENOMEM;

	for (size_t i = 0; i < t->n && r == 0; i++) {
		if (strlen(t->cells[i]) > width[i % t->columns])
			width[i % t->columns] = strlen(t->cells[i]);
	}
	for (size_t i = 0; i < t->n && r == 0; i++) {
		bool last = i % t->columns == t->columns - 1;

		(void)printf("%-*s%s", last ? 0 : (int)width[i % t->columns], t->cells[i],
			     last ? "\n" : "  ");
	}
	for (size_t i = 0; i < t->n; i++)
		free(t->cells[i]);
	free(t->cells);
	return r < 0 ? err_set(err, r, "table") : 0;
}

void cmd_json_effect(struct json_writer *w, const struct erofs_effect *e)
{
	const struct {
		const char *key;
		uint64_t value;
	} members[] = {{"adds", e->adds},
		       {"changes", e->changes},
		       {"hides", e->hides},
		       {"bytes", e->bytes},
		       {"wasted", e->wasted}};

	for (size_t i = 0; i < sizeof(members) / sizeof(*members); i++) {
		json_w_key(w, members[i].key);
		json_w_uint(w, members[i].value);
	}
}
