/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/namei.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "overlay/mark.h"
#include "overlay/ops.h"
#include "overlay/whiteout.h"

#define NAME_MAX_BYTES 255
#define REDIRECT_SIZE  4096

int ovl_origin_get(struct ovl_fs *fs, int fd, const char *name, uint64_t *ret)
{
	char buf[24];
	ssize_t n = ovl_sys_getxattr(fd, name, fs->mark[OVL_MARK_ORIGIN], buf, sizeof(buf));
	uint64_t number;

	if (n < 0)
		return n == -ENOTSUP || n == -ERANGE ? -ENODATA : (int)n;
	/* Only numbers of our own batches: anything else is not ours to believe. */
	if (ovl_mark_number(buf, (size_t)n, &number) < 0 || number >> 32 >= ovl_fs_batches(fs))
		return -ENODATA;
	*ret = number;
	return 0;
}

int ovl_origin_set(struct ovl_fs *fs, int fd, const char *name, uint64_t number, ino_t ino)
{
	char buf[24];
	int n = snprintf(buf, sizeof(buf), "%" PRIu64, number);
	int r = ovl_number_written(fs->numbers, number);

	if (r < 0)
		return r;
	r = ovl_sys_setxattr(fd, name, fs->mark[OVL_MARK_ORIGIN], buf, (size_t)n, 0);
	/*
	 * user.* cannot be on symlinks and special files: then we remember it, for the kernel knows
	 * the node by this number. At the next mount it is another one, nothing else.
	 */
	return r == -EPERM || r == -EOPNOTSUPP
		       ? ovl_origins_add(fs->numbers, fs->upper_batch, ino, number)
		       : r;
}

int ovl_nlink_get(struct ovl_fs *fs, int fd, const char *name, nlink_t real)
{
	char buf[24];
	ssize_t n = ovl_sys_getxattr(fd, name, fs->mark[OVL_MARK_NLINK], buf, sizeof(buf));

	return ovl_mark_nlink(buf, n > 0 ? (size_t)n : 0, real);
}

bool ovl_is_impure(struct ovl_fs *fs, struct ovl_node *dir)
{
	struct ovl_at at cleanup_at = OVL_AT_INIT;
	unsigned int known = ovl_node_has(dir, OVL_NODE_IMPURE | OVL_NODE_PURE);
	char c = 'n';
	int r;

	if (known)
		return known & OVL_NODE_IMPURE;
	pthread_rwlock_rdlock(&fs->tree);
	r = ovl_at_get_locked(fs, dir, &at);
	if (r == 0)
		r = (int)ovl_sys_getxattr(at.fd, at.name, fs->mark[OVL_MARK_IMPURE], &c, 1);
	pthread_rwlock_unlock(&fs->tree);
	if (r < 0 && r != -ENODATA && r != -ENOTSUP)
		return true; /* not known: look */
	ovl_node_set(dir, c == 'y' ? OVL_NODE_IMPURE : OVL_NODE_PURE);
	return c == 'y';
}

int ovl_mark_impure(struct ovl_fs *fs, struct ovl_node *dir)
{
	struct ovl_at at cleanup_at = OVL_AT_INIT;
	int r;

	if (ovl_node_has(dir, OVL_NODE_IMPURE))
		return 0;
	pthread_rwlock_rdlock(&fs->tree);
	r = ovl_at_get_locked(fs, dir, &at);
	if (r == 0)
		r = ovl_sys_setxattr(at.fd, at.name, fs->mark[OVL_MARK_IMPURE], "y", 1, 0);
	pthread_rwlock_unlock(&fs->tree);
	if (r == 0) {
		ovl_node_set(dir, OVL_NODE_IMPURE);
		ovl_node_clear(dir, OVL_NODE_PURE);
	}
	return r;
}

int ovl_upper_number(struct ovl_fs *fs, bool impure, int fd, const char *name, ino_t ino, dev_t dev,
		     uint64_t *ret, bool *ret_origin)
{
	bool here = dev == fs->upper_dev;
	int r = impure ? ovl_origin_get(fs, fd, name, ret) : -ENODATA;

	/* Not read is not the same as not there: another number would be another file. */
	if (r < 0 && r != -ENODATA)
		return r;
	if (r == 0 || (here && ovl_origins_find(fs->numbers, fs->upper_batch, ino, ret))) {
		*ret_origin = true;
		return 0;
	}
	*ret_origin = false;
	return ovl_number(fs->numbers, fs->upper_batch, ino, here ? 0 : dev, ret);
}

