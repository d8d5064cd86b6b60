/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "snapshotter/lazy.h"
#include "snapshotter/mount_private.h"
#include "snapshotter/rootfs_private.h"

/* mount(2) takes a page of options; containerd leaves some room in it. */
#define OPTIONS_PAGE (4096 - 512)

void snap_rootfs_mount_release(struct snap_rootfs_mount *m)
{
	free(m->source);
	for (size_t i = 0; i < m->n_options; i++)
		free(m->options[i]);
	memset(m, 0, sizeof(*m));
}

static int add_option(struct snap_rootfs_mount *m, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static int add_option(struct snap_rootfs_mount *m, const char *fmt, ...)
{
	char *s = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&s, fmt, ap);
	va_end(ap);
	if (n < 0)
		return -ENOMEM;
	m->options[m->n_options++] = s;
	return 0;
}

int snap_rootfs_init(struct snap_store *store, enum snap_engine engine, struct snap_rootfs *ret,
		     struct err *err)
{
	struct snap_rootfs fs = {.engine = engine};
	struct err overlay = ERR_INIT, erofs = ERR_INIT;

	if (engine == SNAP_ENGINE_FUSE) {
		(void)snprintf(fs.reason, sizeof(fs.reason), "containers by FUSE: asked for");
	} else if (geteuid() != 0) {
		(void)snprintf(fs.reason, sizeof(fs.reason),
			       "containers by FUSE: the kernel mounts for root only");
	} else if (mount_probe_overlay(store, &overlay) < 0) {
		(void)snprintf(fs.reason, sizeof(fs.reason),
			       "containers by FUSE: no overlayfs by the kernel: %.380s",
			       overlay.msg);
	} else {
		fs.overlay = true;
		fs.erofs = mount_probe_kernel(store, &erofs) == 0;
		(void)snprintf(
			fs.reason, sizeof(fs.reason),
			"containers by the kernel: overlayfs of directories, %s%.300s",
			fs.erofs ? "and of images by EROFS" : "but images by FUSE: ", erofs.msg);
	}
	if (engine == SNAP_ENGINE_KERNEL && !fs.overlay) {
		(void)err_msg(err, -EOPNOTSUPP, "the kernel engine cannot be used: %.300s",
			      geteuid() != 0 ? "the kernel mounts for root only" : overlay.msg);
		err_hint(err, "'snap doctor' says what this machine can do; --engine auto takes "
			      "what works");
		return -EOPNOTSUPP;
	}
	*ret = fs;
	return 0;
}

/* containerd names what it unpacks into default/<number>/extract-<random> <chain id>. */
static bool is_extraction(const char *key)
{
	const char *slash = strrchr(key, '/');

	return strncmp(slash ? slash + 1 : key, "extract-", 8) == 0;
}

static int set_bind(struct snap_rootfs_mount *m, const char *source, bool read_only)
{
	int r = add_option(m, "rbind");

	if (r == 0)
		r = add_option(m, read_only ? "ro" : "rw");
	m->type = "bind";
	m->source = strdup(source);
	return m->source ? r : -ENOMEM;
}

struct shape { /* what a snapshot is made of */
	struct snap_row row;
	struct snap_stack stack;
	struct ovl_config c;
};

static void shape_release(struct shape *s)
{
	snap_stack_release(&s->stack);
	ovl_config_release(&s->c);
}

/*
 * Can it be one overlay by mount(2)? Paths with separators cannot be written down for it, and the
 * options must fit. containerd shortens them by the folder that all lowers are below.
 */
static bool fits_overlay(const struct shape *s, const char *root)
{
	size_t below = strlen(root) + strlen("/snapshots/"), total = 256;

	if (strpbrk(root, ":,\\"))
		return false;
	total += s->c.upper ? strlen(s->c.upper) + strlen(s->c.work) : 0;
	for (size_t i = 0; i < s->c.n_lowers; i++)
		total += strlen(s->c.lowers[i]) + 1 - (strlen(s->c.lowers[i]) > below ? below : 0);
	if (s->stack.chain[0]) /* beside the folder of the snapshots: shortened by less */
		total += s->c.n_lowers * strlen("snapshots/") + 96;
	return total < OPTIONS_PAGE;
}

static int set_overlay(struct snap_store *store, const struct shape *s, struct snap_rootfs_mount *m,
		       struct err *err)
{
	struct strbuf lowers CLEANUP(strbuf_release) = STRBUF_INIT;
	char *chain cleanup_free = NULL;
	int r = s->stack.chain[0] ? held_chain(store, s->stack.chain, &chain, err) : 0;

