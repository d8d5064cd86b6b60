/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/stack.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "overlay/mark.h"

#define NAME_LEN_MAX 255

void ovl_dirset_release(struct ovl_dirset *d)
{
	for (size_t i = 0; i < d->n; i++)
		ovl_obj_unref(d->objs[i]);
	free(d->objs);
	*d = (struct ovl_dirset){NULL, 0};
}

void ovl_below_release(struct ovl_below *b)
{
	ovl_dirset_release(&b->set);
	b->found = false;
}

static int dirset_add(struct ovl_dirset *d, struct ovl_found *f)
{
	struct ovl_obj **objs = reallocarray(d->objs, d->n + 1, sizeof(*objs));

	if (!objs)
		return -ENOMEM;
	d->objs = objs;
	objs[d->n++] = steal_ptr(&f->obj);
	return 0;
}

/* A look-up under way: by @path, which begins as a name and changes with each redirect. */
struct search {
	const struct ovl_stack *stack;
	enum ovl_want want;
	char *path; /* owned */
	bool absolute; /* from the roots of the layers */
};

/* In @path the directory before its last @rest bytes is elsewhere below: @redirect says where. */
static int redirect_on_way(char **path, size_t rest, const char *redirect)
{
	size_t len = strlen(*path) - rest;
	cleanup_free char *dir = strndup(*path, len);
	bool absolute = true;
	char *next;
	int r = dir ? ovl_mark_redirect(&dir, redirect, &absolute) : -ENOMEM;

	if (r < 0)
		return r;
	if (strlen(dir) + rest > PATH_MAX)
		return -EIO;
	if (asprintf(&next, "%s%s", dir, *path + len) < 0)
		return -ENOMEM;
	free(*path);
	*path = next;
	return 0;
}

/*
 * What is in an opaque directory has nothing below, unless it came from elsewhere: so says a path
 * from the roots (the kernel's rule). @above: for the directory that @f is in.
 */
static bool hides_below(const struct ovl_found *f, bool above)
{
	if (f->flags & OVL_FOUND_OPAQUE)
		return true;
	return above && !(f->redirect && f->redirect[0] == '/');
}

/*
 * Looks ->path ("/a/b": from the root of the layer) up in one layer. -ENOENT: not there, go on
 * below; a whiteout or opaque directory on the way ends the search, which @f->flags says. What
 * directories on the way say of where they are below is in ->path afterwards.
 */
static int lookup_path(struct search *q, struct ovl_obj *root, struct ovl_found *f)
{
	cleanup_free char *way = strdup(q->path);
	struct ovl_obj *dir = ovl_obj_ref(root);
	const char *path = way;
	bool opaque = false;
	int r = way ? -EIO : -ENOMEM;

	memset(f, 0, sizeof(*f));
	while (path && *path == '/') {
		const char *start = path + 1, *end = strchrnul(start, '/');
		size_t len = (size_t)(end - start);
		char name[NAME_LEN_MAX + 1];

		if (!ovl_mark_is_name(start, len)) {
			r = -EIO;
			break;
		}
		memcpy(name, start, len);
		name[len] = '\0';
		ovl_found_release(f);
		r = ovl_lower_lookup(dir, name, f);
		path = end;
		/* Anything but a directory hides what is below it, as a whiteout does. */
		if (r == 0 && *path && !(f->flags & OVL_FOUND_WHITEOUT) &&
		    !S_ISDIR(f->st.st_mode)) {
			ovl_found_release(f);
			f->flags = OVL_FOUND_WHITEOUT;
		}
		if (r < 0 || f->flags & OVL_FOUND_WHITEOUT || !*path)
			break;
		opaque = hides_below(f, opaque);
		if (f->redirect)
			r = redirect_on_way(&q->path, strlen(path), f->redirect);
		if (r < 0)
			break;
		ovl_obj_unref(dir);
		dir = ovl_obj_ref(f->obj);
	}
	ovl_obj_unref(dir);
	if (r < 0)
		ovl_found_release(f);
	else if (hides_below(f, opaque))
		f->flags |= OVL_FOUND_OPAQUE;
	if (r != -ENOENT || !opaque)
		return r;
	f->flags = OVL_FOUND_WHITEOUT;
	return 0;
}

