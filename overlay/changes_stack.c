/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "overlay/changes_private.h"

#define NAME_LEN_MAX 255
#define FDS_MAX	     64

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

/* Takes @obj, also when it fails. */
static int dirset_add(struct ovl_dirset *d, struct ovl_obj *obj)
{
	struct ovl_obj **objs = reallocarray(d->objs, d->n + 1, sizeof(*objs));

	if (!objs) {
		ovl_obj_unref(obj);
		return -ENOMEM;
	}
	d->objs = objs;
	objs[d->n++] = obj;
	return 0;
}

int ovl_stack_open(struct ovl_stack *s, const struct ovl_config *c, struct err *err)
{
	int r;

	*s = (struct ovl_stack){.fds = ovl_real_cache_new(FDS_MAX)};
	s->layers = calloc(c->n_lowers + 1, sizeof(struct ovl_layer *));
	if (!s->fds || !s->layers)
		return err_set(err, -ENOMEM, "open the lower layers");
	for (size_t i = 0; i < c->n_lowers; i++) {
		r = ovl_layer_open(c->lowers[i], s->fds, &s->layers[i], err);
		if (r)
			return r;
		s->layers[i]->batch = (unsigned int)(c->n_lowers - 1 - i);
		s->n++;
	}
	return 0;
}

void ovl_stack_close(struct ovl_stack *s)
{
	for (size_t i = 0; i < s->n; i++)
		ovl_layer_close(s->layers[i]);
	free(s->layers);
	if (s->fds)
		ovl_real_cache_free(s->fds);
	*s = (struct ovl_stack){.n = 0};
}

int ovl_stack_root(const struct ovl_stack *s, struct ovl_dirset *ret)
{
	int r = 0;

	for (size_t i = 0; i < s->n && !r; i++)
		r = dirset_add(ret, ovl_obj_ref(s->layers[i]->root));
	return r;
}

/* A component of a redirect must be a name, not a way out. */
static bool is_name(const char *s, size_t len)
{
	return len > 0 && len <= NAME_LEN_MAX && !(len == 1 && s[0] == '.') &&
	       !(len == 2 && s[0] == '.' && s[1] == '.');
}

/* "/a/b" from the root of one layer: -ENOENT, also when something on the way is no directory. */
static int lookup_path(struct ovl_obj *root, const char *path, struct ovl_found *ret)
{
	struct ovl_obj *dir = ovl_obj_ref(root);
	char name[NAME_LEN_MAX + 1];
	unsigned int opaque = 0;
	int r = -EUCLEAN;

	while (*path == '/') {
		const char *start = path + 1, *end = strchrnul(start, '/');

		ovl_found_release(ret);
		if (!is_name(start, (size_t)(end - start))) {
			r = -EUCLEAN;
			break;
		}
		memcpy(name, start, (size_t)(end - start));
		name[end - start] = '\0';
		*ret = (struct ovl_found)OVL_FOUND_INIT;
		r = ovl_lower_lookup(dir, name, ret);
		if (r || ret->flags & OVL_FOUND_WHITEOUT)
			break;
		opaque |= ret->flags & OVL_FOUND_OPAQUE;
		path = end;
		if (!S_ISDIR(ret->st.st_mode) && *path)
			r = -ENOENT;
		if (r || !*path)
			break;
		ovl_obj_unref(dir);
		dir = ovl_obj_ref(ret->obj);
	}
	ovl_obj_unref(dir);
	if (!r)
		ret->flags |= opaque;
	return r;
}

/* What is merged so far takes one more object. True: nothing below it counts. */
static int add_found(struct ovl_below *b, struct ovl_found *f, bool dirs_only, bool *done)
{
	bool dir = S_ISDIR(f->st.st_mode);

	*done = true;
	if (!dir && (dirs_only || b->found))
		return 0;
	if (!b->found) {
		b->found = true;
		b->st = f->st;
	}
	*done = !dir || f->flags & OVL_FOUND_OPAQUE;
	return dirset_add(&b->set, steal_ptr(&f->obj));
}

