/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/strbuf.h"
#include "overlay/changes.h"
#include "overlay/source.h"
#include "overlay/stack.h"

/*
 * The parts of the walk over changes: what is below (changes_stack.c), an
 * object as an event (changes_emit.c), hard links of lower files that were
 * copied up (changes_links.c), and the walk itself (changes.c).
 */

/* The lower layers of @c, opened. @fds is borrowed for the stack's life. */
int ovl_stack_open(struct ovl_stack *s, const struct ovl_config *c, struct ovl_real_cache *fds,
		   struct err *err) OVL_MUST;
void ovl_stack_close(struct ovl_stack *s);
int ovl_stack_root(const struct ovl_stack *s, struct ovl_dirset *ret) OVL_MUST;

/* Names of a directory: of several sources, in byte order, each once, the lowest rank wins. */
struct ovl_name {
	char *name; /* owned */
	unsigned int rank; /* 0: the upper */
	unsigned int type; /* DT_ */
	bool whiteout;
	uint64_t ino; /* rank > 0: the layer's own number */
	unsigned int batch; /* rank > 0: of the layer */
};
struct ovl_names {
	struct ovl_name *v;
	size_t n, cap;
};
int ovl_names_add(struct ovl_names *l, const struct ovl_name *name) OVL_MUST; /* copies the name */
void ovl_names_sort(struct ovl_names *l);
const struct ovl_name *ovl_names_find(const struct ovl_names *l, const char *name); /* sorted */
void ovl_names_release(struct ovl_names *l);
#define cleanup_names __attribute__((cleanup(ovl_names_release)))
/* All of @dir, ranks from 1 on, not sorted yet; whiteouts too, so that they hide. */
int ovl_stack_names(const struct ovl_dirset *dir, struct ovl_names *names) OVL_MUST;

/* xattrs as they are stored, read once. */
struct ovl_xattrs {
	struct ovl_change_xattr *v; /* what shows, sorted, names unescaped */
	size_t n;
	bool opaque, metacopy; /* the union's own marks */
	char *redirect;
	char *names;
	char **values;
	size_t n_values;
};
int ovl_xattrs_read(const struct ovl_source *from, struct ovl_xattrs *ret) OVL_MUST;
void ovl_xattrs_release(struct ovl_xattrs *x);
#define cleanup_xattrs __attribute__((cleanup(ovl_xattrs_release)))
bool ovl_xattrs_equal(const struct ovl_xattrs *a, const struct ovl_xattrs *b);

/* Sends events; knows which inodes were sent before. */
struct ovl_emitter {
	ovl_change_fn fn;
	void *ctx;
	struct strbuf path; /* of the object at hand */
	void *inodes; /* tsearch(3) tree */
	uint64_t base; /* added to every number */
	unsigned int upper_batch;
	int links_fd; /* work/links, or -1 */
};
void ovl_emitter_release(struct ovl_emitter *e);
/* The mark at the path at hand. */
int ovl_emit_mark(struct ovl_emitter *e, enum ovl_change_kind kind, struct err *err) OVL_MUST;
/* The object @from at the path at hand; @st as it shows. */
int ovl_emit_object(struct ovl_emitter *e, enum ovl_change_kind kind, const struct ovl_source *from,
		    const struct stat *st, const struct ovl_xattrs *xattrs,
		    struct err *err) OVL_MUST;
int ovl_change_failed(struct ovl_emitter *e, int r, const char *what, struct err *err);

/*
 * Lower files with hard links that were copied up have their copy at work/links/NUMBER. Names of
 * theirs that nobody has looked at since are in the lower layers only.
 */
struct ovl_link {
	char *path; /* of the name, below the root; owned */
	uint64_t number;
};
struct ovl_links {
	uint64_t *numbers; /* sorted: what work/links has */
	size_t n_numbers;
	struct ovl_link *v; /* sorted by path: every name in the lower layers */
	size_t n;
};
int ovl_links_read(struct ovl_links *l, int links_fd) OVL_MUST;
/* Looks for all names; costs a walk over the whole image, so only done when there are numbers. */
int ovl_links_scan(struct ovl_links *l, const struct ovl_stack *s) OVL_MUST;
bool ovl_links_has(const struct ovl_links *l, uint64_t number);
/* The first whose path is not less than @path; ->n: none. */
size_t ovl_links_from(const struct ovl_links *l, const char *path);
void ovl_links_release(struct ovl_links *l);
static inline uint64_t ovl_lower_number(unsigned int batch, uint64_t ino)
{
	return (uint64_t)batch << 32 | ino;
}
