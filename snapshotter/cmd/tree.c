/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "snapshotter/cmd/cmd.h"
#include "snapshotter/filter.h"

/* Snapshots under what they stand on; images under which any stand are roots as well. */
#define NONE ((size_t)-1)

struct node {
	char *key, *parent; /* owned; parent may be NULL */
	enum snap_kind kind; /* 0: an image */
	bool on_image;
	size_t up, first, last, next; /* nodes; NONE: there is none */
	size_t depth;
};

struct forest {
	struct node *nodes; /* snapshots in the order of their keys, then images */
	size_t n, room, snapshots;
	size_t first, last; /* of the roots */
};

static struct node *grow(struct forest *f, const char *key, const char *parent)
{
	struct node *n;

	if (f->n == f->room) {
		size_t room = f->room ? f->room * 2 : 64;
		struct node *more = reallocarray(f->nodes, room, sizeof(*more));

		if (!more)
			return NULL;
		f->nodes = more;
		f->room = room;
	}
	n = &f->nodes[f->n++];
	*n = (struct node){.up = NONE, .first = NONE, .last = NONE, .next = NONE};
	n->key = strdup(key);
	n->parent = parent ? strdup(parent) : NULL;
	return n->key && (n->parent || !parent) ? n : NULL;
}

static void forest_release(struct forest *f)
{
	for (size_t i = 0; i < f->n; i++) {
		free(f->nodes[i].key);
		free(f->nodes[i].parent);
	}
	free(f->nodes);
}

static int add(void *ctx, const struct snap_info *info, struct err *err)
{
	struct node *n = grow(ctx, info->key, info->parent);

	if (!n)
		return err_set(err, -ENOMEM, "snapshots");
	n->kind = info->kind;
	n->on_image = info->parent_is_image;
	return 0;
}

static int by_key(const void *key, const void *node)
{
	return strcmp(key, ((const struct node *)node)->key);
}

/* The node that @n stands on, an image's made when it is the first on it. -1: no memory. */
static int find_parent(struct forest *f, size_t n, size_t *ret)
{
	const char *key = f->nodes[n].parent;
	const struct node *found;

	*ret = NONE;
	if (!key)
		return 0;
	if (!f->nodes[n].on_image) {
		found = bsearch(key, f->nodes, f->snapshots, sizeof(*f->nodes), by_key);
		*ret = found ? (size_t)(found - f->nodes) : NONE; /* one that went meanwhile */
		return 0;
	}
	for (*ret = f->snapshots; *ret < f->n && strcmp(f->nodes[*ret].key, key) != 0; ++*ret)
		;
	return *ret < f->n || grow(f, key, NULL) ? 0 : -1;
}

static void link_child(struct forest *f, size_t up, size_t n)
{
	size_t *first = up == NONE ? &f->first : &f->nodes[up].first;
	size_t *last = up == NONE ? &f->last : &f->nodes[up].last;

	f->nodes[n].up = up;
	if (*last == NONE)
		*first = n;
	else
		f->nodes[*last].next = n;
	*last = n;
}

static int build(struct forest *f, struct err *err)
{
	f->snapshots = f->n;
	f->first = f->last = NONE;
	for (size_t i = 0; i < f->snapshots; i++) {
		size_t up, images = f->n;

		if (find_parent(f, i, &up) < 0)
			return err_set(err, -ENOMEM, "snapshots");
		if (f->n > images) /* it is a root itself */
			link_child(f, NONE, up);
		link_child(f, up, i);
	}
	return 0;
}

/* The one behind @n when all below it comes first. */
static size_t next_of(struct forest *f, size_t n)
{
	size_t down = f->nodes[n].first;

	if (down != NONE) {
		f->nodes[down].depth = f->nodes[n].depth + 1;
		return down;
	}
	while (n != NONE && f->nodes[n].next == NONE)
		n = f->nodes[n].up;
	if (n == NONE)
		return NONE;
	f->nodes[f->nodes[n].next].depth = f->nodes[n].depth;
	return f->nodes[n].next;
}

/* Which of its ancestors, and itself, have more behind them; from the root on. */
static int draw(const struct forest *f, size_t n, struct strbuf *out)
{
	size_t depth = f->nodes[n].depth, at = n;
	bool *more cleanup_free = calloc(depth + 1, sizeof(*more));
	int r = more ? 0 : -ENOMEM;

	strbuf_reset(out);
	for (size_t d = depth; r == 0 && d > 0; d--, at = f->nodes[at].up)
		more[d] = f->nodes[at].next != NONE;
	for (size_t d = 1; r == 0 && d <= depth; d++)
		r = strbuf_adds(out, d < depth ? more[d] ? "│   " : "    "
				     : more[d] ? "├── "
					       : "└── ");
	return r;
}

static int print_text(struct cmd_context *c, struct forest *f, struct err *err)
{
	struct strbuf line CLEANUP(strbuf_release) = STRBUF_INIT;
	struct snap_usage usage;
	char size[24];
	int r = 0;

	for (size_t n = f->first; r == 0 && n != NONE; n = next_of(f, n)) {
		const struct node *node = &f->nodes[n];

		r = draw(f, n, &line);
		if (r < 0)
			return err_set(err, r, "snapshots");
		(void)fputs(line.s, stdout);
		cmd_put_name(stdout, node->key);
		if (node->kind == 0) {
			(void)fputs("  image\n", stdout);
			continue;
		}
		/* one that went meanwhile was there */
		if (snap_usage(c->store, node->key, &usage, NULL) < 0)
			usage = (struct snap_usage){.size = 0};
		cmd_format_size(usage.size, size);
		(void)printf("  %s, %s\n", snap_kind_name(node->kind), size);
	}
	return r;
}

static int print_json(struct cmd_context *c, struct forest *f, struct err *err)
{
	struct json_writer *w = json_writer_new(JSON_PRETTY);

	json_w_array(w);
	for (size_t n = f->first; n != NONE; n = next_of(f, n)) {
		const struct node *node = &f->nodes[n];
		struct snap_usage usage;

		json_w_object(w);
		json_w_key(w, "key");
		json_w_string(w, node->key);
		json_w_key(w, "kind");
		json_w_string(w, node->kind ? snap_kind_name(node->kind) : "image");
		json_w_key(w, "parent");
		json_w_string(w, node->parent);
		json_w_key(w, "depth");
		json_w_uint(w, node->depth);
		if (node->kind && snap_usage(c->store, node->key, &usage, NULL) == 0) {
			json_w_key(w, "size");
			json_w_uint(w, usage.size);
			json_w_key(w, "inodes");
			json_w_uint(w, usage.inodes);
		}
		json_w_end(w);
	}
	json_w_end(w);
	return cmd_print_json(w, err);
}

static int run(struct cmd_context *c, const void *o, int argc, char **argv, struct err *err)
{
	struct forest f CLEANUP(forest_release) = {.nodes = NULL};
	int r = snap_walk(c->store, NULL, add, &f, err);

	(void)o;
	(void)argc;
	(void)argv;
	if (r == 0)
		r = build(&f, err);
	if (r < 0)
		return r;
	return c->json ? print_json(c, &f, err) : print_text(c, &f, err);
}

const struct cmd cmd_tree = {
	.name = "tree",
	.summary = "Show what stands on what",
	.usage = "",
	.help = "Images and snapshots with the snapshots that stand on them, and the bytes that "
		"each\n"
		"snapshot holds itself.",
	.max_args = 0,
	.run = run,
};
