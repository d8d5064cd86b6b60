/* SPDX-License-Identifier: Apache-2.0 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "erofs/write_private.h"

/*
 * Two passes. The plan lists the inodes breadth-first (an inode's children are
 * neighbours on disk), counts names, sizes directories and gives everything
 * its place; the second pass writes from front to back through one buffer:
 *
 *	super block | devices | inodes with inline tails | directory and symlink blocks | shared
 *xattrs
 *
 * Positions of inodes only depend on sizes, so no pass looks ahead.
 */
#define OUT_BUFFER     (1u << 20)
#define DEVICES_POS    (EROFS_SB_OFFSET + sizeof(struct erofs_disk_super))
#define CHUNK_BITS_MAX 40u /* 31 over the block's 9 */
#define CHUNKS_MAX     65536u /* of one file: 64 PiB */
#define MAJOR_MAX      0xfffu
#define MINOR_MAX      0xfffffu

struct rec {
	struct erofs_inode *inode;
	const char *name; /* one of its names, for messages */
	uint64_t pos; /* in the image */
	uint64_t size; /* of the data: directories are counted here */
	size_t xstart;
	uint32_t xn;
	uint32_t xsize; /* bytes of the xattr body */
	uint32_t nlink;
	uint32_t startblk;
	uint32_t tail_first; /* directories: the entry the last block begins with */
	uint16_t layout;
	uint16_t chunk_bits;
};

struct writer {
	struct erofs_tree *tree;
	const struct erofs_device *devices;
	size_t n_devices;
	struct rec *recs;
	size_t n, cap;
	struct xplan x;
	struct out out;
	uint64_t data_pos; /* where blocks start */
	uint64_t shared_pos;
	uint64_t end;
};

static void out_flush(struct out *o)
{
	if (!o->error && o->len)
		o->error = io_write_full(o->fd, o->buf, o->len);
	o->len = 0;
}

void out_write(struct out *o, const void *data, size_t len)
{
	const char *p = data;

	o->pos += len;
	while (len) {
		size_t part = OUT_BUFFER - o->len < len ? OUT_BUFFER - o->len : len;

		memcpy(o->buf + o->len, p, part);
		o->len += part;
		p += part;
		len -= part;
		if (o->len == OUT_BUFFER)
			out_flush(o);
	}
}

void out_pad(struct out *o, uint64_t pos)
{
	static const char zeros[4096];

	while (o->pos < pos) {
		uint64_t n = pos - o->pos;

		out_write(o, zeros, n < sizeof(zeros) ? (size_t)n : sizeof(zeros));
	}
}

/* A directory's entries with "." and ".." where byte order has them. */
struct dirlist {
	const struct erofs_dirent *ents;
	size_t n; /* of ents */
	size_t dot, dotdot; /* their places in the whole */
	struct erofs_inode *self, *parent;
};

static size_t lower_bound(const struct erofs_dirent *e, size_t n, const char *name, size_t len)
{
	size_t lo = 0;

	while (lo < n) {
		size_t mid = lo + (n - lo) / 2;

		if (erofs_name_cmp(e[mid].name, e[mid].len, name, len) < 0)
			lo = mid + 1;
		else
			n = mid;
	}
	return lo;
}

static void dirlist_init(struct dirlist *l, struct erofs_inode *dir)
{
	l->ents = erofs_dir_entries(dir, &l->n);
	l->dot = lower_bound(l->ents, l->n, ".", 1);
	l->dotdot = lower_bound(l->ents, l->n, "..", 2) + 1;
	l->self = dir;
	l->parent = erofs_dir_parent(dir) ? erofs_dir_parent(dir) : dir;
}

static struct erofs_dirent dirlist_at(const struct dirlist *l, size_t i)
{
	if (i == l->dot)
		return (struct erofs_dirent){.name = ".", .len = 1, .inode = l->self};
	if (i == l->dotdot)
		return (struct erofs_dirent){.name = "..", .len = 2, .inode = l->parent};
	return l->ents[i - (i > l->dot) - (i > l->dotdot)];
}

