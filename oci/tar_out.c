/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/tar_out.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"

/* POSIX.1-2017, pax, "ustar Interchange Format". */
struct ustar {
	char name[100];
	char mode[8];
	char uid[8];
	char gid[8];
	char size[12];
	char mtime[12];
	char chksum[8];
	char typeflag;
	char linkname[100];
	char magic[6];
	char version[2];
	char uname[32];
	char gname[32];
	char devmajor[8];
	char devminor[8];
	char prefix[155];
	char pad[12];
};
_Static_assert(sizeof(struct ustar) == OCI_TAR_BLOCK, "a header is one block");

/* Octal digits and a NUL fill the field; false when the number needs more of them. */
static bool put_octal(char *field, size_t size, uint64_t v)
{
	if (size - 1 < 21 && v >> (3 * (size - 1)))
		return false;
	field[size - 1] = '\0';
	for (size_t i = size - 1; i-- > 0; v >>= 3)
		field[i] = (char)('0' + (v & 7));
	return true;
}

static void seal(struct ustar *h)
{
	const unsigned char *p = (const unsigned char *)h;
	unsigned int sum = 0;

	memcpy(h->magic, "ustar", 6);
	memcpy(h->version, "00", 2);
	memset(h->chksum, ' ', sizeof(h->chksum));
	for (size_t i = 0; i < sizeof(*h); i++)
		sum += p[i];
	/* Six digits, NUL, space: as it has always been. */
	(void)put_octal(h->chksum, 7, sum);
}

static bool is_ascii(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s >= 0x80)
			return false;
	return true;
}

static bool is_utf8(const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	unsigned int n, min, cp;

	while (*s) {
		if (*s < 0x80) {
			s++;
			continue;
		}
		if ((*s & 0xe0) == 0xc0) {
			n = 1;
			min = 0x80;
			cp = *s & 0x1f;
		} else if ((*s & 0xf0) == 0xe0) {
			n = 2;
			min = 0x800;
			cp = *s & 0x0f;
		} else if ((*s & 0xf8) == 0xf0) {
			n = 3;
			min = 0x10000;
			cp = *s & 0x07;
		} else {
			return false;
		}
		for (s++; n > 0; n--, s++) {
			if ((*s & 0xc0) != 0x80)
				return false;
			cp = cp << 6 | (*s & 0x3f);
		}
		if (cp < min || cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000))
			return false;
	}
	return true;
}

/* "LENGTH KEY=VALUE\n", where LENGTH counts itself. */
static int add_record(struct strbuf *out, const char *prefix, const char *key, const void *value,
		      size_t len)
{
	size_t rest = strlen(prefix) + strlen(key) + len + 3; /* ' ', '=', '\n' */
	size_t total = rest + 1;
	int digits = 1;
	int r;

	for (size_t next = 10; total >= next; next *= 10) {
		digits++;
		total = rest + (size_t)digits;
	}
	r = strbuf_addf(out, "%zu %s%s=", total, prefix, key);
	if (!r)
		r = strbuf_add(out, value, len);
	return r ? r : strbuf_addc(out, '\n');
}

static int add_text(struct strbuf *out, const char *key, const char *value)
{
	return add_record(out, "", key, value, strlen(value));
}

static int add_number(struct strbuf *out, const char *key, uint64_t v)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)v);
	return add_text(out, key, text);
}

/* Seconds with as many decimals as are needed; -1.25 is sec -2 and 750,000,000 ns. */
static int add_time(struct strbuf *out, const struct timespec *ts)
{
	bool negative = ts->tv_sec < 0;
	long long sec = ts->tv_sec;
	long ns = ts->tv_nsec;
	char text[48];
	size_t n;

	if (negative && ns > 0) {
		sec++;
		ns = 1000000000L - ns;
	}
	/* Not -sec: the smallest number has no opposite. */
	snprintf(text, sizeof(text), "%s%llu.%09ld", negative ? "-" : "",
		 negative ? 0ULL - (unsigned long long)sec : (unsigned long long)sec, ns);
	for (n = strlen(text); text[n - 1] == '0'; n--)
		text[n - 1] = '\0';
	if (text[n - 1] == '.')
		text[n - 1] = '\0';
	return add_text(out, "mtime", text);
}

static int add_base64(struct strbuf *out, const unsigned char *p, size_t len)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	int r = 0;

	/* Without padding, as libarchive writes it. */
	for (size_t i = 0; i < len && !r; i += 3) {
		size_t n = len - i < 3 ? len - i : 3;
		unsigned int v = (unsigned int)p[i] << 16;

		if (n > 1)
			v |= (unsigned int)p[i + 1] << 8;
		if (n > 2)
			v |= p[i + 2];
		for (size_t k = 0; k <= n && !r; k++)
			r = strbuf_addc(out, digits[v >> (18 - 6 * k) & 63]);
	}
	return r;
}

