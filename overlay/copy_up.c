/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "overlay/namei.h"
#include "overlay/ops.h"
#include "overlay/pin.h"
#include "overlay/quota.h"
#include "overlay/record.h"
#include "overlay/source.h"
#include "overlay/whiteout.h"

/*
 * Copy-up: the object is built in work/work with all that it is (data, owner, xattrs, mode, times),
 * synced, and renamed into place; parents first. A file with hard links goes to work/links before
 * that, so that each of its names, also those nobody has looked up yet, leads to the one copy.
 *
 * With metacopy a file whose data do not change is copied without them: as long as it is, in a
 * sparse file. Its data come with the first write, in the same way: a second copy, of the first one
 * and the data, takes its place. Only one with hard links, which are of the kernel's making, is
 * filled where it is.
 */
struct copy {
	struct ovl_node *node;
	struct ovl_source from; /* what all but the data are copied from */
	struct stat st;
	uint64_t keep; /* bytes of data */
	bool bare; /* no data: they stay where they are */
	bool links; /* becomes INDEXED */
	unsigned int protection; /* OVL_NODE_IMMUTABLE, OVL_NODE_APPEND */
	blkcnt_t blocks; /* of the copy */
	char temp[OVL_TEMP_NAME];
};

void ovl_temp_name(struct ovl_fs *fs, char buf[OVL_TEMP_NAME])
{
	snprintf(buf, 24, "#%lx", atomic_fetch_add(&fs->temp, 1));
}

void ovl_temp_remove(struct ovl_fs *fs, const char *name)
{
	/* What stays is swept at the next mount. */
	int r = ovl_sys_unlink(fs->work_fd, name, 0);

	if (r == -EISDIR || r == -EPERM)
		r = ovl_sys_unlink(fs->work_fd, name, AT_REMOVEDIR);
	if (r == -ENOTEMPTY)
		(void)!io_remove_tree(fs->work_fd, name);
}

static int copy_xattr(const struct ovl_source *from, int fd, const char *to, const char *name)
{
	cleanup_free char *value = NULL;
	size_t len;
	int r = ovl_source_xattr(from, name, &value, &len);

	if (r == 0)
		r = ovl_sys_setxattr(fd, to, name, value, len, 0);
	/* What the upper cannot have is lost, but for what guards the file: as the kernel does it.
	 */
	if (r == -EOPNOTSUPP && strncmp(name, "system.posix_acl_", 17) != 0 &&
	    strncmp(name, "security.", 9) != 0)
		return 0;
	/* Nor can who is not root set these: better a file without than none. */
	if (r == -EPERM &&
	    (strncmp(name, "trusted.", 8) == 0 || strncmp(name, "security.", 9) == 0))
		return 0;
	return r;
}

int ovl_copy_xattrs(const struct ovl_source *from, int fd, const char *to)
{
	cleanup_free char *names = NULL;
	size_t len = 0;
	int r = ovl_source_xattr(from, NULL, &names, &len);

	if (r < 0)
		return r == -ENOTSUP ? 0 : r;
	for (char *p = names; r == 0 && p < names + len; p += strlen(p) + 1)
		if (!ovl_xattr_is_mark(p))
			r = copy_xattr(from, fd, to, p);
	return r;
}

/* The first bytes of the data into @fd, which is then as long as they are. */
static int copy_data(struct ovl_fs *fs, const struct copy *c, int fd)
{
	struct ovl_data d = {.fd = -1};
	uint64_t len;
	int r = ovl_lower_open(ovl_node_data(c->node), &d);

	if (r < 0)
		return r;
	len = d.size < c->keep ? d.size : c->keep;
	/* A copy without data may have been cut off. */
	if ((uint64_t)c->st.st_size < len)
		len = (uint64_t)c->st.st_size;
	ovl_record_read(fs, c->node, &d, 0, len);
	r = ovl_data_need(&d, 0, len);
	if (r == 0 && d.fd >= 0 && len > 0)
		r = ovl_sys_copy_data(d.fd, (off_t)d.off, fd, len);
	/* A hole at the end, or all of it, is made by the size alone. */
	if (r == 0 && (len > 0 || ovl_node_has(c->node, OVL_NODE_UPPER)))
		r = ovl_sys_truncate(fd, (off_t)len);
	ovl_data_release(&d);
	return r;
}

