/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/push.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "overlay/namei.h"
#include "overlay/ops.h"
#include "overlay/quota.h"

#define FROZEN_MAX (1 << 20)

/* What a node was, should the push fail. */
struct moved {
	struct ovl_node *node;
	unsigned int flags, n_lowers;
	struct ovl_obj *one, **many; /* one of them, as the node has it */
	char *redirect;
};

struct push {
	struct ovl_fs *fs;
	struct ovl_fs next; /* the new directories */
	struct ovl_layer *layer; /* the old upper; NULL once it is in the stack */
	struct ovl_layer **layers, **old_layers;
	struct moved *moved;
	size_t n, cap;
};

#define CLEARED                                                                                    \
	(OVL_NODE_INDEXED | OVL_NODE_LINKED | OVL_NODE_IMPURE | OVL_NODE_PURE |                    \
	 OVL_NODE_METACOPY | OVL_NODE_KEPT | OF_UPPER)
#define OF_UPPER (OVL_NODE_UPPER | OVL_NODE_IMMUTABLE | OVL_NODE_APPEND)

static int remember(struct push *p, struct ovl_node *n)
{
	struct moved *m;

	if (p->n == p->cap) {
		size_t cap = p->cap ? p->cap * 2 : 256;

		m = reallocarray(p->moved, cap, sizeof(*m));
		if (!m)
			return -ENOMEM;
		p->moved = m;
		p->cap = cap;
	}
	m = &p->moved[p->n++];
	*m = (struct moved){.node = n,
			    .flags = ovl_node_has(n, ~0u),
			    .n_lowers = n->n_lowers,
			    .redirect = n->redirect};
	if (n->n_lowers > 1)
		m->many = n->many;
	else
		m->one = n->n_lowers == 1 ? n->one : NULL;
	return 0;
}

static void set_lowers(struct ovl_node *n, unsigned int n_lowers, struct ovl_obj *one,
		       struct ovl_obj **many)
{
	n->n_lowers = n_lowers;
	if (n_lowers > 1)
		n->many = many;
	else
		n->one = one;
}

static void release_lowers(unsigned int n_lowers, struct ovl_obj *one, struct ovl_obj **many)
{
	for (unsigned int i = 0; n_lowers > 1 && i < n_lowers; i++)
		ovl_obj_unref(many[i]);
	if (n_lowers > 1)
		free(many);
	else if (n_lowers == 1)
		ovl_obj_unref(one);
}

static int resolve_again(struct push *p, struct ovl_node *n, struct ovl_entry *e)
{
	struct ovl_fs *fs = p->fs;
	struct ovl_layer *l = fs->layers[0];
	int r;

	if (n == fs->root)
		return ovl_root_lowers(fs, false, e);
	r = ovl_resolve(fs, n->at.parent, n->at.name, e);
	if (r < 0)
		return r;
	if (!e->found || n->type != (e->st.st_mode & S_IFMT))
		return -ESTALE;
	/* Where the layer itself does not say it: for as long as we are mounted. */
	return e->number == n->number
		       ? 0
		       : ovl_origins_add(fs->numbers, l->batch, e->st.st_ino, n->number);
}

/* @n, which was in the upper, is in the uppermost layer now; its parent has moved already. */
static int move_node(struct push *p, struct ovl_node *n)
{
	struct ovl_entry e cleanup_entry = OVL_ENTRY_INIT;
	int r = resolve_again(p, n, &e);

	if (r == 0)
		r = remember(p, n);
	if (r == -ESTALE)
		log_error("'%s' is not what it was: somebody else changed the upper directory",
			  n->at.name);
	if (r < 0)
		return r;
	set_lowers(n, e.n_lowers, e.n_lowers == 1 ? e.lowers[0] : NULL, e.lowers);
	if (e.n_lowers > 1)
		e.lowers = NULL;
	e.n_lowers = 0;
	n->redirect = NULL;
	ovl_node_clear(n, CLEARED);
	ovl_node_set(n, OVL_NODE_MOVED);
	return 0;
}

/* What is not in the upper has nothing there that could be its lower. */
static bool moves(const struct ovl_node *n)
{
	return ovl_node_has(n, OVL_NODE_UPPER | OVL_NODE_ORPHAN | OVL_NODE_MOVED) == OVL_NODE_UPPER;
}