/* How many entries from @first on fill one block, and the bytes they take. */
static size_t dirlist_block(const struct dirlist *l, size_t first, uint32_t *ret_used)
{
	uint32_t used = 0;
	size_t i;

	for (i = first; i < l->n + 2; i++) {
		uint32_t len = (uint32_t)sizeof(struct erofs_disk_dirent) + dirlist_at(l, i).len;

		if (used + len > EROFS_BLOCK_SIZE)
			break;
		used += len;
	}
	*ret_used = used;
	return i - first;
}

static unsigned int file_type(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return EROFS_FT_REG;
	case S_IFDIR:
		return EROFS_FT_DIR;
	case S_IFCHR:
		return EROFS_FT_CHR;
	case S_IFBLK:
		return EROFS_FT_BLK;
	case S_IFIFO:
		return EROFS_FT_FIFO;
	case S_IFSOCK:
		return EROFS_FT_SOCK;
	case S_IFLNK:
		return EROFS_FT_SYMLINK;
	default:
		return EROFS_FT_UNKNOWN;
	}
}

static int check_regular(const struct writer *w, const struct erofs_inode *inode, struct rec *rec,
			 struct err *err)
{
	unsigned int bits = EROFS_BLOCK_BITS;
	uint64_t end;

	if (inode->flags & EROFS_I_LINK) {
		if (!inode->target || !*inode->target || strlen(inode->target) > EROFS_TARGET_MAX)
			return err_msg(err, -EINVAL, "link to a lower layer without a valid path");
		rec->layout = EROFS_LAYOUT_PLAIN;
		return 0;
	}
	rec->size = inode->size;
	if (inode->size == 0) {
		rec->layout = EROFS_LAYOUT_PLAIN;
		return 0;
	}
	rec->layout = EROFS_LAYOUT_CHUNK;
	while (bits < CHUNK_BITS_MAX && inode->size > UINT64_C(1) << bits)
		bits++;
	rec->chunk_bits = (uint16_t)bits;
	if ((inode->size - 1) >> bits >= CHUNKS_MAX)
		return err_msg(err, -EFBIG, "file of %ju bytes", (uintmax_t)inode->size);
	if (inode->device == 0)
		return 0;
	if (inode->device > w->n_devices || inode->offset % EROFS_BLOCK_SIZE ||
	    __builtin_add_overflow(inode->offset, inode->size, &end) ||
	    end > w->devices[inode->device - 1].size)
		return err_msg(err, -EINVAL, "%ju bytes at %ju of device %u do not exist",
			       (uintmax_t)inode->size, (uintmax_t)inode->offset, inode->device);
	return 0;
}

static int check_inode(const struct writer *w, struct rec *rec, struct err *err)
{
	const struct erofs_inode *inode = rec->inode;

	if (inode->mtime_nsec > 999999999)
		return err_msg(err, -EINVAL, "mtime with %u ns", inode->mtime_nsec);
	if (inode->mode > UINT16_MAX)
		return err_msg(err, -EINVAL, "mode %o", inode->mode);
	switch (file_type(inode->mode)) {
	case EROFS_FT_REG:
		return check_regular(w, inode, rec, err);
	case EROFS_FT_SYMLINK:
		rec->size = inode->target ? strlen(inode->target) : 0;
		if (rec->size == 0 || rec->size > EROFS_TARGET_MAX)
			return err_msg(err, -EINVAL, "symlink of %ju bytes", (uintmax_t)rec->size);
		return 0;
	case EROFS_FT_CHR:
	case EROFS_FT_BLK:
		if (inode->rdev_major > MAJOR_MAX || inode->rdev_minor > MINOR_MAX)
			return err_msg(err, -EINVAL, "device number %u:%u", inode->rdev_major,
				       inode->rdev_minor);
		return 0;
	case EROFS_FT_UNKNOWN:
		return err_msg(err, -EINVAL, "mode %o has no type", inode->mode);
	default:
		return 0;
	}
}

