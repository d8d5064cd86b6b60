/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/tar_in.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "oci/quote.h"
#include "oci/tar_check.h"

/*
 * Where libarchive (3.6) says something else by design, and the strict reader's word stands:
 *
 *	field			libarchive			here
 *	what a 'g' header says	is not read			counts (member.hidden)
 *	number with no value	is 0				the header's value (member.hidden)
 *	mtime -1.25		is -1 + 0.25			is -2 + 0.75, as POSIX has it
 *	xattr with no value	is an empty xattr		takes the xattr back
 *	xattr given twice	is there twice			the last one counts
 *	security.selinux	also from RHT.security.selinux	is not kept at all
 *	type of "name/"		a file if the name is no ASCII	a directory
 *	mode with an ACL	has the ACL's rwx		the header's
 *
 * Where data begins is compared without exception, so no such field moves what comes next.
 */
struct queued {
	struct queued *next;
	struct oci_tar_member m; /* what it points to is behind it, in the same piece of memory */
};

struct tar_in {
	const struct oci_tar_io *io;
	struct oci_tar_check *check;
	struct archive *archive;
	struct queued *first, **last; /* what the check has seen and libarchive not yet */
	bool ended; /* no more bytes, and the check is content */
	int code; /* what failed below libarchive; err has the message then */
	struct err *err;
};

static size_t text_size(const char *text)
{
	return text ? strlen(text) + 1 : 0;
}

/* Puts @len bytes where *@at is. */
static void *put(char **at, const void *data, size_t len)
{
	char *p = *at;

	if (len)
		memcpy(p, data, len);
	*at += len;
	return p;
}

static char *put_text(char **at, const char *text)
{
	return text ? put(at, text, strlen(text) + 1) : NULL;
}

/* The check runs ahead by up to a buffer: keeps a copy of @m. */
static int on_checked(void *ctx, const struct oci_tar_member *m, struct err *err)
{
	size_t map = m->n_map * sizeof(*m->map), xattrs = 0, n_xattrs = 0;
	struct tar_in *t = ctx;
	struct oci_pax_xattr *to;
	struct queued *q;
	char *at;

	for (const struct oci_pax_xattr *x = m->xattrs; x; x = x->next, n_xattrs++)
		xattrs += sizeof(*x) + strlen(x->name) + 1 + x->len;
	q = malloc(sizeof(*q) + map + xattrs + text_size(m->path) + text_size(m->link) +
		   text_size(m->acl_access) + text_size(m->acl_default));
	if (!q)
		return err_set(err, -ENOMEM, "read tar");
	q->next = NULL;
	q->m = *m;
	/* what needs alignment first */
	at = (char *)(q + 1);
	q->m.map = put(&at, m->map, map);
	to = (struct oci_pax_xattr *)(void *)at;
	at += n_xattrs * sizeof(*to);
	q->m.xattrs = n_xattrs ? to : NULL;
	for (const struct oci_pax_xattr *x = m->xattrs; x; x = x->next, to++) {
		*to = *x;
		to->next = x->next ? to + 1 : NULL;
		to->name = put_text(&at, x->name);
		to->value = put(&at, x->value, x->len);
	}
	q->m.path = put_text(&at, m->path);
	q->m.link = put_text(&at, m->link);
	q->m.acl_access = put_text(&at, m->acl_access);
	q->m.acl_default = put_text(&at, m->acl_default);
	*t->last = q;
	t->last = &q->next;
	return 0;
}

/* The next bytes, seen by the check before libarchive gets them. */
static int pull(struct tar_in *t, const void **ret_data, size_t *ret_len)
{
	*ret_len = 0;
	if (t->code < 0 || t->ended)
		return t->code;
	t->code = t->io->next(t->io->ctx, ret_data, ret_len, t->err);
	if (t->code < 0)
		return t->code;
	if (*ret_len > 0) {
		t->code = oci_tar_check_push(t->check, *ret_data, *ret_len, t->err);
	} else {
		t->ended = true;
		t->code = oci_tar_check_finish(t->check, t->err);
	}
	return t->code;
}

static la_ssize_t on_read(struct archive *a, void *ctx, const void **ret_data)
{
	size_t len;

	(void)a;
	return pull(ctx, ret_data, &len) < 0 ? -1 : (la_ssize_t)len;
}

/* @m: NULL when it is not about a known member. */
static int differs(struct tar_in *t, const struct oci_tar_member *m, const char *what)
{
	struct oci_quoted q;
	int r;

	/* what failed below is the reason */
	if (t->code < 0)
		return t->code;
	r = err_msg(t->err, -EBADMSG, "libarchive reads it differently: %s",
		    what ? oci_quote(&q, what) : "it gives no reason");
	return m ? err_wrap(t->err, r, "entry %s", oci_quote(&q, m->path)) : r;
}

