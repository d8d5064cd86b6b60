/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "tests/load/load.h"

enum { NODES_MAX = 90 };

static void no_memory(struct region *r)
{
	region_fail(r, "loadop is out of memory");
}

/* Puts a new node at a place that is free. */
static struct node *put_new(struct region *r, const struct place *p, enum node_type type,
			    mode_t mode)
{
	struct node *n = node_new(type, mode);

	if (!n || node_add(p->dir, p->name, n) < 0) {
		no_memory(r);
		return NULL;
	}
	r->n_nodes++;
	return n;
}

static void take(struct region *r, struct node *dir, int index)
{
	struct node *n = node_remove(dir, index);

	if (!n->links)
		r->n_nodes--;
	node_put(n);
}

static void step_create(struct region *r)
{
	static const mode_t modes[] = {0644, 0600, 0755, 0640};
	mode_t mode = modes[rng_below(&r->rng, 4)];
	bool exclusive = rng_percent(&r->rng, 50);
	cleanup_close int fd = -EBADF;
	struct node *n;
	struct place p;
	size_t len;

	region_pick_new(r, &p);
	if (p.index >= 0 && p.dir->entries[p.index].node->type == NODE_SYMLINK && !exclusive)
		return; /* would be followed */
	region_note(r, "create %s %o%s", p.path, mode, exclusive ? " exclusive" : "");
	fd = openat(r->root, p.path, O_RDWR | O_CREAT | O_CLOEXEC | (exclusive ? O_EXCL : 0), mode);
	if (p.index >= 0) {
		bool dir = p.dir->entries[p.index].node->type == NODE_DIR;

		(void)region_expect(r, exclusive ? EEXIST : dir ? EISDIR : 0, fd);
		return;
	}
	if (!region_expect(r, 0, fd))
		return;
	n = put_new(r, &p, NODE_FILE, mode);
	if (!n)
		return;
	len = rng_below(&r->rng, 20000);
	rng_fill(&r->rng, r->scratch, len);
	if (write(fd, r->scratch, len) != (ssize_t)len) {
		region_fail(r, "write: %s", err_name(-errno));
		return;
	}
	memcpy(n->data, r->scratch, len);
	node_resize(n, len);
}

static void step_mkdir(struct region *r)
{
	struct place p;

	region_pick_new(r, &p);
	region_note(r, "mkdir %s", p.path);
	if (region_expect(r, p.index >= 0 ? EEXIST : 0, mkdirat(r->root, p.path, 0755)) &&
	    p.index < 0)
		(void)put_new(r, &p, NODE_DIR, 0755);
}

static void step_symlink(struct region *r)
{
	struct node *n;
	struct place p;
	char target[LOAD_NAME];

	region_pick_new(r, &p);
	(void)snprintf(target, sizeof(target), "t%u", rng_below(&r->rng, 1000));
	region_note(r, "symlink %s to %s", p.path, target);
	if (!region_expect(r, p.index >= 0 ? EEXIST : 0, symlinkat(target, r->root, p.path)) ||
	    p.index >= 0)
		return;
	n = put_new(r, &p, NODE_SYMLINK, 0777);
	if (n)
		memcpy(n->target, target, sizeof(target));
}

static void step_unlink(struct region *r)
{
	bool dir = rng_percent(&r->rng, 35);
	const struct node *n;
	struct place p;
	int want = 0;

	if (!region_pick(r, &p))
		return;
	n = p.dir->entries[p.index].node;
	if (dir)
		want = n->type != NODE_DIR ? ENOTDIR : n->n_entries ? ENOTEMPTY : 0;
	else if (n->type == NODE_DIR)
		want = EISDIR;
	region_note(r, "%s %s", dir ? "rmdir" : "unlink", p.path);
	if (region_expect(r, want, unlinkat(r->root, p.path, dir ? AT_REMOVEDIR : 0)) && !want)
		take(r, p.dir, p.index);
}

static void step_link(struct region *r)
{
	struct place from, to;
	struct node *n;
	int want = 0;

	if (!region_pick(r, &from))
		return;
	region_pick_new(r, &to);
	n = from.dir->entries[from.index].node;
	if (to.index >= 0)
		want = EEXIST;
	else if (n->type == NODE_DIR)
		want = EPERM;
	region_note(r, "link %s to %s", from.path, to.path);
	if (region_expect(r, want, linkat(r->root, from.path, r->root, to.path, 0)) && !want &&
	    node_add(to.dir, to.name, n) < 0)
		no_memory(r);
}

/* The answer of renameat2, in the order in which the kernel looks. */
static int rename_answer(const struct place *from, const struct place *to, unsigned int flags)
{
	const struct node *n = from->dir->entries[from->index].node;
	const struct node *m = to->index >= 0 ? to->dir->entries[to->index].node : NULL;

	if (flags == RENAME_NOREPLACE && m)
		return EEXIST;
	if (flags == RENAME_EXCHANGE && !m)
		return ENOENT;
	if (n->type == NODE_DIR && node_is_above(n, to->dir))
		return EINVAL;
	if (m && m->type == NODE_DIR && node_is_above(m, from->dir))
		return flags == RENAME_EXCHANGE ? EINVAL : ENOTEMPTY;
	if (!m || flags == RENAME_EXCHANGE || n == m)
		return 0;
	if (n->type == NODE_DIR && m->type != NODE_DIR)
		return ENOTDIR;
	if (n->type != NODE_DIR && m->type == NODE_DIR)
		return EISDIR;
	return m->n_entries ? ENOTEMPTY : 0;
}

