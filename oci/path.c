/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/path.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/strbuf.h"
#include "oci/limits.h"
#include "oci/quote.h"
#include "overlay/whiteout.h"

/* A walk: words still to be taken, the next one last. */
struct walk {
	struct erofs_tree *tree; /* NULL: only words */
	const struct oci_limits *limits;
	struct oci_place *place;
	struct oci_word *todo;
	size_t n_todo, cap_todo;
	unsigned int followed;
	size_t steps;
};

/* Words taken for one path, those of symlinks on the way included: bounds the time it can cost. */
#define STEPS_MAX 8192

void oci_place_release(struct oci_place *p)
{
	for (size_t i = 0; i < p->n_texts; i++)
		free(p->texts[i]);
	free(p->texts);
	free(p->words);
	memset(p, 0, sizeof(*p));
}

static int push_word(struct oci_word **words, size_t *n, size_t *cap, const struct oci_word *w)
{
	if (*n == *cap) {
		size_t more = *cap ? *cap * 2 : 16;
		struct oci_word *p = reallocarray(*words, more, sizeof(*p));

		if (!p)
			return -ENOMEM;
		*words = p;
		*cap = more;
	}
	(*words)[(*n)++] = *w;
	return 0;
}

/* Keeps @text until the place is released. */
static int keep_text(struct oci_place *p, char *text)
{
	if (p->n_texts == p->cap_texts) {
		size_t more = p->cap_texts ? p->cap_texts * 2 : 4;
		char **texts = reallocarray(p->texts, more, sizeof(*texts));

		if (!texts)
			return -ENOMEM;
		p->texts = texts;
		p->cap_texts = more;
	}
	p->texts[p->n_texts++] = text;
	return 0;
}

static struct erofs_inode *parent_of(const struct walk *w)
{
	if (!w->tree)
		return NULL;
	if (w->place->n == 0)
		return erofs_tree_root(w->tree);
	return w->place->words[w->place->n - 1].inode;
}

/* Words in order onto the place; ".." takes the last one away, at the root nothing. */
static int append(struct walk *w, const char *name, size_t len, struct err *err)
{
	const struct erofs_inode *parent = parent_of(w);
	struct oci_word word = {.name = name, .len = len};
	struct oci_quoted q;

	if (len == 0 || (len == 1 && name[0] == '.'))
		return 0;
	if (len == 2 && name[0] == '.' && name[1] == '.') {
		if (w->place->n)
			w->place->n--;
		return 0;
	}
	if (len > OCI_NAME_MAX && !(len <= OCI_NAME_MAX + OVL_WH_PREFIX_LEN &&
				    memcmp(name, OVL_WH_PREFIX, OVL_WH_PREFIX_LEN) == 0))
		return err_msg(err, -EBADMSG, "name %s has more than %d bytes",
			       oci_quote_len(&q, name, len), OCI_NAME_MAX);
	if (++w->steps > STEPS_MAX)
		return err_msg(err, -EBADMSG, "symlinks on the way with too many directories");
	if (w->place->n >= w->limits->depth)
		return oci_limit_hit(err, "depth", w->limits->depth);
	if (parent && S_ISDIR(parent->mode))
		word.inode = erofs_dir_find(parent, name, len);
	if (push_word(&w->place->words, &w->place->n, &w->place->cap, &word) < 0)
		return err_set(err, -ENOMEM, "resolve path");
	return 0;
}

/* The words of @text onto what is to be done, so that the first comes next. */
static int todo_text(struct walk *w, const char *text, struct err *err)
{
	const char *end = text + strlen(text);

	while (end > text) {
		const char *p = end;
		struct oci_word word = {.name = NULL};

		while (p > text && p[-1] != '/')
			p--;
		word.name = p;
		word.len = (size_t)(end - p);
		if (word.len && push_word(&w->todo, &w->n_todo, &w->cap_todo, &word) < 0)
			return err_set(err, -ENOMEM, "resolve path");
		end = p > text ? p - 1 : p;
	}
	return 0;
}

static int follow(struct walk *w, const struct erofs_inode *link, struct err *err)
{
	char *text;

	if (++w->followed > OCI_SYMLINK_MAX)
		return err_msg(err, -EBADMSG, "symlink loop, or more than %d symlinks on the way",
			       OCI_SYMLINK_MAX);
	/* a later entry may replace the symlink while its words are still in use */
	text = strdup(link->target);
	if (!text || keep_text(w->place, text) < 0) {
		free(text);
		return err_set(err, -ENOMEM, "resolve path");
	}
	w->place->n = text[0] == '/' ? 0 : w->place->n - 1;
	return todo_text(w, text, err);
}

static int walk_on(struct walk *w, struct err *err)
{
	while (w->n_todo > 0) {
		struct oci_word word = w->todo[--w->n_todo];
		const struct erofs_inode *inode;
		struct oci_quoted q;
		int r = append(w, word.name, word.len, err);

		if (r < 0)
			return r;
		if (w->n_todo == 0 || w->place->n == 0)
			continue;
		inode = w->place->words[w->place->n - 1].inode;
		if (!inode || S_ISDIR(inode->mode) || erofs_inode_is_whiteout(inode))
			continue;
		if (!S_ISLNK(inode->mode))
			return err_msg(err, -EBADMSG, "its parent %s is no directory",
				       oci_quote_len(&q, word.name, word.len));
		r = follow(w, inode, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int oci_path_words(const char *path, const struct oci_limits *limits, struct oci_place *ret,
		   struct err *err)
{
	struct walk w = {.limits = limits, .place = ret};
	size_t len = strlen(path);
	int r = 0;

	if (len == 0)
		return err_msg(err, -EBADMSG, "empty name");
	if (len > OCI_PATH_MAX)
		return err_msg(err, -EBADMSG, "path of %zu bytes: at most %d are allowed", len,
			       OCI_PATH_MAX);
	for (const char *p = path; *p && r == 0;) {
		size_t n = strcspn(p, "/");

		r = append(&w, p, n, err);
		p += n;
		p += strspn(p, "/");
	}
	return r;
}

int oci_path_resolve(struct erofs_tree *tree, const char *path, const struct oci_limits *limits,
		     struct oci_place *ret, struct err *err)
{
	struct oci_place words cleanup_oci_place = OCI_PLACE_INIT;
	struct walk w = {.tree = tree, .limits = limits, .place = ret};
	int r = oci_path_words(path, limits, &words, err);

	if (r < 0)
		return r;
	for (size_t i = words.n; i > 0; i--) {
		if (push_word(&w.todo, &w.n_todo, &w.cap_todo, &words.words[i - 1]) < 0) {
			free(w.todo);
			return err_set(err, -ENOMEM, "resolve path");
		}
	}
	r = walk_on(&w, err);
	free(w.todo);
	return r;
}

char *oci_place_text(const struct oci_place *p)
{
	struct strbuf s CLEANUP(strbuf_release) = STRBUF_INIT;
	int r = 0;

	for (size_t i = 0; i < p->n && r == 0; i++) {
		if (i)
			r = strbuf_addc(&s, '/');
		if (r == 0)
			r = strbuf_add(&s, p->words[i].name, p->words[i].len);
	}
	return r < 0 ? NULL : strbuf_steal(&s);
}
