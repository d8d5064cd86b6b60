/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/err.h"
#include "overlay/real.h"
#include "overlay/sys.h"

/*
 * lower - read-only layers. Two kinds behind one table of operations: a
 * directory (lower_dir.c) and an EROFS index with its data files
 * (lower_index.c).
 *
 *	r = ovl_layer_open("/a/lower", cache, &layer, err);
 *	r = ovl_lower_lookup(layer->root, "etc", &found);
 *	... found.obj, found.st ...
 *	ovl_found_release(&found);
 *
 * Marks of a union are resolved here: what comes out is a plain object, "not
 * there", or "not there, and do not look further down". Nothing of a layer
 * changes while it is open: any thread, no locks.
 */
struct ovl_layer;

struct ovl_obj {
	struct ovl_layer *layer;
	atomic_uint refs;
	union {
		uint64_t nid; /* index */
		struct {
			struct ovl_obj *parent; /* directory: a reference; NULL for the root */
			char *name;
		};
	};
};

enum ovl_found_flags {
	OVL_FOUND_WHITEOUT = 1 << 0, /* the name ends here; ->obj is NULL */
	OVL_FOUND_OPAQUE = 1 << 1, /* a directory that hides what lower layers have */
	OVL_FOUND_METACOPY = 1 << 2, /* a file whose data are in a layer below */
};

struct ovl_found {
	struct ovl_obj *obj; /* owned */
	struct stat st; /* st_ino: the layer's own number; st_nlink as in the layer */
	char *redirect; /* owned; where lower layers have this directory, or this file's data;
			   NULL: under the same name */
	uint64_t origin; /* ->frozen layer: the number that it was given; 0: none */
	unsigned int flags;
};
#define OVL_FOUND_INIT                                                                             \
	{                                                                                          \
		.obj = NULL                                                                        \
	}
void ovl_found_release(struct ovl_found *f);
#define cleanup_found __attribute__((cleanup(ovl_found_release)))

struct ovl_lower_entry {
	const char *name; /* NUL-terminated */
	uint64_t ino; /* the layer's own number */
	uint64_t next; /* position behind the entry */
	uint64_t origin; /* as in struct ovl_found */
	unsigned int type; /* DT_ */
	bool whiteout; /* the name is hidden in lower layers */
};
typedef int (*ovl_lower_dir_fn)(void *ctx, const struct ovl_lower_entry *e);

/* Where the bytes of a regular file are. */
struct ovl_data {
	int fd; /* -1: all zeros */
	bool owned; /* close fd */
	uint64_t off; /* of the file's first byte in fd */
	uint64_t size; /* of the file */
	const char
		*tag; /* the layer's, sha256 of its tar, borrowed of the layer; NULL: it has none */
	struct ovl_lazy *lazy; /* what @fd has may have to be fetched first: borrowed; NULL: no */
};
/* Bytes of a file that are about to be read from d->fd: 0 when they are there. -EIO. */
int ovl_data_need(const struct ovl_data *d, uint64_t off, uint64_t len) OVL_MUST;
void ovl_data_release(struct ovl_data *d);

struct ovl_layer_ops {
	int (*lookup)(struct ovl_obj *dir, const char *name, struct ovl_found *ret);
	int (*stat)(struct ovl_obj *o, struct stat *ret);
	int (*readdir)(struct ovl_obj *dir, uint64_t pos, ovl_lower_dir_fn fn, void *ctx);
	ssize_t (*readlink)(struct ovl_obj *o, char *buf, size_t size);
	ssize_t (*getxattr)(struct ovl_obj *o, const char *name, void *buf, size_t size);
	ssize_t (*listxattr)(struct ovl_obj *o, char *buf, size_t size);
	int (*open)(struct ovl_obj *o, struct ovl_data *ret);
	/* NULL where objects have no flags */
	int (*fileattr)(struct ovl_obj *o, unsigned int cmd, void *data);
	uint64_t (*attributes)(struct ovl_obj *o); /* as statx(2) */
	int (*statvfs)(struct ovl_layer *l, struct statvfs *ret);
	void (*release)(struct ovl_obj *o); /* the last reference is gone */
	void (*close)(struct ovl_layer *l);
};

struct ovl_layer {
	const struct ovl_layer_ops *ops;
	struct ovl_obj *root;
	struct ovl_real_cache *fds; /* borrowed */
	unsigned int height; /* layers below it, set by the owner of the stack */
	unsigned int batch; /* of its inode numbers, the same */
	/*
	 * directory: the upper of this very overlay until another was put on top (overlay/push.h):
	 * what its marks say of numbers and protection is believed. Set by the owner.
	 */
	bool frozen;
	int lock_fd; /* directory: holds a lock as long as the layer is open; -1: none */
	bool streams; /* readdir is cheap from any position, these are within st_size */
	const char *override; /* directory: the xattr that may have owners and modes; NULL: none */
	/*
	 * directory: the prefix of the marks that lead elsewhere (redirect, metacopy) and are
	 * believed. Static; set by the owner of the stack when it is not as ovl_marks_prefix()
	 * says.
	 */
	const char *marks;
	int fd; /* directory: the root */
	dev_t dev; /* directory: of the root */
	struct erofs_image *image; /* index */
	int *device_fds; /* index */
	struct ovl_lazy **lazies; /* index: of each device, NULL when it is complete */
	const char **tags; /* index: of each device, borrowed of ->image; NULL: a side file */
};

