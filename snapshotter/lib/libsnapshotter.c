/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/lib/libsnapshotter.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "snapshotter/diff.h"
#include "snapshotter/image.h"
#include "snapshotter/mount.h"
#include "snapshotter/pull.h"

/* The public face: what is behind it may change, what is here may only grow. */

struct snapshotter {
	struct snap_store *store;
	struct err err;
	char line[sizeof(((struct err *)0)->where) + sizeof(((struct err *)0)->msg) + 3];
};

#define TEXT_OF(x) #x
#define TEXT(x)	   TEXT_OF(x)

const char *snapshotter_version(void)
{
	return TEXT(SNAPSHOTTER_VERSION_MAJOR) "." TEXT(SNAPSHOTTER_VERSION_MINOR);
}

struct snapshotter *snapshotter_new(void)
{
	log_set_level(LOG_ERROR); /* standard error is the program's */
	return calloc(1, sizeof(struct snapshotter));
}

void snapshotter_free(struct snapshotter *s)
{
	if (s)
		snap_store_close(s->store);
	free(s);
}

const char *snapshotter_error(const struct snapshotter *s)
{
	return s ? s->line : "out of memory";
}

const char *snapshotter_hint(const struct snapshotter *s)
{
	return s ? s->err.hint : "";
}

/* Forgets the last failure. @text NULL: this call needs no store. */
static int begin(struct snapshotter *s, const char *text)
{
	if (!s)
		return -EINVAL;
	s->err = (struct err)ERR_INIT;
	if (s->store && text)
		return 0;
	return err_msg(&s->err, -EINVAL, "%s",
		       text ? "the store is not open" : "an argument is missing");
}

/* Every function ends with it: the message as one line. */
static int end(struct snapshotter *s, int r)
{
	if (!s || r >= 0)
		return r;
	if (s->err.code == 0)
		(void)err_set(&s->err, r, "failed");
	(void)snprintf(s->line, sizeof(s->line), "%s%s%s", s->err.where,
		       s->err.where[0] ? ": " : "", s->err.msg);
	return r;
}

static int copy_text(struct snapshotter *s, const char *text, char **ret)
{
	char *copy;

	if (!ret)
		return 0;
	copy = strdup(text);
	if (!copy)
		return err_set(&s->err, -ENOMEM, "result");
	*ret = copy;
	return 0;
}

int snapshotter_open(struct snapshotter *s, const char *root)
{
	if (!s)
		return -EINVAL;
	s->err = (struct err)ERR_INIT;
	if (s->store)
		return end(s, err_msg(&s->err, -EBUSY, "the store is open already"));
	return end(s, snap_store_open(root, &s->store, &s->err));
}

int snapshotter_pull(struct snapshotter *s, const char *source, const char *name, char **ret_ref)
{
	struct snap_pull_options opt = {.name = name};
	struct snap_pull_result result = {.ref = NULL};
	int r = begin(s, source);

	if (r == 0)
		r = snap_pull(s->store, source, &opt, &result, &s->err);
	if (r == 0 && ret_ref)
		*ret_ref = steal_ptr(&result.ref);
	free(result.ref);
	return end(s, r);
}

int snapshotter_push(struct snapshotter *s, const char *ref, const char *dest, char **ret_digest)
{
	struct snap_push_result result;
	int r = begin(s, ref && dest ? ref : NULL);

	if (r == 0)
		r = snap_push(s->store, ref, dest, NULL, &result, &s->err);
	if (r == 0)
		r = copy_text(s, result.manifest.text, ret_digest);
	return end(s, r);
}

int snapshotter_forget(struct snapshotter *s, const char *ref)
{
	int r = begin(s, ref);

	return end(s, r < 0 ? r : snap_image_remove(s->store, ref, &s->err));
}

static int make(struct snapshotter *s, enum snap_kind kind, const char *key, const char *parent)
{
	int r = begin(s, key);

	return end(s, r < 0 ? r : snap_prepare(s->store, kind, key, parent, NULL, 0, &s->err));
}

int snapshotter_prepare(struct snapshotter *s, const char *key, const char *parent)
{
	return make(s, SNAP_ACTIVE, key, parent);
}

int snapshotter_view(struct snapshotter *s, const char *key, const char *parent)
{
	return make(s, SNAP_VIEW, key, parent);
}

int snapshotter_commit(struct snapshotter *s, const char *name, const char *key)
{
	int r = begin(s, name && key ? key : NULL);

	if (r == 0)
		r = snap_commit(s->store, name, key, NULL, NULL, 0, SNAP_COMMIT_SYNC, &s->err);
	return end(s, r);
}

