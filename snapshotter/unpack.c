/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/unpack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/strbuf.h"
#include "erofs/image.h"
#include "snapshotter/filler.h"
#include "snapshotter/image.h"
#include "snapshotter/store_private.h"
#include "snapshotter/unpack_private.h"

/*
 * One thread walks the chain's index: it makes directories, symlinks and special files, and hands
 * regular files to the others. Further names of a file, and what directories are in the end, come
 * after that, by their paths from the root.
 */
#define THREADS_MAX 8
#define QUEUE_MAX   256 /* so many directories are held open at most, besides the walk's own */

struct held_dir {
	int fd;
	atomic_uint refs;
};

struct job {
	struct held_dir *dir; /* a reference */
	char *name; /* owned */
	struct erofs_stat st;
};

struct later { /* owned path from the root; "" is the root */
	char *path;
	struct erofs_stat st;
	size_t order;
};

struct list {
	struct later *items;
	size_t n, room;
};

struct unpack {
	struct unpack_target t;
	int root_fd;
	struct strbuf path; /* of the directory that is walked */
	struct list dirs, links;
	unsigned char *seen; /* bit for each nid that has several names */
	size_t seen_len;

	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t more, room;
	struct job queue[QUEUE_MAX];
	size_t first, n;
	bool done;
	int failure; /* the first one's code and message */
	struct err why;
};

static struct held_dir *hold(int fd)
{
	struct held_dir *d = malloc(sizeof(*d));

	if (!d) {
		(void)close(fd);
		return NULL;
	}
	d->fd = fd;
	atomic_init(&d->refs, 1);
	return d;
}

static void let_go(struct held_dir *d)
{
	if (atomic_fetch_sub(&d->refs, 1) > 1)
		return;
	(void)close(d->fd);
	free(d);
}

static int remember(struct list *l, const char *path, const struct erofs_stat *st, struct err *err)
{
	if (l->n == l->room) {
		size_t room = l->room ? l->room * 2 : 64;
		struct later *more = reallocarray(l->items, room, sizeof(*more));

		if (!more)
			return err_set(err, -ENOMEM, "unpack");
		l->items = more;
		l->room = room;
	}
	l->items[l->n] = (struct later){.path = strdup(path), .st = *st, .order = l->n};
	return l->items[l->n++].path ? 0 : err_set(err, -ENOMEM, "unpack");
}

static void list_release(struct list *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->items[i].path);
	free(l->items);
}

static void fail(struct unpack *u, int code, const struct err *why)
{
	pthread_mutex_lock(&u->lock);
	if (u->failure == 0) {
		u->failure = code;
		u->why = *why;
	}
	pthread_cond_broadcast(&u->more);
	pthread_cond_broadcast(&u->room);
	pthread_mutex_unlock(&u->lock);
}

static bool take_job(struct unpack *u, struct job *ret)
{
	bool got;

	pthread_mutex_lock(&u->lock);
	while (u->n == 0 && !u->done && u->failure == 0)
		pthread_cond_wait(&u->more, &u->lock);
	got = u->n > 0 && u->failure == 0;
	if (got) {
		*ret = u->queue[u->first];
		u->first = (u->first + 1) % QUEUE_MAX;
		u->n--;
		pthread_cond_signal(&u->room);
	}
	pthread_mutex_unlock(&u->lock);
	return got;
}

static void *work(void *arg)
{
	struct unpack *u = arg;
	struct job j;

	while (take_job(u, &j)) {
		struct err err = ERR_INIT;
		int r = unpack_file(&u->t, j.dir->fd, j.name, &j.st, &err);

		if (r < 0)
			fail(u, r, &err);
		let_go(j.dir);
		free(j.name);
	}
	return NULL;
}

static int give_job(struct unpack *u, struct held_dir *d, const char *name,
		    const struct erofs_stat *st, struct err *err)
{
	struct job j = {.dir = d, .name = strdup(name), .st = *st};
	int r = 0;

	if (!j.name)
		return err_set(err, -ENOMEM, "unpack");
	pthread_mutex_lock(&u->lock);
	while (u->n == QUEUE_MAX && u->failure == 0)
		pthread_cond_wait(&u->room, &u->lock);
	if (u->failure == 0) {
		atomic_fetch_add(&d->refs, 1);
		u->queue[(u->first + u->n++) % QUEUE_MAX] = j;
		pthread_cond_signal(&u->more);
	} else {
		r = -ECANCELED; /* the message is the other thread's */
		free(j.name);
	}
	pthread_mutex_unlock(&u->lock);
	return r;
}

