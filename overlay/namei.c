/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/namei.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "overlay/whiteout.h"

#define NAME_MAX_BYTES 255
#define REDIRECT_SIZE  4096

int ovl_origin_get(struct ovl_fs *fs, int fd, const char *name, uint64_t *ret)
{
	char buf[24], *end;
	ssize_t n = ovl_sys_getxattr(fd, name, fs->mark[OVL_MARK_ORIGIN], buf, sizeof(buf) - 1);

	if (n < 0)
		return n == -ENOTSUP ? -ENODATA : (int)n;
	buf[n] = '\0';
	errno = 0;
	*ret = strtoull(buf, &end, 10);
	/* Only numbers of our own batches: anything else is not ours to believe. */
	if (errno || end == buf || *end || *ret >> 32 > fs->upper_batch + 1)
		return -ENODATA;
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
	return r == -EPERM || r == -EOPNOTSUPP ? ovl_origins_add(fs->numbers, ino, number) : r;
}

int ovl_nlink_get(struct ovl_fs *fs, int fd, const char *name, nlink_t real)
{
	char buf[24], *end;
	ssize_t n = ovl_sys_getxattr(fd, name, fs->mark[OVL_MARK_NLINK], buf, sizeof(buf) - 1);
	long v;

	/* The entry in work/links is one of the real ones. */
	if (n < 2)
		return real > 1 ? (int)real - 1 : 1;
	buf[n] = '\0';
	v = strtol(buf + 1, &end, 10);
	if (*end || v > INT32_MAX || v < INT32_MIN)
		v = buf[0] == 'U' ? -1 : (long)real;
	v = buf[0] == 'U' ? (long)real + v : v;
	return v < 1 ? 1 : (int)v;
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
	if (r == 0 || (here && ovl_origins_find(fs->numbers, ino, ret))) {
		*ret_origin = true;
		return 0;
	}
	*ret_origin = false;
	return ovl_number(fs->numbers, fs->upper_batch, ino, here ? 0 : dev, ret);
}

static int lower_number(struct ovl_fs *fs, const struct ovl_layer *l, const struct stat *st,
			uint64_t *ret)
{
	return ovl_number(fs->numbers, l->batch, st->st_ino,
			  l->image || st->st_dev == l->dev ? 0 : st->st_dev, ret);
}

static int add_lower(struct ovl_entry *e, struct ovl_found *f)
{
	struct ovl_obj **more = reallocarray(e->lowers, e->n_lowers + 1, sizeof(*more));

	if (!more)
		return -ENOMEM;
	e->lowers = more;
	e->lowers[e->n_lowers++] = steal_ptr(&f->obj);
	return 0;
}

/* One component of a redirect: a name, not a way out. */
static bool is_plain_name(const char *s, size_t len)
{
	return len > 0 && len <= NAME_MAX_BYTES && !(len == 1 && s[0] == '.') &&
	       !(len == 2 && s[0] == '.' && s[1] == '.');
}

/*
 * Looks @path ("/a/b": from the root of the layer) up in one layer. -ENOENT: not there, go on
 * below; a whiteout or opaque directory on the way ends the search, which @f->flags says.
 */
static int lookup_path(struct ovl_obj *root, const char *path, struct ovl_found *f)
{
	struct ovl_obj *dir = ovl_obj_ref(root);
	bool opaque = false;
	int r = -EIO;

	memset(f, 0, sizeof(*f));
	while (*path == '/') {
		const char *start = path + 1, *end = strchrnul(start, '/');
		size_t len = (size_t)(end - start);
		char name[NAME_MAX_BYTES + 1];

		if (!is_plain_name(start, len)) {
			r = -EIO;
			break;
		}
		memcpy(name, start, len);
		name[len] = '\0';
		ovl_found_release(f);
		r = ovl_lower_lookup(dir, name, f);
		/* Anything but a directory hides what is below it, as a whiteout does. */
		if (r == 0 && !(f->flags & OVL_FOUND_WHITEOUT) && !S_ISDIR(f->st.st_mode)) {
			ovl_found_release(f);
			f->flags = OVL_FOUND_WHITEOUT;
		}
		if (r < 0 || f->flags & OVL_FOUND_WHITEOUT)
			break;
		opaque |= f->flags & OVL_FOUND_OPAQUE;
		path = end;
		if (!*path)
			break;
		ovl_obj_unref(dir);
		dir = ovl_obj_ref(f->obj);
	}
	ovl_obj_unref(dir);
	if (r < 0)
		ovl_found_release(f);
	else if (opaque)
		f->flags |= OVL_FOUND_OPAQUE;
	return r;
}

/*
 * Where a directory of one layer says the layers below have it: a name beside @path, or a path
 * from the root.
 */
static int follow_redirect(char **path, const char *redirect, bool *absolute)
{
	const char *slash = *absolute ? strrchr(*path, '/') : NULL;
	size_t keep = slash ? (size_t)(slash - *path) + 1 : 0;
	char *next;

	if (redirect[0] == '/')
		keep = 0;
	else if (strchr(redirect, '/') || !is_plain_name(redirect, strlen(redirect)))
		return -EIO;
	next = malloc(keep + strlen(redirect) + 1);
	if (!next)
		return -ENOMEM;
	memcpy(next, *path, keep);
	strcpy(next + keep, redirect);
	free(*path);
	*path = next;
	*absolute = next[0] == '/';
	return 0;
}

