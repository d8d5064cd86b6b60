/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/node.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "overlay/pin.h"
#include "overlay/quota.h"

#define BUCKETS_MIN 1024
#define TRIM_MIN    16384

void ovl_entry_release(struct ovl_entry *e)
{
	for (unsigned int i = 0; i < e->n_lowers; i++)
		ovl_obj_unref(e->lowers[i]);
	free(e->lowers);
	free(e->redirect);
	e->lowers = NULL;
	e->n_lowers = 0;
	e->redirect = NULL;
}

int ovl_table_init(struct ovl_table *t)
{
	t->n_buckets = BUCKETS_MIN;
	t->count = t->freed = 0;
	t->buckets = calloc(t->n_buckets, sizeof(*t->buckets));
	if (!t->buckets)
		return -ENOMEM;
	pthread_mutex_init(&t->lock, NULL);
	return 0;
}

void ovl_table_release(struct ovl_table *t)
{
	if (!t->buckets)
		return;
	free(t->buckets);
	t->buckets = NULL;
	pthread_mutex_destroy(&t->lock);
}

static struct ovl_node **bucket_of(struct ovl_table *t, uint64_t number)
{
	return &t->buckets[(number * UINT64_C(0x9E3779B97F4A7C15) >> 32) & (t->n_buckets - 1)];
}

/* Longer chains are all that a failure costs, so it is none. */
static void table_resize_locked(struct ovl_table *t, size_t n_buckets)
{
	struct ovl_table other = {.n_buckets = n_buckets};
	struct ovl_node *n, *next, **b;

	other.buckets = calloc(other.n_buckets, sizeof(*other.buckets));
	if (!other.buckets)
		return;
	for (size_t i = 0; i < t->n_buckets; i++)
		for (n = t->buckets[i]; n; n = next) {
			next = n->hash_next;
			b = bucket_of(&other, n->number);
			n->hash_next = *b;
			*b = n;
		}
	free(t->buckets);
	t->buckets = other.buckets;
	t->n_buckets = other.n_buckets;
}

static struct ovl_node *table_find_locked(struct ovl_table *t, uint64_t number)
{
	struct ovl_node *n = *bucket_of(t, number);

	while (n && (n->hidden || n->number != number))
		n = n->hash_next;
	return n;
}

static void table_add_locked(struct ovl_table *t, struct ovl_node *n)
{
	struct ovl_node **b;

	if (t->count >= t->n_buckets)
		table_resize_locked(t, t->n_buckets * 2);
	b = bucket_of(t, n->number);
	n->hash_next = *b;
	*b = n;
	n->hashed = true;
	t->count++;
}

static void table_remove_locked(struct ovl_table *t, struct ovl_node *n)
{
	struct ovl_node **p = bucket_of(t, n->number);

	if (!n->hashed)
		return;
	while (*p != n)
		p = &(*p)->hash_next;
	*p = n->hash_next;
	n->hashed = false;
	t->count--;
	t->freed++;
}

struct ovl_node *ovl_node_find(struct ovl_fs *fs, uint64_t number)
{
	struct ovl_node *n;

	pthread_mutex_lock(&fs->table.lock);
	n = table_find_locked(&fs->table, number);
	if (n)
		n->refs++;
	pthread_mutex_unlock(&fs->table.lock);
	return n;
}

struct ovl_node *ovl_node_ref(struct ovl_fs *fs, struct ovl_node *n)
{
	pthread_mutex_lock(&fs->table.lock);
	n->refs++;
	pthread_mutex_unlock(&fs->table.lock);
	return n;
}

static void lookup_locked(struct ovl_node *n)
{
	if (n->lookups++ == 0)
		n->refs++;
}

void ovl_node_looked_up(struct ovl_fs *fs, struct ovl_node *n)
{
	pthread_mutex_lock(&fs->table.lock);
	lookup_locked(n);
	pthread_mutex_unlock(&fs->table.lock);
}

