/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "tests/lib/rng.h"

/*
 * diffop - the same random operations on two mounts of the same lower trees;
 * every answer and, at the end, the trees must be equal.
 *
 *	tree.c   random lower trees          ops.c   does one operation on one side
 *	gen.c    random operations           slot.c  those on open files
 *	main.c   mounts, sequences, minimising
 */
enum { DIFF_PATH = 640, DIFF_SLOTS = 6, DIFF_TEXT = 1024 };

enum op_kind {
	OP_OPEN,
	OP_CLOSE,
	OP_PREAD,
	OP_PWRITE,
	OP_FTRUNCATE,
	OP_FALLOCATE,
	OP_FSTAT,
	OP_FCHMOD,
	OP_FSYNC,
	OP_SEEK,
	OP_COPY_RANGE,
	OP_READ_FILE,
	OP_WRITE_FILE,
	OP_TRUNCATE,
	OP_MKDIR,
	OP_RMDIR,
	OP_UNLINK,
	OP_UNLINK_OPEN, /* open, unlink, then use it */
	OP_RENAME,
	OP_LINK,
	OP_SYMLINK,
	OP_MKNOD,
	OP_CHMOD,
	OP_CHOWN,
	OP_UTIMENS,
	OP_SETXATTR,
	OP_GETXATTR,
	OP_REMOVEXATTR,
	OP_LISTXATTR,
	OP_STAT,
	OP_ACCESS,
	OP_READLINK,
	OP_READDIR,
	OP_STATFS,
	OP_MMAP,
	OP_LOCK,
	OP_RMDIR_OPEN,
	OP_REMOUNT, /* done by main.c */
	OP_KINDS
};

struct op {
	enum op_kind kind;
	char a[DIFF_PATH], b[DIFF_PATH]; /* paths; targets; xattr names */
	uint64_t x, y; /* offset, length, or seed of data */
	unsigned int flags, mode, umask, uid, gid;
	unsigned int slot, slot2;
	bool as_user; /* done with the fs ids of uid 1000 */
};

struct result {
	int err;
	char text[DIFF_TEXT];
};

/* Bytes: more than fit into an ext4 inode, and all names' values together fit into its one block.
 */
#define BIG_XATTR 300

/* ACLs as XFS shows them a second time; by overlayfs for what is in its upper, by ours never. */
#define DIFF_XFS_ACL "trusted.SGI_ACL_"

struct side {
	const char *name;
	const char *command; /* mounts; %l %u %w %m */
	char upper[256], work[256], mnt[256];
	char over[1024]; /* "PATH:" of each upper that has become a lower */
	unsigned int pushed; /* of those while it was mounted */
	int root; /* the mount's root directory */
	int slot[DIFF_SLOTS];
	bool plain; /* not a mount but a directory: the reference of an ordinary user */
	bool check_ino; /* d_ino must be st_ino: of ours; the kernel caches listings with old ones
			 */
};

struct setup {
	bool root; /* may chown, mknod, set trusted xattrs */
	bool links; /* hard links in the lower trees */
	bool through_tar; /* the lower trees: no sockets, no whiteout of a name of 255 bytes */
	unsigned int layers;
	unsigned int id_shift; /* what is stored as 1000 and above is shown so much higher */
	bool kept_times; /* by the kernel: a truncation to the size that is there changes nothing */
	struct timespec start; /* mtimes from here on are "now" */
};

extern const char *const diff_names[];
extern const size_t diff_n_names;
extern char diff_long_name[256], diff_too_long_name[257];

/*
 * Fills the empty directory @fd with layer @layer (0 = bottom) of the stack of @seed;
 * @below is the layer under it, or -1.
 */
void tree_make(int fd, int below, uint64_t seed, unsigned int layer, const struct setup *s);
/* A posix_acl xattr; @buf has 64 bytes. */
size_t tree_acl(struct rng *r, const struct setup *s, unsigned char *buf);
size_t tree_capability(unsigned char *buf); /* a security.capability xattr; 20 bytes */

void op_generate(struct rng *r, const struct setup *s, const struct side *look, struct op *op);
void op_do(struct side *side, const struct setup *s, const struct op *op, struct result *ret);
void op_print(FILE *out, const struct op *op);
void print_escaped(FILE *out, const char *s);

__attribute__((noreturn, format(printf, 1, 2))) void die(const char *fmt, ...);