	if (r < 0)
		return r;
	for (size_t i = 0; i < s->c.n_lowers && r == 0; i++)
		r = strbuf_addf(&lowers, "%s%s", i > 0 ? ":" : "",
				chain && i == s->c.n_lowers - 1 ? chain : s->c.lowers[i]);
	/* it takes two without an upper; and a layer's whiteouts are not to be seen as they are */
	if (r == 0 && s->c.n_lowers == 1 && !s->c.upper)
		r = strbuf_addf(&lowers, ":%s/empty", snap_store_root(store));
	m->type = "overlay";
	m->source = strdup("overlay");
	/* the same as the kernel engine has, by the marks that our uppers hold */
	if (r == 0)
		r = add_option(m, "redirect_dir=on");
	if (r == 0)
		r = add_option(m, "index=off");
	if (r == 0)
		r = add_option(m, "xino=off");
	if (r == 0)
		r = add_option(m, "metacopy=on");
	if (r == 0 && s->c.upper)
		r = add_option(m, "workdir=%s", s->c.work);
	if (r == 0 && s->c.upper)
		r = add_option(m, "upperdir=%s", s->c.upper);
	if (r == 0)
		r = add_option(m, "lowerdir=%s", lowers.s);
	return r < 0 || !m->source ? err_set(err, -ENOMEM, "mounts") : 0;
}

/* An image's chain that nothing is written over: as it is. */
static int set_chain(struct snap_store *store, const struct shape *s, struct snap_rootfs_mount *m,
		     struct err *err)
{
	char *chain cleanup_free = NULL;
	int r = held_chain(store, s->stack.chain, &chain, err);

	if (r == 0 && set_bind(m, chain, true) < 0)
		r = err_set(err, -ENOMEM, "mounts");
	return r;
}

/* mount.fuse3 hands what it is given to a shell: only what means nothing to one. */
static bool is_plain(const char *path)
{
	return path[strspn(path, "/._-+=@%0123456789abcdefghijklmnopqrstuvwxyz"
				 "ABCDEFGHIJKLMNOPQRSTUVWXYZ")] == '\0';
}

/* containerd mounts it by mount.fuse3(8), which starts snapfs. */
static int set_helper(struct snap_store *store, const char *key, struct snap_rootfs_mount *m,
		      struct err *err)
{
	struct snap_mount told cleanup_snap_mount = {.type = NULL};
	int r = snap_mounts(store, key, &told, err);
	char *option, *rest = told.options;

	/* no path in it has a comma: is_plain() */
	while (r == 0 && (option = strsep(&rest, ",")))
		r = m->n_options < SNAP_ROOTFS_OPTIONS_MAX ? add_option(m, "%s", option) : -E2BIG;
	if (r < 0)
		return err->msg[0] ? r : err_set(err, r, "mounts");
	m->type = "fuse3.snapfs";
	m->source = steal_ptr(&told.source);
	return 0;
}

static int set_held(struct snap_store *store, const struct shape *s, const char *key,
		    enum snap_engine engine, struct snap_rootfs_mount *m, struct err *err)
{
	char *at cleanup_free = NULL;
	int r = held_snapshot(store, key, s->row.id, engine, &at, err);

	if (r == 0 && set_bind(m, at, !s->c.upper) < 0)
		r = err_set(err, -ENOMEM, "mounts");
	return r;
}

static int set_fuse(struct snap_store *store, const struct snap_rootfs *fs, const struct shape *s,
		    const char *key, struct snap_rootfs_mount *m, struct err *err)
{
	if (fs->helper && is_plain(snap_store_root(store)))
		return set_helper(store, key, m, err);
	return set_held(store, s, key, SNAP_ENGINE_FUSE, m, err);
}

static int choose(struct snap_store *store, const struct snap_rootfs *fs, const struct shape *s,
		  const char *key, struct snap_rootfs_mount *m, struct err *err)
{
	bool has_chain = s->stack.chain[0] != '\0', alone = !has_chain && s->stack.n_dirs == 0;
	bool kernel =
		fs->overlay &&
		(!has_chain || (fs->erofs && !lazy_refuse_kernel(store, s->stack.chain, NULL)));
	bool asked;
	const char *root = snap_store_root(store);
	struct strbuf labels CLEANUP(strbuf_release) = STRBUF_INIT;
	int r;

	/*
	 * containerd writes these itself, whatever the engine: the mount is never made. Also with
	 * nothing below: one that unpacks layers side by side says at the commit what is.
	 */
	if (is_extraction(key) && s->c.upper && !has_chain && geteuid() == 0 &&
	    !strpbrk(root, ":,\\"))
		return set_overlay(store, s, m, err);
	r = mount_label_options(store, s->row.id, &labels, err);
	if (r < 0)
		return r;
	asked = labels.len > 0;
	if (asked && fs->engine == SNAP_ENGINE_KERNEL)
		return err_msg(err, -EOPNOTSUPP, MOUNT_LABELS_NEED_FUSE);
	if (asked)
		return set_fuse(store, fs, s, key, m, err);
	if (alone) {
		r = set_bind(m, s->c.upper ? s->c.upper : s->c.lowers[0], !s->c.upper);
		return r < 0 ? err_set(err, r, "mounts") : 0;
	}
	if (fs->engine == SNAP_ENGINE_KERNEL && !kernel)
		return err_msg(err, -EOPNOTSUPP, "the kernel engine cannot mount it: %s",
			       fs->reason);
	if (!kernel)
		return set_fuse(store, fs, s, key, m, err);
	if (!s->c.upper && has_chain && s->c.n_lowers == 1)
		return set_chain(store, s, m, err);
	if (!fits_overlay(s, root))
		return set_held(store, s, key, fs->engine, m, err); /* auto: FUSE above 500 */
	return set_overlay(store, s, m, err);
}

