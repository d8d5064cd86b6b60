/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "base/cleanup.h"
#include "overlay/ops.h"
#include "overlay/whiteout.h"

/*
 * Names that are the union's own do not show. What a user sets under such a name is stored with
 * "overlay." once more behind the prefix, as the kernel does it, so it can neither be mistaken for
 * a mark nor be lost (Documentation/filesystems/overlayfs.rst, "Nesting overlayfs mounts").
 */
#define ESCAPE "overlay."

static const char *const own_prefixes[] = {OVL_XATTR_TRUSTED, OVL_XATTR_USER};

/* The prefix of a name in the union's own space, or NULL. */
static const char *own_prefix(const char *name)
{
	for (size_t i = 0; i < sizeof(own_prefixes) / sizeof(*own_prefixes); i++)
		if (strncmp(name, own_prefixes[i], strlen(own_prefixes[i])) == 0)
			return own_prefixes[i];
	return NULL;
}

/* Private and without an escaped form. */
static bool is_forbidden(const char *name)
{
	return !own_prefix(name) && ovl_xattr_is_private(name);
}

bool ovl_xattr_is_mark(const char *name)
{
	const char *prefix = own_prefix(name);

	if (!prefix)
		return is_forbidden(name);
	return strncmp(name + strlen(prefix), ESCAPE, strlen(ESCAPE)) != 0;
}

/* The name as it is stored: @name itself or an escaped one in @buf. */
static int stored_name(const char *name, char buf[XATTR_NAME_MAX + 1], const char **ret)
{
	const char *prefix = own_prefix(name);
	size_t plen, len = strlen(name);

	*ret = name;
	if (!prefix)
		return 0;
	plen = strlen(prefix);
	if (len + strlen(ESCAPE) > XATTR_NAME_MAX)
		return -ERANGE;
	memcpy(buf, prefix, plen);
	memcpy(buf + plen, ESCAPE, strlen(ESCAPE));
	memcpy(buf + plen + strlen(ESCAPE), name + plen, len - plen + 1);
	*ret = buf;
	return 0;
}

/* An operation on the object's xattrs as stored, in the upper or in a lower layer. */
static ssize_t raw_get(struct ovl_fs *fs, struct ovl_node *n, const char *name, void *buf,
		       size_t size)
{
	struct ovl_at at cleanup_at = OVL_AT_INIT;
	ssize_t r;

	if (!ovl_node_has(n, OVL_NODE_UPPER))
		return ovl_lower_getxattr(ovl_node_lowers(n)[0], name, buf, size);
	pthread_rwlock_rdlock(&fs->tree);
	r = ovl_at_get_locked(fs, n, &at);
	if (r == 0)
		r = ovl_sys_getxattr(at.fd, at.name, name, buf, size);
	pthread_rwlock_unlock(&fs->tree);
	return r;
}

static ssize_t raw_list(struct ovl_fs *fs, struct ovl_node *n, char *buf, size_t size)
{
	struct ovl_at at cleanup_at = OVL_AT_INIT;
	ssize_t r;

	if (!ovl_node_has(n, OVL_NODE_UPPER))
		return ovl_lower_listxattr(ovl_node_lowers(n)[0], buf, size);
	pthread_rwlock_rdlock(&fs->tree);
	r = ovl_at_get_locked(fs, n, &at);
	if (r == 0)
		r = ovl_sys_listxattr(at.fd, at.name, buf, size);
	pthread_rwlock_unlock(&fs->tree);
	return r;
}

static bool is_acl(const char *name)
{
	return strncmp(name, "system.posix_acl_", 17) == 0;
}

/* -ENOSYS: there are none at all, which the kernel then remembers. */
static int check_shown(struct ovl_fs *fs, const char *name)
{
	if (fs->no_xattrs)
		return -ENOSYS;
	return fs->no_acl && is_acl(name) ? -EOPNOTSUPP : 0;
}

ssize_t ovl_getxattr(struct ovl_fs *fs, struct ovl_node *n, const char *name, void *buf,
		     size_t size)
{
	char escaped[XATTR_NAME_MAX + 1];
	const char *stored;
	ssize_t len;
	int r = check_shown(fs, name);

	if (r < 0)
		return r;
	if (is_forbidden(name))
		return -ENODATA;
	r = stored_name(name, escaped, &stored);
	if (r < 0)
		return -ENODATA;
	len = raw_get(fs, n, stored, buf, size);
	if (len > 0 && size > 0 && is_acl(name))
		r = ovl_idmap_acl(&fs->uids, &fs->gids, buf, (size_t)len, false);
	return r < 0 ? r : len;
}

/* All names as stored (malloc); their length. */
static ssize_t list_all(struct ovl_fs *fs, struct ovl_node *n, char **ret)
{
	cleanup_free char *all = NULL;
	ssize_t len = raw_list(fs, n, NULL, 0);

	/* More may have come since the size was asked for. */
	for (int i = 0; i < 8 && len > 0; i++) {
		size_t room = (size_t)len + 256;
		char *more = realloc(all, room);

		if (!more)
			return -ENOMEM;
		all = more;
		len = raw_list(fs, n, all, room);
		if (len != -ERANGE)
			break;
		len = (ssize_t)room;
	}
	if (len > 0)
		*ret = steal_ptr(&all);
	return len;
}