static int make_symlink(struct ovl_fs *fs, const struct copy *c)
{
	char target[4096 + 1];
	ssize_t n = ovl_lower_readlink(c->from.lower, target, sizeof(target) - 1);

	if (n < 0)
		return (int)n;
	target[n] = '\0';
	return ovl_sys_symlink(target, fs->work_fd, c->temp);
}

/* The object without its metadata. @ret_fd: of a regular file. */
static int make_object(struct ovl_fs *fs, const struct copy *c, int *ret_fd)
{
	int fd;

	switch (c->st.st_mode & S_IFMT) {
	case S_IFREG:
		fd = ovl_sys_open(fs->work_fd, c->temp, O_RDWR | O_CREAT | O_EXCL, 0600);
		if (fd < 0)
			return fd;
		*ret_fd = fd;
		return c->bare ? ovl_sys_truncate(fd, c->st.st_size) : copy_data(fs, c, fd);
	case S_IFDIR:
		return ovl_sys_mkdir(fs->work_fd, c->temp, 0700);
	case S_IFLNK:
		return make_symlink(fs, c);
	default:
		return ovl_sys_mknod(fs->work_fd, c->temp, c->st.st_mode, c->st.st_rdev);
	}
}

/* All that the object in work/work is but its data. */
static int dress(struct ovl_fs *fs, const struct copy *c, ino_t ino)
{
	struct timespec ts[2] = {c->st.st_atim, c->st.st_mtim};
	/* Owner before xattrs: chown takes security.capability away. */
	int r = ovl_set_owner(fs, fs->work_fd, c->temp, c->st.st_mode & S_IFMT, c->st.st_uid,
			      c->st.st_gid, c->st.st_mode & 07777);

	if (r == 0)
		r = ovl_copy_xattrs(&c->from, fs->work_fd, c->temp);
	if (r == 0)
		r = ovl_origin_set(fs, fs->work_fd, c->temp, c->node->number, ino);
	if (r == 0 && c->protection)
		r = ovl_protection_write(fs, fs->work_fd, c->temp, c->protection);
	if (r == 0 && c->bare)
		r = ovl_sys_setxattr(fs->work_fd, c->temp, fs->mark[OVL_MARK_METACOPY], "", 0, 0);
	/* A copy that is cut off is the truncation itself. */
	if (S_ISREG(c->st.st_mode) && c->keep < (uint64_t)c->st.st_size)
		ts[1].tv_nsec = UTIME_NOW;
	return r == 0 ? ovl_sys_utimens(fs->work_fd, c->temp, ts) : r;
}

static int build(struct ovl_fs *fs, struct copy *c)
{
	cleanup_close int fd = -1;
	struct stat made;
	int r;

	ovl_temp_name(fs, c->temp);
	r = make_object(fs, c, &fd);
	if (r == 0)
		r = ovl_sys_stat(fs->work_fd, c->temp, &made);
	if (r == 0)
		c->node->upper_ino = made.st_ino;
	if (r == 0)
		c->blocks = S_ISREG(made.st_mode) ? made.st_blocks : 0;
	if (r == 0)
		r = dress(fs, c, made.st_ino);
	/* Without data there is nothing that could reach the disk behind its name. */
	if (r == 0 && fd >= 0 && !c->bare && !fs->volatile_)
		r = ovl_sys_fsync(fd, false);
	return r;
}

int ovl_nlink_save_locked(struct ovl_fs *fs, struct ovl_node *n, bool relative)
{
	char name[24], value[24];
	struct stat st;
	int r, len;

	snprintf(name, sizeof(name), "%" PRIu64, n->number);
	if (relative) {
		r = ovl_sys_stat(fs->links_fd, name, &st);
		if (r < 0)
			return r;
		len = snprintf(value, sizeof(value), "U%+ld", (long)n->nlink - (long)st.st_nlink);
	} else {
		len = snprintf(value, sizeof(value), "=%d", n->nlink);
	}
	r = ovl_sys_setxattr(fs->links_fd, name, fs->mark[OVL_MARK_NLINK], value, (size_t)len, 0);
	/* Symlinks and special files of an ordinary user have no user.*: counted by what is there.
	 */
	return r == -EPERM || r == -EOPNOTSUPP ? 0 : r;
}

