/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/tar_check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/strbuf.h"
#include "oci/limits.h"
#include "oci/quote.h"
#include "oci/tar_header.h"
#include "oci/tar_pax.h"

#define ID_MAX	     4294967294LL /* 2^32-1 means "leave it as it is" to chown(2) */
#define MAJOR_MAX    4095
#define MINOR_MAX    1048575
#define SEGMENTS_MAX (1u << 20) /* of a sparse member */

enum state {
	ST_HEADER,
	ST_ZERO, /* one zero block has been seen */
	ST_EXT, /* the data of a PAX or GNU header */
	ST_SPARSE_EXT, /* more blocks of an old GNU sparse map */
	ST_SPARSE_MAP, /* the map in front of the data (PAX 1.0) */
	ST_SKIP, /* data and padding nobody wants */
	ST_END, /* behind the end marker: nothing is looked at */
};

struct oci_tar_check {
	oci_tar_member_fn *member;
	void *ctx;
	const struct oci_limits *limits;
	enum state state;
	uint64_t pos; /* bytes of the tar that were used */
	unsigned char block[TAR_BLOCK] __attribute__((aligned(8)));
	size_t have; /* of block */
	uint64_t left; /* of what the state is about, padding included */
	/* extension headers on their way to the next member */
	char ext_type;
	size_t ext_size;
	uint64_t ext_bytes; /* of all of them */
	struct strbuf ext;
	struct pax global, local;
	bool has_pax;
	char *gnu_name, *gnu_link;
	/* the member being read */
	struct oci_tar_member m;
	struct strbuf path, link;
	uint64_t stored; /* bytes of data in the tar, without padding */
	uint64_t map_number, map_count, map_seen; /* PAX 1.0: where its reading stands */
	bool map_digit;
	uint64_t map_offset;
};

int oci_tar_check_new(oci_tar_member_fn *member, void *ctx, const struct oci_limits *limits,
		      struct oci_tar_check **ret)
{
	struct oci_tar_check *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->member = member;
	t->ctx = ctx;
	t->limits = limits;
	strbuf_init(&t->ext);
	strbuf_init(&t->path);
	strbuf_init(&t->link);
	*ret = t;
	return 0;
}

/* What belonged to one member. */
static void forget_member(struct oci_tar_check *t)
{
	if (t->has_pax)
		pax_release(&t->local);
	t->has_pax = false;
	free(t->gnu_name);
	free(t->gnu_link);
	t->gnu_name = t->gnu_link = NULL;
	t->ext_bytes = 0;
}

void oci_tar_check_free(struct oci_tar_check *t)
{
	if (!t)
		return;
	pax_release(&t->local);
	pax_release(&t->global);
	free(t->gnu_name);
	free(t->gnu_link);
	strbuf_release(&t->ext);
	strbuf_release(&t->path);
	strbuf_release(&t->link);
	free(t);
}

static int no_memory(struct err *err)
{
	return err_set(err, -ENOMEM, "read tar");
}

static uint64_t padded(uint64_t size)
{
	return (size + TAR_BLOCK - 1) & ~(uint64_t)(TAR_BLOCK - 1);
}

/* The header that says something of @field: the member's own, the global one, or none. */
static const struct pax *pax_with(const struct oci_tar_check *t, enum pax_field field)
{
	if (t->local.has & field)
		return &t->local;
	if (!(t->local.taken & field) && (t->global.has & field))
		return &t->global;
	return NULL;
}

static int bad_number(struct err *err, int r, const char *what)
{
	return err_msg(err, -EBADMSG, r == -ERANGE ? "%s is out of range" : "%s is no number",
		       what);
}

static int header_number(const char *field, size_t len, const char *what, int64_t min, int64_t max,
			 int64_t *ret, struct err *err)
{
	int r = tar_number(field, len, ret);

	if (r == 0 && (*ret < min || *ret > max))
		r = -ERANGE;
	return r < 0 ? bad_number(err, r, what) : 0;
}