static void step_rename(struct region *r)
{
	static const unsigned int all_flags[] = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
	unsigned int flags = all_flags[rng_below(&r->rng, 5)];
	struct place from, to;
	struct node *n, *m;
	int want;

	if (!region_pick(r, &from))
		return;
	if (rng_percent(&r->rng, 40) || !region_pick(r, &to))
		region_pick_new(r, &to);
	want = rename_answer(&from, &to, flags);
	region_note(r, "rename %s to %s flags %u", from.path, to.path, flags);
	if (!region_expect(r, want, renameat2(r->root, from.path, r->root, to.path, flags)) || want)
		return;
	n = from.dir->entries[from.index].node;
	m = to.index >= 0 ? to.dir->entries[to.index].node : NULL;
	if (n == m)
		return; /* one file: nothing happens */
	if (flags == RENAME_EXCHANGE && m) {
		from.dir->entries[from.index].node = m;
		to.dir->entries[to.index].node = n;
		if (m->type == NODE_DIR)
			m->parent = from.dir;
		if (n->type == NODE_DIR)
			n->parent = to.dir;
		return;
	}
	if (m)
		take(r, to.dir, to.index);
	/* the other place may have moved when one was taken out of the same directory */
	(void)node_remove(from.dir, node_find(from.dir, from.name));
	if (node_add(to.dir, to.name, n) < 0)
		no_memory(r);
}

static void step_chmod(struct region *r)
{
	static const mode_t file_modes[] = {0644, 0600, 0755, 0666};
	static const mode_t dir_modes[] = {0755, 0700, 0775, 01777};
	struct node *n;
	struct place p;
	mode_t mode;

	if (!region_pick(r, &p))
		return;
	n = p.dir->entries[p.index].node;
	if (n->type == NODE_SYMLINK)
		return;
	mode = (n->type == NODE_DIR ? dir_modes : file_modes)[rng_below(&r->rng, 4)];
	region_note(r, "chmod %s %o", p.path, mode);
	if (region_expect(r, 0, fchmodat(r->root, p.path, mode, 0)))
		n->mode = mode;
}

static void step_xattr(struct region *r)
{
	cleanup_close int fd = -EBADF;
	unsigned int len;
	struct node *n;
	struct place p;
	char link[64];

	if (!region_pick(r, &p))
		return;
	n = p.dir->entries[p.index].node;
	if (n->type == NODE_SYMLINK)
		return;
	fd = openat(r->root, p.path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (!region_expect(r, 0, fd))
		return;
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (rng_percent(&r->rng, 25)) {
		region_note(r, "removexattr %s", p.path);
		if (region_expect(r, n->xattr_len < 0 ? ENODATA : 0,
				  removexattr(link, "user.load")))
			n->xattr_len = -1;
		return;
	}
	len = 1 + rng_below(&r->rng, LOAD_XATTR); /* a layer cannot tell an empty one */
	rng_fill(&r->rng, r->scratch, len);
	region_note(r, "setxattr %s, %u bytes", p.path, len);
	if (region_expect(r, 0, setxattr(link, "user.load", r->scratch, len, 0))) {
		n->xattr_len = (int)len;
		memcpy(n->xattr, r->scratch, len);
	}
}

static void step_stat(struct region *r)
{
	struct node *n;
	struct place p;
	struct stat st;

	if (rng_percent(&r->rng, 50)) {
		region_pick_new(r, &p);
	} else if (!region_pick(r, &p)) {
		return;
	}
	region_note(r, "stat %s", p.path);
	if (!region_expect(r, p.index < 0 ? ENOENT : 0,
			   fstatat(r->root, p.path, &st, AT_SYMLINK_NOFOLLOW)) ||
	    p.index < 0)
		return;
	n = p.dir->entries[p.index].node;
	if (n->type == NODE_FILE && ((size_t)st.st_size != n->size || st.st_nlink != n->links))
		region_fail(r, "size %lld, %lu links, must be %zu, %u", (long long)st.st_size,
			    (unsigned long)st.st_nlink, n->size, n->links);
	if (n->ino && n->ino != st.st_ino)
		region_fail(r, "inode %lu, was %lu", (unsigned long)st.st_ino,
			    (unsigned long)n->ino);
	n->ino = st.st_ino;
}

void tree_step(struct region *r)
{
	unsigned int what = rng_below(&r->rng, 100);

	if (r->n_nodes > NODES_MAX && what < 30)
		step_unlink(r);
	else if (what < 16)
		step_create(r);
	else if (what < 23)
		step_mkdir(r);
	else if (what < 26)
		step_symlink(r);
	else if (what < 36)
		step_unlink(r);
	else if (what < 44)
		step_link(r);
	else if (what < 68)
		step_rename(r);
	else if (what < 74)
		step_chmod(r);
	else if (what < 82)
		step_xattr(r);
	else
		step_stat(r);
}
