/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/tar_pax.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "oci/quote.h"

/* Of one entry: the list that listxattr(2) gives has 64 KiB at most. Bounds the search below, too.
 */
#define XATTRS_MAX 4096

void pax_release(struct pax *p)
{
	struct oci_pax_xattr *x, *next;

	for (x = p->xattrs; x; x = next) {
		next = x->next;
		free(x->name);
		free(x->value);
		free(x);
	}
	free(p->path);
	free(p->linkpath);
	free(p->sparse_name);
	free(p->acl_access);
	free(p->acl_default);
	free(p->map);
	memset(p, 0, sizeof(*p));
}

int pax_map_add(struct pax *p, uint64_t offset, uint64_t len)
{
	if (p->n_map == p->cap_map) {
		size_t cap = p->cap_map ? p->cap_map * 2 : 16;
		struct oci_tar_segment *map = reallocarray(p->map, cap, sizeof(*map));

		if (!map)
			return -ENOMEM;
		p->map = map;
		p->cap_map = cap;
	}
	p->map[p->n_map++] = (struct oci_tar_segment){.offset = offset, .len = len};
	return 0;
}

int pax_decimal(const char *text, int64_t *ret)
{
	long long n;
	char *end;

	if (*text != '-' && (*text < '0' || *text > '9'))
		return -EINVAL;
	errno = 0;
	n = strtoll(text, &end, 10);
	if (errno || *end != '\0' || end == text)
		return -EINVAL;
	*ret = n;
	return 0;
}

static int unsigned_decimal(const char *text, uint64_t *ret)
{
	int64_t n;

	if (pax_decimal(text, &n) < 0 || n < 0 || *text == '-')
		return -EINVAL;
	*ret = (uint64_t)n;
	return 0;
}

/* "[-]SECONDS[.FRACTION]"; what is finer than a nanosecond is cut off, towards the past. */
static int parse_time(const char *text, int64_t *ret_sec, uint32_t *ret_nsec)
{
	bool negative = *text == '-', rest = false;
	const char *p = text + negative;
	uint32_t nsec = 0, unit = 100000000;
	int64_t sec = 0;

	if (*p < '0' || *p > '9')
		return -EINVAL;
	for (; *p >= '0' && *p <= '9'; p++) {
		if (__builtin_mul_overflow(sec, 10, &sec) ||
		    (negative ? __builtin_sub_overflow(sec, *p - '0', &sec)
			      : __builtin_add_overflow(sec, *p - '0', &sec)))
			return -ERANGE;
	}
	if (*p == '.') {
		for (p++; *p >= '0' && *p <= '9'; p++) {
			nsec += (uint32_t)(*p - '0') * unit;
			rest = rest || (unit == 0 && *p != '0');
			unit /= 10;
		}
	}
	if (*p != '\0')
		return -EINVAL;
	if (negative && rest)
		nsec++;
	if (negative && nsec > 0) {
		/* -1.25 is 0.75 behind -2 */
		if (__builtin_sub_overflow(sec, 1, &sec))
			return -ERANGE;
		nsec = 1000000000 - nsec;
	}
	*ret_sec = sec;
	*ret_nsec = nsec;
	return 0;
}

int pax_base64_decode(const char *text, size_t len, uint8_t *out, size_t *ret_len)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	unsigned int bits = 0, n_bits = 0;
	size_t n = 0;

	while (len > 0 && text[len - 1] == '=')
		len--;
	for (size_t i = 0; i < len; i++) {
		const char *d = text[i] ? strchr(digits, text[i]) : NULL;

		if (!d)
			return -EINVAL;
		bits = bits << 6 | (unsigned int)(d - digits);
		n_bits += 6;
		if (n_bits >= 8) {
			n_bits -= 8;
			out[n++] = (uint8_t)(bits >> n_bits);
		}
	}
	*ret_len = n;
	return 0;
}

/* "%41" -> "A", in place. */
static int url_decode(char *s)
{
	char *out = s;

	for (; *s; s++) {
		char hex[3] = "", *end;
		unsigned long c;

		if (*s != '%') {
			*out++ = *s;
			continue;
		}
		if (!s[1] || !s[2])
			return -EINVAL;
		memcpy(hex, s + 1, 2);
		c = strtoul(hex, &end, 16);
		if (end != hex + 2 || c == 0)
			return -EINVAL;
		*out++ = (char)c;
		s += 2;
	}
	*out = '\0';
	return 0;
}

/* Takes @name and @value. */
static int put_xattr(struct pax *p, char *name, void *value, size_t len)
{
	struct oci_pax_xattr *x;
	unsigned int n = 0;

	for (x = p->xattrs; x; x = x->next, n++) {
		if (strcmp(x->name, name) == 0)
			break;
	}
	if (!x && n >= XATTRS_MAX) {
		free(name);
		free(value);
		return -EINVAL;
	}
	if (x) {
		free(name);
		free(x->value);
	} else {
		x = calloc(1, sizeof(*x));
		if (!x) {
			free(name);
			free(value);
			return -ENOMEM;
		}
		x->name = name;
		x->next = p->xattrs;
		p->xattrs = x;
	}
	x->value = value;
	x->len = len;
	return 0;
}

