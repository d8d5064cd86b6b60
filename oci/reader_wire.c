/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/reader_wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "oci/limits.h"
#include "oci/tar_header.h"

#define ID_NONE 4294967295U

/* In front of what has no fixed length, in the order of the fields. Lengths count the NUL; 0: none.
 */
struct wire_member {
	uint64_t size, data;
	int64_t mtime;
	uint32_t type, mode, uid, gid, major, minor, mtime_nsec, sparse;
	uint32_t path, link, acl_access, acl_default;
	uint32_t n_map, n_xattrs;
};
struct wire_xattr {
	uint32_t name, len;
};

static uint32_t text_len(const char *text)
{
	return text ? (uint32_t)strlen(text) + 1 : 0;
}

static int put(struct strbuf *to, const void *data, size_t len)
{
	return len ? strbuf_add(to, data, len) : 0;
}

int reader_put_member(struct strbuf *to, const struct oci_tar_member *m)
{
	struct wire_member w = {
		.size = m->size,
		.data = m->data,
		.mtime = m->mtime,
		.type = m->type,
		.mode = m->mode,
		.uid = m->uid,
		.gid = m->gid,
		.major = m->major,
		.minor = m->minor,
		.mtime_nsec = m->mtime_nsec,
		.sparse = m->sparse,
		.path = text_len(m->path),
		.link = text_len(m->link),
		.acl_access = text_len(m->acl_access),
		.acl_default = text_len(m->acl_default),
		.n_map = m->sparse ? (uint32_t)m->n_map : 0,
	};
	struct reader_answer head = {.type = READER_MEMBER};
	size_t start = to->len;
	int r;

	for (const struct oci_pax_xattr *x = m->xattrs; x; x = x->next)
		w.n_xattrs++;
	r = put(to, &head, sizeof(head));
	if (r == 0)
		r = put(to, &w, sizeof(w));
	if (r == 0)
		r = put(to, m->path, w.path);
	if (r == 0)
		r = put(to, m->link, w.link);
	if (r == 0)
		r = put(to, m->acl_access, w.acl_access);
	if (r == 0)
		r = put(to, m->acl_default, w.acl_default);
	if (r == 0)
		r = put(to, m->map, w.n_map * sizeof(*m->map));
	for (const struct oci_pax_xattr *x = m->xattrs; x && r == 0; x = x->next) {
		struct wire_xattr wx = {.name = text_len(x->name), .len = (uint32_t)x->len};

		r = put(to, &wx, sizeof(wx));
		if (r == 0)
			r = put(to, x->name, wx.name);
		if (r == 0)
			r = put(to, x->value, wx.len);
	}
	if (r < 0)
		return r;
	head.n = (uint32_t)(to->len - start - sizeof(head));
	memcpy(to->s + start, &head, sizeof(head));
	return 0;
}

int reader_put_chunk(struct strbuf *to, const struct toc_chunk *c)
{
	struct reader_answer head = {.type = READER_CHUNK, .n = sizeof(*c)};
	int r = put(to, &head, sizeof(head));

	return r < 0 ? r : put(to, c, sizeof(*c));
}

int reader_get_chunk(const void *body, size_t len, struct toc_chunk *ret)
{
	if (len != sizeof(*ret))
		return -EPROTO;
	memcpy(ret, body, sizeof(*ret));
	return memchr(ret->digest, '\0', sizeof(ret->digest)) ? 0 : -EPROTO;
}

struct cursor {
	const char *p;
	size_t left;
};

static const void *take(struct cursor *c, size_t len)
{
	const void *p = c->p;

	if (len > c->left)
		return NULL;
	c->p += len;
	c->left -= len;
	return p;
}

/* @len counts the NUL, and there is no other. */
static int take_text(struct cursor *c, size_t len, const char **ret)
{
	const char *text;

	*ret = NULL;
	if (len == 0)
		return 0;
	text = take(c, len);
	if (!text || memchr(text, '\0', len) != text + len - 1)
		return -EPROTO;
	*ret = text;
	return 0;
}

static int take_map(struct cursor *c, size_t n, struct reader_member *ret)
{
	const void *from;
	uint64_t end = 0, sum = 0;

	if (n > c->left / sizeof(*ret->map))
		return -EPROTO;
	from = take(c, n * sizeof(*ret->map));
	if (!from)
		return -EPROTO;
	if (n > ret->cap_map) {
		struct oci_tar_segment *p = reallocarray(ret->map, n, sizeof(*p));

		if (!p)
			return -ENOMEM;
		ret->map = p;
		ret->cap_map = n;
	}
	if (n)
		memcpy(ret->map, from, n * sizeof(*ret->map));
	for (size_t i = 0; i < n; i++) {
		const struct oci_tar_segment *s = &ret->map[i];

		if (s->offset < end || s->offset > ret->m.size || s->len > ret->m.size - s->offset)
			return -EPROTO;
		end = s->offset + s->len;
		sum += s->len;
	}
	if (sum > OCI_TAR_SIZE_MAX - ret->m.data)
		return -EPROTO;
	ret->m.map = n ? ret->map : NULL;
	ret->m.n_map = n;
	return 0;
}

