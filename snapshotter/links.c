/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "overlay/changes.h"
#include "snapshotter/diff_private.h"
#include "snapshotter/snapshot_private.h"

/*
 * A file of a lower layer with two names, written through one of them: the engine shows the new
 * content under both, and finds it for the other one through work/links (docs/SEMANTICS.md). Once
 * the upper is a lower layer there is no such index, so that the other name must be in it.
 */
struct missing {
	char *path;
	ino_t ino; /* of the upper's file */
};

struct keep {
	struct snap_store *store;
	struct snap_stack stack;
	int upper, links; /* the directories */
	struct missing *missing;
	size_t n;
};

static void keep_release(struct keep *k)
{
	for (size_t i = 0; i < k->n; i++)
		free(k->missing[i].path);
	free(k->missing);
	closep(&k->upper);
	closep(&k->links);
	snap_stack_release(&k->stack);
}

/* Is this path's own name in the upper? */
static bool has_name(int upper, const char *path)
{
	int fd cleanup_close = io_open_beneath(upper, path, O_PATH | O_NOFOLLOW, 0);

	return fd >= 0;
}

/* The upper's inode of a change; an event that is a link has no content of its own. */
static int inode_of(struct keep *k, const struct ovl_change *ch, ino_t *ret)
{
	struct stat st;
	int fd cleanup_close = -1;

	if (!ch->hardlink) {
		if (fstat(ch->data_fd, &st) < 0)
			return -errno;
		*ret = st.st_ino;
		return 0;
	}
	for (size_t i = 0; i < k->n; i++) {
		if (strcmp(k->missing[i].path, ch->hardlink) == 0) {
			*ret = k->missing[i].ino;
			return 0;
		}
	}
	fd = io_open_beneath(k->upper, ch->hardlink, O_PATH | O_NOFOLLOW, 0);
	if (fd < 0 || fstat(fd, &st) < 0)
		return fd < 0 ? fd : -errno;
	*ret = st.st_ino;
	return 0;
}

static int collect(void *ctx, const struct ovl_change *ch, struct err *err)
{
	struct keep *k = ctx;
	struct missing *p;
	ino_t ino = 0;
	int r;

	if (ch->kind != OVL_CHANGED || !S_ISREG(ch->st.st_mode) ||
	    (ch->data_fd < 0 && !ch->hardlink) || has_name(k->upper, ch->path))
		return 0;
	r = inode_of(k, ch, &ino);
	if (r < 0)
		return err_set(err, r, "'%s'", ch->path);
	p = reallocarray(k->missing, k->n + 1, sizeof(*p));
	if (!p)
		return err_set(err, -ENOMEM, "hard links");
	k->missing = p;
	p[k->n].ino = ino;
	p[k->n].path = strdup(ch->path);
	return p[k->n++].path ? 0 : err_set(err, -ENOMEM, "hard links");
}