static int read_xattr(struct pax *p, const char *name, const char *value, size_t len, bool encoded)
{
	char *n cleanup_free = strdup(name);
	uint8_t *v cleanup_free = len ? malloc(len) : NULL;
	int r = 0;

	if (!n || (len && !v))
		return -ENOMEM;
	if (encoded) {
		r = url_decode(n);
		if (r == 0 && len)
			r = pax_base64_decode(value, len, v, &len);
	} else if (len) {
		memcpy(v, value, len);
	}
	if (r == 0 && *n == '\0')
		r = -EINVAL;
	return r < 0 ? r : put_xattr(p, steal_ptr(&n), steal_ptr(&v), len);
}

static int set_text(char **field, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

/* GNU.sparse.map: "offset,len,offset,len" */
static int read_map(struct pax *p, char *text)
{
	char *save = NULL;

	p->n_map = 0;
	for (char *a = strtok_r(text, ",", &save); a; a = strtok_r(NULL, ",", &save)) {
		const char *b = strtok_r(NULL, ",", &save);
		uint64_t offset, len;
		int r;

		if (!b || unsigned_decimal(a, &offset) < 0 || unsigned_decimal(b, &len) < 0)
			return -EINVAL;
		r = pax_map_add(p, offset, len);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_map_part(struct pax *p, const char *value, bool offset)
{
	uint64_t n;

	if (unsigned_decimal(value, &n) < 0 || p->half_segment == offset)
		return -EINVAL;
	p->half_segment = offset;
	if (offset)
		return pax_map_add(p, n, 0);
	p->map[p->n_map - 1].len = n;
	return 0;
}

enum pax_kind { KIND_TEXT, KIND_UNSIGNED, KIND_SIGNED, KIND_TIME, KIND_MAP, KIND_OFFSET, KIND_LEN };
static const struct {
	const char *key;
	enum pax_field field;
	enum pax_kind kind;
	size_t at;
} keywords[] = {
	{"path", PAX_PATH, KIND_TEXT, offsetof(struct pax, path)},
	{"linkpath", PAX_LINKPATH, KIND_TEXT, offsetof(struct pax, linkpath)},
	{"size", PAX_SIZE, KIND_UNSIGNED, offsetof(struct pax, size)},
	{"uid", PAX_UID, KIND_SIGNED, offsetof(struct pax, uid)},
	{"gid", PAX_GID, KIND_SIGNED, offsetof(struct pax, gid)},
	{"mtime", PAX_MTIME, KIND_TIME, 0},
	{"SCHILY.devmajor", PAX_MAJOR, KIND_SIGNED, offsetof(struct pax, major)},
	{"SCHILY.devminor", PAX_MINOR, KIND_SIGNED, offsetof(struct pax, minor)},
	{"SCHILY.acl.access", PAX_ACL_ACCESS, KIND_TEXT, offsetof(struct pax, acl_access)},
	{"SCHILY.acl.default", PAX_ACL_DEFAULT, KIND_TEXT, offsetof(struct pax, acl_default)},
	{"GNU.sparse.name", PAX_SPARSE_NAME, KIND_TEXT, offsetof(struct pax, sparse_name)},
	{"GNU.sparse.size", PAX_SPARSE_SIZE, KIND_UNSIGNED, offsetof(struct pax, sparse_size)},
	{"GNU.sparse.realsize", PAX_SPARSE_SIZE, KIND_UNSIGNED, offsetof(struct pax, sparse_size)},
	{"GNU.sparse.major", PAX_SPARSE_MAJOR, KIND_UNSIGNED, offsetof(struct pax, sparse_major)},
	{"GNU.sparse.minor", PAX_SPARSE_MINOR, KIND_UNSIGNED, offsetof(struct pax, sparse_minor)},
	{"GNU.sparse.numblocks", PAX_SPARSE_BLOCKS, KIND_UNSIGNED,
	 offsetof(struct pax, sparse_blocks)},
	{"GNU.sparse.map", PAX_SPARSE_MAP, KIND_MAP, 0},
	{"GNU.sparse.offset", PAX_SPARSE_MAP, KIND_OFFSET, 0},
	{"GNU.sparse.numbytes", PAX_SPARSE_MAP, KIND_LEN, 0},
};

static int read_known(struct pax *p, size_t i, char *value)
{
	void *at = (char *)p + keywords[i].at;

	p->has |= keywords[i].field;
	p->taken &= ~(unsigned int)keywords[i].field;
	switch (keywords[i].kind) {
	case KIND_TEXT:
		return set_text(at, value);
	case KIND_UNSIGNED:
		return unsigned_decimal(value, at);
	case KIND_SIGNED:
		return pax_decimal(value, at);
	case KIND_TIME:
		return parse_time(value, &p->mtime, &p->mtime_nsec);
	case KIND_MAP:
		return read_map(p, value);
	case KIND_OFFSET:
	case KIND_LEN:
		return read_map_part(p, value, keywords[i].kind == KIND_OFFSET);
	}
	return -EINVAL;
}

static int read_record(struct pax *p, const char *key, char *value, size_t len, struct err *err)
{
	static const char schily[] = "SCHILY.xattr.", libarchive[] = "LIBARCHIVE.xattr.";
	struct oci_quoted k, v;
	int r = 0;

	if (strncmp(key, schily, sizeof(schily) - 1) == 0) {
		r = read_xattr(p, key + sizeof(schily) - 1, value, len, false);
	} else if (strncmp(key, libarchive, sizeof(libarchive) - 1) == 0) {
		r = read_xattr(p, key + sizeof(libarchive) - 1, value, len, true);
	} else {
		for (size_t i = 0; i < sizeof(keywords) / sizeof(keywords[0]); i++) {
			if (strcmp(keywords[i].key, key) != 0)
				continue;
			if (len == 0) {
				p->has &= ~(unsigned int)keywords[i].field;
				p->taken |= (unsigned int)keywords[i].field;
				return 0;
			}
			if (strlen(value) != len)
				return err_msg(err, -EBADMSG, "PAX record %s has a NUL inside",
					       oci_quote(&k, key));
			r = read_known(p, i, value);
		}
	}
	if (r == -ENOMEM)
		return err_set(err, r, "read PAX header");
	if (r < 0)
		return err_msg(err, -EBADMSG, "PAX record %s has a bad value %s",
			       oci_quote(&k, key), oci_quote_len(&v, value, len));
	return 0;
}

int pax_parse(struct pax *p, char *data, size_t len, struct err *err)
{
	while (len > 0) {
		size_t n = 0, i = 0, value;
		char *eq;
		int r;

		for (; i < len && i < 10 && data[i] >= '0' && data[i] <= '9'; i++)
			n = n * 10 + (size_t)(data[i] - '0');
		/* at least "N K=\n" */
		if (i == 0 || i >= len || data[i] != ' ' || n > len || n < i + 4 ||
		    data[n - 1] != '\n')
			return err_msg(err, -EBADMSG, "malformed PAX header");
		eq = memchr(data + i + 1, '=', n - i - 2);
		if (!eq || eq == data + i + 1 ||
		    memchr(data + i + 1, '\0', (size_t)(eq - data) - i - 1))
			return err_msg(err, -EBADMSG, "malformed PAX header");
		*eq = '\0';
		data[n - 1] = '\0';
		value = (size_t)(eq - data) + 1;
		r = read_record(p, data + i + 1, data + value, n - 1 - value, err);
		if (r < 0)
			return r;
		data += n;
		len -= n;
	}
	if (p->half_segment)
		return err_msg(err, -EBADMSG, "PAX header: sparse offset without its length");
	return 0;
}

static void move_text(char **to, char **from)
{
	if (*from) {
		free(*to);
		*to = steal_ptr(from);
	}
}

int pax_inherit_xattrs(struct pax *p, const struct pax *global)
{
	int r = 0;

	for (const struct oci_pax_xattr *g = global->xattrs; g && r == 0; g = g->next) {
		const struct oci_pax_xattr *x = p->xattrs;

		while (x && strcmp(x->name, g->name) != 0)
			x = x->next;
		if (!x && g->len)
			r = read_xattr(p, g->name, g->value, g->len, false);
		else
			continue;
		if (r == 0)
			p->xattrs->inherited = true; /* new ones come first */
	}
	return r;
}

int pax_merge(struct pax *p, struct pax *over)
{
	struct oci_pax_xattr *x;
	int r = 0;

	p->has = (p->has & ~over->taken) | over->has;
	p->taken = (p->taken & ~over->has) | over->taken;
	move_text(&p->path, &over->path);
	move_text(&p->linkpath, &over->linkpath);
	move_text(&p->sparse_name, &over->sparse_name);
	move_text(&p->acl_access, &over->acl_access);
	move_text(&p->acl_default, &over->acl_default);
#define MOVE(flag, field)                                                                          \
	if (over->has & (flag))                                                                    \
	p->field = over->field
	MOVE(PAX_SIZE, size);
	MOVE(PAX_UID, uid);
	MOVE(PAX_GID, gid);
	MOVE(PAX_MTIME, mtime);
	MOVE(PAX_MTIME, mtime_nsec);
	MOVE(PAX_MAJOR, major);
	MOVE(PAX_MINOR, minor);
	MOVE(PAX_SPARSE_SIZE, sparse_size);
	MOVE(PAX_SPARSE_MAJOR, sparse_major);
	MOVE(PAX_SPARSE_MINOR, sparse_minor);
	MOVE(PAX_SPARSE_BLOCKS, sparse_blocks);
#undef MOVE
	if (over->has & PAX_SPARSE_MAP) {
		free(p->map);
		p->map = steal_ptr(&over->map);
		p->n_map = over->n_map;
		p->cap_map = over->cap_map;
	}
	while (r == 0 && (x = over->xattrs)) {
		over->xattrs = x->next;
		r = put_xattr(p, x->name, x->value, x->len);
		free(x);
	}
	pax_release(over);
	return r;
}
