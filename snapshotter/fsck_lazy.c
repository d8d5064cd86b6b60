/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "snapshotter/fsck_private.h"
#include "snapshotter/lazy.h"

/* Layers whose contents have not all come: what is said to be here has to be so. */

int fsck_lazy(struct fsck *f, const char *id, struct err *err)
{
	char path[STORE_PATH_MAX];
	struct lazy_status status;
	struct err why = ERR_INIT;
	size_t bad = 0;
	int r;

	store_layer_path(id, "present", path);
	if (faccessat(f->store->root_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	r = lazy_check(f->store, id, f->repair, &bad, &why);
	if (r == 0)
		r = lazy_status(f->store, id, &status, &why);
	else if (r == -ENOENT)
		r = 0;
	if (r == 0) /* it has just become complete */
		return 0;
	f->result.checked++;
	if (r < 0)
		r = fsck_report(f, SNAP_FSCK_BROKEN, "layer", id, err,
				"it is lazy, and %.300s: 'snap rmi' its image and pull it again",
				why.msg);
	else if (status.condemned)
		r = fsck_report(
			f, SNAP_FSCK_BROKEN, "layer", id, err,
			"it is not what its lazy index said: 'snap rmi' its image and pull it "
			"again without --lazy");
	else if (bad)
		r = fsck_report(f, f->repair ? SNAP_FSCK_REPAIRED : SNAP_FSCK_BROKEN, "layer", id,
				err, "%zu of the spans that are here are not what they should be%s",
				bad, f->repair ? "; they will be fetched again" : "");
	else
		r = 0;
	return r < 0 ? r : 1;
}
