/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/load/load.h"

struct node *node_new(enum node_type type, mode_t mode)
{
	struct node *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->type = type;
	n->mode = mode;
	n->xattr_len = -1;
	if (type == NODE_FILE) {
		n->data = calloc(1, LOAD_FILE_MAX);
		if (!n->data) {
			free(n);
			return NULL;
		}
	}
	return n;
}

void node_put(struct node *n)
{
	if (n->links || n->handles)
		return;
	free(n->data);
	free(n->entries);
	free(n);
}

void node_free_tree(struct node *dir)
{
	while (dir->n_entries) {
		struct node *n = node_remove(dir, 0);

		if (n->type == NODE_DIR)
			node_free_tree(n);
		else
			node_put(n);
	}
	node_put(dir);
}

int node_find(const struct node *dir, const char *name)
{
	for (size_t i = 0; i < dir->n_entries; i++)
		if (!strcmp(dir->entries[i].name, name))
			return (int)i;
	return -1;
}

int node_add(struct node *dir, const char *name, struct node *n)
{
	if (dir->n_entries == dir->room) {
		size_t room = dir->room ? dir->room * 2 : 8;
		struct entry *e = realloc(dir->entries, room * sizeof(*e));

		if (!e)
			return -1;
		dir->entries = e;
		dir->room = room;
	}
	(void)snprintf(dir->entries[dir->n_entries].name, LOAD_NAME, "%s", name);
	dir->entries[dir->n_entries++].node = n;
	n->links++;
	if (n->type == NODE_DIR)
		n->parent = dir;
	return 0;
}

struct node *node_remove(struct node *dir, int index)
{
	struct node *n = dir->entries[index].node;

	dir->entries[index] = dir->entries[--dir->n_entries];
	n->links--;
	return n;
}

bool node_is_above(const struct node *n, const struct node *dir)
{
	for (; dir; dir = dir->parent)
		if (dir == n)
			return true;
	return false;
}

static const char *name_in_parent(const struct node *dir)
{
	for (size_t i = 0; i < dir->parent->n_entries; i++)
		if (dir->parent->entries[i].node == dir)
			return dir->parent->entries[i].name;
	return "?";
}

void node_path(const struct node *dir, const char *name, char path[LOAD_PATH])
{
	char tail[LOAD_PATH];

	(void)snprintf(path, LOAD_PATH, "%s", name ? name : "");
	for (; dir->parent; dir = dir->parent) {
		memcpy(tail, path, LOAD_PATH);
		(void)snprintf(path, LOAD_PATH, "%.*s%s%.*s", LOAD_NAME, name_in_parent(dir),
			       *tail ? "/" : "", LOAD_PATH - LOAD_NAME - 2, tail);
	}
	if (!*path)
		(void)snprintf(path, LOAD_PATH, ".");
}

void node_resize(struct node *n, size_t size)
{
	if (size < n->size)
		memset(n->data + size, 0, n->size - size);
	n->size = size;
}
