/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/strbuf.h"
#include "overlay/overlay.h"
#include "overlay/push.h"

/*
 * An order is a file in the work directory, put there in one step: words that each end with a NUL.
 * An ioctl on the mount's root says that it is there; what came of it is left beside it, a line for
 * the error's code, and its text, place and hint, each ending with a NUL.
 */
#define ORDER	    "order"
#define ANSWER	    "answer"
#define ORDER_MAX   65536
#define WORD	    "push-layer"
#define ORDER_IOCTL _IO('S', 0x70)

/* The three words: pointers into @text. */
static int parse_order(char *text, size_t len, const char *words[3])
{
	char *p = text, *end = text + len;

	for (int i = 0; i < 3; i++) {
		words[i] = p;
		if (p >= end || strlen(p) >= (size_t)(end - p))
			return -EINVAL;
		p += strlen(p) + 1;
	}
	return p == end && strcmp(words[0], WORD) == 0 && words[1][0] == '/' && words[2][0] == '/'
		       ? 0
		       : -EINVAL;
}

static void write_answer(int dirfd, const struct err *err)
{
	struct strbuf s CLEANUP(strbuf_release) = STRBUF_INIT;
	struct io_tmp t cleanup_io_tmp = IO_TMP_INIT;

	/* who asks sees the result of the ioctl, too */
	if (strbuf_addf(&s, "%d\n%s%c%s%c%s%c", -err->code, err->msg, 0, err->where, 0, err->hint,
			0) == 0 &&
	    io_tmp_create(dirfd, 0600, &t) == 0 && io_write_full(t.fd, s.s, s.len) == 0)
		(void)!io_tmp_publish(&t, dirfd, ANSWER);
}

bool ovl_order_is(unsigned int cmd)
{
	return cmd == ORDER_IOCTL;
}

static int obey(struct ovl_fs *fs, int dirfd)
{
	cleanup_free char *text = NULL;
	const char *words[3] = {NULL};
	struct err err = ERR_INIT;
	size_t len;
	int r = io_read_file(dirfd, ORDER, ORDER_MAX, &text, &len);

	if (r == -ENOENT)
		return -ENOTTY; /* somebody else was faster */
	if (r == 0)
		r = parse_order(text, len, words);
	if (r < 0)
		r = err_set(&err, r, "read the order");
	else
		r = ovl_push_layer(fs, words[1], words[2], &err);
	write_answer(dirfd, &err);
	(void)!ovl_sys_unlink(dirfd, ORDER, 0);
	return r;
}

int ovl_order_obey(struct ovl_fs *fs)
{
	cleanup_close int dirfd = -1;
	struct stat st;
	int r;

	/* Anybody may ask: without an order nobody waits for anything. */
	if (!fs->has_upper || ovl_sys_stat(fs->work_base_fd, ORDER, &st) < 0)
		return -ENOTTY;
	/* Most of it while others go on. */
	if (!fs->volatile_)
		(void)!ovl_sys_syncfs(fs->upper_fd);
	ovl_session_io_stop(&fs->io);
	dirfd = fcntl(fs->work_base_fd, F_DUPFD_CLOEXEC, 3);
	r = dirfd < 0 ? -errno : obey(fs, dirfd);
	ovl_session_io_go(&fs->io);
	return r;
}

void ovl_order_sweep(int work_base_fd)
{
	(void)!ovl_sys_unlink(work_base_fd, ORDER, 0);
	(void)!ovl_sys_unlink(work_base_fd, ANSWER, 0);
}

/* --- who gives the order --- */

static int give_order(int dirfd, const char *work, const char *upper, const char *new_work,
		      struct err *err)
{
	struct strbuf s CLEANUP(strbuf_release) = STRBUF_INIT;
	struct io_tmp t cleanup_io_tmp = IO_TMP_INIT;
	int r = strbuf_addf(&s, "%s%c%s%c%s%c", WORD, 0, upper, 0, new_work, 0);

	if (faccessat(dirfd, ORDER, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
		err_hint(err, "remove '%s/%s' if nobody is about to push a layer", work, ORDER);
		return err_msg(err, -EBUSY, "another order waits in '%s'", work);
	}
	(void)unlinkat(dirfd, ANSWER, 0);
	if (r == 0)
		r = io_tmp_create(dirfd, 0600, &t);
	if (r == 0)
		r = io_write_full(t.fd, s.s, s.len);
	if (r == 0)
		r = io_tmp_publish(&t, dirfd, ORDER);
	return r < 0 ? err_set(err, r, "write to '%s'", work) : 0;
}

/* 1: nobody answered. */
static int read_answer(int dirfd, struct err *err)
{
	cleanup_free char *text = NULL;
	const char *parts[3] = {"", "", ""}, *p;
	size_t len;
	long code;

	if (io_read_file(dirfd, ANSWER, ORDER_MAX, &text, &len) < 0)
		return 1;
	(void)unlinkat(dirfd, ANSWER, 0);
	code = strtol(text, NULL, 10);
	p = memchr(text, '\n', len);
	for (int i = 0; p && i < 3 && p < text + len; i++) {
		parts[i] = i == 0 ? p + 1 : p;
		p = parts[i] + strlen(parts[i]) + 1;
	}
	if (code <= 0 || code > 4095)
		return 0;
	(void)err_msg(err, -(int)code, "%s", parts[0]);
	if (parts[1][0])
		(void)err_wrap(err, -(int)code, "%s", parts[1]);
	if (parts[2][0])
		err_hint(err, "%s", parts[2]);
	return -(int)code;
}

int ovl_push_order(const char *mountpoint, const char *work, const char *upper,
		   const char *new_work, struct err *err)
{
	cleanup_free char *upper_path = realpath(upper, NULL),
			  *work_path = realpath(new_work, NULL);
	cleanup_close int dirfd = -1, root = -1;
	int r;

	if (!upper_path || !work_path)
		return err_set(err, -errno, "open '%s'", upper_path ? new_work : upper);
	root = open(mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return err_set(err, -errno, "open '%s'", mountpoint);
	dirfd = open(work, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0)
		return err_set(err, -errno, "open '%s'", work);
	/* What was written through a mapping belongs to the layer that is frozen. */
	if (syncfs(root) < 0)
		return err_set(err, -errno, "sync '%s'", mountpoint);
	r = give_order(dirfd, work, upper_path, work_path, err);
	if (r < 0)
		return r;
	r = ioctl(root, ORDER_IOCTL) < 0 ? -errno : 0;
	if (read_answer(dirfd, err) != 1)
		return err->code;
	(void)unlinkat(dirfd, ORDER, 0);
	if (r == -ENOTTY || r == 0)
		return err_msg(err, -ENOTTY, "'%s' is no snapfs mount with the work directory '%s'",
			       mountpoint, work);
	return err_set(err, r, "push a layer onto '%s'", mountpoint);
}