ssize_t ovl_listxattr(struct ovl_fs *fs, struct ovl_node *n, char *buf, size_t size)
{
	cleanup_free char *all = NULL;
	size_t out = 0;
	ssize_t len = fs->no_xattrs ? -ENOSYS : list_all(fs, n, &all);

	if (len <= 0)
		return len == -ENOTSUP ? 0 : len;
	for (char *p = all; p < all + len; p += strlen(p) + 1) {
		const char *prefix = own_prefix(p);
		size_t plen = prefix ? strlen(prefix) : 0, rest;

		if (ovl_xattr_is_mark(p) || (fs->no_acl && is_acl(p)))
			continue;
		/* Ours and no mark: escaped. */
		rest = strlen(p) + 1 - plen - (prefix ? strlen(ESCAPE) : 0);
		if (size > 0) {
			if (plen + rest > size - out)
				return -ERANGE;
			memcpy(buf + out, p, plen);
			memcpy(buf + out + plen, p + plen + (prefix ? strlen(ESCAPE) : 0), rest);
		}
		out += plen + rest;
	}
	return (ssize_t)out;
}

/*
 * POSIX.1e as Linux has it: an access ACL set by one who is neither privileged nor of the file's
 * group takes the set-group-ID bit. The kernel tells newer libraries so; ours has to see itself.
 */
static bool loses_sgid(const struct stat *st, const struct ovl_cred *cred)
{
	return st->st_mode & S_ISGID && cred->uid != 0 && st->st_gid != cred->gid &&
	       !(cred->in_group && cred->in_group(cred->ctx, st->st_gid));
}

/* The mode after a new access ACL: its permissions, and where modes are kept in an xattr, there
 * too. */
static int mode_after_acl_locked(struct ovl_fs *fs, const struct ovl_at *at,
				 const struct ovl_cred *cred)
{
	struct stat real, st, shown;
	int r = ovl_sys_stat(at->fd, at->name, &real);

	if (r < 0)
		return r;
	st = real;
	ovl_override_read(at->fd, at->name, fs->owner_xattr, &st);
	st.st_mode = (st.st_mode & ~0777u) | (real.st_mode & 0777);
	shown = st;
	shown.st_gid = ovl_idmap_show(&fs->gids, st.st_gid);
	if (loses_sgid(&shown, cred))
		st.st_mode &= ~(mode_t)S_ISGID;
	if (fs->owner_xattr)
		return ovl_set_owner(fs, at->fd, at->name, st.st_mode & S_IFMT, st.st_uid,
				     st.st_gid, st.st_mode & 07777);
	return st.st_mode == real.st_mode ? 0 : ovl_sys_chmod(at->fd, at->name, st.st_mode & 07777);
}

int ovl_setxattr(struct ovl_fs *fs, struct ovl_node *n, const char *name, const void *value,
		 size_t size, int flags, const struct ovl_cred *cred)
{
	struct ovl_at at cleanup_at = OVL_AT_INIT;
	char escaped[XATTR_NAME_MAX + 1];
	cleanup_free void *acl = NULL;
	const char *stored;
	int r = check_shown(fs, name);

	if (r < 0)
		return r;
	if (is_forbidden(name))
		return -EPERM;
	if (is_acl(name) && size > 0) {
		acl = malloc(size);
		if (!acl)
			return -ENOMEM;
		memcpy(acl, value, size);
		value = acl;
		r = ovl_idmap_acl(&fs->uids, &fs->gids, acl, size, true);
		if (r < 0)
			return r;
	}
	r = stored_name(name, escaped, &stored);
	if (r == 0)
		r = ovl_check_protected(n, OVL_NODE_IMMUTABLE | OVL_NODE_APPEND);
	/* Writing data takes capabilities away: they come first. */
	if (r == 0)
		r = ovl_copy_up(fs, n,
				strcmp(name, OVL_XATTR_CAPS) == 0 ? OVL_COPY_ALL : OVL_COPY_META);
	if (r < 0)
		return r;
	pthread_rwlock_rdlock(&fs->tree);
	r = ovl_at_get_locked(fs, n, &at);
	if (r == 0)
		r = ovl_sys_setxattr(at.fd, at.name, stored, value, size, flags);
	if (r == 0 && strcmp(name, "system.posix_acl_access") == 0)
		r = mode_after_acl_locked(fs, &at, cred);
	pthread_rwlock_unlock(&fs->tree);
	if (strcmp(name, "system.posix_acl_default") == 0)
		ovl_node_clear(n, OVL_NODE_NO_ACL);
	return r;
}

static bool was_in_upper(struct ovl_node *n)
{
	return ovl_node_has(n, OVL_NODE_UPPER) ||
	       (n->n_lowers > 0 && ovl_node_lowers(n)[0]->layer->frozen);
}

int ovl_removexattr(struct ovl_fs *fs, struct ovl_node *n, const char *name)
{
	struct ovl_at at cleanup_at = OVL_AT_INIT;
	char escaped[XATTR_NAME_MAX + 1];
	const char *stored;
	ssize_t have;
	int r = check_shown(fs, name);

	if (r < 0)
		return r;
	if (is_forbidden(name))
		return -ENODATA;
	r = stored_name(name, escaped, &stored);
	if (r == 0)
		r = ovl_check_protected(n, OVL_NODE_IMMUTABLE | OVL_NODE_APPEND);
	if (r < 0)
		return r;
	/*
	 * Nothing to remove is no reason to copy up. Of an ACL it is no error, but where the
	 * kernel's overlayfs looks first, as here: on what is still in a lower layer, and was so
	 * before a push.
	 */
	have = raw_get(fs, n, stored, NULL, 0);
	if (have == -ENODATA && was_in_upper(n) && strncmp(name, "system.posix_acl_", 17) == 0)
		return 0;
	if (have < 0)
		return (int)have;
	r = ovl_copy_up(fs, n, OVL_COPY_META);
	if (r < 0)
		return r;
	pthread_rwlock_rdlock(&fs->tree);
	r = ovl_at_get_locked(fs, n, &at);
	if (r == 0)
		r = ovl_sys_removexattr(at.fd, at.name, stored);
	pthread_rwlock_unlock(&fs->tree);
	return r;
}