/* 1: the first of its names; 0: it has been made under another. */
static int first_name(struct unpack *u, uint64_t nid, struct err *err)
{
	size_t byte = nid / 8;
	unsigned char bit = (unsigned char)(1u << (nid % 8));

	if (byte >= u->seen_len) {
		size_t len = (byte + 1) * 2;
		unsigned char *more = realloc(u->seen, len);

		if (!more)
			return err_set(err, -ENOMEM, "unpack");
		memset(more + u->seen_len, 0, len - u->seen_len);
		u->seen = more;
		u->seen_len = len;
	}
	if (u->seen[byte] & bit)
		return 0;
	u->seen[byte] |= bit;
	return 1;
}

struct walk {
	struct unpack *u;
	struct held_dir *dir;
	struct err *err;
};

static int walk_dir(struct unpack *u, struct held_dir *d, const struct erofs_stat *st,
		    struct err *err);

static int enter(struct walk *w, const char *name, const struct erofs_stat *st)
{
	struct held_dir *d;
	int fd, r;

	if (mkdirat(w->dir->fd, name, 0700) < 0)
		return err_set(w->err, -errno, "make '%s'", w->u->path.s);
	fd = io_open_beneath(w->dir->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd < 0)
		return err_set(w->err, fd, "open '%s'", w->u->path.s);
	d = hold(fd);
	if (!d)
		return err_set(w->err, -ENOMEM, "unpack");
	r = remember(&w->u->dirs, w->u->path.s, st, w->err);
	if (r == 0)
		r = walk_dir(w->u, d, st, w->err);
	let_go(d);
	return r;
}

static int make_entry(struct walk *w, const char *name, uint64_t nid)
{
	struct unpack *u = w->u;
	struct erofs_stat st;
	int r = erofs_image_inode(u->t.img, nid, &st), first = 1;

	if (r < 0)
		return err_set(w->err, r, "'%s'", u->path.s);
	atomic_fetch_add(&u->t.entries, 1);
	if (S_ISDIR(st.mode))
		return enter(w, name, &st);
	if (st.nlink > 1) {
		first = first_name(u, nid, w->err);
		if (first >= 0)
			r = remember(&u->links, u->path.s, &st, w->err);
		if (first < 0 || r < 0)
			return first < 0 ? first : r;
	}
	if (!first)
		return 0;
	if (S_ISREG(st.mode))
		return give_job(u, w->dir, name, &st, w->err);
	r = unpack_special(&u->t, w->dir->fd, name, &st, w->err);
	return r < 0 ? err_wrap(w->err, r, "'%s'", u->path.s) : 0;
}

static int walk_entry(void *ctx, const char *name, size_t len, uint64_t nid, unsigned int type,
		      uint64_t next)
{
	struct walk *w = ctx;
	struct strbuf *path = &w->u->path;
	size_t before = path->len;
	char copy[256];
	int r;

	(void)type;
	(void)next;
	if (len > 255)
		return err_msg(w->err, -EUCLEAN, "a name of %zu bytes", len);
	memcpy(copy, name, len);
	copy[len] = '\0';
	r = strbuf_addf(path, "%s%s", before > 0 ? "/" : "", copy);
	if (r < 0)
		return err_set(w->err, r, "unpack");
	r = make_entry(w, copy, nid);
	strbuf_truncate(path, before);
	return r;
}

static int walk_dir(struct unpack *u, struct held_dir *d, const struct erofs_stat *st,
		    struct err *err)
{
	struct walk w = {.u = u, .dir = d, .err = err};
	int r = erofs_image_readdir(u->t.img, st, 0, walk_entry, &w);

	if (r < 0 && !err->msg[0])
		(void)err_set(err, r, "read the index at '%s'", u->path.s);
	return r;
}