static int move_with_parents(struct push *p, struct ovl_node *n)
{
	int r = 0;

	while (r == 0 && moves(n)) {
		struct ovl_node *top = n;

		while (top->at.parent && moves(top->at.parent))
			top = top->at.parent;
		r = move_node(p, top);
	}
	return r;
}

static int move_nodes(struct push *p)
{
	struct ovl_table *t = &p->fs->table;
	int r = move_with_parents(p, p->fs->root);

	for (size_t i = 0; i < t->n_buckets; i++)
		for (struct ovl_node *n = t->buckets[i]; n && r == 0; n = n->hash_next)
			r = move_with_parents(p, n);
	return r;
}

static void move_back(struct push *p)
{
	while (p->n > 0) {
		struct moved *m = &p->moved[--p->n];
		struct ovl_node *n = m->node;

		if (n->n_lowers > 1)
			release_lowers(n->n_lowers, NULL, n->many);
		else
			release_lowers(n->n_lowers, n->one, NULL);
		set_lowers(n, m->n_lowers, m->one, m->many);
		n->redirect = m->redirect;
		ovl_node_clear(n, OVL_NODE_MOVED);
		ovl_node_set(n, m->flags);
	}
}

/* --- what is checked before anything is done --- */

static int check_passed(struct ovl_fs *fs, struct err *err)
{
	unsigned int opens = 0;

	pthread_mutex_lock(&fs->pass.lock);
	for (size_t i = 0; i < fs->table.n_buckets; i++)
		for (struct ovl_node *n = fs->table.buckets[i]; n; n = n->hash_next)
			if (!ovl_node_has(n, OVL_NODE_ORPHAN))
				opens += n->opens_passed;
	pthread_mutex_unlock(&fs->pass.lock);
	if (opens == 0)
		return 0;
	err_hint(err, "wait until they are closed, or mount with passthrough=0");
	return err_msg(err, -EBUSY,
		       "files of the upper directory are open by passthrough (%u): the kernel "
		       "would go on writing to them",
		       opens);
}

static bool is_ours(const struct ovl_fs *fs, const struct stat *st)
{
	struct stat own;

	if (fstat(fs->upper_fd, &own) == 0 && own.st_dev == st->st_dev && own.st_ino == st->st_ino)
		return true;
	for (size_t i = 0; i < fs->n_layers; i++)
		if (fs->layers[i]->fd >= 0 && fstat(fs->layers[i]->fd, &own) == 0 &&
		    own.st_dev == st->st_dev && own.st_ino == st->st_ino)
			return true;
	return false;
}

/* A directory inside a layer would be seen in the mount. */
static int check_outside(const struct ovl_fs *fs, const char *path, struct err *err)
{
	cleanup_close int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat st, below = {.st_ino = 0};

	for (; fd >= 0 && fstat(fd, &st) == 0; below = st) {
		int up;

		if (is_ours(fs, &st))
			return err_msg(err, -EINVAL, "'%s' is inside a layer of the mount", path);
		if (st.st_dev == below.st_dev && st.st_ino == below.st_ino)
			return 0;
		up = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		(void)close(fd);
		fd = up;
	}
	return err_set(err, -errno, "open '%s'", path);
}

static int check(struct ovl_fs *fs, const char *upper, const char *work, struct err *err)
{
	uint64_t batches = (uint64_t)ovl_fs_batch(fs, fs->n_layers + 1) + 1;
	struct stat a, b;
	int r;

	if (!fs->has_upper)
		return err_msg(err, -EROFS, "the mount has no upper directory");
	if (fs->max_batches > 0 && batches > fs->max_batches) {
		err_hint(err, "unmount, and mount with more of its own (ino_batches=)");
		return err_msg(err, -EOVERFLOW, "no inode numbers are left for one more layer");
	}
	r = check_passed(fs, err);
	if (r == 0)
		r = check_outside(fs, upper, err);
	if (r == 0)
		r = check_outside(fs, work, err);
	if (r < 0)
		return r;
	if (stat(upper, &a) < 0 || stat(work, &b) < 0)
		return err_set(err, -errno, "open '%s' and '%s'", upper, work);
	if (a.st_ino == b.st_ino && a.st_dev == b.st_dev)
		return err_msg(err, -EINVAL, "upperdir and workdir are both '%s'", upper);
	return 0;
}

/* --- what a later mount of the new upper knows the stack by --- */