int ovl_below_number(struct ovl_fs *fs, const struct ovl_layer *l, uint64_t ino, dev_t dev,
		     uint64_t origin, uint64_t *ret)
{
	dev_t foreign = l->image || dev == l->dev ? 0 : dev;

	if (l->frozen && !foreign && ovl_origins_find(fs->numbers, l->batch, ino, ret))
		return 0;
	if (origin > 0 && origin >> 32 < ovl_fs_batches(fs)) {
		*ret = origin;
		return 0;
	}
	return ovl_number(fs->numbers, l->batch, ino, foreign, ret);
}

/* The lower part of an entry; of one that is in the upper what that leaves them to say. */
static int resolve_lowers(struct ovl_fs *fs, struct ovl_node *parent, const char *name,
			  enum ovl_want want, struct ovl_entry *e)
{
	struct ovl_below b cleanup_below = OVL_BELOW_INIT;
	const struct ovl_stack stack = ovl_fs_stack(fs);
	int r = ovl_stack_lookup(&stack, ovl_node_lowers(parent), parent->n_lowers, name,
				 e->redirect, want, &b);

	if (r < 0 || !b.found)
		return r;
	if (!e->found) {
		e->found = true;
		e->st = b.st;
		r = ovl_below_number(fs, b.set.objs[0]->layer, b.st.st_ino, b.st.st_dev, b.origin,
				     &e->number);
		if (r < 0)
			return r;
	}
	if (want == OVL_WANT_DATA)
		e->st.st_blocks = b.st.st_blocks;
	e->lowers = b.set.objs;
	e->n_lowers = (unsigned int)b.set.n;
	b.set = (struct ovl_dirset){NULL, 0};
	return 0;
}

/* A lower file with hard links that was copied up by another of its names. */
static int resolve_indexed(struct ovl_fs *fs, struct ovl_entry *e)
{
	uint64_t host = ovl_links_find(fs->numbers, e->number);
	char name[24];
	struct stat st;
	int r;

	if (host == 0)
		return 0;
	if (e->upper && host != e->st.st_ino)
		return 0;
	snprintf(name, sizeof(name), "%" PRIu64, e->number);
	r = ovl_sys_stat(fs->links_fd, name, &st);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	e->indexed = true;
	e->upper = true;
	e->st = st;
	ovl_override_read(fs->links_fd, name, fs->owner_xattr, &e->st);
	e->protection = ovl_protection_read(fs, fs->links_fd, name);
	e->nlink = ovl_nlink_get(fs, fs->links_fd, name, st.st_nlink);
	return 0;
}

/* Which marks (fd, name) has, as bits: one call for most objects, which have none. */
static int marks_of(struct ovl_fs *fs, int fd, const char *name, unsigned int *ret)
{
	char names[2048];
	ssize_t n = ovl_sys_listxattr(fd, name, names, sizeof(names));

	*ret = 0;
	if (n == -ERANGE) /* so many: look for each */
		*ret = ~0u;
	else if (n < 0)
		return n == -ENOTSUP ? 0 : (int)n;
	for (const char *p = names; n > 0 && p < names + n; p += strlen(p) + 1)
		for (unsigned int i = 0; i < OVL_MARK_COUNT; i++)
			if (strcmp(p, fs->mark[i]) == 0)
				*ret |= 1u << i;
	return 0;
}

/* What an upper object says of lower layers: nothing, if @ret_want stays. */
static int read_merge_marks(struct ovl_fs *fs, int fd, const char *name, unsigned int marks,
			    struct ovl_entry *e, bool *ret_merge, enum ovl_want *ret_want)
{
	char buf[REDIRECT_SIZE], opaque = 'n';
	ssize_t n = 0;
	int r;