void ovl_node_unhash(struct ovl_fs *fs, struct ovl_node *n)
{
	pthread_mutex_lock(&fs->table.lock);
	n->hidden = true;
	pthread_mutex_unlock(&fs->table.lock);
}

/* Frees the node itself; the aliases, whose parents may have to go too, are handed back. */
static struct ovl_alias *node_free(struct ovl_fs *fs, struct ovl_node *n)
{
	struct ovl_alias *first = n->at.next, *a;

	ovl_quota_freed(fs, n);
	if (S_ISDIR(n->type))
		ovl_real_forget(fs->fds, n);
	for (unsigned int i = 0; i < n->n_lowers; i++)
		ovl_obj_unref(ovl_node_lowers(n)[i]);
	if (n->n_lowers > 1)
		free(n->many);
	ovl_pin_drop(fs, n, n->pin);
	free(n->redirect);
	/* The first alias lives in the node: its memory is made one of the list's. */
	if (n->at.parent) {
		struct ovl_alias own = n->at;

		_Static_assert(sizeof(struct ovl_alias) <= sizeof(struct ovl_node), "reused");
		a = (struct ovl_alias *)n;
		*a = own;
		a->next = first;
		return a;
	}
	free(n);
	return first;
}

static bool put_locked(struct ovl_fs *fs, struct ovl_node *n)
{
	if (--n->refs > 0)
		return false;
	table_remove_locked(&fs->table, n);
	return true;
}

/* Not recursive: the parents of a deep tree may all go at once. */
static void free_chain(struct ovl_fs *fs, struct ovl_node *n)
{
	struct ovl_alias *todo = node_free(fs, n), *a, *more, **end;

	while (todo) {
		bool last;

		a = todo;
		todo = a->next;
		n = a->parent;
		free(a->name);
		free(a);
		pthread_mutex_lock(&fs->table.lock);
		last = put_locked(fs, n);
		pthread_mutex_unlock(&fs->table.lock);
		if (!last)
			continue;
		more = node_free(fs, n);
		for (end = &more; *end; end = &(*end)->next)
			;
		*end = todo;
		todo = more;
	}
}

void ovl_node_unref(struct ovl_fs *fs, struct ovl_node *n)
{
	bool last;

	if (!n)
		return;
	pthread_mutex_lock(&fs->table.lock);
	last = put_locked(fs, n);
	pthread_mutex_unlock(&fs->table.lock);
	if (last)
		free_chain(fs, n);
}

void ovl_node_forget(struct ovl_fs *fs, struct ovl_node *n, uint64_t count)
{
	bool last = false;

	pthread_mutex_lock(&fs->table.lock);
	if (n->lookups > 0) {
		n->lookups -= count < n->lookups ? count : n->lookups;
		last = n->lookups == 0;
	}
	pthread_mutex_unlock(&fs->table.lock);
	if (!last)
		return;
	/* Nobody is left who could go on with them. */
	if (S_ISDIR(n->type))
		ovl_listings_forget(fs, n);
	ovl_node_unref(fs, n);
}

void ovl_table_trim(struct ovl_table *t)
{
	size_t n;
	bool trims;

	pthread_mutex_lock(&t->lock);
	trims = t->freed >= TRIM_MIN && t->freed >= t->count;
	if (trims) {
		t->freed = 0;
		for (n = t->n_buckets; n > BUCKETS_MIN && n / 4 > t->count;)
			n /= 2;
		if (n != t->n_buckets)
			table_resize_locked(t, n);
	}
	pthread_mutex_unlock(&t->lock);
	if (trims)
		(void)malloc_trim(0);
}

