/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "overlay/fs.h"
#include "overlay/mark.h"
#include "overlay/node.h"
#include "overlay/ops.h"
#include "overlay/push.h"

/*
 * The work directory: work/ is the kernel's name for where things are built,
 * links/ has the copied-up hard links. The lock on it belongs to the one mount
 * that may write to the upper.
 */
#define LOCK_WAIT_MS 10000

/*
 * The mount before us on this upper may still be on its way out: umount(2) returns before the
 * last process has ended.
 */
static int lock_work(int fd, const char *path, int wait_ms, struct err *err)
{
	const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};

	for (int waited = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited += 10) {
		if (errno != EWOULDBLOCK)
			return err_set(err, -errno, "lock '%s'", path);
		if (waited >= wait_ms) {
			err_hint(err, "unmount the other mount of this upper directory first");
			return err_msg(err, -EBUSY, "'%s' is in use by another mount", path);
		}
		(void)nanosleep(&pause, NULL);
	}
	return 0;
}

static int open_or_make(int dirfd, const char *name, mode_t mode)
{
	int r = ovl_sys_mkdir(dirfd, name, mode);

	if (r < 0 && r != -EEXIST)
		return r;
	return ovl_sys_open(dirfd, name, O_RDONLY | O_DIRECTORY, 0);
}

static int boot_id(char buf[64])
{
	cleanup_close int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, 63);

	if (n <= 0)
		return -errno;
	buf[n] = '\0';
	return 0;
}

/* -ENOENT: nothing stands in the way of a mount. Else 0, and whether it is only "volatile". */
static int read_incompat(int work_fd, bool *ret_volatile)
{
	cleanup_closedir DIR *d = NULL;
	struct dirent *de;
	int r = ovl_sys_opendir(work_fd, "incompat", &d);

	if (r < 0)
		return r;
	r = -ENOENT;
	*ret_volatile = true;
	while ((de = readdir(d))) {
		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		r = 0;
		if (strcmp(de->d_name, "volatile") != 0)
			*ret_volatile = false;
	}
	return r;
}

/*
 * What an upper without syncs may have lost, it has lost in a crash of the machine. So the mark is
 * the kernel's own (incompat/volatile, which makes the kernel refuse), and has the boot in it:
 * within the same boot nothing can have been lost. As for the kernel, who knows better takes the
 * mark away (containers/storage does), and anything else in incompat/ is a feature we do not have.
 */
static int check_incompat(int work_fd, struct err *err)
{
	cleanup_free char *text = NULL;
	bool is_volatile = false;
	char now[64];
	size_t len;
	int r = read_incompat(work_fd, &is_volatile);

	if (r == -ENOENT)
		return 0;
	if (r == 0 && !is_volatile)
		return err_msg(err, -EINVAL,
			       "the work directory was left by a mount with features unknown here");
	if (r == 0)
		r = io_read_file(work_fd, "incompat/volatile/boot_id", 63, &text, &len);
	if (r == 0)
		r = boot_id(now);
	if (r == 0 && strcmp(text, now) == 0)
		return 0;
	err_hint(err, "throw the upper and work directories away: they were written without syncs");
	return err_msg(err, -EINVAL, "the upper was volatile when the machine went down");
}

static int mark_volatile(int work_fd)
{
	cleanup_close int fd = -1, dir = -1;
	char now[64];
	int r = io_mkdir_p(work_fd, "incompat/volatile", 0700);

	if (r == 0)
		r = boot_id(now);
	if (r < 0)
		return r;
	dir = io_open_beneath(work_fd, "incompat/volatile", O_RDONLY | O_DIRECTORY, 0);
	if (dir < 0)
		return dir;
	fd = ovl_sys_open(dir, "boot_id", O_WRONLY | O_CREAT | O_TRUNC, 0600);
	return fd < 0 ? fd : io_write_full(fd, now, strlen(now));
}

/* What was being built when a mount before us was killed. The volatile mark stays. */
static int sweep(int work_fd)
{
	cleanup_closedir DIR *d = NULL;
	struct dirent *de;
	int r = ovl_sys_opendir(work_fd, ".", &d);

	if (r < 0)
		return r;
	while (r == 0 && (de = readdir(d)))
		if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0 &&
		    strcmp(de->d_name, "incompat") != 0)
			r = io_remove_tree(work_fd, de->d_name);
	return r;
}

