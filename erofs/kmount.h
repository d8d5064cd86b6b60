/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stddef.h>

#include "base/err.h"

/*
 * kmount - lets the kernel mount an index over its data files (Linux 6.12 or
 * newer with EROFS_FS_BACKED_BY_FILE; needs CAP_SYS_ADMIN). No loop devices,
 * and any number of devices: each is one fsconfig(2) string.
 *
 * Mounts @index at the directory @target, read-only. @devices: paths of the data files, in the
 * order of the index. Undone by umount2(@target). -EOPNOTSUPP or -ENODEV: this kernel
 * cannot; -EPERM: not allowed to; the message has what the kernel said.
 */
int erofs_kernel_mount(const char *index, const char *const *devices, size_t n_devices,
		       const char *target, struct err *err) __attribute__((warn_unused_result));
