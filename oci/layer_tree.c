/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/layer_tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "oci/limits.h"
#include "oci/path.h"
#include "oci/quote.h"
#include "oci/xattr.h"
#include "overlay/whiteout.h"

#define WARNINGS_MAX	8 /* of a layer; the rest is counted */
#define XATTR_VALUE_MAX 65536 /* the kernel's XATTR_SIZE_MAX */

/* In ->scratch of an inode, until the tree is written. */
enum mark {
	MARK_WHITED = 1 << 0, /* the layer has a whiteout for its name, too */
	MARK_COUNTED = 1 << 1,
};

struct oci_layer_tree {
	struct erofs_tree *tree;
	const struct oci_limits *limits;
	uint64_t entries; /* members and implied directories */
	uint64_t meta_bytes;
	unsigned int warnings;
	struct erofs_inode **links; /* to lower layers: looked at again at the end */
	size_t n_links, cap_links;
};

struct oci_layer_tree *oci_layer_tree_new(const struct oci_limits *limits)
{
	struct oci_layer_tree *lt = calloc(1, sizeof(*lt));

	if (!lt)
		return NULL;
	lt->limits = limits;
	lt->tree = erofs_tree_new();
	if (!lt->tree) {
		free(lt);
		return NULL;
	}
	/* until the layer has an entry for it */
	erofs_tree_root(lt->tree)->flags |= EROFS_I_IMPLIED;
	return lt;
}

void oci_layer_tree_free(struct oci_layer_tree *lt)
{
	if (!lt)
		return;
	erofs_tree_free(lt->tree);
	free(lt->links);
	free(lt);
}

struct erofs_tree *oci_layer_tree_get(struct oci_layer_tree *lt)
{
	return lt->tree;
}

static int no_memory(struct err *err)
{
	(void)err_set(err, -ENOMEM, "read layer");
	return -ENOMEM;
}

static int count_entry(struct oci_layer_tree *lt, struct err *err)
{
	if (++lt->entries > lt->limits->entries)
		return oci_limit_hit(err, "entries", lt->limits->entries);
	return 0;
}

static int count_meta(struct oci_layer_tree *lt, uint64_t n, struct err *err)
{
	lt->meta_bytes += n;
	if (lt->meta_bytes > lt->limits->meta_bytes)
		return oci_limit_hit(err, "meta-bytes", lt->limits->meta_bytes);
	return 0;
}

static void warn_dropped(struct oci_layer_tree *lt, const char *path, const char *xattr,
			 const char *why)
{
	struct oci_quoted p, x;

	if (++lt->warnings <= WARNINGS_MAX)
		log_warn("%s: xattr %s dropped: %s", oci_quote(&p, path), oci_quote(&x, xattr),
			 why);
}

static int add_name(struct oci_layer_tree *lt, struct erofs_inode *dir, const struct oci_word *w,
		    struct erofs_inode *inode, struct err *err)
{
	int r = count_meta(lt, w->len, err);

	if (r < 0)
		return r;
	r = erofs_dir_add(lt->tree, dir, w->name, w->len, inode);
	if (r == -EINVAL)
		return err_msg(err, -EBADMSG, "a name that is none");
	return r < 0 ? err_set(err, r, "add to layer") : 0;
}

static int remove_name(struct oci_layer_tree *lt, struct erofs_inode *dir, const struct oci_word *w,
		       struct err *err)
{
	int r = erofs_dir_remove(lt->tree, dir, w->name, w->len);

	return r < 0 ? err_set(err, r, "replace in layer") : 0;
}

static bool is_whited(const struct erofs_inode *inode)
{
	return erofs_inode_is_whiteout(inode) || (inode->scratch & MARK_WHITED);
}

/* The directory that the place is in; what is missing of it is implied. */
static int make_parents(struct oci_layer_tree *lt, const struct oci_place *place,
			struct erofs_inode **ret, struct err *err)
{
	struct erofs_inode *dir = erofs_tree_root(lt->tree);

	for (size_t i = 0; i + 1 < place->n; i++) {
		const struct oci_word *w = &place->words[i];
		struct erofs_inode *inode = w->inode, *old = NULL;
		int r;

		if (inode && erofs_inode_is_whiteout(inode)) {
			old = inode;
			inode = NULL;
			r = remove_name(lt, dir, w, err);
			if (r < 0)
				return r;
		}
		if (!inode) {
			inode = erofs_inode_new(lt->tree, S_IFDIR | 0755);
			if (!inode)
				return no_memory(err);
			inode->flags |= EROFS_I_IMPLIED;
			if (old)
				inode->scratch |= MARK_WHITED;
			r = count_entry(lt, err);
			if (r == 0)
				r = add_name(lt, dir, w, inode, err);
			if (r < 0)
				return r;
		}
		dir = inode;
	}
	*ret = dir;
	return 0;
}

