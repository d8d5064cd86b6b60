/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/toc_text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "oci/limits.h"
#include "oci/quote.h"
#include "oci/tar_pax.h"

#define XATTRS_MAX 256 /* of an entry */
#define ID_MAX	   4294967294

struct toc_text {
	struct toc_text_out out;
	struct json_list *list;
	char *file; /* whose chunks may follow, or NULL */
	struct oci_pax_xattr xattrs[XATTRS_MAX]; /* of the entry that is being told */
};

static int bad(struct err *err, const char *what)
{
	return err_msg(err, -EBADMSG, "%s", what);
}

/* A number that may be left out. */
static int get_number(const struct json *e, const char *key, uint64_t max, uint64_t *ret,
		      struct err *err)
{
	int64_t n = 0;
	int r = json_int(json_get(e, key), &n);

	if ((r < 0 && r != -ENOENT) || n < 0 || (uint64_t)n > max)
		return err_msg(err, -EBADMSG, "'%s' is out of range", key);
	*ret = (uint64_t)n;
	return 0;
}

static int get_id(const struct json *e, const char *key, uint64_t max, uint32_t *ret,
		  struct err *err)
{
	uint64_t n = 0;
	int r = get_number(e, key, max, &n, err);

	*ret = (uint32_t)n;
	return r;
}

/* @n digits at *@p, which is set behind them and behind @end; -1: something else is there. */
static int take_digits(const char **p, size_t n, char end)
{
	int v = 0;

	for (size_t i = 0; i < n; i++, (*p)++) {
		if (**p < '0' || **p > '9')
			return -1;
		v = 10 * v + (**p - '0');
	}
	if (end && *(*p)++ != end)
		return -1;
	return v;
}

/* "Z", or the hours and minutes that a clock there is ahead: in seconds. */
static int take_zone(const char *p, long *ret)
{
	int sign = *p == '-' ? -1 : 1, hours, minutes;

	*ret = 0;
	if (strcmp(p, "Z") == 0)
		return 0;
	if (*p != '+' && *p != '-')
		return -EBADMSG;
	p++;
	hours = take_digits(&p, 2, ':');
	minutes = hours < 0 ? -1 : take_digits(&p, 2, '\0');
	if (minutes < 0 || *p)
		return -EBADMSG;
	*ret = sign * (hours * 3600L + minutes * 60L);
	return 0;
}

/* RFC 3339; none: the epoch. */
static int get_mtime(const char *p, struct oci_tar_member *m, struct err *err)
{
	static const char ends[] = "--T::";
	struct tm tm = {.tm_isdst = 0};
	int *const fields[] = {&tm.tm_year, &tm.tm_mon, &tm.tm_mday,
			       &tm.tm_hour, &tm.tm_min, &tm.tm_sec};
	uint32_t scale = 100000000;
	long ahead;

	if (!p || !p[0])
		return 0;
	for (size_t i = 0; i < 6; i++) {
		*fields[i] = take_digits(&p, i ? 2 : 4, ends[i]);
		if (*fields[i] < 0)
			return bad(err, "a time is none");
	}
	if (*p == '.') {
		for (p++; *p >= '0' && *p <= '9'; p++, scale /= 10)
			m->mtime_nsec += (uint32_t)(*p - '0') * scale;
	}
	if (take_zone(p, &ahead) < 0)
		return bad(err, "a time is none");
	tm.tm_year -= 1900;
	tm.tm_mon--;
	m->mtime = timegm(&tm) - ahead;
	return 0;
}

static int get_type(const char *type, enum oci_tar_type *ret, struct err *err)
{
	static const struct {
		const char *name;
		enum oci_tar_type type;
	} types[] = {
		{"reg", OCI_TAR_REG},	{"hardlink", OCI_TAR_LINK}, {"symlink", OCI_TAR_SYMLINK},
		{"char", OCI_TAR_CHAR}, {"block", OCI_TAR_BLOCK},   {"dir", OCI_TAR_DIR},
		{"fifo", OCI_TAR_FIFO},
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (type && strcmp(types[i].name, type) == 0) {
			*ret = types[i].type;
			return 0;
		}
	}
	return bad(err, "it is of an unknown type");
}

static int get_metadata(const struct json *e, struct oci_tar_member *m, struct err *err)
{
	const char *link = json_string(json_get(e, "linkName"));
	uint64_t mode = 0;
	int r = get_type(json_string(json_get(e, "type")), &m->type, err);

	m->link = link ? link : "";
	if (r == 0)
		r = get_number(e, "mode", INT64_MAX, &mode, err);
	m->mode = (uint32_t)mode & 07777;
	if (r == 0)
		r = get_id(e, "uid", ID_MAX, &m->uid, err);
	if (r == 0)
		r = get_id(e, "gid", ID_MAX, &m->gid, err);
	if (r == 0)
		r = get_id(e, "devMajor", 4095, &m->major, err);
	if (r == 0)
		r = get_id(e, "devMinor", 1048575, &m->minor, err);
	if (r == 0 && m->type == OCI_TAR_REG)
		r = get_number(e, "size", OCI_TAR_SIZE_MAX, &m->size, err);
	if (r == 0 && m->type == OCI_TAR_REG && m->path[0] && m->path[strlen(m->path) - 1] == '/')
		r = bad(err, "a file's name is a directory's");
	return r < 0 ? r : get_mtime(json_string(json_get(e, "modtime")), m, err);
}