/*
 * The lower part of an entry. @path starts as the name in @parent's lowers; a redirect changes it
 * for what follows, an absolute one also makes the roots of the layers below the place to start.
 * With @dirs_only the upper has a directory already, so anything else ends the search.
 */
static int resolve_lowers(struct ovl_fs *fs, struct ovl_node *parent, const char *name,
			  const char *redirect, bool dirs_only, struct ovl_entry *e)
{
	cleanup_free char *path = strdup(redirect ? redirect : name);
	struct ovl_obj **lowers = ovl_node_lowers(parent);
	unsigned int n = parent->n_lowers, below = (unsigned int)fs->n_layers;
	bool absolute;
	int r = 0;

	if (!path)
		return -ENOMEM;
	absolute = path[0] == '/';
	if (redirect && !absolute && (strchr(path, '/') || !is_plain_name(path, strlen(path))))
		return -EIO;
	for (unsigned int i = 0; i < (absolute ? fs->n_layers : n); i++) {
		struct ovl_found f cleanup_found = OVL_FOUND_INIT;
		struct ovl_obj *dir = absolute ? fs->layers[i]->root : lowers[i];

		if (dir->layer->batch >= below)
			continue;
		r = absolute ? lookup_path(dir, path, &f) : ovl_lower_lookup(dir, path, &f);
		if (r == -ENOENT) {
			r = 0;
			continue;
		}
		if (r < 0 || f.flags & OVL_FOUND_WHITEOUT)
			return r;
		if (!S_ISDIR(f.st.st_mode) && (dirs_only || e->n_lowers > 0))
			return 0;
		if (!e->found) {
			e->found = true;
			e->st = f.st;
			r = lower_number(fs, dir->layer, &f.st, &e->number);
			if (r < 0)
				return r;
		}
		r = add_lower(e, &f);
		if (r < 0 || !S_ISDIR(f.st.st_mode) || f.flags & OVL_FOUND_OPAQUE)
			return r;
		below = dir->layer->batch;
		if (f.redirect) {
			bool was = absolute;

			r = follow_redirect(&path, f.redirect, &absolute);
			if (r < 0)
				return r;
			/* From the first layer on; those that are not below are skipped. */
			if (absolute && !was)
				i = UINT32_MAX;
		}
	}
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
	e->nlink = ovl_nlink_get(fs, fs->links_fd, name, st.st_nlink);
	return 0;
}

/* The upper part; what it leaves for the lowers to say is in @ret_redirect and @ret_merge. */
static int resolve_upper(struct ovl_fs *fs, struct ovl_node *parent, const char *name,
			 struct ovl_entry *e, bool *ret_merge)
{
	cleanup_dirfd struct ovl_dirfd *d = NULL;
	char buf[REDIRECT_SIZE], opaque = 'n';
	bool impure;
	ssize_t n;
	int r = ovl_node_dirfd(fs, parent, &d);

	if (r == 0)
		r = ovl_sys_stat(d->fd, name, &e->st);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (ovl_stat_is_whiteout(&e->st)) {
		e->whiteout = true;
		*ret_merge = false;
		return 0;
	}
	e->found = e->upper = true;
	*ret_merge = false;
	impure = ovl_is_impure(fs, parent);
	r = ovl_upper_number(fs, impure, d->fd, name, e->st.st_ino, e->st.st_dev, &e->number,
			     &e->origin);
	if (r < 0)
		return r;
	/* In a pure directory without lowers there is nothing that could be merged. */
	if (S_ISDIR(e->st.st_mode) && (impure || parent->n_lowers > 0) && fs->n_layers > 0) {
		n = ovl_sys_getxattr(d->fd, name, fs->mark[OVL_MARK_OPAQUE], &opaque, 1);
		if (n < 0 && n != -ENODATA && n != -ENOTSUP && n != -ERANGE)
			return (int)n;
		*ret_merge = opaque != 'y';
		n = opaque == 'y' ? 0
				  : ovl_sys_getxattr(d->fd, name, fs->mark[OVL_MARK_REDIRECT], buf,
						     sizeof(buf) - 1);
		if (n < 0 && n != -ENODATA && n != -ENOTSUP)
			return (int)n;
		if (n > 0) {
			buf[n] = '\0';
			e->redirect = strdup(buf);
			if (!e->redirect)
				return -ENOMEM;
		}
	}
	ovl_override_read(d->fd, name, fs->owner_xattr, &e->st);
	return 0;
}

int ovl_resolve(struct ovl_fs *fs, struct ovl_node *parent, const char *name, struct ovl_entry *ret)
{
	bool merge = true;
	int r = 0;

	memset(ret, 0, sizeof(*ret));
	if (strlen(name) > NAME_MAX_BYTES)
		return -ENAMETOOLONG;
	if (ovl_node_has(parent, OVL_NODE_ORPHAN))
		return 0;
	if (ovl_node_has(parent, OVL_NODE_UPPER))
		r = resolve_upper(fs, parent, name, ret, &merge);
	if (r == 0 && merge && (parent->n_lowers > 0 || ret->redirect))
		r = resolve_lowers(fs, parent, name, ret->redirect, ret->found, ret);
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
