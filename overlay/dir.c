/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "overlay/namei.h"
#include "overlay/ops.h"
#include "overlay/pin.h"
#include "overlay/quota.h"
#include "overlay/whiteout.h"

/*
 * Names come and go by one call on the upper directory: the one that makes the object, where it
 * gives it all that it is to have, or else a rename from work/work, where the object or the
 * whiteout was built; and an unlink where nothing below has the name.
 */

int ovl_check_new_name(const char *name)
{
	size_t len = strlen(name);

	if (len > 255)
		return -ENAMETOOLONG;
	/* In a layer that would be a mark (image specification, layer.md): it could not be kept. */
	return strncmp(name, OVL_WH_PREFIX, OVL_WH_PREFIX_LEN) == 0 ? -EINVAL : 0;
}

struct create {
	const struct ovl_new *what;
	const struct ovl_cred *cred;
	struct stat parent_st;
	uid_t uid; /* as stored */
	gid_t gid;
	int at; /* with ->name, where it is: its place, work/work, or ->fd alone (O_TMPFILE) */
	const char *name;
	char temp[24]; /* the name in work/work */
	int fd; /* owned; of a regular file */
	bool in_place; /* it was made where it belongs */
};

/* The default ACL of the upper directory @fd into a new object: its mode, its own ACLs. */
static int inherit_acl(struct ovl_fs *fs, struct ovl_node *parent, int fd, const struct create *c,
		       mode_t *mode)
{
	cleanup_free void *access = NULL;
	char acl[4096];
	size_t len;
	ssize_t n = -ENODATA;
	int r;

	if (!fs->no_acl && !ovl_node_has(parent, OVL_NODE_NO_ACL) && !S_ISLNK(*mode))
		n = ovl_sys_getxattr(fd, "", "system.posix_acl_default", acl, sizeof(acl));
	if (n == -ENODATA || n == -ENOTSUP) {
		if (!S_ISLNK(*mode))
			ovl_node_set(parent, OVL_NODE_NO_ACL);
		*mode &= ~c->cred->umask;
		return 0;
	}
	if (n < 0)
		return (int)n;
	r = ovl_acl_inherit(acl, (size_t)n, mode, &access, &len);
	if (r == 0 && access)
		r = ovl_sys_setxattr(c->at, c->name, "system.posix_acl_access", access, len, 0);
	if (r == 0 && S_ISDIR(*mode))
		r = ovl_sys_setxattr(c->at, c->name, "system.posix_acl_default", acl, (size_t)n, 0);
	return r;
}

/* At its place, or in work/work. */
static int make_object(struct create *c, mode_t mode)
{
	const struct ovl_new *what = c->what;
	int r;

	switch (what->mode & S_IFMT) {
	case S_IFREG:
		r = ovl_sys_open(c->at, c->name, O_RDWR | O_CREAT | O_EXCL, mode);
		if (r < 0)
			return r;
		c->fd = r;
		return 0;
	case S_IFDIR:
		return ovl_sys_mkdir(c->at, c->name, mode);
	case S_IFLNK:
		return ovl_sys_symlink(what->target, c->at, c->name);
	default:
		return ovl_sys_mknod(c->at, c->name, (what->mode & S_IFMT) | mode, what->rdev);
	}
}

/* All that it is but its contents. */
static int dress(struct ovl_fs *fs, struct ovl_node *parent, int dirfd, const struct create *c)
{
	mode_t mode = c->what->mode, type = mode & S_IFMT;
	gid_t gid = c->gid;
	int r;

	if (c->parent_st.st_mode & S_ISGID) {
		gid = c->parent_st.st_gid;
		if (S_ISDIR(mode))
			mode |= S_ISGID;
	}
	r = inherit_acl(fs, parent, dirfd, c, &mode);
	if (r == 0)
		r = ovl_set_owner(fs, c->at, c->name, type, c->uid, gid, mode & 07777);
	return r;
}

/* In work/work, for place(). */
static int build(struct ovl_fs *fs, struct ovl_node *parent, int dirfd, struct create *c,
		 bool opaque, struct stat *ret_st)
{
	int r;

	c->at = fs->work_fd;
	c->name = c->temp;
	ovl_temp_name(fs, c->temp);
	r = make_object(c, S_ISDIR(c->what->mode) ? 0700 : 0600);
	if (r == 0)
		r = dress(fs, parent, dirfd, c);
	if (r == 0 && opaque)
		r = ovl_sys_setxattr(c->at, c->temp, fs->mark[OVL_MARK_OPAQUE], "y", 1, 0);
	if (r == 0)
		r = ovl_sys_stat(c->at, c->temp, ret_st);
	if (r == 0)
		ovl_override_read(c->at, c->temp, fs->owner_xattr, ret_st);
	return r;
}

