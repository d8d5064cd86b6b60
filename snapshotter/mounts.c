/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/strbuf.h"
#include "snapshotter/mount_private.h"
#include "snapshotter/mountinfo.h"
#include "snapshotter/snapshot.h"
#include "snapshotter/snapshot_private.h"

/* A snapshot as what mount(8) takes. */

void snap_mount_release(struct snap_mount *m)
{
	free(m->source);
	free(m->options);
	memset(m, 0, sizeof(*m));
}

int snap_mount_source(struct snap_store *store, int64_t id, char **ret)
{
	return asprintf(ret, "snap:%s:%lld", store->uuid, (long long)id) < 0 ? -ENOMEM : 0;
}

int snap_mounted_at(struct snap_store *store, int64_t id, char **ret_target, struct err *err)
{
	char *source cleanup_free = NULL;
	int r = snap_mount_source(store, id, &source);

	if (r < 0)
		return err_set(err, r, "mount table");
	return mountinfo_find(MOUNTINFO_SOURCE, source, ret_target, NULL, err);
}

int mount_add_path(struct strbuf *out, const char *path)
{
	int r = 0;

	for (; *path && r == 0; path++) {
		if (strchr(":,\\", *path))
			r = strbuf_addc(out, '\\');
		if (r == 0)
			r = strbuf_addc(out, *path);
	}
	return r;
}

static int add_options(struct strbuf *out, const struct ovl_config *c, int64_t batch)
{
	int r = strbuf_adds(out, c->read_only ? "ro,lowerdir=" : "lowerdir=");

	for (size_t i = 0; i < c->n_lowers && r == 0; i++) {
		r = i > 0 ? strbuf_addc(out, ':') : 0;
		if (r == 0)
			r = mount_add_path(out, c->lowers[i]);
	}
	if (r == 0 && c->upper) {
		r = strbuf_adds(out, ",upperdir=");
		if (r == 0)
			r = mount_add_path(out, c->upper);
		if (r == 0)
			r = strbuf_adds(out, ",workdir=");
		if (r == 0)
			r = mount_add_path(out, c->work);
	}
	if (r == 0)
		r = strbuf_addf(out, ",ino_batch=%lld,redirect_dir=on,metacopy=on",
				(long long)batch);
	return r;
}

int snap_mounts(struct snap_store *store, const char *key, struct snap_mount *ret, struct err *err)
{
	struct strbuf options CLEANUP(strbuf_release) = STRBUF_INIT;
	struct snap_stack stack cleanup_snap_stack = {.dirs = NULL};
	struct ovl_config c CLEANUP(ovl_config_release) = OVL_CONFIG_INIT;
	struct snap_mount m = {.type = "fuse.snapfs"};
	struct snap_row row;
	int r = snap_row_find(store, key, &row, err);

	if (r < 0)
		return r;
	if (row.kind == SNAP_COMMITTED) {
		r = err_msg(err, -EBUSY, "snapshot '%s' is committed: it cannot be mounted", key);
		err_hint(err, "'snap view' or 'snap prepare' a snapshot on it");
		return r;
	}
	r = snap_stack_load(store, &row, &stack, err);
	if (r == 0)
		r = snap_stack_config(store, &stack, 0, row.kind == SNAP_ACTIVE ? row.id : 0, &c,
				      err);
	if (r < 0)
		return err_wrap(err, r, "mounts of '%s'", key);
	r = add_options(&options, &c, row.batch);
	if (r < 0)
		return err_set(err, r, "mounts of '%s'", key);
	r = mount_label_options(store, row.id, &options, err);
	if (r < 0)
		return err_wrap(err, r, "mounts of '%s'", key);
	r = snap_mount_source(store, row.id, &m.source);
	if (r == 0) {
		m.options = strbuf_steal(&options);
		r = m.options ? 0 : -ENOMEM;
	}
	if (r < 0) {
		snap_mount_release(&m);
		return err_set(err, r, "mounts of '%s'", key);
	}
	*ret = m;
	return 0;
}