static int by_inode(const void *a, const void *b)
{
	const struct later *x = a, *y = b;

	if (x->st.nid != y->st.nid)
		return x->st.nid < y->st.nid ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

/* The directory of a path, held open; @ret_name is in the path. */
static int open_parent(struct unpack *u, char *path, const char **ret_name)
{
	char *slash = strrchr(path, '/');
	int fd;

	*ret_name = slash ? slash + 1 : path;
	if (!slash)
		return io_open_beneath(u->root_fd, ".", O_PATH | O_DIRECTORY, 0);
	*slash = '\0';
	fd = io_open_beneath(u->root_fd, path, O_PATH | O_DIRECTORY, 0);
	*slash = '/';
	return fd;
}

static int make_links(struct unpack *u, struct err *err)
{
	size_t first = 0;

	if (u->links.n > 0)
		qsort(u->links.items, u->links.n, sizeof(*u->links.items), by_inode);
	for (size_t i = 1; i < u->links.n; i++) {
		int from cleanup_close = -1, to cleanup_close = -1;
		const char *from_name, *to_name;

		if (u->links.items[i].st.nid != u->links.items[first].st.nid) {
			first = i;
			continue;
		}
		/* what was left out has no further names */
		if (unpack_is_left_out(&u->t, &u->links.items[i].st))
			continue;
		from = open_parent(u, u->links.items[first].path, &from_name);
		to = open_parent(u, u->links.items[i].path, &to_name);
		if (from < 0 || to < 0)
			return err_set(err, from < 0 ? from : to, "open the directory of '%s'",
				       u->links.items[i].path);
		if (linkat(from, from_name, to, to_name, 0) < 0)
			return err_set(err, -errno, "link '%s' to '%s'", u->links.items[i].path,
				       u->links.items[first].path);
	}
	return 0;
}

/* From the deepest to the root: none is touched after it has its times. */
static int finish_dirs(struct unpack *u, struct err *err)
{
	for (size_t i = u->dirs.n; i-- > 0;) {
		const struct later *d = &u->dirs.items[i];
		int fd cleanup_close = io_open_beneath(u->root_fd, d->path[0] ? d->path : ".",
						       O_RDONLY | O_DIRECTORY, 0);
		int r = fd < 0 ? err_set(err, fd, "open it")
			       : unpack_attributes(&u->t, fd, &d->st, err);

		if (r < 0)
			return err_wrap(err, r, "directory '%s'", d->path);
	}
	return 0;
}

static int fill(struct unpack *u, unsigned int threads, struct err *err)
{
	struct held_dir *root = hold(dup(u->root_fd));
	pthread_t ids[THREADS_MAX];
	struct erofs_stat st;
	unsigned int n = 0;
	int r;

	if (!root)
		return err_set(err, -ENOMEM, "unpack");
	r = erofs_image_inode(u->t.img, erofs_image_root(u->t.img), &st);
	if (r == 0)
		r = remember(&u->dirs, "", &st, err);
	while (r == 0 && n < threads) {
		r = -pthread_create(&ids[n], NULL, work, u);
		n += r == 0;
	}
	if (n > 0 && r == -EAGAIN) /* fewer do it, too */
		r = 0;
	if (r < 0 && !err->msg[0])
		(void)err_set(err, r, "unpack");
	if (r == 0)
		r = walk_dir(u, root, &st, err);
	if (r < 0 && r != -ECANCELED)
		fail(u, r, err);
	pthread_mutex_lock(&u->lock);
	u->done = true;
	pthread_cond_broadcast(&u->more);
	pthread_mutex_unlock(&u->lock);
	while (n > 0)
		(void)pthread_join(ids[--n], NULL);
	let_go(root);
	if (u->failure < 0) {
		*err = u->why;
		return u->failure;
	}
	r = make_links(u, err);
	return r < 0 ? r : finish_dirs(u, err);
}

/* An image without layers has no chain: an empty root. */
static int unpack_chain(struct snap_store *store, const char *chain, struct unpack *u,
			unsigned int threads, struct err *err)
{
	struct erofs_image *img cleanup_erofs_image = NULL;
	char file[STORE_PATH_MAX];
	char *index cleanup_free = NULL;
	int fd cleanup_close = -1, r;

	if (chain[0] == '\0')
		return fchmod(u->root_fd, 0755) < 0 ? err_set(err, -errno, "chmod") : 0;
	store_chain_path(chain, "index", file);
	if (asprintf(&index, "%s/%s", snap_store_root(store), file) < 0)
		return err_set(err, -ENOMEM, "unpack");
	fd = open(index, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, -errno, "open '%s'", index);
	r = erofs_image_open(fd, &img, err);
	if (r < 0)
		return r;
	u->t.img = img;
	r = erofs_open_devices(img, index, &u->t.devices, err);
	if (r == 0)
		r = fill(u, threads, err);
	for (size_t i = 0; u->t.devices && i < erofs_image_device_count(img); i++)
		(void)close(u->t.devices[i]);
	free(u->t.devices);
	return r;
}

/* 1: made; 0: was there, and empty. */
static int open_target(const char *dir, int *ret, struct err *err)
{
	int made = mkdir(dir, 0700) == 0, fd;
	DIR *d cleanup_closedir = NULL;
	struct dirent *de;

	if (!made && errno != EEXIST)
		return err_set(err, -errno, "make '%s'", dir);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (made ? O_NOFOLLOW : 0));
	if (fd < 0)
		return err_set(err, -errno, "open '%s'", dir);
	*ret = fd;
	d = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	if (!d)
		return err_set(err, -errno, "read '%s'", dir);
	while ((de = readdir(d))) {
		if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0)
			return err_msg(err, -ENOTEMPTY, "'%s' is not empty", dir);
	}
	if (!made && fchmod(fd, 0700) < 0)
		return err_set(err, -errno, "chmod '%s'", dir);
	return made;
}