int ovl_stack_lookup(const struct ovl_stack *s, const struct ovl_dirset *dir, const char *name,
		     const char *redirect, struct ovl_below *ret)
{
	char *path cleanup_free = strdup(redirect ? redirect : name);
	bool absolute = redirect && redirect[0] == '/', done = false;
	struct ovl_below b cleanup_below = OVL_BELOW_INIT;
	unsigned int below = (unsigned int)s->n; /* only layers with a lower batch count */
	int r;

	if (!path)
		return -ENOMEM;
	if (redirect && !absolute && (strchr(path, '/') || !is_name(path, strlen(path))))
		return -EUCLEAN;
	for (size_t i = 0; !done && i < (absolute ? s->n : dir->n);) {
		struct ovl_found f cleanup_found = OVL_FOUND_INIT;
		struct ovl_obj *from = absolute ? s->layers[i]->root : dir->objs[i];

		i++;
		if (from->layer->batch >= below)
			continue;
		r = absolute ? lookup_path(from, path, &f) : ovl_lower_lookup(from, path, &f);
		if (r == -ENOENT)
			continue;
		if (r)
			return r;
		if (f.flags & OVL_FOUND_WHITEOUT)
			break;
		below = from->layer->batch;
		r = add_found(&b, &f, redirect != NULL, &done);
		if (r)
			return r;
		if (!f.redirect || done)
			continue;
		/* The layers below know the directory by another name. */
		free(path);
		path = steal_ptr(&f.redirect);
		if (path[0] != '/' && absolute)
			break;
		if (path[0] == '/') {
			absolute = true;
			i = 0;
		}
	}
	*ret = b;
	b = (struct ovl_below)OVL_BELOW_INIT;
	return 0;
}

int ovl_names_add(struct ovl_names *l, const struct ovl_name *name)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 32;
		struct ovl_name *v = reallocarray(l->v, cap, sizeof(*v));

		if (!v)
			return -ENOMEM;
		l->v = v;
		l->cap = cap;
	}
	l->v[l->n] = *name;
	l->v[l->n].name = strdup(name->name);
	if (!l->v[l->n].name)
		return -ENOMEM;
	l->n++;
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	const struct ovl_name *x = a, *y = b;
	int r = strcmp(x->name, y->name);

	return r ? r : (x->rank > y->rank) - (x->rank < y->rank);
}

void ovl_names_sort(struct ovl_names *l)
{
	size_t n = 0;

	if (l->n > 1)
		qsort(l->v, l->n, sizeof(*l->v), compare_names);
	for (size_t i = 0; i < l->n; i++) {
		bool again = n > 0 && strcmp(l->v[n - 1].name, l->v[i].name) == 0;

		/* A lower whiteout has done its work once it has hidden what comes behind it. */
		if (again)
			free(l->v[i].name);
		else
			l->v[n++] = l->v[i];
	}
	l->n = n;
}

const struct ovl_name *ovl_names_find(const struct ovl_names *l, const char *name)
{
	size_t low = 0, high = l->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int r = strcmp(l->v[mid].name, name);

		if (r == 0)
			return &l->v[mid];
		if (r < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

void ovl_names_release(struct ovl_names *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i].name);
	free(l->v);
	*l = (struct ovl_names){.n = 0};
}

struct add_lower {
	struct ovl_names *names;
	unsigned int rank, batch;
};

static int add_lower_name(void *ctx, const struct ovl_lower_entry *e)
{
	const struct add_lower *a = ctx;
	struct ovl_name n = {.rank = a->rank,
			     .batch = a->batch,
			     .whiteout = e->whiteout,
			     .type = e->type,
			     .ino = e->ino};
	char buf[NAME_LEN_MAX + 1];
	size_t len = strlen(e->name);

	if (len > NAME_LEN_MAX)
		return -EUCLEAN;
	memcpy(buf, e->name, len + 1);
	n.name = buf;
	return ovl_names_add(a->names, &n);
}

int ovl_stack_names(const struct ovl_dirset *dir, struct ovl_names *names)
{
	int r = 0;

	for (size_t i = 0; i < dir->n && !r; i++) {
		struct add_lower a = {.names = names,
				      .rank = (unsigned int)i + 1,
				      .batch = dir->objs[i]->layer->batch};

		r = ovl_lower_readdir(dir->objs[i], 0, add_lower_name, &a);
	}
	return r;
}