/* The entry of work/links that is this inode. */
static int find_link(int links, ino_t ino, char name[256])
{
	int fd = openat(links, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir cleanup_closedir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;

	while (dir && (d = readdir(dir))) {
		if (d->d_ino == ino && d->d_type == DT_REG) {
			(void)snprintf(name, 256, "%s", d->d_name);
			return 0;
		}
	}
	return -ENOENT;
}

/* A directory that only the layers have, as the engine would copy it up. Built aside. */
static int make_dir(struct keep *k, const char *path, struct err *err)
{
	struct store_tmp t cleanup_store_tmp = STORE_TMP_INIT;
	const char *slash = strrchr(path, '/');
	char *parent cleanup_free = slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
	int dir cleanup_close = -1, to cleanup_close = -1, r;
	struct timespec times[2];
	struct stat st;

	if (!parent)
		return err_set(err, -ENOMEM, "hard links");
	r = store_tmp_new(k->store, &t, err);
	if (r < 0)
		return r;
	r = store_mkdir(t.fd, "d", 0755);
	dir = openat(t.fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r < 0 || dir < 0)
		return err_set(err, r < 0 ? r : -errno, "make a folder in '%s/tmp'",
			       k->store->root);
	r = snap_dir_attributes(k->store, &k->stack, path, dir, err);
	if (r < 0)
		return r;
	to = io_open_beneath(k->upper, parent, O_RDONLY | O_DIRECTORY, 0);
	if (to < 0 || fstat(to, &st) < 0)
		return err_set(err, to < 0 ? to : -errno, "'%s'", parent);
	if (renameat2(t.fd, "d", to, slash ? slash + 1 : path, RENAME_NOREPLACE) < 0)
		return err_set(err, -errno, "'%s'", path);
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	return futimens(to, times) < 0 ? err_set(err, -errno, "'%s'", parent) : 0;
}

static int make_parents(struct keep *k, const char *path, struct err *err)
{
	char *copy cleanup_free = strdup(path);
	int r = copy ? 0 : err_set(err, -ENOMEM, "hard links");

	for (char *p = copy; r == 0 && (p = strchr(p, '/')); p++) {
		*p = '\0';
		if (!has_name(k->upper, copy))
			r = make_dir(k, copy, err);
		*p = '/';
	}
	return r;
}

static int add_name(struct keep *k, const struct missing *m, struct err *err)
{
	const char *slash = strrchr(m->path, '/');
	char *parent cleanup_free =
		slash ? strndup(m->path, (size_t)(slash - m->path)) : strdup(".");
	int to cleanup_close = -1, r;
	struct timespec times[2];
	struct stat st;
	char link[256];

	if (!parent)
		return err_set(err, -ENOMEM, "hard links");
	r = find_link(k->links, m->ino, link);
	if (r < 0)
		return err_msg(err, -EUCLEAN,
			       "'%s' has changed content and no name in the snapshot", m->path);
	r = make_parents(k, m->path, err);
	if (r < 0)
		return r;
	to = io_open_beneath(k->upper, parent, O_RDONLY | O_DIRECTORY, 0);
	if (to < 0 || fstat(to, &st) < 0)
		return err_set(err, to < 0 ? to : -errno, "'%s'", parent);
	if (linkat(k->links, link, to, slash ? slash + 1 : m->path, 0) < 0 && errno != EEXIST)
		return err_set(err, -errno, "link '%s'", m->path);
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	return futimens(to, times) < 0 ? err_set(err, -errno, "'%s'", parent) : 0;
}

/* -ENOENT: nothing to do, the engine made no links. */
static int open_dirs(struct keep *k, int64_t id)
{
	char path[STORE_PATH_MAX];
	DIR *dir cleanup_closedir = NULL;
	struct dirent *d;
	int fd;

	store_snapshot_path(id, "work/links", path);
	k->links = openat(k->store->root_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (k->links < 0)
		return -errno;
	fd = openat(k->links, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = fd < 0 ? NULL : fdopendir(fd);
	while (dir && (d = readdir(dir)) && d->d_name[0] == '.')
		;
	if (!dir || !d)
		return -ENOENT;
	store_snapshot_path(id, "upper", path);
	k->upper = openat(k->store->root_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return k->upper < 0 ? -errno : 0;
}

int snap_keep_links(struct snap_store *store, const struct snap_row *row, struct err *err)
{
	struct keep k CLEANUP(keep_release) = {.store = store, .upper = -1, .links = -1};
	struct ovl_changes_options opt = {.expand_opaque = false};
	struct ovl_config c CLEANUP(ovl_config_release) = OVL_CONFIG_INIT;
	int r = open_dirs(&k, row->id);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return err_set(err, r, "open the snapshot's work directory");
	r = snap_stack_load(store, row, &k.stack, err);
	if (r == 0)
		r = diff_flush_mount(store, row->id, err);
	if (r == 0)
		r = snap_stack_config(store, &k.stack, 0, row->id, &c, err);
	if (r == 0)
		r = ovl_changes_walk(&c, &opt, collect, &k, err);
	for (size_t i = 0; i < k.n && r == 0; i++)
		r = add_name(&k, &k.missing[i], err);
	if (r < 0) {
		(void)err_wrap(err, r, "names of hard-linked files");
		err_hint(err, "'snap commit --image' needs no such names");
	}
	return r;
}