/* From the PAX headers, else from the field. */
#define NUMBER(t, flag, pax_member, field, what, min, max, ret, err)                               \
	({                                                                                         \
		const struct pax *_p = pax_with(t, flag);                                          \
		int _r = 0;                                                                        \
		if (_p) {                                                                          \
			*(ret) = _p->pax_member;                                                   \
			if (*(ret) < (min) || *(ret) > (max))                                      \
				_r = bad_number(err, -ERANGE, what);                               \
		} else {                                                                           \
			_r = header_number(field, sizeof(field), what, min, max, ret, err);        \
		}                                                                                  \
		_r;                                                                                \
	})

static int field_text(struct strbuf *to, const char *field, size_t max)
{
	return strbuf_add(to, field, strnlen(field, max));
}

static int read_path(struct oci_tar_check *t, const struct tar_header *h, struct err *err)
{
	const struct pax *p = pax_with(t, PAX_PATH);
	int r = 0;

	strbuf_reset(&t->path);
	if (t->gnu_name && (t->local.has & PAX_PATH) && strcmp(t->gnu_name, t->local.path) != 0)
		return err_msg(err, -EBADMSG, "GNU and PAX header give different names");
	if (p) {
		r = strbuf_adds(&t->path, p->path);
	} else if (t->gnu_name) {
		r = strbuf_adds(&t->path, t->gnu_name);
	} else {
		if (tar_is_posix(h) && h->u.prefix[0]) {
			r = field_text(&t->path, h->u.prefix, sizeof(h->u.prefix));
			if (r == 0 && t->path.s[t->path.len - 1] != '/')
				r = strbuf_addc(&t->path, '/');
		}
		if (r == 0)
			r = field_text(&t->path, h->name, sizeof(h->name));
	}
	if (r < 0)
		return no_memory(err);
	t->m.path = t->path.s;
	return 0;
}

static int read_link(struct oci_tar_check *t, const struct tar_header *h, struct err *err)
{
	const struct pax *p = pax_with(t, PAX_LINKPATH);
	int r;

	strbuf_reset(&t->link);
	if (t->gnu_link && (t->local.has & PAX_LINKPATH) &&
	    strcmp(t->gnu_link, t->local.linkpath) != 0)
		return err_msg(err, -EBADMSG, "GNU and PAX header give different link targets");
	if (p)
		r = strbuf_adds(&t->link, p->linkpath);
	else if (t->gnu_link)
		r = strbuf_adds(&t->link, t->gnu_link);
	else
		r = field_text(&t->link, h->linkname, sizeof(h->linkname));
	if (r < 0)
		return no_memory(err);
	t->m.link = t->link.s;
	return 0;
}

static int read_type(struct oci_tar_check *t, const struct tar_header *h, struct err *err)
{
	char printable[2] = {h->type, '\0'};
	struct oci_quoted q;

	switch (h->type) {
	case '0':
	case '\0':
	case '7': /* contiguous: regular to everybody */
	case 'S':
		t->m.type = OCI_TAR_REG;
		if (t->path.len && t->path.s[t->path.len - 1] == '/') {
			if (h->type == 'S')
				return err_msg(err, -EBADMSG, "a directory cannot be sparse");
			t->m.type = OCI_TAR_DIR;
		}
		return 0;
	case '1':
		t->m.type = OCI_TAR_LINK;
		return 0;
	case '2':
		t->m.type = OCI_TAR_SYMLINK;
		return 0;
	case '3':
		t->m.type = OCI_TAR_CHAR;
		return 0;
	case '4':
		t->m.type = OCI_TAR_BLOCK;
		return 0;
	case '5':
		t->m.type = OCI_TAR_DIR;
		return 0;
	case '6':
		t->m.type = OCI_TAR_FIFO;
		return 0;
	default:
		return err_msg(err, -EBADMSG, "unknown type %s of a tar entry",
			       oci_quote_len(&q, printable, 1));
	}
}