/* The upper directory keeps its times: nothing happened in it that anybody can see. */
static int place_in(int fd, struct ovl_fs *fs, const char *temp, const char *name,
		    unsigned int flags)
{
	struct timespec ts[2];
	struct stat st;
	int r = ovl_sys_stat(fd, "", &st);

	if (r == 0)
		r = ovl_sys_rename(fs->work_fd, temp, fd, name, flags);
	if (r < 0)
		return r;
	ts[0] = st.st_atim;
	ts[1] = st.st_mtim;
	/* It is in place: what remains is no failure of the copy-up. */
	(void)!ovl_sys_utimens(fd, "", ts);
	return 0;
}

/* work/links/NUMBER appears: from here on all names lead to the copy. */
static int place_links_locked(struct ovl_fs *fs, struct copy *c)
{
	struct ovl_node *n = c->node;
	char name[24];
	int r;

	snprintf(name, sizeof(name), "%" PRIu64, n->number);
	n->nlink = (int)c->st.st_nlink;
	r = ovl_links_add(fs->numbers, n->number, n->upper_ino);
	if (r == 0)
		r = ovl_sys_rename(fs->work_fd, c->temp, fs->links_fd, name, 0);
	if (r < 0) {
		ovl_links_remove(fs->numbers, n->number);
		return r;
	}
	ovl_node_set(n, OVL_NODE_INDEXED);
	return 0;
}

/* At the node's name; at none, when it was unlinked while in use. @flags: as renameat2(2). */
static int place_locked(struct ovl_fs *fs, const struct copy *c, unsigned int flags)
{
	cleanup_dirfd struct ovl_dirfd *d = NULL;
	struct ovl_node *n = c->node;
	int r;

	if (n->at.parent) {
		r = ovl_node_dirfd_locked(fs, n->at.parent, &d);
		return r == 0 ? place_in(d->fd, fs, c->temp, n->at.name, flags) : r;
	}
	r = ovl_pin_temp_locked(fs, n, c->temp);
	if (r < 0)
		return r;
	ovl_origins_remove(fs->numbers, fs->upper_batch, n->upper_ino);
	return 0;
}

static int place(struct ovl_fs *fs, struct copy *c)
{
	int r;

	pthread_rwlock_wrlock(&fs->tree);
	r = c->links ? place_links_locked(fs, c) : place_locked(fs, c, RENAME_NOREPLACE);
	if (r == 0)
		ovl_node_set(c->node, OVL_NODE_UPPER | c->protection |
					      (c->bare ? (unsigned int)OVL_NODE_METACOPY : 0));
	pthread_rwlock_unlock(&fs->tree);
	return r;
}

/* Its other names shall find it after a remount, too, when the number is not the inode's own. */
static int save_place(struct ovl_fs *fs, const struct copy *c)
{
	const struct ovl_layer *l = c->from.lower->layer;
	dev_t foreign = l->image || c->st.st_dev == l->dev ? 0 : c->st.st_dev;
	char value[64];
	int len = snprintf(value, sizeof(value), "%u:%llx:%llu", l->batch,
			   (unsigned long long)foreign, (unsigned long long)c->st.st_ino);

	return ovl_sys_setxattr(fs->work_fd, c->temp, fs->mark[OVL_MARK_PLACE], value, (size_t)len,
				0);
}

/* What the data take is known where they are. */
static int stat_data(struct copy *c)
{
	struct stat st;
	int r = ovl_lower_stat(ovl_node_data(c->node), &st);

	if (r == 0)
		c->st.st_blocks = st.st_blocks;
	return r;
}

/* What the copy may take: what a sparse one lacks of its length, it will not have. */
static uint64_t size_of_copy(const struct copy *c)
{
	uint64_t len = (uint64_t)c->st.st_size < c->keep ? (uint64_t)c->st.st_size : c->keep;
	uint64_t held = (uint64_t)c->st.st_blocks * 512;

	if (!S_ISREG(c->st.st_mode) || c->bare)
		return 0;
	return ovl_quota_round(held < len ? held : len);
}

/*
 * Whether @c needs no data. Those with hard links are copied whole: only a single name can be
 * replaced, when the data come, in one step. And so are those with capabilities, as writing data
 * into a file takes them away.
 */
