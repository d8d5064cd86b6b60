/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/cmd/options.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"

static bool usage_error;

bool cmd_was_usage_error(void)
{
	return usage_error;
}

int open_null(void)
{
	return open("/dev/null", O_RDWR); /* stays open over exec: it is a standard descriptor */
}

int cmd_usage_error(struct err *err, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	usage_error = true;
	return err_msg(err, -EINVAL, "%s", text);
}

int cmd_is_usage_error(int code)
{
	usage_error = code == -EINVAL;
	return code;
}

struct globals {
	const char *root, *log_level;
	bool json, quiet, help, version, progress, no_sandbox;
};

static const struct cmd_option global_options[] = {
	{"root", 0, CMD_STRING, "DIR",
	 "the store (SNAP_ROOT; /var/lib/snap, or ~/.local/share/snap)",
	 offsetof(struct globals, root)},
	{"json", 0, CMD_FLAG, NULL, "one JSON document on standard output",
	 offsetof(struct globals, json)},
	{"quiet", 'q', CMD_FLAG, NULL, "only errors", offsetof(struct globals, quiet)},
	{"progress", 0, CMD_FLAG, NULL, "progress even when standard error is no terminal",
	 offsetof(struct globals, progress)},
	{"no-sandbox", 0, CMD_FLAG, NULL,
	 "read layers with all of the caller's rights (SNAP_SANDBOX=off)",
	 offsetof(struct globals, no_sandbox)},
	{"log-level", 0, CMD_STRING, "LEVEL", "error, warn, info or debug (SNAP_LOG)",
	 offsetof(struct globals, log_level)},
	{"help", 'h', CMD_FLAG, NULL, "this text", offsetof(struct globals, help)},
	{"version", 0, CMD_FLAG, NULL, "the version", offsetof(struct globals, version)},
	CMD_OPTIONS_END,
};

void cmd_parsed_release(struct cmd_parsed *p)
{
	const struct cmd_option *o = p->options ? p->cmd->options : NULL;

	for (; o && o->name; o++) {
		if (o->kind == CMD_LIST)
			free(((struct cmd_list *)(void *)((char *)p->options + o->offset))->items);
	}
	free(p->options);
	free(p->argv);
	memset(p, 0, sizeof(*p));
}

static const struct cmd_option *find_option(const struct cmd_option *o, const char *name,
					    size_t len, char letter)
{
	for (; o && o->name; o++) {
		if (letter ? o->letter == letter
			   : strlen(o->name) == len && strncmp(o->name, name, len) == 0)
			return o;
	}
	return NULL;
}

static int set_uint(const struct cmd_option *o, const char *value, unsigned int *out,
		    struct err *err)
{
	unsigned long v;
	char *end;

	errno = 0;
	v = strtoul(value, &end, 10);
	if (value[0] < '0' || value[0] > '9' || *end || errno || v > UINT_MAX)
		return cmd_usage_error(err, "--%s needs a number, not '%s'", o->name, value);
	*out = (unsigned int)v;
	return 0;
}

static int set_option(const struct cmd_option *o, void *base, const char *value, struct err *err)
{
	void *at = (char *)base + o->offset;
	struct cmd_list *list;
	const char **items;

	switch (o->kind) {
	case CMD_FLAG:
		*(bool *)at = true;
		return 0;
	case CMD_STRING:
		*(const char **)at = value;
		return 0;
	case CMD_UINT:
		return set_uint(o, value, at, err);
	case CMD_LIST:
		list = at;
		items = reallocarray(list->items, list->n + 1, sizeof(*items));
		if (!items)
			return err_set(err, -ENOMEM, "options");
		list->items = items;
		items[list->n++] = value;
		return 0;
	}
	return -EINVAL;
}

struct parser {
	int argc, at;
	char **argv;
	struct globals g;
	struct cmd_parsed *out;
};

/* --name, --name=value, --name value, -n, -nvalue, -n value */
static int parse_option(struct parser *p, struct err *err)
{
	const char *arg = p->argv[p->at], *eq = strchr(arg, '='), *value = NULL, *name = arg + 2;
	bool is_long = arg[1] == '-';
	size_t len = is_long ? (eq ? (size_t)(eq - name) : strlen(name)) : 1;
	char letter = is_long ? '\0' : arg[1];
	const struct cmd_option *o = NULL;
	void *base = p->out->options;

	if (p->out->cmd)
		o = find_option(p->out->cmd->options, name, len, letter);
	if (!o) {
		o = find_option(global_options, name, len, letter);
		base = &p->g;
	}
	if (!o)
		return cmd_usage_error(err, "unknown option '%s'", arg);
	if (is_long && eq)
		value = eq + 1;
	else if (!is_long && arg[2] != '\0')
		value = arg + 2;
	if (o->kind == CMD_FLAG && value)
		return cmd_usage_error(err, "option '%s' takes no value", arg);
	if (o->kind != CMD_FLAG && !value) {
		if (++p->at >= p->argc)
			return cmd_usage_error(err, "option '%s' needs %s", arg, o->arg);
		value = p->argv[p->at];
	}
	return set_option(o, base, value, err);
}

