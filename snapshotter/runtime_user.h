/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * runtime_user - who a container's process is, by the names of its own root
 * file system. /etc/passwd and /etc/group are the image's: they are resolved
 * inside the root (openat2(2), RESOLVE_IN_ROOT), must be ordinary files of at
 * most RUNTIME_USER_FILE_MAX bytes, and are read once.
 */
#define RUNTIME_USER_FILE_MAX (4u << 20)
#define RUNTIME_USER_LINE_MAX 65536
#define RUNTIME_GROUPS_MAX    1024 /* supplementary groups that are used, of one user */

struct runtime_user {
	uint32_t uid, gid;
	uint32_t *groups; /* supplementary */
	size_t n_groups;
	char *home; /* "/" when passwd does not say */
};
void runtime_user_release(struct runtime_user *u);
#define cleanup_runtime_user __attribute__((cleanup(runtime_user_release)))

/*
 * @spec: "USER[:GROUP]", each by name or number, as an image's config has it; NULL or empty: root.
 * A number needs no line in the files. -ENOENT: no such name; -EFBIG, -EUCLEAN: a file is none that
 * a runtime may be let near: a container does not start with it, whoever its user is.
 */
int runtime_user_find(int root_fd, const char *spec, struct runtime_user *ret, struct err *err)
	__attribute__((warn_unused_result));
/* The same from the files' texts. */
int runtime_user_parse(const char *passwd, const char *group, const char *spec,
		       struct runtime_user *ret, struct err *err)
	__attribute__((warn_unused_result));
