/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rows of `scripts/bench engine` for which there is no ordinary tool. Compiled by the
 * benchmark. Does one thing as fast as it can and prints the seconds of it, so that no start of a
 * process counts.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char buf[1 << 17];

static void fail(const char *what)
{
	/* The one error that is an answer: an engine that cannot rename lower directories. */
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(errno == EXDEV ? 3 : 1);
}

static int open_or_fail(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0644);

	if (fd < 0)
		fail(path);
	return fd;
}

/* A file of NUL-terminated names, read before the time begins. */
struct names {
	char *text;
	size_t len;
};

static struct names names_read(const char *path)
{
	struct names n = {NULL, 0};
	struct stat st;
	int fd = open_or_fail(path, O_RDONLY);

	if (fstat(fd, &st) < 0)
		fail(path);
	n.text = malloc((size_t)st.st_size + 1);
	if (!n.text)
		fail(path);
	while (n.len < (size_t)st.st_size) {
		ssize_t got = read(fd, n.text + n.len, (size_t)st.st_size - n.len);

		if (got <= 0)
			fail(path);
		n.len += (size_t)got;
	}
	close(fd);
	return n;
}

static void stat_all(const struct names *n, int wanted)
{
	struct stat st;

	for (const char *p = n->text; p < n->text + n->len; p += strlen(p) + 1)
		if ((lstat(p, &st) < 0 ? errno : 0) != wanted) {
			errno = errno ? errno : EEXIST;
			fail(p);
		}
}

static void read_all(const char *path)
{
	int fd = open_or_fail(path, O_RDONLY);
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		;
	if (n < 0)
		fail(path);
	close(fd);
}

static void write_all(const char *path, long long size)
{
	int fd = open_or_fail(path, O_WRONLY | O_CREAT | O_TRUNC);

	for (long long at = 0; at < size; at += (long long)sizeof(buf))
		if (write(fd, buf, sizeof(buf)) != (ssize_t)sizeof(buf))
			fail(path);
	if (close(fd) < 0)
		fail(path);
}

/* The same places in each run. */
static void random_blocks(const char *path, long count, int writing)
{
	int fd = open_or_fail(path, writing ? O_WRONLY : O_RDONLY);
	unsigned long long x = 88172645463325252ULL;
	struct stat st;

	if (fstat(fd, &st) < 0 || st.st_size < 4096)
		fail(path);
	for (long i = 0; i < count; i++) {
		off_t at;
		ssize_t n;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		at = (off_t)(x % (unsigned long long)(st.st_size / 4096)) * 4096;
		n = writing ? pwrite(fd, buf, 4096, at) : pread(fd, buf, 4096, at);
		if (n != 4096)
			fail(path);
	}
	if (close(fd) < 0)
		fail(path);
}

static void each(const char *what, const char *dir, long count)
{
	char from[4200], to[4200];

	for (long i = 0; i < count; i++) {
		snprintf(from, sizeof(from), "%s/%06ld", dir, i);
		if (!strcmp(what, "create")) {
			close(open_or_fail(from, O_WRONLY | O_CREAT | O_EXCL));
		} else if (!strcmp(what, "unlink")) {
			if (unlink(from) < 0)
				fail(from);
		} else if (!strcmp(what, "mkdir")) {
			if (mkdir(from, 0755) < 0)
				fail(from);
		} else if (!strcmp(what, "rename")) {
			snprintf(to, sizeof(to), "%s/r%06ld", dir, i);
			if (rename(from, to) < 0)
				fail(from);
		} else { /* append: one byte at the end of each */
			int fd = open_or_fail(from, O_WRONLY | O_APPEND);

			if (write(fd, "x", 1) != 1)
				fail(from);
			close(fd);
		}
	}
}

int main(int argc, char **argv)
{
	struct timespec a, b;
	const char *what = argc > 2 ? argv[1] : "";
	long count = argc > 3 ? atol(argv[3]) : 0;
	struct names n = {NULL, 0};

	if (!strcmp(what, "lstat") || !strcmp(what, "missing")) /* LIST DIR */
		n = names_read(argv[2]);
	if (n.text && (argc < 4 || chdir(argv[3]) < 0))
		fail("names");
	clock_gettime(CLOCK_MONOTONIC, &a);
	if (n.text)
		stat_all(&n, what[0] == 'm' ? ENOENT : 0);
	else if (!strcmp(what, "read"))
		read_all(argv[2]);
	else if (!strcmp(what, "write"))
		write_all(argv[2], atoll(argv[3]));
	else if (!strcmp(what, "randread") || !strcmp(what, "randwrite"))
		random_blocks(argv[2], count, what[4] == 'w');
	else if (argc > 3)
		each(what, argv[2], count);
	else
		return 2;
	clock_gettime(CLOCK_MONOTONIC, &b);
	printf("%.9f\n", (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9);
	return 0;
}
