/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "erofs/image.h"
#include "overlay/whiteout.h"
#include "snapshotter/snapshot_private.h"

/* What lies below a snapshot, and how its root looks. */

#define ANCESTORS_MAX	4096 /* more than any image has layers; a cycle in the rows ends here */
#define XATTR_VALUE_MAX 65536 /* the kernel's limit, xattr(7) */

int snap_stack_load(struct snap_store *store, const struct snap_row *row, struct snap_stack *ret,
		    struct err *err)
{
	struct snap_stack s cleanup_snap_stack = {.dirs = NULL};
	struct snap_row at = *row;

	while (at.parent != 0) {
		int64_t id = at.parent, *p = reallocarray(s.dirs, s.n_dirs + 1, sizeof(*s.dirs));
		int r;

		if (!p)
			return err_set(err, -ENOMEM, "ancestors");
		s.dirs = p;
		s.dirs[s.n_dirs++] = id;
		if (s.n_dirs > ANCESTORS_MAX)
			return err_msg(err, -ELOOP, "more than %d ancestors", ANCESTORS_MAX);
		r = snap_row_get(store, id, &at, err);
		if (r < 0)
			return r;
		if (at.batch == 0 &&
		    at.chain[0]) { /* its chain is all of what it and its parents are */
			s.n_dirs--;
			break;
		}
	}
	memcpy(s.chain, at.chain, sizeof(s.chain));
	memcpy(s.manifest, at.manifest, sizeof(s.manifest));
	*ret = s;
	s.dirs = NULL;
	return 0;
}

void snap_stack_release(struct snap_stack *s)
{
	free(s->dirs);
	s->dirs = NULL;
	s->n_dirs = 0;
}

static char *absolute(const struct snap_store *store, const char *path)
{
	char *s = NULL;

	return asprintf(&s, "%s/%s", store->root, path) < 0 ? NULL : s;
}

int snap_stack_config(struct snap_store *store, const struct snap_stack *s, size_t first,
		      int64_t upper_id, struct ovl_config *ret, struct err *err)
{
	struct ovl_config c = OVL_CONFIG_INIT;
	char path[STORE_PATH_MAX];

	c.lowers = calloc(s->n_dirs + 2, sizeof(*c.lowers));
	if (!c.lowers)
		goto no_memory;
	for (size_t i = first; i < s->n_dirs; i++) {
		store_snapshot_path(s->dirs[i], "upper", path);
		c.lowers[c.n_lowers] = absolute(store, path);
		if (!c.lowers[c.n_lowers++])
			goto no_memory;
	}
	if (s->chain[0] || c.n_lowers == 0) {
		if (s->chain[0])
			store_chain_path(s->chain, "index", path);
		else
			(void)snprintf(path, sizeof(path), "empty");
		c.lowers[c.n_lowers] = absolute(store, path);
		if (!c.lowers[c.n_lowers++])
			goto no_memory;
	}
	if (upper_id != 0) {
		store_snapshot_path(upper_id, "upper", path);
		c.upper = absolute(store, path);
		store_snapshot_path(upper_id, "work", path);
		c.work = absolute(store, path);
		if (!c.upper || !c.work)
			goto no_memory;
	}
	c.read_only = upper_id == 0;
	c.redirect_dir = c.metacopy = true;
	*ret = c;
	return 0;
no_memory:
	ovl_config_release(&c);
	return err_set(err, -ENOMEM, "layers");
}

static int set_root_xattr(int fd, const char *name, const void *value, size_t len)
{
	if (ovl_xattr_is_private(name))
		return 0;
	if (fsetxattr(fd, name, value, len, 0) == 0)
		return 0;
	/* an ordinary user may set few of them; the engine shows those of the upper */
	if (errno == EPERM || errno == EOPNOTSUPP) {
		log_info("the root's xattr '%s' cannot be kept: %s", name, strerror(errno));
		return 0;
	}
	return -errno;
}

static int index_xattr(void *ctx, const char *name, const void *value, size_t len)
{
	return set_root_xattr(*(const int *)ctx, name, value, len);
}

static int set_root_stat(int fd, uint32_t mode, uint32_t uid, uint32_t gid,
			 const struct timespec *mtime)
{
	struct timespec times[2] = {*mtime, *mtime};

	if (fchown(fd, uid, gid) < 0 && errno != EPERM && errno != EINVAL)
		return -errno;
	if (fchmod(fd, mode & 07777) < 0 || futimens(fd, times) < 0)
		return -errno;
	return 0;
}