/* Lists @inode; ->scratch is its place + 1 from here on. */
static int list_inode(struct writer *w, struct erofs_inode *inode, const char *name,
		      struct err *err)
{
	struct rec *rec;
	int r;

	if (w->n == w->cap) {
		size_t cap = w->cap ? w->cap * 2 : 1024;

		rec = reallocarray(w->recs, cap, sizeof(*rec));
		if (!rec)
			return err_set(err, -ENOMEM, "list of inodes");
		w->recs = rec;
		w->cap = cap;
	}
	rec = &w->recs[w->n];
	*rec = (struct rec){.inode = inode, .name = name};
	r = check_inode(w, rec, err);
	if (r == 0)
		r = xplan_add(&w->x, inode, &rec->xstart, &rec->xn, err);
	if (r < 0)
		return err_wrap(err, r, "'%s'", name);
	inode->scratch = ++w->n;
	return 0;
}

static int list_directory(struct writer *w, size_t index, struct err *err)
{
	struct erofs_inode *dir = w->recs[index].inode;
	const struct erofs_dirent *ents;
	uint32_t subdirs = 0;
	struct dirlist l;
	uint64_t size = 0;
	size_t n;

	ents = erofs_dir_entries(dir, &n);
	for (size_t i = 0; i < n; i++) {
		struct erofs_inode *inode = ents[i].inode;
		uint64_t place = inode->scratch;
		int r;

		/* scratch of an inode that is not listed yet may be anything */
		if (place == 0 || place > w->n || w->recs[place - 1].inode != inode) {
			r = list_inode(w, inode, ents[i].name, err);
			if (r < 0)
				return r;
		}
		if (inode->dir)
			subdirs++;
		else
			w->recs[inode->scratch - 1].nlink++;
	}
	w->recs[index].nlink = 2 + subdirs;
	dirlist_init(&l, dir);
	for (size_t i = 0; i < n + 2;) {
		uint32_t used;
		size_t count = dirlist_block(&l, i, &used);

		w->recs[index].tail_first = (uint32_t)i;
		i += count;
		size += i < n + 2 ? EROFS_BLOCK_SIZE : used;
	}
	w->recs[index].size = size;
	return 0;
}

static uint64_t round_up(uint64_t v, uint64_t to)
{
	return (v + to - 1) / to * to;
}

/* Gives @rec its place at or behind @pos; returns where it ends. */
static uint64_t place_inode(struct rec *rec, uint64_t pos)
{
	uint64_t head = sizeof(struct erofs_disk_inode) + rec->xsize;
	uint64_t tail = rec->size % EROFS_BLOCK_SIZE, at;

	pos = round_up(pos, EROFS_SLOT_SIZE);
	rec->pos = pos;
	if (rec->layout == EROFS_LAYOUT_CHUNK) {
		uint64_t chunks = ((rec->size - 1) >> rec->chunk_bits) + 1;

		return round_up(pos + head, sizeof(struct erofs_disk_chunk)) +
		       chunks * sizeof(struct erofs_disk_chunk);
	}
	if (!S_ISDIR(rec->inode->mode) && !S_ISLNK(rec->inode->mode))
		return pos + head;
	rec->layout = EROFS_LAYOUT_PLAIN;
	/* A target stays in one piece, so that a reader can lend it out of its mapping. */
	if (tail == 0 || (rec->size != tail && !rec->inode->dir))
		return pos + head;
	/* Inline when the gap before it and the tail together are less than a block of its own. */
	for (at = pos; at - pos + tail < EROFS_BLOCK_SIZE; at += EROFS_SLOT_SIZE) {
		if ((at + head) % EROFS_BLOCK_SIZE + tail > EROFS_BLOCK_SIZE)
			continue;
		rec->pos = at;
		rec->layout = EROFS_LAYOUT_INLINE;
		return at + head + tail;
	}
	return pos + head;
}

