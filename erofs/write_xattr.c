/* SPDX-License-Identifier: Apache-2.0 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "erofs/write_private.h"

#define SHARED_MAX  255u /* of one inode: a byte counts them */
#define VALUE_MAX   65535u /* 16 bits */
#define LARGE_VALUE 512u /* out of the inode area even when nobody else has it */
#define LIST_MAX    4096u /* xattrs of one inode */

static const struct erofs_xattr mark_opaque = {.name = EROFS_MARK_OPAQUE, .value = "y", .len = 1};
static const struct erofs_xattr mark_implied = {.name = EROFS_MARK_IMPLIED, .value = "y", .len = 1};

static bool same_xattr(const struct erofs_xattr *a, const struct erofs_xattr *b)
{
	return a->len == b->len && strcmp(a->name, b->name) == 0 &&
	       (a->len == 0 || memcmp(a->value, b->value, a->len) == 0);
}

static int grow_table(struct xplan *p)
{
	size_t size = p->table ? (p->mask + 1) * 2 : 1024;
	uint32_t *table = calloc(size, sizeof(*table));

	if (!table)
		return -ENOMEM;
	free(p->table);
	p->table = table;
	p->mask = size - 1;
	for (size_t i = 0; i < p->n_values; i++) {
		size_t slot = p->values[i].hash & p->mask;

		while (table[slot])
			slot = (slot + 1) & p->mask;
		table[slot] = (uint32_t)i + 1;
	}
	return 0;
}

/* Index of the value that equals @x, a new one when there is none. */
static int intern(struct xplan *p, const struct erofs_xattr *x, uint32_t *ret, struct err *err)
{
	uint64_t hash = erofs_tree_hash(p->tree, x->name, strlen(x->name)) * 31 +
			erofs_tree_hash(p->tree, x->value, x->len);
	struct xvalue *v;
	const char *suffix;
	uint8_t index;
	size_t slot;

	if (p->n_values * 2 >= (p->table ? p->mask + 1 : 0) && grow_table(p) < 0)
		return err_set(err, -ENOMEM, "xattrs");
	for (slot = hash & p->mask; p->table[slot]; slot = (slot + 1) & p->mask) {
		v = &p->values[p->table[slot] - 1];
		if (v->hash == hash && same_xattr(v->x, x)) {
			v->count++;
			*ret = p->table[slot] - 1;
			return 0;
		}
	}
	if (erofs_xattr_split(x->name, &index, &suffix) < 0)
		return err_msg(err, -EOPNOTSUPP, "xattr '%s': no such name space", x->name);
	if (strlen(suffix) > 255 || x->len > VALUE_MAX)
		return err_msg(err, -EFBIG, "xattr '%s': over %u bytes", x->name, VALUE_MAX);
	if (p->n_values == p->cap_values) {
		size_t cap = p->cap_values ? p->cap_values * 2 : 256;

		v = cap < UINT32_MAX ? reallocarray(p->values, cap, sizeof(*v)) : NULL;
		if (!v)
			return err_set(err, -ENOMEM, "xattrs");
		p->values = v;
		p->cap_values = cap;
	}
	v = &p->values[p->n_values++];
	*v = (struct xvalue){.x = x,
			     .suffix = suffix,
			     .hash = hash,
			     .count = 1,
			     .index = index,
			     .suffix_len = (uint8_t)strlen(suffix)};
	v->size = (uint32_t)((sizeof(struct erofs_disk_xattr) + v->suffix_len + x->len + 3) & ~3u);
	p->table[slot] = (uint32_t)p->n_values;
	*ret = (uint32_t)p->n_values - 1;
	return 0;
}

static int by_name(const void *pa, const void *pb)
{
	const struct erofs_xattr *const *a = pa, *const *b = pb;

	return strcmp((*a)->name, (*b)->name);
}

static bool is_mark(const char *name)
{
	return strcmp(name, EROFS_MARK_OPAQUE) == 0 || strcmp(name, EROFS_MARK_IMPLIED) == 0 ||
	       strcmp(name, EROFS_MARK_LINK) == 0;
}

static int link_mark(struct xplan *p, const struct erofs_inode *inode,
		     const struct erofs_xattr **ret)
{
	struct erofs_xattr *x = erofs_tree_alloc(p->tree, sizeof(*x));

	if (!x)
		return -ENOMEM;
	*x = (struct erofs_xattr){
		.name = EROFS_MARK_LINK, .value = inode->target, .len = strlen(inode->target)};
	*ret = x;
	return 0;
}

