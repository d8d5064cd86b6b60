/* SPDX-License-Identifier: Apache-2.0 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "erofs/image_private.h"

#define CHUNK_BITS_MAX (EROFS_BLOCK_BITS + EROFS_CHUNK_BITS_MASK)

static int read_devices(struct erofs_image *img, const struct erofs_disk_super *sb, struct err *err)
{
	uint32_t n = le16toh(sb->extra_devices);
	uint64_t off = (uint64_t)le16toh(sb->devt_slotoff) * sizeof(struct erofs_disk_device);
	const struct erofs_disk_device *d;

	if (!(le32toh(sb->feature_incompat) & EROFS_INCOMPAT_DEVICE_TABLE)) {
		if (n)
			return err_msg(err, -EUCLEAN, "devices without a device table");
		return 0;
	}
	d = image_at(img, off, (uint64_t)n * sizeof(*d));
	if (!d || n > EROFS_DEVICE_MAX)
		return err_msg(err, -EUCLEAN, "device table of %u is beyond the end", n);
	img->devices = calloc(n ? n : 1, sizeof(*img->devices));
	if (!img->devices)
		return err_set(err, -ENOMEM, "devices");
	img->n_devices = n;
	for (uint32_t i = 0; i < n; i++) {
		/* A path is made of the tag (erofs_open_devices): only digits may pass. */
		memcpy(img->devices[i].tag, d[i].tag, EROFS_TAG_HEX_LEN);
		if (strspn(img->devices[i].tag, "0123456789abcdef") != EROFS_TAG_HEX_LEN)
			return err_msg(err, -EUCLEAN, "tag of device %u is no digest", i + 1);
		img->devices[i].size = (uint64_t)le32toh(d[i].blocks) * EROFS_BLOCK_SIZE;
	}
	return 0;
}

static int read_super(struct erofs_image *img, struct err *err)
{
	const char *block = image_at(img, EROFS_SB_OFFSET, EROFS_BLOCK_SIZE);
	struct erofs_disk_super sb;
	struct erofs_stat st;
	uint32_t known = EROFS_INCOMPAT_CHUNKED_FILE | EROFS_INCOMPAT_DEVICE_TABLE;
	int r;

	if (!block)
		return err_msg(err, -EUCLEAN, "too short to be an index");
	memcpy(&sb, block, sizeof(sb));
	if (le32toh(sb.magic) != EROFS_MAGIC)
		return err_msg(err, -EUCLEAN, "no EROFS super block");
	if (sb.blkszbits != EROFS_BLOCK_BITS || sb.dirblkbits || sb.sb_extslots ||
	    sb.xattr_prefix_count || le32toh(sb.feature_incompat) & ~known)
		return err_msg(err, -EOPNOTSUPP, "EROFS features 0x%x, blocks of 2^%u bytes",
			       le32toh(sb.feature_incompat), sb.blkszbits);
	if (le32toh(sb.feature_compat) & EROFS_COMPAT_SB_CHKSUM &&
	    erofs_crc32c(EROFS_CRC_SEED, block + 8, EROFS_BLOCK_SIZE - 8) != le32toh(sb.checksum))
		return err_msg(err, -EUCLEAN, "checksum of the super block is wrong");
	if ((uint64_t)le32toh(sb.blocks) * EROFS_BLOCK_SIZE > img->size)
		return err_msg(err, -EUCLEAN, "cut off: %u blocks expected", le32toh(sb.blocks));
	img->meta = (uint64_t)le32toh(sb.meta_blkaddr) * EROFS_BLOCK_SIZE;
	img->xattrs = (uint64_t)le32toh(sb.xattr_blkaddr) * EROFS_BLOCK_SIZE;
	img->root = le16toh(sb.root_nid);
	img->inos = le64toh(sb.inos);
	r = read_devices(img, &sb, err);
	if (r < 0)
		return r;
	r = erofs_image_inode(img, img->root, &st);
	if (r == 0 && !S_ISDIR(st.mode))
		r = -EUCLEAN;
	return r < 0 ? err_set(err, r, "root directory") : 0;
}