static bool same_type(const struct oci_tar_member *m, struct archive_entry *e)
{
	static const unsigned int types[] = {
		[OCI_TAR_REG] = AE_IFREG,   [OCI_TAR_SYMLINK] = AE_IFLNK, [OCI_TAR_CHAR] = AE_IFCHR,
		[OCI_TAR_BLOCK] = AE_IFBLK, [OCI_TAR_DIR] = AE_IFDIR,	  [OCI_TAR_FIFO] = AE_IFIFO,
	};
	unsigned int type = archive_entry_filetype(e);
	size_t n = strlen(m->path);

	/* a link to nothing is told to be none; its file type is whatever the mode field has */
	if (m->type == OCI_TAR_LINK)
		return archive_entry_hardlink(e) || m->link[0] == '\0';
	if (m->type == OCI_TAR_SYMLINK)
		return type == AE_IFLNK;
	if (archive_entry_hardlink(e))
		return false;
	if (m->type == OCI_TAR_DIR && type == AE_IFREG)
		return n > 0 && m->path[n - 1] == '/' && archive_entry_size(e) == 0;
	return type == types[m->type];
}

static bool same_text(const char *ours, const char *theirs)
{
	return strcmp(ours, theirs ? theirs : "") == 0;
}

static bool same_link(const struct oci_tar_member *m, struct archive_entry *e)
{
	const char *hard = archive_entry_hardlink(e), *symbolic = archive_entry_symlink(e);

	if ((m->hidden & OCI_TAR_F_LINK) || (m->type != OCI_TAR_LINK && m->type != OCI_TAR_SYMLINK))
		return true;
	/* a long target behind an empty short one is told as a hard link's, whatever the type */
	return same_text(m->link, hard ? hard : symbolic);
}

static bool same_mode(const struct oci_tar_member *m, struct archive_entry *e)
{
	unsigned int mask = m->acl_access ? 07000 : 07777;

	return (archive_entry_perm(e) & mask) == (m->mode & mask);
}

static bool same_mtime(const struct oci_tar_member *m, struct archive_entry *e)
{
	if ((m->hidden & OCI_TAR_F_MTIME) || (m->mtime < 0 && m->mtime_nsec > 0))
		return true;
	return archive_entry_mtime(e) == m->mtime &&
	       archive_entry_mtime_nsec(e) == (long)m->mtime_nsec;
}

static bool same_device(const struct oci_tar_member *m, struct archive_entry *e)
{
	if (m->type != OCI_TAR_CHAR && m->type != OCI_TAR_BLOCK)
		return true;
	return ((m->hidden & OCI_TAR_F_MAJOR) || archive_entry_rdevmajor(e) == m->major) &&
	       ((m->hidden & OCI_TAR_F_MINOR) || archive_entry_rdevminor(e) == m->minor);
}

static bool same_size(const struct oci_tar_member *m, struct archive_entry *e)
{
	/* holes of a format that only libarchive knows */
	if (!m->sparse && archive_entry_sparse_count(e) > 0)
		return false;
	return archive_entry_size(e) == (int64_t)m->size;
}

static bool has_xattr(struct archive_entry *e, const struct oci_pax_xattr *x)
{
	const char *name;
	const void *value;
	size_t len;

	(void)archive_entry_xattr_reset(e);
	while (archive_entry_xattr_next(e, &name, &value, &len) == ARCHIVE_OK) {
		if (len == x->len && strcmp(name, x->name) == 0 &&
		    memcmp(value, x->value, len) == 0)
			return true;
	}
	return false;
}

static bool same_xattrs(const struct oci_tar_member *m, struct archive_entry *e)
{
	const struct oci_pax_xattr *x;
	const char *name;
	const void *value;
	size_t len;

	for (x = m->xattrs; x; x = x->next) {
		if (!x->inherited && x->len && !has_xattr(e, x))
			return false;
	}
	(void)archive_entry_xattr_reset(e);
	while (archive_entry_xattr_next(e, &name, &value, &len) == ARCHIVE_OK) {
		for (x = m->xattrs; x && strcmp(x->name, name) != 0;)
			x = x->next;
		if (!x && strcmp(name, "security.selinux") != 0)
			return false;
	}
	return true;
}

