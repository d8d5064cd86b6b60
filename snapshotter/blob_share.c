/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/blob_share.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

/*
 * Has nobody the file open for writing, or mapped so? A lease for reading is given only then. It is
 * held for no longer than it takes to know: who opens it for writing later has a right to, which
 * can_link() looks at.
 */
static bool has_no_writer(int fd)
{
	/* whoever breaks it in between gives us a signal: one that does nothing */
	if (fcntl(fd, F_SETSIG, SIGURG) < 0 || fcntl(fd, F_SETLEASE, F_RDLCK) < 0)
		return false;
	return fcntl(fd, F_SETLEASE, F_UNLCK) == 0;
}

/* Ours alone to change, and we said that we will not: then its inode may be the store's as well. */
static bool can_link(int fd)
{
	struct stat st;

	/* with an ACL the bits of the group are its mask: nobody named there may write either */
	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
	       (st.st_mode & (S_IWUSR | S_IWGRP | S_IWOTH | S_ISUID | S_ISGID)) == 0 &&
	       has_no_writer(fd);
}

static int clone_file(int from, int dir, const char *name)
{
	int to cleanup_close = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (to < 0)
		return -errno;
	if (ioctl(to, FICLONE, from) == 0)
		return 1;
	return unlinkat(dir, name, 0) < 0 ? -errno : 0;
}

int blob_share(int from, int dir, const char *name, enum blob_share *ret)
{
	char self[40];
	int r = clone_file(from, dir, name);

	if (r < 0)
		return r;
	*ret = r > 0 ? BLOB_SHARE_CLONED : BLOB_SHARE_NOT;
	if (r > 0 || !can_link(from))
		return 0;
	/* the file that was looked at, whatever has its name now */
	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", from);
	if (linkat(AT_FDCWD, self, dir, name, AT_SYMLINK_FOLLOW) == 0)
		*ret = BLOB_SHARE_LINKED; /* not on another file system, and not over many names */
	return 0;
}
