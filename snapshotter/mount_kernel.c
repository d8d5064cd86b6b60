/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "erofs/devices.h"
#include "erofs/image.h"
#include "erofs/kmount.h"
#include "erofs/tree.h"
#include "erofs/write.h"
#include "snapshotter/lazy.h"
#include "snapshotter/mount_private.h"

/*
 * The kernel's engine: the chain's index mounted as EROFS on a directory of our
 * own, overlayfs over that and the committed directories, and the EROFS mount
 * detached again: overlayfs holds what it needs. Layers are given one by one
 * ("lowerdir+"), so their number is not limited by a page of options.
 */

struct kernel_options {
	bool read_only, dev, suid, noexec, volatile_;
};

static int parse_options(const char *text, struct kernel_options *ret, struct err *err)
{
	static const char *const without_meaning[] = {
		"rw",	   "exec", "nodev", "nosuid", "allow_other", "default_permissions",
		"noatime", ""};
	char *copy cleanup_free = strdup(text ? text : ""), *save, *o;

	if (!copy)
		return err_set(err, -ENOMEM, "options");
	for (o = strtok_r(copy, ",", &save); o; o = strtok_r(NULL, ",", &save)) {
		bool known = true;

		if (strcmp(o, "ro") == 0)
			ret->read_only = true;
		else if (strcmp(o, "dev") == 0)
			ret->dev = true;
		else if (strcmp(o, "suid") == 0)
			ret->suid = true;
		else if (strcmp(o, "noexec") == 0)
			ret->noexec = true;
		else if (strcmp(o, "volatile") == 0)
			ret->volatile_ = true;
		else
			known = false;
		for (size_t i = 0; !known && i < sizeof(without_meaning) / sizeof(char *); i++)
			known = strcmp(o, without_meaning[i]) == 0;
		if (!known)
			return err_msg(err, -EOPNOTSUPP, "the kernel engine has no option '%s'", o);
	}
	return 0;
}

static void free_paths(char **paths, size_t n)
{
	for (size_t i = 0; paths && i < n; i++)
		free(paths[i]);
	free(paths);
}

int mount_chain_index(const char *index, const char *at, struct err *err)
{
	struct erofs_image *img cleanup_erofs_image = NULL;
	int fd cleanup_close = open(index, O_RDONLY | O_CLOEXEC), r;
	char **devices = NULL;
	size_t n = 0;

	if (fd < 0)
		return err_set(err, -errno, "open '%s'", index);
	r = erofs_image_open(fd, &img, err);
	if (r < 0)
		return err_wrap(err, r, "'%s'", index);
	n = erofs_image_device_count(img);
	devices = calloc(n + 1, sizeof(*devices));
	r = devices ? 0 : -ENOMEM;
	for (size_t i = 0; i < n && r == 0; i++)
		r = erofs_device_path(img, index, i + 1, &devices[i]);
	if (r == 0)
		r = erofs_kernel_mount(index, (const char *const *)devices, n, at, err);
	else
		(void)err_set(err, r, "data files of '%s'", index);
	free_paths(devices, n);
	return r;
}

/* What the kernel said of the last call on this context (fsopen(2): messages are read from it). */
static int fs_fail(int fs, int code, const char *what, struct err *err)
{
	char text[256];
	ssize_t n;

	do
		n = read(fs, text, sizeof(text) - 1);
	while (n > 0 && text[0] != 'e');
	if (n <= 2)
		return err_set(err, code, "overlayfs: %s", what);
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return err_set(err, code, "overlayfs: %s: %s", what, text + 2);
}

static int set(int fs, const char *key, const char *value, struct err *err)
{
	if (fsconfig(fs, FSCONFIG_SET_STRING, key, value, 0) == 0)
		return 0;
	return fs_fail(fs, -errno, key, err);
}

static int configure(int fs, const struct mount_request *q, const struct ovl_config *c,
		     const char *chain_mount, const struct kernel_options *o, struct err *err)
{
	char empty[4096];
	int r = set(fs, "source", q->mount->source, err);

	for (size_t i = 0; i < c->n_lowers && r == 0; i++) {
		bool is_chain = chain_mount && i == c->n_lowers - 1;

		r = set(fs, "lowerdir+", is_chain ? chain_mount : c->lowers[i], err);
	}
	if (r == 0 && !c->upper && c->n_lowers == 1) {
		/* it takes two without an upper; the lowest shows nothing of itself */
		(void)snprintf(empty, sizeof(empty), "%s/empty", q->store->root);
		r = set(fs, "lowerdir+", empty, err);
	}
	if (r == 0 && c->upper)
		r = set(fs, "upperdir", c->upper, err);
	if (r == 0 && c->upper)
		r = set(fs, "workdir", c->work, err);
	if (r == 0)
		r = set(fs, "redirect_dir", "on", err);
	if (r == 0)
		r = set(fs, "index", "off", err);
	if (r == 0)
		r = set(fs, "xino", "off", err);
	if (r == 0)
		r = set(fs, "metacopy", "on", err);
	if (r == 0 && o->volatile_ && c->upper &&
	    fsconfig(fs, FSCONFIG_SET_FLAG, "volatile", NULL, 0))
		r = fs_fail(fs, -errno, "volatile", err);
	return r;
}

