/* SPDX-License-Identifier: Apache-2.0 */
#include "erofs/presence.h"

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/io.h"
#include "base/strbuf.h"

#define MAGIC	"SNAPHERE"
#define VERSION 1u

/* All numbers little-endian. Then the starts, their checksum, and a byte for each part. */
struct head {
	char magic[8];
	uint32_t version, n;
	uint64_t size;
	/* what changes */
	char boot[40]; /* of the machine that wrote last */
	_Atomic uint8_t condemned;
	uint8_t zero[7];
};
_Static_assert(sizeof(struct head) == 72, "on disk");
#define HEAD_FIXED 24u /* bytes of it that never change */
#define SUM_LEN	   64u /* hex */

struct erofs_presence {
	void *map;
	size_t map_len;
	struct head *head;
	const uint64_t *starts; /* little-endian, in the map */
	_Atomic uint8_t *parts;
	size_t n;
	uint64_t size;
};

static pthread_once_t boot_once = PTHREAD_ONCE_INIT;
static char boot_id[40];

static void read_boot_id(void)
{
	char *text cleanup_free = NULL;
	size_t len = 0;

	/* without /proc nothing that was claimed earlier is believed */
	if (io_read_path("/proc/sys/kernel/random/boot_id", 64, &text, &len) < 0 || len < 36) {
		memcpy(boot_id, "unknown", 8);
		return;
	}
	memcpy(boot_id, text, 36);
}

static const char *this_boot(void)
{
	(void)pthread_once(&boot_once, read_boot_id);
	return boot_id;
}

static int checksum(const void *head, const void *starts, size_t n, struct digest *ret)
{
	struct hash *h cleanup_hash = hash_new(DIGEST_SHA256);
	int r = h ? hash_update(h, head, HEAD_FIXED) : -ENOMEM;

	if (r == 0)
		r = hash_update(h, starts, n * sizeof(uint64_t));
	return r < 0 ? r : hash_final(h, ret);
}

int erofs_presence_create(int fd, const uint64_t *starts, size_t n, uint64_t size)
{
	struct head head = {
		.version = htole32(VERSION), .n = htole32((uint32_t)n), .size = htole64(size)};
	uint64_t *le cleanup_free = calloc(n, sizeof(*le));
	struct digest sum;
	off_t at = sizeof(head);
	int r;

	if (!le)
		return -ENOMEM;
	memcpy(head.magic, MAGIC, sizeof(head.magic));
	memcpy(head.boot, this_boot(), sizeof(head.boot));
	for (size_t i = 0; i < n; i++)
		le[i] = htole64(starts[i]);
	r = checksum(&head, le, n, &sum);
	if (r == 0)
		r = io_pwrite_full(fd, &head, sizeof(head), 0);
	if (r == 0)
		r = io_pwrite_full(fd, le, n * sizeof(*le), at);
	at += (off_t)(n * sizeof(*le));
	if (r == 0)
		r = io_pwrite_full(fd, digest_hex(&sum), SUM_LEN, at);
	at += SUM_LEN + (off_t)n;
	if (r == 0 && ftruncate(fd, at) < 0)
		r = -errno;
	return r;
}

static int check(struct erofs_presence *p, struct err *err)
{
	struct digest sum;
	uint64_t want;
	int r;

	if (memcmp(p->head->magic, MAGIC, 8) != 0 || le32toh(p->head->version) != VERSION)
		return err_msg(err, -EBADMSG, "no map of what is present, or of a newer version");
	p->n = le32toh(p->head->n);
	p->size = le64toh(p->head->size);
	want = sizeof(struct head) + (uint64_t)p->n * 9 + SUM_LEN;
	if (p->n == 0 || p->n > EROFS_PRESENCE_MAX || want != p->map_len)
		return err_msg(err, -EBADMSG, "the map of what is present has the wrong length");
	p->starts = (const uint64_t *)(p->head + 1);
	p->parts = (_Atomic uint8_t *)p->map + sizeof(struct head) + p->n * 8 + SUM_LEN;
	r = checksum(p->head, p->starts, p->n, &sum);
	if (r < 0)
		return err_set(err, r, "map of what is present");
	if (memcmp(digest_hex(&sum), p->starts + p->n, SUM_LEN) != 0)
		return err_msg(err, -EBADMSG, "the map of what is present is damaged");
	for (size_t i = 0; i < p->n; i++) {
		uint64_t start = le64toh(p->starts[i]);

		if (i ? start <= le64toh(p->starts[i - 1]) : start != 0)
			return err_msg(err, -EBADMSG, "the map of what is present is not in order");
	}
	if (le64toh(p->starts[p->n - 1]) >= p->size)
		return err_msg(err, -EBADMSG, "the map of what is present is too short");
	return 0;
}

