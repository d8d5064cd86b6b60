/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/strbuf.h"
#include "erofs/merge_private.h"

#define LINKS_MAX 40 /* as Linux has it (path_resolution(7)) */

struct erofs_inode *nid_map_find(const struct nid_map *m, uint64_t nid)
{
	if (!m->slots)
		return NULL;
	for (size_t i = nid * 0x9e3779b97f4a7c15u >> 20 & m->mask; m->slots[i].inode;
	     i = (i + 1) & m->mask)
		if (m->slots[i].nid == nid)
			return m->slots[i].inode;
	return NULL;
}

static void put_slot(struct nid_map *m, uint64_t nid, struct erofs_inode *inode)
{
	size_t i = nid * 0x9e3779b97f4a7c15u >> 20 & m->mask;

	while (m->slots[i].inode)
		i = (i + 1) & m->mask;
	m->slots[i] = (struct nid_slot){.nid = nid, .inode = inode};
}

int nid_map_put(struct nid_map *m, uint64_t nid, struct erofs_inode *inode)
{
	if (!m->slots || m->n * 2 > m->mask) {
		struct nid_map grown = {.n = m->n, .mask = m->slots ? m->mask * 2 + 1 : 255};

		grown.slots = calloc(grown.mask + 1, sizeof(*grown.slots));
		if (!grown.slots)
			return -ENOMEM;
		for (size_t i = 0; m->slots && i <= m->mask; i++)
			if (m->slots[i].inode)
				put_slot(&grown, m->slots[i].nid, m->slots[i].inode);
		free(m->slots);
		*m = grown;
	}
	put_slot(m, nid, inode);
	m->n++;
	return 0;
}

static int make_dir(const struct merge_path *p, struct erofs_inode *dir, const char *name,
		    size_t len, struct erofs_inode **ret)
{
	struct erofs_inode *inode = erofs_inode_new(p->tree, S_IFDIR | 0755);
	int r;

	if (!inode)
		return -ENOMEM;
	inode->scratch = p->gen;
	r = erofs_dir_add(p->tree, dir, name, len, inode);
	if (r == 0)
		*ret = inode;
	return r;
}

/* One component below @cur; *ret_link is the symlink that is to be followed, else NULL. */
static int step(const struct merge_path *p, struct erofs_inode *cur, const char *name, size_t len,
		bool last, struct erofs_inode **ret, const struct erofs_inode **ret_link)
{
	struct erofs_inode *child;

	*ret_link = NULL;
	if (!cur->dir)
		return -ENOTDIR;
	if (len == 1 && name[0] == '.') {
		*ret = cur;
		return 0;
	}
	if (len == 2 && name[0] == '.' && name[1] == '.') {
		child = erofs_dir_parent(cur);
		*ret = child ? child : cur;
		return 0;
	}
	if (len > 255)
		return -ENAMETOOLONG;
	child = erofs_dir_find(cur, name, len);
	if (!child)
		return p->create ? make_dir(p, cur, name, len, ret) : -ENOENT;
	if (S_ISLNK(child->mode) && (!last || p->follow_last)) {
		*ret_link = child;
		*ret = child->target[0] == '/' ? erofs_tree_root(p->tree) : cur;
		return 0;
	}
	*ret = child;
	return 0;
}

int merge_resolve(const struct merge_path *p, const char *path, struct erofs_inode **ret)
{
	struct strbuf rest CLEANUP(strbuf_release) = STRBUF_INIT;
	struct erofs_inode *cur = p->start;
	unsigned int links = 0;
	size_t at = 0;
	int r = strbuf_adds(&rest, path);

	while (r == 0) {
		const struct erofs_inode *link;
		size_t len, next;

		at += strspn(rest.s + at, "/");
		len = strcspn(rest.s + at, "/");
		if (len == 0)
			break;
		next = at + len + strspn(rest.s + at + len, "/");
		r = step(p, cur, rest.s + at, len, rest.s[next] == '\0', &cur, &link);
		at = next;
		if (r == 0 && link) {
			struct strbuf longer CLEANUP(strbuf_release) = STRBUF_INIT;
			struct strbuf old = rest;

			if (++links > LINKS_MAX)
				return -ELOOP;
			r = strbuf_addf(&longer, "%s/%s", link->target, rest.s + at);
			if (r < 0)
				return r;
			rest = longer; /* swapped: the old one is released at the end of the scope
					*/
			longer = old;
			at = 0;
		}
	}
	if (r == 0)
		*ret = cur;
	return r;
}