static bool is_bare(struct ovl_fs *fs, const struct copy *c, uint64_t keep)
{
	return fs->metacopy && keep == OVL_COPY_META && S_ISREG(c->st.st_mode) &&
	       c->st.st_size > 0 && !c->links &&
	       ovl_lower_getxattr(c->from.lower, OVL_XATTR_CAPS, NULL, 0) <= 0;
}

static int copy_one(struct ovl_fs *fs, struct ovl_node *n, struct ovl_node *parent, uint64_t keep)
{
	struct copy c = {.node = n, .from = {.fd = -1, .lower = ovl_node_lowers(n)[0]}};
	uint64_t reserved;
	int r = ovl_source_stat(&c.from, NULL, &c.st);

	if (r == 0 && S_ISREG(n->type) && n->n_lowers > 1)
		r = stat_data(&c);
	if (r < 0)
		return r;
	n->upper_ino = 0;
	c.links = !S_ISDIR(n->type) && c.st.st_nlink > 1 && !ovl_node_has(n, OVL_NODE_ORPHAN);
	c.bare = is_bare(fs, &c, keep);
	c.protection = ovl_protection(n);
	c.keep = keep == OVL_COPY_META ? OVL_COPY_ALL : keep;
	if (parent) {
		r = ovl_mark_impure(fs, parent);
		if (r < 0)
			return r;
	}
	reserved = size_of_copy(&c);
	r = ovl_quota_take(fs, reserved);
	if (r < 0)
		return r;
	r = build(fs, &c);
	if (r == 0)
		reserved = ovl_quota_copied(fs, n, reserved, c.blocks);
	/* The count is written before the copy can be found. */
	if (r == 0 && c.links) {
		char value[24];
		int len = snprintf(value, sizeof(value), "=%u", (unsigned int)c.st.st_nlink);

		r = ovl_sys_setxattr(fs->work_fd, c.temp, fs->mark[OVL_MARK_NLINK], value,
				     (size_t)len, 0);
		if (r == 0 && ovl_number_is_dynamic(fs->numbers, n->number))
			r = save_place(fs, &c);
		if (r == -EPERM || r == -EOPNOTSUPP)
			r = 0;
	}
	if (r == 0)
		r = place(fs, &c);
	if (r < 0) {
		ovl_origins_remove(fs->numbers, fs->upper_batch, n->upper_ino);
		ovl_temp_remove(fs, c.temp);
		ovl_quota_give(fs, reserved);
		n->charge = 0;
	}
	return r;
}

/*
 * The file where it is, with several names: what it has by then is not looked at before the mark is
 * gone. A kill may leave it with the time of the kill.
 */
static int fill(struct ovl_fs *fs, const struct copy *c)
{
	const struct timespec ts[2] = {c->st.st_atim, c->st.st_mtim};
	struct ovl_quota_change change = OVL_QUOTA_CHANGE_INIT;
	cleanup_free char *caps = NULL;
	uint64_t want = size_of_copy(c);
	size_t caps_len;
	cleanup_close int fd = ovl_sys_reopen(c->from.fd, O_WRONLY);
	int r = fd < 0 ? fd : ovl_source_xattr(&c->from, OVL_XATTR_CAPS, &caps, &caps_len);

	if (r == -ENODATA || r == -EOPNOTSUPP)
		r = 0;
	if (r == 0)
		r = ovl_quota_begin(fs, c->node, fd, 0, want, &change);
	if (r == 0 && change.len < want)
		r = -ENOSPC;
	if (r == 0)
		r = copy_data(fs, c, fd);
	ovl_quota_end(&change);
	if (r == 0 && caps)
		r = ovl_sys_setxattr(c->from.fd, "", OVL_XATTR_CAPS, caps, caps_len, 0);
	if (fd >= 0 && (r < 0 || c->keep >= (uint64_t)c->st.st_size)) {
		int restored = ovl_sys_utimens(c->from.fd, "", ts);

		r = r < 0 ? r : restored;
	}
	if (r == 0 && !fs->volatile_)
		r = ovl_sys_fsync(fd, false);
	if (r == 0)
		r = ovl_sys_removexattr(c->from.fd, "", fs->mark[OVL_MARK_METACOPY]);
	if (r == 0)
		ovl_node_clear(c->node, OVL_NODE_METACOPY);
	return r;
}