int erofs_image_open(int fd, struct erofs_image **ret, struct err *err)
{
	struct erofs_image *img cleanup_erofs_image = calloc(1, sizeof(*img));
	struct stat st;
	void *map;
	int r;

	if (!img)
		return err_set(err, -ENOMEM, "index");
	if (fstat(fd, &st) < 0)
		return err_set(err, -errno, "index");
	if (!S_ISREG(st.st_mode) || st.st_size < (off_t)(EROFS_SB_OFFSET + EROFS_BLOCK_SIZE))
		return err_msg(err, -EUCLEAN, "too short to be an index");
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return err_set(err, -errno, "map index");
	img->map = map;
	img->size = (uint64_t)st.st_size;
	r = read_super(img, err);
	if (r < 0)
		return r;
	*ret = steal_ptr(&img);
	return 0;
}

void erofs_image_close(struct erofs_image *img)
{
	if (!img)
		return;
	if (img->map)
		(void)munmap((void *)(uintptr_t)img->map, (size_t)img->size);
	free(img->devices);
	free(img);
}

uint64_t erofs_image_root(const struct erofs_image *img)
{
	return img->root;
}

uint64_t erofs_image_inodes(const struct erofs_image *img)
{
	return img->inos;
}

size_t erofs_image_device_count(const struct erofs_image *img)
{
	return img->n_devices;
}

const struct erofs_device *erofs_image_device(const struct erofs_image *img, size_t i)
{
	return i == 0 || i > img->n_devices ? NULL : &img->devices[i - 1];
}

/* Data of directories and symlinks: in blocks, the tail perhaps behind the inode. */
static int check_flat(const struct erofs_image *img, struct erofs_stat *st)
{
	uint64_t start = (uint64_t)st->startblk * EROFS_BLOCK_SIZE;
	uint64_t tail = st->size % EROFS_BLOCK_SIZE;

	if (st->layout == EROFS_LAYOUT_PLAIN) {
		st->data_off = start;
		return image_at(img, start, st->size) ? 0 : -EUCLEAN;
	}
	st->data_off = st->xattr_off + st->xattr_len;
	if (tail == 0 || st->data_off % EROFS_BLOCK_SIZE + tail > EROFS_BLOCK_SIZE ||
	    !image_at(img, st->data_off, tail) || !image_at(img, start, st->size - tail))
		return -EUCLEAN;
	return 0;
}

static int check_regular(const struct erofs_image *img, struct erofs_stat *st, uint32_t u)
{
	uint64_t chunks;

	if (st->size == 0)
		return 0;
	if (st->layout != EROFS_LAYOUT_CHUNK)
		return -EOPNOTSUPP;
	if (u & ~(uint32_t)(EROFS_CHUNK_INDEXES | EROFS_CHUNK_BITS_MASK) ||
	    !(u & EROFS_CHUNK_INDEXES))
		return -EOPNOTSUPP;
	if (st->size > INT64_MAX)
		return -EUCLEAN;
	st->chunk_bits = (uint16_t)(EROFS_BLOCK_BITS + (u & EROFS_CHUNK_BITS_MASK));
	chunks = ((st->size - 1) >> st->chunk_bits) + 1;
	st->data_off = (st->xattr_off + st->xattr_len + 7) & ~UINT64_C(7);
	return image_at(img, st->data_off, chunks * sizeof(struct erofs_disk_chunk)) ? 0 : -EUCLEAN;
}

static int check_data(const struct erofs_image *img, struct erofs_stat *st, uint32_t u)
{
	switch (st->mode & S_IFMT) {
	case S_IFREG:
		return check_regular(img, st, u);
	case S_IFDIR:
	case S_IFLNK:
		if (st->layout == EROFS_LAYOUT_CHUNK)
			return -EOPNOTSUPP;
		if (st->size == 0 || (S_ISLNK(st->mode) && st->size > EROFS_TARGET_MAX))
			return -EUCLEAN;
		st->startblk = u;
		return check_flat(img, st);
	case S_IFCHR:
	case S_IFBLK:
		st->rdev_major = u >> 8 & 0xfff;
		st->rdev_minor = (u & 0xff) | (u >> 12 & 0xfff00);
		return 0;
	case S_IFIFO:
	case S_IFSOCK:
		return 0;
	default:
		return -EUCLEAN;
	}
}

