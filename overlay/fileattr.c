/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "overlay/mark.h"
#include "overlay/ops.h"

/*
 * Flags of files are those of the upper's inode, but for the two that would stop us from linking,
 * moving, marking and removing it ourselves: immutable and append-only are kept in a mark, as the
 * kernel's overlayfs has it, and obeyed here. (The kernel cannot: FUSE knows no such inodes. So a
 * file that is protected can be opened for writing where opening sends no message, and the write is
 * what fails.) Of a lower object they are what its file system says, and copied up with it.
 */
#define BOTH (OVL_NODE_IMMUTABLE | OVL_NODE_APPEND)

static unsigned int flags_of(uint64_t attributes)
{
	return (attributes & STATX_ATTR_IMMUTABLE ? (unsigned int)OVL_NODE_IMMUTABLE : 0) |
	       (attributes & STATX_ATTR_APPEND ? (unsigned int)OVL_NODE_APPEND : 0);
}

unsigned int ovl_protection_read(struct ovl_fs *fs, int fd, const char *name)
{
	char value[32];
	ssize_t n = ovl_sys_getxattr(fd, name, fs->mark[OVL_MARK_PROTATTR], value, sizeof(value));

	return flags_of(ovl_mark_protection(value, n > 0 ? (size_t)n : 0));
}

int ovl_protection_write(struct ovl_fs *fs, int fd, const char *name, unsigned int by)
{
	const char *mark = fs->mark[OVL_MARK_PROTATTR];
	char value[2];
	size_t len = 0;
	int r;

	if (by & OVL_NODE_APPEND)
		value[len++] = 'a';
	if (by & OVL_NODE_IMMUTABLE)
		value[len++] = 'i';
	if (len > 0)
		return ovl_sys_setxattr(fd, name, mark, value, len, 0);
	r = ovl_sys_removexattr(fd, name, mark);
	return r == -ENODATA ? 0 : r;
}

unsigned int ovl_protection(struct ovl_node *n)
{
	const struct ovl_obj *o = ovl_node_has(n, OVL_NODE_UPPER) ? NULL : ovl_node_lowers(n)[0];

	if (!o || !o->layer->ops->attributes)
		return ovl_node_has(n, BOTH);
	return flags_of(o->layer->ops->attributes(ovl_node_lowers(n)[0]));
}

int ovl_check_protected(struct ovl_node *n, unsigned int by)
{
	return ovl_protection(n) & by ? -EPERM : 0;
}

static int set_protection(struct ovl_fs *fs, struct ovl_node *n, unsigned int by)
{
	struct ovl_at at cleanup_at = OVL_AT_INIT;
	int r;

	if (ovl_protection(n) == by)
		return 0;
	pthread_rwlock_rdlock(&fs->tree);
	r = ovl_at_get_locked(fs, n, &at);
	if (r == 0)
		r = ovl_protection_write(fs, at.fd, at.name, by);
	if (r == 0) {
		ovl_node_clear(n, BOTH & ~by);
		ovl_node_set(n, by);
	}
	pthread_rwlock_unlock(&fs->tree);
	return r;
}

/* The ioctl itself on the object as it is on disk. */
static int on_disk(struct ovl_fs *fs, struct ovl_node *n, unsigned int cmd, void *data)
{
	struct ovl_at at cleanup_at = OVL_AT_INIT;
	cleanup_close int fd = -1;
	int r;

	if (!ovl_node_has(n, OVL_NODE_UPPER))
		return ovl_lower_fileattr(ovl_node_lowers(n)[0], cmd, data);
	pthread_rwlock_rdlock(&fs->tree);
	r = ovl_at_get_locked(fs, n, &at);
	if (r == 0)
		r = fd = *at.name ? ovl_sys_open(at.fd, at.name, O_RDONLY | O_NONBLOCK, 0)
				  : ovl_sys_reopen(at.fd, O_RDONLY | O_NONBLOCK);
	pthread_rwlock_unlock(&fs->tree);
	return r < 0 ? r : ovl_sys_ioctl(fd, cmd, data);
}