int snap_rootfs_mounts(struct snap_store *store, const struct snap_rootfs *fs, const char *key,
		       struct snap_rootfs_mount *ret, struct err *err)
{
	struct shape s CLEANUP(shape_release) = {.c = OVL_CONFIG_INIT};
	struct snap_rootfs_mount m = {.type = NULL};
	int r = snap_row_find(store, key, &s.row, err);

	if (r == 0 && s.row.kind == SNAP_COMMITTED)
		r = err_msg(err, -EBUSY, "snapshot '%s' is not active nor a view", key);
	if (r < 0)
		return r;
	r = snap_stack_load(store, &s.row, &s.stack, err);
	if (r == 0)
		r = snap_stack_config(store, &s.stack, 0, s.row.kind == SNAP_ACTIVE ? s.row.id : 0,
				      &s.c, err);
	if (r == 0)
		r = choose(store, fs, &s, key, &m, err);
	if (r < 0) {
		snap_rootfs_mount_release(&m);
		/* what fails from here on says nothing of the request (snapshotter/store.h) */
		if (r == -ENOENT || r == -EEXIST || r == -EBUSY || r == -EINVAL)
			r = -EIO;
		return err_wrap(err, r, "mounts of '%s'", key);
	}
	*ret = m;
	return 0;
}

/* What a snapshot needs to be given back when it goes: read before, done after. */
struct given {
	int64_t id;
	char chain[65];
};

static int find_given(struct snap_store *store, const char *key, struct given *ret, struct err *err)
{
	struct snap_stack stack cleanup_snap_stack = {.dirs = NULL};
	struct snap_row row;
	int r = snap_row_find(store, key, &row, err);

	if (r == 0)
		r = snap_stack_load(store, &row, &stack, err);
	if (r < 0)
		return r;
	ret->id = row.id;
	memcpy(ret->chain, stack.chain, sizeof(ret->chain));
	return 0;
}

static void give_back(struct snap_store *store, const struct given *g)
{
	held_drop_snapshot(store, g->id);
	if (g->chain[0])
		held_drop_chain(store, g->chain);
}

int snap_rootfs_commit(struct snap_store *store, const char *name, const char *key,
		       const char *parent, const struct snap_label *labels, size_t n_labels,
		       struct err *err)
{
	struct given g;
	int r = find_given(store, key, &g, err);

	if (r == 0)
		r = held_flush(store, g.id, err);
	if (r == 0)
		r = snap_commit(store, name, key, parent, labels, n_labels, SNAP_COMMIT_KEEP_WORK,
				err);
	if (r == 0)
		give_back(store, &g);
	return r;
}

int snap_rootfs_remove(struct snap_store *store, const char *key, int64_t *ret_id, struct err *err)
{
	struct given g;
	int r = find_given(store, key, &g, err);

	if (r == 0)
		r = snap_remove(store, key, SNAP_REMOVE_MOUNTED | SNAP_REMOVE_KEEP_FOLDER, err);
	if (r < 0)
		return r;
	give_back(store, &g);
	*ret_id = g.id;
	return 0;
}

void snap_rootfs_discard(struct snap_store *store, int64_t id)
{
	static const char *const mostly_empty[] = {"x/upper", "x/work"};
	char path[STORE_PATH_MAX];
	struct err err = ERR_INIT;
	struct store_tmp *t = NULL;
	int r = store_scratch(store, "x", &t, &err);

	store_snapshot_path(id, NULL, path);
	if (r == 0 && renameat(store->root_fd, path, t->fd, "x") < 0)
		r = errno == ENOENT ? 0 : err_set(&err, -errno, "remove '%s'", path);
	for (size_t i = 0; r == 0 && i < sizeof(mostly_empty) / sizeof(mostly_empty[0]); i++)
		(void)unlinkat(t->fd, mostly_empty[i], AT_REMOVEDIR);
	if (r == 0)
		r = io_remove_tree(t->fd, "x");
	if (r < 0)
		log_warn("'%s/%s' stays until the next gc: %s", store->root, path,
			 err.msg[0] ? err.msg : strerror(-r));
}