static bool has_blocks(const struct rec *rec)
{
	return S_ISDIR(rec->inode->mode) || S_ISLNK(rec->inode->mode);
}

static int plan(struct writer *w, struct err *err)
{
	uint64_t pos = DEVICES_POS + w->n_devices * sizeof(struct erofs_disk_device);
	int r = list_inode(w, erofs_tree_root(w->tree), "/", err);

	for (size_t i = 0; r == 0 && i < w->n; i++)
		if (w->recs[i].inode->dir)
			r = list_directory(w, i, err);
	if (r == 0)
		r = xplan_finish(&w->x, err);
	if (r < 0)
		return r;
	pos = round_up(pos, EROFS_BLOCK_SIZE);
	for (size_t i = 0; i < w->n; i++) {
		struct rec *rec = &w->recs[i];
		uint64_t xsize = xplan_body_size(&w->x, rec->xstart, rec->xn);

		if (xsize > EROFS_XATTR_BODY_MAX)
			return err_msg(err, -EFBIG, "'%s': %ju bytes of xattrs", rec->name,
				       (uintmax_t)xsize);
		rec->xsize = (uint32_t)xsize;
		pos = place_inode(rec, pos);
	}
	if (pos / EROFS_SLOT_SIZE > UINT32_MAX)
		return err_msg(err, -EFBIG, "inodes take over 128 GiB");
	w->data_pos = pos = round_up(pos, EROFS_BLOCK_SIZE);
	for (size_t i = 0; i < w->n; i++) {
		struct rec *rec = &w->recs[i];
		uint64_t blocks = rec->size / EROFS_BLOCK_SIZE;

		if (!has_blocks(rec))
			continue;
		if (rec->layout == EROFS_LAYOUT_PLAIN && rec->size % EROFS_BLOCK_SIZE)
			blocks++;
		rec->startblk = (uint32_t)(blocks ? pos / EROFS_BLOCK_SIZE : 0);
		pos += blocks * EROFS_BLOCK_SIZE;
		if (pos / EROFS_BLOCK_SIZE > UINT32_MAX)
			return err_msg(err, -EFBIG, "the image is over 2 TiB");
	}
	w->shared_pos = pos;
	w->end = round_up(pos + w->x.shared_size, EROFS_BLOCK_SIZE);
	if (w->end / EROFS_BLOCK_SIZE > UINT32_MAX)
		return err_msg(err, -EFBIG, "the image is over 2 TiB");
	return 0;
}

/* One directory block from entry @first on; returns the number of entries. */
static size_t write_dir_block(struct writer *w, const struct dirlist *l, size_t first)
{
	char block[EROFS_BLOCK_SIZE] = {0};
	uint32_t used;
	size_t n = dirlist_block(l, first, &used);
	uint32_t nameoff = (uint32_t)(n * sizeof(struct erofs_disk_dirent));

	for (size_t i = 0; i < n; i++) {
		struct erofs_dirent e = dirlist_at(l, first + i);
		struct erofs_disk_dirent d = {
			.nid = htole64(w->recs[e.inode->scratch - 1].pos / EROFS_SLOT_SIZE),
			.nameoff = htole16((uint16_t)nameoff),
			.type = (uint8_t)file_type(e.inode->mode),
		};

		memcpy(block + i * sizeof(d), &d, sizeof(d));
		memcpy(block + nameoff, e.name, e.len);
		nameoff += e.len;
	}
	out_write(&w->out, block, used);
	return n;
}