/* The inode's xattrs and its marks, in order of their names. */
static int collect(struct xplan *p, const struct erofs_inode *inode,
		   const struct erofs_xattr ***ret, size_t *ret_n, struct err *err)
{
	const struct erofs_xattr **list cleanup_free = NULL;
	size_t n = 0;

	for (const struct erofs_xattr *x = inode->xattrs; x; x = x->next)
		n++;
	if (n > LIST_MAX)
		return err_msg(err, -EFBIG, "over %u xattrs", LIST_MAX);
	list = calloc(n + 3, sizeof(*list));
	if (!list)
		return err_set(err, -ENOMEM, "xattrs");
	n = 0;
	for (const struct erofs_xattr *x = inode->xattrs; x; x = x->next) {
		if (is_mark(x->name))
			return err_msg(err, -EINVAL, "xattr '%s' is reserved", x->name);
		list[n++] = x;
	}
	if (inode->flags & EROFS_I_OPAQUE)
		list[n++] = &mark_opaque;
	if (inode->flags & EROFS_I_IMPLIED)
		list[n++] = &mark_implied;
	if (inode->flags & EROFS_I_LINK && link_mark(p, inode, &list[n++]) < 0)
		return err_set(err, -ENOMEM, "xattrs");
	qsort(list, n, sizeof(*list), by_name);
	*ret = steal_ptr(&list);
	*ret_n = n;
	return 0;
}

int xplan_add(struct xplan *p, const struct erofs_inode *inode, size_t *ret_start, uint32_t *ret_n,
	      struct err *err)
{
	const struct erofs_xattr **list cleanup_free = NULL;
	size_t n = 0;
	int r;

	*ret_start = p->n_refs;
	*ret_n = 0;
	if (!inode->xattrs && !inode->flags)
		return 0;
	r = collect(p, inode, &list, &n, err);
	if (r < 0)
		return r;
	while (p->n_refs + n > p->cap_refs) {
		size_t cap = p->cap_refs ? p->cap_refs * 2 : 1024;
		uint32_t *refs = reallocarray(p->refs, cap, sizeof(*refs));

		if (!refs)
			return err_set(err, -ENOMEM, "xattrs");
		p->refs = refs;
		p->cap_refs = cap;
	}
	for (size_t i = 0; i < n; i++) {
		r = intern(p, list[i], &p->refs[p->n_refs + i], err);
		if (r < 0)
			return r;
	}
	p->n_refs += n;
	*ret_n = (uint32_t)n;
	return 0;
}

int xplan_finish(struct xplan *p, struct err *err)
{
	for (size_t i = 0; i < p->n_values; i++) {
		struct xvalue *v = &p->values[i];

		v->shared = v->count > 1 || v->size > LARGE_VALUE;
		if (!v->shared)
			continue;
		if (p->shared_size / 4 > UINT32_MAX)
			return err_msg(err, -EFBIG, "shared xattrs are over 16 GiB");
		v->id = (uint32_t)(p->shared_size / 4);
		p->shared_size += v->size;
	}
	return 0;
}

/* Reference @i is stored as an id: the first 255 shareable ones of an inode are. */
static bool takes_id(const struct xvalue *v, uint32_t *n_shared)
{
	if (!v->shared || *n_shared == SHARED_MAX)
		return false;
	(*n_shared)++;
	return true;
}

uint64_t xplan_body_size(const struct xplan *p, size_t start, uint32_t n)
{
	uint64_t size = sizeof(struct erofs_disk_xattr_body);
	uint32_t n_shared = 0;

	if (n == 0)
		return 0;
	for (uint32_t i = 0; i < n; i++) {
		const struct xvalue *v = &p->values[p->refs[start + i]];

		size += takes_id(v, &n_shared) ? 4 : v->size;
	}
	return size;
}

static void write_value(const struct xvalue *v, struct out *o)
{
	struct erofs_disk_xattr d = {.name_len = v->suffix_len,
				     .name_index = v->index,
				     .value_size = htole16((uint16_t)v->x->len)};
	uint64_t end = o->pos + v->size;

	out_write(o, &d, sizeof(d));
	out_write(o, v->suffix, v->suffix_len);
	out_write(o, v->x->value, v->x->len);
	out_pad(o, end);
}

void xplan_write_body(const struct xplan *p, size_t start, uint32_t n, struct out *o)
{
	struct erofs_disk_xattr_body body = {0};
	uint32_t ids[SHARED_MAX];
	uint32_t n_shared = 0;

	if (n == 0)
		return;
	for (uint32_t i = 0; i < n; i++) {
		const struct xvalue *v = &p->values[p->refs[start + i]];
		uint32_t k = n_shared;

		if (takes_id(v, &n_shared))
			ids[k] = htole32(v->id);
	}
	body.shared_count = (uint8_t)n_shared;
	out_write(o, &body, sizeof(body));
	out_write(o, ids, n_shared * sizeof(ids[0]));
	n_shared = 0;
	for (uint32_t i = 0; i < n; i++) {
		const struct xvalue *v = &p->values[p->refs[start + i]];

		if (!takes_id(v, &n_shared))
			write_value(v, o);
	}
}

void xplan_write_shared(const struct xplan *p, struct out *o)
{
	for (size_t i = 0; i < p->n_values; i++)
		if (p->values[i].shared)
			write_value(&p->values[i], o);
}

void xplan_release(struct xplan *p)
{
	free(p->values);
	free(p->table);
	free(p->refs);
}
