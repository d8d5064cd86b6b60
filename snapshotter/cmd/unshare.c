/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "snapshotter/cmd/cmd.h"
#include "snapshotter/keeper.h"

static int run(struct cmd_context *c, const void *o, int argc, char **argv, struct err *err)
{
	const char *shell = getenv("SHELL");
	char *const plain[] = {(char *)(uintptr_t)(shell && shell[0] ? shell : "/bin/sh"), NULL};
	char *const *command = argc > 0 ? argv : plain;
	int r;

	(void)o;
	/* what the command starts looks for the store where we do */
	if (c->root && setenv("SNAP_ROOT", c->root, 1) < 0)
		return err_set(err, -errno, "environment");
	keeper_done(); /* what the command leaves is there when it ends */
	(void)signal(SIGPIPE, SIG_DFL);
	(void)execvp(command[0], command);
	r = -errno;
	c->exit_code = r == -ENOENT ? 127 : 126;
	return err_set(err, r, "run '%s'", command[0]);
}

const struct cmd cmd_unshare = {
	.name = "unshare",
	.summary = "Run a command in the namespaces of rootless containers",
	.usage = "[COMMAND [ARG]...]",
	.help = "Without COMMAND a shell. There an ordinary user is root over the ids of "
		"/etc/subuid\n"
		"and /etc/subgid; what is mounted there is seen there alone and goes with the "
		"last\n"
		"process. For root it is a mount namespace only.",
	.max_args = -1,
	.rest_after = 1,
	.failure = 125,
	.flags = CMD_NAMESPACES | CMD_NO_STORE,
	.run = run,
};