int erofs_presence_open(int fd, bool writable, struct erofs_presence **ret, struct err *err)
{
	struct erofs_presence *p cleanup_erofs_presence = calloc(1, sizeof(*p));
	struct stat st;
	int r;

	if (!p)
		return err_set(err, -ENOMEM, "map of what is present");
	if (fstat(fd, &st) < 0)
		return err_set(err, -errno, "map of what is present");
	if (!S_ISREG(st.st_mode) || st.st_size < (off_t)(sizeof(struct head) + SUM_LEN) ||
	    st.st_size > (off_t)(sizeof(struct head) + SUM_LEN + 9ull * EROFS_PRESENCE_MAX))
		return err_msg(err, -EBADMSG, "the map of what is present has the wrong length");
	p->map = mmap(NULL, (size_t)st.st_size, writable ? PROT_READ | PROT_WRITE : PROT_READ,
		      MAP_SHARED, fd, 0);
	if (p->map == MAP_FAILED) {
		p->map = NULL;
		return err_set(err, -errno, "map of what is present");
	}
	p->map_len = (size_t)st.st_size;
	p->head = p->map;
	r = check(p, err);
	if (r == 0)
		*ret = steal_ptr(&p);
	return r;
}

void erofs_presence_close(struct erofs_presence *p)
{
	if (!p)
		return;
	if (p->map)
		(void)munmap(p->map, p->map_len);
	free(p);
}

size_t erofs_presence_count(const struct erofs_presence *p)
{
	return p->n;
}

uint64_t erofs_presence_size(const struct erofs_presence *p)
{
	return p->size;
}

uint64_t erofs_presence_start(const struct erofs_presence *p, size_t i)
{
	return i < p->n ? le64toh(p->starts[i]) : p->size;
}

size_t erofs_presence_find(const struct erofs_presence *p, uint64_t pos)
{
	size_t low = 0, high = p->n;

	while (high - low > 1) {
		size_t mid = low + (high - low) / 2;

		if (le64toh(p->starts[mid]) <= pos)
			low = mid;
		else
			high = mid;
	}
	return low;
}

bool erofs_presence_is_stale(const struct erofs_presence *p)
{
	return memcmp(p->head->boot, this_boot(), 37) != 0 || strcmp(this_boot(), "unknown") == 0;
}

bool erofs_presence_is_condemned(const struct erofs_presence *p)
{
	return atomic_load_explicit(&p->head->condemned, memory_order_acquire) != 0;
}

bool erofs_presence_claims(const struct erofs_presence *p, size_t i)
{
	return i < p->n && atomic_load_explicit(&p->parts[i], memory_order_acquire) == 1;
}

bool erofs_presence_has(const struct erofs_presence *p, size_t i)
{
	return erofs_presence_claims(p, i) && !erofs_presence_is_stale(p) &&
	       !erofs_presence_is_condemned(p);
}

bool erofs_presence_covers(const struct erofs_presence *p, uint64_t off, uint64_t len)
{
	uint64_t end;

	if (erofs_presence_is_condemned(p))
		return false;
	if (len == 0 || off >= p->size)
		return true;
	if (erofs_presence_is_stale(p))
		return false;
	if (__builtin_add_overflow(off, len, &end) || end > p->size)
		end = p->size;
	for (size_t i = erofs_presence_find(p, off); i < p->n && erofs_presence_start(p, i) < end;
	     i++) {
		if (!erofs_presence_claims(p, i))
			return false;
	}
	return true;
}

size_t erofs_presence_have(const struct erofs_presence *p)
{
	size_t n = 0;

	for (size_t i = 0; i < p->n; i++)
		n += erofs_presence_has(p, i);
	return n;
}

void erofs_presence_set(struct erofs_presence *p, size_t i, bool there)
{
	if (i < p->n)
		atomic_store_explicit(&p->parts[i], there ? 1 : 0, memory_order_release);
}

void erofs_presence_condemn(struct erofs_presence *p)
{
	atomic_store_explicit(&p->head->condemned, 1, memory_order_release);
}

void erofs_presence_renew(struct erofs_presence *p)
{
	atomic_thread_fence(memory_order_release);
	memcpy(p->head->boot, this_boot(), sizeof(p->head->boot));
}
