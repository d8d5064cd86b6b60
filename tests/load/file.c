/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "tests/load/load.h"

/* Where, and how much, inside LOAD_FILE_MAX; often at the edges of pages. */
static void pick_range(struct region *r, size_t *ret_at, size_t *ret_len)
{
	size_t at = rng_below(&r->rng, LOAD_FILE_MAX), len = 1 + rng_below(&r->rng, 40000);

	if (rng_percent(&r->rng, 40))
		at &= ~(size_t)4095;
	if (rng_percent(&r->rng, 40))
		len = (len + 4095) & ~(size_t)4095;
	if (rng_percent(&r->rng, 50))
		at /= 8;
	if (len > LOAD_FILE_MAX - at)
		len = LOAD_FILE_MAX - at;
	*ret_at = at;
	*ret_len = len;
}

static void compare_bytes(struct region *r, const char *what, const unsigned char *got,
			  const struct node *n)
{
	for (size_t i = 0; i < n->size; i++) {
		if (got[i] != n->data[i]) {
			region_fail(r, "%s: byte %zu of %zu is %02x, must be %02x", what, i,
				    n->size, got[i], n->data[i]);
			return;
		}
	}
}

void handle_check(struct region *r, struct handle *h)
{
	struct node *n = h->node;
	size_t at = 0;
	ssize_t got = 0;
	struct stat st;

	if (fstat(h->fd, &st) < 0 || (size_t)st.st_size != n->size ||
	    (st.st_mode & 07777) != n->mode || (st.st_nlink != n->links && n->links)) {
		region_fail(r, "fstat: size %lld mode %o links %lu, must be %zu %o %u",
			    (long long)st.st_size, st.st_mode, (unsigned long)st.st_nlink, n->size,
			    n->mode, n->links);
		return;
	}
	while (at < LOAD_FILE_MAX &&
	       (got = pread(h->fd, r->scratch + at, LOAD_FILE_MAX - at, (off_t)at)) > 0)
		at += (size_t)got;
	if (got < 0 || at != n->size) {
		region_fail(r, "read: %zu bytes, must be %zu (%s)", at, n->size,
			    got < 0 ? err_name(-errno) : "end of file");
		return;
	}
	compare_bytes(r, "read", r->scratch, n);
	if (h->map)
		compare_bytes(r, "an old mapping", h->map, n);
}

void handle_close(struct region *r, struct handle *h)
{
	if (h->fd < 0)
		return;
	if (h->map)
		(void)munmap(h->map, LOAD_FILE_MAX);
	if (close(h->fd) < 0)
		region_fail(r, "close: %s", err_name(-errno));
	h->node->handles--;
	node_put(h->node);
	*h = (struct handle){.fd = -1};
}

static void step_open(struct region *r, struct handle *h)
{
	static const int flags[] = {O_RDONLY, O_RDONLY, O_RDWR, O_RDWR, O_RDWR | O_TRUNC};
	int how = flags[rng_below(&r->rng, 5)];
	struct place p;

	if (!region_pick_type(r, NODE_FILE, &p))
		return;
	handle_close(r, h);
	region_note(r, "open %s %o", p.path, (unsigned int)how);
	h->fd = openat(r->root, p.path, how | O_CLOEXEC);
	if (h->fd < 0) {
		region_fail(r, "open %s: %s", p.path, err_name(-errno));
		return;
	}
	h->writes = (how & O_ACCMODE) == O_RDWR;
	h->node = p.dir->entries[p.index].node;
	h->node->handles++;
	if (how & O_TRUNC)
		node_resize(h->node, 0);
	if (rng_percent(&r->rng, 30)) {
		h->map = mmap(NULL, LOAD_FILE_MAX, PROT_READ, MAP_SHARED, h->fd, 0);
		if (h->map == MAP_FAILED) {
			h->map = NULL;
			region_fail(r, "mmap: %s", err_name(-errno));
			return;
		}
		handle_check(r, h);
	}
}

