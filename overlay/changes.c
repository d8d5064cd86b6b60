/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/changes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "overlay/changes_private.h"
#include "overlay/whiteout.h"

#define FDS_MAX 128 /* of directories, of the upper and of all layers */

/*
 * A directory on the way. Two kinds:
 *
 *   plain  it shows what is below, changed by what the upper has in it: only the
 *          upper's names (and names of copied-up links) are events.
 *   fresh  it stands at a place where the image has something else: opaque, moved
 *          here, new, or inside of one of these. All its names are events, and what the
 *          image has below must be hidden.
 */
struct frame {
	struct frame *parent;
	const char *name; /* borrowed */
	bool upper; /* the upper has the directory */
	bool fresh;
	bool hidden; /* fresh: something above hides all that is below */
	struct ovl_dirset below; /* the directory of the image at this place */
	struct ovl_dirset merge; /* fresh: what else shows here (moved with it) */
};

struct walk {
	struct ovl_emitter out;
	struct ovl_stack stack;
	struct ovl_links links;
	struct ovl_real_cache *fds;
	int upper_fd;
	bool expand_opaque;
	const char *override; /* as struct ovl_layer has it */
};

static const void *frame_parent(const void *key)
{
	return ((const struct frame *)key)->parent;
}

static const char *frame_name(const void *key)
{
	return ((const struct frame *)key)->name;
}

static const struct ovl_real_chain frame_chain = {.parent = frame_parent, .name = frame_name};

static void frame_release(struct walk *w, struct frame *f)
{
	ovl_real_forget(w->fds, f);
	ovl_dirset_release(&f->below);
	ovl_dirset_release(&f->merge);
}

static int walk_dir(struct walk *w, struct frame *f, struct err *err);

/* The path at hand becomes @name in the directory whose path is the first @at bytes. */
static int enter(struct walk *w, size_t at, const char *name, struct err *err)
{
	int r;

	strbuf_truncate(&w->out.path, at);
	r = strbuf_addf(&w->out.path, "%s%s", at ? "/" : "", name);
	return r ? err_set(err, r, "changes") : 0;
}

static int look_below(struct walk *w, const struct ovl_dirset *dir, const char *name,
		      struct ovl_below *ret)
{
	return ovl_stack_lookup(&w->stack, dir->objs, dir->n, name, NULL, OVL_WANT_ANY, ret);
}

static int upper_stat(struct walk *w, int fd, const char *name, struct stat *ret)
{
	int r = ovl_sys_stat(fd, name, ret);

	if (!r)
		ovl_override_read(fd, name, w->override, ret);
	return r;
}

/* Names that a layer can only mean as marks: an upper of ours has none of them. */
static bool is_ordinary(struct walk *w, const char *name)
{
	const char *hidden;
	size_t len;

	if (ovl_wh_classify(name, strlen(name), &hidden, &len) == OVL_WH_NONE)
		return true;
	log_warn("'/%s%s%s' is left out: in a layer this name would be a mark", w->out.path.s,
		 w->out.path.len ? "/" : "", name);
	return false;
}

static int upper_names(struct walk *w, struct frame *f, struct ovl_names *names)
{
	struct ovl_dirfd *d cleanup_dirfd = NULL;
	DIR *dir cleanup_closedir = NULL;
	struct dirent *de;
	struct stat st;
	int fd, r = ovl_real_open(w->fds, &frame_chain, f, w->upper_fd, &d);

	if (r)
		return r;
	fd = ovl_sys_open(d->fd, ".", O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	dir = fdopendir(fd);
	if (!dir) {
		r = -errno;
		(void)close(fd);
		return r;
	}
	for (;;) {
		struct ovl_name n = {.rank = 0};

		errno = 0;
		de = readdir(dir);
		if (!de)
			return -errno;
		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0 ||
		    !is_ordinary(w, de->d_name))
			continue;
		n.name = de->d_name;
		n.type = de->d_type;
		if (n.type == DT_CHR || n.type == DT_UNKNOWN || n.type == DT_SOCK) {
			r = ovl_sys_stat(d->fd, de->d_name, &st);
			/* Removed since it was listed: the mount is in use. */
			if (r == -ENOENT)
				continue;
			if (r)
				return r;
			/* No tar can hold a socket: what it hides is hidden, and nothing put there.
			 */
			n.whiteout = ovl_stat_is_whiteout(&st) || S_ISSOCK(st.st_mode);
			n.type = IFTODT(st.st_mode);
		}
		r = ovl_names_add(names, &n);
		if (r)
			return r;
	}
}

