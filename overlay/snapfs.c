/* SPDX-License-Identifier: Apache-2.0 */

/*
 * snapfs - the engine as a mount program: `snapfs [-f] [-d] [-o OPTIONS]...
 * [SOURCE] MOUNTPOINT`. Podman, containerd and mount(8) start it, wait for it,
 * and read its standard error to the end; so it returns when the mount is live,
 * and what stays behind holds none of the caller's streams, session or folder.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/io.h"
#include "base/log.h"
#include "overlay/overlay.h"
#include "overlay/params.h"

enum { EXIT_USAGE = 2 };

struct command {
	struct ovl_config config;
	char *mountpoint; /* absolute, owned */
	bool foreground;
	const char *pushed_on; /* work directory of a mount that gets a layer; NULL: to mount */
};

static void usage(FILE *out)
{
	fprintf(out,
		"usage: snapfs [-f] [-d] [-o OPTION[,OPTION...]]... [SOURCE] MOUNTPOINT\n"
		"       snapfs --push-layer -o upperdir=NEW,workdir=NEWWORK WORKDIR MOUNTPOINT\n"
		"       snapfs --version | --help\n\n"
		"Mounts the union of an upper directory and read-only lower layers.\n"
		"Returns when the mount is live; unmount with fusermount3 -u or umount.\n"
		"--push-layer: what is mounted on MOUNTPOINT, with its work directory WORKDIR, "
		"gets\n"
		"the upper directory NEW; the one that it had is its uppermost lower layer "
		"then.\n\n"
		"  -f    stay in the foreground\n"
		"  -d    the same, and log every request\n\n"
		"Options:\n%s",
		ovl_params_help());
}

static int fail(const struct err *e)
{
	fprintf(stderr, "snapfs: %s%s%s%s%s\n", e->where, e->where[0] ? ": " : "", e->msg,
		e->hint[0] ? "; " : "", e->hint);
	return EXIT_FAILURE;
}

/* Returns -1 to go on, or the exit status. --push-layer takes two of the options and nothing else.
 */
static int parse_push(struct command *cmd, int n, char **words, struct err *err)
{
	struct ovl_config rest;

	memcpy(&rest, &cmd->config, sizeof(rest)); /* its padding, too */
	rest.upper = rest.work = NULL;
	if (n != 2 || !cmd->config.upper || !cmd->config.work || cmd->foreground ||
	    memcmp(&rest, &(struct ovl_config)OVL_CONFIG_INIT, sizeof(rest)) != 0) {
		fprintf(stderr, "snapfs: --push-layer needs -o upperdir=NEW,workdir=NEWWORK alone, "
				"the mount's work directory, and the mount point\n");
		usage(stderr);
		return EXIT_USAGE;
	}
	cmd->pushed_on = words[0];
	cmd->mountpoint = realpath(words[1], NULL);
	if (cmd->mountpoint)
		return -1;
	(void)err_set(err, -errno, "mount point '%s'", words[1]);
	return fail(err);
}

/* The same. */
static int parse_command(struct command *cmd, int argc, char **argv, struct err *err)
{
	enum { PUSH_LAYER = 256 };
	static const struct option longs[] = {
		{"push-layer", no_argument, NULL, PUSH_LAYER},
		{"version", no_argument, NULL, 'V'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct ovl_config *c = &cmd->config;
	bool push = false;
	int opt;

	while ((opt = getopt_long(argc, argv, "fdo:hV", longs, NULL)) != -1) {
		switch (opt) {
		case 'f':
			cmd->foreground = true;
			break;
		case 'd':
			cmd->foreground = true;
			c->debug = true;
			log_set_level(LOG_DEBUG);
			break;
		case 'o':
			if (ovl_params_parse(c, optarg, err))
				return fail(err);
			break;
		case PUSH_LAYER:
			push = true;
			break;
		case 'V':
			printf("snapfs: version %s\n", SNAP_VERSION);
			return EXIT_SUCCESS;
		case 'h':
			usage(stdout);
			return EXIT_SUCCESS;
		default:
			usage(stderr);
			return EXIT_USAGE;
		}
	}
	if (push)
		return parse_push(cmd, argc - optind, argv + optind, err);
	if (argc - optind < 1 || argc - optind > 2) {
		fprintf(stderr,
			"snapfs: a mount point is needed, and at most a source in front of it\n");
		usage(stderr);
		return EXIT_USAGE;
	}
	/* mount(8) hands over a source that nobody chose: fsname= says more. */
	if (argc - optind == 2 && !c->source) {
		c->source = strdup(argv[optind]);
		if (!c->source) {
			(void)err_set(err, -ENOMEM, "mount source");
			return fail(err);
		}
	}
	cmd->mountpoint = realpath(argv[argc - 1], NULL);
	if (!cmd->mountpoint) {
		(void)err_set(err, -errno, "mount point '%s'", argv[argc - 1]);
		return fail(err);
	}
	if (ovl_params_verify(c, err) || ovl_params_resolve(c, err))
		return fail(err);
	return -1;
}

/* Nobody who waits for the end of our output may wait for the end of the mount. */
static int release_streams(struct err *err)
{
	int null cleanup_close = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return err_set(err, -errno, "open '/dev/null'");
	for (int fd = 0; fd <= 2; fd++)
		if (null != fd && dup2(null, fd) < 0)
			return err_set(err, -errno, "release standard streams");
	if (null <= 2)
		(void)steal_fd(&null);
	return 0;
}

/* Standard streams that were closed must not become the fds of layers. */
static int claim_streams(struct err *err)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
		if (fd < 0)
			return err_set(err, -errno, "open '/dev/null'");
	} while (fd <= 2);
	(void)close(fd);
	return 0;
}

