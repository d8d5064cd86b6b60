/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "overlay/changes_private.h"

#define NAME_LEN_MAX 255

int ovl_stack_open(struct ovl_stack *s, const struct ovl_config *c, struct ovl_real_cache *fds,
		   struct err *err)
{
	int r;

	*s = (struct ovl_stack){.nofollow = c->nofollow};
	s->layers = calloc(c->n_lowers + 1, sizeof(struct ovl_layer *));
	if (!s->layers)
		return err_set(err, -ENOMEM, "open the lower layers");
	for (size_t i = 0; i < c->n_lowers; i++) {
		r = ovl_layer_open(c->lowers[i], fds, &s->layers[i], err);
		if (r)
			return r;
		s->layers[i]->height = s->layers[i]->batch = (unsigned int)(c->n_lowers - 1 - i);
		s->n++;
	}
	return 0;
}

void ovl_stack_close(struct ovl_stack *s)
{
	for (size_t i = 0; i < s->n; i++)
		ovl_layer_close(s->layers[i]);
	free(s->layers);
	*s = (struct ovl_stack){.n = 0};
}

int ovl_stack_root(const struct ovl_stack *s, struct ovl_dirset *ret)
{
	ret->objs = calloc(s->n + 1, sizeof(*ret->objs));
	if (!ret->objs)
		return -ENOMEM;
	for (size_t i = 0; i < s->n; i++)
		ret->objs[ret->n++] = ovl_obj_ref(s->layers[i]->root);
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