static int unmake_in_place(struct create *c)
{
	int r;

	if (c->fd >= 0)
		(void)close(steal_fd(&c->fd));
	r = ovl_sys_unlink(c->at, c->name, S_ISDIR(c->what->mode) ? AT_REMOVEDIR : 0);
	c->in_place = r < 0;
	return r;
}

/*
 * Makes it in its place when the call that does gives it all that it is to have, so that nobody
 * ever sees it half done. Otherwise 0, and nothing is there: see c->in_place.
 */
static int make_in_place(struct ovl_fs *fs, const struct ovl_node *parent, int dirfd,
			 const char *name, struct create *c, struct stat *ret_st)
{
	mode_t type = c->what->mode & S_IFMT, mode = c->what->mode & 07777 & ~c->cred->umask;
	bool inherits = c->parent_st.st_mode & S_ISGID;
	gid_t gid = inherits ? c->parent_st.st_gid : c->gid;
	int r;

	if (fs->owner_xattr || c->uid != fs->uid || (!inherits && gid != fs->gid) || mode & 07000 ||
	    (type != S_IFLNK && !fs->no_acl && !ovl_node_has(parent, OVL_NODE_NO_ACL)))
		return 0;
	c->at = dirfd;
	c->name = name;
	r = make_object(c, mode);
	if (r < 0)
		return r;
	c->in_place = true;
	r = ovl_sys_stat(dirfd, name, ret_st);
	if (r < 0)
		return r;
	if (inherits && type == S_IFDIR)
		mode |= S_ISGID;
	/* a file system has ways of its own: "bsdgroups" */
	if (ret_st->st_uid == c->uid && ret_st->st_gid == gid &&
	    (type == S_IFLNK || (ret_st->st_mode & 07777) == mode))
		return 0;
	return unmake_in_place(c);
}

/* A directory over a whiteout has nothing of what is below: opaque, and in place in one step. */
static int place_dir_over_whiteout(struct ovl_fs *fs, const char *temp, int dirfd, const char *name)
{
	int r = ovl_sys_rename(fs->work_fd, temp, dirfd, name, RENAME_EXCHANGE);

	if (r == 0)
		ovl_temp_remove(fs, temp); /* now the whiteout */
	return r;
}

static int place(struct ovl_fs *fs, const char *temp, bool is_dir, int dirfd, const char *name,
		 bool whiteout)
{
	if (!whiteout)
		return ovl_sys_rename(fs->work_fd, temp, dirfd, name, RENAME_NOREPLACE);
	if (is_dir)
		return place_dir_over_whiteout(fs, temp, dirfd, name);
	return ovl_sys_rename(fs->work_fd, temp, dirfd, name, 0);
}

/* Before a new name: the parent is in the upper, the name is free. @ret: what is there now. */
static int prepare_new(struct ovl_fs *fs, struct ovl_node *parent, const char *name,
		       struct ovl_entry *ret)
{
	int r = ovl_check_new_name(name);

	if (r == 0 && ovl_node_has(parent, OVL_NODE_ORPHAN))
		r = -ENOENT;
	if (r == 0)
		r = ovl_resolve(fs, parent, name, ret);
	if (r == 0 && ret->found)
		r = -EEXIST;
	if (r == 0)
		r = ovl_check_protected(parent, OVL_NODE_IMMUTABLE);
	if (r == 0)
		r = ovl_copy_up(fs, parent, OVL_COPY_ALL);
	return r;
}

static int finish_create(struct ovl_fs *fs, struct ovl_node *parent, const char *name,
			 const struct stat *st, struct ovl_node **ret, struct stat *ret_st)
{
	struct ovl_entry e cleanup_entry = OVL_ENTRY_INIT;
	int r;

	e.found = e.upper = true;
	e.st = *st;
	r = ovl_number(fs->numbers, fs->upper_batch, st->st_ino,
		       st->st_dev == fs->upper_dev ? 0 : st->st_dev, &e.number);
	if (r == 0)
		r = ovl_node_get(fs, parent, name, &e, true, ret);
	if (r == 0) {
		*ret_st = *st;
		ovl_fix_stat(fs, *ret, ret_st);
	}
	return r;
}

