/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/remote.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "oci/document.h"
#include "snapshotter/import.h"
#include "snapshotter/snapshot_private.h"

#define LAYERS_MAX 4096 /* of an image; more than any has */

struct stack_of { /* the first layers of an image, from the bottom */
	struct digest *diff_ids;
	struct import_layer *layers;
	size_t n;
};

static void stack_of_release(struct stack_of *s)
{
	free(s->diff_ids);
	free(s->layers);
}

static int push(struct stack_of *s, struct db_rows *rows, struct err *err)
{
	struct digest *d = reallocarray(s->diff_ids, s->n + 1, sizeof(*d));
	struct import_layer *l;
	const char *id = db_col_text(rows, 1), *diff_id = db_col_text(rows, 2);

	if (d)
		s->diff_ids = d;
	l = reallocarray(s->layers, s->n + 1, sizeof(*l));
	if (l)
		s->layers = l;
	if (!d || !l)
		return err_set(err, -ENOMEM, "layers");
	if (s->n == LAYERS_MAX || !id || strlen(id) != 64 || !diff_id ||
	    digest_parse(diff_id, &d[s->n]) < 0)
		return err_msg(err, -EUCLEAN, "a layer's row that is none");
	memset(&l[s->n], 0, sizeof(*l));
	memcpy(l[s->n].id, id, 65);
	s->n++;
	return 0;
}

/* 1: these layers are the chain. */
static int is_chain(const struct stack_of *s, const char *ref, struct err *err)
{
	struct digest chain;
	int r = oci_chain_id(s->diff_ids, s->n, &chain);

	return r < 0 ? err_set(err, r, "chain id") : strcmp(chain.text, ref) == 0;
}

/*
 * 1: @ret has the layers of the chain, all of which are in the store; lazy ones are: what merges
 * and mounts them needs their indexes, and what is read comes then.
 */
static int find_layers(struct snap_store *store, const char *ref, struct stack_of *ret,
		       struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	char manifest[DIGEST_TEXT_MAX + 1] = "";
	int r = db_query(store->db,
			 "SELECT m.manifest, l.id, l.diff_id FROM manifest_layers m JOIN layers l"
			 " ON l.id = m.layer ORDER BY m.manifest, m.pos",
			 DB_NONE, &rows, err);

	while (r >= 0 && (r = db_next(rows, err)) > 0) {
		const char *of = db_col_text(rows, 0);

		if (!of || strcmp(of, manifest) != 0) {
			(void)snprintf(manifest, sizeof(manifest), "%s", of ? of : "");
			ret->n = 0;
		}
		r = push(ret, rows, err);
		if (r == 0)
			r = is_chain(ret, ref, err);
		if (r != 0)
			return r;
	}
	return r;
}

/* 1: a committed snapshot with this label stands on this parent already. */
static int find_snapshot(struct snap_store *store, const char *ref, int64_t parent, struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	int r = db_query(store->db,
			 "SELECT 1 FROM snapshots s JOIN labels l ON l.snapshot = s.id WHERE"
			 " l.key = ? AND l.value = ? AND s.kind = ? AND coalesce(s.parent, 0) = ?"
			 " AND s.owner IS ? LIMIT 1",
			 DB_ARGS(db_blob(SNAP_LABEL_REF, strlen(SNAP_LABEL_REF)),
				 db_blob(ref, strlen(ref)), db_int(SNAP_COMMITTED), db_int(parent),
				 db_text(store->owner)),
			 &rows, err);

	return r < 0 ? r : db_next(rows, err);
}

struct remote {
	const char *ref;
	int64_t parent;
	char chain[65];
	const struct snap_label *labels;
	size_t n_labels;
};

static int insert(struct store_tmp *t, const struct remote *q, struct err *err)
{
	struct snap_store *store = t->store;
	unsigned char random[8];
	char key[192], path[STORE_PATH_MAX];
	int64_t now = store_now(), id;
	int r;

	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return err_set(err, -errno, "random number");
	(void)snprintf(key, sizeof(key), "remote/%02x%02x%02x%02x%02x%02x%02x%02x %.140s",
		       random[0], random[1], random[2], random[3], random[4], random[5], random[6],
		       random[7], q->ref);
	/* batch 0: it has no inode numbers because it has no files (stack.c) */
	r = db_run(store->db,
		   "INSERT INTO snapshots (key, kind, parent, chain, created, updated, batch,"
		   " owner) VALUES (?, ?, ?, ?, ?, ?, 0, ?)",
		   DB_ARGS(db_blob(key, strlen(key)), db_int(SNAP_COMMITTED),
			   q->parent ? db_int(q->parent) : db_text(NULL), db_text(q->chain),
			   db_int(now), db_int(now), db_text(store->owner)),
		   err);
	if (r < 0)
		return r;
	id = db_last_id(store->db);
	r = snap_labels_write(store, id, q->labels, q->n_labels, err);
	store_snapshot_path(id, NULL, path);
	if (r == 0)
		r = store_discard(store, path, err); /* of a killed prepare */
	return r < 0 ? r : store_publish(t, "s", path, err);
}

static int make(struct snap_store *store, struct remote *q, const struct stack_of *s,
		struct err *err)
{
	struct store_tmp t cleanup_store_tmp = STORE_TMP_INIT;
	uint64_t inodes = 0;
	int r = chain_build(store, s->diff_ids, s->layers, s->n, q->chain, &inodes, err);

	if (r == 0)
		r = store_tmp_new(store, &t, err);
	if (r == 0) {
		r = store_mkdir(t.fd, "s", 0700);
		if (r == 0)
			r = store_mkdir(t.fd, "s/upper", 0755);
		if (r < 0)
			(void)err_set(err, r, "make the snapshot's folder");
	}
	if (r == 0)
		r = db_begin(store->db, err);
	if (r < 0)
		return r;
	r = find_snapshot(store, q->ref, q->parent, err);
	if (r == 0) {
		r = chain_insert(store->db, q->chain, inodes, s->layers, s->n, err);
		if (r == 0)
			r = insert(&t, q, err);
		if (r == 0)
			r = db_commit(store->db, err);
	}
	db_rollback(store->db);
	return r < 0 ? r : 1;
}

int snap_remote(struct snap_store *store, const char *parent, const struct snap_label *labels,
		size_t n_labels, struct err *err)
{
	struct remote q = {.labels = labels, .n_labels = n_labels};
	struct stack_of s CLEANUP(stack_of_release) = {.n = 0};
	struct snap_row row;
	struct digest digest;
	int lock cleanup_close = -1, r;

	for (size_t i = 0; i < n_labels; i++) {
		if (strcmp(labels[i].key, SNAP_LABEL_REF) == 0)
			q.ref = labels[i].value;
	}
	if (!q.ref || digest_parse(q.ref, &digest) < 0)
		return 0;
	r = snap_labels_check(labels, n_labels, err);
	if (r == 0 && parent && parent[0]) {
		/* what is wrong with it the prepare says */
		if (snap_row_find(store, parent, &row, NULL) < 0 || row.kind != SNAP_COMMITTED)
			return 0;
		q.parent = row.id;
	}
	if (r == 0)
		r = find_snapshot(store, q.ref, q.parent, err);
	if (r != 0)
		return r;
	lock = store_lock(store, "gc", LOCK_SH, err); /* layers that were found stay */
	r = lock < 0 ? lock : find_layers(store, q.ref, &s, err);
	if (r > 0)
		r = make(store, &q, &s, err);
	return r < 0 ? err_wrap(err, r, "snapshot of chain '%.100s'", q.ref) : r;
}
