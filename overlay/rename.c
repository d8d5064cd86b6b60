/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "overlay/namei.h"
#include "overlay/ops.h"
#include "overlay/pin.h"

/*
 * rename: one renameat2 of the upper at the end. All that makes it right is written before it on
 * the objects that move (redirect, opaque) and their new parents (impure), where it changes nothing
 * as long as they have not moved.
 */

/* The kernel's overlayfs refuses longer ones, and so falls back to a copy by the user. */
#define REDIRECT_MAX 256

/* One side: an object, where it is, where it goes. */
struct side {
	struct ovl_node *parent; /* borrowed */
	const char *name;
	struct ovl_entry e;
	struct ovl_node *node; /* owned reference; NULL: nothing there */
	int below; /* lower layers have the name */
	char *redirect; /* owned; the new one, NULL: none is needed */
	int pin; /* of ->node, should it go */
	nlink_t upper_nlink;
};

struct rename {
	struct side from, to;
	unsigned int flags;
	char cleared[OVL_TEMP_NAME]; /* in work/work: ->to as it was, with its whiteouts */
};

static void rename_release(struct ovl_fs *fs, struct rename *rn)
{
	struct side *const both[2] = {&rn->from, &rn->to};

	for (int i = 0; i < 2; i++) {
		ovl_entry_release(&both[i]->e);
		ovl_pin_drop(fs, both[i]->node, both[i]->pin);
		ovl_node_unref(fs, both[i]->node);
		free(both[i]->redirect);
	}
}

static int side_init(struct ovl_fs *fs, struct side *s, struct ovl_node *parent, const char *name)
{
	int r;

	memset(s, 0, sizeof(*s));
	s->parent = parent;
	s->name = name;
	s->pin = OVL_PIN_NONE;
	r = ovl_resolve(fs, parent, name, &s->e);
	if (r < 0)
		return r;
	s->below = ovl_lower_has(fs, parent, name);
	if (s->below < 0)
		return s->below;
	return s->e.found ? ovl_node_get(fs, parent, name, &s->e, false, &s->node) : 0;
}

/* POSIX rename(2): which types may replace which. */
static int check_types(struct ovl_fs *fs, const struct rename *rn)
{
	if (!rn->to.node)
		return rn->flags & RENAME_EXCHANGE ? -ENOENT : 0;
	if (rn->flags & RENAME_NOREPLACE)
		return -EEXIST;
	if (rn->flags & RENAME_EXCHANGE)
		return 0;
	if (S_ISDIR(rn->from.node->type) && !S_ISDIR(rn->to.node->type))
		return -ENOTDIR;
	if (!S_ISDIR(rn->from.node->type) && S_ISDIR(rn->to.node->type))
		return -EISDIR;
	return S_ISDIR(rn->to.node->type) ? ovl_check_empty(fs, rn->to.node) : 0;
}

/* What is taken away may not be protected, nor where it is taken from. */
static int check_protected(const struct rename *rn)
{
	const unsigned int both = OVL_NODE_IMMUTABLE | OVL_NODE_APPEND;
	int r = ovl_check_protected(rn->from.parent, both);

	if (r == 0)
		r = ovl_check_protected(rn->from.node, both);
	if (r == 0)
		r = ovl_check_protected(rn->to.parent,
					rn->to.node ? both : (unsigned int)OVL_NODE_IMMUTABLE);
	return r == 0 && rn->to.node ? ovl_check_protected(rn->to.node, both) : r;
}

/*
 * The path of a directory in the lower layers, from their root: names as they were there, by the
 * redirects of what was moved before. -EXDEV when it is too long.
 */
static int absolute_redirect(struct ovl_fs *fs, struct ovl_node *n, char **ret)
{
	char buf[REDIRECT_MAX + 1];
	size_t at = REDIRECT_MAX;
	int r = 0;

	buf[at] = '\0';
	pthread_rwlock_rdlock(&fs->tree);
	for (; n->at.parent; n = n->at.parent) {
		const char *name = n->redirect ? n->redirect : n->at.name;
		size_t len = strlen(name);

		if (len + (name[0] != '/') > at) {
			r = -EXDEV;
			break;
		}
		at -= len;
		memcpy(buf + at, name, len);
		if (name[0] == '/')
			break;
		buf[--at] = '/';
	}
	pthread_rwlock_unlock(&fs->tree);
	if (r < 0)
		return r;
	*ret = strdup(buf + at);
	return *ret ? 0 : -ENOMEM;
}

/* Where what moves from @s to @to is in the lower layers: NULL when it need not be said. */
static int new_redirect(struct ovl_fs *fs, struct side *s, const struct side *to)
{
	struct ovl_node *n = s->node;
	/* A file may come to have names in several directories. */
	bool by_name = s->parent == to->parent && S_ISDIR(n->type);
	int r = 0;

	pthread_rwlock_rdlock(&fs->tree);
	if (n->redirect && (by_name || n->redirect[0] == '/'))
		s->redirect = strdup(n->redirect);
	else if (by_name)
		s->redirect = strdup(s->name);
	pthread_rwlock_unlock(&fs->tree);
	if (!s->redirect)
		r = by_name ? -ENOMEM : absolute_redirect(fs, n, &s->redirect);
	return r;
}