/* Names below the path at hand that only copied-up hard links know of. */
static int link_names(struct walk *w, struct ovl_names *names)
{
	struct strbuf prefix CLEANUP(strbuf_release) = STRBUF_INIT;
	int r;

	if (w->links.n == 0)
		return 0;
	r = strbuf_addf(&prefix, "%s%s", w->out.path.s, w->out.path.len ? "/" : "");
	for (size_t i = ovl_links_from(&w->links, prefix.s); !r && i < w->links.n; i++) {
		const char *path = w->links.v[i].path;
		struct ovl_name n = {.rank = 1};
		char *rest;

		if (strncmp(path, prefix.s, prefix.len) != 0)
			break;
		rest = strdup(path + prefix.len);
		if (!rest)
			return -ENOMEM;
		n.type = strchr(rest, '/') ? DT_DIR : DT_REG;
		rest[strcspn(rest, "/")] = '\0';
		n.name = rest;
		n.ino = w->links.v[i].number;
		/* The same directory again and again: sorted, so it was the one before. */
		if (names->n == 0 || names->v[names->n - 1].rank == 0 ||
		    strcmp(names->v[names->n - 1].name, rest) != 0)
			r = ovl_names_add(names, &n);
		free(rest);
	}
	return r;
}

/* What a child directory shows, and what has to be hidden for it. */
static int child_frame(struct walk *w, struct frame *f, const char *name,
		       const struct ovl_xattrs *x, struct ovl_below *below, struct frame *ret)
{
	const struct ovl_dirset *view = f->fresh ? &f->merge : &f->below;
	struct ovl_below from cleanup_below = OVL_BELOW_INIT;
	bool moved = x && x->redirect && !x->opaque;
	int r;

	ret->parent = f;
	ret->name = name;
	ret->hidden = f->hidden;
	ret->fresh = f->fresh || (x && (x->opaque || x->redirect)) || !ovl_below_is_dir(below);
	if (ret->fresh && !(x && x->opaque)) {
		r = ovl_stack_lookup(&w->stack, view->objs, view->n, name,
				     moved ? x->redirect : NULL,
				     moved ? OVL_WANT_DIR : OVL_WANT_ANY, &from);
		if (r)
			return r;
		if (ovl_below_is_dir(&from)) {
			ret->merge = from.set;
			from.set = (struct ovl_dirset){NULL, 0};
		}
	}
	if (ovl_below_is_dir(below)) {
		ret->below = below->set;
		below->set = (struct ovl_dirset){NULL, 0};
	}
	return 0;
}

/*
 * The names of a fresh directory's place in the image that it does not have itself. One mark hides
 * them all, or each gets a deletion, as the caller wishes; none, none.
 */
static int hide_below(struct walk *w, struct frame *f, const struct ovl_names *names, size_t at,
		      struct err *err)
{
	struct ovl_names gone cleanup_names = {.n = 0};
	int r = 0;

	if (!f->fresh || f->hidden || f->below.n == 0)
		return 0;
	r = ovl_stack_names(&f->below, &gone);
	if (r)
		return ovl_change_failed(&w->out, r, "read the lower directory", err);
	ovl_names_sort(&gone);
	for (size_t i = 0; i < gone.n && !r; i++) {
		const struct ovl_name *mine = ovl_names_find(names, gone.v[i].name);

		if (gone.v[i].whiteout || (mine && !mine->whiteout))
			continue;
		if (!w->expand_opaque) {
			f->hidden = true;
			return ovl_emit_mark(&w->out, OVL_OPAQUE, err);
		}
		r = enter(w, at, gone.v[i].name, err);
		if (!r)
			r = ovl_emit_mark(&w->out, OVL_DELETED, err);
	}
	strbuf_truncate(&w->out.path, at);
	return r;
}

