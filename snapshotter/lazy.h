/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/err.h"
#include "oci/source.h"
#include "snapshotter/store.h"

/*
 * lazy - layers whose contents come when they are needed (docs/ARCHITECTURE.md, "Lazy layers").
 * A lazy layer's folder has, beside `index` and a sparse `data`: `spans`, `present` (the map of
 * what is there), `blob` (as sparse, the bytes as they came) and `source` (where from). It is
 * filled by one process a store, the filler (filler.h); everybody else asks that one.
 */
struct lazy_layer;

/* What is known of a lazy layer without opening it for filling. */
struct lazy_status {
	uint64_t size,
		fetched; /* of the blob: all, and what has been fetched and verified; bytes */
	uint64_t spans, present;
	bool condemned;
};
/* 1: it is lazy; 0: complete, or not there at all. */
int lazy_status(struct snap_store *store, const char *id, struct lazy_status *ret, struct err *err)
	__attribute__((warn_unused_result));
/* Of all layers of a chain: bytes of blobs. A complete layer's are there. */
struct lazy_progress {
	uint64_t needed, fetched;
	size_t layers; /* that are lazy */
	/* Of a snapshot's: that were fetched whole although they were to be lazy; why the lowest
	 * was. */
	size_t whole;
	char why[256];
};
/* 1: the blob is the one of a layer that is lazy. */
int lazy_blob_is_to_come(struct snap_store *store, const struct digest *blob, struct err *err)
	__attribute__((warn_unused_result));
int lazy_chain_progress(struct snap_store *store, const char *chain, struct lazy_progress *ret,
			struct err *err) __attribute__((warn_unused_result));

/* The same of what the snapshot @key stands on; nothing when that is no image. -ENOENT. */
int lazy_snapshot_progress(struct snap_store *store, const char *key, struct lazy_progress *ret,
			   struct err *err) __attribute__((warn_unused_result));
/* The kernel reads the files themselves and nobody is asked: -EOPNOTSUPP when one is lazy. */
int lazy_refuse_kernel(struct snap_store *store, const char *chain, struct err *err)
	__attribute__((warn_unused_result));

/*
 * What fsck does: each span that is said to be there against its digest, and the files against each
 * other. @ret_bad: that do not hold; @repair: they are taken out of the map. -EUCLEAN, -EBADMSG:
 * the files themselves are damaged.
 */
int lazy_check(struct snap_store *store, const char *id, bool repair, size_t *ret_bad,
	       struct err *err) __attribute__((warn_unused_result));

/* For the filler alone. -ENOENT: it is not lazy (any more). Returns owned. */
int lazy_layer_open(struct snap_store *store, const char *id, struct lazy_layer **ret,
		    struct err *err) __attribute__((warn_unused_result));
void lazy_layer_close(struct lazy_layer *l); /* NULL is fine */
const char *lazy_layer_id(const struct lazy_layer *l);
uint64_t lazy_layer_size(const struct lazy_layer *l); /* of the tar */
/* Is its folder still in the store? */
bool lazy_layer_is_there(const struct lazy_layer *l);
/*
 * Has the bytes [off, off + len) of the tar there, from any number of threads: who wants a span
 * that another one brings waits for it. Tries for @seconds. -EIO and others, with layer, span and
 * source.
 */
int lazy_layer_fill(struct lazy_layer *l, uint64_t off, uint64_t len, unsigned int seconds,
		    struct err *err) __attribute__((warn_unused_result));
/*
 * The first bytes that are missing, a span or more, at most @max bytes of blob: returns how many of
 * the blob it takes, 0: nothing is missing.
 */
uint64_t lazy_layer_missing(struct lazy_layer *l, uint64_t max, uint64_t *ret_off,
			    uint64_t *ret_len);
/* What a reader misses of [@off, @off + @len) of the tar, beside what is here. */
enum lazy_miss {
	LAZY_COMES, /* nothing, or somebody brings what comes next */
	LAZY_FOLLOWS, /* what lies behind what is here: it reads in the order of the tar */
	LAZY_JUMPS,
};
enum lazy_miss lazy_layer_look(struct lazy_layer *l, uint64_t off, uint64_t len);
/* Where the spans end that start at @off and have at most @max bytes of blob together; at least
 * one. */
uint64_t lazy_layer_piece(const struct lazy_layer *l, uint64_t off, uint64_t max);
/*
 * Everything is there: verifies the tar as a whole, the index against what the tar gives, and the
 * blob, and makes it an ordinary layer. -EUCLEAN: it is not what it said, nothing of it is read any
 * more. @store: of this thread.
 */
int lazy_layer_finish(struct lazy_layer *l, struct snap_store *store, struct err *err)
	__attribute__((warn_unused_result));
/*
 * A pull brought the whole tar and the blob: gives the lazy layer its bytes, for those who have it
 * mounted too, and makes it an ordinary one but for its row.
 */
int lazy_layer_adopt(struct snap_store *store, const char *id, int data_fd, struct err *err)
	__attribute__((warn_unused_result));

/* What is of no use in the folder @dir of a layer that is not lazy any more. */
void lazy_drop_rest(int dir);

/* Where a lazy layer's bytes come from: text of the file `source`. */
struct lazy_source {
	const char *spec; /* as the pull had it, with an absolute path */
	const char
		*authfile; /* the same; NULL: the usual ones. Credentials themselves are not kept */
	bool insecure;
};
struct oci_layer_ref;
int lazy_source_write(int dir, const struct oci_layer_ref *layer, const struct lazy_source *s,
		      struct err *err) __attribute__((warn_unused_result));