static int prepare_owner(struct ovl_fs *fs, struct create *c)
{
	/* As on the kernel's mapped mounts: who has no number here can make nothing. */
	return ovl_idmap_store(&fs->uids, c->cred->uid, &c->uid) < 0 ||
			       ovl_idmap_store(&fs->gids, c->cred->gid, &c->gid) < 0
		       ? -EOVERFLOW
		       : 0;
}

static int prepare_parent(struct ovl_fs *fs, struct ovl_node *parent, struct create *c,
			  struct ovl_dirfd **ret)
{
	int r = ovl_node_dirfd(fs, parent, ret);

	if (r == 0)
		r = ovl_sys_stat((*ret)->fd, "", &c->parent_st);
	if (r == 0)
		ovl_override_read((*ret)->fd, "", fs->owner_xattr, &c->parent_st);
	return r;
}

int ovl_create(struct ovl_fs *fs, struct ovl_node *parent, const char *name,
	       const struct ovl_new *what, const struct ovl_cred *cred, struct ovl_node **ret,
	       struct stat *ret_st, int flags, struct ovl_file **ret_file)
{
	struct ovl_entry e cleanup_entry = OVL_ENTRY_INIT;
	cleanup_dirfd struct ovl_dirfd *d = NULL;
	struct create c = {.what = what, .cred = cred, .fd = -1};
	bool is_dir = S_ISDIR(what->mode);
	struct ovl_node *n = NULL;
	struct ovl_file *file = NULL;
	struct stat st;
	int r;

	if (!fs->has_upper)
		return -EROFS;
	/* Would be a whiteout. */
	if (S_ISCHR(what->mode) && what->rdev == 0)
		return -EPERM;
	r = prepare_owner(fs, &c);
	if (r == 0)
		r = prepare_new(fs, parent, name, &e);
	if (r == 0)
		r = prepare_parent(fs, parent, &c, &d);
	if (r == 0)
		r = ovl_quota_take(fs, 0);
	if (r < 0)
		return r;
	if (!e.whiteout)
		r = make_in_place(fs, parent, d->fd, name, &c, &st);
	if (r == 0 && !c.in_place)
		r = build(fs, parent, d->fd, &c, is_dir && e.whiteout, &st);
	/* What is in its place goes again if there is no memory for it; nobody can ask for it yet.
	 */
	if (r == 0)
		r = finish_create(fs, parent, name, &st, &n, ret_st);
	if (r == 0 && ret_file) {
		(void)flags; /* O_RDWR serves every way of opening; O_APPEND is the kernel's to do
			      */
		r = ovl_file_new(fs, n, steal_fd(&c.fd), &file);
	}
	if (r == 0 && !c.in_place)
		r = place(fs, c.temp, is_dir, d->fd, name, e.whiteout);
	if (r < 0) {
		if (file)
			ovl_close(fs, file);
		if (n)
			ovl_node_forget(fs, n, 1);
		if (c.in_place)
			(void)unmake_in_place(&c);
		else if (c.temp[0])
			ovl_temp_remove(fs, c.temp);
		ovl_quota_give(fs, 0);
	} else {
		*ret = n;
		if (ret_file)
			*ret_file = file;
	}
	if (c.fd >= 0)
		(void)close(c.fd);
	return r;
}

/* The node of a file without a name: the kernel's, which is all that keeps it. Takes @c->fd. */
static int finish_tmpfile(struct ovl_fs *fs, struct create *c, struct ovl_node **ret,
			  struct stat *ret_st, struct ovl_file **ret_file)
{
	struct ovl_node *n;
	struct stat st;
	int r = ovl_sys_stat(c->fd, "", &st);

	if (r < 0)
		return r;
	ovl_override_read(c->fd, "", fs->owner_xattr, &st);
	r = finish_create(fs, NULL, "", &st, &n, ret_st);
	if (r < 0)
		return r;
	r = ovl_pin_file(fs, n, c->fd, &n->pin);
	ovl_node_set(n, OVL_NODE_ORPHAN | OVL_NODE_NAMELESS);
	ret_st->st_nlink = 0;
	if (r == 0 && ret_file)
		r = ovl_file_new(fs, n, steal_fd(&c->fd), ret_file);
	if (r < 0)
		ovl_node_forget(fs, n, 1); /* gives back what the quota has of it */
	else
		*ret = n;
	return r;
}