static int put_xattr(struct oci_layer_tree *lt, struct erofs_inode *inode, const char *name,
		     const void *value, size_t len, uint64_t *total, struct err *err)
{
	struct oci_quoted q;
	int r;

	if (strlen(name) > OCI_NAME_MAX || len > XATTR_VALUE_MAX)
		return err_msg(err, -EBADMSG, "xattr %s is larger than the kernel allows",
			       oci_quote(&q, name));
	*total += strlen(name) + len;
	if (*total > lt->limits->xattr_bytes)
		return oci_limit_hit(err, "xattr-bytes", lt->limits->xattr_bytes);
	r = count_meta(lt, strlen(name) + len, err);
	if (r < 0)
		return r;
	r = erofs_inode_set_xattr(lt->tree, inode, name, value, len);
	return r < 0 ? no_memory(err) : 0;
}

static int put_acl(struct oci_layer_tree *lt, struct erofs_inode *inode, const char *text,
		   bool is_default, uint64_t *total, struct err *err)
{
	struct strbuf acl CLEANUP(strbuf_release) = STRBUF_INIT;
	int r;

	if (!text || S_ISLNK(inode->mode) || (is_default && !S_ISDIR(inode->mode)))
		return 0;
	r = oci_acl_from_text(text, is_default, &acl, err);
	if (r < 0 || acl.len == 0)
		return r;
	return put_xattr(lt, inode, is_default ? OCI_ACL_DEFAULT : OCI_ACL_ACCESS, acl.s, acl.len,
			 total, err);
}

static int put_xattrs(struct oci_layer_tree *lt, struct erofs_inode *inode,
		      const struct oci_tar_member *m, struct err *err)
{
	uint64_t total = 0;
	int r = put_acl(lt, inode, m->acl_access, false, &total, err);

	if (r == 0)
		r = put_acl(lt, inode, m->acl_default, true, &total, err);
	for (const struct oci_pax_xattr *x = m->xattrs; x && r == 0; x = x->next) {
		const char *why = "";

		if (x->len == 0)
			continue;
		switch (oci_xattr_judge(x->name, inode->mode, &why)) {
		case OCI_XATTR_DROP:
			continue;
		case OCI_XATTR_WARN:
			warn_dropped(lt, m->path, x->name, why);
			continue;
		case OCI_XATTR_KEEP:
			break;
		}
		if (strncmp(x->name, "system.", 7) == 0 && !oci_acl_is_valid(x->value, x->len))
			return err_msg(err, -EBADMSG, "xattr %s is no ACL", x->name);
		r = put_xattr(lt, inode, x->name, x->value, x->len, &total, err);
	}
	return r;
}

/* Metadata of the entry, onto a new or known inode. */
static int put_metadata(struct oci_layer_tree *lt, struct erofs_inode *inode,
			const struct oci_tar_member *m, struct err *err)
{
	/* Linux has no permissions on symlinks: they always read 0777 */
	uint32_t perm = S_ISLNK(inode->mode) ? 0777 : m->mode;

	inode->mode = (inode->mode & S_IFMT) | perm;
	inode->uid = m->uid;
	inode->gid = m->gid;
	inode->mtime = m->mtime;
	inode->mtime_nsec = m->mtime_nsec;
	return put_xattrs(lt, inode, m, err);
}

static int new_inode(struct oci_layer_tree *lt, const struct oci_tar_member *m, uint64_t side,
		     struct erofs_inode **ret, struct err *err)
{
	static const uint32_t types[] = {
		[OCI_TAR_REG] = S_IFREG,  [OCI_TAR_LINK] = S_IFREG,  [OCI_TAR_SYMLINK] = S_IFLNK,
		[OCI_TAR_CHAR] = S_IFCHR, [OCI_TAR_BLOCK] = S_IFBLK, [OCI_TAR_DIR] = S_IFDIR,
		[OCI_TAR_FIFO] = S_IFIFO,
	};
	struct erofs_inode *inode = erofs_inode_new(lt->tree, types[m->type]);
	bool stored = m->size > 0;
	int r;

