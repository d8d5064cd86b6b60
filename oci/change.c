/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/change.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/strbuf.h"

static void strings_release(struct oci_strings *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i]);
	free(l->v);
	*l = (struct oci_strings){NULL, 0};
}

static int strings_add(struct oci_strings *l, const char *s)
{
	char **v = reallocarray(l->v, l->n + 1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	l->v = v;
	v[l->n] = strdup(s);
	if (!v[l->n])
		return -ENOMEM;
	l->n++;
	return 0;
}

/* Replaces the string with the same key in front of its '=', or adds it. */
static int strings_assign(struct oci_strings *l, const char *s)
{
	size_t key = strcspn(s, "=") + 1;
	char *copy;

	for (size_t i = 0; i < l->n; i++) {
		if (strncmp(l->v[i], s, key) != 0)
			continue;
		copy = strdup(s);
		if (!copy)
			return -ENOMEM;
		free(l->v[i]);
		l->v[i] = copy;
		return 0;
	}
	return strings_add(l, s);
}

static int strings_add_once(struct oci_strings *l, const char *s)
{
	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->v[i], s) == 0)
			return 0;
	return strings_add(l, s);
}

static int strings_from_json(struct oci_strings *l, const struct json *array)
{
	int r = 0;

	for (size_t i = 0; i < json_len(array) && !r; i++) {
		const char *s = json_string(json_at(array, i));

		r = s ? strings_add(l, s) : 0;
	}
	return r;
}

void oci_changes_release(struct oci_changes *c)
{
	strings_release(&c->env);
	strings_release(&c->shell);
	strings_release(&c->cmd);
	strings_release(&c->entrypoint);
	strings_release(&c->labels);
	strings_release(&c->ports);
	strings_release(&c->volumes);
	free(c->workdir);
	free(c->user);
	free(c->stop_signal);
	memset(c, 0, sizeof(*c));
}

int oci_changes_init(struct oci_changes *c, const struct json *config)
{
	const struct json *shell = json_get(config, "Shell");
	const char *workdir = json_string(json_get(config, "WorkingDir"));
	int r;

	memset(c, 0, sizeof(*c));
	r = strings_from_json(&c->env, json_get(config, "Env"));
	if (!r)
		r = strings_from_json(&c->shell, shell);
	if (!r && c->shell.n == 0) {
		r = strings_add(&c->shell, "/bin/sh");
		if (!r)
			r = strings_add(&c->shell, "-c");
	}
	if (!r && workdir && *workdir) {
		c->workdir = strdup(workdir);
		r = c->workdir ? 0 : -ENOMEM;
	}
	if (r)
		oci_changes_release(c);
	return r;
}

/* $NAME or ${NAME} at @s; appends its value, returns how far it reaches, 0 when it is none. */
static size_t expand(const struct oci_strings *env, const char *s, struct strbuf *out, int *ret)
{
	bool braces = s[1] == '{';
	const char *name = s + 1 + braces;
	size_t n = 0;

	while (isalnum((unsigned char)name[n]) || name[n] == '_')
		n++;
	if (n == 0 || isdigit((unsigned char)name[0]) || (braces && name[n] != '}'))
		return 0;
	for (size_t i = 0; i < env->n; i++)
		if (strncmp(env->v[i], name, n) == 0 && env->v[i][n] == '=')
			*ret = strbuf_adds(out, env->v[i] + n + 1);
	return 1 + n + (braces ? 2 : 0);
}

/*
 * Takes the next word from *@s (all that is left when @whole): quotes taken off, variables put in.
 * 1: there was one; 0: no more; -EINVAL: a quote without its end.
 */
static int next_word(const struct oci_strings *env, const char **s, bool whole, struct strbuf *out)
{
	const char *p = *s + strspn(*s, " \t");
	char quote = '\0';
	size_t n;
	int r = 0;

	strbuf_reset(out);
	if (!*p)
		return 0;
	for (; *p && !r; p++) {
		if (!quote && !whole && (*p == ' ' || *p == '\t'))
			break;
		if (quote ? *p == quote : *p == '"' || *p == '\'') {
			quote = quote ? '\0' : *p;
		} else if (*p == '$' && quote != '\'' && (n = expand(env, p, out, &r)) > 0) {
			p += n - 1;
		} else if (*p == '\\' && p[1] &&
			   (!quote || (quote == '"' && strchr("\"\\$", p[1])))) {
			r = strbuf_addc(out, *++p);
		} else {
			r = strbuf_addc(out, *p);
		}
	}
	if (r)
		return r;
	*s = p;
	return quote ? -EINVAL : 1;
}

