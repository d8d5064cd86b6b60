/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stddef.h>

/*
 * real - fds of directories in real trees, a bounded number of them whatever
 * the number of objects known. An object is a link of a chain (its parent and
 * its name in it); its directory fd is made by walking down from the nearest
 * ancestor whose fd is at hand. No path strings, so any depth works.
 *
 *	r = ovl_real_open(cache, &obj_chain, obj, root_fd, &d);
 *	... d->fd (O_PATH) ...
 *	ovl_dirfd_put(d);
 *
 * The fd stays the same directory when that is renamed. Any thread; the caller
 * sees to it that no link of the chain changes during the call.
 */
struct ovl_dirfd {
	int fd; /* O_PATH | O_DIRECTORY */
	/* private, under the cache's lock */
	unsigned int refs; /* users; one more while it is in the cache */
	const void *key; /* NULL: no longer in the cache */
	struct ovl_real_cache *cache;
	struct ovl_dirfd *hash_next, *lru_prev, *lru_next;
};

struct ovl_real_chain {
	const void *(*parent)(const void *key); /* NULL for the root */
	const char *(*name)(const void *key);
};

struct ovl_real_cache;
/* At most @max idle fds are kept; NULL when out of memory. */
struct ovl_real_cache *ovl_real_cache_new(size_t max);
void ovl_real_cache_free(struct ovl_real_cache *c);

/* Returns a reference; -errno of the walk (-ENOENT, -ENOTDIR, -ELOOP: the tree is not what the
 * chain says). */
int ovl_real_open(struct ovl_real_cache *c, const struct ovl_real_chain *how, const void *key,
		  int root_fd, struct ovl_dirfd **ret) __attribute__((warn_unused_result));
void ovl_dirfd_put(struct ovl_dirfd *d); /* NULL is fine */
/* The object @key is gone or is freed: its fd is not found any more. */
void ovl_real_forget(struct ovl_real_cache *c, const void *key);

static inline void ovl_dirfd_putp(struct ovl_dirfd **d)
{
	ovl_dirfd_put(*d);
}
#define cleanup_dirfd __attribute__((cleanup(ovl_dirfd_putp)))