static void write_chunks(struct writer *w, const struct rec *rec)
{
	const struct erofs_inode *inode = rec->inode;
	uint64_t chunks = ((rec->size - 1) >> rec->chunk_bits) + 1;

	out_pad(&w->out, round_up(w->out.pos, sizeof(struct erofs_disk_chunk)));
	for (uint64_t i = 0; i < chunks; i++) {
		uint64_t at = (inode->offset + (i << rec->chunk_bits)) / EROFS_BLOCK_SIZE;
		struct erofs_disk_chunk c = {.start = htole32(EROFS_CHUNK_NULL)};

		if (inode->device) {
			c.device = htole16(inode->device);
			c.start = htole32((uint32_t)at);
		}
		out_write(&w->out, &c, sizeof(c));
	}
}

static uint32_t inode_u(const struct rec *rec)
{
	const struct erofs_inode *inode = rec->inode;

	if (S_ISCHR(inode->mode) || S_ISBLK(inode->mode))
		return (inode->rdev_minor & 0xff) | inode->rdev_major << 8 |
		       (inode->rdev_minor & ~0xffu) << 12;
	if (rec->layout == EROFS_LAYOUT_CHUNK)
		return EROFS_CHUNK_INDEXES | (uint32_t)(rec->chunk_bits - EROFS_BLOCK_BITS);
	return rec->startblk;
}

static void write_inode(struct writer *w, const struct rec *rec, uint32_t ino)
{
	const struct erofs_inode *inode = rec->inode;
	struct erofs_disk_inode d = {
		.format = htole16((uint16_t)(1 | rec->layout << 1)),
		.xattr_icount = htole16((uint16_t)(rec->xsize ? 1 + (rec->xsize - 12) / 4 : 0)),
		.mode = htole16((uint16_t)inode->mode),
		.size = htole64(rec->size),
		.u = htole32(inode_u(rec)),
		.ino = htole32(ino),
		.uid = htole32(inode->uid),
		.gid = htole32(inode->gid),
		.mtime = htole64((uint64_t)inode->mtime),
		.mtime_nsec = htole32(inode->mtime_nsec),
		.nlink = htole32(rec->nlink),
	};

	out_pad(&w->out, rec->pos);
	out_write(&w->out, &d, sizeof(d));
	xplan_write_body(&w->x, rec->xstart, rec->xn, &w->out);
	if (rec->layout == EROFS_LAYOUT_CHUNK) {
		write_chunks(w, rec);
	} else if (rec->layout == EROFS_LAYOUT_INLINE) {
		if (inode->dir) {
			struct dirlist l;

			dirlist_init(&l, rec->inode);
			(void)write_dir_block(w, &l, rec->tail_first);
		} else {
			out_write(&w->out, inode->target, (size_t)rec->size);
		}
	}
}

/* The blocks of a directory or symlink, without a tail that is inline. */
static void write_blocks(struct writer *w, const struct rec *rec)
{
	bool inlined = rec->layout == EROFS_LAYOUT_INLINE;

	if (rec->inode->dir) {
		struct dirlist l;
		size_t end;

		dirlist_init(&l, rec->inode);
		end = inlined ? rec->tail_first : l.n + 2;
		for (size_t i = 0; i < end;) {
			i += write_dir_block(w, &l, i);
			out_pad(&w->out, round_up(w->out.pos, EROFS_BLOCK_SIZE));
		}
	} else if (!inlined) {
		out_write(&w->out, rec->inode->target, (size_t)rec->size);
		out_pad(&w->out, round_up(w->out.pos, EROFS_BLOCK_SIZE));
	}
}

static void write_devices(struct writer *w)
{
	out_pad(&w->out, DEVICES_POS);
	for (size_t i = 0; i < w->n_devices; i++) {
		const struct erofs_device *dev = &w->devices[i];
		struct erofs_disk_device d = {
			.blocks = htole32(
				(uint32_t)((dev->size + EROFS_BLOCK_SIZE - 1) / EROFS_BLOCK_SIZE)),
		};

		memcpy(d.tag, dev->tag, sizeof(d.tag));
		out_write(&w->out, &d, sizeof(d));
	}
}