/* A JSON array of strings; false when it is none, and then it is shell text. */
static bool json_list(const char *text, struct oci_strings *list, int *ret)
{
	struct json *doc cleanup_json = NULL;

	if (*text != '[' || json_parse(text, strlen(text), &doc, NULL) ||
	    json_type(doc) != JSON_ARRAY)
		return false;
	for (size_t i = 0; i < json_len(doc); i++)
		if (!json_string(json_at(doc, i)))
			return false;
	*ret = strings_from_json(list, doc);
	return true;
}

static int set_command(struct oci_changes *c, const char *text, struct oci_strings *list, bool *has)
{
	int r = 0;

	strings_release(list);
	*has = true;
	if (json_list(text, list, &r) || !*text)
		return r;
	for (size_t i = 0; i < c->shell.n && !r; i++)
		r = strings_add(list, c->shell.v[i]);
	return r ? r : strings_add(list, text);
}

static int set_cmd(struct oci_changes *c, const char *text)
{
	return set_command(c, text, &c->cmd, &c->has_cmd);
}

static int set_entrypoint(struct oci_changes *c, const char *text)
{
	return set_command(c, text, &c->entrypoint, &c->has_entrypoint);
}

/* "K=V K=V..." or, as it once was, "K the rest of the line". */
static int set_pairs(struct oci_changes *c, const char *text, struct oci_strings *list)
{
	struct strbuf word CLEANUP(strbuf_release) = STRBUF_INIT;
	struct strbuf rest CLEANUP(strbuf_release) = STRBUF_INIT;
	int r, n = 0;

	while ((r = next_word(&c->env, &text, false, &word)) > 0) {
		if (word.s[0] == '=' || !word.len)
			return -EINVAL;
		if (!strchr(word.s, '=')) {
			if (n > 0 || next_word(&c->env, &text, true, &rest) <= 0)
				return -EINVAL;
			r = strbuf_addf(&word, "=%s", rest.s);
			return r ? r : strings_assign(list, word.s);
		}
		r = strings_assign(list, word.s);
		if (r)
			return r;
		n++;
	}
	return r ? r : n ? 0 : -EINVAL;
}

static int set_env(struct oci_changes *c, const char *text)
{
	return set_pairs(c, text, &c->env);
}

static int set_label(struct oci_changes *c, const char *text)
{
	return set_pairs(c, text, &c->labels);
}

static bool port_number(const char *s, size_t len, unsigned int *ret)
{
	unsigned int v = 0;

	if (len == 0 || len > 5)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!isdigit((unsigned char)s[i]))
			return false;
		v = v * 10 + (unsigned int)(s[i] - '0');
	}
	*ret = v;
	return v > 0 && v <= 65535;
}

/* "80", "53/udp", "7000-7010/tcp". */
static int add_ports(struct oci_changes *c, const char *word)
{
	const char *slash = strchr(word, '/'), *dash = strchr(word, '-');
	size_t len = slash ? (size_t)(slash - word) : strlen(word);
	const char *proto = slash ? slash + 1 : "tcp";
	struct strbuf port CLEANUP(strbuf_release) = STRBUF_INIT;
	unsigned int first, last;
	int r = 0;

	if (strcmp(proto, "tcp") != 0 && strcmp(proto, "udp") != 0 && strcmp(proto, "sctp") != 0)
		return -EINVAL;
	if (dash && dash < word + len) {
		if (!port_number(word, (size_t)(dash - word), &first) ||
		    !port_number(dash + 1, (size_t)(word + len - dash - 1), &last) || last < first)
			return -EINVAL;
	} else {
		if (!port_number(word, len, &first))
			return -EINVAL;
		last = first;
	}
	for (unsigned int p = first; p <= last && !r; p++) {
		strbuf_reset(&port);
		r = strbuf_addf(&port, "%u/%s", p, proto);
		if (!r)
			r = strings_add_once(&c->ports, port.s);
	}
	return r;
}

static int set_expose(struct oci_changes *c, const char *text)
{
	struct strbuf word CLEANUP(strbuf_release) = STRBUF_INIT;
	int r, n = 0;

	while ((r = next_word(&c->env, &text, false, &word)) > 0) {
		r = add_ports(c, word.s);
		if (r)
			return r;
		n++;
	}
	return r ? r : n ? 0 : -EINVAL;
}