static struct ovl_node *node_new(struct ovl_fs *fs, struct ovl_node *parent, const char *name,
				 struct ovl_entry *e)
{
	struct ovl_node *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->number = e->number;
	n->refs = 1;
	n->pin = OVL_PIN_NONE;
	n->type = e->st.st_mode & S_IFMT;
	n->nlink = e->nlink;
	n->upper_ino = e->upper ? e->st.st_ino : 0;
	atomic_init(&n->flags, (e->upper ? (unsigned int)OVL_NODE_UPPER : 0) |
				       (e->indexed ? (unsigned int)OVL_NODE_INDEXED : 0) |
				       e->protection |
				       (e->metacopy ? (unsigned int)OVL_NODE_METACOPY : 0));
	if (parent) {
		n->at.name = strdup(name);
		if (!n->at.name) {
			free(n);
			return NULL;
		}
		n->at.parent = ovl_node_ref(fs, parent);
	}
	n->n_lowers = e->n_lowers;
	if (e->n_lowers > 1) {
		n->many = steal_ptr(&e->lowers);
	} else if (e->n_lowers == 1) {
		n->one = e->lowers[0];
	}
	e->n_lowers = 0;
	n->redirect = steal_ptr(&e->redirect);
	return n;
}

bool ovl_node_has_alias_locked(const struct ovl_node *n, const struct ovl_node *parent,
			       const char *name)
{
	for (const struct ovl_alias *a = &n->at; a; a = a->next)
		if (a->parent == parent && (!parent || strcmp(a->name, name) == 0))
			return true;
	return false;
}

int ovl_node_add_alias_locked(struct ovl_fs *fs, struct ovl_node *n, struct ovl_node *parent,
			      const char *name)
{
	struct ovl_alias *a = &n->at;
	char *copy;

	if (ovl_node_has_alias_locked(n, parent, name))
		return 0;
	copy = strdup(name);
	if (n->at.parent)
		a = calloc(1, sizeof(*a));
	if (!copy || !a) {
		free(copy);
		if (a != &n->at)
			free(a);
		return -ENOMEM;
	}
	a->name = copy;
	a->parent = ovl_node_ref(fs, parent);
	if (a != &n->at) {
		a->next = n->at.next;
		n->at.next = a;
	}
	/* Found by a name again: that will do. */
	ovl_pin_drop(fs, n, n->pin);
	n->pin = OVL_PIN_NONE;
	return 0;
}

void ovl_node_drop_alias_locked(struct ovl_fs *fs, struct ovl_node *n, struct ovl_node *parent,
				const char *name)
{
	struct ovl_alias **p, *a = &n->at, *next;

	if (a->parent == parent && strcmp(a->name, name) == 0) {
		free(a->name);
		next = a->next;
		n->at = next ? *next : (struct ovl_alias){.next = NULL};
		free(next);
		ovl_node_unref(fs, parent);
		return;
	}
	for (p = &n->at.next; *p; p = &(*p)->next) {
		a = *p;
		if (a->parent == parent && strcmp(a->name, name) == 0) {
			*p = a->next;
			free(a->name);
			free(a);
			ovl_node_unref(fs, parent);
			return;
		}
	}
}

/* Whether a node of the same number really is what @e found. Marks from a foreign hand may repeat
 * numbers. */
static bool same_object_locked(struct ovl_node *n, struct ovl_node *parent, const char *name,
			       const struct ovl_entry *e)
{
	bool upper = ovl_node_has(n, OVL_NODE_UPPER);

	if (n->type != (e->st.st_mode & S_IFMT))
		return false;
	if (ovl_node_has_alias_locked(n, parent, name))
		return true;
	if (S_ISDIR(n->type))
		return false;
	if (e->upper)
		return upper && n->upper_ino == e->st.st_ino;
	/* A lower file with one name cannot be here under two. */
	return !upper && e->st.st_nlink > 1;
}

