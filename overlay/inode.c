/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "overlay/namei.h"
#include "overlay/ops.h"
#include "overlay/quota.h"

void ovl_fix_stat(struct ovl_fs *fs, struct ovl_node *n, struct stat *st)
{
	bool orphan = ovl_node_has(n, OVL_NODE_ORPHAN);

	st->st_ino = fs->base + n->number;
	st->st_uid = ovl_idmap_show(&fs->uids, st->st_uid);
	st->st_gid = ovl_idmap_show(&fs->gids, st->st_gid);
	if (S_ISDIR(st->st_mode)) {
		/* What is merged cannot be counted cheaply: 1 says so, and stays over copy-up. */
		if (orphan)
			st->st_nlink = 0;
		else if (fs->static_nlink || n->n_lowers > 1 || (n->n_lowers > 0 && fs->has_upper))
			st->st_nlink = 1;
	} else if (ovl_node_has(n, OVL_NODE_INDEXED)) {
		st->st_nlink = (nlink_t)(n->nlink > 0 ? n->nlink : 0);
	} else if (orphan) {
		st->st_nlink = 0;
	}
}

int ovl_lookup(struct ovl_fs *fs, struct ovl_node *parent, const char *name, struct ovl_node **ret,
	       struct stat *ret_st)
{
	struct ovl_entry e cleanup_entry = OVL_ENTRY_INIT;
	int r = ovl_resolve(fs, parent, name, &e);

	if (r < 0)
		return r;
	if (!e.found)
		return -ENOENT;
	r = ovl_node_get(fs, parent, name, &e, true, ret);
	if (r < 0)
		return r;
	*ret_st = e.st;
	ovl_fix_stat(fs, *ret, ret_st);
	return 0;
}

/* Of a file whose data are elsewhere what they take is seen, as without metacopy. */
static int blocks_of_data(struct ovl_node *n, struct stat *st)
{
	struct stat data;
	int r = ovl_lower_stat(ovl_node_data(n), &data);

	if (r == 0)
		st->st_blocks = data.st_blocks;
	return r;
}

int ovl_getattr(struct ovl_fs *fs, struct ovl_node *n, struct stat *ret)
{
	struct ovl_at at cleanup_at = OVL_AT_INIT;
	int r;

	if (!ovl_node_has(n, OVL_NODE_UPPER)) {
		r = ovl_lower_stat(ovl_node_lowers(n)[0], ret);
		if (r == 0 && !S_ISDIR(n->type) && n->n_lowers > 1)
			r = blocks_of_data(n, ret);
		if (r == 0)
			ovl_fix_stat(fs, n, ret);
		return r;
	}
	pthread_rwlock_rdlock(&fs->tree);
	r = ovl_at_get_locked(fs, n, &at);
	if (r == 0)
		r = ovl_sys_stat(at.fd, at.name, ret);
	if (r == 0)
		ovl_override_read(at.fd, at.name, fs->owner_xattr, ret);
	if (r == 0 && ovl_node_has(n, OVL_NODE_METACOPY))
		r = blocks_of_data(n, ret);
	if (r == 0)
		ovl_fix_stat(fs, n, ret);
	pthread_rwlock_unlock(&fs->tree);
	return r;
}

/* The mode that an object of an ordinary user has on disk: as asked for, and we can work with it.
 */
static mode_t workable_mode(mode_t type, mode_t mode)
{
	return mode | (S_ISDIR(type) ? 0700 : 0600);
}

int ovl_set_owner(struct ovl_fs *fs, int fd, const char *name, mode_t type, uid_t uid, gid_t gid,
		  mode_t mode)
{
	char value[64];
	int r, n;

	if (!fs->owner_xattr || (!S_ISREG(type) && !S_ISDIR(type))) {
		r = uid == fs->uid && gid == fs->gid ? 0 : ovl_sys_chown(fd, name, uid, gid);
		/* After chown, which takes suid and sgid away. */
		if (r == 0 && !S_ISLNK(type))
			r = ovl_sys_chmod(fd, name, mode & 07777);
		return r;
	}
	/* First where we can write it, then the mode: an xattr wants write permission. */
	r = ovl_sys_chmod(fd, name, workable_mode(type, mode & 0777));
	if (r < 0)
		return r;
	if (!fs->owner_always && uid == fs->uid && gid == fs->gid &&
	    mode == workable_mode(type, mode & 0777)) {
		r = ovl_sys_removexattr(fd, name, fs->owner_xattr);
		return r == -ENODATA ? 0 : r;
	}
	n = snprintf(value, sizeof(value), "%u:%u:0%o", uid, gid, mode & 07777);
	return ovl_sys_setxattr(fd, name, fs->owner_xattr, value, (size_t)n, 0);
}