/* @path: a directory or an index file. @fds is borrowed for the layer's life. Returns owned. */
int ovl_layer_open(const char *path, struct ovl_real_cache *fds, struct ovl_layer **ret,
		   struct err *err) OVL_MUST;
/* The two kinds; @fd is taken. */
int ovl_layer_open_dir(int fd, struct ovl_layer *l, struct err *err) OVL_MUST;
int ovl_layer_open_index(int fd, const char *path, struct ovl_layer *l, struct err *err) OVL_MUST;
/*
 * "trusted.overlay." for root of the machine, "user.overlay." for everybody else. A mark that leads
 * elsewhere gives whoever may read the one place what is in the other: so it is only believed from
 * who could have read that anyway, which in the space of user.* is not so (the kernel's rule).
 */
const char *ovl_marks_prefix(void);
/* What a metacopy mark says: 1 that the data are below, 0 that it is none. -EIO: not understood. */
int ovl_metacopy_read(int fd, const char *name, const char *xattr) OVL_MUST;
/* Is there data in it that may have to be fetched first? */
bool ovl_layer_is_lazy(const struct ovl_layer *l);
void ovl_layer_close(struct ovl_layer *l); /* NULL is fine; no object of it may be left */

struct ovl_obj *ovl_obj_new(struct ovl_layer *l); /* one reference; NULL: no memory */
struct ovl_obj *ovl_obj_ref(struct ovl_obj *o);
void ovl_obj_unref(struct ovl_obj *o); /* NULL is fine */

/* -ENOENT: not there, look further down. A whiteout is success with OVL_FOUND_WHITEOUT. */
static inline int ovl_lower_lookup(struct ovl_obj *dir, const char *name, struct ovl_found *ret)
{
	return dir->layer->ops->lookup(dir, name, ret);
}
static inline int ovl_lower_stat(struct ovl_obj *o, struct stat *ret)
{
	return o->layer->ops->stat(o, ret);
}
/*
 * Every entry but "." and "..", each name once, from @pos (0: the first) until @fn returns
 * non-zero, which becomes the result. Only ->streams layers take another @pos than 0.
 */
static inline int ovl_lower_readdir(struct ovl_obj *dir, uint64_t pos, ovl_lower_dir_fn fn,
				    void *ctx)
{
	return dir->layer->ops->readdir(dir, pos, fn, ctx);
}
/* As readlink(2). */
static inline ssize_t ovl_lower_readlink(struct ovl_obj *o, char *buf, size_t size)
{
	return o->layer->ops->readlink(o, buf, size);
}
/* As getxattr(2) and listxattr(2), all names as they are stored. */
static inline ssize_t ovl_lower_getxattr(struct ovl_obj *o, const char *name, void *buf,
					 size_t size)
{
	return o->layer->ops->getxattr(o, name, buf, size);
}
static inline ssize_t ovl_lower_listxattr(struct ovl_obj *o, char *buf, size_t size)
{
	return o->layer->ops->listxattr(o, buf, size);
}
/* Regular files only. */
static inline int ovl_lower_open(struct ovl_obj *o, struct ovl_data *ret)
{
	return o->layer->ops->open(o, ret);
}

/* Of a regular file or directory, as ioctl(2); without flags they are all 0. */
static inline int ovl_lower_fileattr(struct ovl_obj *o, unsigned int cmd, void *data)
{
	return o->layer->ops->fileattr ? o->layer->ops->fileattr(o, cmd, data) : 0;
}
/*
 * Owners and modes that a file system was not asked to keep are in an xattr, "uid:gid:0mode", as
 * containers/storage (force_mask) and fuse-overlayfs (xattr_permissions) have it.
 */
#define OVL_XATTR_OVERRIDE	      "user.containers.override_stat" /* the one that is written */
#define OVL_XATTR_OVERRIDE_PRIVILEGED "security.fuseoverlayfs.override_stat"
/* Which of them the tree below @root_fd uses: who writes them writes one on the root too. NULL:
 * none. Static. */
const char *ovl_override_find(int root_fd);
/* Where this process has to keep owners because it may give files to nobody else; NULL: it may. */
const char *ovl_override_needed(void);
/* The value into @st (permissions only, the type stays). Garbage is ignored: false. */
bool ovl_override_parse(const char *value, size_t len, struct stat *st);
/* Reads @xattr (NULL: nothing) of (fd, name), of regular files and directories. */
void ovl_override_read(int fd, const char *name, const char *xattr, struct stat *st);