/* Where an object says that the layers below have it: a name beside ->path, or from the roots. */
static int follow_redirect(struct search *q, const char *redirect)
{
	if (q->stack->nofollow)
		return -EPERM;
	return ovl_mark_redirect(&q->path, redirect, &q->absolute);
}

/* What one layer has, into the result. 1: nothing below it counts. */
static int take(struct search *q, struct ovl_found *f, struct ovl_below *b)
{
	bool dir = S_ISDIR(f->st.st_mode), bare = f->flags & OVL_FOUND_METACOPY;
	int r = 0;

	if (q->want == OVL_WANT_DATA ? !S_ISREG(f->st.st_mode)
				     : !dir && (q->want == OVL_WANT_DIR || b->found))
		return 1;
	if (bare && q->stack->nofollow)
		return -EPERM;
	if (b->found && q->want == OVL_WANT_DATA)
		b->st.st_blocks = f->st.st_blocks;
	/* Of several without data only the first says something. */
	if (!b->found || !bare)
		r = q->want == OVL_WANT_DATA && bare ? 0 : dirset_add(&b->set, f);
	if (r < 0)
		return r;
	if (!b->found && (q->want != OVL_WANT_DATA || !bare)) {
		b->found = true;
		b->st = f->st;
		b->origin = f->origin;
	}
	if (bare)
		q->want = OVL_WANT_DATA;
	else if (!dir)
		q->want = OVL_WANT_ANY; /* the data are found */
	return (!dir && !bare) || f->flags & OVL_FOUND_OPAQUE;
}

static int search(struct search *q, struct ovl_obj *const *dirs, size_t n, struct ovl_below *b)
{
	const struct ovl_stack *s = q->stack;
	unsigned int below = (unsigned int)s->n; /* only layers with a lower height count */
	int r;

	for (size_t i = 0; i < (q->absolute ? s->n : n);) {
		struct ovl_found f cleanup_found = OVL_FOUND_INIT;
		struct ovl_obj *dir = q->absolute ? s->layers[i]->root : dirs[i];

		i++;
		if (dir->layer->height >= below)
			continue;
		r = q->absolute ? lookup_path(q, dir, &f) : ovl_lower_lookup(dir, q->path, &f);
		if (r == -ENOENT)
			continue;
		if (r < 0 || f.flags & OVL_FOUND_WHITEOUT)
			return r;
		below = dir->layer->height;
		r = take(q, &f, b);
		if (r != 0)
			return r < 0 ? r : 0;
		if (f.redirect) {
			bool was = q->absolute;

			r = follow_redirect(q, f.redirect);
			if (r < 0)
				return r;
			/* From the first layer on; those that are not below are skipped. */
			if (q->absolute && !was)
				i = 0;
		}
	}
	return 0;
}

int ovl_stack_lookup(const struct ovl_stack *s, struct ovl_obj *const *dirs, size_t n,
		     const char *name, const char *redirect, enum ovl_want want,
		     struct ovl_below *ret)
{
	struct ovl_below b cleanup_below = OVL_BELOW_INIT;
	struct search q = {.stack = s, .want = want, .path = strdup(name)};
	int r = q.path ? 0 : -ENOMEM;

	if (r == 0 && redirect)
		r = follow_redirect(&q, redirect);
	else if (r == 0 && want == OVL_WANT_DATA && s->nofollow)
		r = -EPERM;
	if (r == 0)
		r = search(&q, dirs, n, &b);
	/* As the kernel has it: better no file than one of zeros. */
	if (r == 0 && q.want == OVL_WANT_DATA)
		r = -EIO;
	free(q.path);
	if (r < 0)
		return r;
	*ret = b;
	b = (struct ovl_below)OVL_BELOW_INIT;
	return 0;
}
