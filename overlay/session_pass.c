/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/session_pass.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "overlay/fs.h"
#include "overlay/ops.h"

struct backing_map {
	int32_t fd;
	uint32_t flags;
	uint64_t padding;
};
#define BACKING_OPEN  _IOW(229, 1, struct backing_map)
#define BACKING_CLOSE _IOW(229, 2, uint32_t)
#define GAINS_SIZE    (256 << 10)
#define INIT_WAIT_MS  1000 /* it is there before we look */

/* The id, positive, or -errno. */
static int backing_open(int dev, int fd)
{
	struct backing_map map = {.fd = fd};
	int id = ioctl(dev, BACKING_OPEN, &map);

	return id > 0 ? id : id < 0 ? -errno : -EIO;
}

static void backing_close(int dev, int32_t id)
{
	uint32_t arg = (uint32_t)id;

	if (ioctl(dev, BACKING_CLOSE, &arg) < 0)
		log_error("a passthrough file cannot be given back: %s", strerror(errno));
}

void ovl_pass_ask(struct fuse_init_out *out)
{
	const uint32_t depth = OVL_PASS_MAX_DEPTH;

	out->flags |= FUSE_INIT_EXT;
	out->flags2 |= OVL_PASS_FLAG2;
	/* max_stack_depth, which older headers do not name */
	memcpy((char *)out + offsetof(struct fuse_init_out, flags2) + sizeof(out->flags2), &depth,
	       sizeof(depth));
}

/* The answer to INIT that asks for passthrough and for nothing else. */
static int shake_hands(int dev)
{
	struct {
		struct fuse_out_header head;
		struct fuse_init_out init;
	} answer = {.head = {.len = sizeof(answer)}};
	struct pollfd p = {.fd = dev, .events = POLLIN};
	struct fuse_init_in in = {.flags = 0};
	struct fuse_in_header head;
	char buf[FUSE_MIN_READ_BUFFER];
	ssize_t n = poll(&p, 1, INIT_WAIT_MS) == 1 ? read(dev, buf, sizeof(buf)) : -1;

	if (n < (ssize_t)(sizeof(head) + offsetof(struct fuse_init_in, flags2)))
		return -EIO;
	memcpy(&head, buf, sizeof(head));
	n -= (ssize_t)sizeof(head);
	memcpy(&in, buf + sizeof(head), (size_t)n < sizeof(in) ? (size_t)n : sizeof(in));
	if (!(in.flags & FUSE_INIT_EXT) || !(in.flags2 & OVL_PASS_FLAG2))
		return -ENOSYS;
	answer.head.unique = head.unique;
	answer.init =
		(struct fuse_init_out){.major = in.major, .minor = in.minor, .max_write = 4096};
	ovl_pass_ask(&answer.init);
	return write(dev, &answer, sizeof(answer)) == (ssize_t)sizeof(answer) ? 0 : -errno;
}

static int set_number(int fs, const char *key, unsigned int value)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "%u", value);
	return fsconfig(fs, FSCONFIG_SET_STRING, key, text, 0);
}

/* A connection of its own, of which nothing is mounted; it ends with the two fds. */
static int connect_fuse(int *ret_dev, int *ret_fs)
{
	*ret_dev = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	*ret_fs = *ret_dev < 0 ? -1 : fsopen("fuse", FSOPEN_CLOEXEC);
	if (*ret_fs < 0 || set_number(*ret_fs, "fd", (unsigned int)*ret_dev) < 0 ||
	    fsconfig(*ret_fs, FSCONFIG_SET_STRING, "rootmode", "40000", 0) < 0 ||
	    set_number(*ret_fs, "user_id", geteuid()) < 0 ||
	    set_number(*ret_fs, "group_id", getegid()) < 0 ||
	    fsconfig(*ret_fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	return 0;
}

int ovl_pass_probe(int fd)
{
	cleanup_close int dev = -1, fs = -1;
	int r = connect_fuse(&dev, &fs), id;

	if (r == 0)
		r = shake_hands(dev);
	if (r < 0)
		return r;
	id = backing_open(dev, fd);
	if (id > 0)
		backing_close(dev, id);
	return id > 0 ? 0 : id;
}

const char *ovl_pass_refusal(int r)
{
	switch (r) {
	case -EPERM:
	case -EACCES:
		return "the kernel grants it to root of the machine only";
	case -ELOOP:
		return "the upper directory is on a file system that stands on another one itself";
	case -ENOSYS:
		return "this kernel does not have it (Linux 6.9)";
	default:
		return strerror(-r);
	}
}

int ovl_pass_probe_upper(struct ovl_fs *fs)
{
	cleanup_close int fd = -1;
	char temp[24];

	ovl_temp_name(fs, temp);
	fd = ovl_sys_open(fs->work_fd, temp, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return fd;
	ovl_temp_remove(fs, temp);
	return ovl_pass_probe(fd);
}

/*
 * Reading a small file is faster out of pages that stay; those of one that was passed may be old.
 */
static bool gains(struct ovl_node *n, int fd, int flags)
{
	struct stat st;

	return (flags & O_ACCMODE) != O_RDONLY || ovl_node_has(n, OVL_NODE_PASSED) ||
	       (ovl_sys_stat(fd, "", &st) == 0 && st.st_size >= GAINS_SIZE);
}

bool ovl_pass_begin(struct ovl_fs *fs, struct ovl_node *n, struct ovl_file *f, int flags,
		    int32_t *ret_id)
{
	struct ovl_pass *p = &fs->pass;
	bool passed = false;
	int fd, id;

	if (!p->on)
		return false;
	pthread_mutex_lock(&p->lock);
	fd = ovl_file_fd(f);
	if (n->opens_passed > 0) {
		passed = true;
	} else if (n->opens_cached == 0 && fd >= 0 && gains(n, fd, flags)) {
		id = backing_open(p->dev_fd, fd);
		passed = id > 0;
		if (passed)
			n->backing = id;
	}
	if (passed) {
		n->opens_passed++;
		*ret_id = n->backing;
		/* What the kernel had cached before goes out of date from here on. */
		ovl_node_set(n, OVL_NODE_PASSED);
	} else {
		n->opens_cached++;
	}
	pthread_mutex_unlock(&p->lock);
	return passed;
}

void ovl_pass_end(struct ovl_fs *fs, struct ovl_node *n, bool passed)
{
	struct ovl_pass *p = &fs->pass;

	if (!p->on)
		return;
	pthread_mutex_lock(&p->lock);
	if (!passed)
		n->opens_cached--;
	else if (--n->opens_passed == 0)
		backing_close(p->dev_fd, n->backing);
	pthread_mutex_unlock(&p->lock);
}
