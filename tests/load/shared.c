/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/io.h"
#include "tests/load/load.h"

/*
 * Nobody knows in which order these happen, but:
 *  - a log has all records that were appended, whole, each writer's in their order;
 *  - a token, a file that is moved about and never replaced or removed, is there once.
 * The directories of tokens change places meanwhile.
 */
enum { DIRS = 4, NAMES = 30 };

struct record {
	uint32_t who, log;
	uint64_t seq, check;
};

static uint64_t record_check(const struct record *c)
{
	struct rng r = {(uint64_t)c->who << 40 ^ (uint64_t)c->log << 32 ^ c->seq};

	return rng_next(&r);
}

int shared_make(int shared)
{
	char name[64];

	for (int i = 0; i < LOAD_LOGS; i++) {
		cleanup_close int fd = -EBADF;

		(void)snprintf(name, sizeof(name), "log%d", i);
		fd = openat(shared, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		if (fd < 0)
			return -errno;
	}
	for (int i = 0; i < DIRS; i++) {
		(void)snprintf(name, sizeof(name), "d%d", i);
		if (mkdirat(shared, name, 0755) < 0)
			return -errno;
	}
	for (int i = 0; i < LOAD_TOKENS; i++) {
		cleanup_close int fd = -EBADF;

		(void)snprintf(name, sizeof(name), "d%d/t%d", i % DIRS, i / DIRS);
		fd = openat(shared, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		if (fd < 0 || io_write_full(fd, &i, sizeof(i)) < 0)
			return -EIO;
	}
	return 0;
}

static void append(struct region *r, int shared)
{
	unsigned int log = rng_below(&r->rng, LOAD_LOGS), n = 1 + rng_below(&r->rng, 20);
	cleanup_close int fd = -EBADF;
	char name[64];

	(void)snprintf(name, sizeof(name), "log%u", log);
	fd = openat(shared, name, O_WRONLY | O_APPEND | O_CLOEXEC);
	for (; fd >= 0 && n; n--) {
		struct record c = {.who = r->id, .log = log, .seq = r->seq[log]};

		c.check = record_check(&c);
		if (write(fd, &c, sizeof(c)) != (ssize_t)sizeof(c))
			break;
		r->seq[log]++;
	}
	if (n)
		region_fail(r, "append to the shared %s: %s", name, err_name(-errno));
}

/* What another one does at the time may be in the way; nothing else may. */
static void move_token(struct region *r, int shared)
{
	static const unsigned int all_flags[] = {RENAME_NOREPLACE, RENAME_NOREPLACE,
						 RENAME_EXCHANGE};
	unsigned int flags = all_flags[rng_below(&r->rng, 3)];
	char from[64], to[64];

	(void)snprintf(from, sizeof(from), "d%u/t%u", rng_below(&r->rng, DIRS),
		       rng_below(&r->rng, NAMES));
	(void)snprintf(to, sizeof(to), "d%u/t%u", rng_below(&r->rng, DIRS),
		       rng_below(&r->rng, NAMES));
	if (renameat2(shared, from, shared, to, flags) < 0 && errno != ENOENT && errno != EEXIST)
		region_fail(r, "rename the shared %s to %s, flags %u: %s", from, to, flags,
			    err_name(-errno));
}

static void swap_dirs(struct region *r, int shared)
{
	char from[64], to[64];

	(void)snprintf(from, sizeof(from), "d%u", rng_below(&r->rng, DIRS));
	(void)snprintf(to, sizeof(to), "d%u", rng_below(&r->rng, DIRS));
	if (renameat2(shared, from, shared, to, RENAME_EXCHANGE) < 0)
		region_fail(r, "exchange the shared %s and %s: %s", from, to, err_name(-errno));
}

static void other_name(struct region *r, int shared)
{
	char log[64], name[64];

	(void)snprintf(log, sizeof(log), "log%u", rng_below(&r->rng, LOAD_LOGS));
	(void)snprintf(name, sizeof(name), "other%u", r->id);
	if (linkat(shared, log, shared, name, 0) < 0 && errno != EEXIST)
		region_fail(r, "link the shared %s: %s", log, err_name(-errno));
	if (unlinkat(shared, name, 0) < 0)
		region_fail(r, "unlink the shared %s: %s", name, err_name(-errno));
}

void shared_step(struct region *r, int shared)
{
	unsigned int what = rng_below(&r->rng, 100);

	if (what < 30)
		append(r, shared);
	else if (what < 80)
		move_token(r, shared);
	else if (what < 90)
		swap_dirs(r, shared);
	else
		other_name(r, shared);
}

static bool check_log(int shared, unsigned int log, unsigned int regions,
		      unsigned long (*seq)[LOAD_LOGS])
{
	cleanup_free unsigned long *next = calloc(regions, sizeof(*next));
	cleanup_free char *data = NULL;
	size_t len, at = 0;
	char name[64];

	(void)snprintf(name, sizeof(name), "log%u", log);
	if (!next || io_read_file(shared, name, SIZE_MAX / 2, &data, &len) < 0) {
		(void)printf("loadop: %s cannot be read\n", name);
		return false;
	}
	for (; at + sizeof(struct record) <= len; at += sizeof(struct record)) {
		struct record c;

		memcpy(&c, data + at, sizeof(c));
		if (c.who >= regions || c.log != log || c.check != record_check(&c) ||
		    c.seq != next[c.who]) {
			(void)printf("loadop: %s: a wrong record at %zu of %zu\n", name, at, len);
			return false;
		}
		next[c.who]++;
	}
	for (unsigned int i = 0; i < regions; i++) {
		if (next[i] != seq[i][log] || at != len) {
			(void)printf("loadop: %s: %lu records of region %u, must be %lu\n", name,
				     next[i], i, seq[i][log]);
			return false;
		}
	}
	return true;
}

bool shared_check(int shared, unsigned int regions, unsigned long (*seq)[LOAD_LOGS])
{
	unsigned int seen[LOAD_TOKENS] = {0};
	bool ok = true;

	for (unsigned int i = 0; i < LOAD_LOGS; i++)
		ok = check_log(shared, i, regions, seq) && ok;
	for (int i = 0; i < DIRS; i++) {
		cleanup_closedir DIR *d = NULL;
		struct dirent *e;
		char name[64];

		(void)snprintf(name, sizeof(name), "d%d", i);
		d = fdopendir(openat(shared, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
		while (d && (e = readdir(d))) {
			cleanup_close int fd = -EBADF;
			int token = -1;

			if (e->d_name[0] == '.')
				continue;
			fd = openat(dirfd(d), e->d_name, O_RDONLY | O_CLOEXEC);
			if (fd < 0 || read(fd, &token, sizeof(token)) != (ssize_t)sizeof(token) ||
			    token < 0 || token >= LOAD_TOKENS) {
				(void)printf("loadop: %s/%s is no token\n", name, e->d_name);
				ok = false;
				continue;
			}
			seen[token]++;
		}
	}
	for (int i = 0; i < LOAD_TOKENS; i++) {
		if (seen[i] != 1) {
			(void)printf("loadop: token %d is there %u times\n", i, seen[i]);
			ok = false;
		}
	}
	return ok;
}
