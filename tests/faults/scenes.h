/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stddef.h>

/* scenes - the lower layer of the fault tests, and what is done above it, one operation each. */

enum act {
	ACT_END,
	ACT_CREATE,
	ACT_MKDIR,
	ACT_SYMLINK,
	ACT_FIFO,
	ACT_DEVICE,
	ACT_LINK,
	ACT_UNLINK,
	ACT_RMDIR,
	ACT_RENAME, /* n: flags */
	ACT_CHMOD, /* n: mode */
	ACT_CHOWN, /* n: both ids */
	ACT_UTIMES,
	ACT_TRUNCATE, /* n: size */
	ACT_OPEN_TRUNC,
	ACT_APPEND,
	ACT_FALLOCATE,
	ACT_COPY_RANGE, /* a to b */
	ACT_SETXATTR, /* b: value */
	ACT_REMOVEXATTR,
	ACT_SETACL,
};

struct step {
	enum act act;
	const char *a, *b; /* paths below the mount */
	long n;
};

struct scene {
	const char *name;
	struct step before[5]; /* makes the starting point */
	struct step op;
	unsigned int flags;
};
enum {
	SCENE_ROOT = 1, /* only root may */
	SCENE_BARE = 2, /* with metacopy a file is copied up without its data, or gets them */
};

extern const struct scene scenes[];
extern const size_t n_scenes;

/* Makes the tree; exits with a message when it cannot. */
void scene_lower(const char *dir);
/* 0 or -errno. */
int scene_step(const char *mnt, const struct step *s);
