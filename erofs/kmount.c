/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "erofs/kmount.h"

/* What the kernel says about it comes out of the context's fd, a line a read: "e text". */
static int fail(int fs, int code, struct err *err, const char *what, const char *path)
{
	char line[256];
	ssize_t n;

	do {
		n = read(fs, line, sizeof(line) - 1);
	} while (n > 0 && line[0] != 'e');
	if (n <= 2)
		return err_set(err, code, "%s '%s'", what, path);
	line[n] = '\0';
	line[strcspn(line, "\n")] = '\0';
	return err_set(err, code, "%s '%s': %s", what, path, line + 2);
}

int erofs_kernel_mount(const char *index, const char *const *devices, size_t n_devices,
		       const char *target, struct err *err)
{
	int fs cleanup_close = fsopen("erofs", FSOPEN_CLOEXEC);
	int mnt cleanup_close = -1;

	if (fs < 0)
		return err_set(err, -errno, "the kernel's EROFS");
	if (fsconfig(fs, FSCONFIG_SET_STRING, "source", index, 0) < 0)
		return fail(fs, -errno, err, "mount index", index);
	for (size_t i = 0; i < n_devices; i++)
		if (fsconfig(fs, FSCONFIG_SET_STRING, "device", devices[i], 0) < 0)
			return fail(fs, -errno, err, "mount device", devices[i]);
	if (fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return fail(fs, -errno, err, "mount index", index);
	mnt = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY);
	if (mnt < 0)
		return fail(fs, -errno, err, "mount index", index);
	if (move_mount(mnt, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_set(err, -errno, "mount at '%s'", target);
	return 0;
}