static int stack_text(const struct ovl_fs *fs, struct strbuf *s)
{
	struct stat st;
	int r = fstat(fs->upper_fd, &st) < 0 ? -errno
					     : strbuf_addf(s, "%" PRIu64 "\n", (uint64_t)st.st_ino);

	for (size_t i = 0; r == 0 && i < fs->n_layers && fs->layers[i]->frozen; i++)
		r = fstat(fs->layers[i]->fd, &st) < 0
			    ? -errno
			    : strbuf_addf(s, "%" PRIu64 "\n", (uint64_t)st.st_ino);
	return r;
}

static int write_stack(const struct push *p)
{
	struct strbuf s CLEANUP(strbuf_release) = STRBUF_INIT;
	int r = stack_text(p->fs, &s);
	cleanup_close int fd = -1;

	if (r < 0)
		return r;
	fd = ovl_sys_open(p->next.work_base_fd, OVL_FROZEN_FILE, O_WRONLY | O_CREAT | O_EXCL, 0600);
	r = fd < 0 ? fd : io_write_full(fd, s.s, s.len);
	if (r == 0)
		r = ovl_numbers_copy(p->fs->numbers, p->next.work_base_fd);
	if (r < 0 || p->fs->volatile_)
		return r;
	r = ovl_sys_fsync(fd, false);
	return r == 0 ? io_sync_dir(p->next.work_base_fd) : r;
}

static bool is_frozen(const char *lower, const char *line)
{
	uint64_t ino = strtoull(line, NULL, 10);
	struct stat st;

	return stat(lower, &st) == 0 && S_ISDIR(st.st_mode) && st.st_ino == ino;
}

size_t ovl_push_count(const struct ovl_config *c)
{
	cleanup_close int fd = c->upper && c->work ? open(c->work, O_PATH | O_CLOEXEC) : -1;
	cleanup_free char *text = NULL;
	size_t len, n = 0;

	if (fd < 0 || io_read_file(fd, OVL_FROZEN_FILE, FROZEN_MAX, &text, &len) < 0)
		return 0;
	for (char *p = text, *end; (end = strchr(p, '\n')); p = end + 1, n++) {
		if (n < c->n_lowers && is_frozen(c->lowers[n], p))
			continue;
		log_info("the lower layers are not those that '%s' was put on: inode numbers may "
			 "differ from what they were",
			 c->upper);
		return 0;
	}
	return n;
}

/* --- the push --- */

static int open_layer(struct push *p, struct err *err)
{
	struct ovl_fs *fs = p->fs;
	struct ovl_layer *l = calloc(1, sizeof(*l));
	int r, fd = l ? fcntl(fs->upper_fd, F_DUPFD_CLOEXEC, 3) : -1;

	if (fd < 0) {
		free(l);
		return err_set(err, l ? -errno : -ENOMEM, "freeze the upper directory");
	}
	l->fds = fs->fds;
	l->fd = l->lock_fd = -1;
	r = ovl_layer_open_dir(fd, l, err);
	if (r < 0) {
		ovl_layer_close(l);
		return r;
	}
	l->height = (unsigned int)fs->n_layers;
	l->batch = fs->upper_batch;
	l->frozen = true;
	l->override = fs->owner_xattr;
	l->marks = fs->marks;
	p->layer = l;
	p->layers = calloc(fs->n_layers + 2, sizeof(struct ovl_layer *));
	if (!p->layers)
		return err_set(err, -ENOMEM, "freeze the upper directory");
	p->layers[0] = l;
	memcpy(p->layers + 1, fs->layers, fs->n_layers * sizeof(struct ovl_layer *));
	return 0;
}

/* The root is what it was. */
static int dress_root(const struct push *p)
{
	struct ovl_fs *fs = p->fs;
	struct ovl_source from = {.fd = fs->upper_fd, .name = ""};
	int to = p->next.upper_fd;
	struct timespec ts[2];
	struct stat st;
	int r = ovl_source_stat(&from, fs->owner_xattr, &st);

	if (r == 0)
		r = ovl_set_owner(fs, to, "", S_IFDIR, st.st_uid, st.st_gid, st.st_mode & 07777);
	if (r == 0)
		r = ovl_copy_xattrs(&from, to, "");
	if (r == 0)
		r = ovl_protection_write(fs, to, "", ovl_protection(fs->root));
	if (r < 0)
		return r;
	ts[0] = st.st_atim;
	ts[1] = st.st_mtim;
	return ovl_sys_utimens(to, "", ts);
}