static int mount_overlay(const struct mount_request *q, const struct ovl_config *c,
			 const char *chain_mount, const struct kernel_options *o, struct err *err)
{
	int fs cleanup_close = fsopen("overlay", FSOPEN_CLOEXEC), mnt cleanup_close = -1, r;
	unsigned int attr = 0;

	if (fs < 0)
		return err_set(err, -errno, "overlayfs");
	r = configure(fs, q, c, chain_mount, o, err);
	if (r < 0)
		return r;
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return fs_fail(fs, -errno, "mount", err);
	attr |= o->dev ? 0 : MOUNT_ATTR_NODEV;
	attr |= o->suid ? 0 : MOUNT_ATTR_NOSUID;
	attr |= o->noexec ? MOUNT_ATTR_NOEXEC : 0;
	attr |= o->read_only || c->read_only ? MOUNT_ATTR_RDONLY : 0;
	mnt = fsmount(fs, FSMOUNT_CLOEXEC, attr);
	if (mnt < 0)
		return fs_fail(fs, -errno, "mount", err);
	if (move_mount(mnt, "", AT_FDCWD, q->target, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_set(err, -errno, "mount at '%s'", q->target);
	return 0;
}

static int mount_stack(const struct mount_request *q, const struct ovl_config *c,
		       const struct kernel_options *o, bool has_chain, struct err *err)
{
	char *at cleanup_free = NULL;
	int r;

	if (!has_chain)
		return mount_overlay(q, c, NULL, o, err);
	if (asprintf(&at, "%s/run/%lld", q->store->root, (long long)q->row->id) < 0)
		return err_set(err, -ENOMEM, "mount");
	/* one that a killed 'snap mount' left; we hold the snapshot's lock */
	while (umount2(at, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
		;
	if (mkdir(at, 0700) < 0 && errno != EEXIST)
		return err_set(err, -errno, "make '%s'", at);
	r = mount_chain_index(c->lowers[c->n_lowers - 1], at, err);
	if (r == 0) {
		r = mount_overlay(q, c, at, o, err);
		if (umount2(at, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
			log_warn("'%s' stays mounted: %s", at, strerror(errno));
	}
	(void)rmdir(at);
	return r;
}

int mount_by_kernel(const struct mount_request *q, struct err *err)
{
	struct snap_stack stack cleanup_snap_stack = {.dirs = NULL};
	struct ovl_config c CLEANUP(ovl_config_release) = OVL_CONFIG_INIT;
	struct kernel_options o = {.read_only = false};
	struct strbuf labels CLEANUP(strbuf_release) = STRBUF_INIT;
	int r = parse_options(q->options, &o, err);

	if (r == 0)
		r = mount_label_options(q->store, q->row->id, &labels, err);
	if (r == 0 && labels.len > 0)
		r = err_msg(err, -EOPNOTSUPP, MOUNT_LABELS_NEED_FUSE);
	if (r == 0)
		r = snap_stack_load(q->store, q->row, &stack, err);
	if (r == 0 && stack.chain[0])
		r = lazy_refuse_kernel(q->store, stack.chain, err);
	if (r == 0)
		r = snap_stack_config(q->store, &stack, 0,
				      q->row->kind == SNAP_ACTIVE ? q->row->id : 0, &c, err);
	return r < 0 ? r : mount_stack(q, &c, &o, stack.chain[0] != '\0', err);
}

int mount_probe_overlay(struct snap_store *store, struct err *err)
{
	int fs cleanup_close = fsopen("overlay", FSOPEN_CLOEXEC), mnt cleanup_close = -1, r;
	struct store_tmp t cleanup_store_tmp = STORE_TMP_INIT;
	char path[4096];

	if (fs < 0)
		return err_set(err, -errno, "overlayfs");
	r = store_tmp_new(store, &t, err);
	if (r == 0 && (mkdirat(t.fd, "u", 0700) < 0 || mkdirat(t.fd, "w", 0700) < 0))
		r = err_set(err, -errno, "make a folder in '%s/tmp'", store->root);
	(void)snprintf(path, sizeof(path), "%s/empty", store->root);
	if (r == 0)
		r = set(fs, "lowerdir", path, err);
	(void)snprintf(path, sizeof(path), "%s/tmp/%s/u", store->root, t.name);
	if (r == 0)
		r = set(fs, "upperdir", path, err);
	(void)snprintf(path, sizeof(path), "%s/tmp/%s/w", store->root, t.name);
	if (r == 0)
		r = set(fs, "workdir", path, err);
	if (r == 0)
		r = set(fs, "redirect_dir", "on", err);
	if (r == 0 && fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		r = fs_fail(fs, -errno, "mount", err);
	if (r == 0)
		mnt = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	return r == 0 && mnt < 0 ? fs_fail(fs, -errno, "mount", err) : r;
}

int mount_probe_kernel(struct snap_store *store, struct err *err)
{
	struct store_tmp t cleanup_store_tmp = STORE_TMP_INIT;
	struct erofs_tree *tree = NULL;
	char *index cleanup_free = NULL, *at cleanup_free = NULL;
	int fd cleanup_close = -1, r = store_tmp_new(store, &t, err);

	if (r < 0)
		return r;
	if (asprintf(&index, "%s/tmp/%s/index", store->root, t.name) < 0 ||
	    asprintf(&at, "%s/tmp/%s/at", store->root, t.name) < 0)
		return err_set(err, -ENOMEM, "probe");
	r = store_mkdir(t.fd, "at", 0700);
	fd = openat(t.fd, "index", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (r < 0 || fd < 0)
		return err_set(err, r < 0 ? r : -errno, "make a file in '%s/tmp'", store->root);
	tree = erofs_tree_new();
	r = tree ? erofs_write(tree, NULL, 0, fd, err) : err_set(err, -ENOMEM, "probe");
	if (tree)
		erofs_tree_free(tree);
	closep(&fd); /* the kernel takes no file that is open for writing */
	if (r == 0)
		r = erofs_kernel_mount(index, NULL, 0, at, err);
	if (r == 0 && umount2(at, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
		r = err_set(err, -errno, "unmount '%s'", at);
	return r;
}
