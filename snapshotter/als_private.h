/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <sys/stat.h>

#include "base/digest.h"
#include "overlay/idmap.h"
#include "overlay/lower.h"
#include "snapshotter/store_private.h"

/*
 * Where a layer is: the @pos-th (from the bottom, 0) of a manifest. Found by what podman calls it;
 * while it is in use, it stays the same one.
 */
struct als_place {
	struct digest manifest;
	size_t pos;
	struct digest blob, diff_id;
	char layer[65]; /* folder */
	uint64_t blob_size, tar_size;
};

/*
 * An opened layer, and those below it: what it says only by them - hard links to their files,
 * directories that no member of its tar has - is looked up there. Does not change: any thread.
 */
struct als_layer;
struct als_layers; /* those that are open: any thread */

struct als_ids { /* how owners are shown */
	struct ovl_idmap uids, gids;
	bool mapped;
};

struct als_layers *als_layers_new(const char *root, const struct als_ids *ids);
void als_layers_free(struct als_layers *a); /* no layer of it may be open */
/* @ids: folders of the layers, lowest first. */
int als_layer_open(struct als_layers *a, const char (*ids)[65], size_t n, struct als_layer **ret,
		   struct err *err) __attribute__((warn_unused_result));
void als_layer_close(struct als_layer *l); /* NULL is fine */

/* Objects are numbers, below 2^32. Whiteouts are character devices 0:0. */
uint64_t als_layer_root(const struct als_layer *l);
/* -ENOENT, -ENOTDIR. */
int als_layer_lookup(const struct als_layer *l, uint64_t dir, const char *name, uint64_t *ret)
	__attribute__((warn_unused_result));
/* st_ino is @nid; owners as they are shown. */
int als_layer_stat(const struct als_layer *l, uint64_t nid, struct stat *ret)
	__attribute__((warn_unused_result));
/* As erofs_image_readdir() has it. */
typedef int (*als_dir_fn)(void *ctx, const char *name, uint64_t nid, unsigned int type,
			  uint64_t next);
int als_layer_readdir(const struct als_layer *l, uint64_t dir, uint64_t pos, als_dir_fn fn,
		      void *ctx) __attribute__((warn_unused_result));
/* As readlink(2), getxattr(2), listxattr(2). */
ssize_t als_layer_readlink(const struct als_layer *l, uint64_t nid, char *buf, size_t size);
ssize_t als_layer_getxattr(const struct als_layer *l, uint64_t nid, const char *name, void *buf,
			   size_t size);
ssize_t als_layer_listxattr(const struct als_layer *l, uint64_t nid, char *buf, size_t size);
int als_layer_data(const struct als_layer *l, uint64_t nid, struct ovl_data *ret)
	__attribute__((warn_unused_result));
/* Which owners occur, in order, without repeats; borrowed. */
size_t als_layer_uids(const struct als_layer *l, const uint32_t **ret);
size_t als_layer_gids(const struct als_layer *l, const uint32_t **ret);

/* -ENOENT: no image has it. @ref: NULL for none; one that is not known says nothing. */
int als_find(struct snap_store *store, const char *ref, const struct digest *blob,
	     struct als_place *ret, struct err *err) __attribute__((warn_unused_result));
/* Folders of the layers up to @place, lowest first; free() @ret. */
int als_stack(struct snap_store *store, const struct als_place *place, char (**ret)[65],
	      size_t *ret_n, struct err *err) __attribute__((warn_unused_result));
/* One use more, or one less: what nobody uses is forgotten. */
int als_use(struct snap_store *store, const char *ref, const struct digest *blob, bool more,
	    struct err *err) __attribute__((warn_unused_result));
struct strbuf;
/* `info`. */
int als_info(struct snap_store *store, const struct als_place *place, const struct als_layer *l,
	     struct strbuf *ret, struct err *err) __attribute__((warn_unused_result));
/* Opens `blob`; a lazy layer is fetched whole first. -ENOENT: the store has the tar only. */
int als_blob(struct snap_store *store, const struct als_place *place, int *ret, struct err *err)
	__attribute__((warn_unused_result));
/* Is there one? */
bool als_has_blob(struct snap_store *store, const struct als_place *place);

/* Mounts and answers until the end; @ready is called when the mount is live. als_session.c */
int als_session_run(struct snap_store *store, const char *mountpoint, const struct als_ids *ids,
		    int (*ready)(void *ctx, struct err *err), void *ctx, struct err *err)
	__attribute__((warn_unused_result));
