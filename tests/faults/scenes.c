/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/faults/scenes.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"

#define DATA_SIZE 70000

/* clang-format off */
const struct scene scenes[] = {
	{"create", {{0}}, {ACT_CREATE, "new"}},
	{"create in a lower directory", {{0}}, {ACT_CREATE, "deep/er/est/new"}},
	{"create over a whiteout", {{ACT_UNLINK, "f"}}, {ACT_CREATE, "f"}},
	{"create in a directory with a default ACL", {{0}}, {ACT_CREATE, "acl/new"}},
	{"mkdir", {{0}}, {ACT_MKDIR, "new"}},
	{"mkdir in a directory with a default ACL", {{0}}, {ACT_MKDIR, "acl/new"}},
	{"mkdir over the whiteout of a file", {{ACT_UNLINK, "f"}}, {ACT_MKDIR, "f"}},
	{"mkdir over the whiteout of a directory", {{ACT_UNLINK, "t/x"}, {ACT_UNLINK, "t/y"}, {ACT_RMDIR, "t"}}, {ACT_MKDIR, "t"}},
	{"symlink", {{0}}, {ACT_SYMLINK, "new", "somewhere"}},
	{"symlink over a whiteout", {{ACT_UNLINK, "f"}}, {ACT_SYMLINK, "f", "somewhere"}},
	{"mkfifo", {{0}}, {ACT_FIFO, "d/new"}},
	{"mknod", {{0}}, {ACT_DEVICE, "d/new"}, SCENE_ROOT},
	{"unlink of a lower file", {{0}}, {ACT_UNLINK, "f"}},
	{"unlink deep in lower directories", {{0}}, {ACT_UNLINK, "deep/er/est/file"}},
	{"unlink of a lower symlink", {{0}}, {ACT_UNLINK, "link"}},
	{"unlink of an upper file", {{ACT_CREATE, "new"}}, {ACT_UNLINK, "new"}},
	{"unlink of a copied file", {{ACT_APPEND, "f"}}, {ACT_UNLINK, "f"}},
	{"unlink of one name of three", {{0}}, {ACT_UNLINK, "h1"}},
	{"unlink of one copied name of three", {{ACT_APPEND, "h1"}}, {ACT_UNLINK, "h2"}},
	{"unlink of the last name", {{ACT_UNLINK, "h1"}, {ACT_UNLINK, "h2"}}, {ACT_UNLINK, "d/h3"}},
	{"rmdir of a lower directory", {{0}}, {ACT_RMDIR, "e"}},
	{"rmdir of an upper directory", {{ACT_MKDIR, "new"}}, {ACT_RMDIR, "new"}},
	{"rmdir of a merged directory", {{ACT_UNLINK, "t/x"}, {ACT_UNLINK, "t/y"}}, {ACT_RMDIR, "t"}},
	{"rmdir of an upper directory with a whiteout", {{ACT_MKDIR, "new"}, {ACT_RENAME, "t", "new/t"}, {ACT_RENAME, "new/t", "t2"}}, {ACT_RMDIR, "new"}},
	{"link of a lower file", {{0}}, {ACT_LINK, "f", "d/new"}, SCENE_BARE},
	{"link of a file with links", {{0}}, {ACT_LINK, "h1", "new"}},
	{"link of an upper file", {{ACT_CREATE, "new"}}, {ACT_LINK, "new", "d/new"}},
	{"link over a whiteout", {{ACT_UNLINK, "t/x"}}, {ACT_LINK, "f", "t/x"}, SCENE_BARE},
	{"link of a symlink", {{0}}, {ACT_LINK, "link", "new"}},
	{"chmod of a file", {{0}}, {ACT_CHMOD, "f", .n = 0600}, SCENE_BARE},
	{"chmod of a file with links", {{0}}, {ACT_CHMOD, "d/h3", .n = 0600}},
	{"chmod of a directory", {{0}}, {ACT_CHMOD, "deep/er", .n = 0700}},
	{"chmod of an upper file", {{ACT_CREATE, "new"}}, {ACT_CHMOD, "new", .n = 04711}},
	{"chown of a file", {{0}}, {ACT_CHOWN, "f", .n = 77}, SCENE_ROOT | SCENE_BARE},
	{"chown of a symlink", {{0}}, {ACT_CHOWN, "link", .n = 77}, SCENE_ROOT},
	{"chown of a device", {{0}}, {ACT_CHOWN, "dev", .n = 77}, SCENE_ROOT},
	{"utimes of a file", {{0}}, {ACT_UTIMES, "d/a"}, SCENE_BARE},
	{"utimes of a symlink", {{0}}, {ACT_UTIMES, "link"}},
	{"truncate", {{0}}, {ACT_TRUNCATE, "f", .n = 1000}, SCENE_BARE},
	{"truncate to nothing", {{0}}, {ACT_TRUNCATE, "f", .n = 0}},
	{"truncate of a file with links", {{0}}, {ACT_TRUNCATE, "h2", .n = 3}},
	{"open with truncation", {{0}}, {ACT_OPEN_TRUNC, "f"}, SCENE_BARE},
	{"append", {{0}}, {ACT_APPEND, "f"}, SCENE_BARE},
	{"append to a sparse file", {{0}}, {ACT_APPEND, "sparse"}, SCENE_BARE},
	{"append to one name of three", {{0}}, {ACT_APPEND, "h1"}},
	{"append deep in lower directories", {{0}}, {ACT_APPEND, "deep/er/est/file"}},
	{"fallocate", {{0}}, {ACT_FALLOCATE, "f"}, SCENE_BARE},
	{"copy_file_range to a lower file", {{0}}, {ACT_COPY_RANGE, "f", "d/a"}, SCENE_BARE},
	{"setxattr of a file", {{0}}, {ACT_SETXATTR, "f", "new"}, SCENE_BARE},
	{"setxattr of a directory", {{0}}, {ACT_SETXATTR, "deep/er/est", "new"}},
	{"removexattr", {{0}}, {ACT_REMOVEXATTR, "f"}, SCENE_BARE},
	{"setxattr of an ACL", {{0}}, {ACT_SETACL, "f"}, SCENE_BARE},
	{"rename of a lower file", {{0}}, {ACT_RENAME, "f", "new"}, SCENE_BARE},
	{"rename of a lower file into a lower directory", {{0}}, {ACT_RENAME, "f", "deep/er/new"}, SCENE_BARE},
	{"rename over a lower file", {{0}}, {ACT_RENAME, "f", "d/a"}, SCENE_BARE},
	{"rename of an upper file over a lower one", {{ACT_CREATE, "new"}}, {ACT_RENAME, "new", "f"}},
	{"rename of a lower file over an upper one", {{ACT_CREATE, "new"}}, {ACT_RENAME, "f", "new"}, SCENE_BARE},
	{"rename over a whiteout", {{ACT_UNLINK, "d/a"}}, {ACT_RENAME, "f", "d/a"}, SCENE_BARE},
	{"rename of a lower symlink", {{0}}, {ACT_RENAME, "link", "d/link"}},
	{"rename of a lower fifo", {{0}}, {ACT_RENAME, "fifo", "d/fifo"}},
	{"rename of one name of three", {{0}}, {ACT_RENAME, "h1", "new"}},
	{"rename over one name of three", {{0}}, {ACT_RENAME, "f", "h1"}, SCENE_BARE},
	{"rename of one name of three over a file", {{0}}, {ACT_RENAME, "h1", "f"}},
	{"rename of a lower directory", {{0}}, {ACT_RENAME, "d", "new"}},
	{"rename of a lower directory into another", {{0}}, {ACT_RENAME, "deep/er", "t/er"}},
	{"rename of a directory again", {{ACT_RENAME, "deep/er", "t/er"}}, {ACT_RENAME, "t/er", "d/er"}},
	{"rename of a directory back", {{ACT_RENAME, "deep/er", "t/er"}}, {ACT_RENAME, "t/er", "deep/er"}},
	{"rename of a lower directory over an empty one", {{0}}, {ACT_RENAME, "d", "e"}},
	{"rename of a directory over a merged one", {{ACT_UNLINK, "t/x"}, {ACT_UNLINK, "t/y"}}, {ACT_RENAME, "d", "t"}},
	{"rename of an upper directory over a merged one", {{ACT_UNLINK, "t/x"}, {ACT_UNLINK, "t/y"}, {ACT_MKDIR, "new"}, {ACT_CREATE, "new/in"}}, {ACT_RENAME, "new", "t"}},
	{"rename of an upper directory over a whiteout", {{ACT_RMDIR, "e"}, {ACT_MKDIR, "new"}, {ACT_CREATE, "new/in"}}, {ACT_RENAME, "new", "e"}},
	{"rename of an upper directory", {{ACT_MKDIR, "new"}, {ACT_CREATE, "new/in"}}, {ACT_RENAME, "new", "d/new"}},
	{"rename without replacing", {{0}}, {ACT_RENAME, "f", "new", RENAME_NOREPLACE}, SCENE_BARE},
	{"exchange of files", {{0}}, {ACT_RENAME, "f", "d/a", RENAME_EXCHANGE}, SCENE_BARE},
	{"exchange of files with links", {{0}}, {ACT_RENAME, "h1", "f", RENAME_EXCHANGE}, SCENE_BARE},
	{"exchange of directories", {{0}}, {ACT_RENAME, "d", "deep/er", RENAME_EXCHANGE}},
	{"exchange of a file and a directory", {{0}}, {ACT_RENAME, "f", "t", RENAME_EXCHANGE}, SCENE_BARE},
	{"exchange of an upper and a lower directory", {{ACT_MKDIR, "new"}, {ACT_CREATE, "new/in"}}, {ACT_RENAME, "new", "t", RENAME_EXCHANGE}},
	{"setxattr of a bare file", {{ACT_UTIMES, "f"}}, {ACT_SETXATTR, "f", "new"}, SCENE_BARE},
	{"append to a bare file", {{ACT_CHMOD, "f", .n = 0600}}, {ACT_APPEND, "f"}, SCENE_BARE},
	{"append to a bare sparse file", {{ACT_CHMOD, "sparse", .n = 0600}}, {ACT_APPEND, "sparse"}, SCENE_BARE},
	{"truncate of a bare file", {{ACT_CHMOD, "f", .n = 0600}}, {ACT_TRUNCATE, "f", .n = 1000}, SCENE_BARE},
	{"truncate of a bare file to nothing", {{ACT_CHMOD, "f", .n = 0600}}, {ACT_TRUNCATE, "f", .n = 0}, SCENE_BARE},
	{"open with truncation of a bare file", {{ACT_CHMOD, "f", .n = 0600}}, {ACT_OPEN_TRUNC, "f"}, SCENE_BARE},
	{"fallocate of a bare file", {{ACT_CHMOD, "f", .n = 0600}}, {ACT_FALLOCATE, "f"}, SCENE_BARE},
	{"copy_file_range to a bare file", {{ACT_CHMOD, "d/a", .n = 0600}}, {ACT_COPY_RANGE, "f", "d/a"}, SCENE_BARE},
	{"unlink of a bare file", {{ACT_CHMOD, "f", .n = 0600}}, {ACT_UNLINK, "f"}, SCENE_BARE},
	{"link of a bare file", {{ACT_CHMOD, "f", .n = 0600}}, {ACT_LINK, "f", "d/new"}, SCENE_BARE},
	{"append to a bare file with two names", {{ACT_CHMOD, "f", .n = 0600}, {ACT_LINK, "f", "d/new"}}, {ACT_APPEND, "d/new"}, SCENE_BARE},
	{"rename of a bare file", {{ACT_CHMOD, "f", .n = 0600}}, {ACT_RENAME, "f", "deep/er/new"}, SCENE_BARE},
	{"rename of a bare file again", {{ACT_RENAME, "f", "d/new"}}, {ACT_RENAME, "d/new", "deep/er/new"}, SCENE_BARE},
	{"rename of a bare file over another", {{ACT_RENAME, "f", "new"}, {ACT_CHMOD, "d/a", .n = 0600}}, {ACT_RENAME, "new", "d/a"}, SCENE_BARE},
	{"append to a bare file that was moved", {{ACT_RENAME, "f", "deep/er/new"}}, {ACT_APPEND, "deep/er/new"}, SCENE_BARE},
	{"truncate of a bare file that was moved", {{ACT_RENAME, "f", "new"}}, {ACT_TRUNCATE, "new", .n = 1000}, SCENE_BARE},
	{"append to a bare file in a directory that was moved", {{ACT_CHMOD, "d/a", .n = 0600}, {ACT_RENAME, "d", "t/d"}}, {ACT_APPEND, "t/d/a"}, SCENE_BARE},
	{"chmod in a directory that was moved", {{ACT_RENAME, "d", "t/d"}}, {ACT_CHMOD, "t/d/a", .n = 0600}, SCENE_BARE},
	{"exchange of bare files", {{ACT_CHMOD, "f", .n = 0600}, {ACT_CHMOD, "d/a", .n = 0600}}, {ACT_RENAME, "f", "d/a", RENAME_EXCHANGE}, SCENE_BARE},
};
/* clang-format on */
const size_t n_scenes = sizeof(scenes) / sizeof(scenes[0]);

