/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/fsck.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "snapshotter/fsck_private.h"
#include "snapshotter/gc.h"

void fsck_names_release(struct fsck_names *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->names[i]);
	free(l->names);
	l->names = NULL;
	l->n = 0;
}

int fsck_report(struct fsck *f, enum snap_fsck_severity severity, const char *kind,
		const char *name, struct err *err, const char *fmt, ...)
{
	struct snap_fsck_finding finding = {.severity = severity, .kind = kind, .name = name};
	char what[600];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	finding.what = what;
	f->result.broken += severity == SNAP_FSCK_BROKEN;
	f->result.repaired += severity == SNAP_FSCK_REPAIRED;
	f->result.leftover += severity == SNAP_FSCK_LEFTOVER;
	return f->fn ? f->fn(f->ctx, &finding, err) : 0;
}

static int add_name(struct fsck_names *l, char *name)
{
	char **p = name ? reallocarray(l->names, l->n + 1, sizeof(*p)) : NULL;

	if (!p) {
		free(name);
		return -ENOMEM;
	}
	l->names = p;
	p[l->n++] = name;
	return 0;
}

int fsck_select(struct fsck *f, const char *sql, const char *arg, struct fsck_names *ret,
		struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	int r = arg ? db_query(f->store->db, sql, DB_ARGS(db_text(arg)), &rows, err)
		    : db_query(f->store->db, sql, DB_NONE, &rows, err);

	while (r >= 0 && (r = db_next(rows, err)) > 0) {
		if (db_col_null(rows, 0))
			continue;
		if (add_name(ret, db_col_dup(rows, 0)) < 0)
			return err_set(err, -ENOMEM, "fsck");
	}
	return r;
}

int fsck_manifest(struct fsck *f, const char *digest, struct err *err)
{
	struct oci_image *image cleanup_oci_image = NULL;
	struct snap_layer_info *layers cleanup_free = NULL;
	struct err why = ERR_INIT;
	struct digest d;
	size_t n = 0;
	int r;

	f->result.checked++;
	if (digest_parse(digest, &d) < 0)
		return fsck_report(f, SNAP_FSCK_BROKEN, "manifest", digest, err,
				   "this is no digest");
	r = snap_image_load(f->store, &d, &image, &why);
	if (r == 0)
		r = snap_image_layers(f->store, &d, &layers, &n, &why);
	if (r < 0)
		return fsck_report(f, SNAP_FSCK_BROKEN, "manifest", digest, err,
				   "%.400s; pull it again", why.msg);
	for (size_t i = 0; i < n && n == image->n_layers; i++) {
		if (!digest_equal(&layers[i].blob, &image->layers[i].desc.digest) ||
		    !digest_equal(&layers[i].diff_id, &image->layers[i].diff_id))
			n = SIZE_MAX; /* reported below */
	}
	if (n != image->n_layers)
		return fsck_report(
			f, SNAP_FSCK_BROKEN, "manifest", digest, err,
			"the database has other layers for it; 'snap rmi' and pull it again");
	return 0;
}

