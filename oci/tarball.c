/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/tarball.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "oci/quote.h"
#include "oci/tar_header.h"
#include "oci/tar_pax.h"

#define LINKS_MAX 8

struct member {
	char *name; /* without "./" in front; owned, as is link */
	char *link; /* a link's target, from the root of the tar; NULL: a file */
	uint64_t offset, size;
};

struct oci_tarball {
	char *file;
	int fd;
	uint64_t size;
	struct member *members; /* sorted by name once open */
	size_t n, cap;
};

/* What the records in front of a member's header say of it. */
struct pending {
	struct pax pax;
	char *name, *link; /* GNU's */
};

static void pending_release(struct pending *p)
{
	pax_release(&p->pax);
	free(p->name);
	free(p->link);
	memset(p, 0, sizeof(*p));
}

void oci_tarball_close(struct oci_tarball *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->n; i++) {
		free(t->members[i].name);
		free(t->members[i].link);
	}
	free(t->members);
	free(t->file);
	if (t->fd >= 0)
		(void)close(t->fd);
	free(t);
}

const char *oci_tarball_name(const struct oci_tarball *t)
{
	return t->file;
}

/* "@dir/@path" without "." and "..": owned; NULL with *@ret_bad when it leads out of the tar. */
static char *join(const char *dir, size_t dir_len, const char *path, bool *ret_bad)
{
	char *out = malloc(dir_len + strlen(path) + 2);
	size_t len = dir_len;

	*ret_bad = false;
	if (!out)
		return NULL;
	memcpy(out, dir, dir_len);
	while (*path) {
		size_t n = strcspn(path, "/");

		if (n == 2 && memcmp(path, "..", 2) == 0) {
			if (len == 0) {
				*ret_bad = true;
				free(out);
				return NULL;
			}
			while (len > 0 && out[--len] != '/')
				;
		} else if (n > 0 && !(n == 1 && *path == '.')) {
			if (len > 0)
				out[len++] = '/';
			memcpy(out + len, path, n);
			len += n;
		}
		path += n;
		path += *path == '/';
	}
	out[len] = '\0';
	return out;
}

static bool has_dotdot(const char *path)
{
	for (const char *p = path; (p = strstr(p, "..")); p += 2) {
		if ((p == path || p[-1] == '/') && (p[2] == '\0' || p[2] == '/'))
			return true;
	}
	return false;
}

/* Takes nothing; @link NULL: a file of @size bytes at @offset. */
static int add_member(struct oci_tarball *t, const char *name, const char *link, bool hard,
		      uint64_t offset, uint64_t size, struct err *err)
{
	struct member m = {.offset = offset, .size = size};
	struct oci_quoted q;
	bool bad = false;

	if (t->n == OCI_TARBALL_MEMBERS_MAX)
		return err_msg(err, -EBADMSG, "'%s' has more than %d members", t->file,
			       OCI_TARBALL_MEMBERS_MAX);
	if (t->n == t->cap) {
		size_t cap = t->cap ? 2 * t->cap : 64;
		struct member *more = reallocarray(t->members, cap, sizeof(*more));

		if (!more)
			return err_set(err, -ENOMEM, "read '%s'", t->file);
		t->members = more;
		t->cap = cap;
	}
	if (name[0] == '/' || has_dotdot(name))
		return err_msg(err, -EBADMSG, "'%s': member %s leads out of it", t->file,
			       oci_quote(&q, name));
	m.name = join("", 0, name, &bad);
	if (m.name && link) {
		const char *slash = strrchr(m.name, '/');

		/* a hard link's target is a member's name, a symlink's counts from its folder */
		if (link[0] != '/')
			m.link = join(m.name, hard || !slash ? 0 : (size_t)(slash - m.name), link,
				      &bad);
		else
			bad = true;
	}
	if (bad || !m.name || (link && !m.link)) {
		free(m.name);
		return bad ? err_msg(err, -EBADMSG, "'%s': link %s leads out of it", t->file,
				     oci_quote(&q, name))
			   : err_set(err, -ENOMEM, "read '%s'", t->file);
	}
	t->members[t->n++] = m;
	return 0;
}

static int read_record(const struct oci_tarball *t, uint64_t pos, uint64_t size, char **ret,
		       struct err *err)
{
	char *text cleanup_free = NULL;
	int r;

	if (size > OCI_TARBALL_HEADER_MAX)
		return err_msg(err, -EBADMSG, "'%s': a header of %" PRIu64 " bytes at %" PRIu64,
			       t->file, size, pos);
	text = malloc((size_t)size + 1);
	if (!text)
		return err_set(err, -ENOMEM, "read '%s'", t->file);
	r = io_pread_full(t->fd, text, (size_t)size, (off_t)pos);
	if (r < 0)
		return err_set(err, r, "read '%s'", t->file);
	text[size] = '\0';
	*ret = steal_ptr(&text);
	return 0;
}