/* A record's key ends at its first '='; libarchive's form has the name encoded. */
static int add_encoded_xattr(struct strbuf *out, const struct oci_tar_xattr *x)
{
	struct strbuf key CLEANUP(strbuf_release) = STRBUF_INIT;
	struct strbuf value CLEANUP(strbuf_release) = STRBUF_INIT;
	int r = 0;

	for (const unsigned char *p = (const unsigned char *)x->name; *p && !r; p++) {
		if (*p == '=' || *p == '%' || *p < 33 || *p > 126)
			r = strbuf_addf(&key, "%%%02X", *p);
		else
			r = strbuf_addc(&key, (char)*p);
	}
	if (!r)
		r = add_base64(&value, x->value, x->len);
	return r ? r : add_record(out, "LIBARCHIVE.xattr.", key.s, value.s, value.len);
}

static int add_xattrs(struct strbuf *out, const struct oci_tar_entry *e)
{
	int r = 0;

	for (size_t i = 0; i < e->n_xattrs && !r; i++) {
		const struct oci_tar_xattr *x = &e->xattrs[i];

		r = strchr(x->name, '=')
			    ? add_encoded_xattr(out, x)
			    : add_record(out, "SCHILY.xattr.", x->name, x->value, x->len);
	}
	return r;
}

/* Where @path can be cut into prefix and name; NULL: nowhere. */
static const char *cut_point(const char *path, size_t len)
{
	const struct ustar *h = NULL;

	/* The name as long as it can be: the first '/' that leaves no more than fits. */
	if (len > sizeof(h->prefix) + 1 + sizeof(h->name))
		return NULL;
	for (const char *p = path + len - sizeof(h->name) - 1; *p; p++)
		if (*p == '/' && p > path && p[1] && (size_t)(p - path) <= sizeof(h->prefix))
			return p;
	return NULL;
}

/* What ustar cannot say goes to @pax. @binary: some name there is no UTF-8. */
static int put_path(struct ustar *h, const char *path, struct strbuf *pax)
{
	size_t len = strlen(path);
	const char *cut = NULL;

	/* ASCII or no text at all: bytes in the header. UTF-8 has a record made for it. */
	if (is_ascii(path) || !is_utf8(path)) {
		if (len <= sizeof(h->name)) {
			memcpy(h->name, path, len);
			return 0;
		}
		cut = cut_point(path, len);
		if (cut) {
			memcpy(h->prefix, path, (size_t)(cut - path));
			memcpy(h->name, cut + 1, len - (size_t)(cut + 1 - path));
			return 0;
		}
	}
	memcpy(h->name, path, len < sizeof(h->name) ? len : sizeof(h->name) - 1);
	return add_text(pax, "path", path);
}

static int put_linkname(struct ustar *h, const char *target, struct strbuf *pax)
{
	size_t len = strlen(target);

	if (len <= sizeof(h->linkname)) {
		memcpy(h->linkname, target, len);
		if (is_ascii(target) || !is_utf8(target))
			return 0;
	} else {
		memcpy(h->linkname, target, sizeof(h->linkname) - 1);
	}
	return add_text(pax, "linkpath", target);
}

static int put_numbers(struct ustar *h, const struct oci_tar_entry *e, struct strbuf *pax,
		       struct err *err)
{
	const struct stat *st = &e->st;
	uint64_t size = oci_tar_content_size(e);
	int r = 0;

	(void)put_octal(h->mode, sizeof(h->mode), st->st_mode & 07777);
	if (!put_octal(h->uid, sizeof(h->uid), st->st_uid)) {
		(void)put_octal(h->uid, sizeof(h->uid), 0);
		r = add_number(pax, "uid", st->st_uid);
	}
	if (!r && !put_octal(h->gid, sizeof(h->gid), st->st_gid)) {
		(void)put_octal(h->gid, sizeof(h->gid), 0);
		r = add_number(pax, "gid", st->st_gid);
	}
	if (!r && !put_octal(h->size, sizeof(h->size), size)) {
		(void)put_octal(h->size, sizeof(h->size), 0);
		r = add_number(pax, "size", size);
	}
	if (r)
		return err_set(err, r, "tar entry '%s'", e->path);
	if (st->st_mtim.tv_sec < 0 ||
	    !put_octal(h->mtime, sizeof(h->mtime), (uint64_t)st->st_mtim.tv_sec)) {
		(void)put_octal(h->mtime, sizeof(h->mtime), 0);
		r = add_time(pax, &st->st_mtim);
	} else if (st->st_mtim.tv_nsec) {
		r = add_time(pax, &st->st_mtim);
	}
	if (r)
		return err_set(err, r, "tar entry '%s'", e->path);
	if (!S_ISCHR(st->st_mode) && !S_ISBLK(st->st_mode)) {
		(void)put_octal(h->devmajor, sizeof(h->devmajor), 0);
		(void)put_octal(h->devminor, sizeof(h->devminor), 0);
	} else if (!put_octal(h->devmajor, sizeof(h->devmajor), major(st->st_rdev)) ||
		   !put_octal(h->devminor, sizeof(h->devminor), minor(st->st_rdev))) {
		return err_msg(err, -EOVERFLOW, "'%s': device number %u:%u does not fit into a tar",
			       e->path, major(st->st_rdev), minor(st->st_rdev));
	}
	return 0;
}