static int serve(const struct command *cmd, int report_fd)
{
	struct ovl_session *s = NULL;
	struct err err = ERR_INIT;
	int r;

	/* The caller's folder must stay free to be unmounted or removed. */
	r = chdir("/") ? err_set(&err, -errno, "chdir '/'") : 0;
	if (!r)
		r = ovl_session_mount(&cmd->config, cmd->mountpoint, &s, &err);
	if (!r && report_fd >= 0) {
		r = release_streams(&err);
		if (r)
			ovl_session_free(s);
	}
	if (report_fd >= 0) {
		/* The parent died: then nobody is told, and the mount is as good. */
		if (io_write_full(report_fd, &err, sizeof(err)))
			log_debug("nobody waits for the mount any more");
		(void)close(report_fd);
	}
	if (r)
		return report_fd >= 0 ? EXIT_FAILURE : fail(&err);
	r = ovl_session_run(s);
	ovl_session_free(s);
	if (r)
		log_error("mount '%s' ended: %s", cmd->mountpoint, strerror(-r));
	return r ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* In a child of its own session; the parent lives until the child says how it went. */
static int serve_in_background(const struct command *cmd)
{
	struct err err = ERR_INIT;
	int pipes[2], status = 0, r;
	pid_t child;

	if (pipe2(pipes, O_CLOEXEC)) {
		(void)err_set(&err, -errno, "make a pipe");
		return fail(&err);
	}
	child = fork();
	if (child < 0) {
		(void)err_set(&err, -errno, "start the mount's process");
		return fail(&err);
	}
	if (child == 0) {
		(void)close(pipes[0]);
		(void)setsid();
		_exit(serve(cmd, pipes[1]));
	}
	(void)close(pipes[1]);
	r = io_read_full(pipes[0], &err, sizeof(err));
	(void)close(pipes[0]);
	if (!r && !err.code)
		return EXIT_SUCCESS;
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (r) {
		err = (struct err)ERR_INIT;
		(void)err_msg(&err, -EIO, "the mount's process died with %s %d",
			      WIFSIGNALED(status) ? "signal" : "status",
			      WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	}
	return fail(&err);
}

int main(int argc, char **argv)
{
	struct command cmd = {.config = OVL_CONFIG_INIT};
	const char *level = getenv("SNAP_LOG");
	struct err err = ERR_INIT;
	enum log_level parsed;
	int status;

	log_set_name("snapfs");
	if (level && log_level_parse(level, &parsed) == 0)
		log_set_level(parsed);
	if (claim_streams(&err))
		return fail(&err);
	status = parse_command(&cmd, argc, argv, &err);
	if (status < 0 && cmd.pushed_on) {
		status = ovl_push_order(cmd.mountpoint, cmd.pushed_on, cmd.config.upper,
					cmd.config.work, &err)
				 ? fail(&err)
				 : EXIT_SUCCESS;
	} else if (status < 0) {
		/* A pipe leaked by the caller would be held open as long as the mount lives. */
		(void)close_range(3, UINT_MAX, 0);
		status = cmd.foreground ? serve(&cmd, -1) : serve_in_background(&cmd);
	}
	ovl_config_release(&cmd.config);
	free(cmd.mountpoint);
	return status;
}