int ovl_tmpfile(struct ovl_fs *fs, struct ovl_node *parent, mode_t mode,
		const struct ovl_cred *cred, struct ovl_node **ret, struct stat *ret_st,
		struct ovl_file **ret_file)
{
	const struct ovl_new what = {.mode = S_IFREG | (mode & 07777)};
	cleanup_dirfd struct ovl_dirfd *d = NULL;
	struct create c = {.what = &what, .cred = cred, .fd = -1};
	int r;

	if (!fs->has_upper)
		return -EROFS;
	r = prepare_owner(fs, &c);
	if (r == 0 && ovl_node_has(parent, OVL_NODE_ORPHAN))
		r = -ENOENT;
	if (r == 0)
		r = ovl_check_protected(parent, OVL_NODE_IMMUTABLE);
	if (r == 0)
		r = ovl_copy_up(fs, parent, OVL_COPY_ALL);
	if (r == 0)
		r = prepare_parent(fs, parent, &c, &d);
	if (r == 0)
		r = ovl_quota_take(fs, 0);
	if (r < 0)
		return r;
	c.name = "";
	r = c.at = c.fd = ovl_sys_open(fs->work_fd, ".", O_RDWR | O_TMPFILE, 0600);
	if (r >= 0)
		r = dress(fs, parent, d->fd, &c);
	if (r < 0)
		ovl_quota_give(fs, 0);
	else
		r = finish_tmpfile(fs, &c, ret, ret_st, ret_file);
	if (c.fd >= 0)
		(void)close(c.fd);
	return r;
}

static int link_locked(struct ovl_fs *fs, struct ovl_node *n, int dirfd, const char *name,
		       bool whiteout)
{
	struct ovl_at at cleanup_at = OVL_AT_INIT;
	char temp[24];
	int r = ovl_at_get_locked(fs, n, &at);

	if (r == 0 && ovl_node_has(n, OVL_NODE_INDEXED))
		r = ovl_nlink_save_locked(fs, n, true);
	/* Born in an upper that is a layer by now: its number is not the one of its inode here. */
	if (r == 0 && ovl_node_has(n, OVL_NODE_KEPT))
		r = ovl_origin_set(fs, at.fd, at.name, n->number, n->upper_ino);
	if (r < 0)
		return r;
	if (!whiteout)
		return ovl_sys_link(at.fd, at.name, dirfd, name);
	ovl_temp_name(fs, temp);
	r = ovl_sys_link(at.fd, at.name, fs->work_fd, temp);
	if (r == 0) {
		r = ovl_sys_rename(fs->work_fd, temp, dirfd, name, 0);
		if (r < 0)
			ovl_temp_remove(fs, temp);
	}
	return r;
}

int ovl_link(struct ovl_fs *fs, struct ovl_node *n, struct ovl_node *parent, const char *name,
	     struct stat *ret_st)
{
	struct ovl_entry e cleanup_entry = OVL_ENTRY_INIT;
	cleanup_dirfd struct ovl_dirfd *d = NULL;
	int r;

	if (S_ISDIR(n->type))
		return -EPERM;
	if (!fs->has_upper)
		return -EROFS;
	r = ovl_check_protected(n, OVL_NODE_IMMUTABLE | OVL_NODE_APPEND);
	if (r == 0)
		r = prepare_new(fs, parent, name, &e);
	if (r == 0)
		r = ovl_copy_up(fs, n, OVL_COPY_ALL);
	if (r == 0 && n->number >> 32 != fs->upper_batch)
		r = ovl_mark_impure(fs, parent);
	if (r == 0)
		r = ovl_node_dirfd(fs, parent, &d);
	if (r < 0)
		return r;
	pthread_rwlock_wrlock(&fs->tree);
	/* Whether one without a name may have one, the kernel knows (O_EXCL). */
	if (ovl_node_has(n, OVL_NODE_ORPHAN) && !ovl_node_has(n, OVL_NODE_NAMELESS))
		r = -ENOENT;
	if (r == 0)
		r = link_locked(fs, n, d->fd, name, e.whiteout);
	if (r == 0 && ovl_node_has(n, OVL_NODE_INDEXED))
		n->nlink++;
	if (r == 0)
		ovl_node_clear(n, OVL_NODE_ORPHAN | OVL_NODE_NAMELESS);
	/* The name is there; without memory for it, it is only not known yet. */
	if (r == 0)
		(void)!ovl_node_add_alias_locked(fs, n, parent, name);
	pthread_rwlock_unlock(&fs->tree);
	if (r < 0)
		return r;
	r = ovl_getattr_done(fs, n, ret_st);
	if (r == 0)
		ovl_node_looked_up(fs, n);
	return r;
}