static int take_xattrs(struct cursor *c, size_t n, struct reader_member *ret)
{
	if (n > c->left / sizeof(struct wire_xattr))
		return -EPROTO;
	if (n > ret->cap_xattrs) {
		struct oci_pax_xattr *p = reallocarray(ret->xattrs, n, sizeof(*p));

		if (!p)
			return -ENOMEM;
		ret->xattrs = p;
		ret->cap_xattrs = n;
	}
	for (size_t i = 0; i < n; i++) {
		struct oci_pax_xattr *x = &ret->xattrs[i];
		const void *head = take(c, sizeof(struct wire_xattr)), *value;
		struct wire_xattr w;
		const char *name;

		if (!head)
			return -EPROTO;
		memcpy(&w, head, sizeof(w));
		if (w.name < 2 || take_text(c, w.name, &name) < 0)
			return -EPROTO;
		value = take(c, w.len);
		if (!value)
			return -EPROTO;
		/* not written to, whatever its type says */
		*x = (struct oci_pax_xattr){.next = i + 1 < n ? x + 1 : NULL,
					    .name = (char *)(uintptr_t)name,
					    .value = (void *)(uintptr_t)value,
					    .len = w.len};
	}
	ret->m.xattrs = n ? ret->xattrs : NULL;
	return 0;
}

static int check_numbers(const struct wire_member *w)
{
	bool file = w->type == OCI_TAR_REG;

	if (w->type > OCI_TAR_FIFO || w->mode > 07777 || w->uid == ID_NONE || w->gid == ID_NONE ||
	    w->major > 4095 || w->minor > 1048575 || w->mtime_nsec >= 1000000000 || w->sparse > 1)
		return -EPROTO;
	if (!file && (w->size || w->sparse || w->n_map))
		return -EPROTO;
	if (!w->sparse && w->n_map)
		return -EPROTO;
	if (w->path == 0 || w->size > OCI_TAR_SIZE_MAX || w->data > OCI_TAR_SIZE_MAX ||
	    w->data % TAR_BLOCK)
		return -EPROTO;
	if (!w->sparse && w->size > OCI_TAR_SIZE_MAX - w->data)
		return -EPROTO;
	if ((w->type == OCI_TAR_LINK || w->type == OCI_TAR_SYMLINK) && w->link == 0)
		return -EPROTO;
	return 0;
}

int reader_get_member(const void *body, size_t len, struct reader_member *ret)
{
	struct cursor c = {.p = body, .left = len};
	const void *head = take(&c, sizeof(struct wire_member));
	struct oci_tar_member *m = &ret->m;
	struct wire_member w;
	int r;

	if (!head)
		return -EPROTO;
	memcpy(&w, head, sizeof(w));
	r = check_numbers(&w);
	if (r < 0)
		return r;
	*m = (struct oci_tar_member){
		.type = (enum oci_tar_type)w.type,
		.mode = w.mode,
		.uid = w.uid,
		.gid = w.gid,
		.major = w.major,
		.minor = w.minor,
		.mtime = w.mtime,
		.mtime_nsec = w.mtime_nsec,
		.size = w.size,
		.data = w.data,
		.sparse = w.sparse != 0,
	};
	r = take_text(&c, w.path, &m->path);
	if (r == 0)
		r = take_text(&c, w.link, &m->link);
	if (r == 0)
		r = take_text(&c, w.acl_access, &m->acl_access);
	if (r == 0)
		r = take_text(&c, w.acl_default, &m->acl_default);
	if (r == 0)
		r = take_map(&c, w.n_map, ret);
	if (r == 0)
		r = take_xattrs(&c, w.n_xattrs, ret);
	if (r < 0)
		return r;
	return c.left ? -EPROTO : 0;
}

void reader_member_release(struct reader_member *m)
{
	free(m->xattrs);
	free(m->map);
	memset(m, 0, sizeof(*m));
}

static void show(char *to, size_t size, const char *from, size_t from_size)
{
	size_t n = strnlen(from, from_size);

	if (n > size - 1)
		n = size - 1;
	for (size_t i = 0; i < n; i++)
		to[i] = (char)(from[i] >= 0x20 && from[i] < 0x7f ? from[i] : '?');
	to[n] = '\0';
}

int reader_get_failure(const void *body, size_t len, struct err *err)
{
	static const int known[] = {EBADMSG, E2BIG, EFBIG, ENOMEM, EPERM, EOPNOTSUPP};
	struct reader_failure f;
	struct err e = ERR_INIT;

	if (len != sizeof(f))
		return err_msg(err, -EPROTO, "the layer's reader makes no sense");
	memcpy(&f, body, sizeof(f));
	e.code = -EBADMSG;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (f.code == -known[i])
			e.code = f.code;
	}
	show(e.msg, sizeof(e.msg), f.msg, sizeof(f.msg));
	show(e.where, sizeof(e.where), f.where, sizeof(f.where));
	show(e.hint, sizeof(e.hint), f.hint, sizeof(f.hint));
	if (!e.msg[0])
		(void)err_msg(&e, e.code, "the layer's reader gives no reason");
	if (!oci_limit_is_hint(e.hint))
		e.hint[0] = '\0';
	if (err)
		*err = e;
	return e.code;
}