	if (!inode)
		return no_memory(err);
	if (m->type == OCI_TAR_SYMLINK) {
		if (m->link[0] == '\0' || strlen(m->link) > OCI_PATH_MAX)
			return err_msg(err, -EBADMSG,
				       m->link[0] ? "symlink target too long" : "empty symlink");
		r = count_meta(lt, strlen(m->link), err);
		if (r < 0)
			return r;
		if (erofs_inode_set_target(lt->tree, inode, m->link) < 0)
			return no_memory(err);
	} else if (m->type == OCI_TAR_REG) {
		if (m->sparse) {
			stored = false;
			for (size_t i = 0; i < m->n_map; i++)
				stored = stored || m->map[i].len > 0;
		}
		inode->size = m->size;
		inode->device = !stored ? 0 : m->sparse ? OCI_DEVICE_SIDE : OCI_DEVICE_DATA;
		inode->offset = !stored ? 0 : m->sparse ? side : m->data;
	} else if (m->type == OCI_TAR_CHAR || m->type == OCI_TAR_BLOCK) {
		inode->rdev_major = m->major;
		inode->rdev_minor = m->minor;
	}
	*ret = inode;
	return 0;
}

/* A whiteout hides what lower layers have under the name; what this layer has there stays. */
static int hide(struct oci_layer_tree *lt, struct erofs_inode *dir, const char *name, size_t len,
		struct err *err)
{
	struct oci_word w = {.name = name, .len = len};
	struct erofs_inode *inode = erofs_dir_find(dir, name, len);

	if (inode) {
		if (!erofs_inode_is_whiteout(inode))
			inode->scratch |= MARK_WHITED;
		return 0;
	}
	inode = erofs_inode_new(lt->tree, S_IFCHR);
	return inode ? add_name(lt, dir, &w, inode, err) : no_memory(err);
}

static bool same_place(const struct oci_place *a, const struct oci_place *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++) {
		if (a->words[i].len != b->words[i].len ||
		    memcmp(a->words[i].name, b->words[i].name, a->words[i].len) != 0)
			return false;
	}
	return true;
}

/* The inode a hard link leads to: one of this layer, or a new one that stands for a lower layer's.
 */
static int link_inode(struct oci_layer_tree *lt, const struct oci_tar_member *m,
		      const struct oci_place *place, struct erofs_inode **ret, struct err *err)
{
	struct oci_place to cleanup_oci_place = OCI_PLACE_INIT;
	struct erofs_inode *inode;
	char *text cleanup_free = NULL;
	struct oci_quoted q;
	int r;

	r = oci_path_resolve(lt->tree, m->link, lt->limits, &to, err);
	if (r < 0)
		return err_wrap(err, r, "hard link to %s", oci_quote(&q, m->link));
	if (same_place(place, &to))
		return err_msg(err, -EBADMSG, "a hard link to itself");
	inode = to.n ? to.words[to.n - 1].inode : erofs_tree_root(lt->tree);
	if (inode && S_ISDIR(inode->mode))
		return err_msg(err, -EBADMSG, "a hard link to the directory %s",
			       oci_quote(&q, m->link));
	if (inode && erofs_inode_is_whiteout(inode))
		return err_msg(err, -EBADMSG, "a hard link to %s, which the layer whites out",
			       oci_quote(&q, m->link));
	if (inode) {
		*ret = inode;
		return 0;
	}
	text = oci_place_text(&to);
	inode = text ? erofs_inode_new(lt->tree, S_IFREG) : NULL;
	if (!inode || erofs_inode_set_target(lt->tree, inode, text) < 0)
		return no_memory(err);
	r = count_meta(lt, strlen(text), err);
	if (r < 0)
		return r;
	inode->flags |= EROFS_I_LINK;
	if (lt->n_links == lt->cap_links) {
		size_t more = lt->cap_links ? lt->cap_links * 2 : 64;
		struct erofs_inode **p =
			reallocarray(lt->links, more, sizeof(struct erofs_inode *));

		if (!p)
			return no_memory(err);
		lt->links = p;
		lt->cap_links = more;
	}
	lt->links[lt->n_links++] = inode;
	*ret = inode;
	return 0;
}

static int put_root(struct oci_layer_tree *lt, const struct oci_tar_member *m, struct err *err)
{
	struct erofs_inode *root = erofs_tree_root(lt->tree);

	if (m->type != OCI_TAR_DIR)
		return err_msg(err, -EBADMSG, "the root can only be a directory");
	root->flags &= (uint16_t)~EROFS_I_IMPLIED;
	root->xattrs = NULL;
	return put_metadata(lt, root, m, err);
}