static int set_times_locked(const struct ovl_at *at, const struct stat *attr, unsigned int set)
{
	struct timespec ts[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_OMIT}};

	if (set & OVL_SET_ATIME_NOW)
		ts[0].tv_nsec = UTIME_NOW;
	else if (set & OVL_SET_ATIME)
		ts[0] = attr->st_atim;
	if (set & OVL_SET_MTIME_NOW)
		ts[1].tv_nsec = UTIME_NOW;
	else if (set & OVL_SET_MTIME)
		ts[1] = attr->st_mtim;
	return ovl_sys_utimens(at->fd, at->name, ts);
}

/* chown and chmod together: the order matters, for chown takes bits away. */
static int set_owner_locked(struct ovl_fs *fs, struct ovl_node *n, const struct ovl_at *at,
			    const struct stat *attr, unsigned int set)
{
	uid_t uid = set & OVL_SET_UID ? attr->st_uid : (uid_t)-1;
	gid_t gid = set & OVL_SET_GID ? attr->st_gid : (gid_t)-1;
	struct stat st;
	int r = 0;

	if (fs->owner_xattr) {
		r = ovl_sys_stat(at->fd, at->name, &st);
		if (r < 0)
			return r;
		ovl_override_read(at->fd, at->name, fs->owner_xattr, &st);
		return ovl_set_owner(fs, at->fd, at->name, n->type,
				     set & OVL_SET_UID ? attr->st_uid : st.st_uid,
				     set & OVL_SET_GID ? attr->st_gid : st.st_gid,
				     (set & OVL_SET_MODE ? attr->st_mode : st.st_mode) & 07777);
	}
	if (set & (OVL_SET_UID | OVL_SET_GID))
		r = ovl_sys_chown(at->fd, at->name, uid, gid);
	if (r == 0 && set & OVL_SET_MODE)
		r = S_ISLNK(n->type) ? -EOPNOTSUPP
				     : ovl_sys_chmod(at->fd, at->name, attr->st_mode & 07777);
	return r;
}

static int set_size(struct ovl_fs *fs, struct ovl_node *n, off_t size, struct ovl_file *file)
{
	struct ovl_quota_change change = OVL_QUOTA_CHANGE_INIT;
	struct ovl_at at cleanup_at = OVL_AT_INIT;
	cleanup_close int own = -1;
	int r, fd = file ? ovl_write_fd(fs, file) : -EBADF;

	if (fd < 0) {
		pthread_rwlock_rdlock(&fs->tree);
		r = ovl_at_get_locked(fs, n, &at);
		if (r == 0)
			r = own = *at.name ? ovl_sys_open(at.fd, at.name, O_WRONLY | O_NONBLOCK, 0)
					   : ovl_sys_reopen(at.fd, O_WRONLY | O_NONBLOCK);
		pthread_rwlock_unlock(&fs->tree);
		if (r < 0)
			return r;
		fd = own;
	}
	r = ovl_quota_begin(fs, n, fd, 0, 0, &change);
	if (r == 0)
		r = ovl_sys_truncate(fd, size);
	ovl_quota_end(&change);
	return r;
}

static bool in_group(const struct ovl_cred *cred, gid_t gid)
{
	return cred->uid == 0 || cred->gid == gid ||
	       (cred->in_group && cred->in_group(cred->ctx, gid));
}

/* What a write or chown takes (inode(7)): set-group-id means something else where the group may not
 * execute, and goes only from who could not set it. */
static int kill_bits(struct ovl_fs *fs, struct ovl_node *n, struct stat *attr, unsigned int *set,
		     const struct ovl_cred *cred)
{
	struct stat st;
	int r;

	if (S_ISDIR(n->type) || S_ISLNK(n->type) || *set & OVL_SET_MODE)
		return 0;
	r = ovl_getattr(fs, n, &st);
	if (r < 0)
		return r;
	attr->st_mode = st.st_mode & ~(mode_t)S_ISUID;
	if (st.st_mode & S_IXGRP || (cred && !in_group(cred, st.st_gid)))
		attr->st_mode &= ~(mode_t)S_ISGID;
	if (attr->st_mode != st.st_mode)
		*set |= OVL_SET_MODE;
	return 0;
}

/*
 * chmod by one who may not set the bit has lost it in the kernel already. So if it is still there,
 * this is a write that takes suid away, where FUSE forgets sgid without group execution.
 */
static void strip_sgid(struct ovl_fs *fs, struct ovl_node *n, struct stat *attr,
		       const struct ovl_cred *cred)
{
	struct stat st;

	if (!(attr->st_mode & S_ISGID) || cred->uid == 0 || !S_ISREG(n->type) ||
	    ovl_getattr(fs, n, &st) < 0)
		return;
	if (!in_group(cred, st.st_gid))
		attr->st_mode &= ~(mode_t)S_ISGID;
}

int ovl_getattr_done(struct ovl_fs *fs, struct ovl_node *n, struct stat *ret)
{
	int r = ovl_getattr(fs, n, ret);

	return r == -ENOMEM ? ovl_getattr(fs, n, ret) : r;
}