	if (S_ISDIR(e->st.st_mode)) {
		if (marks & 1u << OVL_MARK_OPAQUE)
			n = ovl_sys_getxattr(fd, name, fs->mark[OVL_MARK_OPAQUE], &opaque, 1);
		if (n < 0 && n != -ENODATA && n != -ENOTSUP && n != -ERANGE)
			return (int)n;
		*ret_merge = opaque != 'y';
		*ret_want = OVL_WANT_DIR;
	} else if (S_ISREG(e->st.st_mode) && marks & 1u << OVL_MARK_METACOPY && e->st.st_size > 0) {
		r = ovl_metacopy_read(fd, name, fs->mark[OVL_MARK_METACOPY]);
		if (r < 0)
			return r;
		e->metacopy = *ret_merge = r > 0;
		*ret_want = OVL_WANT_DATA;
	}
	if (!*ret_merge || !(marks & 1u << OVL_MARK_REDIRECT))
		return 0;
	n = ovl_sys_getxattr(fd, name, fs->mark[OVL_MARK_REDIRECT], buf, sizeof(buf) - 1);
	if (n < 0 && n != -ENODATA && n != -ENOTSUP)
		return (int)n;
	if (n > 0) {
		buf[n] = '\0';
		e->redirect = strdup(buf);
		if (!e->redirect)
			return -ENOMEM;
	}
	return 0;
}

/* The upper part; what it leaves for the lowers to say is in @e->redirect and what is returned. */
static int resolve_upper(struct ovl_fs *fs, struct ovl_node *parent, const char *name,
			 struct ovl_entry *e, bool *ret_merge, enum ovl_want *ret_want)
{
	cleanup_dirfd struct ovl_dirfd *d = NULL;
	unsigned int marks = 0;
	bool impure;
	int r = ovl_node_dirfd(fs, parent, &d);

	if (r == 0)
		r = ovl_sys_stat(d->fd, name, &e->st);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	*ret_merge = false;
	if (ovl_stat_is_whiteout(&e->st)) {
		e->whiteout = true;
		return 0;
	}
	e->found = e->upper = true;
	impure = ovl_is_impure(fs, parent);
	r = marks_of(fs, d->fd, name, &marks);
	if (marks & 1u << OVL_MARK_PROTATTR)
		e->protection = ovl_protection_read(fs, d->fd, name);
	if (r == 0)
		r = ovl_upper_number(fs, impure && marks & 1u << OVL_MARK_ORIGIN, d->fd, name,
				     e->st.st_ino, e->st.st_dev, &e->number, &e->origin);
	/* In a pure directory without lowers there is nothing that could be merged. */
	if (r == 0 && (impure || parent->n_lowers > 0) && fs->n_layers > 0)
		r = read_merge_marks(fs, d->fd, name, marks, e, ret_merge, ret_want);
	if (r == 0)
		ovl_override_read(d->fd, name, fs->owner_xattr, &e->st);
	return r;
}

int ovl_resolve(struct ovl_fs *fs, struct ovl_node *parent, const char *name, struct ovl_entry *ret)
{
	enum ovl_want want = OVL_WANT_ANY;
	bool merge = true;
	int r = 0;

	memset(ret, 0, sizeof(*ret));
	if (strlen(name) > NAME_MAX_BYTES)
		return -ENAMETOOLONG;
	if (ovl_node_has(parent, OVL_NODE_ORPHAN))
		return 0;
	if (ovl_node_has(parent, OVL_NODE_UPPER))
		r = resolve_upper(fs, parent, name, ret, &merge, &want);
	if (r == 0 && merge && (parent->n_lowers > 0 || ret->redirect || ret->metacopy))
		r = resolve_lowers(fs, parent, name, want, ret);
	if (r == 0 && ret->found && fs->has_upper && !S_ISDIR(ret->st.st_mode) &&
	    ret->st.st_nlink > 1)
		r = resolve_indexed(fs, ret);
	if (r < 0)
		ovl_entry_release(ret);
	return r;
}

int ovl_lower_has(struct ovl_fs *fs, struct ovl_node *parent, const char *name)
{
	(void)fs;
	for (unsigned int i = 0; i < parent->n_lowers; i++) {
		struct ovl_found f cleanup_found = OVL_FOUND_INIT;
		int r = ovl_lower_lookup(ovl_node_lowers(parent)[i], name, &f);

		if (r == 0)
			return f.flags & OVL_FOUND_WHITEOUT ? 0 : 1;
		if (r != -ENOENT)
			return r;
	}
	return 0;
}