void ovl_removed_locked(struct ovl_fs *fs, struct ovl_node *n, struct ovl_node *parent,
			const char *name, nlink_t upper_nlink, int pin)
{
	bool indexed, upper, last;
	char number[24];

	if (!n)
		return;
	indexed = ovl_node_has(n, OVL_NODE_INDEXED);
	upper = ovl_node_has(n, OVL_NODE_UPPER);
	ovl_node_drop_alias_locked(fs, n, parent, name);
	if (indexed)
		last = --n->nlink <= 0;
	else
		last = S_ISDIR(n->type) || !upper || upper_nlink <= 1;
	if ((last || !n->at.parent) && n->pin == OVL_PIN_NONE)
		n->pin = steal_fd(&pin);
	ovl_pin_drop(fs, n, pin);
	if (!last)
		return;
	if (indexed) {
		snprintf(number, sizeof(number), "%" PRIu64, n->number);
		ovl_links_remove(fs->numbers, n->number);
		(void)!ovl_sys_unlink(fs->links_fd, number, 0);
	}
	if (upper)
		ovl_origins_remove(fs->numbers, fs->upper_batch, n->upper_ino);
	ovl_node_set(n, OVL_NODE_ORPHAN);
	ovl_node_unhash(fs, n);
	ovl_quota_unnamed(fs, n);
	if (S_ISDIR(n->type))
		ovl_real_forget(fs->fds, n);
}

/* Puts a whiteout where something of the upper is, or where only lower layers have something. */
static int whiteout(struct ovl_fs *fs, int dirfd, const char *name, bool upper, bool is_dir)
{
	char temp[24];
	int r;

	if (!upper)
		return ovl_sys_mknod(dirfd, name, S_IFCHR, 0);
	ovl_temp_name(fs, temp);
	r = ovl_sys_mknod(fs->work_fd, temp, S_IFCHR, 0);
	if (r < 0)
		return r;
	r = ovl_sys_rename(fs->work_fd, temp, dirfd, name, is_dir ? RENAME_EXCHANGE : 0);
	if (r < 0 || is_dir)
		ovl_temp_remove(fs, temp);
	return r;
}

/* Takes an upper directory away that nothing is seen in: whiteouts in it do not count. */
static int remove_upper_dir(struct ovl_fs *fs, int dirfd, const char *name)
{
	char temp[24];
	int r = ovl_sys_unlink(dirfd, name, AT_REMOVEDIR);

	if (r != -ENOTEMPTY && r != -EEXIST)
		return r;
	ovl_temp_name(fs, temp);
	r = ovl_sys_rename(dirfd, name, fs->work_fd, temp, RENAME_NOREPLACE);
	if (r == 0)
		ovl_temp_remove(fs, temp);
	return r;
}

static int remove_name(struct ovl_fs *fs, struct ovl_node *parent, const char *name, bool is_dir,
		       const struct ovl_entry *e, struct ovl_node *n)
{
	cleanup_dirfd struct ovl_dirfd *d = NULL;
	bool upper = ovl_node_has(n, OVL_NODE_UPPER);
	int r, pin = OVL_PIN_NONE, below = ovl_lower_has(fs, parent, name);
	struct stat st = e->st;

	if (below < 0)
		return below;
	r = ovl_node_dirfd(fs, parent, &d);
	if (r < 0)
		return r;
	pthread_rwlock_wrlock(&fs->tree);
	if (upper && ovl_sys_stat(d->fd, name, &st) == -ENOENT)
		upper = false; /* a hard link whose name nobody has linked in the upper */
	/* In this order: the pin may be one link more, which no other mount sees. */
	if (upper && ovl_node_has(n, OVL_NODE_INDEXED))
		r = ovl_nlink_save_locked(fs, n, true);
	if (upper && r == 0)
		pin = ovl_pin_locked(fs, n, d->fd, name);
	if (r == 0 && below)
		r = whiteout(fs, d->fd, name, upper, is_dir);
	else if (r == 0 && is_dir)
		r = remove_upper_dir(fs, d->fd, name);
	else if (r == 0)
		r = ovl_sys_unlink(d->fd, name, 0);
	if (r == 0)
		ovl_removed_locked(fs, n, parent, name, st.st_nlink, steal_fd(&pin));
	ovl_pin_drop(fs, n, pin);
	pthread_rwlock_unlock(&fs->tree);
	return r;
}