static int read_numbers(struct oci_tar_check *t, const struct tar_header *h, struct err *err)
{
	const struct pax *p = pax_with(t, PAX_MTIME);
	int64_t n;
	int r = header_number(h->mode, sizeof(h->mode), "mode", 0, INT64_MAX, &n, err);

	if (r < 0)
		return r;
	t->m.mode = (uint32_t)n & 07777;
	r = NUMBER(t, PAX_UID, uid, h->uid, "uid", 0, ID_MAX, &n, err);
	if (r < 0)
		return r;
	t->m.uid = (uint32_t)n;
	r = NUMBER(t, PAX_GID, gid, h->gid, "gid", 0, ID_MAX, &n, err);
	if (r < 0)
		return r;
	t->m.gid = (uint32_t)n;
	t->m.major = t->m.minor = 0;
	if (t->m.type == OCI_TAR_CHAR || t->m.type == OCI_TAR_BLOCK) {
		r = NUMBER(t, PAX_MAJOR, major, h->devmajor, "device number", 0, MAJOR_MAX, &n,
			   err);
		if (r < 0)
			return r;
		t->m.major = (uint32_t)n;
		r = NUMBER(t, PAX_MINOR, minor, h->devminor, "device number", 0, MINOR_MAX, &n,
			   err);
		if (r < 0)
			return r;
		t->m.minor = (uint32_t)n;
	}
	if (p) {
		t->m.mtime = p->mtime;
		t->m.mtime_nsec = p->mtime_nsec;
		return 0;
	}
	t->m.mtime_nsec = 0;
	return header_number(h->mtime, sizeof(h->mtime), "mtime", INT64_MIN, INT64_MAX, &t->m.mtime,
			     err);
}

static int read_size(struct oci_tar_check *t, const struct tar_header *h, struct err *err)
{
	const struct pax *p = pax_with(t, PAX_SIZE);
	int64_t n;
	int r;

	if (p) {
		t->m.size = p->size;
	} else {
		r = header_number(h->size, sizeof(h->size), "size", 0, INT64_MAX, &n, err);
		if (r < 0)
			return r;
		t->m.size = (uint64_t)n;
	}
	t->stored = t->m.size;
	if (t->m.type == OCI_TAR_REG) {
		/* also keeps every sum with a position far from overflow */
		if (t->m.size > t->limits->bytes)
			return oci_limit_hit(err, "bytes", t->limits->bytes);
		return 0;
	}
	if (h->type != '5' && t->m.type == OCI_TAR_DIR && t->m.size)
		return err_msg(err, -EBADMSG, "a directory with data");
	if (t->m.type == OCI_TAR_LINK && t->m.size)
		return err_msg(err, -EBADMSG, "a hard link with data");
	/* POSIX lets a directory's size say something else than how much data follows: none does */
	if (t->m.type != OCI_TAR_DIR && t->m.size)
		return err_msg(err, -EBADMSG, "an entry with data that can have none");
	t->m.size = t->stored = 0;
	return 0;
}

/* Global headers, and empty values: libarchive has no notion of the first, and takes the second for
 * numbers that are 0. */
static unsigned int hidden_fields(const struct oci_tar_check *t)
{
	static const struct {
		enum pax_field pax;
		enum oci_tar_field field;
		bool number;
	} fields[] = {
		{PAX_PATH, OCI_TAR_F_PATH, false},  {PAX_LINKPATH, OCI_TAR_F_LINK, false},
		{PAX_UID, OCI_TAR_F_UID, true},	    {PAX_GID, OCI_TAR_F_GID, true},
		{PAX_MTIME, OCI_TAR_F_MTIME, true}, {PAX_MAJOR, OCI_TAR_F_MAJOR, true},
		{PAX_MINOR, OCI_TAR_F_MINOR, true},
	};
	unsigned int hidden = 0;

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		if (pax_with(t, fields[i].pax) == &t->global ||
		    (fields[i].number && (t->local.taken & fields[i].pax)))
			hidden |= fields[i].field;
	}
	return hidden;
}

