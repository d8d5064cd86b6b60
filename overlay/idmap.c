/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/idmap.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ACL_USER    0x02
#define ACL_GROUP   0x08
#define ACL_VERSION 2

/* One field; the colon behind it is left. */
static int parse_number(const char **p, uint32_t *ret)
{
	uint32_t v = 0;

	if (**p < '0' || **p > '9')
		return -EINVAL;
	for (; **p >= '0' && **p <= '9'; (*p)++)
		if (__builtin_mul_overflow(v, 10u, &v) ||
		    __builtin_add_overflow(v, (uint32_t)(**p - '0'), &v))
			return -EINVAL;
	*ret = v;
	return 0;
}

static bool overlaps(uint32_t a, uint32_t b, uint32_t n_a, uint32_t n_b)
{
	return a < (uint64_t)b + n_b && b < (uint64_t)a + n_a;
}

/* Two ranges of one number would leave open who an owner is. */
static bool is_valid(const struct ovl_idmap *m, const struct ovl_id_range *r)
{
	/* 2^32-1 is no id. */
	if (r->count == 0 || (uint64_t)r->stored + r->count > UINT32_MAX ||
	    (uint64_t)r->shown + r->count > UINT32_MAX)
		return false;
	for (size_t i = 0; i < m->n; i++)
		if (overlaps(r->stored, m->ranges[i].stored, r->count, m->ranges[i].count) ||
		    overlaps(r->shown, m->ranges[i].shown, r->count, m->ranges[i].count))
			return false;
	return true;
}

static int add_range(struct ovl_idmap *m, const struct ovl_id_range *r)
{
	struct ovl_id_range *more;

	if (!is_valid(m, r))
		return -EINVAL;
	more = reallocarray(m->ranges, m->n + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	m->ranges = more;
	m->ranges[m->n++] = *r;
	return 0;
}

static int parse_all(struct ovl_idmap *m, const char *p)
{
	struct ovl_id_range range;
	uint32_t *const fields[] = {&range.stored, &range.shown, &range.count};
	size_t at = 0;
	int r;

	for (;;) {
		while (*p == ':')
			p++;
		if (!*p)
			return at == 0 ? 0 : -EINVAL;
		r = parse_number(&p, fields[at]);
		if (r == 0 && *p && *p != ':')
			r = -EINVAL;
		if (r == 0 && ++at == 3) {
			at = 0;
			r = add_range(m, &range);
		}
		if (r < 0)
			return r;
	}
}

int ovl_idmap_parse(struct ovl_idmap *m, const char *text)
{
	struct ovl_idmap more;
	int r = ovl_idmap_copy(m, &more);

	if (r == 0)
		r = parse_all(&more, text);
	if (r < 0) {
		ovl_idmap_release(&more);
		return r;
	}
	ovl_idmap_release(m);
	*m = more;
	return 0;
}

void ovl_idmap_release(struct ovl_idmap *m)
{
	free(m->ranges);
	m->ranges = NULL;
	m->n = 0;
}

int ovl_idmap_copy(const struct ovl_idmap *from, struct ovl_idmap *to)
{
	*to = *from;
	to->ranges = NULL;
	to->n = 0;
	if (from->n == 0)
		return 0;
	to->ranges = calloc(from->n, sizeof(*to->ranges));
	if (!to->ranges)
		return -ENOMEM;
	memcpy(to->ranges, from->ranges, from->n * sizeof(*to->ranges));
	to->n = from->n;
	return 0;
}

uint32_t ovl_idmap_show(const struct ovl_idmap *m, uint32_t stored)
{
	if (m->squash)
		return m->squash_to;
	if (m->n == 0)
		return stored;
	for (size_t i = 0; i < m->n; i++)
		if (stored - m->ranges[i].stored < m->ranges[i].count)
			return m->ranges[i].shown + (stored - m->ranges[i].stored);
	return OVL_ID_OVERFLOW;
}

int ovl_idmap_store(const struct ovl_idmap *m, uint32_t shown, uint32_t *ret)
{
	if (m->n == 0) {
		*ret = shown;
		return 0;
	}
	for (size_t i = 0; i < m->n; i++) {
		if (shown - m->ranges[i].shown < m->ranges[i].count) {
			*ret = m->ranges[i].stored + (shown - m->ranges[i].shown);
			return 0;
		}
	}
	return -EINVAL;
}

int ovl_idmap_acl(const struct ovl_idmap *uids, const struct ovl_idmap *gids, void *acl, size_t len,
		  bool store)
{
	unsigned char *p = acl;
	uint32_t version, id;
	uint16_t tag;

	if (len < sizeof(version) || (len - sizeof(version)) % 8 != 0)
		return 0;
	memcpy(&version, p, sizeof(version));
	if (le32toh(version) != ACL_VERSION)
		return 0;
	for (p += sizeof(version); p < (unsigned char *)acl + len; p += 8) {
		const struct ovl_idmap *m;

		memcpy(&tag, p, sizeof(tag));
		tag = le16toh(tag);
		if (tag != ACL_USER && tag != ACL_GROUP)
			continue;
		m = tag == ACL_USER ? uids : gids;
		memcpy(&id, p + 4, sizeof(id));
		id = le32toh(id);
		if (!store)
			id = ovl_idmap_show(m, id);
		else if (ovl_idmap_store(m, id, &id) < 0)
			return -EINVAL;
		id = htole32(id);
		memcpy(p + 4, &id, sizeof(id));
	}
	return 0;
}
