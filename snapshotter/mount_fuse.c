/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/strbuf.h"
#include "snapshotter/mount_private.h"
#include "snapshotter/userns.h"

/* "snapfs" beside the running program, so that a build or an installation is used as a whole. */
static char *find_snapfs(void)
{
	char *self = realpath("/proc/self/exe", NULL), *slash, *beside = NULL;

	slash = self ? strrchr(self, '/') : NULL;
	if (slash && asprintf(&beside, "%.*s/snapfs", (int)(slash - self), self) < 0)
		beside = NULL;
	free(self);
	if (beside && access(beside, X_OK) == 0)
		return beside;
	free(beside);
	return strdup("snapfs");
}

int mount_by_fuse(const struct mount_request *q, struct err *err)
{
	struct strbuf options CLEANUP(strbuf_release) = STRBUF_INIT;
	char *program cleanup_free = find_snapfs();
	int r = program ? strbuf_adds(&options, q->mount->options) : -ENOMEM;

	if (r == 0 && q->options && q->options[0])
		r = strbuf_addf(&options, ",%s", q->options);
	/*
	 * Root of a namespace with one id may not touch what belongs to others, who have no number
	 * there: it sees all as its own. What their owners are stays in the layers and in an xattr.
	 */
	if (r == 0 && geteuid() == 0 && snap_userns_ids("uid_map") == 1)
		r = strbuf_adds(&options, ",squash_to_root");
	if (r < 0)
		return err_set(err, r, "mount");
	r = run_program(
		(const char *const[]){program, "-o", options.s, q->mount->source, q->target, NULL},
		err);
	if (r == -ENOENT)
		err_hint(err, "snapfs is neither beside snap nor in PATH: install it");
	else if (r < 0 && access("/dev/fuse", R_OK | W_OK) < 0)
		err_hint(err,
			 "/dev/fuse cannot be opened; 'snap doctor' says what this machine can do");
	return r;
}