/* A copy with the data takes the place of the one without. All else is as it is at that moment. */
static int replace(struct ovl_fs *fs, struct copy *c, uint64_t *ret_held)
{
	cleanup_close int fd = -1;
	struct stat made;
	int r;

	ovl_temp_name(fs, c->temp);
	r = make_object(fs, c, &fd);
	if (r == 0 && !fs->volatile_)
		r = ovl_sys_fsync(fd, true);
	if (r == 0)
		r = ovl_sys_stat(fs->work_fd, c->temp, &made);
	pthread_rwlock_wrlock(&fs->tree);
	if (r == 0)
		r = ovl_source_stat(&c->from, fs->owner_xattr, &c->st);
	c->protection = ovl_protection(c->node);
	if (r == 0)
		r = dress(fs, c, made.st_ino);
	*ret_held = (uint64_t)c->st.st_blocks * 512;
	if (r == 0)
		r = place_locked(fs, c, 0);
	if (r == 0) {
		c->blocks = made.st_blocks;
		c->node->upper_ino = made.st_ino;
		ovl_node_clear(c->node, OVL_NODE_METACOPY);
	}
	pthread_rwlock_unlock(&fs->tree);
	return r;
}

/* The data of @n, which was copied up without. */
static int copy_rest(struct ovl_fs *fs, struct ovl_node *n, uint64_t keep)
{
	struct ovl_at at cleanup_at = OVL_AT_INIT;
	struct copy c = {.node = n, .keep = keep, .from = {.name = ""}};
	cleanup_close int fd = -1;
	uint64_t reserved, held = 0;
	int r;

	pthread_rwlock_rdlock(&fs->tree);
	r = ovl_at_get_locked(fs, n, &at);
	if (r == 0)
		r = fd = *at.name ? ovl_sys_open(at.fd, at.name, O_PATH, 0)
				  : ovl_sys_reopen(at.fd, O_PATH);
	pthread_rwlock_unlock(&fs->tree);
	c.from.fd = fd;
	if (r >= 0)
		r = ovl_source_stat(&c.from, fs->owner_xattr, &c.st);
	if (r == 0)
		r = stat_data(&c);
	if (r < 0)
		return r;
	if (c.st.st_nlink > 1)
		return fill(fs, &c);
	reserved = size_of_copy(&c);
	r = ovl_quota_take_bytes(fs, reserved);
	if (r < 0)
		return r;
	r = replace(fs, &c, &held);
	if (r == 0) {
		(void)ovl_quota_copied(fs, n, reserved, c.blocks);
		ovl_quota_give_bytes(fs, held);
	} else {
		ovl_temp_remove(fs, c.temp);
		ovl_quota_give_bytes(fs, reserved);
	}
	return r;
}

static bool is_copied(const struct ovl_node *n, uint64_t keep)
{
	return keep == OVL_COPY_META ? ovl_node_has(n, OVL_NODE_UPPER) != 0 : ovl_node_has_data(n);
}

/* One copies, others wait; false when all that is wanted is in the upper already. */
static bool copy_start(struct ovl_fs *fs, struct ovl_node *n, uint64_t keep)
{
	bool mine;

	pthread_mutex_lock(&fs->copy_lock);
	while (!is_copied(n, keep) && ovl_node_has(n, OVL_NODE_COPYING))
		pthread_cond_wait(&fs->copy_done, &fs->copy_lock);
	mine = !is_copied(n, keep);
	if (mine)
		ovl_node_set(n, OVL_NODE_COPYING);
	pthread_mutex_unlock(&fs->copy_lock);
	return mine;
}

static void copy_end(struct ovl_fs *fs, struct ovl_node *n)
{
	pthread_mutex_lock(&fs->copy_lock);
	ovl_node_clear(n, OVL_NODE_COPYING);
	pthread_cond_broadcast(&fs->copy_done);
	pthread_mutex_unlock(&fs->copy_lock);
}

/*
 * The highest of @n and its parents that is not in the upper, and its parent; @n, when they all
 * are: references.
 */
static struct ovl_node *next_to_copy(struct ovl_fs *fs, struct ovl_node *n,
				     struct ovl_node **ret_parent)
{
	struct ovl_node *found = n;

	pthread_rwlock_rdlock(&fs->tree);
	if (!ovl_node_has(n, OVL_NODE_UPPER))
		while (found->at.parent && !ovl_node_has(found->at.parent, OVL_NODE_UPPER))
			found = found->at.parent;
	ovl_node_ref(fs, found);
	*ret_parent = found->at.parent ? ovl_node_ref(fs, found->at.parent) : NULL;
	pthread_rwlock_unlock(&fs->tree);
	return found;
}

