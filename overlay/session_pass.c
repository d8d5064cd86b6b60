/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/session_pass.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>

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

/* The id, positive, or -errno. */
static int backing_open(struct ovl_fs *fs, int fd)
{
	struct backing_map map = {.fd = fd};
	int id = ioctl(fs->pass.dev_fd, BACKING_OPEN, &map);

	return id > 0 ? id : id < 0 ? -errno : -EIO;
}

static void backing_close(struct ovl_fs *fs, int32_t id)
{
	uint32_t arg = (uint32_t)id;

	if (ioctl(fs->pass.dev_fd, BACKING_CLOSE, &arg) < 0)
		log_error("a passthrough file cannot be given back: %s", strerror(errno));
}

/* The ioctl alone says whether we may: INIT offers it to everybody. */
static int try_it(struct ovl_fs *fs)
{
	cleanup_close int fd = -1;
	char temp[24];
	int id;

	ovl_temp_name(fs, temp);
	fd = ovl_sys_open(fs->work_fd, temp, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return fd;
	ovl_temp_remove(fs, temp);
	id = backing_open(fs, fd);
	if (id > 0)
		backing_close(fs, id);
	return id > 0 ? 0 : id;
}

static const char *refusal(int r)
{
	switch (r) {
	case -EPERM:
		return "the kernel grants it to root of the machine only";
	case -ELOOP:
		return "the upper directory is on a file system that stands on another one itself";
	default:
		return strerror(-r);
	}
}

void ovl_pass_decide(struct ovl_fs *fs)
{
	struct ovl_pass *p = &fs->pass;
	int r;

	if (!p->wanted)
		return;
	pthread_mutex_lock(&p->lock);
	if (!p->tried) {
		r = fs->io.offered2 & OVL_PASS_FLAG2 ? try_it(fs) : -ENOSYS;
		p->granted = r == 0;
		p->tried = true;
		if (r < 0) {
			fs->no_handles = p->fallback;
			log_warn("no passthrough: %s",
				 r == -ENOSYS ? "this kernel does not have it (Linux 6.9)"
					      : refusal(r));
		} else {
			log_info("files of the upper directory are passed through");
		}
	}
	pthread_mutex_unlock(&p->lock);
}

bool ovl_pass_begin(struct ovl_fs *fs, struct ovl_node *n, struct ovl_file *f, int32_t *ret_id)
{
	struct ovl_pass *p = &fs->pass;
	bool passed = false;
	int fd, id;

	if (!p->wanted)
		return false;
	pthread_mutex_lock(&p->lock);
	fd = ovl_file_fd(f);
	if (n->opens_passed > 0) {
		passed = true;
	} else if (p->granted && n->opens_cached == 0 && fd >= 0) {
		id = backing_open(fs, fd);
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

	if (!p->wanted)
		return;
	pthread_mutex_lock(&p->lock);
	if (!passed)
		n->opens_cached--;
	else if (--n->opens_passed == 0)
		backing_close(fs, n->backing);
	pthread_mutex_unlock(&p->lock);
}
