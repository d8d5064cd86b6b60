/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "snapshotter/snapshot_private.h"

/*
 * du of a tree that may change meanwhile: what goes away is not counted. Iterative over a list of
 * directories still to be read, so that depth costs neither stack nor fds.
 */
struct pending {
	struct pending *next;
	char path[];
};

struct walk {
	int root;
	dev_t dev; /* what is mounted below is not of the tree */
	struct pending *todo;
	void *seen; /* tsearch tree of inode numbers with several names */
	struct snap_usage usage;
};

static int compare_ino(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* 1: the first name of this inode. */
static int first_name(struct walk *w, const struct stat *st)
{
	uint64_t *ino, **slot;

	if (S_ISDIR(st->st_mode) || st->st_nlink < 2)
		return 1;
	ino = malloc(sizeof(*ino));
	if (!ino)
		return -ENOMEM;
	*ino = st->st_ino;
	slot = tsearch(ino, &w->seen, compare_ino);
	if (slot && *slot == ino)
		return 1;
	free(ino);
	return slot ? 0 : -ENOMEM;
}

static int push(struct walk *w, const char *dir, const char *name)
{
	size_t a = strlen(dir), b = strlen(name);
	struct pending *p = malloc(sizeof(*p) + a + b + 2);

	if (!p)
		return -ENOMEM;
	memcpy(p->path, dir, a);
	p->path[a] = '/';
	memcpy(p->path + a + 1, name, b + 1);
	p->next = w->todo;
	w->todo = p;
	return 0;
}

static int count(struct walk *w, const struct stat *st)
{
	int r = first_name(w, st);

	if (r > 0) {
		w->usage.inodes++;
		w->usage.size += (uint64_t)st->st_blocks * 512;
	}
	return r < 0 ? r : 0;
}

static int read_directory(struct walk *w, const char *path)
{
	int fd = io_open_beneath(w->root, path, O_RDONLY | O_DIRECTORY, 0);
	DIR *dir cleanup_closedir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;
	struct stat st;

	if (fd < 0) /* gone, or closed to us: what is in it cannot be counted */
		return fd == -ENOENT || fd == -EACCES || fd == -ENOTDIR ? 0 : fd;
	if (!dir) {
		(void)close(fd);
		return -ENOMEM;
	}
	while ((errno = 0, d = readdir(dir))) {
		int r;

		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		if (fstatat(fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_dev != w->dev)
			continue;
		r = count(w, &st);
		if (r == 0 && S_ISDIR(st.st_mode))
			r = push(w, path, d->d_name);
		if (r < 0)
			return r;
	}
	return -errno;
}

int usage_of_tree(int dirfd, const char *path, struct snap_usage *ret, struct err *err)
{
	int root cleanup_close =
		openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct walk w = {.root = root};
	struct stat st;
	int r;

	if (root < 0 || fstat(root, &st) < 0)
		return err_set(err, -errno, "open '%s'", path);
	w.dev = st.st_dev;
	r = count(&w, &st);
	if (r == 0)
		r = read_directory(&w, ".");
	while (w.todo) {
		struct pending *p = w.todo;

		w.todo = p->next;
		if (r == 0)
			r = read_directory(&w, p->path);
		free(p);
	}
	tdestroy(w.seen, free);
	if (r < 0)
		return err_set(err, r, "count '%s'", path);
	*ret = w.usage;
	return 0;
}
