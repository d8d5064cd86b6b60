/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "snapshotter/cmd/cmd.h"
#include "snapshotter/diff.h"
#include "snapshotter/filter.h"
#include "snapshotter/image.h"

struct options {
	bool layers;
};

static const struct cmd_option options[] = {
	{"layers", 'l', CMD_FLAG, NULL,
	 "also images' layers, and what each layer and snapshot adds, changes and hides",
	 offsetof(struct options, layers)},
	CMD_OPTIONS_END,
};

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

struct image_layers {
	struct snap_image_info info;
	struct snap_layer_info *layers;
	struct erofs_effect *effects;
	size_t n;
};

static void image_layers_release(struct image_layers *i)
{
	snap_image_info_release(&i->info);
	free(i->layers);
	free(i->effects);
}

static int load_layers(struct snap_store *store, const char *ref, struct image_layers *ret,
		       struct err *err)
{
	int r = snap_image_find(store, ref, &ret->info, err);

	if (r == 0)
		r = snap_image_layers(store, &ret->info.manifest, &ret->layers, &ret->n, err);
	ret->effects = r == 0 ? calloc(ret->n + 1, sizeof(*ret->effects)) : NULL;
	if (r == 0 && !ret->effects)
		r = err_set(err, -ENOMEM, "layers");
	return r == 0 ? snap_image_effects(store, ret->layers, ret->n, ret->effects, err) : r;
}

static int count_change(void *ctx, const struct ovl_change *ch, struct err *err)
{
	struct erofs_effect *e = ctx;

	(void)err;
	e->adds += ch->kind == OVL_ADDED;
	e->changes += ch->kind == OVL_CHANGED;
	e->hides += ch->kind == OVL_DELETED;
	return 0;
}

/* False: it cannot be said. A view changes nothing. */
static bool count_changes(struct cmd_context *c, const struct node *node, struct erofs_effect *ret)
{
	*ret = (struct erofs_effect){.adds = 0};
	return node->kind != SNAP_VIEW &&
	       snap_diff_list(c->store, node->key, count_change, ret, NULL) == 0;
}

static int print_layers(struct cmd_context *c, const struct forest *f, size_t n, struct err *err)
{
	struct image_layers image CLEANUP(image_layers_release) = {.n = 0};
	struct strbuf before CLEANUP(strbuf_release) = STRBUF_INIT;
	int r = load_layers(c->store, f->nodes[n].key, &image, err);

	/* an image is a root */
	if (r == 0 && strbuf_adds(&before, f->nodes[n].first != NONE ? "│ " : "  ") < 0)
		r = err_set(err, -ENOMEM, "layers");
	for (size_t i = 0; r == 0 && i < image.n; i++) {
		const struct erofs_effect *e = &image.effects[i];
		char bytes[24], wasted[24];

		cmd_format_size(e->bytes, bytes);
		cmd_format_size(e->wasted, wasted);
		(void)printf("%slayer %.19s  %s, +%" PRIu64 " ~%" PRIu64 " -%" PRIu64
			     ", wasted %s\n",
			     before.s, image.layers[i].blob.text, bytes, e->adds, e->changes,
			     e->hides, wasted);
	}
	return r;
}

static int print_text(struct cmd_context *c, struct forest *f, bool layers, struct err *err)
{
	struct erofs_effect effect;
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
			if (layers)
				r = print_layers(c, f, n, err);
			continue;
		}
		/* one that went meanwhile was there */
		if (snap_usage(c->store, node->key, &usage, NULL) < 0)
			usage = (struct snap_usage){.size = 0};
		cmd_format_size(usage.size, size);
		(void)printf("  %s, %s", snap_kind_name(node->kind), size);
		if (layers && count_changes(c, node, &effect))
			(void)printf(", +%" PRIu64 " ~%" PRIu64 " -%" PRIu64, effect.adds,
				     effect.changes, effect.hides);
		(void)putchar('\n');
	}
	return r;
}

static void json_changes(struct json_writer *w, const struct erofs_effect *e)
{
	json_w_key(w, "adds");
	json_w_uint(w, e->adds);
	json_w_key(w, "changes");
	json_w_uint(w, e->changes);
	json_w_key(w, "hides");
	json_w_uint(w, e->hides);
}

static int json_layers(struct cmd_context *c, struct json_writer *w, const char *ref,
		       struct err *err)
{
	struct image_layers image CLEANUP(image_layers_release) = {.n = 0};
	int r = load_layers(c->store, ref, &image, err);

	json_w_key(w, "layers");
	json_w_array(w);
	for (size_t i = 0; r == 0 && i < image.n; i++) {
		json_w_object(w);
		json_w_key(w, "digest");
		json_w_string(w, image.layers[i].blob.text);
		cmd_json_effect(w, &image.effects[i]);
		json_w_end(w);
	}
	json_w_end(w);
	return r;
}

static int print_json(struct cmd_context *c, struct forest *f, bool layers, struct err *err)
{
	struct json_writer *w = json_writer_new(JSON_PRETTY);
	struct erofs_effect effect;
	int r = 0;

	json_w_array(w);
	for (size_t n = f->first; r == 0 && n != NONE; n = next_of(f, n)) {
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
		if (layers && !node->kind)
			r = json_layers(c, w, node->key, err);
		else if (layers && count_changes(c, node, &effect))
			json_changes(w, &effect);
		json_w_end(w);
	}
	json_w_end(w);
	if (r == 0)
		return cmd_print_json(w, err);
	json_writer_free(w);
	return r;
}

static int run(struct cmd_context *c, const void *o, int argc, char **argv, struct err *err)
{
	const struct options *opt = o;
	struct forest f CLEANUP(forest_release) = {.nodes = NULL};
	int r = snap_walk(c->store, NULL, add, &f, err);

	(void)argc;
	(void)argv;
	if (r == 0)
		r = build(&f, err);
	if (r < 0)
		return r;
	return c->json ? print_json(c, &f, opt->layers, err) : print_text(c, &f, opt->layers, err);
}

const struct cmd cmd_tree = {
	.name = "tree",
	.summary = "Show what stands on what",
	.usage = "",
	.help = "Images and snapshots with the snapshots that stand on them, and the bytes that "
		"each\n"
		"snapshot holds itself. With --layers also the layers of the images: bytes of the\n"
		"files that each brings, +names that it adds, ~changes and -hides, and the bytes\n"
		"below that nobody sees any more because of it; of snapshots the names.",
	.options = options,
	.options_size = sizeof(struct options),
	.max_args = 0,
	.run = run,
};