static int set_command(struct parser *p, const char *name, struct err *err)
{
	for (const struct cmd *const *c = cmd_all; *c; c++) {
		if (strcmp((*c)->name, name) != 0)
			continue;
		p->out->cmd = *c;
		p->out->options = calloc(1, (*c)->options_size + 1);
		p->out->argv = calloc((size_t)p->argc + 1, sizeof(char *));
		return p->out->options && p->out->argv ? 0 : err_set(err, -ENOMEM, "options");
	}
	(void)cmd_usage_error(err, "no command '%s'", name);
	err_hint(err, "'snap --help' lists them");
	return -EINVAL;
}

static void print_options(const struct cmd_option *o)
{
	for (; o && o->name; o++) {
		char left[64];

		(void)snprintf(left, sizeof(left), "%c%c%s--%s%s%s", o->letter ? '-' : ' ',
			       o->letter ? o->letter : ' ', o->letter ? ", " : "  ", o->name,
			       o->arg ? " " : "", o->arg ? o->arg : "");
		(void)printf("  %-28s %s\n", left, o->help);
	}
}

static void print_help(const struct cmd *cmd)
{
	if (!cmd) {
		(void)printf("Usage: snap [OPTION]... COMMAND [ARGUMENT]...\n\n"
			     "Container images and root file systems.\n\nCommands:\n");
		for (const struct cmd *const *c = cmd_all; *c; c++)
			(void)printf("  %-10s %s\n", (*c)->name, (*c)->summary);
		(void)printf("\nOptions:\n");
		print_options(global_options);
		(void)printf("\n'snap COMMAND --help' says more; so does snap(1).\n");
		return;
	}
	for (const char *line = cmd->usage, *end; *line; line = *end ? end + 1 : end) {
		end = strchrnul(line, '\n');
		(void)printf("%s snap %s%s%.*s\n", line == cmd->usage ? "Usage:" : "      ",
			     cmd->name, end > line ? " " : "", (int)(end - line), line);
		if (!*end)
			break;
	}
	if (!cmd->usage[0])
		(void)printf("Usage: snap %s\n", cmd->name);
	(void)printf("\n%s.\n", cmd->summary);
	if (cmd->help)
		(void)printf("%s\n", cmd->help);
	(void)printf("\nOptions:\n");
	print_options(cmd->options);
	print_options(global_options);
}

static int apply_globals(struct parser *p, struct cmd_context *c, struct err *err)
{
	const char *level = p->g.log_level ? p->g.log_level : getenv("SNAP_LOG"), *sandbox;
	enum log_level parsed = LOG_WARN;

	c->root = p->g.root;
	c->json = p->g.json;
	c->quiet = p->g.quiet;
	c->progress = p->g.progress || (!p->g.quiet && isatty(STDERR_FILENO) == 1);
	if (p->g.quiet)
		parsed = LOG_ERROR;
	if (level && level[0] && log_level_parse(level, &parsed) < 0)
		return cmd_usage_error(err, "'%s' is no log level: error, warn, info or debug",
				       level);
	log_set_level(parsed);
	/* by the environment it also comes to the programs that are started from here */
	if (p->g.no_sandbox && setenv("SNAP_SANDBOX", "off", 1) < 0)
		return err_set(err, -errno, "options");
	sandbox = getenv("SNAP_SANDBOX");
	if (sandbox && strcmp(sandbox, "on") != 0 && strcmp(sandbox, "off") != 0)
		return cmd_usage_error(err, "SNAP_SANDBOX is on or off, not '%s'", sandbox);
	return 0;
}

static int parse_all(struct parser *p, struct err *err)
{
	bool options_end = false;

	for (; p->at < p->argc; p->at++) {
		const char *arg = p->argv[p->at];
		int r = 0;

		if (p->out->cmd && p->out->cmd->rest_after > 0 &&
		    p->out->argc >= p->out->cmd->rest_after)
			options_end = true; /* the rest is another program's command line */
		if (!options_end && strcmp(arg, "--") == 0)
			options_end = true;
		else if (!options_end && arg[0] == '-' && arg[1] != '\0')
			r = parse_option(p, err);
		else if (!p->out->cmd)
			r = set_command(p, arg, err);
		else
			p->out->argv[p->out->argc++] = p->argv[p->at];
		if (r < 0)
			return r;
	}
	return 0;
}

int cmd_parse_line(int argc, char **argv, struct cmd_context *c, struct cmd_parsed *ret,
		   struct err *err)
{
	struct parser p = {.argc = argc, .at = 1, .argv = argv, .out = ret};
	int r = parse_all(&p, err), applied = apply_globals(&p, c, r < 0 ? NULL : err);

	if (r < 0 || applied < 0)
		return r < 0 ? r : applied;
	if (p.g.help) {
		print_help(ret->cmd);
		return 1;
	}
	if (p.g.version) {
		(void)printf("snap " SNAP_VERSION "\n");
		return 1;
	}
	if (!ret->cmd) {
		(void)cmd_usage_error(err, "no command given");
		err_hint(err, "'snap --help' lists them");
		return -EINVAL;
	}
	if (ret->argc < ret->cmd->min_args ||
	    (ret->cmd->max_args >= 0 && ret->argc > ret->cmd->max_args)) {
		const char *nl = strchrnul(ret->cmd->usage, '\n');

		(void)cmd_usage_error(err, "%s: too %s arguments", ret->cmd->name,
				      ret->argc < ret->cmd->min_args ? "few" : "many");
		err_hint(err, "usage: snap %s %.*s", ret->cmd->name, (int)(nl - ret->cmd->usage),
			 ret->cmd->usage);
		return -EINVAL;
	}
	return 0;
}