static void take_back(int root_fd, const char *dir, bool made, mode_t mode)
{
	DIR *d cleanup_closedir =
		fdopendir(openat(root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct dirent *de;

	while (d && (de = readdir(d))) {
		if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0)
			(void)!io_remove_tree(root_fd, de->d_name);
	}
	if (made)
		(void)rmdir(dir);
	else
		(void)!fchmod(root_fd, mode);
}

static unsigned int threads_of(unsigned int asked)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned int n = asked > 0 ? asked : cpus > 0 ? (unsigned int)cpus : 1;

	return n < THREADS_MAX ? n : THREADS_MAX;
}

static void unpack_free(struct unpack *u)
{
	for (; u->n > 0; u->n--, u->first = (u->first + 1) % QUEUE_MAX) {
		let_go(u->queue[u->first].dir);
		free(u->queue[u->first].name);
	}
	pthread_cond_destroy(&u->room);
	pthread_cond_destroy(&u->more);
	pthread_mutex_destroy(&u->lock);
	if (u->root_fd >= 0)
		(void)close(u->root_fd);
	list_release(&u->dirs);
	list_release(&u->links);
	free(u->seen);
	strbuf_release(&u->path);
	free(u);
}

static struct unpack *unpack_new(void)
{
	struct unpack *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	u->root_fd = -1;
	strbuf_init(&u->path);
	unpack_target_init(&u->t);
	pthread_mutex_init(&u->lock, NULL);
	pthread_cond_init(&u->more, NULL);
	pthread_cond_init(&u->room, NULL);
	return u;
}

int snap_unpack(struct snap_store *store, const char *ref, const char *dir, unsigned int threads,
		struct snap_unpack_result *ret, struct err *err)
{
	struct snap_image_info info cleanup_snap_image_info = {.ref = NULL};
	struct stat before = {.st_mode = 0700};
	int lock cleanup_close = -1, r, made;
	struct unpack *u;
	size_t lazy;

	r = snap_fill(store, ref, &lazy, err); /* all of it is read */
	if (r < 0)
		return r;
	lock = store_lock(store, "gc", LOCK_SH, err); /* and stays meanwhile */
	r = lock < 0 ? lock : snap_image_find(store, ref, &info, err);
	if (r < 0)
		return r;
	u = unpack_new();
	if (!u)
		return err_set(err, -ENOMEM, "unpack");
	(void)stat(dir, &before);
	r = made = open_target(dir, &u->root_fd, err);
	if (r >= 0)
		r = unpack_chain(store, info.chain, u, threads_of(threads), err);
	if (r < 0 && made >= 0)
		take_back(u->root_fd, dir, made, before.st_mode & 07777);
	*ret = (struct snap_unpack_result){
		.entries = atomic_load(&u->t.entries),
		.bytes = atomic_load(&u->t.bytes),
		.soft_owners = atomic_load(&u->t.soft_owners),
		.left_out = atomic_load(&u->t.left_out),
	};
	unpack_free(u);
	return r < 0 ? err_wrap(err, r, "unpack '%s' into '%s'", ref, dir) : 0;
}