/* Objects that are removed and in use, and have a name in work/work (overlay/pin.h). */
static int move_pins(int from, int to)
{
	cleanup_closedir DIR *d = NULL;
	struct dirent *de;
	int r = ovl_sys_opendir(from, ".", &d);

	if (r < 0)
		return r;
	while (r == 0 && (de = readdir(d)))
		if (strncmp(de->d_name, "pin", 3) == 0)
			r = ovl_sys_rename(from, de->d_name, to, de->d_name, 0);
	return r;
}

static int prepare(struct push *p, struct err *err)
{
	struct ovl_fs *fs = p->fs;
	int r = write_stack(p);

	if (r < 0)
		return err_set(err, r, "write to the new work directory");
	r = ovl_push_links(fs);
	if (r < 0)
		return err_set(err, r, "names of hard-linked files");
	r = fs->volatile_ ? 0 : ovl_sys_syncfs(fs->upper_fd);
	if (r < 0)
		return err_set(err, r, "sync the upper directory");
	r = open_layer(p, err);
	if (r < 0)
		return r;
	r = dress_root(p);
	if (r < 0)
		return err_set(err, r, "attributes of the new upper directory");
	r = move_pins(fs->work_fd, p->next.work_fd);
	return r < 0 ? err_set(err, r, "removed files that are in use") : 0;
}

static void use_layers(struct ovl_fs *fs, struct ovl_layer **layers, size_t n)
{
	fs->layers = layers;
	fs->n_layers = n;
}

/* From here on nothing can fail. */
static void finish(struct push *p)
{
	struct ovl_fs *fs = p->fs, *next = &p->next;

	for (size_t i = 0; i < p->n; i++) {
		struct moved *m = &p->moved[i];
		struct ovl_node *n = m->node;

		release_lowers(m->n_lowers, m->one, m->many);
		free(m->redirect);
		ovl_node_clear(n, OVL_NODE_MOVED);
		/* As it was, but elsewhere; it only was no upper while others were looked up. */
		if (n == fs->root)
			ovl_node_set(n, m->flags & OF_UPPER);
		n->upper_ino = 0;
		n->nlink = 0;
		if (S_ISDIR(n->type))
			ovl_real_forget(fs->fds, n);
	}
	for (size_t i = 0; i < fs->table.n_buckets; i++)
		for (struct ovl_node *n = fs->table.buckets[i]; n; n = n->hash_next)
			if (ovl_node_has(n, OVL_NODE_ORPHAN) && ovl_node_has(n, OVL_NODE_UPPER))
				ovl_node_set(n, OVL_NODE_KEPT);
	/* Nobody else may mount it to write: it is ours to read. */
	p->layer->lock_fd = steal_fd(&fs->work_base_fd);
	p->layer = NULL;
	ovl_work_close(fs);
	fs->upper_fd = steal_fd(&next->upper_fd);
	fs->work_base_fd = steal_fd(&next->work_base_fd);
	fs->work_fd = steal_fd(&next->work_fd);
	fs->links_fd = steal_fd(&next->links_fd);
	ovl_numbers_move(fs->numbers, fs->work_base_fd);
	fs->upper_batch = ovl_fs_batch(fs, fs->n_layers);
	fs->pushes++;
	ovl_quota_restart(fs);
}

static int switch_over(struct push *p, struct err *err)
{
	struct ovl_fs *fs = p->fs;
	struct ovl_layer **old = fs->layers;
	size_t n = fs->n_layers;
	int r;

	use_layers(fs, p->layers, n + 1);
	r = move_nodes(p);
	if (r == 0) {
		finish(p);
		p->layers = NULL;
		free(old);
		return 0;
	}
	move_back(p);
	use_layers(fs, old, n);
	if (r == -ESTALE)
		return err_msg(err, r, "the upper directory was changed by somebody else");
	return err_set(err, r, "look all files up again");
}

int ovl_push_layer(struct ovl_fs *fs, const char *upper, const char *work, struct err *err)
{
	struct push p = {.fs = fs};
	int r = check(fs, upper, work, err);

	if (r == 0)
		r = ovl_work_open_new(fs, upper, work, &p.next, err);
	if (r < 0)
		return r;
	r = prepare(&p, err);
	if (r == 0)
		r = switch_over(&p, err);
	if (r < 0) {
		(void)!move_pins(p.next.work_fd, fs->work_fd);
		ovl_work_undo(&p.next);
	}
	ovl_layer_close(p.layer);
	free(p.layers);
	free(p.moved);
	return r;
}