static int check_folder(struct fsck *f, const char *key, int64_t id, const char *name,
			unsigned int mode, bool can_make, struct err *err)
{
	char path[STORE_PATH_MAX];
	int r;

	store_snapshot_path(id, name, path);
	if (faccessat(f->store->root_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	if (!can_make || !f->repair)
		return fsck_report(f, SNAP_FSCK_BROKEN, "snapshot", key, err, "'%s' is missing%s",
				   path,
				   can_make ? "" : ": what was written is lost; 'snap rm' it");
	r = store_mkdir(f->store->root_fd, path, mode);
	return r < 0 ? err_set(err, r, "make '%s'", path)
		     : fsck_report(f, SNAP_FSCK_REPAIRED, "snapshot", key, err, "'%s' was missing",
				   path);
}

int fsck_snapshot(struct fsck *f, const char *key, struct err *err)
{
	struct snap_stack stack cleanup_snap_stack = {.dirs = NULL};
	struct err why = ERR_INIT;
	struct snap_row row;
	int r = snap_row_find(f->store, key, &row, err);

	if (r < 0) /* removed meanwhile */
		return r == -ENOENT ? 0 : r;
	f->result.checked++;
	r = check_folder(f, key, row.id, NULL, 0700, row.kind == SNAP_VIEW, err);
	if (r == 0 && row.kind != SNAP_VIEW)
		r = check_folder(f, key, row.id, "upper", 0755, false, err);
	if (r == 0 && row.kind == SNAP_ACTIVE)
		r = check_folder(f, key, row.id, "work", 0700, true, err);
	if (r != 0)
		return r;
	r = snap_stack_load(f->store, &row, &stack, &why);
	return r < 0 ? fsck_report(f, SNAP_FSCK_BROKEN, "snapshot", key, err, "%.400s", why.msg)
		     : 0;
}

typedef int (*check_fn)(struct fsck *f, const char *name, struct err *err);

static int check_all(struct fsck *f, const char *sql, const char *arg, check_fn fn, struct err *err)
{
	struct fsck_names names CLEANUP(fsck_names_release) = {.n = 0};
	int r = fsck_select(f, sql, arg, &names, err);

	for (size_t i = 0; i < names.n && r == 0; i++)
		r = fn(f, names.names[i], err);
	return r;
}

/* Blobs before layers before chains: what is repaired is made of what was found good. */
static int check_image(struct fsck *f, const char *manifest, struct err *err)
{
	int r = check_all(f, "SELECT blob FROM manifest_layers WHERE manifest = ?", manifest,
			  fsck_blob, err);

	if (r == 0)
		r = check_all(f, "SELECT layer FROM manifest_layers WHERE manifest = ?", manifest,
			      fsck_layer, err);
	if (r == 0)
		r = check_all(f, "SELECT chain FROM manifests WHERE digest = ?", manifest,
			      fsck_chain, err);
	return r == 0 ? fsck_manifest(f, manifest, err) : r;
}

static int check_ancestors(struct fsck *f, const char *key, struct err *err)
{
	static const char sql[] = "WITH RECURSIVE up(id) AS (SELECT id FROM snapshots WHERE key = "
				  "CAST(? AS BLOB) UNION"
				  " SELECT s.parent FROM snapshots s JOIN up ON s.id = up.id WHERE "
				  "s.parent IS NOT NULL)"
				  " SELECT key FROM snapshots WHERE id IN up";
	static const char manifests[] =
		"WITH RECURSIVE up(id) AS (SELECT id FROM snapshots WHERE key = CAST(? AS BLOB) "
		"UNION"
		" SELECT s.parent FROM snapshots s JOIN up ON s.id = up.id WHERE s.parent IS NOT "
		"NULL)"
		" SELECT manifest FROM snapshots WHERE id IN up AND manifest IS NOT NULL";
	int r = check_all(f, sql, key, fsck_snapshot, err);

	return r == 0 ? check_all(f, manifests, key, check_image, err) : r;
}

/* A digest: of a manifest, a blob, or a layer's tar. */
static int check_digest(struct fsck *f, const struct digest *d, const char *name, struct err *err)
{
	uint64_t before = f->result.checked;
	int r = check_all(f, "SELECT digest FROM manifests WHERE digest = ?", d->text, check_image,
			  err);

	if (r == 0)
		r = check_all(f, "SELECT digest FROM layer_blobs WHERE digest = ?", d->text,
			      fsck_blob, err);
	if (r == 0)
		r = check_all(f,
			      "SELECT id FROM layers WHERE diff_id = ?1 OR id IN"
			      " (SELECT layer FROM layer_blobs WHERE digest = ?1)",
			      d->text, fsck_layer, err);
	if (r == 0 && f->result.checked == before)
		r = err_msg(err, -ENOENT, "no manifest, blob or layer '%s'", name);
	return r;
}

static int check_name(struct fsck *f, const char *name, struct err *err)
{
	struct snap_image_info info cleanup_snap_image_info = {.ref = NULL};
	struct snap_row row;
	struct digest d;

	if (digest_parse(name, &d) == 0)
		return check_digest(f, &d, name, err);
	if (snap_row_find(f->store, name, &row, NULL) == 0)
		return check_ancestors(f, name, err);
	if (snap_image_find(f->store, name, &info, NULL) == 0)
		return check_image(f, info.manifest.text, err);
	return err_msg(err, -ENOENT, "'%s' is no snapshot, image or digest", name);
}

static int leftover(void *ctx, const struct snap_gc_item *item, struct err *err)
{
	if (strcmp(item->kind, "snapshot") != 0)
		return 0; /* what rmi left is no finding */
	return fsck_report(ctx, SNAP_FSCK_LEFTOVER, "snapshot", item->name, err,
			   "a folder without a row, %s; 'snap gc' removes it", item->why);
}

static int check_everything(struct fsck *f, struct err *err)
{
	struct err why = ERR_INIT;
	int r = db_check(f->store->db, &why);

	f->result.checked++;
	if (r == -EUCLEAN)
		r = fsck_report(f, SNAP_FSCK_BROKEN, "database", "meta.db", err, "%s", why.msg);
	else if (r < 0)
		return err_msg(err, r, "%s", why.msg);
	if (r == 0)
		r = check_all(
			f,
			"SELECT digest FROM layer_blobs UNION SELECT digest FROM manifests UNION"
			" SELECT config FROM manifests",
			NULL, fsck_blob, err);
	if (r == 0)
		r = check_all(f, "SELECT id FROM layers", NULL, fsck_layer, err);
	if (r == 0)
		r = check_all(f, "SELECT id FROM chains", NULL, fsck_chain, err);
	if (r == 0)
		r = check_all(f, "SELECT digest FROM manifests", NULL, fsck_manifest, err);
	if (r == 0)
		r = check_all(f, "SELECT key FROM snapshots", NULL, fsck_snapshot, err);
	return r;
}

int snap_fsck(struct snap_store *store, char *const *names, size_t n_names, unsigned int flags,
	      snap_fsck_fn fn, void *ctx, struct snap_fsck_result *ret, struct err *err)
{
	struct fsck f = {.store = store, .repair = flags & SNAP_FSCK_REPAIR, .fn = fn, .ctx = ctx};
	struct snap_gc_result ignored;
	/* nothing is collected while we look; nothing is brought in while we repair */
	int lock cleanup_close = store_lock(store, "gc", f.repair ? LOCK_EX : LOCK_SH, err), r = 0;

	if (lock < 0)
		return lock;
	if (n_names == 0)
		r = check_everything(&f, err);
	for (size_t i = 0; i < n_names && r == 0; i++)
		r = check_name(&f, names[i], err);
	closep(&lock);
	if (r == 0 && n_names == 0)
		r = snap_gc(store, SNAP_GC_DRY_RUN, leftover, &f, &ignored, err);
	if (r < 0)
		return err_wrap(err, r, "fsck");
	*ret = f.result;
	return r;
}