/* The member is complete: hands it out, and goes on with its data. */
static int emit(struct oci_tar_check *t, struct err *err)
{
	uint64_t with_padding = padded(t->stored);
	struct oci_quoted q;
	int r = 0;

	t->m.data = t->pos;
	t->m.hidden = hidden_fields(t);
	t->m.xattrs = t->local.xattrs;
	t->m.acl_access = t->m.acl_default = NULL;
	if (pax_with(t, PAX_ACL_ACCESS))
		t->m.acl_access = pax_with(t, PAX_ACL_ACCESS)->acl_access;
	if (pax_with(t, PAX_ACL_DEFAULT))
		t->m.acl_default = pax_with(t, PAX_ACL_DEFAULT)->acl_default;
	if (with_padding > OCI_TAR_SIZE_MAX || t->pos > OCI_TAR_SIZE_MAX - with_padding)
		r = err_msg(err, -EFBIG, "the tar is longer than an index can address");
	if (r == 0)
		r = t->member(t->ctx, &t->m, err);
	if (r < 0)
		return err_wrap(err, r, "entry %s", oci_quote(&q, t->m.path));
	t->left = with_padding;
	t->state = t->left ? ST_SKIP : ST_HEADER;
	forget_member(t);
	return 0;
}

/* The map is complete: is it one that the stored bytes fill? */
static int emit_sparse(struct oci_tar_check *t, struct err *err)
{
	uint64_t end = 0, sum = 0;

	for (size_t i = 0; i < t->local.n_map; i++) {
		const struct oci_tar_segment *s = &t->local.map[i];
		uint64_t next;

		if (s->offset < end || __builtin_add_overflow(s->offset, s->len, &next) ||
		    next > t->m.size)
			return err_msg(
				err, -EBADMSG,
				"the sparse map overlaps, runs backwards or beyond the size");
		end = next;
		sum += s->len;
	}
	if (sum != t->stored)
		return err_msg(err, -EBADMSG, "the sparse map does not match the data");
	if (t->m.size > OCI_TAR_SIZE_MAX)
		return err_msg(err, -EFBIG, "the sparse file is longer than an index can address");
	t->m.sparse = true;
	t->m.map = t->local.map;
	t->m.n_map = t->local.n_map;
	return emit(t, err);
}

static int add_gnu_segments(struct oci_tar_check *t, const struct tar_gnu_sparse *s, size_t n,
			    struct err *err)
{
	for (size_t i = 0; i < n && s[i].len[0]; i++) {
		int64_t offset, len;
		int r = header_number(s[i].offset, sizeof(s[i].offset), "sparse offset", 0,
				      INT64_MAX, &offset, err);

		if (r == 0)
			r = header_number(s[i].len, sizeof(s[i].len), "sparse length", 0, INT64_MAX,
					  &len, err);
		if (r < 0)
			return r;
		if (t->local.n_map >= SEGMENTS_MAX)
			return err_msg(err, -E2BIG, "a sparse map of more than %u segments",
				       SEGMENTS_MAX);
		if (pax_map_add(&t->local, (uint64_t)offset, (uint64_t)len) < 0)
			return no_memory(err);
	}
	return 0;
}

/* Type 'S': the map is in the header and in blocks behind it. */
static int start_gnu_sparse(struct oci_tar_check *t, const struct tar_header *h, struct err *err)
{
	int64_t size;
	int r;

	if (!tar_is_gnu(h))
		return err_msg(err, -EBADMSG, "a sparse entry that is not GNU tar's");
	if (t->local.has & (PAX_SPARSE_MAP | PAX_SPARSE_MAJOR))
		return err_msg(err, -EBADMSG, "two sparse maps for one entry");
	r = header_number(h->u.gnu.realsize, sizeof(h->u.gnu.realsize), "sparse size", 0, INT64_MAX,
			  &size, err);
	if (r < 0)
		return r;
	t->m.size = (uint64_t)size;
	t->has_pax = true; /* so that the map is forgotten with the member */
	r = add_gnu_segments(t, h->u.gnu.sparse, 4, err);
	if (r < 0)
		return r;
	if (h->u.gnu.is_extended) {
		t->state = ST_SPARSE_EXT;
		return 0;
	}
	return emit_sparse(t, err);
}