/* The upper's whiteouts that hide something. */
static int emit_deletions(struct walk *w, struct frame *f, const struct ovl_names *names, size_t at,
			  struct err *err)
{
	int r = 0;

	for (size_t i = 0; !f->fresh && i < names->n && !r; i++) {
		struct ovl_below below cleanup_below = OVL_BELOW_INIT;

		if (!names->v[i].whiteout)
			continue;
		r = enter(w, at, names->v[i].name, err);
		if (r)
			break;
		r = look_below(w, &f->below, names->v[i].name, &below);
		if (r)
			return ovl_change_failed(&w->out, r, "look below", err);
		if (below.found)
			r = ovl_emit_mark(&w->out, OVL_DELETED, err);
	}
	return r;
}

/* Where a file of the upper that was copied up without its data has them. */
static int find_data(struct walk *w, struct frame *f, const char *name, const struct ovl_xattrs *x,
		     struct ovl_source *from, struct ovl_below *ret)
{
	const struct ovl_dirset *view = f->fresh ? &f->merge : &f->below;
	int r = ovl_stack_lookup(&w->stack, view->objs, view->n, name, x->redirect, OVL_WANT_DATA,
				 ret);

	if (!r)
		from->data = ret->set.objs[0];
	return r;
}

/* An object, and the directory's contents when it is one. */
static int emit_tree(struct walk *w, struct frame *f, const char *name,
		     const struct ovl_source *where, const struct stat *st, struct ovl_below *below,
		     struct err *err)
{
	enum ovl_change_kind kind = below->found ? OVL_CHANGED : OVL_ADDED;
	struct ovl_xattrs x cleanup_xattrs = {.n = 0};
	struct ovl_below data cleanup_below = OVL_BELOW_INIT;
	struct frame child = {.upper = !where->lower};
	struct ovl_source object = *where, *from = &object;
	int r = ovl_xattrs_read(from, &x);

	if (r)
		return ovl_change_failed(&w->out, r, "read attributes of", err);
	if (!from->lower && x.metacopy && S_ISREG(st->st_mode) && st->st_size > 0) {
		r = find_data(w, f, name, &x, from, &data);
		if (r)
			return ovl_change_failed(&w->out, r, "find the data of", err);
	}
	r = ovl_emit_object(&w->out, kind, from, st, &x, err);
	if (r || !S_ISDIR(st->st_mode))
		return r;
	/* The marks of a lower directory were resolved with it. */
	r = child_frame(w, f, name, from->lower ? NULL : &x, below, &child);
	if (r)
		r = ovl_change_failed(&w->out, r, "look below", err);
	ovl_xattrs_release(&x);
	if (!r)
		r = walk_dir(w, &child, err);
	frame_release(w, &child);
	return r;
}

static int visit_upper(struct walk *w, struct frame *f, const struct ovl_name *n, struct err *err)
{
	struct ovl_below below cleanup_below = OVL_BELOW_INIT;
	struct ovl_dirfd *d cleanup_dirfd = NULL;
	struct ovl_source from = {.name = n->name};
	struct stat st;
	int r = ovl_real_open(w->fds, &frame_chain, f, w->upper_fd, &d);

	if (!r)
		r = upper_stat(w, d->fd, n->name, &st);
	/* Removed since it was listed: the mount is in use. */
	if (r == -ENOENT)
		return 0;
	if (!r)
		r = look_below(w, &f->below, n->name, &below);
	if (r)
		return ovl_change_failed(&w->out, r, "read", err);
	from.fd = d->fd;
	return emit_tree(w, f, n->name, &from, &st, &below, err);
}

