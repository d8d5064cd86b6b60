/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/record.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/strbuf.h"

/* What was read once is not said again: remembered by pieces of this size, far below a span's. */
#define PIECE_SHIFT 16

struct seen {
	struct seen *next;
	const char *tag; /* borrowed of the layer, which lives as long as we do */
	uint8_t *bits; /* one a piece of the layer's tar */
	size_t pieces; /* that ->bits has room for */
};

struct ovl_record {
	int fd;
	pthread_mutex_t lock; /* over what follows */
	struct seen *layers;
	/* the run that may go on; ->tag NULL: none */
	const char *tag;
	uint64_t off, end;
	char *path; /* owned; NULL: not known */
	bool broken; /* the file cannot be written: said once */
};

int ovl_record_open(const char *path, struct ovl_record **ret, struct err *err)
{
	static const char head[] = "# snap record 1\n";
	int fd cleanup_close = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	struct ovl_record *r;

	if (fd < 0)
		return err_set(err, -errno, "record '%s'", path);
	if (io_write_full(fd, head, sizeof(head) - 1) < 0)
		return err_set(err, -errno, "write '%s'", path);
	r = calloc(1, sizeof(*r));
	if (!r)
		return err_set(err, -ENOMEM, "record");
	(void)pthread_mutex_init(&r->lock, NULL);
	r->fd = steal_fd(&fd);
	*ret = r;
	return 0;
}

static int add_path(struct strbuf *s, const char *path)
{
	int r = 0;

	for (const unsigned char *p = (const unsigned char *)path; *p && r == 0; p++)
		r = *p < 0x20 || *p == 0x7f || *p == '\\' ? strbuf_addf(s, "\\%03o", *p)
							  : strbuf_add(s, p, 1);
	return r;
}

/* Under lock. */
static void flush_locked(struct ovl_record *r)
{
	struct strbuf line CLEANUP(strbuf_release) = STRBUF_INIT;
	int e;

	if (!r->tag)
		return;
	e = strbuf_addf(&line, "sha256:%.64s %" PRIu64 " %" PRIu64 " ", r->tag, r->off,
			r->end - r->off);
	if (e == 0)
		e = add_path(&line, r->path ? r->path : "-");
	if (e == 0)
		e = strbuf_adds(&line, "\n");
	if (e == 0)
		e = io_write_full(r->fd, line.s, line.len);
	if (e < 0 && !r->broken) {
		log_error("what is read cannot be recorded: %s", strerror(-e));
		r->broken = true;
	}
	free(r->path);
	r->path = NULL;
	r->tag = NULL;
}

void ovl_record_close(struct ovl_record *r)
{
	if (!r)
		return;
	flush_locked(r);
	while (r->layers) {
		struct seen *s = r->layers;

		r->layers = s->next;
		free(s->bits);
		free(s);
	}
	closep(&r->fd);
	(void)pthread_mutex_destroy(&r->lock);
	free(r);
}

/* Under lock. Is a piece of [off, end) new? Remembers all of them. */
static bool is_new_locked(struct ovl_record *r, const char *tag, uint64_t off, uint64_t end)
{
	size_t first = (size_t)(off >> PIECE_SHIFT), last = (size_t)((end - 1) >> PIECE_SHIFT);
	struct seen *s = r->layers;
	bool fresh = false;

	while (s && strcmp(s->tag, tag) != 0)
		s = s->next;
	if (!s) {
		s = calloc(1, sizeof(*s));
		if (!s)
			return true;
		s->tag = tag;
		s->next = r->layers;
		r->layers = s;
	}
	if (last >= s->pieces) {
		size_t n = (last + 1) * 2, had = (s->pieces + 7) / 8;
		uint8_t *p = realloc(s->bits, (n + 7) / 8);

		if (!p)
			return true;
		memset(p + had, 0, (n + 7) / 8 - had);
		s->bits = p;
		s->pieces = n;
	}
	for (size_t i = first; i <= last; i++) {
		uint8_t bit = (uint8_t)(1u << (i % 8));

		fresh = fresh || !(s->bits[i / 8] & bit);
		s->bits[i / 8] |= bit;
	}
	return fresh;
}

/* As the container sees it. NULL: it has no name any more, or one that is too long. */
static char *path_of(struct ovl_fs *fs, struct ovl_node *n)
{
	char buf[PATH_MAX], *p = buf + sizeof(buf) - 1;

	*p = '\0';
	(void)pthread_rwlock_rdlock(&fs->tree);
	for (; p && n != fs->root; n = n->at.parent) {
		size_t len = n->at.parent ? strlen(n->at.name) : 0;

		if (!n->at.parent || len + 1 > (size_t)(p - buf)) {
			p = NULL;
			break;
		}
		p -= len;
		memcpy(p, n->at.name, len);
		*--p = '/';
	}
	(void)pthread_rwlock_unlock(&fs->tree);
	return p ? strdup(p) : NULL;
}

void ovl_record_read(struct ovl_fs *fs, struct ovl_node *n, const struct ovl_data *d, uint64_t off,
		     uint64_t len)
{
	struct ovl_record *r = fs->record;
	uint64_t start = d->off + off, end;

	if (!r || !d->tag || off >= d->size || len == 0)
		return;
	end = d->off + (len < d->size - off ? off + len : d->size);
	(void)pthread_mutex_lock(&r->lock);
	if (is_new_locked(r, d->tag, start, end)) {
		if (!r->tag || strcmp(r->tag, d->tag) != 0 || start < r->off || start > r->end ||
		    start == d->off) {
			flush_locked(r);
			r->tag = d->tag;
			r->off = start;
			r->end = end;
			r->path = path_of(fs, n);
		} else if (end > r->end) {
			r->end = end;
		}
	}
	(void)pthread_mutex_unlock(&r->lock);
}