static int more_gnu_sparse(struct oci_tar_check *t, const struct tar_gnu_sparse_block *b,
			   struct err *err)
{
	int r = add_gnu_segments(t, b->sparse, 21, err);

	if (r < 0 || b->is_extended)
		return r;
	return emit_sparse(t, err);
}

static int start_pax_sparse(struct oci_tar_check *t, struct err *err)
{
	struct pax *p = &t->local;

	if (!(p->has & PAX_SPARSE_SIZE))
		return err_msg(err, -EBADMSG, "a sparse entry without its size");
	t->m.size = p->sparse_size;
	if (p->has & PAX_SPARSE_NAME) {
		strbuf_reset(&t->path);
		if (strbuf_adds(&t->path, p->sparse_name) < 0)
			return no_memory(err);
		t->m.path = t->path.s;
	}
	if ((p->has & PAX_SPARSE_MAJOR) && p->sparse_major != 0) {
		if (p->sparse_major != 1 || !(p->has & PAX_SPARSE_MINOR) || p->sparse_minor != 0)
			return err_msg(err, -EBADMSG, "unknown version of a sparse entry");
		if (p->has & PAX_SPARSE_MAP)
			return err_msg(err, -EBADMSG, "two sparse maps for one entry");
		t->map_number = t->map_seen = 0;
		t->map_digit = false;
		t->state = ST_SPARSE_MAP;
		return 0;
	}
	if ((p->has & PAX_SPARSE_BLOCKS) && p->sparse_blocks != p->n_map)
		return err_msg(err, -EBADMSG, "the sparse map does not have the segments it says");
	return emit_sparse(t, err);
}

/* One number of the map in front of the data: the count, then offset, length, offset, ... */
static int map_number(struct oci_tar_check *t, struct err *err)
{
	uint64_t n = t->map_number;

	if (t->map_seen == 0) {
		t->map_count = n;
		if (n > SEGMENTS_MAX)
			return err_msg(err, -E2BIG, "a sparse map of more than %u segments",
				       SEGMENTS_MAX);
	} else if (t->map_seen % 2) {
		t->map_offset = n;
	} else if (pax_map_add(&t->local, t->map_offset, n) < 0) {
		return no_memory(err);
	}
	t->map_seen++;
	t->map_number = 0;
	t->map_digit = false;
	return 0;
}

static int map_block(struct oci_tar_check *t, const unsigned char *block, struct err *err)
{
	if (t->stored < TAR_BLOCK)
		return err_msg(err, -EBADMSG, "the sparse map is longer than the data");
	t->stored -= TAR_BLOCK;
	for (size_t i = 0; i < TAR_BLOCK; i++) {
		unsigned char c = block[i];
		int r;

		if (c >= '0' && c <= '9') {
			if (__builtin_mul_overflow(t->map_number, 10, &t->map_number) ||
			    __builtin_add_overflow(t->map_number, c - '0', &t->map_number))
				return bad_number(err, -ERANGE, "sparse map");
			t->map_digit = true;
			continue;
		}
		if (c != '\n' || !t->map_digit)
			return bad_number(err, -EINVAL, "sparse map");
		r = map_number(t, err);
		if (r < 0)
			return r;
		/* what is left of the block is padding */
		if (t->map_seen == 1 + 2 * t->map_count)
			return emit_sparse(t, err);
	}
	return 0;
}

