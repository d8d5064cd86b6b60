/* SPDX-License-Identifier: Apache-2.0 */
#include "erofs/effects.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "erofs/merge.h"

/* A stack of layers as one tree. */
struct stack {
	struct erofs_tree *tree; /* NULL: no layer yet */
	struct erofs_device *devices;
	size_t n_devices;
	uint64_t bytes; /* of the files that are seen */
};

static void stack_release(struct stack *s)
{
	if (s->tree)
		erofs_tree_free(s->tree);
	free(s->devices);
	*s = (struct stack){.tree = NULL};
}

/* A directory in both stacks, or in one alone. */
struct pair {
	const struct erofs_inode *below, *with;
};

/* Files with several names, to count each once. */
struct files {
	const struct erofs_inode **list;
	size_t n, room;
};

struct walk {
	struct pair *todo; /* so deep a tree is no deep recursion */
	size_t n, room;
	struct pair at;
	struct files linked;
	size_t old_devices; /* data in devices behind these is the layer's own */
	uint64_t seen, own; /* bytes */
	struct erofs_effect *effect;
};

static void walk_release(struct walk *w)
{
	free(w->todo);
	free(w->linked.list);
}

static int push(struct walk *w, const struct erofs_inode *below, const struct erofs_inode *with)
{
	if (w->n == w->room) {
		size_t room = w->room ? w->room * 2 : 64;
		struct pair *more = reallocarray(w->todo, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		w->todo = more;
		w->room = room;
	}
	w->todo[w->n++] = (struct pair){.below = below, .with = with};
	return 0;
}

static bool is_dir(const struct erofs_inode *inode)
{
	return inode && S_ISDIR(inode->mode);
}

static void count_bytes(struct walk *w, const struct erofs_inode *file)
{
	w->seen += file->size;
	if (file->device > w->old_devices)
		w->own += file->size;
}

static int add_bytes(struct walk *w, const struct erofs_inode *inode)
{
	struct files *f = &w->linked;

	if (!S_ISREG(inode->mode) || inode->device == 0)
		return 0;
	if (inode->nlink <= 1) {
		count_bytes(w, inode);
		return 0;
	}
	if (f->n == f->room) {
		size_t room = f->room ? f->room * 2 : 64;
		const struct erofs_inode **more = reallocarray(f->list, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		f->list = more;
		f->room = room;
	}
	f->list[f->n++] = inode;
	return 0;
}

static int by_address(const void *a, const void *b)
{
	const struct erofs_inode *const *x = a, *const *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void count_linked(struct walk *w)
{
	struct files *f = &w->linked;

	if (f->n == 0)
		return;
	qsort(f->list, f->n, sizeof(*f->list), by_address);
	for (size_t i = 0; i < f->n; i++) {
		if (i == 0 || f->list[i] != f->list[i - 1])
			count_bytes(w, f->list[i]);
	}
}

static const struct erofs_xattr *find_xattr(const struct erofs_inode *inode, const char *name)
{
	const struct erofs_xattr *x = inode->xattrs;

	while (x && strcmp(x->name, name) != 0)
		x = x->next;
	return x;
}

static bool same_xattrs(const struct erofs_inode *a, const struct erofs_inode *b)
{
	size_t n = 0;

	for (const struct erofs_xattr *x = a->xattrs; x; x = x->next, n++) {
		const struct erofs_xattr *y = find_xattr(b, x->name);

		if (!y || x->len != y->len || memcmp(x->value, y->value, x->len) != 0)
			return false;
	}
	for (const struct erofs_xattr *y = b->xattrs; y; y = y->next)
		n--;
	return n == 0;
}

static bool same(const struct erofs_inode *a, const struct erofs_inode *b)
{
	if (a->mode != b->mode || a->uid != b->uid || a->gid != b->gid || !same_xattrs(a, b))
		return false;
	if (S_ISDIR(a->mode))
		return true;
	if (a->mtime != b->mtime || a->mtime_nsec != b->mtime_nsec || a->size != b->size ||
	    a->rdev_major != b->rdev_major || a->rdev_minor != b->rdev_minor)
		return false;
	if (S_ISLNK(a->mode))
		return strcmp(a->target, b->target) == 0;
	return a->device == b->device && (a->device == 0 || a->offset == b->offset);
}

/* An entry of the directory with the layer. */
static int look_at_new(void *ctx, const char *name, size_t len, struct erofs_inode *inode)
{
	struct walk *w = ctx;
	const struct erofs_inode *old = w->at.below ? erofs_dir_find(w->at.below, name, len) : NULL;
	int r = add_bytes(w, inode);

	if (!old)
		w->effect->adds++;
	else if (!same(old, inode))
		w->effect->changes++;
	if (r == 0 && (is_dir(inode) || is_dir(old)))
		r = push(w, is_dir(old) ? old : NULL, is_dir(inode) ? inode : NULL);
	return r;
}

/* An entry of the directory below. */
static int look_at_old(void *ctx, const char *name, size_t len, struct erofs_inode *inode)
{
	struct walk *w = ctx;

	if (w->at.with && erofs_dir_find(w->at.with, name, len))
		return 0;
	w->effect->hides++;
	return is_dir(inode) ? push(w, inode, NULL) : 0;
}

static int compare(const struct stack *below, struct stack *with, struct erofs_effect *ret)
{
	struct walk w CLEANUP(walk_release) = {.old_devices = below->n_devices, .effect = ret};
	const struct erofs_inode *old = below->tree ? erofs_tree_root(below->tree) : NULL;
	const struct erofs_inode *root = erofs_tree_root(with->tree);
	int r = push(&w, old, root);

	if (old && !same(old, root))
		ret->changes++;
	while (r == 0 && w.n > 0) {
		w.at = w.todo[--w.n];
		if (w.at.with)
			r = erofs_dir_each(w.at.with, look_at_new, &w);
		if (r == 0 && w.at.below)
			r = erofs_dir_each(w.at.below, look_at_old, &w);
	}
	count_linked(&w);
	with->bytes = w.seen;
	ret->bytes = w.own;
	/* a layer that occurs twice may show again what was hidden */
	if (below->bytes + w.own > w.seen)
		ret->wasted = below->bytes + w.own - w.seen;
	return r;
}

/* The stack as what the next merge takes. */
static int write_stack(const struct stack *s, struct erofs_image **ret, struct err *err)
{
	int fd cleanup_close = memfd_create("stack", MFD_CLOEXEC);
	int r = fd < 0 ? err_set(err, -errno, "merge")
		       : erofs_write(s->tree, s->devices, s->n_devices, fd, err);

	return r < 0 ? r : erofs_image_open(fd, ret, err);
}

int erofs_effects(struct erofs_image *const *images, size_t n, struct erofs_effect *ret,
		  struct err *err)
{
	struct stack below CLEANUP(stack_release) = {.tree = NULL};
	struct erofs_image *image cleanup_erofs_image = NULL;
	int r = 0;

	memset(ret, 0, n * sizeof(*ret));
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct stack with = {.tree = NULL};
		struct erofs_image *const both[] = {image, images[i]};

		r = erofs_merge(image ? both : &images[i], image ? 2 : 1, &with.tree, &with.devices,
				&with.n_devices, err);
		if (r < 0)
			return err_wrap(err, r, "layer %zu", i + 1);
		if (compare(&below, &with, &ret[i]) < 0)
			r = err_set(err, -ENOMEM, "layer %zu", i + 1);
		stack_release(&below);
		below = with;
		erofs_image_close(image);
		image = NULL;
		if (r == 0 && i + 1 < n)
			r = write_stack(&below, &image, err);
	}
	return r;
}