/* What the two say differently; NULL when they agree. */
static const char *difference(struct tar_in *t, const struct oci_tar_member *m,
			      struct archive_entry *e)
{
	if (archive_filter_bytes(t->archive, 0) != (int64_t)m->data)
		return "where its data begins";
	if (!(m->hidden & OCI_TAR_F_PATH) && !same_text(m->path, archive_entry_pathname(e)))
		return "its name";
	if (!same_type(m, e))
		return "its type";
	if (!same_size(m, e))
		return "its size";
	if (!same_link(m, e))
		return "its target";
	if (!same_mode(m, e))
		return "its mode";
	if (!(m->hidden & OCI_TAR_F_UID) && archive_entry_uid(e) != m->uid)
		return "its uid";
	if (!(m->hidden & OCI_TAR_F_GID) && archive_entry_gid(e) != m->gid)
		return "its gid";
	if (!same_mtime(m, e))
		return "its mtime";
	if (!same_device(m, e))
		return "its device number";
	if (!same_xattrs(m, e))
		return "its xattrs";
	return NULL;
}

/* Skips the segments that are full; where the next byte of data belongs, if @m has one. */
static bool next_segment(const struct oci_tar_member *m, size_t *i, uint64_t *done)
{
	while (*i < m->n_map && m->map[*i].len == *done) {
		(*i)++;
		*done = 0;
	}
	return *i < m->n_map;
}

static int read_sparse(struct tar_in *t, const struct oci_tar_member *m)
{
	uint64_t done = 0;
	size_t i = 0;

	for (;;) {
		struct oci_quoted q;
		const void *data;
		size_t len;
		int64_t pos;
		int r = archive_read_data_block(t->archive, &data, &len, &pos);

		if (t->code < 0)
			return t->code;
		if (r == ARCHIVE_EOF)
			break;
		if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
			return differs(t, m, archive_error_string(t->archive));
		if (len == 0)
			continue;
		/* a piece is never more than a segment */
		if (!next_segment(m, &i, &done) || pos < 0 ||
		    (uint64_t)pos != m->map[i].offset + done || len > m->map[i].len - done)
			return differs(t, m, "where its holes are");
		r = t->io->sparse_data(t->io->ctx, data, len, (uint64_t)pos, t->err);
		if (r < 0)
			return err_wrap(t->err, r, "entry %s", oci_quote(&q, m->path));
		done += len;
	}
	return next_segment(m, &i, &done) ? differs(t, m, "where its holes are") : 0;
}

static int take_entry(struct tar_in *t, struct archive_entry *e)
{
	struct queued *q cleanup_free = t->first;
	const char *what;
	struct oci_quoted text;
	int r;

	if (!q)
		return differs(t, NULL, "there is no such entry");
	t->first = q->next;
	if (!t->first)
		t->last = &t->first;
	what = difference(t, &q->m, e);
	if (what)
		return differs(t, &q->m, what);
	r = t->io->member(t->io->ctx, &q->m, t->err);
	if (r < 0)
		return err_wrap(t->err, r, "entry %s", oci_quote(&text, q->m.path));
	return q->m.sparse ? read_sparse(t, &q->m) : 0;
}

static int read_all(struct tar_in *t)
{
	struct archive_entry *e;
	const void *data;
	size_t len;
	int r = archive_read_open(t->archive, t, NULL, on_read, NULL);

	while (r == ARCHIVE_OK || r == ARCHIVE_WARN) {
		int code;

		r = archive_read_next_header(t->archive, &e);
		if (t->code < 0)
			return t->code;
		if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
			break;
		code = take_entry(t, e);
		if (code < 0)
			return code;
	}
	if (r != ARCHIVE_EOF)
		return differs(t, t->first ? &t->first->m : NULL, archive_error_string(t->archive));
	/* what is behind the end belongs to the blob all the same */
	while (!t->ended) {
		r = pull(t, &data, &len);
		if (r < 0)
			return r;
	}
	return t->first ? differs(t, &t->first->m, "there is no such entry") : 0;
}

int oci_tar_in(const struct oci_tar_io *io, const struct oci_limits *limits, struct err *err)
{
	struct tar_in t = {.io = io, .last = &t.first, .err = err};
	/* libarchive converts names to the charset of the locale; in this one it leaves bytes alone
	 */
	locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0), before = (locale_t)0;
	int r = -ENOMEM;

	if (c)
		before = uselocale(c);
	t.archive = archive_read_new();
	if (c && t.archive && archive_read_support_format_tar(t.archive) == ARCHIVE_OK &&
	    archive_read_support_format_empty(t.archive) == ARCHIVE_OK)
		r = oci_tar_check_new(on_checked, &t, limits, &t.check);
	r = r < 0 ? err_set(err, r, "read tar") : read_all(&t);
	(void)archive_read_free(t.archive);
	oci_tar_check_free(t.check);
	while (t.first) {
		struct queued *q = t.first;

		t.first = q->next;
		free(q);
	}
	if (c) {
		(void)uselocale(before);
		freelocale(c);
	}
	return r;
}
