/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "erofs/image_private.h"

/*
 * Directories. A position (a cookie of readdir) is block * 512 + index of the
 * entry in it, so it stays what it is for the life of the image.
 */
#define DIRENT_SIZE ((uint32_t)sizeof(struct erofs_disk_dirent))

struct dirblock {
	const char *data;
	uint32_t len;
	uint32_t n; /* entries */
};

struct entry {
	const char *name;
	uint32_t len;
	uint64_t nid;
	uint8_t type;
};

static uint64_t block_count(const struct erofs_stat *dir)
{
	return dir->size / EROFS_BLOCK_SIZE + (dir->size % EROFS_BLOCK_SIZE != 0);
}

static const struct erofs_disk_dirent *dirent_at(const struct dirblock *b, uint32_t i)
{
	return (const struct erofs_disk_dirent *)(b->data + (size_t)i * DIRENT_SIZE);
}

/* Block @i, which is below block_count(): where it is was checked with the inode. */
static int get_block(const struct erofs_image *img, const struct erofs_stat *dir, uint64_t i,
		     struct dirblock *ret)
{
	struct dirblock b;
	uint32_t first;

	if (i < dir->size / EROFS_BLOCK_SIZE) {
		b.data = img->map + ((uint64_t)dir->startblk + i) * EROFS_BLOCK_SIZE;
		b.len = EROFS_BLOCK_SIZE;
	} else {
		b.data = img->map + dir->data_off;
		if (dir->layout == EROFS_LAYOUT_PLAIN)
			b.data += i * EROFS_BLOCK_SIZE;
		b.len = (uint32_t)(dir->size % EROFS_BLOCK_SIZE);
	}
	if (b.len < DIRENT_SIZE)
		return -EUCLEAN;
	b.n = 0;
	first = le16toh(dirent_at(&b, 0)->nameoff);
	if (first < DIRENT_SIZE || first % DIRENT_SIZE || first >= b.len)
		return -EUCLEAN;
	b.n = first / DIRENT_SIZE;
	*ret = b;
	return 0;
}

static int get_entry(const struct dirblock *b, uint32_t i, struct entry *ret)
{
	const struct erofs_disk_dirent *d = dirent_at(b, i);
	uint32_t start = le16toh(d->nameoff), end;

	if (start < b->n * DIRENT_SIZE || start >= b->len)
		return -EUCLEAN;
	if (i + 1 < b->n)
		end = le16toh(dirent_at(b, i + 1)->nameoff);
	else
		end = start + (uint32_t)strnlen(b->data + start, b->len - start);
	if (end <= start || end > b->len || end - start > 255)
		return -EUCLEAN;
	ret->name = b->data + start;
	ret->len = end - start;
	ret->nid = le64toh(d->nid);
	ret->type = d->type;
	if (memchr(ret->name, '\0', ret->len) || memchr(ret->name, '/', ret->len))
		return -EUCLEAN;
	return 0;
}

static int compare(const struct entry *e, const char *name, size_t len)
{
	int r = memcmp(e->name, name, e->len < len ? e->len : len);

	return r ? r : (e->len > len) - (e->len < len);
}

/* The last block whose first name is not behind @name; -ENOENT when there is none. */
static int find_block(const struct erofs_image *img, const struct erofs_stat *dir, const char *name,
		      size_t len, struct dirblock *ret)
{
	uint64_t lo = 0, hi = block_count(dir);
	struct dirblock b;
	struct entry e;
	bool found = false;
	int r;

	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;

		r = get_block(img, dir, mid, &b);
		if (r == 0)
			r = get_entry(&b, 0, &e);
		if (r < 0)
			return r;
		if (compare(&e, name, len) > 0) {
			hi = mid;
		} else {
			*ret = b;
			found = true;
			lo = mid + 1;
		}
	}
	return found ? 0 : -ENOENT;
}

int erofs_image_lookup(const struct erofs_image *img, const struct erofs_stat *dir,
		       const char *name, size_t len, uint64_t *ret_nid)
{
	uint32_t lo = 0, hi;
	struct dirblock b;
	int r;

	if (!S_ISDIR(dir->mode))
		return -ENOTDIR;
	r = find_block(img, dir, name, len, &b);
	if (r < 0)
		return r;
	hi = b.n;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		struct entry e;
		int c;

		r = get_entry(&b, mid, &e);
		if (r < 0)
			return r;
		c = compare(&e, name, len);
		if (c == 0) {
			*ret_nid = e.nid;
			return 0;
		}
		if (c > 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return -ENOENT;
}

static unsigned int dt_type(uint8_t type)
{
	static const uint8_t types[] = {
		[EROFS_FT_UNKNOWN] = DT_UNKNOWN, [EROFS_FT_REG] = DT_REG,
		[EROFS_FT_DIR] = DT_DIR,	 [EROFS_FT_CHR] = DT_CHR,
		[EROFS_FT_BLK] = DT_BLK,	 [EROFS_FT_FIFO] = DT_FIFO,
		[EROFS_FT_SOCK] = DT_SOCK,	 [EROFS_FT_SYMLINK] = DT_LNK,
	};

	return type < sizeof(types) ? types[type] : DT_UNKNOWN;
}

static bool is_dot(const struct entry *e)
{
	return e->name[0] == '.' && (e->len == 1 || (e->len == 2 && e->name[1] == '.'));
}

int erofs_image_readdir(const struct erofs_image *img, const struct erofs_stat *dir, uint64_t pos,
			erofs_image_dir_fn fn, void *ctx)
{
	uint64_t blocks = block_count(dir);
	uint32_t first = (uint32_t)(pos % EROFS_BLOCK_SIZE);

	if (!S_ISDIR(dir->mode))
		return -ENOTDIR;
	for (uint64_t i = pos / EROFS_BLOCK_SIZE; i < blocks; i++, first = 0) {
		struct dirblock b;
		int r = get_block(img, dir, i, &b);

		if (r < 0)
			return r;
		for (uint32_t k = first; k < b.n; k++) {
			struct entry e;

			r = get_entry(&b, k, &e);
			if (r < 0)
				return r;
			if (is_dot(&e))
				continue;
			r = fn(ctx, e.name, e.len, e.nid, dt_type(e.type),
			       i * EROFS_BLOCK_SIZE + k + 1);
			if (r)
				return r;
		}
	}
	return 0;
}
