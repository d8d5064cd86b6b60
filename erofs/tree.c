/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#include "erofs/tree_private.h"

#define ARENA_CHUNK   (256u << 10)
#define SMALL_DIR     8 /* up to here a scan beats a hash table */
#define NAME_LEN_MAX  255
#define DIR_COUNT_MAX (1u << 30)

struct chunk {
	struct chunk *next;
	size_t used, size;
	char data[];
};

struct erofs_tree {
	struct chunk *chunks; /* the first is the one being filled */
	struct erofs_dir *dirs;
	struct erofs_inode *root;
	uint64_t key[2]; /* of the name hash: names come from strangers, who must not choose
			    collisions */
};

void *erofs_tree_alloc(struct erofs_tree *t, size_t size)
{
	struct chunk *c = t->chunks;
	size_t room;

	if (size > SIZE_MAX / 2)
		return NULL;
	size = (size + 7) & ~(size_t)7;
	if (c && c->size - c->used >= size) {
		c->used += size;
		return c->data + c->used - size;
	}
	room = size > ARENA_CHUNK / 4 ? size : ARENA_CHUNK;
	c = malloc(sizeof(*c) + room);
	if (!c)
		return NULL;
	c->size = room;
	c->used = size;
	if (room == size && t->chunks) { /* a large one is full at once: keep filling the first */
		c->next = t->chunks->next;
		t->chunks->next = c;
	} else {
		c->next = t->chunks;
		t->chunks = c;
	}
	return c->data;
}

static char *copy_string(struct erofs_tree *t, const char *s, size_t len)
{
	char *p = erofs_tree_alloc(t, len + 1);

	if (!p)
		return NULL;
	memcpy(p, s, len);
	p[len] = '\0';
	return p;
}

static uint64_t rotl(uint64_t v, unsigned int n)
{
	return v << n | v >> (64 - n);
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[0] = rotl(v[0], 32);
	v[2] += v[3];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[2] = rotl(v[2], 32);
}