/* user::rw-, user:1:r--, group::r--, mask::r--, other::--- as the kernel has it. */
static const unsigned char some_acl[] = {
	2, 0, 0,   0,	1,   0,	  6,  0, 255, 255, 255, 255, 2,	  0,   4,
	0, 1, 0,   0,	0,   4,	  0,  4, 0,   255, 255, 255, 255, 16,  0,
	4, 0, 255, 255, 255, 255, 32, 0, 0,   0,   255, 255, 255, 255,
};

static void must(int r, const char *what)
{
	if (r == 0)
		return;
	fprintf(stderr, "make the lower layer: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void put_file(const char *name, size_t size)
{
	cleanup_close int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	cleanup_free char *data = malloc(size + 1);

	must(fd < 0 || !data, name);
	for (size_t i = 0; i < size; i++)
		data[i] = (char)(i * 31 + i / 251);
	must(write(fd, data, size) != (ssize_t)size, name);
}

static int make_old(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	const struct timespec ts[2] = {{.tv_sec = 1000000000, .tv_nsec = 1},
				       {.tv_sec = 1000000000 + st->st_size, .tv_nsec = 123456789}};

	(void)type;
	(void)ftw;
	return utimensat(AT_FDCWD, path, ts, AT_SYMLINK_NOFOLLOW);
}

void scene_lower(const char *dir)
{
	static const char *const dirs[] = {"d", "e", "t", "deep", "deep/er", "deep/er/est", "acl"};

	must(mkdir(dir, 0755), dir);
	must(chdir(dir), dir);
	for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++)
		must(mkdir(dirs[i], 0755), dirs[i]);
	put_file("f", DATA_SIZE);
	put_file("d/a", 300);
	put_file("t/x", 1);
	put_file("t/y", 0);
	put_file("deep/er/est/file", 5000);
	put_file("h1", 2000);
	put_file("sparse", 10);
	must(truncate("sparse", 1 << 20), "sparse");
	must(link("h1", "h2"), "h2");
	must(link("h1", "d/h3"), "d/h3");
	must(symlink("d/a", "link"), "link");
	must(mkfifo("fifo", 0640), "fifo");
	must(setxattr("f", "user.kept", "yes", 3, 0), "user.kept");
	must(setxattr("acl", "system.posix_acl_default", some_acl, sizeof(some_acl), 0), "acl");
	must(chmod("f", 0640), "f");
	if (geteuid() == 0) {
		must(mknod("dev", S_IFCHR | 0600, makedev(1, 3)), "dev");
		must(lchown("h1", 5, 6), "h1");
		must(lchown("d", 7, 8), "d");
		must(chmod("h1", 04755), "h1");
	}
	must(nftw(".", make_old, 16, FTW_PHYS | FTW_DEPTH), "times");
	must(chdir(".."), "..");
}

static int append(const char *path)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC), r;

	if (fd < 0)
		return -errno;
	r = write(fd, "more", 4) < 0 ? -errno : 0;
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (close(fd) < 0 && r == 0)
		r = -errno;
	return r;
}