/* Both forms have the flags in their first word; what protects has a bit in each. */
static uint32_t bits_of(unsigned int cmd, unsigned int by)
{
	bool x = cmd == FS_IOC_FSGETXATTR || cmd == FS_IOC_FSSETXATTR;

	return (by & OVL_NODE_IMMUTABLE ? (x ? FS_XFLAG_IMMUTABLE : FS_IMMUTABLE_FL) : 0u) |
	       (by & OVL_NODE_APPEND ? (x ? FS_XFLAG_APPEND : FS_APPEND_FL) : 0u);
}

/* What is asked for differs from what is seen in these: the upper's own file gets no more. */
static void apply(struct fsxattr *to, const struct fsxattr *old, const struct fsxattr *wanted,
		  uint32_t protects)
{
	uint32_t changed = old->fsx_xflags ^ wanted->fsx_xflags;

	to->fsx_xflags = ((to->fsx_xflags & ~changed) | (wanted->fsx_xflags & changed)) & ~protects;
	if (old->fsx_extsize != wanted->fsx_extsize)
		to->fsx_extsize = wanted->fsx_extsize;
	if (old->fsx_projid != wanted->fsx_projid)
		to->fsx_projid = wanted->fsx_projid;
	if (old->fsx_cowextsize != wanted->fsx_cowextsize)
		to->fsx_cowextsize = wanted->fsx_cowextsize;
}

static int get(struct ovl_fs *fs, struct ovl_node *n, unsigned int cmd, struct fsxattr *ret)
{
	int r;

	memset(ret, 0, sizeof(*ret));
	r = on_disk(fs, n, cmd, ret);
	ret->fsx_xflags |= bits_of(cmd, ovl_protection(n));
	return r;
}

static int set(struct ovl_fs *fs, struct ovl_node *n, unsigned int get_cmd, unsigned int set_cmd,
	       const struct fsxattr *wanted)
{
	uint32_t protects = bits_of(set_cmd, BOTH);
	struct fsxattr old, real, now;
	unsigned int by = 0;
	int r = fs->has_upper ? get(fs, n, get_cmd, &old) : -EROFS;

	/* What the kernel has kept comes when it cannot be refused any more. */
	if (r == 0 && fs->writeback && S_ISREG(n->type) &&
	    wanted->fsx_xflags & ~old.fsx_xflags & protects)
		r = -EOPNOTSUPP;
	if (r == 0)
		r = ovl_copy_up(fs, n, OVL_COPY_META);
	memset(&real, 0, sizeof(real));
	if (r == 0)
		r = on_disk(fs, n, get_cmd, &real);
	if (r < 0)
		return r;
	now = real;
	apply(&now, &old, wanted, protects);
	if (memcmp(&now, &real, sizeof(now)) != 0)
		r = on_disk(fs, n, set_cmd, &now);
	if (wanted->fsx_xflags & bits_of(set_cmd, OVL_NODE_IMMUTABLE))
		by |= OVL_NODE_IMMUTABLE;
	if (wanted->fsx_xflags & bits_of(set_cmd, OVL_NODE_APPEND))
		by |= OVL_NODE_APPEND;
	return r < 0 ? r : set_protection(fs, n, by);
}

int ovl_fileattr(struct ovl_fs *fs, struct ovl_node *n, unsigned int cmd, void *data)
{
	struct fsxattr x = {.fsx_xflags = 0};
	int r;

	if (!S_ISREG(n->type) && !S_ISDIR(n->type))
		return -ENOTTY;
	switch (cmd) {
	case FS_IOC_GETFLAGS:
	case FS_IOC_FSGETXATTR:
		r = get(fs, n, cmd, &x);
		if (r == 0)
			memcpy(data, &x, ovl_fileattr_size(cmd));
		return r;
	case FS_IOC_SETFLAGS:
	case FS_IOC_FSSETXATTR:
		memcpy(&x, data, ovl_fileattr_size(cmd));
		return set(fs, n, cmd == FS_IOC_SETFLAGS ? FS_IOC_GETFLAGS : FS_IOC_FSGETXATTR, cmd,
			   &x);
	default:
		return -ENOTTY;
	}
}

size_t ovl_fileattr_size(unsigned int cmd)
{
	if (cmd == FS_IOC_GETFLAGS || cmd == FS_IOC_SETFLAGS)
		return sizeof(uint32_t);
	return cmd == FS_IOC_FSGETXATTR || cmd == FS_IOC_FSSETXATTR ? sizeof(struct fsxattr) : 0;
}