/* What a directory, or a file without its data, that moves from @s to @to must say of its lowers.
 */
static int mark_moved(struct ovl_fs *fs, struct side *s, const struct side *to)
{
	struct ovl_at at cleanup_at = OVL_AT_INIT;
	struct ovl_node *n = s->node;
	const char *mark = fs->mark[OVL_MARK_OPAQUE], *value = "y";
	int r = 0;

	if (n->n_lowers > 0) {
		if (!fs->redirect_dir)
			return -EXDEV;
		r = new_redirect(fs, s, to);
		if (r < 0)
			return r;
		mark = fs->mark[OVL_MARK_REDIRECT];
		value = s->redirect;
	} else if (!to->below) {
		return 0; /* nothing there that it could be merged with */
	}
	pthread_rwlock_rdlock(&fs->tree);
	r = ovl_at_get_locked(fs, n, &at);
	if (r == 0)
		r = ovl_sys_setxattr(at.fd, at.name, mark, value, strlen(value), 0);
	pthread_rwlock_unlock(&fs->tree);
	return r;
}

/* Copies up what moves and marks it. */
static int prepare_moved(struct ovl_fs *fs, struct side *s, const struct side *to)
{
	struct ovl_node *n = s->node;
	int r;

	if (S_ISDIR(n->type) && n->n_lowers > 0 && !fs->redirect_dir)
		return -EXDEV;
	r = ovl_copy_up_name(fs, n, s->parent, s->name);
	/* What has its number or its lowers from elsewhere is looked at for that. */
	if (r == 0 && (n->number >> 32 != fs->upper_batch || n->n_lowers > 0))
		r = ovl_mark_impure(fs, to->parent);
	if (r == 0 && (S_ISDIR(n->type) || ovl_node_has(n, OVL_NODE_METACOPY)))
		r = mark_moved(fs, s, to);
	/* No way to say where its data are: it takes them with it. */
	if (r == -EXDEV && !S_ISDIR(n->type))
		r = ovl_copy_up(fs, n, OVL_COPY_ALL);
	return r;
}

/* What will be replaced: its link count goes with it, whiteouts in it do not keep it. */
static int prepare_replaced(struct ovl_fs *fs, struct rename *rn)
{
	struct side *s = &rn->to;
	struct ovl_node *n = s->node;

	if (!S_ISDIR(n->type)) {
		if (s->e.indexed || (!s->e.upper && s->e.st.st_nlink > 1))
			return ovl_copy_up_name(fs, n, s->parent, s->name);
		return 0;
	}
	if (ovl_node_has(n, OVL_NODE_UPPER))
		return ovl_clear_dir(fs, s->parent, s->name, n->number, rn->cleared);
	return 0;
}

/* The call itself; a directory goes over a whiteout by changing places with it. */
static int move_on_disk(struct ovl_fs *fs, struct rename *rn, int from_fd, int to_fd)
{
	struct side *from = &rn->from, *to = &rn->to;
	bool dir = S_ISDIR(from->node->type), whiteout = from->below;
	struct stat st;
	int r;

	(void)fs;
	if (rn->flags & RENAME_EXCHANGE)
		return ovl_sys_rename(from_fd, from->name, to_fd, to->name, RENAME_EXCHANGE);
	if (dir && to->e.whiteout) {
		r = ovl_sys_rename(from_fd, from->name, to_fd, to->name, RENAME_EXCHANGE);
		if (r == 0 && !whiteout)
			(void)!ovl_sys_unlink(from_fd, from->name, 0);
		return r;
	}
	/* The kernel asks that of every upper: it leaves the whiteout in the same step. */
	r = ovl_sys_rename(from_fd, from->name, to_fd, to->name, whiteout ? RENAME_WHITEOUT : 0);
	if (r != -EINVAL || !whiteout)
		return r;
	/* Not there: in two steps, of which the first shows the lower object for a moment. */
	if (ovl_sys_stat(from_fd, from->name, &st) < 0)
		return r;
	r = ovl_sys_rename(from_fd, from->name, to_fd, to->name, 0);
	return r == 0 ? ovl_sys_mknod(from_fd, from->name, S_IFCHR, 0) : r;
}

static void set_redirect_locked(struct side *s)
{
	if (!s->redirect)
		return;
	free(s->node->redirect);
	s->node->redirect = steal_ptr(&s->redirect);
}

