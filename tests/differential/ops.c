/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "tests/differential/ops.h"

static const char *const kind_names[OP_KINDS] = {
	"open",	     "close",	  "pread",   "pwrite",	   "ftruncate", "fallocate", "fstat",
	"fchmod",    "fsync",	  "seek",    "copy_range", "read",	"write",     "truncate",
	"mkdir",     "rmdir",	  "unlink",  "unlink+use", "rename",	"link",	     "symlink",
	"mknod",     "chmod",	  "chown",   "utimens",	   "setxattr",	"getxattr",  "removexattr",
	"listxattr", "stat",	  "access",  "readlink",   "readdir",	"statfs",    "mmap",
	"lock",	     "rmdir+use", "remount",
};

void print_escaped(FILE *out, const char *s)
{
	size_t len = strlen(s);

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c < 0x20 || c >= 0x7f)
			(void)fprintf(out, "\\x%02x", c);
		else if (len < 200 || i < 20 || i > len - 20 || c != 'L')
			(void)fputc(c, out);
	}
}

void op_print(FILE *out, const struct op *op)
{
	(void)fprintf(out, "%s '", kind_names[op->kind]);
	print_escaped(out, op->a);
	(void)fputs("' '", out);
	print_escaped(out, op->b);
	(void)fprintf(out, "' x=%llu y=%llu flags=0%o mode=0%o umask=0%o ids=%d:%d slot=%u,%u%s",
		      (unsigned long long)op->x, (unsigned long long)op->y, op->flags, op->mode,
		      op->umask, (int)op->uid, (int)op->gid, op->slot, op->slot2,
		      op->as_user ? " as uid 1000" : "");
}

void say(struct result *r, const char *fmt, ...)
{
	size_t at = strlen(r->text);
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(r->text + at, sizeof(r->text) - at, fmt, ap);
	va_end(ap);
}

void step(struct result *r, const char *what, long v)
{
	say(r, "%s%s=%s", *r->text ? " " : "", what, v < 0 ? err_name(-errno) : "ok");
}

uint64_t hash(const void *data, size_t len)
{
	const unsigned char *p = data;
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * UINT64_C(0x100000001b3);
	return h;
}

void say_stat(struct result *r, const struct setup *s, const struct stat *st)
{
	say(r, " mode=%06o ids=%u:%u", st->st_mode, st->st_uid, st->st_gid);
	if (!S_ISDIR(st->st_mode))
		say(r, " links=%lu size=%lld", (unsigned long)st->st_nlink, (long long)st->st_size);
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
		say(r, " rdev=%x", (unsigned int)st->st_rdev);
	if (st->st_mtim.tv_sec > s->start.tv_sec)
		say(r, " mtime=now");
	else
		say(r, " mtime=%lld.%09ld", (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
}

/* Opening a device would leave the file system under test; a fifo must not block. */
static int open_safe(struct side *side, const char *path, unsigned int flags, unsigned int mode)
{
	struct stat st;

	if (fstatat(side->root, path, &st, 0) == 0 &&
	    (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))) {
		errno = EOPNOTSUPP;
		return -1;
	}
	return openat(side->root, path, (int)flags | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, mode);
}

static long read_all(struct result *r, int fd)
{
	static unsigned char buf[DATA];
	ssize_t n, total = 0;
	uint64_t h = 0;

	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		h = h * 31 + hash(buf, (size_t)n);
		total += n;
	}
	say(r, " bytes=%zd hash=%llx", total, (unsigned long long)h);
	return n;
}