static int load_place(struct ovl_fs *fs, const char *name, uint64_t number)
{
	struct ovl_place p;
	char text[64];
	ssize_t n =
		ovl_sys_getxattr(fs->links_fd, name, fs->mark[OVL_MARK_PLACE], text, sizeof(text));

	/* symlinks and special files of an ordinary user have none */
	if (n < 0)
		return n == -ENODATA || n == -EOPNOTSUPP || n == -EPERM || n == -ERANGE ? 0
											: (int)n;
	if (ovl_mark_place(text, (size_t)n, &p) < 0)
		return 0;
	return ovl_number_restore(fs->numbers, p.batch, p.ino, p.foreign, number);
}

/*
 * work/links/NUMBER: those whose names are all gone are left from a mount that was killed between
 * the last name and the entry.
 */
static int load_links(struct ovl_fs *fs)
{
	cleanup_closedir DIR *d = NULL;
	struct dirent *de;
	struct stat st;
	uint64_t number;
	int r = ovl_sys_opendir(fs->links_fd, ".", &d);

	if (r < 0)
		return r;
	while (r == 0 && (de = readdir(d))) {
		if (ovl_mark_number(de->d_name, strlen(de->d_name), &number) < 0)
			continue;
		r = ovl_sys_stat(fs->links_fd, de->d_name, &st);
		if (r == 0)
			r = ovl_links_add(fs->numbers, number, st.st_ino);
		if (r == 0 && ovl_number_is_dynamic(fs->numbers, number))
			r = load_place(fs, de->d_name, number);
		/* Names of these may have no mark to say what they lead to. */
		if (r == 0 && !S_ISREG(st.st_mode))
			r = ovl_origins_add(fs->numbers, fs->upper_batch, st.st_ino, number);
	}
	return r;
}

/* By a mark on the root it is known, also as a lower layer, that owners are in xattrs. */
static int mark_root(struct ovl_fs *fs, const struct stat *st)
{
	ssize_t n =
		fs->owner_always ? ovl_sys_getxattr(fs->upper_fd, "", fs->owner_xattr, NULL, 0) : 0;

	if (n != -ENODATA)
		return n < 0 ? (int)n : 0;
	return ovl_set_owner(fs, fs->upper_fd, "", S_IFDIR, st->st_uid, st->st_gid,
			     st->st_mode & 07777);
}

/* Without its mark a copy without data would be a file of zeros. */
static void probe_metacopy(struct ovl_fs *fs)
{
	const char *mark = fs->mark[OVL_MARK_METACOPY];

	if (!fs->metacopy)
		return;
	fs->metacopy = ovl_sys_setxattr(fs->work_fd, "", mark, "", 0, 0) == 0 &&
		       ovl_sys_removexattr(fs->work_fd, "", mark) == 0;
	if (!fs->metacopy)
		log_info("no metacopy: the upper directory cannot keep the mark '%s'", mark);
}

/* Locked, swept, and with all that is built in. */
static int open_dirs(struct ovl_fs *fs, const char *upper_path, const char *work, int wait_ms,
		     struct err *err)
{
	struct stat st, upper;
	int r;

