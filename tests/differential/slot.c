/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "tests/differential/ops.h"

/* With overlayfs the name of a removed FIFO of a lower layer is back after it (docs/SEMANTICS.md).
 */
static long do_fchmod(int fd, const struct op *op, struct result *r)
{
	struct stat st;

	if (fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode)) {
		say(r, "FIFO");
		return 0;
	}
	return fchmod(fd, op->mode);
}

static long do_pread(struct result *r, int fd, const struct op *op)
{
	static unsigned char buf[DATA];
	ssize_t n = pread(fd, buf, op->y, (off_t)op->x);

	if (n >= 0)
		say(r, "bytes=%zd hash=%llx", n, (unsigned long long)hash(buf, (size_t)n));
	return n;
}

/*
 * What SEEK_DATA and SEEK_HOLE may answer is up to the file system; only what
 * they must not do is looked at: skip bytes that are not zero, or deny a hole.
 */
static long do_seek(struct result *r, int fd, const struct op *op)
{
	static unsigned char buf[DATA];
	off_t from = (off_t)op->x;
	off_t at = lseek(fd, from, op->flags ? SEEK_HOLE : SEEK_DATA);
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	if (from >= st.st_size) {
		say(r, "beyond=%s", at < 0 ? err_name(-errno) : "ok");
		return 0;
	}
	if (op->flags) {
		say(r, "hole=%s", at >= from && at <= st.st_size ? "ok" : "wrong");
		return 0;
	}
	if (at < 0 && errno == ENXIO)
		at = st.st_size;
	if (at < from)
		return -1;
	while (from < at) {
		ssize_t n = pread(fd, buf, (size_t)(at - from < DATA ? at - from : DATA), from);

		if (n <= 0)
			break;
		for (ssize_t i = 0; i < n; i++) {
			if (buf[i]) {
				say(r, "data=skipped");
				return 0;
			}
		}
		from += n;
	}
	say(r, "data=ok");
	return 0;
}

static long do_copy_range(struct result *r, int in, int out, const struct op *op)
{
	off_t from = (off_t)op->x, to = (off_t)(op->x / 2);
	size_t left = op->y, total = 0;
	ssize_t n = 0;

	while (left && (n = copy_file_range(in, &from, out, &to, left, 0)) > 0) {
		left -= (size_t)n;
		total += (size_t)n;
	}
	say(r, "copied=%zu", total);
	return n;
}

/*
 * A mapping is made, read, written and taken away. On a fd that only reads overlayfs may map the
 * lower file when that has been copied up since: there ours is compared with its own read.
 */
static long do_mmap(struct side *side, int fd, const struct op *op, struct result *r)
{
	static unsigned char buf[DATA];
	bool shared = op->flags & 1;
	int prot = op->flags & 2 ? PROT_READ : PROT_READ | PROT_WRITE;
	size_t at = op->x & ~(uint64_t)4095, len;
	struct rng rng = {op->x * 5 + op->y};
	unsigned char *map;
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || at >= (size_t)st.st_size || !op->y)
		return 0;
	len = (size_t)st.st_size - at < op->y ? (size_t)st.st_size - at : op->y;
	map = mmap(NULL, len, prot, shared ? MAP_SHARED : MAP_PRIVATE, fd, (off_t)at);
	if (map == MAP_FAILED)
		return -1;
	if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR)
		say(r, "map=%llx ", (unsigned long long)hash(map, len));
	else if (side->check_ino &&
		 (pread(fd, buf, len, (off_t)at) != (ssize_t)len || memcmp(buf, map, len) != 0))
		say(r, "the mapping differs from what is read ");
	if (prot & PROT_WRITE)
		rng_fill(&rng, map, len < 5000 ? len : 5000);
	if (op->flags & 4)
		step(r, "msync", msync(map, len, MS_SYNC));
	(void)munmap(map, len);
	if (pread(fd, buf, len, (off_t)at) == (ssize_t)len)
		say(r, " read=%llx", (unsigned long long)hash(buf, len));
	return 0;
}

/* Of the whole process (POSIX), of the open file (OFD), and flock(2); none waits. */
static long do_lock(int fd, const struct op *op, struct result *r)
{
	static const int flocks[] = {LOCK_SH, LOCK_EX, LOCK_UN, LOCK_EX};
	static const short types[] = {F_RDLCK, F_WRLCK, F_UNLCK, F_WRLCK};
	struct flock l = {.l_type = types[op->flags & 3],
			  .l_whence = SEEK_SET,
			  .l_start = (off_t)op->x,
			  .l_len = (off_t)op->y};
	long v;

	switch (op->mode % 4) {
	case 0:
		return flock(fd, flocks[op->flags & 3] | LOCK_NB);
	case 1:
		return fcntl(fd, F_SETLK, &l);
	case 2:
		return fcntl(fd, F_OFD_SETLK, &l);
	default:
		l.l_type = op->flags & 1 ? F_RDLCK : F_WRLCK;
		v = fcntl(fd, F_OFD_GETLK, &l);
		if (v == 0 && l.l_type != F_UNLCK)
			say(r, "held=%d from %lld, %lld", l.l_type, (long long)l.l_start,
			    (long long)l.l_len);
		return v;
	}
}

long do_slot(struct side *side, const struct setup *s, const struct op *op, struct result *r)
{
	static const int fallocate_modes[] = {0, 1 /* KEEP_SIZE */, 3 /* PUNCH_HOLE|KEEP_SIZE */,
					      16 /* ZERO_RANGE */};
	int *fd = &side->slot[op->slot];
	struct stat st;
	long v;

	if (*fd < 0) {
		say(r, "no file");
		return 0;
	}
	switch ((unsigned int)op->kind) {
	case OP_CLOSE:
		v = close(*fd);
		*fd = -1;
		return v;
	case OP_PREAD:
		return do_pread(r, *fd, op);
	case OP_PWRITE:
		return write_data(*fd, op, true);
	case OP_FTRUNCATE:
		return set_size(s, *fd, (off_t)op->x);
	case OP_FALLOCATE:
		return fallocate(*fd, fallocate_modes[op->flags], (off_t)op->x, (off_t)op->y);
	case OP_FSTAT:
		v = fstat(*fd, &st);
		if (v == 0)
			say_stat(r, s, &st);
		return v;
	case OP_FCHMOD:
		return do_fchmod(*fd, op, r);
	case OP_FSYNC:
		return op->x & 1 ? fdatasync(*fd) : fsync(*fd);
	case OP_SEEK:
		return do_seek(r, *fd, op);
	case OP_MMAP:
		return do_mmap(side, *fd, op, r);
	case OP_LOCK:
		return do_lock(*fd, op, r);
	default: /* OP_COPY_RANGE */
		if (side->slot[op->slot2] < 0)
			return 0;
		return do_copy_range(r, *fd, side->slot[op->slot2], op);
	}
}
