/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "snapshotter/cmd/cmd.h"
#include "snapshotter/cmd/options.h"
#include "snapshotter/keeper.h"
#include "snapshotter/userns.h"

#define EXIT_USAGE 2

static void print_error(const struct cmd_context *c, const struct err *e)
{
	if (c->json) {
		struct strbuf s CLEANUP(strbuf_release) = STRBUF_INIT;
		struct json_writer *w = json_writer_new(0);

		json_w_object(w);
		json_w_key(w, "error");
		json_w_string(w, err_name(e->code));
		json_w_key(w, "what");
		json_w_string(w, e->msg);
		json_w_key(w, "where");
		json_w_string(w, e->where);
		json_w_key(w, "hint");
		json_w_string(w, e->hint);
		json_w_end(w);
		if (json_writer_finish(w, &s) == 0)
			(void)fprintf(stderr, "%s\n", s.s);
		return;
	}
	(void)fputs("snap: ", stderr);
	if (e->where[0]) {
		cmd_put_name(stderr, e->where);
		(void)fputs(": ", stderr);
	}
	cmd_put_name(stderr, e->msg);
	if (e->hint[0]) {
		(void)fputs(" (", stderr);
		cmd_put_name(stderr, e->hint);
		(void)fputc(')', stderr);
	}
	(void)fputc('\n', stderr);
}

/* Standard descriptors that are closed would be taken by the store's files. */
static void keep_standard_fds(void)
{
	struct stat st;

	for (int fd = 0; fd < 3; fd++) {
		if (fstat(fd, &st) < 0 && errno == EBADF && open_null() < 0)
			_exit(125);
	}
}

static int run(struct cmd_context *c, const struct cmd *cmd, struct cmd_parsed *p, struct err *err)
{
	struct snap_store *store cleanup_snap_store = NULL;
	int r = 0;

	if (cmd->flags & CMD_NAMESPACES)
		r = snap_userns_enter(err);
	else if (cmd->flags & CMD_USERNS_TRIES && geteuid() != 0)
		r = snap_userns_enter(NULL) < 0 ? 0 : r;
	if (r == 0 && !(cmd->flags & CMD_NO_STORE))
		r = cmd->flags & CMD_KEEPS_TMP ? snap_store_open_as_it_is(c->root, &store, err)
					       : snap_store_open(c->root, &store, err);
	if (cmd->flags & CMD_FOLLOWS_KEYS) {
		for (int i = 0; i < p->argc && r == 0; i++)
			r = snap_userns_follow(&store, p->argv[i], err);
		if (r > 0)
			r = snap_store_open(c->root, &store, err);
	}
	if (r < 0)
		return r;
	c->store = store;
	r = cmd->run(c, p->options, p->argc, p->argv, err);
	if (r == 0 && (fflush(stdout) != 0 || ferror(stdout)))
		r = err_set(err, -errno, "write to standard output");
	return r;
}

int main(int argc, char **argv)
{
	struct cmd_context c = {.root = NULL};
	struct cmd_parsed p CLEANUP(cmd_parsed_release) = {.argc = 0};
	struct err err = ERR_INIT;
	int r;

	keep_standard_fds();
	(void)umask(022); /* modes that matter are set explicitly; a strange umask must not get in
			     between */
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGCHLD, SIG_DFL); /* inherited as ignored, nobody could be waited for */
	log_set_name("snap");
	r = cmd_parse_line(argc, argv, &c, &p, &err);
	if (r > 0) /* --help, --version: done */
		return EXIT_SUCCESS;
	if (r == 0)
		r = run(&c, p.cmd, &p, &err);
	keeper_done();
	if (r < 0) {
		/* nobody is left to read it */
		if (err.code == -EPIPE)
			return EXIT_FAILURE;
		print_error(&c, &err);
		if (cmd_was_usage_error())
			return EXIT_USAGE;
		return c.exit_code		 ? c.exit_code
		       : p.cmd && p.cmd->failure ? p.cmd->failure
						 : EXIT_FAILURE;
	}
	return c.exit_code;
}