static int start_member(struct oci_tar_check *t, const struct tar_header *h, struct err *err)
{
	struct oci_quoted q;
	int r;

	t->m = (struct oci_tar_member){.type = OCI_TAR_REG};
	t->state = ST_HEADER;
	if (t->global.xattrs) {
		t->has_pax = true;
		if (pax_inherit_xattrs(&t->local, &t->global) < 0)
			return no_memory(err);
	}
	r = read_path(t, h, err);
	if (r == 0)
		r = read_type(t, h, err);
	if (r == 0)
		r = read_link(t, h, err);
	if (r == 0)
		r = read_numbers(t, h, err);
	if (r == 0)
		r = read_size(t, h, err);
	if (r == 0 && h->type == 'S')
		r = start_gnu_sparse(t, h, err);
	else if (r == 0 && t->m.type == OCI_TAR_REG &&
		 (t->local.has & (PAX_SPARSE_MAP | PAX_SPARSE_MAJOR | PAX_SPARSE_BLOCKS)))
		r = start_pax_sparse(t, err);
	else if (r == 0)
		return emit(t, err);
	if (r < 0 && !(err && err->where[0]))
		return err_wrap(err, r, "entry %s", oci_quote(&q, t->m.path));
	return r;
}

static int start_ext(struct oci_tar_check *t, const struct tar_header *h, struct err *err)
{
	bool pending = t->has_pax || t->gnu_name || t->gnu_link;
	int64_t size;
	int r;

	if ((h->type == 'x' && t->has_pax) || (h->type == 'L' && t->gnu_name) ||
	    (h->type == 'K' && t->gnu_link))
		return err_msg(err, -EBADMSG, "two '%c' headers for one entry", h->type);
	if (h->type == 'g' && pending)
		return err_msg(err, -EBADMSG, "a global header between a header and its entry");
	r = header_number(h->size, sizeof(h->size), "size of a header", 0, INT64_MAX, &size, err);
	if (r < 0)
		return r;
	if ((uint64_t)size > t->limits->header_bytes ||
	    (uint64_t)size + t->ext_bytes > t->limits->header_bytes)
		return oci_limit_hit(err, "header-bytes", t->limits->header_bytes);
	if (size == 0)
		return err_msg(err, -EBADMSG, "an empty '%c' header", h->type);
	t->ext_bytes += (uint64_t)size;
	t->ext_type = h->type;
	t->ext_size = (size_t)size;
	t->left = padded((uint64_t)size);
	strbuf_reset(&t->ext);
	t->state = ST_EXT;
	return 0;
}

static int end_gnu_text(struct oci_tar_check *t, char **field, struct err *err)
{
	size_t n = t->ext.len;

	while (n > 0 && t->ext.s[n - 1] == '\0')
		n--;
	if (n == 0 || memchr(t->ext.s, '\0', n))
		return err_msg(err, -EBADMSG, "a GNU '%c' header is empty or has a NUL inside",
			       t->ext_type);
	*field = strndup(t->ext.s, n);
	return *field ? 0 : no_memory(err);
}

static int end_ext(struct oci_tar_check *t, struct err *err)
{
	struct pax global = {.has = 0};
	int r;

	strbuf_truncate(&t->ext, t->ext_size);
	t->state = ST_HEADER;
	switch (t->ext_type) {
	case 'L':
		return end_gnu_text(t, &t->gnu_name, err);
	case 'K':
		return end_gnu_text(t, &t->gnu_link, err);
	case 'x':
		t->has_pax = true;
		return pax_parse(&t->local, t->ext.s, t->ext.len, err);
	default:
		break;
	}
	t->ext_bytes = 0;
	r = pax_parse(&global, t->ext.s, t->ext.len, err);
	/* what is true of one entry's bytes cannot be said of all */
	if (r == 0 && (global.has & (PAX_SIZE | PAX_SPARSE_SIZE | PAX_SPARSE_MAP |
				     PAX_SPARSE_MAJOR | PAX_SPARSE_BLOCKS | PAX_SPARSE_NAME)))
		r = err_msg(err, -EBADMSG, "a global header gives the size of an entry");
	if (r == 0 && pax_merge(&t->global, &global) < 0)
		r = err_msg(err, -EBADMSG, "global headers with too many xattrs");
	pax_release(&global);
	return r;
}

