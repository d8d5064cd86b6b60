/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/differential/diffop.h"

/* Few names, so that operations meet each other and the layers. */
const char *const diff_names[] = {"a", "b", "c", "dir1", "dir2", "f", "g.txt", "\xff\xfe", "s p\n"};
const size_t diff_n_names = sizeof(diff_names) / sizeof(diff_names[0]);
char diff_long_name[256], diff_too_long_name[257];

enum { MAX_FILES = 64, MAX_FILE = 300 * 1024 };

struct maker {
	struct rng *rng;
	const struct setup *setup;
	unsigned int layer;
	int root;
	char files[MAX_FILES][DIFF_PATH];
	unsigned int n_files;
	unsigned char data[MAX_FILE];
};

size_t tree_acl(struct rng *r, const struct setup *s, unsigned char *buf)
{
	const uint16_t tags[] = {1, 2, 4, 16, 32}; /* owner, user 1000, group, mask, other */
	size_t n = 4;

	memcpy(buf, (unsigned char[4]){2, 0, 0, 0}, 4);
	for (size_t i = 0; i < 5; i++, n += 8) {
		uint16_t perm = (uint16_t)rng_below(r, 8);
		uint32_t id = tags[i] == 2 ? 1000 + s->id_shift : UINT32_MAX;

		if (tags[i] == 1 && !s->root)
			perm = 7; /* who is not root must not shut itself out */
		memcpy(buf + n, &tags[i], 2);
		memcpy(buf + n + 2, &perm, 2);
		memcpy(buf + n + 4, &id, 4);
	}
	return n;
}

size_t tree_capability(unsigned char *buf)
{
	/* VFS_CAP_REVISION_2, effective; permitted: cap_net_raw */
	memcpy(buf, (unsigned char[20]){1, 0, 0, 2, 0, 0x20, 0, 0}, 20);
	return 20;
}

static void xattrs(struct maker *m, int dir, const char *name, mode_t type)
{
	unsigned char value[64];
	char link[64];
	int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		die("tree: open: %s", strerror(errno));
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (type == S_IFREG || type == S_IFDIR) {
		if (rng_percent(m->rng, 25) && setxattr(link, "user.a", "lower", 5, 0) < 0)
			die("tree: setxattr: %s", strerror(errno));
		if (rng_percent(m->rng, 8)) {
			size_t n = tree_acl(m->rng, m->setup, value);

			(void)setxattr(link, "system.posix_acl_access", value, n, 0);
		}
		if (type == S_IFDIR && rng_percent(m->rng, 8)) {
			size_t n = tree_acl(m->rng, m->setup, value);

			(void)setxattr(link, "system.posix_acl_default", value, n, 0);
		}
	}
	if (m->setup->root && rng_percent(m->rng, 10))
		(void)setxattr(link, "trusted.b", "t", 1, 0);
	if (m->setup->root && type == S_IFREG && rng_percent(m->rng, 8))
		(void)setxattr(link, "security.capability", value, tree_capability(value), 0);
	(void)close(fd);
}