/* @field of @len bytes, which need not end in a NUL, behind ustar's @prefix. */
static char *field_text(const char *prefix, size_t prefix_max, const char *field, size_t len)
{
	char *text;

	if (asprintf(&text, "%.*s%s%.*s", (int)prefix_max, prefix_max ? prefix : "",
		     prefix_max && prefix[0] ? "/" : "", (int)strnlen(field, len), field) < 0)
		return NULL;
	return text;
}

/* A member that is no header of another: @p says what its own header cannot. */
static int take_member(struct oci_tarball *t, const struct tar_header *h, const struct pending *p,
		       uint64_t data, uint64_t size, struct err *err)
{
	const char *name = p->pax.path ? p->pax.path : p->name;
	const char *link = p->pax.linkpath ? p->pax.linkpath : p->link;
	char *own_name cleanup_free = field_text(
		h->u.prefix, tar_is_posix(h) ? sizeof(h->u.prefix) : 0, h->name, sizeof(h->name));
	char *own_link cleanup_free = field_text("", 0, h->linkname, sizeof(h->linkname));
	struct oci_quoted q;
	size_t len;

	if (!own_name || !own_link)
		return err_set(err, -ENOMEM, "read '%s'", t->file);
	name = name ? name : own_name;
	link = link ? link : own_link;
	len = strlen(name);
	switch (h->type) {
	case '\0':
	case '0':
	case '7':
		/* how tars older than POSIX mark a directory */
		if (len > 0 && name[len - 1] == '/')
			return 0;
		if (p->pax.has & (PAX_SPARSE_SIZE | PAX_SPARSE_MAJOR | PAX_SPARSE_MAP))
			break;
		return add_member(t, name, NULL, false, data, size, err);
	case '1':
	case '2':
		return add_member(t, name, link, h->type == '1', 0, 0, err);
	case '5':
		return 0;
	default:
		break;
	}
	return err_msg(err, -EBADMSG, "'%s': member %s is neither a file, a link nor a folder",
		       t->file, oci_quote(&q, name));
}

static int take_pax(struct oci_tarball *t, struct pending *p, uint64_t data, uint64_t size,
		    struct err *err)
{
	char *text cleanup_free = NULL;
	int r = read_record(t, data, size, &text, err);

	if (r == 0)
		r = pax_parse(&p->pax, text, (size_t)size, err);
	return r < 0 ? err_wrap(err, r, "'%s'", t->file) : 0;
}

static int take_header(struct oci_tarball *t, const struct tar_header *h, struct pending *p,
		       uint64_t *pos, struct err *err)
{
	uint64_t data = *pos + TAR_BLOCK, size;
	int64_t number;
	char **gnu = h->type == 'L' ? &p->name : &p->link;
	int r;

	if (tar_number(h->size, sizeof(h->size), &number) < 0 || number < 0)
		return err_msg(err, -EBADMSG, "'%s': bad size in the header at %" PRIu64, t->file,
			       *pos);
	size = (uint64_t)number;
	if ((h->type == '\0' || !strchr("xgLK", h->type)) && p->pax.has & PAX_SIZE)
		size = p->pax.size;
	if (h->type == '1' || h->type == '2' || h->type == '5')
		size = 0;
	if (size > t->size || data > t->size - size)
		return err_msg(err, -EBADMSG,
			       "'%s' is cut short: the member at %" PRIu64 " ends behind it",
			       t->file, *pos);
	*pos = data + (size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
	if (h->type == 'g') /* comments, as git archive writes them: nothing an image depends on */
		return 0;
	if (h->type == 'x')
		return take_pax(t, p, data, size, err);
	if (h->type == 'L' || h->type == 'K') {
		free(steal_ptr(gnu));
		return read_record(t, data, size, gnu, err);
	}
	r = take_member(t, h, p, data, size, err);
	pending_release(p);
	return r;
}

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct member *)a)->name, ((const struct member *)b)->name);
}

static int not_a_tar(const struct oci_tarball *t, const unsigned char *block, struct err *err)
{
	bool packed = (block[0] == 0x1f && block[1] == 0x8b) ||
		      memcmp(block, "\x28\xb5\x2f\xfd", 4) == 0 ||
		      memcmp(block,
			     "\xfd"
			     "7zXZ",
			     5) == 0 ||
		      memcmp(block, "BZh", 3) == 0;

	(void)err_msg(err, -EBADMSG, "'%s' is no tar%s", t->file, packed ? " but compressed" : "");
	if (packed)
		err_hint(err, "decompress it first: members are read where they lie");
	return -EBADMSG;
}

