/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stddef.h>
#include <stdint.h>

/*
 * format - the part of the EROFS on-disk format that we write and read
 * (Linux, Documentation/filesystems/erofs.rst; docs/FORMAT.md has the same as
 * tables). All numbers little-endian: le16toh() and friends at every access.
 * The writer checks its limits in write.c and write_xattr.c; the reader checks
 * the super block in image.c, an inode in erofs_image_inode(), directory
 * blocks in image_dir.c and xattrs in image_xattr.c. Private to this folder.
 */
#define EROFS_BLOCK_SIZE 512u
#define EROFS_SB_OFFSET	 1024u
#define EROFS_MAGIC	 0xE0F5E1E2u
/* crc32c of the magic and four zeros: the checksum starts behind them. */
#define EROFS_CRC_SEED	0x5045b54au
#define EROFS_SLOT_SIZE 32u /* a nid counts these */

enum {
	EROFS_COMPAT_SB_CHKSUM = 0x1,
	EROFS_COMPAT_MTIME = 0x2, /* a hint that times are those of the last change */
	EROFS_INCOMPAT_CHUNKED_FILE = 0x4,
	EROFS_INCOMPAT_DEVICE_TABLE = 0x8,
};

struct erofs_disk_super {
	uint32_t magic;
	uint32_t checksum; /* crc32c of the block from feature_compat on */
	uint32_t feature_compat;
	uint8_t blkszbits;
	uint8_t sb_extslots;
	uint16_t root_nid;
	uint64_t inos;
	uint64_t build_time;
	uint32_t build_time_nsec;
	uint32_t blocks;
	uint32_t meta_blkaddr;
	uint32_t xattr_blkaddr;
	uint8_t uuid[16];
	uint8_t volume_name[16];
	uint32_t feature_incompat;
	uint16_t compression;
	uint16_t extra_devices;
	uint16_t devt_slotoff; /* in 128 bytes */
	uint8_t dirblkbits;
	uint8_t xattr_prefix_count;
	uint32_t xattr_prefix_start;
	uint64_t packed_nid;
	uint8_t xattr_filter;
	uint8_t reserved[23];
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_disk_super) == 128, "on-disk size");

struct erofs_disk_device {
	uint8_t tag[64];
	uint32_t blocks;
	uint32_t mapped_blkaddr; /* 0: not part of a flat address space */
	uint8_t reserved[56];
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_disk_device) == 128, "on-disk size");

/* i_format: bit 0 = extended inode, bits 1 to 3 = layout. */
enum {
	EROFS_LAYOUT_PLAIN = 0,
	EROFS_LAYOUT_INLINE = 2,
	EROFS_LAYOUT_CHUNK = 4,
};
enum {
	EROFS_CHUNK_BITS_MASK = 0x1f, /* log2 of the chunk size, less the block's */
	EROFS_CHUNK_INDEXES = 0x20,
};
#define EROFS_CHUNK_NULL 0xffffffffu

struct erofs_disk_inode {
	uint16_t format;
	uint16_t xattr_icount; /* 0, or 1 + (bytes of the xattr body - 12) / 4 */
	uint16_t mode;
	uint16_t reserved;
	uint64_t size;
	uint32_t u; /* first block | device number | chunk format */
	uint32_t ino;
	uint32_t uid;
	uint32_t gid;
	uint64_t mtime;
	uint32_t mtime_nsec;
	uint32_t nlink;
	uint8_t reserved2[16];
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_disk_inode) == 64, "on-disk size");

struct erofs_disk_chunk {
	uint16_t start_hi;
	uint16_t device;
	uint32_t start;
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_disk_chunk) == 8, "on-disk size");

struct erofs_disk_dirent {
	uint64_t nid;
	uint16_t nameoff;
	uint8_t type;
	uint8_t reserved;
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_disk_dirent) == 12, "on-disk size");

struct erofs_disk_xattr_body {
	uint32_t name_filter;
	uint8_t shared_count;
	uint8_t reserved[7];
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_disk_xattr_body) == 12, "on-disk size");

struct erofs_disk_xattr {
	uint8_t name_len; /* without the prefix */
	uint8_t name_index; /* the prefix */
	uint16_t value_size;
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_disk_xattr) == 4, "on-disk size");

/* File types of directory entries. */
enum {
	EROFS_FT_UNKNOWN,
	EROFS_FT_REG,
	EROFS_FT_DIR,
	EROFS_FT_CHR,
	EROFS_FT_BLK,
	EROFS_FT_FIFO,
	EROFS_FT_SOCK,
	EROFS_FT_SYMLINK,
};

#define EROFS_TARGET_MAX     4095u /* bytes of a symlink's target */
#define EROFS_XATTR_BODY_MAX (12u + 4u * 65534u)

/* Marks of a layer's own index: never shown, never in a chain (docs/FORMAT.md, "marks"). */
#define EROFS_MARK_PREFIX    "trusted."
#define EROFS_OPAQUE_SUFFIX  "overlay.opaque"
#define EROFS_IMPLIED_SUFFIX "snap.implied"
#define EROFS_LINK_SUFFIX    "snap.link"
#define EROFS_MARK_OPAQUE    EROFS_MARK_PREFIX EROFS_OPAQUE_SUFFIX
#define EROFS_MARK_IMPLIED   EROFS_MARK_PREFIX EROFS_IMPLIED_SUFFIX
#define EROFS_MARK_LINK	     EROFS_MARK_PREFIX EROFS_LINK_SUFFIX

/* Splits a full name: the prefix's number, and what is behind it. -EOPNOTSUPP: no such name space.
 */
int erofs_xattr_split(const char *name, uint8_t *ret_index, const char **ret_suffix)
	__attribute__((warn_unused_result));
/* The prefix of a number, NULL when there is none. */
const char *erofs_xattr_prefix(uint8_t index);
/* Castagnoli's polynomial, reflected, from @seed, without a final inversion. */
uint32_t erofs_crc32c(uint32_t seed, const void *data, size_t len);