/* @list has room for them, and is cleared; its values are owned. */
static int get_xattrs(const struct json *xattrs, struct oci_pax_xattr *list, struct err *err)
{
	for (size_t i = 0; i < json_len(xattrs); i++) {
		const char *name = json_key_at(xattrs, i), *text = json_string(json_at(xattrs, i));
		struct oci_pax_xattr *x = &list[i];

		if (!name || !text)
			return bad(err, "an xattr is none");
		/* not written to, whatever its type says */
		x->name = (char *)(uintptr_t)name;
		x->value = malloc(strlen(text) + 1);
		if (!x->value)
			return err_set(err, -ENOMEM, "xattrs");
		if (pax_base64_decode(text, strlen(text), x->value, &x->len) < 0)
			return bad(err, "an xattr is not base64");
		if (i)
			x[-1].next = x;
	}
	return 0;
}

static int tell_member(struct toc_text *t, const struct json *e, struct oci_tar_member *m,
		       struct err *err)
{
	const struct json *xattrs = json_get(e, "xattrs");
	size_t n = json_len(xattrs);
	int r = get_metadata(e, m, err);

	if (r == 0 && n > XATTRS_MAX)
		r = bad(err, "it has too many xattrs");
	if (r < 0)
		return r;
	memset(t->xattrs, 0, n * sizeof(t->xattrs[0]));
	r = get_xattrs(xattrs, t->xattrs, err);
	m->xattrs = n ? t->xattrs : NULL;
	if (r == 0)
		r = t->out.member(t->out.ctx, m, err);
	for (size_t i = 0; i < n; i++)
		free(t->xattrs[i].value);
	return r;
}

/* @file: what the entry of the file says; NULL: it is one of "type": "chunk". */
static int tell_chunk(struct toc_text *t, const struct json *e, const struct oci_tar_member *file,
		      struct err *err)
{
	const char *digest = json_string(json_get(e, "chunkDigest"));
	struct toc_chunk c = {.in = 0};
	int r = get_number(e, "offset", INT64_MAX, &c.in, err);

	if (r == 0)
		r = get_number(e, "innerOffset", INT64_MAX, &c.skip, err);
	if (r == 0)
		r = get_number(e, "chunkOffset", INT64_MAX, &c.at, err);
	if (r == 0)
		r = get_number(e, "chunkSize", INT64_MAX, &c.len, err);
	if (r < 0)
		return r;
	/* the only chunk of its file */
	if (!digest && file && c.at == 0 && (c.len == 0 || c.len == file->size))
		digest = json_string(json_get(e, "digest"));
	if (digest && strlen(digest) <= DIGEST_TEXT_MAX)
		memcpy(c.digest, digest, strlen(digest));
	return t->out.chunk(t->out.ctx, &c, err);
}

static int on_entry(void *ctx, const struct json *e, struct err *err)
{
	const char *name = json_string(json_get(e, "name"));
	const char *type = json_string(json_get(e, "type"));
	struct oci_tar_member m = {.path = name};
	struct toc_text *t = ctx;
	struct oci_quoted q;
	int r;

	if (!name)
		return bad(err, "an entry has no name");
	if (type && strcmp(type, "chunk") == 0) {
		r = t->file && strcmp(t->file, name) == 0
			    ? tell_chunk(t, e, NULL, err)
			    : bad(err, "a chunk is not behind its file");
		return r < 0 ? err_wrap(err, r, "entry %s", oci_quote(&q, name)) : 0;
	}
	free(t->file);
	t->file = NULL;
	r = tell_member(t, e, &m, err);
	if (r == 0 && m.type == OCI_TAR_REG && m.size) {
		t->file = strdup(name);
		r = t->file ? tell_chunk(t, e, &m, err) : err_set(err, -ENOMEM, "entry");
	}
	return r < 0 ? err_wrap(err, r, "entry %s", oci_quote(&q, name)) : 0;
}

struct toc_text *toc_text_new(const struct toc_text_out *out)
{
	struct toc_text *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->out = *out;
	t->list = json_list_new("entries", on_entry, t);
	if (!t->list) {
		free(t);
		return NULL;
	}
	return t;
}

int toc_text_push(struct toc_text *t, const void *text, size_t len, struct err *err)
{
	return json_list_push(t->list, text, len, err);
}

int toc_text_finish(struct toc_text *t, struct err *err)
{
	struct json *doc cleanup_json = NULL;
	int64_t version = 0;
	int r = json_list_finish(t->list, &doc, err);

	if (r < 0)
		return r;
	if (json_int(json_get(doc, "version"), &version) < 0 || version != 1 ||
	    json_type(json_get(doc, "entries")) != JSON_ARRAY)
		return bad(err, "it is of a version that is not known here");
	return 0;
}

void toc_text_free(struct toc_text *t)
{
	if (!t)
		return;
	json_list_free(t->list);
	free(t->file);
	free(t);
}
