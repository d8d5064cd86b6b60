/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/mounted/random_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MUST(x)                                                                                    \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                    \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

uint64_t random_next(struct random_tree *r)
{
	uint64_t z = r->state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static unsigned int below(struct random_tree *r, unsigned int n)
{
	return (unsigned int)(random_next(r) % n);
}

unsigned char random_byte(unsigned int device, uint64_t pos)
{
	uint64_t z = (pos / 8 + 1) * 0x9e3779b97f4a7c15u + device * 0xbf58476d1ce4e5b9u;

	z = (z ^ z >> 29) * 0x94d049bb133111ebu;
	return (unsigned char)(z >> (pos % 8 * 8));
}

/* Any bytes but '/' and NUL; long ones are rare. */
static size_t random_name(struct random_tree *r, char *name)
{
	static const char common[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";
	size_t len = 1 + below(r, below(r, 10) ? 12 : 255);
	bool any = below(r, 4) == 0;

	for (size_t i = 0; i < len; i++) {
		do
			name[i] = (char)(any ? below(r, 256)
					     : (unsigned int)common[below(r, sizeof(common) - 1)]);
		while (name[i] == '/' || name[i] == '\0');
	}
	name[len] = '\0';
	return len;
}

static void random_xattrs(struct random_tree *r, struct erofs_inode *inode)
{
	static const char *const prefixes[] = {"user.", "trusted.", "security."};
	static char value[65535];
	unsigned int n = below(r, 6);

	for (unsigned int i = 0; i < n; i++) {
		const char *prefix = prefixes[below(r, 3)];
		char name[300];
		size_t len;

		/* user.* exists on files and directories only; labels have meanings of their own */
		if (prefix[0] == 'u' && !S_ISREG(inode->mode) && !S_ISDIR(inode->mode))
			continue;
		if (below(r, 2)) { /* likely to be somebody else's as well */
			snprintf(name, sizeof(name), "%scommon%u", prefix, below(r, 5));
			len = (size_t)snprintf(value, sizeof(value), "value%u", below(r, 3));
		} else {
			size_t k = 1 + below(r, below(r, 10) ? 20 : 200);

			snprintf(name, sizeof(name), "%s", prefix);
			memset(name + strlen(prefix), 'a' + (int)below(r, 26), k);
			name[strlen(prefix) + k] = '\0';
			len = below(r, below(r, 20) ? 60 : 20000);
			for (size_t b = 0; b < len; b++)
				value[b] = (char)random_next(r);
		}
		MUST(erofs_inode_set_xattr(r->tree, inode, name, value, len) == 0);
	}
	if (below(r, 8) == 0 && !S_ISLNK(inode->mode)) {
		/* version 2; user::rwx user:1000:r-x group::r-x mask::rwx other::r-- */
		static const unsigned char acl[] =
			"\2\0\0\0"
			"\1\0\7\0\377\377\377\377\2\0\5\0\350\3\0\0\4\0\5\0\377\377\377\377"
			"\20\0\7\0\377\377\377\377\40\0\4\0\377\377\377\377";
		const char *name = S_ISDIR(inode->mode) && below(r, 2) ? "system.posix_acl_default"
								       : "system.posix_acl_access";

		MUST(erofs_inode_set_xattr(r->tree, inode, name, acl, sizeof(acl) - 1) == 0);
	}
}

static void random_data(struct random_tree *r, struct erofs_inode *f)
{
	unsigned int side = (unsigned int)r->n_devices;
	uint64_t room = RANDOM_DEVICE_BLOCKS * 512u;

	switch (below(r, 8)) {
	case 0:
		return; /* empty */
	case 1:
		f->size = 1 + random_next(r) % (1 << 20); /* nothing stored */
		return;
	case 2:
		f->device = (uint16_t)side;
		f->offset = below(r, 1000) * 512u;
		f->size = 1 + random_next(r) % (1 << 20);
		return;
	default:
		f->device = (uint16_t)(1 + below(r, side - 1));
		f->offset = below(r, RANDOM_DEVICE_BLOCKS) * 512u;
		room -= f->offset;
		f->size = 1 + random_next(r) % (below(r, 3) ? (room < 2000 ? room : 2000) : room);
		if (below(r, 3) == 0)
			f->size = (f->size + 511) / 512 * 512;
	}
}

static struct erofs_inode *random_inode(struct random_tree *r)
{
	static const uint32_t types[] = {S_IFREG, S_IFREG, S_IFREG, S_IFREG, S_IFDIR, S_IFDIR,
					 S_IFLNK, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK};
	uint32_t type = types[below(r, sizeof(types) / sizeof(types[0]))];
	struct erofs_inode *inode =
		erofs_inode_new(r->tree, type | (type == S_IFLNK ? 0777 : below(r, 010000)));

	MUST(inode);
	inode->uid = below(r, 3) ? below(r, 1000) : (uint32_t)(random_next(r) % (UINT32_MAX - 1));
	inode->gid = below(r, 3) ? below(r, 1000) : UINT32_MAX - 1;
	inode->mtime = (int64_t)(random_next(r) % 8000000000u) - 2000000000;
	inode->mtime_nsec = below(r, 1000000000);
	if (S_ISREG(type)) {
		random_data(r, inode);
	} else if (S_ISLNK(type)) {
		char target[4096];
		size_t len = 1 + below(r, below(r, 10) ? 60 : 4095);

		for (size_t i = 0; i < len; i++)
			target[i] = (char)(1 + below(r, 255));
		target[len] = '\0';
		MUST(erofs_inode_set_target(r->tree, inode, target) == 0);
	} else if (S_ISCHR(type) || S_ISBLK(type)) {
		inode->rdev_major = below(r, 4096);
		inode->rdev_minor = 1 + below(r, 1048575);
	}
	if (below(r, 5) == 0)
		random_xattrs(r, inode);
	return inode;
}

void random_tree_make(struct random_tree *r, uint64_t seed, unsigned int n_inodes,
		      unsigned int n_data)
{
	struct erofs_inode **dirs = calloc(n_inodes + 1, sizeof(*dirs));
	struct erofs_inode *last = NULL;
	unsigned int n_dirs = 1;

	*r = (struct random_tree){.state = seed, .tree = erofs_tree_new()};
	r->n_devices = n_data + 1;
	r->devices = calloc(r->n_devices, sizeof(*r->devices));
	MUST(dirs && r->tree && r->devices);
	for (unsigned int i = 0; i < r->n_devices; i++) {
		snprintf(r->devices[i].tag, sizeof(r->devices[i].tag), "%064x",
			 i < n_data ? i : n_data - 1);
		r->devices[i].size = i < n_data ? RANDOM_DEVICE_BLOCKS * 512u : UINT64_C(1) << 40;
	}
	dirs[0] = erofs_tree_root(r->tree);
	for (unsigned int i = 0; i < n_inodes; i++) {
		/* the square makes a few directories large */
		unsigned int at = below(r, 1 + below(r, n_dirs));
		struct erofs_inode *inode = last;
		char name[256];
		size_t len = random_name(r, name);

		if (!last || below(r, 20)) /* else one more name of the last one */
			inode = random_inode(r);
		if (erofs_dir_add(r->tree, dirs[at], name, len, inode) < 0)
			continue;
		if (inode->dir)
			dirs[n_dirs++] = inode;
		else
			last = inode;
	}
	free(dirs);
}

static struct erofs_inode *add(struct random_tree *r, struct erofs_inode *dir, const char *name,
			       uint32_t mode)
{
	struct erofs_inode *inode = erofs_inode_new(r->tree, mode);

	MUST(inode && erofs_dir_add(r->tree, dir, name, strlen(name), inode) == 0);
	return inode;
}

void random_tree_limits(struct random_tree *r, unsigned int large)
{
	struct erofs_inode *limits = add(r, erofs_tree_root(r->tree), "limits", S_IFDIR | 0755);
	struct erofs_inode *dir = add(r, limits, "large", S_IFDIR | 0755), *f;
	static char value[65535];
	char name[256], target[4096];

	for (unsigned int i = 0; i < large; i++) {
		snprintf(name, sizeof(name), "entry-%u", i);
		(void)add(r, dir, name, S_IFREG | 0644);
	}
	dir = add(r, limits, "long names", S_IFDIR | 0755);
	for (unsigned int i = 0; i < 100; i++) {
		memset(name, 0x80 + (int)i, 255);
		name[255] = '\0';
		(void)add(r, dir, name, S_IFREG | 0644);
	}
	dir = add(r, limits, "symlinks", S_IFDIR | 0755);
	for (unsigned int i = 1; i <= 4095; i = i < 520 ? i + 1 : i + 65) {
		snprintf(name, sizeof(name), "%u", i);
		memset(target, 't', i);
		target[i] = '\0';
		MUST(erofs_inode_set_target(r->tree, add(r, dir, name, S_IFLNK | 0777), target) ==
		     0);
	}
	f = add(r, limits, "tebibyte", S_IFREG | 0644);
	f->size = UINT64_C(1) << 40;
	f->device = (uint16_t)r->n_devices;
	f = add(r, limits, "hole", S_IFREG | 0644);
	f->size = (UINT64_C(5) << 40) + 12345;
	f = add(r, limits, "ids", S_IFREG | 06777);
	f->uid = f->gid = UINT32_MAX - 1;
	f->mtime = -2147483648LL;
	f = add(r, limits, "xattrs", S_IFREG | 0644);
	memset(value, 'v', sizeof(value));
	for (unsigned int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "user.big%u", i);
		MUST(erofs_inode_set_xattr(r->tree, f, name, value, sizeof(value) - i) == 0);
	}
	f = add(r, limits, "many xattrs", S_IFDIR | 0755);
	for (unsigned int i = 0; i < 600; i++) {
		snprintf(name, sizeof(name), "user.many%u", i);
		MUST(erofs_inode_set_xattr(r->tree, f, name, value, i) == 0);
	}
	f = add(r, limits, "linked", S_IFREG | 0644);
	for (unsigned int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "link%u", i);
		MUST(erofs_dir_add(r->tree, limits, name, strlen(name), f) == 0);
	}
	dir = limits;
	for (unsigned int i = 0; i < 500; i++)
		dir = add(r, dir, "deep", S_IFDIR | 0755);
}

void random_tree_release(struct random_tree *r)
{
	erofs_tree_free(r->tree);
	free(r->devices);
}