int erofs_image_inode(const struct erofs_image *img, uint64_t nid, struct erofs_stat *ret)
{
	const struct erofs_disk_inode *d;
	struct erofs_stat st = {.nid = nid};
	uint32_t format, icount;
	int r;

	if (nid > UINT32_MAX)
		return -EUCLEAN;
	st.xattr_off = img->meta + nid * EROFS_SLOT_SIZE;
	d = image_at(img, st.xattr_off, sizeof(*d));
	if (!d)
		return -EUCLEAN;
	st.xattr_off += sizeof(*d);
	format = le16toh(d->format);
	st.layout = (uint16_t)(format >> 1);
	if (!(format & 1) || (st.layout != EROFS_LAYOUT_PLAIN && st.layout != EROFS_LAYOUT_INLINE &&
			      st.layout != EROFS_LAYOUT_CHUNK))
		return -EOPNOTSUPP;
	icount = le16toh(d->xattr_icount);
	st.xattr_len =
		icount ? (uint32_t)sizeof(struct erofs_disk_xattr_body) + 4 * (icount - 1) : 0;
	if (!image_at(img, st.xattr_off, st.xattr_len))
		return -EUCLEAN;
	st.mode = le16toh(d->mode);
	st.size = le64toh(d->size);
	st.uid = le32toh(d->uid);
	st.gid = le32toh(d->gid);
	st.nlink = le32toh(d->nlink);
	st.mtime = (int64_t)le64toh(d->mtime);
	st.mtime_nsec = le32toh(d->mtime_nsec);
	if (st.mtime_nsec > 999999999)
		return -EUCLEAN;
	r = check_data(img, &st, le32toh(d->u));
	if (r == 0 && st.xattr_len)
		r = image_read_marks(img, &st, &st.flags);
	if (r < 0)
		return r;
	*ret = st;
	return 0;
}

int erofs_image_symlink(const struct erofs_image *img, const struct erofs_stat *st,
			const char **ret)
{
	uint64_t tail = st->size % EROFS_BLOCK_SIZE;

	if (!S_ISLNK(st->mode))
		return -EINVAL;
	/* One piece, or the reader would have to allocate: our writer never splits a target. */
	if (st->layout == EROFS_LAYOUT_INLINE && st->size != tail)
		return -EOPNOTSUPP;
	*ret = img->map + st->data_off;
	return 0;
}

int erofs_image_map(const struct erofs_image *img, const struct erofs_stat *st, uint64_t pos,
		    struct erofs_extent *ret)
{
	const struct erofs_disk_chunk *c;
	struct erofs_extent e;
	uint64_t in_chunk, left;

	if (!S_ISREG(st->mode) || pos >= st->size)
		return -EINVAL;
	c = image_at(img, st->data_off + (pos >> st->chunk_bits) * sizeof(*c), sizeof(*c));
	if (!c)
		return -EUCLEAN;
	in_chunk = pos & ((UINT64_C(1) << st->chunk_bits) - 1);
	left = (UINT64_C(1) << st->chunk_bits) - in_chunk;
	e.len = left < st->size - pos ? left : st->size - pos;
	e.device = le16toh(c->device);
	e.offset = 0;
	if (le32toh(c->start) == EROFS_CHUNK_NULL) {
		e.device = 0;
	} else {
		uint64_t end;

		e.offset = (uint64_t)le32toh(c->start) * EROFS_BLOCK_SIZE + in_chunk;
		if (c->start_hi || e.device == 0 || e.device > img->n_devices ||
		    __builtin_add_overflow(e.offset, e.len, &end) ||
		    end > img->devices[e.device - 1].size)
			return -EUCLEAN;
	}
	*ret = e;
	return 0;
}