static void metadata(struct maker *m, int dir, const char *name, mode_t type)
{
	static const mode_t modes[] = {0644, 0644, 0600, 0755, 04755, 02755, 0777, 01777, 0400, 0};
	static const mode_t user_modes[] = {0644, 0600, 0755, 0777, 0700, 0640};
	mode_t mode =
		m->setup->root ? modes[rng_below(m->rng, 10)] : user_modes[rng_below(m->rng, 6)];
	struct timespec t[2];

	t[0].tv_sec = t[1].tv_sec = 900000000 + rng_below(m->rng, 100000000);
	t[0].tv_nsec = t[1].tv_nsec = rng_below(m->rng, 1000000000);
	if (!m->setup->root && type == S_IFDIR)
		mode |= 0700;
	if (m->setup->root) {
		uid_t uid = rng_percent(m->rng, 30) ? 1000 + rng_below(m->rng, 2) : 0;
		gid_t gid = rng_percent(m->rng, 30) ? 1000 + rng_below(m->rng, 2) : 0;

		if (fchownat(dir, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
			die("tree: chown: %s", strerror(errno));
	}
	if (type != S_IFLNK && fchmodat(dir, name, mode, 0) < 0)
		die("tree: chmod: %s", strerror(errno));
	xattrs(m, dir, name, type); /* behind chown, which drops capabilities */
	if (utimensat(dir, name, t, AT_SYMLINK_NOFOLLOW) < 0)
		die("tree: utimensat: %s", strerror(errno));
}

static void make_file(struct maker *m, int dir, const char *name)
{
	static const unsigned int sizes[] = {0, 1, 100, 4095, 4096, 4097, 20000, 65536, MAX_FILE};
	unsigned int size = sizes[rng_below(m->rng, 9)];
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	bool sparse = rng_percent(m->rng, 30);

	if (fd < 0)
		die("tree: create: %s", strerror(errno));
	rng_fill(m->rng, m->data, size);
	for (unsigned int at = 0; at < size; at += 16384) {
		unsigned int n = size - at < 16384 ? size - at : 16384;

		if (sparse && rng_percent(m->rng, 60))
			continue;
		if (pwrite(fd, m->data + at, n, at) != (ssize_t)n)
			die("tree: write: %s", strerror(errno));
	}
	if (ftruncate(fd, size) < 0)
		die("tree: truncate: %s", strerror(errno));
	(void)close(fd);
}

static mode_t make_special(struct maker *m, int dir, const char *name)
{
	static const mode_t types[] = {S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK};
	mode_t type = types[rng_below(m->rng, m->setup->root ? 4 : 2)];

	if (type == S_IFSOCK && m->setup->through_tar)
		type = S_IFIFO;
	if (mknodat(dir, name, type | 0600, makedev(1 + rng_below(m->rng, 200), 3)) < 0)
		die("tree: mknod: %s", strerror(errno));
	return type;
}

static void make_dir(struct maker *m, int dir, int below, const char *path, unsigned int depth);

static void make_entry(struct maker *m, int dir, int below, const char *path, const char *name,
		       unsigned int depth)
{
	unsigned int what = rng_below(m->rng, 100);
	char child[DIFF_PATH];
	mode_t type = S_IFREG;

	if (snprintf(child, sizeof(child), "%s%s%s", path, *path ? "/" : "", name) >=
	    (int)sizeof(child))
		return;
	/* the kernel filters whiteouts only where there is something below to be merged with */
	if (below >= 0 && m->setup->root && rng_percent(m->rng, 10) &&
	    !(m->setup->through_tar && name == diff_long_name)) {
		if (mknodat(dir, name, S_IFCHR, 0) < 0)
			die("tree: whiteout: %s", strerror(errno));
		return;
	}
	if (what < 35 && depth < 3 && name != diff_long_name) {
		bool opaque = m->layer && m->setup->root && rng_percent(m->rng, 15);
		int under = -1, fd;

		if (mkdirat(dir, name, 0700) < 0)
			die("tree: mkdir: %s", strerror(errno));
		fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			die("tree: open: %s", strerror(errno));
		if (below >= 0 && !opaque)
			under = openat(below, name,
				       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		make_dir(m, fd, under, child, depth + 1);
		if (under >= 0)
			(void)close(under);
		if (opaque && fsetxattr(fd, "trusted.overlay.opaque", "y", 1, 0) < 0)
			die("tree: opaque: %s", strerror(errno));
		(void)close(fd);
		type = S_IFDIR;
	} else if (what < 45) {
		const char *target = diff_names[rng_below(m->rng, (unsigned int)diff_n_names)];

		if (symlinkat(target, dir, name) < 0)
			die("tree: symlink: %s", strerror(errno));
		type = S_IFLNK;
	} else if (what < 53) {
		type = make_special(m, dir, name);
	} else if (what < 65 && m->setup->links && m->n_files) {
		const char *first = m->files[rng_below(m->rng, m->n_files)];

		if (linkat(m->root, first, dir, name, 0) < 0)
			die("tree: link: %s", strerror(errno));
		return; /* keeps the metadata it has */
	} else {
		make_file(m, dir, name);
		if (m->n_files < MAX_FILES)
			memcpy(m->files[m->n_files++], child, sizeof(child));
	}
	metadata(m, dir, name, type);
}

static void make_dir(struct maker *m, int dir, int below, const char *path, unsigned int depth)
{
	for (size_t i = 0; i < diff_n_names; i++)
		if (rng_percent(m->rng, depth ? 35 : 60))
			make_entry(m, dir, below, path, diff_names[i], depth);
	if (rng_percent(m->rng, 20))
		make_entry(m, dir, below, path, diff_long_name, depth);
}

void tree_make(int fd, int below, uint64_t seed, unsigned int layer, const struct setup *s)
{
	struct rng rng = {seed * 31 + layer};
	struct maker *m = calloc(1, sizeof(*m));
	struct timespec t[2] = {{.tv_sec = 915148800, .tv_nsec = 7},
				{.tv_sec = 915148800, .tv_nsec = 7}};

	if (!m)
		die("out of memory");
	*m = (struct maker){.rng = &rng, .setup = s, .layer = layer, .root = fd};
	make_dir(m, fd, below, "", 0);
	if (fchmod(fd, 0755) < 0 || futimens(fd, t) < 0)
		die("tree: root: %s", strerror(errno));
	free(m);
}