/* An entry that is what it says. The last one of a name wins; a directory keeps its children. */
static int put_entry(struct oci_layer_tree *lt, const struct oci_tar_member *m, uint64_t side,
		     const struct oci_place *place, struct err *err)
{
	const struct oci_word *w = &place->words[place->n - 1];
	struct erofs_inode *dir, *inode = NULL, *old;
	bool whited;
	int r;

	if (m->type == OCI_TAR_LINK)
		r = link_inode(lt, m, place, &inode, err);
	else
		r = make_parents(lt, place, &dir, err);
	if (r == 0 && m->type == OCI_TAR_LINK)
		r = make_parents(lt, place, &dir, err);
	if (r < 0)
		return r;
	old = erofs_dir_find(dir, w->name, w->len);
	if (m->type == OCI_TAR_DIR && old && S_ISDIR(old->mode)) {
		old->flags &= (uint16_t)~EROFS_I_IMPLIED;
		old->xattrs = NULL;
		return put_metadata(lt, old, m, err);
	}
	whited = old && is_whited(old);
	if (!inode)
		r = new_inode(lt, m, side, &inode, err);
	if (r < 0 || !inode)
		return r < 0 ? r : -ENOMEM;
	r = put_metadata(lt, inode, m, err);
	if (r < 0 || old == inode)
		return r;
	if (old) {
		r = remove_name(lt, dir, w, err);
		if (r < 0)
			return r;
	}
	if (whited && S_ISDIR(inode->mode))
		inode->scratch |= MARK_WHITED;
	return add_name(lt, dir, w, inode, err);
}

/* Are the directories of the path (by its words) no whiteouts? @ret_ignore: it is AUFS bookkeeping.
 */
static int check_parents(const struct oci_place *words, bool *ret_ignore, struct err *err)
{
	const char *name;
	size_t len;

	*ret_ignore = false;
	for (size_t i = 0; i + 1 < words->n; i++) {
		const struct oci_word *w = &words->words[i];

		switch (ovl_wh_classify(w->name, w->len, &name, &len)) {
		case OVL_WH_NONE:
			continue;
		case OVL_WH_META:
			*ret_ignore = true;
			return 0;
		case OVL_WH_FILE:
		case OVL_WH_OPQ:
		case OVL_WH_BAD:
			return err_msg(err, -EBADMSG, "an entry below a whiteout");
		}
	}
	return 0;
}

int oci_layer_tree_add(struct oci_layer_tree *lt, const struct oci_tar_member *m, uint64_t side,
		       struct err *err)
{
	struct oci_place place cleanup_oci_place = OCI_PLACE_INIT;
	enum ovl_wh_kind kind = OVL_WH_NONE;
	struct erofs_inode *dir;
	const char *hidden = NULL;
	size_t hidden_len = 0;
	int r = count_entry(lt, err);

	if (r < 0)
		return r;
	if (strstr(m->path, OVL_WH_PREFIX)) {
		struct oci_place words cleanup_oci_place = OCI_PLACE_INIT;
		bool ignore = false;

		r = oci_path_words(m->path, lt->limits, &words, err);
		if (r == 0)
			r = check_parents(&words, &ignore, err);
		if (r < 0 || ignore)
			return r;
		if (words.n)
			kind = ovl_wh_classify(words.words[words.n - 1].name,
					       words.words[words.n - 1].len, &hidden, &hidden_len);
	}
	if (kind == OVL_WH_META)
		return 0;
	if (kind == OVL_WH_BAD)
		return err_msg(err, -EBADMSG, "a whiteout that names nothing");
	r = oci_path_resolve(lt->tree, m->path, lt->limits, &place, err);
	if (r < 0)
		return r;
	if (place.n == 0)
		return put_root(lt, m, err);
	if (kind == OVL_WH_NONE && m->type == OCI_TAR_CHAR && m->major == 0 && m->minor == 0) {
		kind = OVL_WH_FILE;
		hidden = place.words[place.n - 1].name;
		hidden_len = place.words[place.n - 1].len;
	}
	if (kind == OVL_WH_NONE)
		return put_entry(lt, m, side, &place, err);
	r = make_parents(lt, &place, &dir, err);
	if (r < 0)
		return r;
	if (kind == OVL_WH_OPQ) {
		dir->flags |= EROFS_I_OPAQUE;
		return 0;
	}
	return hide(lt, dir, hidden, hidden_len, err);
}

struct settle {
	struct oci_layer_tree *lt;
	struct erofs_inode *dir;
	uint64_t *inodes;
	bool substance; /* something of the layer is here, not only marks */
	struct oci_word *vanish; /* to be whiteouts again */
	size_t n_vanish, cap_vanish;
};

static int settle_dir(struct oci_layer_tree *lt, struct erofs_inode *dir, uint64_t *inodes,
		      bool *ret_substance);

