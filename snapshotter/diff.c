/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/diff.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "oci/layer_out.h"
#include "snapshotter/diff_private.h"

struct writing {
	struct oci_layer_writer *w;
	uint64_t events;
};

static int write_entry(struct writing *ctx, const struct ovl_change *ch, struct err *err)
{
	struct oci_tar_xattr *xattrs cleanup_free = calloc(ch->n_xattrs + 1, sizeof(*xattrs));
	struct oci_tar_entry e = {
		.path = ch->path,
		.st = ch->st,
		.target = ch->target,
		.hardlink = ch->hardlink,
		.xattrs = xattrs,
		.n_xattrs = ch->n_xattrs,
		.data_fd = ch->data_fd,
		.data_off = ch->data_off,
	};

	if (!xattrs)
		return err_set(err, -ENOMEM, "layer");
	for (size_t i = 0; i < ch->n_xattrs; i++)
		xattrs[i] = (struct oci_tar_xattr){.name = ch->xattrs[i].name,
						   .value = ch->xattrs[i].value,
						   .len = ch->xattrs[i].len};
	return oci_layer_writer_entry(ctx->w, &e, err);
}

static int write_change(void *p, const struct ovl_change *ch, struct err *err)
{
	struct writing *ctx = p;

	ctx->events++;
	switch (ch->kind) {
	case OVL_ADDED:
	case OVL_CHANGED:
		return write_entry(ctx, ch, err);
	case OVL_DELETED:
		return oci_layer_writer_whiteout(ctx->w, ch->path, err);
	case OVL_OPAQUE:
		return oci_layer_writer_opaque(ctx->w, ch->path, err);
	}
	return err_msg(err, -EINVAL, "a change of unknown kind");
}

int diff_write(const struct ovl_config *c, int fd, const struct snap_layer_options *opt,
	       struct oci_layer_ref *ret, uint64_t *ret_events, struct err *err)
{
	struct oci_layer_writer_options wo = {
		.compression = opt->compression,
		.level = opt->level,
		.clamp_mtime = opt->timestamp,
		.has_clamp = opt->has_timestamp,
		.tar_fd = -1,
	};
	struct ovl_changes_options co = {.expand_opaque = false};
	struct writing ctx = {.events = 0};
	struct oci_layer_ref ref;
	int r = oci_layer_writer_new(fd, &wo, &ctx.w, err);

	if (r < 0)
		return r;
	r = ovl_changes_walk(c, &co, write_change, &ctx, err);
	if (r == 0)
		r = oci_layer_writer_finish(ctx.w, &ref, err);
	oci_layer_writer_free(ctx.w);
	if (r < 0)
		return r;
	*ret = ref;
	*ret_events = ctx.events;
	return 0;
}

int diff_flush_mount(struct snap_store *store, int64_t id, struct err *err)
{
	char *target cleanup_free = NULL;
	int fd cleanup_close = -1, r = snap_mounted_at(store, id, &target, err);

	if (r <= 0)
		return r;
	fd = open(target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && errno == ENOTCONN) /* dead: what it had is in the upper or lost */
		return 0;
	if (fd < 0) {
		/* somebody else's mount: what the kernel still holds cannot be asked for */
		log_warn(
			"cannot flush the mount at '%s': only what is written back is in the layer",
			target);
		return 0;
	}
	return syncfs(fd) < 0 ? err_set(err, -errno, "flush the mount at '%s'", target) : 0;
}

static int load(struct snap_store *store, const char *key, struct ovl_config *ret, struct err *err)
{
	struct snap_stack stack cleanup_snap_stack = {.dirs = NULL};
	struct snap_row row;
	int r = snap_row_find(store, key, &row, err);

	if (r < 0)
		return r;
	if (row.kind == SNAP_VIEW)
		return err_msg(err, -EBUSY, "snapshot '%s' is a view: it has no changes", key);
	r = snap_stack_load(store, &row, &stack, err);
	if (r == 0)
		r = diff_flush_mount(store, row.id, err);
	return r < 0 ? r : snap_stack_config(store, &stack, 0, row.id, ret, err);
}

int snap_diff(struct snap_store *store, const char *key, int fd,
	      const struct snap_layer_options *opt, struct oci_layer_ref *ret, struct err *err)
{
	struct ovl_config c CLEANUP(ovl_config_release) = OVL_CONFIG_INIT;
	struct oci_layer_ref ref;
	uint64_t events;
	int r = load(store, key, &c, err);

	if (r == 0)
		r = diff_write(&c, fd, opt, &ref, &events, err);
	if (r < 0)
		return err_wrap(err, r, "diff '%s'", key);
	if (ret)
		*ret = ref;
	return 0;
}

int snap_diff_list(struct snap_store *store, const char *key, ovl_change_fn fn, void *ctx,
		   struct err *err)
{
	struct ovl_changes_options opt = {.expand_opaque = true};
	struct ovl_config c CLEANUP(ovl_config_release) = OVL_CONFIG_INIT;
	int r = load(store, key, &c, err);

	if (r == 0)
		r = ovl_changes_walk(&c, &opt, fn, ctx, err);
	return r < 0 ? err_wrap(err, r, "diff '%s'", key) : r;
}