	fs->upper_fd = open(upper_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fs->upper_fd < 0 || fstat(fs->upper_fd, &st) < 0)
		return err_set(err, -errno, "open upper directory '%s'", upper_path);
	fs->upper_dev = st.st_dev;
	upper = st;
	fs->work_base_fd = open(work, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fs->work_base_fd < 0 || fstat(fs->work_base_fd, &st) < 0)
		return err_set(err, -errno, "open work directory '%s'", work);
	if (st.st_dev != fs->upper_dev)
		return err_msg(err, -EXDEV, "'%s' and '%s' are not on one file system", upper_path,
			       work);
	r = lock_work(fs->work_base_fd, work, wait_ms, err);
	if (r < 0)
		return r;
	/* The kernel makes it with mode 0, which only root can work in. */
	fs->work_fd = open_or_make(fs->work_base_fd, "work", 0700);
	if (fs->work_fd == -EACCES && ovl_sys_chmod(fs->work_base_fd, "work", 0700) == 0)
		fs->work_fd = open_or_make(fs->work_base_fd, "work", 0700);
	if (fs->work_fd < 0)
		return err_set(err, fs->work_fd, "open '%s/work'", work);
	r = check_incompat(fs->work_fd, err);
	if (r < 0)
		return r;
	r = sweep(fs->work_fd);
	if (r < 0)
		return err_set(err, r, "clear '%s/work'", work);
	r = mark_root(fs, &upper);
	if (r < 0)
		return err_set(err, r, "keep the owner of '%s'", upper_path);
	/* What is built here must not inherit from here. */
	r = ovl_sys_removexattr(fs->work_fd, "", "system.posix_acl_default");
	if (r < 0 && r != -ENODATA && r != -EOPNOTSUPP)
		return err_set(err, r, "remove the default ACL of '%s/work'", work);
	fs->links_fd = open_or_make(fs->work_base_fd, "links", 0700);
	if (fs->links_fd < 0)
		return err_set(err, fs->links_fd, "open '%s/links'", work);
	if (fs->volatile_) {
		r = mark_volatile(fs->work_fd);
		if (r < 0)
			return err_set(err, r, "mark '%s/work' as volatile", work);
	}
	return 0;
}

int ovl_work_open(struct ovl_fs *fs, const struct ovl_config *c, struct err *err)
{
	/* who only reads has another way: ovl_fs_open() */
	int r = open_dirs(fs, c->upper, c->work, c->read_only ? 0 : LOCK_WAIT_MS, err);

	if (r < 0)
		return r;
	ovl_order_sweep(fs->work_base_fd);
	ovl_marks_init(fs);
	probe_metacopy(fs);
	r = ovl_numbers_keep(fs->numbers, fs->work_base_fd, !fs->volatile_);
	if (r < 0)
		return err_set(err, r, "read '%s/numbers'", c->work);
	r = load_links(fs);
	return r < 0 ? err_set(err, r, "open '%s/links'", c->work) : 0;
}

static int check_new(const char *path, struct err *err)
{
	cleanup_closedir DIR *d = opendir(path);
	struct dirent *de;

	if (!d)
		return err_set(err, -errno, "open '%s'", path);
	while ((de = readdir(d)))
		if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0)
			return err_msg(err, -ENOTEMPTY, "'%s' is not empty", path);
	return 0;
}

int ovl_work_open_new(const struct ovl_fs *fs, const char *upper, const char *work,
		      struct ovl_fs *ret, struct err *err)
{
	int r;

	*ret = (struct ovl_fs){.upper_fd = -1, .work_base_fd = -1, .work_fd = -1, .links_fd = -1};
	ret->volatile_ = fs->volatile_;
	ret->owner_xattr = fs->owner_xattr;
	ret->owner_always = fs->owner_always;
	ret->uid = fs->uid;
	ret->gid = fs->gid;
	r = check_new(upper, err);
	if (r == 0)
		r = check_new(work, err);
	if (r < 0)
		return r;
	r = open_dirs(ret, upper, work, 0, err);
	if (r == 0 && ret->upper_dev != fs->upper_dev)
		r = err_msg(err, -EXDEV, "'%s' is not on the file system of the upper directory",
			    upper);
	if (r < 0)
		ovl_work_undo(ret);
	return r;
}

void ovl_work_undo(struct ovl_fs *fs)
{
	static const char *const made[] = {"work", "links", "numbers", OVL_FROZEN_FILE};

	for (size_t i = 0; fs->work_base_fd >= 0 && i < sizeof(made) / sizeof(*made); i++)
		(void)!io_remove_tree(fs->work_base_fd, made[i]);
	ovl_work_close(fs);
}

void ovl_work_close(struct ovl_fs *fs)
{
	int *const fds[] = {&fs->links_fd, &fs->work_fd, &fs->upper_fd, &fs->work_base_fd};

	/* The last one holds the lock. */
	for (size_t i = 0; i < sizeof(fds) / sizeof(*fds); i++) {
		if (*fds[i] >= 0)
			(void)close(*fds[i]);
		*fds[i] = -1;
	}
}
