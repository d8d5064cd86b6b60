/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/als.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/daemon.h"
#include "base/log.h"
#include "snapshotter/als_private.h"
#include "snapshotter/userns.h"

struct server {
	const struct snap_als_options *options;
	char *mountpoint;
	struct daemon *daemon;
};

static int ready(void *ctx, struct err *err)
{
	const struct server *s = ctx;

	return daemon_ready(s->daemon, err);
}

/*
 * A user's mount is seen in the first user namespace, where the ids of the images are those that
 * podman's namespace of that user gives them.
 */
static int choose_ids(struct als_ids *ids, struct err *err)
{
	int r;

	if (geteuid() == 0)
		return 0;
	ids->mapped = true;
	r = userns_host_ids(&ids->uids, &ids->gids, err);
	if (r == -ENOENT)
		log_warn("there are no subordinate ids: what is not root's in an image is shown as "
			 "nobody's");
	return r == -ENOENT ? 0 : r;
}

static int serve(void *ctx, struct daemon *d, struct err *err)
{
	struct snap_store *store cleanup_snap_store = NULL;
	struct server *s = ctx;
	struct als_ids ids = {.uids = OVL_IDMAP_INIT, .gids = OVL_IDMAP_INIT};
	int r = choose_ids(&ids, err);

	s->daemon = d;
	if (r == 0)
		r = snap_store_open(s->options->root, &store, err);
	if (r == 0)
		r = als_session_run(store, s->mountpoint, &ids, ready, s, err);
	ovl_idmap_release(&ids.uids);
	ovl_idmap_release(&ids.gids);
	return r;
}

int snap_als(const struct snap_als_options *o, struct err *err)
{
	char *mountpoint cleanup_free = realpath(o->mountpoint, NULL);
	struct server s = {.options = o, .mountpoint = mountpoint};
	int r;

	if (!mountpoint)
		return err_set(err, -errno, "mount point '%s'", o->mountpoint);
	r = o->foreground ? daemon_run(serve, &s, err)
			  : daemon_start("the layer store's process", serve, &s, err);
	return r;
}