/* SipHash-1-3: keyed, so that the names of a hostile layer cannot make look-ups linear. */
uint64_t erofs_tree_hash(const struct erofs_tree *t, const void *data, size_t len)
{
	const char *p = data;
	uint64_t v[4] = {t->key[0] ^ 0x736f6d6570736575u, t->key[1] ^ 0x646f72616e646f6du,
			 t->key[0] ^ 0x6c7967656e657261u, t->key[1] ^ 0x7465646279746573u};
	uint64_t m;
	size_t i;

	for (i = 0; i + 8 <= len; i += 8) {
		memcpy(&m, p + i, 8);
		v[3] ^= m;
		sip_round(v);
		v[0] ^= m;
	}
	m = 0;
	memcpy(&m, p + i, len - i);
	m ^= (uint64_t)len << 56;
	v[3] ^= m;
	sip_round(v);
	v[0] ^= m;
	v[2] ^= 0xff;
	sip_round(v);
	sip_round(v);
	sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static uint32_t name_hash(const struct erofs_tree *t, const char *name, size_t len)
{
	return (uint32_t)erofs_tree_hash(t, name, len);
}

int erofs_name_cmp(const char *a, size_t alen, const char *b, size_t blen)
{
	int r = memcmp(a, b, alen < blen ? alen : blen);

	if (r)
		return r;
	return alen < blen ? -1 : alen > blen;
}

static int ent_cmp(const void *pa, const void *pb)
{
	const struct erofs_dirent *a = pa, *b = pb;

	return erofs_name_cmp(a->name, a->len, b->name, b->len);
}

struct erofs_tree *erofs_tree_new(void)
{
	struct erofs_tree *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	if (getrandom(t->key, sizeof(t->key), GRND_NONBLOCK) != (ssize_t)sizeof(t->key)) {
		/* Before the kernel's pool is ready a weak key is better than none. */
		t->key[0] = (uint64_t)time(NULL);
		t->key[1] = (uint64_t)(uintptr_t)t;
	}
	t->root = erofs_inode_new(t, S_IFDIR | 0755);
	if (!t->root) {
		erofs_tree_free(t);
		return NULL;
	}
	return t;
}

void erofs_tree_free(struct erofs_tree *t)
{
	if (!t)
		return;
	for (struct erofs_dir *d = t->dirs; d; d = d->all_next) {
		free(d->ents);
		free(d->table);
	}
	for (struct chunk *c = t->chunks, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	free(t);
}

struct erofs_inode *erofs_tree_root(struct erofs_tree *t)
{
	return t->root;
}

struct erofs_inode *erofs_inode_new(struct erofs_tree *t, uint32_t mode)
{
	struct erofs_inode *inode = erofs_tree_alloc(t, sizeof(*inode));
	struct erofs_dir *d;

	if (!inode)
		return NULL;
	memset(inode, 0, sizeof(*inode));
	inode->mode = mode;
	if (!S_ISDIR(mode))
		return inode;
	d = erofs_tree_alloc(t, sizeof(*d));
	if (!d)
		return NULL;
	memset(d, 0, sizeof(*d));
	d->tree = t;
	d->sorted = true;
	d->all_next = t->dirs;
	t->dirs = d;
	inode->dir = d;
	inode->nlink = 2;
	return inode;
}

bool erofs_inode_is_whiteout(const struct erofs_inode *inode)
{
	return S_ISCHR(inode->mode) && inode->rdev_major == 0 && inode->rdev_minor == 0;
}

int erofs_inode_set_target(struct erofs_tree *t, struct erofs_inode *inode, const char *target)
{
	size_t len = strlen(target);
	char *copy = copy_string(t, target, len);

	if (!copy)
		return -ENOMEM;
	inode->target = copy;
	if (S_ISLNK(inode->mode))
		inode->size = len;
	return 0;
}

int erofs_inode_set_xattr(struct erofs_tree *t, struct erofs_inode *inode, const char *name,
			  const void *value, size_t len)
{
	struct erofs_xattr *x;
	void *copy = erofs_tree_alloc(t, len + 1);

	if (!copy)
		return -ENOMEM;
	if (len)
		memcpy(copy, value, len);
	for (x = inode->xattrs; x; x = x->next)
		if (strcmp(x->name, name) == 0)
			break;
	if (!x) {
		x = erofs_tree_alloc(t, sizeof(*x));
		if (!x)
			return -ENOMEM;
		x->name = copy_string(t, name, strlen(name));
		if (!x->name)
			return -ENOMEM;
		x->next = inode->xattrs;
		inode->xattrs = x;
	}
	x->value = copy;
	x->len = len;
	return 0;
}

void erofs_inode_remove_xattr(struct erofs_inode *inode, const char *name)
{
	for (struct erofs_xattr **p = &inode->xattrs; *p; p = &(*p)->next) {
		if (strcmp((*p)->name, name) == 0) {
			*p = (*p)->next;
			return;
		}
	}
}

/* The entry, dead ones included; NULL when the name never was. */
static struct erofs_dirent *find_entry(const struct erofs_dir *d, const char *name, size_t len,
				       uint32_t hash)
{
	if (!d->table) {
		for (uint32_t i = 0; i < d->used; i++)
			if (d->ents[i].len == len && memcmp(d->ents[i].name, name, len) == 0)
				return &d->ents[i];
		return NULL;
	}
	for (uint32_t slot = hash & d->mask; d->table[slot]; slot = (slot + 1) & d->mask) {
		struct erofs_dirent *e = &d->ents[d->table[slot] - 1];

		if (e->hash == hash && e->len == len && memcmp(e->name, name, len) == 0)
			return e;
	}
	return NULL;
}

static uint32_t hash_for(const struct erofs_dir *d, const char *name, size_t len)
{
	return d->table ? name_hash(d->tree, name, len) : 0;
}

static void table_put(struct erofs_dir *d, uint32_t index)
{
	uint32_t slot = d->ents[index].hash & d->mask;

	while (d->table[slot])
		slot = (slot + 1) & d->mask;
	d->table[slot] = index + 1;
}

static void table_fill(struct erofs_dir *d)
{
	memset(d->table, 0, ((size_t)d->mask + 1) * sizeof(*d->table));
	for (uint32_t i = 0; i < d->used; i++)
		table_put(d, i);
}

/* Leaves dead entries behind; order and table stay right. */
static void compact(struct erofs_dir *d)
{
	uint32_t n = 0;

	if (d->live == d->used)
		return;
	for (uint32_t i = 0; i < d->used; i++)
		if (d->ents[i].inode)
			d->ents[n++] = d->ents[i];
	d->used = n;
	if (d->table)
		table_fill(d);
}

/* Room for one more entry, in ents and in the table. */
static int reserve(struct erofs_dir *d)
{
	struct erofs_dirent *ents;
	uint32_t cap, *table;

	if (d->used < d->cap)
		return 0;
	if (d->live < d->used / 2) {
		compact(d);
		return 0;
	}
	if (d->cap >= DIR_COUNT_MAX)
		return -EMLINK;
	cap = d->cap ? d->cap * 2 : 4;
	ents = realloc(d->ents, (size_t)cap * sizeof(*ents));
	if (!ents)
		return -ENOMEM;
	d->ents = ents;
	if (cap > SMALL_DIR) {
		table = malloc((size_t)cap * 2 * sizeof(*table));
		if (!table)
			return -ENOMEM;
		if (!d->table)
			for (uint32_t i = 0; i < d->used; i++)
				ents[i].hash = name_hash(d->tree, ents[i].name, ents[i].len);
		free(d->table);
		d->table = table;
		d->mask = cap * 2 - 1;
		table_fill(d);
	}
	d->cap = cap;
	return 0;
}

struct erofs_inode *erofs_dir_find(const struct erofs_inode *dir, const char *name, size_t len)
{
	const struct erofs_dirent *e;

	if (!dir->dir)
		return NULL;
	e = find_entry(dir->dir, name, len, hash_for(dir->dir, name, len));
	return e ? e->inode : NULL;
}

static bool name_is_valid(const char *name, size_t len)
{
	if (len == 0 || len > NAME_LEN_MAX || memchr(name, '/', len) || memchr(name, '\0', len))
		return false;
	return !(name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')));
}

/* Whether @dir hangs below @top or is it. */
static bool is_within(const struct erofs_inode *dir, const struct erofs_inode *top)
{
	for (; dir; dir = dir->dir->parent)
		if (dir == top)
			return true;
	return false;
}

int erofs_dir_add(struct erofs_tree *t, struct erofs_inode *dir, const char *name, size_t len,
		  struct erofs_inode *inode)
{
	struct erofs_dir *d = dir->dir;
	struct erofs_dirent *e;
	uint32_t hash;
	int r;

	if (!d)
		return -ENOTDIR;
	if (!name_is_valid(name, len))
		return -EINVAL;
	e = find_entry(d, name, len, hash_for(d, name, len));
	if (e && e->inode)
		return -EEXIST;
	if (inode->dir) {
		if (inode->dir->parent || inode == t->root)
			return -EMLINK;
		/* An empty directory is nobody's parent: the walk up is for the rest. */
		if (inode == dir || (inode->dir->live && is_within(dir, inode)))
			return -EINVAL;
	} else if (inode->nlink == UINT32_MAX) {
		return -EMLINK;
	}
	if (!e) {
		const char *copy = copy_string(t, name, len);

		if (!copy)
			return -ENOMEM;
		r = reserve(d);
		if (r < 0)
			return r;
		hash = hash_for(d, name, len); /* the table may be new */
		e = &d->ents[d->used];
		*e = (struct erofs_dirent){.name = copy, .hash = hash, .len = (uint32_t)len};
		if (d->used && d->sorted && ent_cmp(e - 1, e) > 0)
			d->sorted = false;
		d->used++;
		if (d->table)
			table_put(d, d->used - 1);
	}
	e->inode = inode;
	d->live++;
	if (inode->dir) {
		inode->dir->parent = dir;
		dir->nlink++;
	} else {
		inode->nlink++;
	}
	return 0;
}

/*
 * Takes all names out of the directories of the list, and out of the directories below them. A
 * list, not recursion: a tree may be as deep as its paths are long.
 */
static void drop_names(struct erofs_dir *list)
{
	while (list) {
		struct erofs_dir *d = list;

		list = d->drop_next;
		d->drop_next = NULL;
		for (uint32_t i = 0; i < d->used; i++) {
			struct erofs_inode *inode = d->ents[i].inode;

			if (!inode)
				continue;
			if (inode->dir) {
				inode->dir->parent = NULL;
				inode->nlink = 2;
				inode->dir->drop_next = list;
				list = inode->dir;
			} else {
				inode->nlink--;
			}
		}
		free(d->ents);
		free(d->table);
		d->ents = NULL;
		d->table = NULL;
		d->used = d->cap = d->live = d->mask = 0;
		d->sorted = true;
	}
}

int erofs_dir_remove(struct erofs_tree *t, struct erofs_inode *dir, const char *name, size_t len)
{
	struct erofs_dir *d = dir->dir;
	struct erofs_dirent *e = d ? find_entry(d, name, len, hash_for(d, name, len)) : NULL;
	struct erofs_inode *inode = e ? e->inode : NULL;

	(void)t;
	if (!inode)
		return -ENOENT;
	e->inode = NULL;
	d->live--;
	if (inode->dir) {
		inode->dir->parent = NULL;
		inode->nlink = 2;
		dir->nlink--;
		drop_names(inode->dir);
	} else {
		inode->nlink--;
	}
	return 0;
}

void erofs_dir_clear(struct erofs_tree *t, struct erofs_inode *dir)
{
	(void)t;
	if (!dir->dir)
		return;
	drop_names(dir->dir);
	dir->nlink = 2;
}

size_t erofs_dir_count(const struct erofs_inode *dir)
{
	return dir->dir ? dir->dir->live : 0;
}

struct erofs_inode *erofs_dir_parent(const struct erofs_inode *dir)
{
	return dir->dir ? dir->dir->parent : NULL;
}

const struct erofs_dirent *erofs_dir_entries(const struct erofs_inode *dir, size_t *ret_n)
{
	struct erofs_dir *d = dir->dir;

	assert(d);
	compact(d);
	if (!d->sorted) {
		qsort(d->ents, d->used, sizeof(*d->ents), ent_cmp);
		if (d->table)
			table_fill(d);
		d->sorted = true;
	}
	*ret_n = d->used;
	return d->ents;
}

int erofs_dir_each(const struct erofs_inode *dir, erofs_dir_fn fn, void *ctx)
{
	const struct erofs_dirent *e;
	size_t n;
	int r;

	if (!dir->dir)
		return -ENOTDIR;
	e = erofs_dir_entries(dir, &n);
	for (size_t i = 0; i < n; i++) {
		r = fn(ctx, e[i].name, e[i].len, e[i].inode);
		if (r)
			return r;
	}
	return 0;
}