static int header_block(struct oci_tar_check *t, const struct tar_header *h, struct err *err)
{
	if (tar_is_zero_block(h)) {
		if (t->has_pax || t->gnu_name || t->gnu_link)
			return err_msg(err, -EBADMSG, "a header without an entry at the end");
		t->state = t->state == ST_ZERO ? ST_END : ST_ZERO;
		return 0;
	}
	if (t->state == ST_ZERO)
		return err_msg(err, -EBADMSG, "a zero block with an entry behind it");
	if (!tar_checksum_holds(h))
		return err_msg(err, -EBADMSG, "no tar header, or one with a bad checksum");
	if (h->type == 'x' || h->type == 'g' || h->type == 'L' || h->type == 'K')
		return start_ext(t, h, err);
	return start_member(t, h, err);
}

static int take_block(struct oci_tar_check *t, const void *block, struct err *err)
{
	struct oci_quoted q;
	int r;

	t->pos += TAR_BLOCK;
	switch (t->state) {
	case ST_HEADER:
	case ST_ZERO:
		return header_block(t, block, err);
	case ST_SPARSE_EXT:
		r = more_gnu_sparse(t, block, err);
		break;
	case ST_SPARSE_MAP:
		r = map_block(t, block, err);
		break;
	case ST_EXT:
	case ST_SKIP:
	case ST_END:
	default:
		return -EINVAL;
	}
	if (r < 0 && !(err && err->where[0]))
		return err_wrap(err, r, "entry %s", oci_quote(&q, t->m.path));
	return r;
}

/* Up to a whole block out of what is there; the common case is used where it lies. */
static int gather(struct oci_tar_check *t, const unsigned char **p, size_t *len, struct err *err)
{
	size_t n = TAR_BLOCK - t->have;

	if (n > *len)
		n = *len;
	memcpy(t->block + t->have, *p, n);
	t->have += n;
	*p += n;
	*len -= n;
	if (t->have < TAR_BLOCK)
		return 0;
	t->have = 0;
	return take_block(t, t->block, err);
}

int oci_tar_check_push(struct oci_tar_check *t, const void *data, size_t len, struct err *err)
{
	const unsigned char *p = data;
	int r = 0;

	while (len > 0 && r == 0) {
		size_t n = t->left < len ? (size_t)t->left : len;

		switch (t->state) {
		case ST_HEADER:
		case ST_ZERO:
		case ST_SPARSE_EXT:
		case ST_SPARSE_MAP:
			r = gather(t, &p, &len, err);
			continue;
		case ST_EXT:
			if (strbuf_add(&t->ext, p, n) < 0)
				return no_memory(err);
			break;
		case ST_SKIP:
			break;
		case ST_END:
			return 0;
		}
		p += n;
		len -= n;
		t->pos += n;
		t->left -= n;
		if (t->left == 0) {
			if (t->state == ST_EXT)
				r = end_ext(t, err);
			else
				t->state = ST_HEADER;
		}
	}
	return r;
}

int oci_tar_check_finish(struct oci_tar_check *t, struct err *err)
{
	struct oci_quoted q;

	if (t->state == ST_SKIP) {
		(void)err_msg(err, -EBADMSG, "tar: truncated");
		return err_wrap(err, -EBADMSG, "entry %s",
				oci_quote(&q, t->path.len ? t->path.s : NULL));
	}
	if (t->state != ST_END && (t->have > 0 || (t->state != ST_HEADER && t->state != ST_ZERO)))
		return err_msg(err, -EBADMSG, "tar: truncated");
	if (t->has_pax || t->gnu_name || t->gnu_link)
		return err_msg(err, -EBADMSG, "a header without an entry at the end");
	return 0;
}