/* The copy that all names of a lower file lead to. */
static int visit_link(struct walk *w, struct frame *f, uint64_t number, struct ovl_below *below,
		      struct err *err)
{
	struct ovl_source from = {.fd = w->out.links_fd};
	char name[24];
	struct stat st;
	int r;

	snprintf(name, sizeof(name), "%" PRIu64, number);
	from.name = name;
	r = upper_stat(w, from.fd, name, &st);
	if (r == -ENOENT)
		return 0;
	if (r)
		return ovl_change_failed(&w->out, r, "read", err);
	/* Its own entry there is a name as well: whatever the upper has is one more. */
	if (st.st_nlink < 2)
		st.st_nlink = 2;
	return emit_tree(w, f, name, &from, &st, below, err);
}

/* Something of a lower layer that came here with a directory that was moved. */
static int visit_lower(struct walk *w, struct frame *f, const struct ovl_name *n, struct err *err)
{
	struct ovl_below below cleanup_below = OVL_BELOW_INIT, here cleanup_below = OVL_BELOW_INIT;
	struct ovl_source from = {.fd = -1};
	uint64_t number;
	int r = look_below(w, &f->below, n->name, &below);

	if (!r)
		r = look_below(w, &f->merge, n->name, &here);
	if (r)
		return ovl_change_failed(&w->out, r, "look below", err);
	if (!here.found)
		return 0;
	from.lower = here.set.objs[0];
	if (!ovl_below_is_dir(&here))
		from.data = here.set.objs[here.set.n - 1];
	number = ovl_lower_number(from.lower->layer->batch, here.st.st_ino);
	if (!S_ISDIR(here.st.st_mode) && ovl_links_has(&w->links, number))
		return visit_link(w, f, number, &below, err);
	return emit_tree(w, f, n->name, &from, &here.st, &below, err);
}

/* A name of a copied-up hard link that the upper does not have, or a directory on the way to one.
 */
static int visit_unseen(struct walk *w, struct frame *f, const struct ovl_name *n, struct err *err)
{
	struct ovl_below below cleanup_below = OVL_BELOW_INIT;
	struct frame child = {.parent = f, .name = n->name};
	int r = look_below(w, &f->below, n->name, &below);

	if (r)
		return ovl_change_failed(&w->out, r, "look below", err);
	if (!below.found)
		return 0;
	if (!ovl_below_is_dir(&below))
		return visit_link(w, f, n->ino, &below, err);
	child.below = below.set;
	below.set = (struct ovl_dirset){NULL, 0};
	r = walk_dir(w, &child, err);
	frame_release(w, &child);
	return r;
}

static int walk_dir(struct walk *w, struct frame *f, struct err *err)
{
	struct ovl_names names cleanup_names = {.n = 0};
	size_t at = w->out.path.len;
	int r = 0;

	if (f->upper)
		r = upper_names(w, f, &names);
	if (!r)
		r = f->fresh ? ovl_stack_names(&f->merge, &names) : link_names(w, &names);
	if (r)
		return ovl_change_failed(&w->out, r, "read directory", err);
	ovl_names_sort(&names);
	r = hide_below(w, f, &names, at, err);
	if (!r)
		r = emit_deletions(w, f, &names, at, err);
	for (size_t i = 0; i < names.n && !r; i++) {
		const struct ovl_name *n = &names.v[i];

		if (n->whiteout)
			continue;
		r = enter(w, at, n->name, err);
		if (r)
			break;
		if (n->rank == 0)
			r = visit_upper(w, f, n, err);
		else if (f->fresh)
			r = visit_lower(w, f, n, err);
		else
			r = visit_unseen(w, f, n, err);
	}
	strbuf_truncate(&w->out.path, at);
	return r;
}

