/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/lower.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "overlay/whiteout.h"

void ovl_found_release(struct ovl_found *f)
{
	ovl_obj_unref(f->obj);
	free(f->redirect);
	f->obj = NULL;
	f->redirect = NULL;
}

void ovl_data_release(struct ovl_data *d)
{
	if (d->owned && d->fd >= 0)
		(void)close(d->fd);
	d->fd = -1;
	d->owned = false;
}

struct ovl_obj *ovl_obj_new(struct ovl_layer *l)
{
	struct ovl_obj *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	o->layer = l;
	atomic_init(&o->refs, 1);
	return o;
}

struct ovl_obj *ovl_obj_ref(struct ovl_obj *o)
{
	atomic_fetch_add_explicit(&o->refs, 1, memory_order_relaxed);
	return o;
}

void ovl_obj_unref(struct ovl_obj *o)
{
	if (!o || atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel) != 1)
		return;
	o->layer->ops->release(o);
}

int ovl_layer_open(const char *path, struct ovl_real_cache *fds, struct ovl_layer **ret,
		   struct err *err)
{
	struct ovl_layer *l;
	struct stat st;
	/* The one place where a layer is named by a path: symlinks in it are the caller's own. */
	int r, fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return err_set(err, -errno, "open lower layer '%s'", path);
	l = fstat(fd, &st) < 0 ? NULL : calloc(1, sizeof(*l));
	if (!l) {
		(void)close(fd);
		return err_set(err, -ENOMEM, "open lower layer '%s'", path);
	}
	l->fds = fds;
	l->fd = l->lock_fd = -1;
	if (S_ISDIR(st.st_mode)) {
		r = ovl_layer_open_dir(fd, l, err);
	} else if (S_ISREG(st.st_mode)) {
		r = ovl_layer_open_index(fd, path, l, err);
	} else {
		(void)close(fd);
		r = err_msg(err, -ENOTDIR, "neither a directory nor an index file");
	}
	if (r < 0) {
		ovl_layer_close(l);
		return err_wrap(err, r, "lower layer '%s'", path);
	}
	*ret = l;
	return 0;
}

void ovl_layer_close(struct ovl_layer *l)
{
	if (!l)
		return;
	ovl_obj_unref(l->root);
	if (l->ops)
		l->ops->close(l);
	free(l);
}

const char *ovl_marks_prefix(void)
{
	static const char first[] = "user:[4026531837]"; /* PROC_USER_INIT_INO, proc_ns.h */
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[2] = {{.effective = 0}};
	char ns[32];
	ssize_t n = readlink("/proc/self/ns/user", ns, sizeof(ns));

	if (n == (ssize_t)strlen(first) && memcmp(ns, first, (size_t)n) == 0 &&
	    syscall(SYS_capget, &head, caps) == 0 && caps[0].effective & (1U << CAP_SYS_ADMIN))
		return OVL_XATTR_TRUSTED;
	return OVL_XATTR_USER;
}

int ovl_metacopy_read(int fd, const char *name, const char *xattr)
{
	struct {
		uint8_t version, len, flags, digest;
		char rest[252];
	} value; /* struct ovl_metacopy of the kernel; nothing at all for the first of them */
	ssize_t n = ovl_sys_getxattr(fd, name, xattr, &value, sizeof(value));

	if (n == -ENODATA || n == -ENOTSUP)
		return 0;
	if (n < 0)
		return (int)n;
	/* fs-verity's digest of the data, should there be one, is the kernel's to check. */
	return n == 0 || (n >= 4 && value.version == 0 && value.len == n) ? 1 : -EIO;
}

bool ovl_override_parse(const char *value, size_t len, struct stat *st)
{
	unsigned int uid, gid, mode;
	char buf[64];
	int end = 0;

	if (len == 0 || len >= sizeof(buf))
		return false;
	memcpy(buf, value, len);
	buf[len] = '\0';
	if (sscanf(buf, "%10u:%10u:%7o%n", &uid, &gid, &mode, &end) != 3)
		return false;
	/* Newer writers add ":type"; whatever else stands there makes it something we do not know.
	 */
	if (buf[end] != '\0' && buf[end] != ':')
		return false;
	st->st_uid = uid;
	st->st_gid = gid;
	st->st_mode = (st->st_mode & S_IFMT) | (mode & 07777);
	return true;
}

const char *ovl_override_find(int root_fd)
{
	static const char *const names[] = {
		OVL_XATTR_OVERRIDE,
		OVL_XATTR_OVERRIDE_PRIVILEGED,
		"user.fuseoverlayfs.override_stat",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (ovl_sys_getxattr(root_fd, "", names[i], NULL, 0) > 0)
			return names[i];
	/* an engine that has to keep owners there marks no root */
	return ovl_override_needed();
}

/* Does the namespace have but one id? Then its root is as powerless as the user. */
static bool one_id(const char *map)
{
	unsigned int inside, outside, count = 0, total = 0;
	FILE *f = fopen(map, "re");

	if (!f)
		return false;
	while (total <= 1 && fscanf(f, "%u %u %u", &inside, &outside, &count) == 3)
		total += count;
	(void)fclose(f);
	return total == 1;
}

const char *ovl_override_needed(void)
{
	return geteuid() != 0 || one_id("/proc/self/uid_map") ? OVL_XATTR_OVERRIDE : NULL;
}

void ovl_override_read(int fd, const char *name, const char *xattr, struct stat *st)
{
	char buf[64];
	ssize_t n;

	/* user.* exists on regular files and directories only. */
	if (!xattr || (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode)))
		return;
	n = ovl_sys_getxattr(fd, name, xattr, buf, sizeof(buf));
	if (n > 0)
		(void)ovl_override_parse(buf, (size_t)n, st);
}