static int remove_entry(struct ovl_fs *fs, struct ovl_node *parent, const char *name, bool is_dir)
{
	struct ovl_entry e cleanup_entry = OVL_ENTRY_INIT;
	struct ovl_node *n;
	bool links;
	int r;

	if (!fs->has_upper)
		return -EROFS;
	r = ovl_resolve(fs, parent, name, &e);
	if (r < 0)
		return r;
	if (!e.found)
		return -ENOENT;
	if (S_ISDIR(e.st.st_mode) != is_dir)
		return is_dir ? -ENOTDIR : -EISDIR;
	links = !is_dir && (e.indexed || (!e.upper && e.st.st_nlink > 1));
	r = ovl_node_get(fs, parent, name, &e, false, &n);
	if (r < 0)
		return r;
	r = ovl_check_protected(parent, OVL_NODE_IMMUTABLE | OVL_NODE_APPEND);
	if (r == 0)
		r = ovl_check_protected(n, OVL_NODE_IMMUTABLE | OVL_NODE_APPEND);
	if (r == 0 && is_dir)
		r = ovl_check_empty(fs, n);
	if (r == 0)
		r = ovl_copy_up(fs, parent, OVL_COPY_ALL);
	/* The other names must see the count go down, now and after a remount. */
	if (r == 0 && links)
		r = ovl_copy_up_name(fs, n, parent, name);
	if (r == 0)
		r = remove_name(fs, parent, name, is_dir, &e, n);
	ovl_node_unref(fs, n);
	return r;
}

int ovl_unlink(struct ovl_fs *fs, struct ovl_node *parent, const char *name)
{
	return remove_entry(fs, parent, name, false);
}

int ovl_rmdir(struct ovl_fs *fs, struct ovl_node *parent, const char *name)
{
	return remove_entry(fs, parent, name, true);
}

int ovl_clear_dir(struct ovl_fs *fs, struct ovl_node *parent, const char *name, uint64_t number,
		  char temp[OVL_TEMP_NAME])
{
	cleanup_dirfd struct ovl_dirfd *d = NULL;
	struct ovl_source from;
	struct stat st;
	int r = ovl_node_dirfd(fs, parent, &d);

	temp[0] = '\0';
	if (r == 0)
		r = ovl_sys_stat(d->fd, name, &st);
	if (r < 0)
		return r;
	ovl_override_read(d->fd, name, fs->owner_xattr, &st);
	from = (struct ovl_source){.fd = d->fd, .name = name};
	ovl_temp_name(fs, temp);
	r = ovl_sys_mkdir(fs->work_fd, temp, 0700);
	if (r == 0)
		r = ovl_set_owner(fs, fs->work_fd, temp, S_IFDIR, st.st_uid, st.st_gid,
				  st.st_mode & 07777);
	if (r == 0)
		r = ovl_copy_xattrs(&from, fs->work_fd, temp);
	if (r == 0)
		r = ovl_sys_setxattr(fs->work_fd, temp, fs->mark[OVL_MARK_OPAQUE], "y", 1, 0);
	/* Should it stay, it is the directory that it was. */
	if (r == 0)
		r = ovl_mark_impure(fs, parent);
	if (r == 0)
		r = ovl_origin_set(fs, fs->work_fd, temp, number, 0);
	if (r == 0)
		r = ovl_sys_rename(fs->work_fd, temp, d->fd, name, RENAME_EXCHANGE);
	if (r < 0) {
		ovl_temp_remove(fs, temp);
		temp[0] = '\0';
	}
	return r;
}

int ovl_clear_dir_undo(struct ovl_fs *fs, struct ovl_node *parent, const char *name,
		       const char *temp)
{
	cleanup_dirfd struct ovl_dirfd *d = NULL;
	int r = ovl_node_dirfd(fs, parent, &d);

	return r < 0 ? r : ovl_sys_rename(fs->work_fd, temp, d->fd, name, RENAME_EXCHANGE);
}