static void step_write(struct region *r, struct handle *h)
{
	size_t at, len;
	ssize_t got;

	pick_range(r, &at, &len);
	region_note(r, "pwrite handle %d, %zu at %zu", (int)(h - r->handles), len, at);
	rng_fill(&r->rng, r->scratch, len);
	got = pwrite(h->fd, r->scratch, len, (off_t)at);
	if (!h->writes) {
		(void)region_expect(r, EBADF, got);
		return;
	}
	if (got != (ssize_t)len) {
		region_fail(r, "%zd of %zu bytes are written", got, len);
		return;
	}
	if (at + len > h->node->size)
		node_resize(h->node, at + len);
	memcpy(h->node->data + at, r->scratch, len);
}

/* Through a mapping: shared, which writes the file, or private, which must not. */
static void step_map(struct region *r, struct handle *h)
{
	bool shared = h->writes && rng_percent(&r->rng, 70);
	size_t at, len, page;
	unsigned char *map;

	pick_range(r, &at, &len);
	if (at >= h->node->size)
		return;
	if (len > h->node->size - at)
		len = h->node->size - at;
	page = at & ~(size_t)4095;
	region_note(r, "%s mapping of handle %d, %zu at %zu", shared ? "shared" : "private",
		    (int)(h - r->handles), len, at);
	map = mmap(NULL, len + at - page, PROT_READ | PROT_WRITE, shared ? MAP_SHARED : MAP_PRIVATE,
		   h->fd, (off_t)page);
	if (map == MAP_FAILED) {
		region_fail(r, "mmap: %s", err_name(-errno));
		return;
	}
	if (memcmp(map + (at - page), h->node->data + at, len) != 0)
		region_fail(r, "a new mapping shows something else than the file has");
	rng_fill(&r->rng, r->scratch, len);
	memcpy(map + (at - page), r->scratch, len);
	if (shared) {
		memcpy(h->node->data + at, r->scratch, len);
		if (rng_percent(&r->rng, 30) && msync(map, len + at - page, MS_SYNC) < 0)
			region_fail(r, "msync: %s", err_name(-errno));
	}
	(void)munmap(map, len + at - page);
	handle_check(r, h);
}

static void step_truncate(struct region *r, struct handle *h)
{
	size_t at, len;

	pick_range(r, &at, &len);
	region_note(r, "ftruncate handle %d to %zu", (int)(h - r->handles), at);
	if (region_expect(r, h->writes ? 0 : EINVAL, ftruncate(h->fd, (off_t)at)) && h->writes)
		node_resize(h->node, at);
}

static void step_truncate_path(struct region *r)
{
	char path[LOAD_PATH + 64];
	struct place p;
	size_t at, len;

	if (!region_pick_type(r, NODE_FILE, &p))
		return;
	pick_range(r, &at, &len);
	if (rng_percent(&r->rng, 30))
		at = 0;
	region_note(r, "truncate %s to %zu", p.path, at);
	/* there is no truncateat(), and the working directory is all threads' */
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", r->root, p.path);
	if (!region_expect(r, 0, truncate(path, (off_t)at)))
		return;
	node_resize(p.dir->entries[p.index].node, at);
}

static void step_fallocate(struct region *r, struct handle *h)
{
	static const int modes[] = {0, FALLOC_FL_KEEP_SIZE,
				    FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				    FALLOC_FL_ZERO_RANGE};
	int mode = modes[rng_below(&r->rng, 4)];
	size_t at, len, end;
	struct node *n = h->node;

	pick_range(r, &at, &len);
	region_note(r, "fallocate %d handle %d, %zu at %zu", mode, (int)(h - r->handles), len, at);
	if (fallocate(h->fd, mode, (off_t)at, (off_t)len) < 0) {
		/* tmpfs has no ZERO_RANGE */
		if (errno != EOPNOTSUPP)
			(void)region_expect(r, h->writes ? 0 : EBADF, -1);
		return;
	}
	if (!region_expect(r, h->writes ? 0 : EBADF, 0))
		return;
	end = at + len;
	if (!(mode & FALLOC_FL_KEEP_SIZE) && end > n->size)
		node_resize(n, end);
	if (mode && mode != FALLOC_FL_KEEP_SIZE && at < n->size)
		memset(n->data + at, 0, (end < n->size ? end : n->size) - at);
}

