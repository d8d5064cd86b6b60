/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tests/differential/diffop.h"

/*
 * Operations are chosen by looking at one side (always the reference), so that
 * most of them meet something; what is chosen is written into the op, so that
 * a sequence can be replayed with operations left out.
 */
static int by_bytes(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* A random name in @dir; false when it is empty. */
static bool pick_name(struct rng *r, int dir, char name[256])
{
	static char names[512][256];
	cleanup_closedir DIR *d = NULL;
	struct dirent *e;
	unsigned int n = 0;
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return false;
	d = fdopendir(fd);
	if (!d) {
		(void)close(fd);
		return false;
	}
	while (n < 512 && (e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			(void)snprintf(names[n++], 256, "%s", e->d_name);
	if (n == 0)
		return false;
	qsort(names, n, 256, by_bytes);
	memcpy(name, names[rng_below(r, n)], 256);
	return true;
}

/* Something that exists: "." or a path below it. Returns its type. */
static mode_t pick_existing(struct rng *r, const struct side *look, char path[DIFF_PATH],
			    bool want_dir)
{
	cleanup_close int dir = dup(look->root);
	mode_t type = S_IFDIR;
	char name[256];
	size_t len = 0;

	strcpy(path, ".");
	while (len < 120 && (len == 0 || rng_percent(r, 75)) && pick_name(r, dir, name)) {
		struct stat st;
		int fd;

		if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			break;
		if (want_dir && !S_ISDIR(st.st_mode)) {
			if (rng_percent(r, 50))
				break;
			continue;
		}
		len += (size_t)snprintf(path + len, DIFF_PATH - len, "%s%s", len ? "/" : "", name);
		type = st.st_mode & S_IFMT;
		if (!S_ISDIR(type))
			break;
		fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			break;
		(void)close(dir);
		dir = fd;
	}
	return type;
}

/* A pool name in a directory that exists: often new, often not. */
static void pick_place(struct rng *r, const struct side *look, char path[DIFF_PATH], bool for_dir)
{
	char dir[DIFF_PATH];
	const char *name = diff_names[rng_below(r, (unsigned int)diff_n_names)];

	(void)pick_existing(r, look, dir, true);
	if (!for_dir && rng_percent(r, 4))
		name = rng_percent(r, 70) ? diff_long_name : diff_too_long_name;
	if (!strcmp(dir, "."))
		(void)snprintf(path, DIFF_PATH, "%s", name);
	else
		(void)snprintf(path, DIFF_PATH, "%.300s/%.300s", dir, name);
}

static mode_t pick_any(struct rng *r, const struct side *look, char path[DIFF_PATH])
{
	if (rng_percent(r, 85))
		return pick_existing(r, look, path, false);
	pick_place(r, look, path, false);
	return 0;
}

static void gen_xattr_name(struct rng *r, const struct setup *s, char name[DIFF_PATH])
{
	static const char *const names[] = {
		"user.a",
		"user.b",
		"user.long",
		"system.posix_acl_access",
		"system.posix_acl_default",
		"user.overlay.opaque",
		"trusted.b",
		"security.capability",
		"trusted.overlay.foo",
		"trusted.overlay.opaque",
		"bogus.x",
	};

	strcpy(name, names[rng_below(r, s->root ? 11 : 5)]);
}

static void gen_file_op(struct rng *r, const struct side *look, struct op *op)
{
	static const unsigned int flags[] = {
		O_RDONLY,
		O_RDONLY,
		O_RDWR,
		O_RDWR,
		O_WRONLY,
		O_RDWR | O_CREAT,
		O_RDWR | O_CREAT | O_EXCL,
		O_RDWR | O_TRUNC,
		O_WRONLY | O_APPEND,
		O_RDWR | O_CREAT | O_TRUNC,
		O_RDONLY | O_DIRECTORY,
		O_RDWR | O_APPEND | O_CREAT,
	};

	op->flags = flags[rng_below(r, 12)];
	if (op->flags & O_CREAT)
		pick_place(r, look, op->a, false);
	else
		(void)pick_any(r, look, op->a);
}

static void gen_rename(struct rng *r, const struct side *look, struct op *op)
{
	mode_t type = pick_existing(r, look, op->a, rng_percent(r, 30));

	if (rng_percent(r, 50)) {
		pick_place(r, look, op->b, S_ISDIR(type));
	} else {
		(void)pick_existing(r, look, op->b, false);
	}
	switch (rng_below(r, 10)) {
	case 0:
	case 1:
		op->flags = 1; /* RENAME_NOREPLACE */
		break;
	case 2:
	case 3:
		op->flags = 2; /* RENAME_EXCHANGE */
		break;
	case 4:
		/* RENAME_WHITEOUT: a plain directory does it, a union refuses. */
		op->flags = rng_percent(r, 20) && !look->plain ? 4 : 0;
		break;
	default:
		break;
	}
}

static enum op_kind pick_kind(struct rng *r)
{
	static const unsigned char weight[OP_KINDS] = {
		[OP_OPEN] = 10,	      [OP_CLOSE] = 4,	   [OP_PREAD] = 4,
		[OP_PWRITE] = 7,      [OP_FTRUNCATE] = 3,  [OP_FALLOCATE] = 3,
		[OP_FSTAT] = 3,	      [OP_FCHMOD] = 2,	   [OP_FSYNC] = 1,
		[OP_SEEK] = 2,	      [OP_COPY_RANGE] = 2, [OP_READ_FILE] = 5,
		[OP_WRITE_FILE] = 6,  [OP_TRUNCATE] = 3,   [OP_MKDIR] = 7,
		[OP_RMDIR] = 6,	      [OP_UNLINK] = 9,	   [OP_UNLINK_OPEN] = 3,
		[OP_RENAME] = 16,     [OP_LINK] = 6,	   [OP_SYMLINK] = 3,
		[OP_MKNOD] = 3,	      [OP_CHMOD] = 4,	   [OP_CHOWN] = 4,
		[OP_UTIMENS] = 4,     [OP_SETXATTR] = 5,   [OP_GETXATTR] = 3,
		[OP_REMOVEXATTR] = 3, [OP_LISTXATTR] = 3,  [OP_STAT] = 6,
		[OP_ACCESS] = 2,      [OP_READLINK] = 2,   [OP_READDIR] = 7,
		[OP_STATFS] = 1,      [OP_REMOUNT] = 2,	   [OP_MMAP] = 6,
		[OP_LOCK] = 5,	      [OP_RMDIR_OPEN] = 3,
	};
	static unsigned int total;
	unsigned int v;

	if (total == 0)
		for (unsigned int i = 0; i < OP_KINDS; i++)
			total += weight[i];
	v = rng_below(r, total);
	for (unsigned int i = 0; i < OP_KINDS; i++) {
		if (v < weight[i])
			return (enum op_kind)i;
		v -= weight[i];
	}
	return OP_STAT;
}

static const mode_t special_types[] = {S_IFIFO, S_IFREG, S_IFSOCK, S_IFCHR, S_IFBLK, S_IFCHR};

void op_generate(struct rng *r, const struct setup *s, const struct side *look, struct op *op)
{
	static const uint64_t offsets[] = {0, 0, 1, 100, 4095, 4096, 10000, 65536, 150000, 400000};
	static const uint64_t lengths[] = {0, 1, 10, 4096, 5000, 16384, 70000, 131072};
	static const unsigned int modes[] = {0644,  0600,  0755,  0777, 04755,
					     02755, 06711, 01777, 0,	0444};
	static const unsigned int umasks[] = {022, 022, 0, 077, 0777};
	unsigned int n;

	memset(op, 0, sizeof(*op));
	op->kind = pick_kind(r);
	op->slot = rng_below(r, DIFF_SLOTS);
	op->slot2 = rng_below(r, DIFF_SLOTS);
	op->x = offsets[rng_below(r, 10)];
	op->y = lengths[rng_below(r, 8)];
	op->mode = modes[rng_below(r, 10)];
	op->umask = umasks[rng_below(r, 5)];
	if (!s->root) {
		op->mode |= 0700;
		op->umask &= 077;
	}
	op->as_user = s->root && rng_percent(r, 12);
	op->uid = rng_percent(r, 50) ? UINT32_MAX : 1000 + s->id_shift + rng_below(r, 3);
	op->gid = rng_percent(r, 50) ? UINT32_MAX : 1000 + s->id_shift + rng_below(r, 3);
	/*
	 * chown(-1, -1) takes set-id bits away, if one may; FUSE hears of a change without
	 * content, which other things are as well, and nothing changes (docs/SEMANTICS.md).
	 */
	if (op->kind == OP_CHOWN && op->uid == UINT32_MAX && op->gid == UINT32_MAX)
		op->gid = 1000 + s->id_shift;
	n = rng_below(r, 1000);
	switch ((unsigned int)op->kind) {
	case OP_OPEN:
	case OP_READ_FILE:
	case OP_WRITE_FILE:
	case OP_UNLINK_OPEN:
		gen_file_op(r, look, op);
		break;
	case OP_FALLOCATE:
		op->flags = n % 4; /* plain, keep, punch, zero */
		break;
	case OP_SEEK:
		op->flags = n % 2;
		break;
	case OP_MKDIR:
		pick_place(r, look, op->a, true);
		break;
	case OP_RMDIR:
		(void)pick_existing(r, look, op->a, n < 850);
		break;
	case OP_RMDIR_OPEN:
		(void)pick_existing(r, look, op->a, n < 950);
		pick_place(r, look, op->b, true);
		op->flags = n % 2;
		break;
	case OP_RENAME:
		gen_rename(r, look, op);
		break;
	case OP_LINK:
		(void)pick_existing(r, look, op->a, false);
		pick_place(r, look, op->b, false);
		break;
	case OP_SYMLINK:
		pick_place(r, look, op->a, false);
		(void)snprintf(op->b, sizeof(op->b), "%s", diff_names[n % diff_n_names]);
		break;
	case OP_MKNOD:
		pick_place(r, look, op->a, false);
		op->flags = special_types[n % (s->root ? 6 : 3)];
		op->x = n % 7 == 0 && s->root ? 0 : makedev(1 + n % 200, 3);
		break;
	case OP_READDIR:
		(void)pick_existing(r, look, op->a, n < 950);
		break;
	case OP_SETXATTR:
	case OP_GETXATTR:
	case OP_REMOVEXATTR:
		(void)pick_any(r, look, op->a);
		gen_xattr_name(r, s, op->b);
		op->flags = n < 800 ? 0 : n < 900 ? 1 : 2; /* CREATE, REPLACE */
		op->x = rng_next(r);
		op->y = n % 5 == 0 ? 0 : n % 5 == 1 ? BIG_XATTR : 12;
		/* an empty one can be set, but not be read or copied: rmdir of a merged
		 * directory that has it is EINVAL with overlayfs */
		if (!strcmp(op->b, "security.capability") && op->y == 0)
			op->y = 12;
		break;
	default:
		(void)pick_any(r, look, op->a);
		op->flags = n % 8;
		break;
	}
}