static char type_of(const struct oci_tar_entry *e)
{
	if (e->hardlink)
		return '1';
	switch (e->st.st_mode & S_IFMT) {
	case S_IFREG:
		return '0';
	case S_IFLNK:
		return '2';
	case S_IFCHR:
		return '3';
	case S_IFBLK:
		return '4';
	case S_IFDIR:
		return '5';
	case S_IFIFO:
		return '6';
	default:
		return '\0';
	}
}

uint64_t oci_tar_content_size(const struct oci_tar_entry *e)
{
	return S_ISREG(e->st.st_mode) && !e->hardlink && e->st.st_size > 0 ? (uint64_t)e->st.st_size
									   : 0;
}

static int pad_block(struct strbuf *out)
{
	static const char zeros[OCI_TAR_BLOCK];
	size_t tail = out->len % OCI_TAR_BLOCK;

	return tail ? strbuf_add(out, zeros, OCI_TAR_BLOCK - tail) : 0;
}

/* The extended header is an entry of its own in front, its content the records. */
static int add_extended(struct strbuf *out, const struct strbuf *pax, bool binary)
{
	struct strbuf head CLEANUP(strbuf_release) = STRBUF_INIT;
	struct ustar h = {.typeflag = 'x'};
	int r = 0;

	if (pax->len == 0)
		return 0;
	if (binary)
		r = add_text(&head, "hdrcharset", "BINARY");
	if (r)
		return r;
	memcpy(h.name, "././@PaxHeader", sizeof("././@PaxHeader"));
	(void)put_octal(h.mode, sizeof(h.mode), 0644);
	(void)put_octal(h.uid, sizeof(h.uid), 0);
	(void)put_octal(h.gid, sizeof(h.gid), 0);
	(void)put_octal(h.mtime, sizeof(h.mtime), 0);
	(void)put_octal(h.devmajor, sizeof(h.devmajor), 0);
	(void)put_octal(h.devminor, sizeof(h.devminor), 0);
	if (!put_octal(h.size, sizeof(h.size), head.len + pax->len))
		return -EOVERFLOW;
	seal(&h);
	r = strbuf_add(out, &h, sizeof(h));
	if (!r)
		r = strbuf_add(out, head.s, head.len);
	if (!r)
		r = strbuf_add(out, pax->s, pax->len);
	return r ? r : pad_block(out);
}

/* A directory ends in '/', the root is "./". Returns owned. */
static char *tar_path(const struct oci_tar_entry *e)
{
	char *path = NULL;

	if (!*e->path)
		return strdup("./");
	if (asprintf(&path, "%s%s", e->path, S_ISDIR(e->st.st_mode) && !e->hardlink ? "/" : "") < 0)
		return NULL;
	return path;
}

int oci_tar_header(const struct oci_tar_entry *e, struct strbuf *out, struct err *err)
{
	struct strbuf pax CLEANUP(strbuf_release) = STRBUF_INIT;
	struct ustar h = {.typeflag = type_of(e)};
	char *path cleanup_free = tar_path(e);
	const char *link = e->hardlink ? e->hardlink : S_ISLNK(e->st.st_mode) ? e->target : NULL;
	bool binary;
	int r;

	if (!path)
		return err_set(err, -ENOMEM, "tar entry '%s'", e->path);
	if (!h.typeflag)
		return err_msg(err, -EINVAL, "'%s': a tar has no such file type (mode %o)", e->path,
			       e->st.st_mode);
	if ((h.typeflag == '2' && (!link || !*link)) || (*e->path == '\0' && h.typeflag != '5'))
		return err_msg(err, -EINVAL, "'%s': an entry that no tar can hold", e->path);
	r = put_path(&h, path, &pax);
	if (!r && link)
		r = put_linkname(&h, link, &pax);
	binary = pax.len > 0 && (!is_utf8(path) || (link && !is_utf8(link)));
	if (r)
		return err_set(err, r, "tar entry '%s'", e->path);
	r = put_numbers(&h, e, &pax, err);
	if (r)
		return r;
	r = add_xattrs(&pax, e);
	if (!r)
		r = add_extended(out, &pax, binary);
	if (r)
		return err_set(err, r, "tar entry '%s'", e->path);
	seal(&h);
	r = strbuf_add(out, &h, sizeof(h));
	return r ? err_set(err, r, "tar entry '%s'", e->path) : 0;
}