/* Before the call: what memory it takes. */
static int reserve_names_locked(struct ovl_fs *fs, struct rename *rn)
{
	struct side *from = &rn->from, *to = &rn->to;
	int r = ovl_node_add_alias_locked(fs, from->node, to->parent, to->name);

	if (r < 0 || !(rn->flags & RENAME_EXCHANGE))
		return r;
	r = ovl_node_add_alias_locked(fs, to->node, from->parent, from->name);
	if (r < 0)
		ovl_node_drop_alias_locked(fs, from->node, to->parent, to->name);
	return r;
}

static void unreserve_names_locked(struct ovl_fs *fs, struct rename *rn)
{
	ovl_node_drop_alias_locked(fs, rn->from.node, rn->to.parent, rn->to.name);
	if (rn->flags & RENAME_EXCHANGE)
		ovl_node_drop_alias_locked(fs, rn->to.node, rn->from.parent, rn->from.name);
}

/* Memory follows; the new names are there already. */
static void move_in_memory_locked(struct ovl_fs *fs, struct rename *rn)
{
	struct side *from = &rn->from, *to = &rn->to;

	if (to->node && !(rn->flags & RENAME_EXCHANGE))
		ovl_removed_locked(fs, to->node, to->parent, to->name, to->upper_nlink,
				   steal_fd(&to->pin));
	ovl_node_drop_alias_locked(fs, from->node, from->parent, from->name);
	if (rn->flags & RENAME_EXCHANGE) {
		ovl_node_drop_alias_locked(fs, to->node, to->parent, to->name);
		set_redirect_locked(to);
	}
	set_redirect_locked(from);
}

static int move(struct ovl_fs *fs, struct rename *rn)
{
	cleanup_dirfd struct ovl_dirfd *from = NULL, *to = NULL;
	struct side *old = &rn->to;
	bool replaces = old->node && !(rn->flags & RENAME_EXCHANGE);
	struct stat st;
	int r;

	pthread_rwlock_wrlock(&fs->tree);
	r = ovl_node_dirfd_locked(fs, rn->from.parent, &from);
	if (r == 0)
		r = ovl_node_dirfd_locked(fs, rn->to.parent, &to);
	if (r == 0 && replaces && ovl_sys_stat(to->fd, old->name, &st) == 0) {
		old->upper_nlink = st.st_nlink;
		if (ovl_node_has(old->node, OVL_NODE_INDEXED))
			r = ovl_nlink_save_locked(fs, old->node, true);
		if (r == 0)
			old->pin = ovl_pin_locked(fs, old->node, to->fd, old->name);
	}
	if (r == 0) {
		r = reserve_names_locked(fs, rn);
		if (r == 0) {
			r = move_on_disk(fs, rn, from->fd, to->fd);
			if (r == 0)
				move_in_memory_locked(fs, rn);
			else
				unreserve_names_locked(fs, rn);
		}
	}
	pthread_rwlock_unlock(&fs->tree);
	return r;
}

/* What was cleared to be replaced goes, or is again what it was. */
static void end_replaced(struct ovl_fs *fs, struct rename *rn, int r)
{
	if (!rn->cleared[0])
		return;
	if (r < 0 && ovl_clear_dir_undo(fs, rn->to.parent, rn->to.name, rn->cleared) < 0)
		log_error("a directory that was not replaced has lost its whiteouts");
	ovl_temp_remove(fs, rn->cleared);
}

int ovl_rename(struct ovl_fs *fs, struct ovl_node *parent, const char *name,
	       struct ovl_node *to_parent, const char *to_name, unsigned int flags)
{
	struct rename rn = {
		.from = {.pin = OVL_PIN_NONE}, .to = {.pin = OVL_PIN_NONE}, .flags = flags};
	bool exchange = flags & RENAME_EXCHANGE;
	int r;

	if (flags & ~(unsigned int)(RENAME_NOREPLACE | RENAME_EXCHANGE) ||
	    flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	if (!fs->has_upper)
		return -EROFS;
	r = ovl_check_new_name(to_name);
	if (r == 0)
		r = side_init(fs, &rn.from, parent, name);
	if (r == 0 && !rn.from.node)
		r = -ENOENT;
	if (r == 0)
		r = side_init(fs, &rn.to, to_parent, to_name);
	if (r == 0)
		r = check_types(fs, &rn);
	if (r < 0 || rn.from.node == rn.to.node)
		goto out;
	r = check_protected(&rn);
	if (r == 0)
		r = ovl_copy_up(fs, parent, OVL_COPY_ALL);
	if (r == 0)
		r = ovl_copy_up(fs, to_parent, OVL_COPY_ALL);
	if (r == 0)
		r = prepare_moved(fs, &rn.from, &rn.to);
	if (r == 0 && exchange)
		r = prepare_moved(fs, &rn.to, &rn.from);
	else if (r == 0 && rn.to.node)
		r = prepare_replaced(fs, &rn);
	if (r == 0)
		r = move(fs, &rn);
out:
	end_replaced(fs, &rn, r);
	rename_release(fs, &rn);
	return r;
}