static int read_headers(struct oci_tarball *t, struct err *err)
{
	struct pending p CLEANUP(pending_release) = {.name = NULL};
	struct tar_header h;
	struct oci_quoted q;
	uint64_t pos = 0;
	int r;

	while (pos < t->size) {
		r = t->size - pos < TAR_BLOCK ? -EBADMSG
					      : io_pread_full(t->fd, &h, sizeof(h), (off_t)pos);
		if (r == 0 && tar_is_zero_block(&h))
			break;
		if (pos == 0 && (r < 0 || !tar_checksum_holds(&h)))
			return not_a_tar(t, (const unsigned char *)&h, err);
		if (r < 0 || !tar_checksum_holds(&h))
			return err_msg(err, -EBADMSG, "'%s': bad tar header at %" PRIu64, t->file,
				       pos);
		r = take_header(t, &h, &p, &pos, err);
		if (r < 0)
			return r;
	}
	if (t->n > 0)
		qsort(t->members, t->n, sizeof(*t->members), compare);
	/* of two with one name every reader takes another: nobody could say what the image is */
	for (size_t i = 1; i < t->n; i++) {
		if (strcmp(t->members[i - 1].name, t->members[i].name) == 0)
			return err_msg(err, -EBADMSG, "'%s' has two members named %s", t->file,
				       oci_quote(&q, t->members[i].name));
	}
	return 0;
}

int oci_tarball_open(const char *file, struct oci_tarball **ret, struct err *err)
{
	struct oci_tarball *t cleanup_oci_tarball = calloc(1, sizeof(*t));
	struct stat st;
	int r;

	if (!t)
		return err_set(err, -ENOMEM, "open '%s'", file);
	/* O_NONBLOCK: a fifo must not hang us */
	t->fd = open(file, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (t->fd < 0)
		return err_set(err, -errno, "open '%s'", file);
	t->file = strdup(file);
	if (!t->file)
		return err_set(err, -ENOMEM, "open '%s'", file);
	if (fstat(t->fd, &st) < 0)
		return err_set(err, -errno, "stat '%s'", file);
	if (!S_ISREG(st.st_mode))
		return err_msg(err, -EINVAL, "'%s' is no regular file: an archive is read in place",
			       file);
	t->size = (uint64_t)st.st_size;
	r = t->size == 0 ? err_msg(err, -EBADMSG, "'%s' is empty", file) : read_headers(t, err);
	if (r < 0)
		return r;
	*ret = steal_ptr(&t);
	return 0;
}

static const struct member *find(const struct oci_tarball *t, const char *name)
{
	char *path cleanup_free = NULL;
	struct member key;
	bool bad;

	path = join("", 0, name, &bad);
	if (!path || has_dotdot(name) || t->n == 0)
		return NULL;
	key.name = path;
	for (int i = 0; i <= LINKS_MAX; i++) {
		const struct member *m =
			bsearch(&key, t->members, t->n, sizeof(*t->members), compare);

		if (!m || !m->link)
			return m;
		key.name = m->link;
	}
	return NULL;
}

int oci_tarball_size(const struct oci_tarball *t, const char *name, uint64_t *ret)
{
	const struct member *m = find(t, name);

	if (!m)
		return -ENOENT;
	*ret = m->size;
	return 0;
}

int oci_tarball_read(const struct oci_tarball *t, const char *name, size_t max, char **ret,
		     size_t *ret_len, struct err *err)
{
	const struct member *m = find(t, name);
	char *text cleanup_free = NULL;
	struct oci_quoted q;
	int r;

	if (!m)
		return err_msg(err, -ENOENT, "'%s' has no %s", t->file, oci_quote(&q, name));
	if (m->size > max)
		return err_msg(err, -EBADMSG, "%s in '%s' has more than %zu bytes",
			       oci_quote(&q, name), t->file, max);
	text = malloc((size_t)m->size + 1);
	if (!text)
		return err_set(err, -ENOMEM, "read '%s'", t->file);
	r = io_pread_full(t->fd, text, (size_t)m->size, (off_t)m->offset);
	if (r < 0)
		return err_set(err, r, "read '%s'", t->file);
	text[m->size] = '\0';
	*ret_len = (size_t)m->size;
	*ret = steal_ptr(&text);
	return 0;
}

int oci_tarball_open_member(const struct oci_tarball *t, const char *name, int *ret_fd,
			    struct err *err)
{
	const struct member *m = find(t, name);
	char self[40];
	int fd cleanup_close = -1;
	struct oci_quoted q;

	if (!m)
		return err_msg(err, -ENOENT, "'%s' has no %s", t->file, oci_quote(&q, name));
	/* a description of its own: several members are read at once */
	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", t->fd);
	fd = open(self, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, -errno, "open '%s' again", t->file);
	if (lseek(fd, (off_t)m->offset, SEEK_SET) < 0)
		return err_set(err, -errno, "seek in '%s'", t->file);
	*ret_fd = steal_fd(&fd);
	return 0;
}