/* Name @i of those known of @n: a reference to its parent and a copy; false when there are fewer.
 */
static bool nth_name(struct ovl_fs *fs, struct ovl_node *n, unsigned int i,
		     struct ovl_node **ret_parent, char **ret_name)
{
	struct ovl_alias *a = &n->at;
	bool found;

	pthread_rwlock_rdlock(&fs->tree);
	while (a && i-- > 0)
		a = a->next;
	found = a && a->parent;
	if (found) {
		*ret_parent = ovl_node_ref(fs, a->parent);
		*ret_name = strdup(a->name);
	}
	pthread_rwlock_unlock(&fs->tree);
	return found;
}

/*
 * work/links has the copy; who reads the upper without us (a commit, the kernel) finds it by the
 * names that are known by now.
 */
static int link_name(struct ovl_fs *fs, struct ovl_node *n, struct ovl_node *parent,
		     const char *name);

static int link_names(struct ovl_fs *fs, struct ovl_node *n)
{
	struct ovl_node *parent;
	char *name;
	int r = 0;

	for (unsigned int i = 0; r == 0 && nth_name(fs, n, i, &parent, &name); i++) {
		r = name ? ovl_copy_up(fs, parent, OVL_COPY_ALL) : -ENOMEM;
		if (r == 0)
			r = link_name(fs, n, parent, name);
		free(name);
		ovl_node_unref(fs, parent);
	}
	return r;
}

int ovl_copy_up(struct ovl_fs *fs, struct ovl_node *n, uint64_t keep)
{
	struct ovl_node *next, *parent;
	int r = 0;

	if (!fs->has_upper)
		return -EROFS;
	while (r == 0 && !is_copied(n, keep)) {
		next = next_to_copy(fs, n, &parent);
		if (copy_start(fs, next, next == n ? keep : OVL_COPY_ALL)) {
			if (ovl_node_has(next, OVL_NODE_UPPER))
				r = copy_rest(fs, next, keep);
			else
				r = copy_one(fs, next, parent, next == n ? keep : OVL_COPY_ALL);
			copy_end(fs, next);
		}
		ovl_node_unref(fs, parent);
		ovl_node_unref(fs, next);
	}
	/* Also when that failed, or was killed, after an earlier copy-up. */
	if (r == 0 && ovl_node_has(n, OVL_NODE_INDEXED) && !ovl_node_has(n, OVL_NODE_LINKED)) {
		r = link_names(fs, n);
		if (r == 0)
			ovl_node_set(n, OVL_NODE_LINKED);
	}
	return r;
}

static int link_name(struct ovl_fs *fs, struct ovl_node *n, struct ovl_node *parent,
		     const char *name)
{
	cleanup_dirfd struct ovl_dirfd *d = NULL;
	char number[24], temp[OVL_TEMP_NAME];
	struct stat st;
	int r = ovl_mark_impure(fs, parent);

	if (r < 0)
		return r;
	snprintf(number, sizeof(number), "%" PRIu64, n->number);
	ovl_temp_name(fs, temp);
	pthread_rwlock_wrlock(&fs->tree);
	r = ovl_node_dirfd_locked(fs, parent, &d);
	if (r == 0)
		r = ovl_sys_stat(d->fd, name, &st);
	if (r == -ENOENT) {
		/* The count stays while the inode gets one more name. */
		r = ovl_nlink_save_locked(fs, n, false);
		if (r == 0)
			r = ovl_sys_link(fs->links_fd, number, fs->work_fd, temp);
		if (r == 0) {
			r = place_in(d->fd, fs, temp, name, RENAME_NOREPLACE);
			if (r < 0)
				ovl_temp_remove(fs, temp);
		}
	}
	pthread_rwlock_unlock(&fs->tree);
	return r;
}

int ovl_copy_up_name(struct ovl_fs *fs, struct ovl_node *n, struct ovl_node *parent,
		     const char *name)
{
	int r = ovl_copy_up(fs, n, OVL_COPY_META);

	return r < 0 || !ovl_node_has(n, OVL_NODE_INDEXED) ? r : link_name(fs, n, parent, name);
}