static int set_volume(struct oci_changes *c, const char *text)
{
	struct strbuf word CLEANUP(strbuf_release) = STRBUF_INIT;
	struct oci_strings list = {NULL, 0};
	int r = 0, n = 0;

	if (json_list(text, &list, &r)) {
		for (size_t i = 0; i < list.n && !r; i++)
			r = *list.v[i] ? strings_add_once(&c->volumes, list.v[i]) : -EINVAL;
		r = r ? r : list.n ? 0 : -EINVAL;
		strings_release(&list);
		return r;
	}
	while ((r = next_word(&c->env, &text, false, &word)) > 0) {
		r = word.len ? strings_add_once(&c->volumes, word.s) : -EINVAL;
		if (r)
			return r;
		n++;
	}
	return r ? r : n ? 0 : -EINVAL;
}

/* The one word or text of @text as a new string. */
static int one_value(struct oci_changes *c, const char *text, char **ret)
{
	struct strbuf value CLEANUP(strbuf_release) = STRBUF_INIT;
	int r = next_word(&c->env, &text, true, &value);

	if (r < 0)
		return r;
	if (r == 0 || value.len == 0)
		return -EINVAL;
	*ret = strbuf_steal(&value);
	return *ret ? 0 : -ENOMEM;
}

static int set_user(struct oci_changes *c, const char *text)
{
	char *user;
	int r = one_value(c, text, &user);

	if (r)
		return r;
	free(c->user);
	c->user = user;
	return 0;
}

/* "SIGTERM", "TERM", "SIGRTMIN+3" or a number: what a runtime makes of it is its affair. */
static bool is_signal(const char *s)
{
	size_t n = strspn(s, "0123456789");

	if (n > 0)
		return s[n] == '\0' && n < 3 && atoi(s) > 0 && atoi(s) <= 64;
	n = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz12");
	if (n < 2)
		return false;
	if (s[n] == '+' || s[n] == '-')
		n += 1 + strspn(s + n + 1, "0123456789");
	return s[n] == '\0';
}

static int set_stop_signal(struct oci_changes *c, const char *text)
{
	char *signal cleanup_free = NULL;
	int r = one_value(c, text, &signal);

	if (r)
		return r;
	if (!is_signal(signal))
		return -EINVAL;
	free(c->stop_signal);
	c->stop_signal = steal_ptr(&signal);
	return 0;
}

/* A relative one goes on from the one before. */
static int set_workdir(struct oci_changes *c, const char *text)
{
	struct strbuf joined CLEANUP(strbuf_release) = STRBUF_INIT;
	char *dir cleanup_free = NULL;
	size_t n;
	int r = one_value(c, text, &dir);

	if (r)
		return r;
	if (*dir != '/') {
		const char *from = c->workdir ? c->workdir : "/";

		n = strlen(from);
		r = strbuf_addf(&joined, "%s%s%s", from, from[n - 1] == '/' ? "" : "/", dir);
		if (r)
			return r;
		free(dir);
		dir = strbuf_steal(&joined);
		if (!dir)
			return -ENOMEM;
	}
	free(c->workdir);
	c->workdir = steal_ptr(&dir);
	return 0;
}

int oci_changes_add(struct oci_changes *c, const char *text, struct err *err)
{
	static const struct {
		const char *word;
		int (*set)(struct oci_changes *c, const char *text);
	} table[] = {
		{"CMD", set_cmd},
		{"ENTRYPOINT", set_entrypoint},
		{"ENV", set_env},
		{"LABEL", set_label},
		{"EXPOSE", set_expose},
		{"VOLUME", set_volume},
		{"USER", set_user},
		{"WORKDIR", set_workdir},
		{"STOPSIGNAL", set_stop_signal},
	};
	const char *start = text + strspn(text, " \t");
	size_t n = strcspn(start, " \t=");
	int r;

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (strlen(table[i].word) != n || strncasecmp(table[i].word, start, n) != 0)
			continue;
		/* Podman's people write CMD=..., Docker's CMD ... */
		start += n + (start[n] == '=');
		start += strspn(start, " \t");
		r = table[i].set(c, start);
		if (r == -EINVAL)
			return err_msg(err, r, "change '%s': not what %s takes", text,
				       table[i].word);
		return r ? err_set(err, r, "change '%s'", text) : 0;
	}
	(void)err_msg(err, -EINVAL, "change '%s': not known", text);
	err_hint(err, "CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR");
	return -EINVAL;
}