/* Does the root differ from the image's? Times alone do not count when nothing is in the upper. */
static int root_differs(struct walk *w, struct frame *root, const struct stat *st,
			const struct ovl_xattrs *x, bool *ret)
{
	struct ovl_xattrs old cleanup_xattrs = {.n = 0};
	struct ovl_names names cleanup_names = {.n = 0};
	struct ovl_source from = {.fd = -1};
	struct stat low;
	int r;

	*ret = true;
	if (root->below.n == 0)
		return 0;
	from.lower = root->below.objs[0];
	r = ovl_lower_stat(from.lower, &low);
	if (!r)
		r = ovl_xattrs_read(&from, &old);
	if (!r)
		r = upper_names(w, root, &names);
	if (r)
		return r;
	*ret = low.st_mode != st->st_mode || low.st_uid != st->st_uid || low.st_gid != st->st_gid ||
	       !ovl_xattrs_equal(&old, x) ||
	       (names.n > 0 && (low.st_mtim.tv_sec != st->st_mtim.tv_sec ||
				low.st_mtim.tv_nsec != st->st_mtim.tv_nsec));
	return 0;
}

static int walk_root(struct walk *w, struct err *err)
{
	struct frame root = {.upper = true};
	struct ovl_xattrs x cleanup_xattrs = {.n = 0};
	const struct ovl_source from = {.fd = w->upper_fd, .name = ""};
	bool differs = false;
	struct stat st;
	int r = ovl_stack_root(&w->stack, &root.below);

	if (!r)
		r = upper_stat(w, w->upper_fd, "", &st);
	if (!r)
		r = ovl_xattrs_read(&from, &x);
	if (!r)
		r = root_differs(w, &root, &st, &x, &differs);
	if (r)
		r = ovl_change_failed(&w->out, r, "read", err);
	root.fresh = x.opaque;
	if (!r && differs)
		r = ovl_emit_object(&w->out, root.below.n ? OVL_CHANGED : OVL_ADDED, &from, &st, &x,
				    err);
	if (!r)
		r = walk_dir(w, &root, err);
	frame_release(w, &root);
	return r;
}

static int open_upper(struct walk *w, const struct ovl_config *c, struct err *err)
{
	int work cleanup_close = -1;
	int r;

	w->upper_fd = open(c->upper, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (w->upper_fd < 0)
		return err_set(err, -errno, "open upper directory '%s'", c->upper);
	w->override = ovl_override_find(w->upper_fd);
	if (!c->work)
		return 0;
	work = open(c->work, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (work < 0)
		return errno == ENOENT ? 0 : err_set(err, -errno, "open '%s'", c->work);
	w->out.links_fd = ovl_sys_open(work, "links", O_RDONLY | O_DIRECTORY, 0);
	/* Never mounted yet, or by the kernel. */
	if (w->out.links_fd == -ENOENT)
		return 0;
	r = w->out.links_fd < 0 ? w->out.links_fd : ovl_links_read(&w->links, w->out.links_fd);
	if (!r)
		r = ovl_links_scan(&w->links, &w->stack);
	return r ? err_set(err, r, "read the hard links in '%s/links'", c->work) : 0;
}

int ovl_changes_walk(const struct ovl_config *c, const struct ovl_changes_options *opt,
		     ovl_change_fn fn, void *ctx, struct err *err)
{
	struct walk w = {
		.out = {.fn = fn,
			.ctx = ctx,
			.base = c->ino_batch << 32,
			.upper_batch = (unsigned int)c->n_lowers,
			.links_fd = -1},
		.upper_fd = -1,
		.expand_opaque = opt && opt->expand_opaque,
	};
	int r = 0;

	strbuf_init(&w.out.path);
	if (c->upper) {
		w.fds = ovl_real_cache_new(FDS_MAX);
		r = w.fds ? ovl_stack_open(&w.stack, c, w.fds, err)
			  : err_set(err, -ENOMEM, "changes");
		if (!r)
			r = open_upper(&w, c, err);
		if (!r)
			r = walk_root(&w, err);
	}
	ovl_emitter_release(&w.out);
	ovl_links_release(&w.links);
	ovl_stack_close(&w.stack);
	if (w.fds)
		ovl_real_cache_free(w.fds);
	closep(&w.upper_fd);
	closep(&w.out.links_fd);
	return r;
}