/*
 * A directory whose name the layer whites out, too: with something new in it, it hides the lower
 * one and is the layer's own; without, the whiteout alone is left.
 */
static int settle_child(void *ctx, const char *name, size_t len, struct erofs_inode *inode)
{
	struct settle *s = ctx;
	bool substance = true;
	uint64_t before;
	int r;

	if (!(inode->scratch & MARK_COUNTED))
		++*s->inodes;
	inode->scratch |= MARK_COUNTED;
	if (!S_ISDIR(inode->mode)) {
		s->substance = s->substance || !erofs_inode_is_whiteout(inode);
		return 0;
	}
	before = *s->inodes;
	r = settle_dir(s->lt, inode, s->inodes, &substance);
	if (r < 0)
		return r;
	substance = substance || !(inode->flags & EROFS_I_IMPLIED);
	s->substance = s->substance || substance;
	if (!(inode->scratch & MARK_WHITED))
		return 0;
	if (substance) {
		inode->flags |= EROFS_I_OPAQUE;
		inode->flags &= (uint16_t)~EROFS_I_IMPLIED;
		return 0;
	}
	*s->inodes = before; /* the marks in it go with it */
	if (s->n_vanish == s->cap_vanish) {
		size_t more = s->cap_vanish ? s->cap_vanish * 2 : 8;
		struct oci_word *p = reallocarray(s->vanish, more, sizeof(*p));

		if (!p)
			return -ENOMEM;
		s->vanish = p;
		s->cap_vanish = more;
	}
	s->vanish[s->n_vanish++] = (struct oci_word){.name = name, .len = len};
	return 0;
}

/* Recursive: as deep as the budget "depth", which is at most 4096. */
static int settle_dir(struct oci_layer_tree *lt, struct erofs_inode *dir, uint64_t *inodes,
		      bool *ret_substance)
{
	struct settle s = {.lt = lt, .dir = dir, .inodes = inodes};
	int r = erofs_dir_each(dir, settle_child, &s);

	for (size_t i = 0; i < s.n_vanish && r == 0; i++) {
		const struct oci_word *w = &s.vanish[i];
		struct erofs_inode *mark = erofs_inode_new(lt->tree, S_IFCHR);

		r = mark ? erofs_dir_remove(lt->tree, dir, w->name, w->len) : -ENOMEM;
		if (r == 0)
			r = erofs_dir_add(lt->tree, dir, w->name, w->len, mark);
	}
	free(s.vanish);
	*ret_substance = s.substance;
	return r;
}

/* A link to a lower layer's file: is it one still, now that the whole layer is known? */
static int check_link(struct oci_layer_tree *lt, const struct erofs_inode *link, struct err *err)
{
	const struct erofs_inode *at = erofs_tree_root(lt->tree);
	bool hidden = (at->flags & EROFS_I_OPAQUE) != 0;
	struct oci_quoted q;

	for (const char *p = link->target; *p;) {
		size_t n = strcspn(p, "/");

		at = erofs_dir_find(at, p, n);
		if (!at)
			break;
		p += n;
		p += strspn(p, "/");
		if (!S_ISDIR(at->mode)) {
			if (*p == '\0' && !erofs_inode_is_whiteout(at))
				return err_msg(err, -EBADMSG,
					       "a hard link to %s, which comes later in the layer",
					       oci_quote(&q, link->target));
			hidden = true;
			break;
		}
		if (*p == '\0')
			return err_msg(err, -EBADMSG, "a hard link to the directory %s",
				       oci_quote(&q, link->target));
		hidden = hidden || (at->flags & EROFS_I_OPAQUE);
	}
	if (hidden)
		return err_msg(err, -EBADMSG, "a hard link to %s, which the layer hides",
			       oci_quote(&q, link->target));
	return 0;
}

int oci_layer_tree_finish(struct oci_layer_tree *lt, uint64_t *ret_inodes, struct err *err)
{
	uint64_t inodes = 1;
	bool substance;
	int r = settle_dir(lt, erofs_tree_root(lt->tree), &inodes, &substance);

	if (r < 0)
		return err_set(err, r, "finish layer");
	for (size_t i = 0; i < lt->n_links; i++) {
		/* one whose name was given to something else counts no more */
		if (lt->links[i]->nlink == 0)
			continue;
		r = check_link(lt, lt->links[i], err);
		if (r < 0)
			return r;
	}
	if (lt->warnings > WARNINGS_MAX)
		log_warn("%u more xattrs dropped", lt->warnings - WARNINGS_MAX);
	*ret_inodes = inodes;
	return 0;
}
