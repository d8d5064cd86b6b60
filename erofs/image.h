/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/err.h"
#include "erofs/write.h"

/*
 * image - reads an EROFS metadata image as erofs/write.h makes it. Every
 * number from the file is checked before use: a hostile image gives -EUCLEAN,
 * never a crash, an endless loop or a read outside the file. Features and
 * layouts that we do not write are refused with -EOPNOTSUPP.
 *
 *	r = erofs_image_open(fd, &img, err);          borrows fd: it may be closed afterwards
 *	r = erofs_image_inode(img, erofs_image_root(img), &ino);
 *	r = erofs_image_lookup(img, &ino, "etc", 3, &nid);
 *
 * The image is mapped, read-only. After opening it never changes: any number
 * of threads at once, no locks.
 */
struct erofs_image;

struct erofs_stat {
	uint64_t nid; /* the inode's number: stable for the life of the image file, below 2^32 */
	uint32_t mode, uid, gid, nlink;
	uint32_t rdev_major, rdev_minor;
	uint64_t size;
	int64_t mtime;
	uint32_t mtime_nsec;
	uint16_t flags; /* enum erofs_inode_flags: only in the index of a single layer */
	/* private: where the reader found its parts, already checked against the file's end */
	uint64_t xattr_off, data_off;
	uint32_t xattr_len, startblk;
	uint16_t layout, chunk_bits;
};

struct erofs_extent {
	uint16_t device; /* 0: a hole, reads as zeros */
	uint64_t offset; /* in the device */
	uint64_t len; /* bytes from the asked position on, never beyond the file's size */
};

int erofs_image_open(int fd, struct erofs_image **ret, struct err *err)
	__attribute__((warn_unused_result));
void erofs_image_close(struct erofs_image *img);
static inline void erofs_image_closep(struct erofs_image **img)
{
	erofs_image_close(*img);
}
#define cleanup_erofs_image __attribute__((cleanup(erofs_image_closep)))

uint64_t erofs_image_root(const struct erofs_image *img); /* nid of the root */
uint64_t erofs_image_inodes(const struct erofs_image *img); /* as the super block says */
size_t erofs_image_device_count(const struct erofs_image *img);
/* Device @i, counted from 1; borrowed. NULL beyond the end. */
const struct erofs_device *erofs_image_device(const struct erofs_image *img, size_t i);

int erofs_image_inode(const struct erofs_image *img, uint64_t nid, struct erofs_stat *ret)
	__attribute__((warn_unused_result));
/* -ENOENT, -ENOTDIR. */
int erofs_image_lookup(const struct erofs_image *img, const struct erofs_stat *dir,
		       const char *name, size_t len, uint64_t *ret_nid)
	__attribute__((warn_unused_result));

/*
 * Entries in byte order, "." and ".." left out. Starts at @pos (0 = the first) and stops when @fn
 * returns non-zero, which becomes the return value. @next is the position behind the entry: pass
 * it as @pos to go on after it. @type is a DT_ value.
 */
typedef int (*erofs_image_dir_fn)(void *ctx, const char *name, size_t len, uint64_t nid,
				  unsigned int type, uint64_t next);
int erofs_image_readdir(const struct erofs_image *img, const struct erofs_stat *dir, uint64_t pos,
			erofs_image_dir_fn fn, void *ctx) __attribute__((warn_unused_result));

/* The link's target: borrowed from the image, NOT NUL-terminated, st->size bytes. -EINVAL: no
 * symlink. */
int erofs_image_symlink(const struct erofs_image *img, const struct erofs_stat *st,
			const char **ret) __attribute__((warn_unused_result));
/*
 * xattrs, inline and shared; private ones of a layer's index are left out. getxattr: the value is
 * borrowed from the image; -ENODATA. each: in the order of the image; the name is NUL-terminated.
 */
int erofs_image_getxattr(const struct erofs_image *img, const struct erofs_stat *st,
			 const char *name, const void **ret_value, size_t *ret_len)
	__attribute__((warn_unused_result));
typedef int (*erofs_image_xattr_fn)(void *ctx, const char *name, const void *value, size_t len);
int erofs_image_xattr_each(const struct erofs_image *img, const struct erofs_stat *st,
			   erofs_image_xattr_fn fn, void *ctx) __attribute__((warn_unused_result));
/* EROFS_I_LINK inodes of a layer's index: the path from the root (free() it). */
int erofs_image_link_target(const struct erofs_image *img, const struct erofs_stat *st, char **ret)
	__attribute__((warn_unused_result));

/* Where byte @pos of a regular file lies. -EINVAL beyond its end. */
int erofs_image_map(const struct erofs_image *img, const struct erofs_stat *st, uint64_t pos,
		    struct erofs_extent *ret) __attribute__((warn_unused_result));

/*
 * Opens the data files of all devices of the image at @path: for
 * ROOT/{layers,chains}/sha256/ID/index they are ROOT/layers/sha256/TAG/data and .../side
 * (docs/FORMAT.md, "devices"). @ret_fds has one fd for each device (device i at [i - 1]);
 * the caller closes them and frees the array. Their sizes are checked against the image.
 */
int erofs_open_devices(const struct erofs_image *img, const char *path, int **ret_fds,
		       struct err *err) __attribute__((warn_unused_result));