/* What chattr(1) has protected: of append-only files times may be set to now. */
static int check_allowed(struct ovl_fs *fs, struct ovl_node *n, unsigned int set)
{
	set &= ~(unsigned int)OVL_SET_KILL;
	if (set == 0)
		return 0;
	/* the times that the kernel has kept, which never come as "now" */
	if (fs->writeback)
		set &= ~(unsigned int)(OVL_SET_ATIME | OVL_SET_MTIME);
	/* with these comes the bit of the time that is not taken */
	if (set & OVL_SET_ATIME_NOW)
		set &= ~(unsigned int)(OVL_SET_ATIME | OVL_SET_ATIME_NOW);
	if (set & OVL_SET_MTIME_NOW)
		set &= ~(unsigned int)(OVL_SET_MTIME | OVL_SET_MTIME_NOW);
	return ovl_check_protected(n,
				   set ? OVL_NODE_IMMUTABLE | OVL_NODE_APPEND : OVL_NODE_IMMUTABLE);
}

int ovl_setattr(struct ovl_fs *fs, struct ovl_node *n, const struct stat *attr, unsigned int set,
		struct ovl_file *file, const struct ovl_cred *cred, struct stat *ret)
{
	struct stat fixed = *attr;
	uint64_t keep = set & OVL_SET_SIZE ? (uint64_t)attr->st_size : OVL_COPY_META;
	struct ovl_at at cleanup_at = OVL_AT_INIT;
	bool shrinks = false, sized = false;
	struct stat st;
	int r;

	if (set & OVL_SET_SIZE && !S_ISREG(n->type))
		return S_ISDIR(n->type) ? -EISDIR : -EINVAL;
	if ((set & OVL_SET_UID && ovl_idmap_store(&fs->uids, attr->st_uid, &fixed.st_uid) < 0) ||
	    (set & OVL_SET_GID && ovl_idmap_store(&fs->gids, attr->st_gid, &fixed.st_gid) < 0))
		return -EINVAL;
	r = check_allowed(fs, n, set);
	if (r < 0)
		return r;
	if (set & OVL_SET_SIZE && !ovl_node_has_data(n)) {
		r = ovl_getattr(fs, n, &st);
		if (r < 0)
			return r;
		shrinks = st.st_size > attr->st_size;
	}
	r = ovl_copy_up(fs, n, keep);
	if (r == 0 && shrinks) {
		/* The copy was cut off where it should be: nothing is left that could fail. */
		r = ovl_getattr(fs, n, &st);
		sized = r == 0 && st.st_size == attr->st_size;
	}
	if (r == 0 && set & OVL_SET_SIZE && !sized)
		r = set_size(fs, n, attr->st_size, file);
	if (r == 0 && set & OVL_SET_KILL)
		r = kill_bits(fs, n, &fixed, &set, cred);
	if (r < 0)
		return r;
	if (set & OVL_SET_MODE && cred)
		strip_sgid(fs, n, &fixed, cred);
	pthread_rwlock_rdlock(&fs->tree);
	r = ovl_at_get_locked(fs, n, &at);
	if (r == 0 && set & (OVL_SET_UID | OVL_SET_GID | OVL_SET_MODE))
		r = set_owner_locked(fs, n, &at, &fixed, set);
	if (r == 0 && set & (OVL_SET_ATIME | OVL_SET_MTIME | OVL_SET_ATIME_NOW | OVL_SET_MTIME_NOW))
		r = set_times_locked(&at, attr, set);
	pthread_rwlock_unlock(&fs->tree);
	return r < 0 ? r : ovl_getattr_done(fs, n, ret);
}

int ovl_readlink(struct ovl_fs *fs, struct ovl_node *n, char *buf, size_t size)
{
	struct ovl_at at cleanup_at = OVL_AT_INIT;
	ssize_t len;
	int r;

	if (!S_ISLNK(n->type))
		return -EINVAL;
	if (!ovl_node_has(n, OVL_NODE_UPPER)) {
		len = ovl_lower_readlink(ovl_node_lowers(n)[0], buf, size - 1);
	} else {
		pthread_rwlock_rdlock(&fs->tree);
		r = ovl_at_get_locked(fs, n, &at);
		len = r < 0 ? r : ovl_sys_readlink(at.fd, at.name, buf, size - 1);
		pthread_rwlock_unlock(&fs->tree);
	}
	if (len >= 0)
		buf[len] = '\0';
	return (int)len;
}

int ovl_statfs(struct ovl_fs *fs, struct statvfs *ret)
{
	int r = fs->has_upper ? ovl_sys_statvfs(fs->upper_fd, ret)
			      : fs->layers[0]->ops->statvfs(fs->layers[0], ret);

	if (r == 0)
		ovl_quota_statvfs(fs, ret);
	if (r == 0)
		ret->f_namemax = 255;
	return r;
}