int ovl_node_get(struct ovl_fs *fs, struct ovl_node *parent, const char *name, struct ovl_entry *e,
		 bool lookup, struct ovl_node **ret)
{
	struct ovl_node *n, *made = NULL;
	bool alias = true, writing = false;
	int r = 0;

	pthread_rwlock_rdlock(&fs->tree);
again:
	pthread_mutex_lock(&fs->table.lock);
	n = table_find_locked(&fs->table, e->number);
	if (n) {
		n->refs++;
	} else if (made) {
		n = steal_ptr(&made);
		table_add_locked(&fs->table, n);
	}
	if (n && lookup)
		lookup_locked(n);
	pthread_mutex_unlock(&fs->table.lock);
	if (!n) {
		made = node_new(fs, parent, name, e);
		if (made)
			goto again;
		r = -ENOMEM;
		goto out;
	}
	if (!same_object_locked(n, parent, name, e)) {
		if (lookup)
			ovl_node_forget(fs, n, 1);
		ovl_node_unref(fs, n);
		r = ovl_number_fresh(fs->numbers, &e->number);
		if (r < 0)
			goto out;
		if (made)
			made->number = e->number;
		goto again;
	}
	alias = ovl_node_has_alias_locked(n, parent, name);
	if (!alias && !writing) {
		/* Only for one more name of a file with hard links: once each. */
		pthread_rwlock_unlock(&fs->tree);
		pthread_rwlock_wrlock(&fs->tree);
		writing = true;
	}
	if (!alias)
		r = ovl_node_add_alias_locked(fs, n, parent, name);
	/* One name more that the next change makes a link, too. */
	if (!alias)
		ovl_node_clear(n, OVL_NODE_LINKED);
	if (r == 0)
		*ret = n;
	/* The reference goes to the caller; a look-up has its own. */
	if (r < 0 && lookup)
		ovl_node_forget(fs, n, 1);
	if (r < 0 || lookup)
		ovl_node_unref(fs, n);
out:
	pthread_rwlock_unlock(&fs->tree);
	ovl_node_unref(fs, made);
	return r;
}

static const void *node_parent(const void *key)
{
	return ((const struct ovl_node *)key)->at.parent;
}

static const char *node_name(const void *key)
{
	return ((const struct ovl_node *)key)->at.name;
}

static const struct ovl_real_chain node_chain = {.parent = node_parent, .name = node_name};

int ovl_node_dirfd_locked(struct ovl_fs *fs, struct ovl_node *n, struct ovl_dirfd **ret)
{
	/* A removed directory has nothing in it, and its chain ends nowhere. */
	if (ovl_node_has(n, OVL_NODE_ORPHAN))
		return -ENOENT;
	return ovl_real_open(fs->fds, &node_chain, n, fs->upper_fd, ret);
}

int ovl_node_dirfd(struct ovl_fs *fs, struct ovl_node *n, struct ovl_dirfd **ret)
{
	int r;

	pthread_rwlock_rdlock(&fs->tree);
	r = ovl_node_dirfd_locked(fs, n, ret);
	pthread_rwlock_unlock(&fs->tree);
	return r;
}

int ovl_at_get_locked(struct ovl_fs *fs, struct ovl_node *n, struct ovl_at *ret)
{
	int r;

	ret->dir = NULL;
	ret->name = "";
	if (n == fs->root) {
		ret->fd = fs->upper_fd;
		return 0;
	}
	if (n->pin >= 0) {
		ret->fd = n->pin;
		return 0;
	}
	if (n->pin == OVL_PIN_PARKED) {
		ovl_pin_name(n, ret->buf);
		ret->fd = fs->work_fd;
		ret->name = ret->buf;
		return 0;
	}
	if (ovl_node_has(n, OVL_NODE_INDEXED)) {
		snprintf(ret->buf, sizeof(ret->buf), "%" PRIu64, n->number);
		ret->fd = fs->links_fd;
		ret->name = ret->buf;
		return 0;
	}
	if (!n->at.parent)
		return -ESTALE;
	ret->name = n->at.name;
	r = ovl_node_dirfd_locked(fs, n->at.parent, &ret->dir);
	if (r < 0)
		return r == -ENOENT ? -ESTALE : r;
	ret->fd = ret->dir->fd;
	return 0;
}

void ovl_at_release(struct ovl_at *at)
{
	ovl_dirfd_put(at->dir);
	at->dir = NULL;
}