static void step_copy_range(struct region *r, struct handle *from, struct handle *to)
{
	off_t in, out;
	size_t at, len, to_at, unused, want, done = 0;
	ssize_t n = 0;

	pick_range(r, &at, &len);
	pick_range(r, &to_at, &unused);
	if (len > LOAD_FILE_MAX - to_at)
		len = LOAD_FILE_MAX - to_at;
	if (!to->writes || at >= from->node->size ||
	    (from->node == to->node && at < to_at + len && to_at < at + len))
		return;
	want = len < from->node->size - at ? len : from->node->size - at;
	region_note(r, "copy_file_range %zu of handle %d at %zu to handle %d at %zu", len,
		    (int)(from - r->handles), at, (int)(to - r->handles), to_at);
	memcpy(r->scratch, from->node->data + at, want);
	in = (off_t)at;
	out = (off_t)to_at;
	while (done < want &&
	       (n = copy_file_range(from->fd, &in, to->fd, &out, want - done, 0)) > 0)
		done += (size_t)n;
	if (done != want) {
		region_fail(r, "%zu of %zu bytes are copied (%s)", done, want,
			    n < 0 ? err_name(-errno) : "end of file");
		return;
	}
	if (to_at + want > to->node->size)
		node_resize(to->node, to_at + want);
	memcpy(to->node->data + to_at, r->scratch, want);
}

/* What SEEK_DATA leaves out is zeros. */
static void step_seek(struct region *r, struct handle *h)
{
	size_t from, len, at;
	off_t got;

	pick_range(r, &from, &len);
	if (from >= h->node->size)
		return;
	region_note(r, "SEEK_DATA handle %d from %zu", (int)(h - r->handles), from);
	got = lseek(h->fd, (off_t)from, SEEK_DATA);
	if (got < 0 && errno != ENXIO) {
		region_fail(r, "lseek: %s", err_name(-errno));
		return;
	}
	at = got < 0 ? h->node->size : (size_t)got;
	if (at < from)
		region_fail(r, "SEEK_DATA goes back to %zu", at);
	for (size_t i = from; i < at && i < h->node->size; i++) {
		if (h->node->data[i]) {
			region_fail(r, "SEEK_DATA says %zu, data is at %zu", at, i);
			return;
		}
	}
}

static void step_append(struct region *r)
{
	cleanup_close int fd = -EBADF;
	struct node *n;
	struct place p;
	size_t at, len;

	if (!region_pick_type(r, NODE_FILE, &p))
		return;
	n = p.dir->entries[p.index].node;
	pick_range(r, &at, &len);
	if (len > LOAD_FILE_MAX - n->size)
		len = LOAD_FILE_MAX - n->size;
	region_note(r, "append %zu to %s", len, p.path);
	fd = openat(r->root, p.path, O_WRONLY | O_APPEND | O_CLOEXEC);
	rng_fill(&r->rng, r->scratch, len);
	if (fd < 0 || write(fd, r->scratch, len) != (ssize_t)len) {
		region_fail(r, "open or write: %s", err_name(-errno));
		return;
	}
	node_resize(n, n->size + len);
	memcpy(n->data + n->size - len, r->scratch, len);
}

void file_step(struct region *r)
{
	struct handle *h = &r->handles[rng_below(&r->rng, LOAD_HANDLES)];
	unsigned int what = rng_below(&r->rng, 100);

	if (h->fd < 0 || what < 10) {
		step_open(r, h);
	} else if (what < 35) {
		step_write(r, h);
	} else if (what < 50) {
		step_map(r, h);
	} else if (what < 58) {
		step_truncate(r, h);
	} else if (what < 63) {
		step_truncate_path(r);
	} else if (what < 73) {
		step_fallocate(r, h);
	} else if (what < 81) {
		struct handle *to = &r->handles[rng_below(&r->rng, LOAD_HANDLES)];

		if (to->fd >= 0)
			step_copy_range(r, h, to);
	} else if (what < 85) {
		step_seek(r, h);
	} else if (what < 90) {
		step_append(r);
	} else if (what < 92) {
		region_note(r, "fsync handle %d", (int)(h - r->handles));
		(void)region_expect(r, 0, fsync(h->fd));
	} else {
		region_note(r, "read handle %d", (int)(h - r->handles));
		handle_check(r, h);
	}
}