static int find_in_index(const struct erofs_image *img, const char *path, struct erofs_stat *ret)
{
	int r = erofs_image_inode(img, erofs_image_root(img), ret);

	while (r == 0 && *path) {
		size_t len = strcspn(path, "/");
		uint64_t nid = 0;

		r = erofs_image_lookup(img, ret, path, len, &nid);
		if (r == 0)
			r = erofs_image_inode(img, nid, ret);
		path += len + (path[len] == '/');
	}
	return r == 0 && !S_ISDIR(ret->mode) ? -ENOTDIR : r;
}

static int from_index(struct snap_store *store, const char *chain, const char *path, int fd,
		      struct err *err)
{
	struct erofs_image *img cleanup_erofs_image = NULL;
	struct erofs_stat st;
	struct timespec mtime;
	char index_path[STORE_PATH_MAX];
	int index cleanup_close = -1, r;

	store_chain_path(chain, "index", index_path);
	index = openat(store->root_fd, index_path, O_RDONLY | O_CLOEXEC);
	if (index < 0) {
		r = err_set(err, -errno, "open '%s/%s'", store->root, index_path);
		err_hint(err, "run 'snap fsck --repair'");
		return r == -ENOENT ? -EUCLEAN : r; /* not the answer that the path is not in it */
	}
	r = erofs_image_open(index, &img, err);
	if (r < 0)
		return err_wrap(err, r, "'%s/%s'", store->root, index_path);
	r = find_in_index(img, path, &st);
	if (r == 0)
		r = erofs_image_xattr_each(img, &st, index_xattr, &fd);
	if (r == 0) {
		mtime = (struct timespec){.tv_sec = st.mtime, .tv_nsec = st.mtime_nsec};
		r = set_root_stat(fd, st.mode, st.uid, st.gid, &mtime);
	}
	return r < 0 ? err_set(err, r, "'/%s' of '%s/%s'", path, store->root, index_path) : 0;
}

static int copy_xattrs(int from, int to)
{
	ssize_t len = flistxattr(from, NULL, 0);
	char *names cleanup_free = NULL, *value cleanup_free = NULL;

	if (len <= 0)
		return len < 0 && errno != EOPNOTSUPP ? -errno : 0;
	names = malloc((size_t)len);
	value = malloc(XATTR_VALUE_MAX);
	if (!names || !value)
		return -ENOMEM;
	len = flistxattr(from, names, (size_t)len);
	for (char *p = names; len > 0 && p < names + len; p += strlen(p) + 1) {
		ssize_t n = fgetxattr(from, p, value, XATTR_VALUE_MAX);
		int r;

		if (n < 0 || strcmp(p, "security.selinux") == 0)
			continue;
		r = set_root_xattr(to, p, value, (size_t)n);
		if (r < 0)
			return r;
	}
	return len < 0 ? -errno : 0;
}

static int from_directory(struct snap_store *store, int64_t id, const char *path, int fd,
			  struct err *err)
{
	char upper_path[STORE_PATH_MAX];
	int upper cleanup_close = -1, dir cleanup_close = -1, r;
	struct stat st;

	store_snapshot_path(id, "upper", upper_path);
	upper = openat(store->root_fd, upper_path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (upper < 0)
		return err_set(err, -errno, "open '%s/%s'", store->root, upper_path);
	dir = io_open_beneath(upper, path[0] ? path : ".", O_RDONLY | O_DIRECTORY, 0);
	if (dir < 0)
		return err_set(err, dir, "open '%s/%s/%s'", store->root, upper_path, path);
	if (fstat(dir, &st) < 0)
		return err_set(err, -errno, "'%s/%s/%s'", store->root, upper_path, path);
	r = copy_xattrs(dir, fd);
	if (r == 0)
		r = set_root_stat(fd, st.st_mode, st.st_uid, st.st_gid, &st.st_mtim);
	return r < 0 ? err_set(err, r, "'%s/%s/%s'", store->root, upper_path, path) : 0;
}

int snap_dir_attributes(struct snap_store *store, const struct snap_stack *s, const char *path,
			int fd, struct err *err)
{
	for (size_t i = 0; i < s->n_dirs; i++) {
		int r = from_directory(store, s->dirs[i], path, fd, err);

		if (r != -ENOENT)
			return r;
	}
	if (s->chain[0])
		return from_index(store, s->chain, path, fd, err);
	return path[0] ? err_msg(err, -ENOENT, "'/%s' is in no layer", path) : 0;
}