int snapshotter_remove(struct snapshotter *s, const char *key)
{
	int r = begin(s, key);

	return end(s, r < 0 ? r : snap_remove(s->store, key, 0, &s->err));
}

int snapshotter_commit_image(struct snapshotter *s, const char *ref, const char *key,
			     const struct snapshotter_commit_options *opt, char **ret_digest)
{
	struct snap_commit_options o = {.layer = {.compression = OCI_GZIP}};
	struct snapshotter_commit_options in = {.size = sizeof(in)};
	struct snap_commit_result result;
	int r = begin(s, ref && key ? key : NULL);

	/* the first release's struct is the smallest there is; of a larger one the rest is not
	 * known
	 */
	if (r == 0 && opt && opt->size < sizeof(in))
		r = err_msg(&s->err, -EINVAL, "commit options: the size is not set");
	if (r < 0)
		return end(s, r);
	if (opt)
		memcpy(&in, opt, sizeof(in));
	o.message = in.message;
	o.author = in.author;
	o.changes = in.changes;
	while (in.changes && in.changes[o.n_changes])
		o.n_changes++;
	o.layer.has_timestamp = in.has_timestamp != 0;
	o.layer.timestamp = in.timestamp;
	r = snap_commit_image(s->store, ref, key, &o, &result, &s->err);
	if (r == 0)
		r = copy_text(s, result.manifest.text, ret_digest);
	return end(s, r);
}

int snapshotter_mount(struct snapshotter *s, const char *key, const char *target,
		      const char *options)
{
	struct snap_mount_result result;
	int r = begin(s, key && target ? key : NULL);

	if (r == 0)
		r = snap_mount(s->store, key, target, SNAP_ENGINE_AUTO, options, &result, &s->err);
	return end(s, r);
}

int snapshotter_unmount(struct snapshotter *s, const char *what)
{
	int r = begin(s, what);

	return end(s, r < 0 ? r : snap_umount(s->store, what, &s->err));
}

int snapshotter_mounts(struct snapshotter *s, const char *key, char **ret_type, char **ret_source,
		       char **ret_options)
{
	struct snap_mount m cleanup_snap_mount = {.type = NULL};
	int r = begin(s, ret_type && ret_source && ret_options ? key : NULL);

	if (r == 0)
		r = snap_mounts(s->store, key, &m, &s->err);
	if (r == 0)
		r = copy_text(s, m.type, ret_type);
	if (r == 0) {
		*ret_source = steal_ptr(&m.source);
		*ret_options = steal_ptr(&m.options);
	}
	return end(s, r);
}

int snapshotter_usage(struct snapshotter *s, const char *key, uint64_t *ret_bytes,
		      uint64_t *ret_inodes)
{
	struct snap_usage usage;
	int r = begin(s, key);

	if (r == 0)
		r = snap_usage(s->store, key, &usage, &s->err);
	if (r == 0 && ret_bytes)
		*ret_bytes = usage.size;
	if (r == 0 && ret_inodes)
		*ret_inodes = usage.inodes;
	return end(s, r);
}

/* What a caller's function returned is not a failure of ours, whatever its sign. */
struct each {
	snapshotter_each_fn snapshot;
	snapshotter_image_fn image;
	void *ctx;
	int returned;
};

static int each_snapshot(void *ctx, const struct snap_info *info, struct err *err)
{
	struct each *e = ctx;

	(void)err;
	e->returned = e->snapshot(e->ctx, info->key, snap_kind_name(info->kind), info->parent);
	return e->returned != 0;
}

int snapshotter_each(struct snapshotter *s, snapshotter_each_fn fn, void *ctx)
{
	struct each e = {.snapshot = fn, .ctx = ctx};
	int r = begin(s, fn ? "" : NULL);

	if (r == 0)
		r = snap_walk(s->store, NULL, each_snapshot, &e, &s->err);
	return e.returned ? e.returned : end(s, r);
}

static int each_image(void *ctx, const struct snap_image_info *info, struct err *err)
{
	struct each *e = ctx;

	(void)err;
	e->returned = e->image(e->ctx, info->ref, info->manifest.text, info->size);
	return e->returned != 0;
}

int snapshotter_each_image(struct snapshotter *s, snapshotter_image_fn fn, void *ctx)
{
	struct each e = {.image = fn, .ctx = ctx};
	int r = begin(s, fn ? "" : NULL);

	if (r == 0)
		r = snap_image_walk(s->store, each_image, &e, &s->err);
	return e.returned ? e.returned : end(s, r);
}