static int allocate(const char *path)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd < 0 || fallocate(fd, 0, 0, 2L * DATA_SIZE) < 0 ? -errno : 0;
}

static int copy_range(const char *from, const char *to)
{
	cleanup_close int in = open(from, O_RDONLY | O_CLOEXEC);
	cleanup_close int out = open(to, O_WRONLY | O_CLOEXEC);

	if (in < 0 || out < 0 || copy_file_range(in, NULL, out, NULL, 5000, 0) < 0)
		return -errno;
	return fsync(out) < 0 ? -errno : 0;
}

static int act(const struct step *s, const char *a, const char *b)
{
	const struct timespec ts[2] = {{.tv_sec = 1200000000}, {.tv_sec = 1200000001}};
	int fd;

	switch (s->act) {
	case ACT_CREATE:
	case ACT_OPEN_TRUNC:
		fd = open(a,
			  O_WRONLY | O_CLOEXEC |
				  (s->act == ACT_CREATE ? O_CREAT | O_EXCL : O_TRUNC),
			  0666);
		return fd < 0 ? -1 : close(fd);
	case ACT_MKDIR:
		return mkdir(a, 0777);
	case ACT_SYMLINK:
		return symlink(s->b, a);
	case ACT_FIFO:
		return mkfifo(a, 0666);
	case ACT_DEVICE:
		return mknod(a, S_IFBLK | 0660, makedev(7, 77));
	case ACT_LINK:
		return link(a, b);
	case ACT_UNLINK:
		return unlink(a);
	case ACT_RMDIR:
		return rmdir(a);
	case ACT_RENAME:
		return renameat2(AT_FDCWD, a, AT_FDCWD, b, (unsigned int)s->n);
	case ACT_CHMOD:
		return chmod(a, (mode_t)s->n);
	case ACT_CHOWN:
		return lchown(a, (uid_t)s->n, (gid_t)s->n);
	case ACT_UTIMES:
		return utimensat(AT_FDCWD, a, ts, AT_SYMLINK_NOFOLLOW);
	case ACT_TRUNCATE:
		return truncate(a, s->n);
	case ACT_SETXATTR:
		return setxattr(a, "user.set", s->b, strlen(s->b), 0);
	case ACT_REMOVEXATTR:
		return removexattr(a, "user.kept");
	case ACT_SETACL:
		return setxattr(a, "system.posix_acl_access", some_acl, sizeof(some_acl), 0);
	case ACT_APPEND:
	case ACT_FALLOCATE:
	case ACT_COPY_RANGE:
	case ACT_END:
		break;
	}
	errno = EINVAL;
	return -1;
}

int scene_step(const char *mnt, const struct step *s)
{
	cleanup_free char *a = NULL, *b = NULL;

	if (asprintf(&a, "%s/%s", mnt, s->a) < 0 ||
	    asprintf(&b, "%s/%s", mnt, s->b ? s->b : "") < 0)
		return -ENOMEM;
	if (s->act == ACT_APPEND)
		return append(a);
	if (s->act == ACT_FALLOCATE)
		return allocate(a);
	if (s->act == ACT_COPY_RANGE)
		return copy_range(a, b);
	return act(s, a, b) < 0 ? -errno : 0;
}