long write_data(int fd, const struct op *op, bool at_offset)
{
	static unsigned char buf[DATA];
	struct rng rng = {op->x * 7 + op->y + op->mode};
	ssize_t n;

	rng_fill(&rng, buf, op->y);
	n = at_offset ? pwrite(fd, buf, op->y, (off_t)op->x) : write(fd, buf, op->y);
	return n < 0 ? n : n == (ssize_t)op->y ? 0 : 1;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static long do_readdir(struct side *side, const struct op *op, struct result *r)
{
	cleanup_closedir DIR *d = NULL;
	char *names[1024];
	unsigned int n = 0;
	uint64_t h = 0;
	struct dirent *e;
	int fd = openat(side->root, op->a, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return -1;
	d = fdopendir(fd);
	if (!d)
		return -1;
	while (n < 1024 && (errno = 0, e = readdir(d))) {
		struct stat st;

		if (asprintf(&names[n], "%s(%u)", e->d_name, e->d_type) < 0)
			die("out of memory");
		n++;
		if (side->check_ino && strcmp(e->d_name, "..") != 0 &&
		    fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino != e->d_ino)
			say(r, "d_ino!=st_ino ");
	}
	if (errno)
		say(r, "readdir=%s ", err_name(-errno));
	qsort(names, n, sizeof(names[0]), by_name);
	say(r, "n=%u", n);
	for (unsigned int i = 0; i < n; i++) {
		h = h * 31 + hash(names[i], strlen(names[i]));
		say(r, " %.30s", names[i]);
		free(names[i]);
	}
	r->text[900] = '\0';
	say(r, " hash=%llx", (unsigned long long)h);
	return 0;
}

static long do_xattr(const struct setup *s, const char *link, const struct op *op, struct result *r)
{
	static unsigned char value[65536];
	struct rng rng = {op->x};
	size_t len = op->y;
	long v;

	switch ((unsigned int)op->kind) {
	case OP_SETXATTR:
		rng_fill(&rng, value, len);
		if (!strncmp(op->b, "system.posix_acl", 16) && len == 12)
			len = tree_acl(&rng, s, value);
		else if (!strcmp(op->b, "security.capability") && len == 12)
			len = tree_capability(value);
		return setxattr(link, op->b, value, len, (int)op->flags);
	case OP_GETXATTR:
		v = getxattr(link, op->b, value, op->y == BIG_XATTR ? 1 : sizeof(value));
		if (v >= 0)
			say(r, "bytes=%ld hash=%llx", v,
			    (unsigned long long)hash(value, (size_t)v));
		return v;
	case OP_REMOVEXATTR:
		return removexattr(link, op->b);
	default: {
		char *list = (char *)value, *names[256];
		unsigned int n = 0;

		v = listxattr(link, list, sizeof(value));
		for (char *p = list; v > 0 && p < list + v && n < 256; p += strlen(p) + 1)
			if (strncmp(p, DIFF_XFS_ACL, strlen(DIFF_XFS_ACL)) != 0)
				names[n++] = p;
		qsort(names, n, sizeof(names[0]), by_name);
		for (unsigned int i = 0; i < n; i++)
			say(r, " %.60s", names[i]);
		return v;
	}
	}
}

/* xattr calls never follow: through the magic link of an O_PATH fd. */
static long do_path_xattr(struct side *side, const struct setup *s, const struct op *op,
			  struct result *r)
{
	cleanup_close int fd = openat(side->root, op->a, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	char link[64];

	if (fd < 0)
		return -1;
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return do_xattr(s, link, op, r);
}

static long do_utimens(struct side *side, const struct op *op)
{
	struct timespec t[2] = {{.tv_nsec = UTIME_OMIT},
				{.tv_sec = 800000000 + (time_t)op->x, .tv_nsec = 5}};

	if (op->flags == 0)
		t[1].tv_nsec = UTIME_NOW;
	else if (op->flags == 1)
		t[1].tv_nsec = UTIME_OMIT;
	else if (op->flags == 2)
		t[1].tv_sec = -5;
	return utimensat(side->root, op->a, t, AT_SYMLINK_NOFOLLOW);
}

/* @fd may be an O_PATH one: an absolute path would be needed, and its magic link is one. */
long set_size(const struct setup *s, int fd, off_t size)
{
	char link[64];
	struct stat st;

	if (s->kept_times && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == size)
		return 0;
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return fcntl(fd, F_GETFL) & O_PATH ? truncate(link, size) : ftruncate(fd, size);
}

static long do_unlink_open(struct side *side, const struct setup *s, const struct op *op,
			   struct result *r)
{
	cleanup_close int fd = open_safe(side, op->a, op->flags, op->mode);
	struct stat st;

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode))
		say(r, "before=%lu", (unsigned long)st.st_nlink);
	step(r, "unlink", unlinkat(side->root, op->a, 0));
	step(r, "fstat", fstat(fd, &st));
	say_stat(r, s, &st);
	step(r, "write", write_data(fd, op, true));
	step(r, "truncate", set_size(s, fd, 50000));
	step(r, "read", read_all(r, fd));
	/*
	 * The kernel's overlayfs cannot change the metadata of a lower object without a name: not
	 * of a file opened for reading; of a fifo it does, and its name is back.
	 */
	if ((op->flags & O_ACCMODE) != O_RDONLY && S_ISREG(st.st_mode))
		step(r, "fchmod", fchmod(fd, op->mode));
	if (fstat(fd, &st) == 0)
		say_stat(r, s, &st);
	return 0;
}

/*
 * POSIX has two names for a target that is not empty: XFS says EEXIST, overlayfs that for what its
 * upper alone has.
 */
static long do_rename(int root, const char *from, const char *to, unsigned int flags)
{
	long v = renameat2(root, from, root, to, flags);

	if (v < 0 && errno == EEXIST && !(flags & 1)) /* RENAME_NOREPLACE */
		errno = ENOTEMPTY;
	return v;
}

/* A directory that is removed, or replaced by another one, while it is open. */
static long do_rmdir_open(struct side *side, const struct setup *s, const struct op *op,
			  struct result *r)
{
	cleanup_close int fd =
		openat(side->root, op->a, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	cleanup_close int sub = -EBADF;
	char link[64], list[4096];
	ssize_t n = 0;
	struct stat st;
	int gone;

	if (fd < 0)
		return -1;
	if (op->flags & 1) {
		step(r, "mkdir", mkdirat(side->root, op->b, 0755));
		gone = (int)do_rename(side->root, op->b, op->a, 0);
	} else {
		gone = unlinkat(side->root, op->a, AT_REMOVEDIR);
	}
	step(r, "remove", gone);
	step(r, "fstat", fstat(fd, &st));
	say(r, " mode=%o ids=%u:%u", st.st_mode, st.st_uid, st.st_gid);
	if (fstatat(side->root, op->a, &st, AT_SYMLINK_NOFOLLOW) == 0)
		say_stat(r, s, &st);
	sub = openat(fd, "in-it", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	step(r, "create", sub);
	if (sub >= 0)
		step(r, "unlink", unlinkat(fd, "in-it", 0));
	step(r, "mkdir", mkdirat(fd, "dir-in-it", 0700));
	(void)unlinkat(fd, "dir-in-it", AT_REMOVEDIR);
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	/* of a living one it may show what was there at its opening, or at the first read */
	while (gone == 0 && (n = getdents64(fd, list, sizeof(list))) > 0)
		say(r, " listed=%zd", n);
	step(r, "list", n);
	step(r, "getxattr", getxattr(link, "user.a", list, sizeof(list)));
	step(r, "fsync", fsync(fd));
	return 0;
}

/*
 * A write into a FIFO sets the mtime of its inode on a plain file system; FUSE is not told of it,
 * nor is overlayfs.
 */
static long write_path(struct side *side, int fd, const struct op *op)
{
	struct stat st;
	bool fifo = side->plain && fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode);
	long r = write_data(fd, op, false);

	if (fifo) {
		const struct timespec ts[2] = {{.tv_nsec = UTIME_OMIT}, st.st_mtim};

		(void)futimens(fd, ts);
	}
	return r;
}

static long do_file(struct side *side, const struct setup *s, const struct op *op, struct result *r)
{
	cleanup_close int fd = -EBADF;

	if (op->kind == OP_UNLINK_OPEN)
		return do_unlink_open(side, s, op, r);
	fd = open_safe(side, op->a, op->flags, op->mode);
	if (fd < 0)
		return -1;
	if (op->kind == OP_OPEN) {
		if (side->slot[op->slot] >= 0)
			(void)close(side->slot[op->slot]);
		side->slot[op->slot] = steal_fd(&fd);
		return 0;
	}
	return op->kind == OP_READ_FILE ? read_all(r, fd) : write_path(side, fd, op);
}

static long do_stat(struct side *side, const struct setup *s, const struct op *op, struct result *r)
{
	struct statvfs v;
	struct stat st;
	char target[4096];
	ssize_t n;
	int fd;

	switch ((unsigned int)op->kind) {
	case OP_STAT:
		if (fstatat(side->root, op->a, &st, op->flags == 0 ? 0 : AT_SYMLINK_NOFOLLOW) < 0)
			return -1;
		say_stat(r, s, &st);
		return 0;
	case OP_ACCESS:
		return faccessat(side->root, op->a, (int)op->flags, AT_EACCESS);
	case OP_READLINK:
		n = readlinkat(side->root, op->a, target, sizeof(target) - 1);
		if (n >= 0) {
			target[n] = '\0';
			say(r, "%s", target);
		}
		return n;
	default: /* OP_STATFS */
		fd = openat(side->root, ".", O_PATH | O_CLOEXEC);
		if (fstatvfs(fd, &v) == 0)
			say(r, "namemax=%lu", v.f_namemax);
		(void)close(fd);
		return 0;
	}
}

static long do_tree(struct side *side, const struct setup *s, const struct op *op)
{
	int root = side->root;

	switch ((unsigned int)op->kind) {
	case OP_TRUNCATE: {
		cleanup_close int fd = openat(root, op->a, O_PATH | O_CLOEXEC);

		return fd < 0 ? -1 : set_size(s, fd, (off_t)op->x);
	}
	case OP_MKDIR:
		return mkdirat(root, op->a, op->mode);
	case OP_RMDIR:
		return unlinkat(root, op->a, AT_REMOVEDIR);
	case OP_UNLINK:
		return unlinkat(root, op->a, 0);
	case OP_RENAME:
		return do_rename(root, op->a, op->b, op->flags);
	case OP_LINK:
		return linkat(root, op->a, root, op->b, 0);
	case OP_SYMLINK:
		return symlinkat(op->b, root, op->a);
	case OP_MKNOD:
		return mknodat(root, op->a, op->flags | op->mode, op->x);
	case OP_CHMOD:
		return fchmodat(root, op->a, op->mode, 0);
	case OP_CHOWN:
		return fchownat(root, op->a, op->uid, op->gid, AT_SYMLINK_NOFOLLOW);
	default: /* OP_UTIMENS */
		return do_utimens(side, op);
	}
}

static long dispatch(struct side *side, const struct setup *s, const struct op *op,
		     struct result *r)
{
	switch (op->kind) {
	case OP_CLOSE:
	case OP_PREAD:
	case OP_PWRITE:
	case OP_FTRUNCATE:
	case OP_FALLOCATE:
	case OP_FSTAT:
	case OP_FCHMOD:
	case OP_FSYNC:
	case OP_SEEK:
	case OP_COPY_RANGE:
	case OP_MMAP:
	case OP_LOCK:
		return do_slot(side, s, op, r);
	case OP_OPEN:
	case OP_READ_FILE:
	case OP_WRITE_FILE:
	case OP_UNLINK_OPEN:
		return do_file(side, s, op, r);
	case OP_SETXATTR:
	case OP_GETXATTR:
	case OP_REMOVEXATTR:
	case OP_LISTXATTR:
		return do_path_xattr(side, s, op, r);
	case OP_READDIR:
		return do_readdir(side, op, r);
	case OP_RMDIR_OPEN:
		return do_rmdir_open(side, s, op, r);
	case OP_STAT:
	case OP_ACCESS:
	case OP_READLINK:
	case OP_STATFS:
		return do_stat(side, s, op, r);
	case OP_TRUNCATE:
	case OP_MKDIR:
	case OP_RMDIR:
	case OP_UNLINK:
	case OP_RENAME:
	case OP_LINK:
	case OP_SYMLINK:
	case OP_MKNOD:
	case OP_CHMOD:
	case OP_CHOWN:
	case OP_UTIMENS:
		return do_tree(side, s, op);
	case OP_REMOUNT:
	case OP_KINDS:
		break;
	}
	return 0;
}

void op_do(struct side *side, const struct setup *s, const struct op *op, struct result *ret)
{
	long v;

	ret->text[0] = '\0';
	(void)umask(op->umask);
	if (op->as_user) {
		(void)setfsgid(1000 + s->id_shift);
		(void)setfsuid(1000 + s->id_shift);
	}
	errno = 0;
	v = dispatch(side, s, op, ret);
	ret->err = v < 0 ? errno : 0;
	if (op->as_user) {
		(void)setfsuid(0);
		(void)setfsgid(0);
	}
	(void)umask(022);
}
