/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/pin.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "overlay/ops.h"

void ovl_pin_name(const struct ovl_node *n, char buf[OVL_PIN_NAME])
{
	/* Its own as long as the node is. */
	snprintf(buf, OVL_PIN_NAME, "pin%" PRIxPTR, (uintptr_t)n);
}

/* Two threads may both see the last one free: then there is one more. */
static bool has_room(struct ovl_fs *fs)
{
	return atomic_load_explicit(&fs->pins, memory_order_relaxed) < fs->pins_max;
}

static int counted(struct ovl_fs *fs, int fd)
{
	if (fd >= 0)
		atomic_fetch_add_explicit(&fs->pins, 1, memory_order_relaxed);
	return fd;
}

/* A removed directory is empty for ever: another one that has all else does as well. */
static int park_dir(struct ovl_fs *fs, int fd, const char *name, const char *parked)
{
	struct ovl_source from = {.fd = fd, .name = name};
	struct stat st;
	int r = ovl_source_stat(&from, fs->owner_xattr, &st);

	if (r == 0)
		r = ovl_sys_mkdir(fs->work_fd, parked, 0700);
	if (r < 0)
		return r;
	r = ovl_set_owner(fs, fs->work_fd, parked, S_IFDIR, st.st_uid, st.st_gid,
			  st.st_mode & 07777);
	if (r == 0)
		r = ovl_copy_xattrs(&from, fs->work_fd, parked);
	if (r == 0) {
		struct timespec ts[2] = {st.st_atim, st.st_mtim};

		r = ovl_sys_utimens(fs->work_fd, parked, ts);
	}
	if (r < 0)
		ovl_temp_remove(fs, parked);
	return r;
}

/* Whether the name that is about to go is the last one: others must not count the parked one. */
static bool is_last(const struct ovl_node *n, int fd, const char *name)
{
	struct stat st;

	if (ovl_node_has(n, OVL_NODE_INDEXED))
		return true;
	return ovl_sys_stat(fd, name, &st) == 0 && st.st_nlink <= 1;
}

static int park(struct ovl_fs *fs, struct ovl_node *n, int fd, const char *name)
{
	char parked[OVL_PIN_NAME];

	ovl_pin_name(n, parked);
	if (S_ISDIR(n->type))
		return park_dir(fs, fd, name, parked);
	return is_last(n, fd, name) ? ovl_sys_link(fd, name, fs->work_fd, parked) : -EMLINK;
}

int ovl_pin_locked(struct ovl_fs *fs, struct ovl_node *n, int fd, const char *name)
{
	/* A copied-up hard link has its entry in work/links, a lower object its layer. */
	if (!n || n->pin != OVL_PIN_NONE || !ovl_node_has(n, OVL_NODE_UPPER) || n->at.next)
		return OVL_PIN_NONE;
	if (ovl_node_has(n, OVL_NODE_INDEXED) && n->nlink > 1)
		return OVL_PIN_NONE;
	if (!has_room(fs) && park(fs, n, fd, name) == 0)
		return OVL_PIN_PARKED;
	fd = counted(fs, ovl_sys_open(fd, name, O_PATH, 0));
	return fd < 0 ? OVL_PIN_NONE : fd;
}

int ovl_pin_file(struct ovl_fs *fs, struct ovl_node *n, int fd, int *ret)
{
	char parked[OVL_PIN_NAME];
	int r;

	ovl_pin_name(n, parked);
	if (!has_room(fs) && ovl_sys_link(fd, "", fs->work_fd, parked) == 0) {
		*ret = OVL_PIN_PARKED;
		return 0;
	}
	r = counted(fs, ovl_sys_reopen(fd, O_PATH));
	if (r < 0)
		return r;
	*ret = r;
	return 0;
}

int ovl_pin_temp_locked(struct ovl_fs *fs, struct ovl_node *n, const char *temp)
{
	char parked[OVL_PIN_NAME];
	int r;

	ovl_pin_name(n, parked);
	/* One that is parked is replaced. */
	if (!has_room(fs) && ovl_sys_rename(fs->work_fd, temp, fs->work_fd, parked, 0) == 0) {
		if (n->pin != OVL_PIN_PARKED)
			ovl_pin_drop(fs, n, n->pin);
		n->pin = OVL_PIN_PARKED;
		return 0;
	}
	r = counted(fs, ovl_sys_open(fs->work_fd, temp, O_PATH, 0));
	if (r < 0)
		return r;
	ovl_temp_remove(fs, temp);
	ovl_pin_drop(fs, n, n->pin);
	n->pin = r;
	return 0;
}

int ovl_pin_stat(struct ovl_fs *fs, const struct ovl_node *n, struct stat *ret)
{
	char parked[OVL_PIN_NAME];

	if (n->pin >= 0)
		return ovl_sys_stat(n->pin, "", ret);
	ovl_pin_name(n, parked);
	return ovl_sys_stat(fs->work_fd, parked, ret);
}

void ovl_pin_drop(struct ovl_fs *fs, const struct ovl_node *n, int pin)
{
	char parked[OVL_PIN_NAME];

	if (pin == OVL_PIN_PARKED) {
		ovl_pin_name(n, parked);
		ovl_temp_remove(fs, parked);
	} else if (pin >= 0) {
		(void)close(pin);
		atomic_fetch_sub_explicit(&fs->pins, 1, memory_order_relaxed);
	}
}