/* Last, because its checksum covers the rest of its block, where devices or inodes are. */
static int write_super(struct writer *w)
{
	char block[EROFS_BLOCK_SIZE];
	struct erofs_disk_super sb = {
		.magic = htole32(EROFS_MAGIC),
		.feature_compat = htole32(EROFS_COMPAT_SB_CHKSUM | EROFS_COMPAT_MTIME),
		.blkszbits = EROFS_BLOCK_BITS,
		.root_nid = htole16((uint16_t)(w->recs[0].pos / EROFS_SLOT_SIZE)),
		.inos = htole64(w->n),
		.blocks = htole32((uint32_t)(w->end / EROFS_BLOCK_SIZE)),
		.xattr_blkaddr = htole32((uint32_t)(w->shared_pos / EROFS_BLOCK_SIZE)),
		.feature_incompat = htole32(EROFS_INCOMPAT_CHUNKED_FILE |
					    (w->n_devices ? EROFS_INCOMPAT_DEVICE_TABLE : 0)),
		.extra_devices = htole16((uint16_t)w->n_devices),
		.devt_slotoff =
			htole16(w->n_devices ? DEVICES_POS / sizeof(struct erofs_disk_device) : 0),
	};
	int r = io_pread_full(w->out.fd, block, sizeof(block), EROFS_SB_OFFSET);

	if (r < 0)
		return r;
	memcpy(block, &sb, sizeof(sb));
	sb.checksum = htole32(erofs_crc32c(EROFS_CRC_SEED, block + 8, sizeof(block) - 8));
	return io_pwrite_full(w->out.fd, &sb, sizeof(sb), EROFS_SB_OFFSET);
}

static int write_image(struct writer *w)
{
	int r;

	if (ftruncate(w->out.fd, 0) < 0 || lseek(w->out.fd, 0, SEEK_SET) < 0)
		return -errno;
	write_devices(w);
	for (size_t i = 0; i < w->n && !w->out.error; i++)
		write_inode(w, &w->recs[i], (uint32_t)(i + 1));
	out_pad(&w->out, w->data_pos);
	for (size_t i = 0; i < w->n && !w->out.error; i++)
		if (has_blocks(&w->recs[i]))
			write_blocks(w, &w->recs[i]);
	out_pad(&w->out, w->shared_pos);
	xplan_write_shared(&w->x, &w->out);
	out_pad(&w->out, w->end);
	out_flush(&w->out);
	r = w->out.error;
	return r < 0 ? r : write_super(w);
}

static int check_devices(const struct erofs_device *devices, size_t n, struct err *err)
{
	if (n > EROFS_DEVICE_MAX)
		return err_msg(err, -EFBIG, "%zu devices, the limit is %d", n, EROFS_DEVICE_MAX);
	for (size_t i = 0; i < n; i++) {
		if (strspn(devices[i].tag, "0123456789abcdef") != EROFS_TAG_HEX_LEN ||
		    devices[i].tag[EROFS_TAG_HEX_LEN])
			return err_msg(err, -EINVAL, "device %zu: tag is no digest", i + 1);
		if (devices[i].size > (uint64_t)(UINT32_MAX - 1) * EROFS_BLOCK_SIZE)
			return err_msg(err, -EFBIG, "device %zu (%s): over 2 TiB", i + 1,
				       devices[i].tag);
	}
	return 0;
}

int erofs_write(struct erofs_tree *t, const struct erofs_device *devices, size_t n_devices, int fd,
		struct err *err)
{
	struct writer w = {
		.tree = t, .devices = devices, .n_devices = n_devices, .x.tree = t, .out.fd = fd};
	int r = check_devices(devices, n_devices, err);

	if (r == 0)
		r = plan(&w, err);
	if (r == 0) {
		w.out.buf = malloc(OUT_BUFFER);
		r = w.out.buf ? write_image(&w) : -ENOMEM;
		if (r < 0)
			(void)err_set(err, r, "write index");
	}
	free(w.out.buf);
	free(w.recs);
	xplan_release(&w.x);
	return r;
}
