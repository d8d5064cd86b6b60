/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * session_pass - FUSE passthrough (Linux 6.9): a file of the upper is opened with a backing id, and
 * the kernel reads, writes and maps the upper's file itself. Costs a message and two ioctls an
 * open, so it is for where files are large or written to, or an open costs a message anyway.
 *
 * The kernel takes no cached and no passed open of one inode at the same time, and no second
 * backing file: EIO. So a node has one id, counted, and while a file that was opened in a lower
 * layer is still open, its copy is opened through us, too: who reads sees what is written.
 */
struct fuse_session;
struct fuse_init_out;
struct ovl_fs;
struct ovl_node;
struct ovl_file;

struct ovl_pass {
	bool on; /* granted, and chosen before the mount */
	int dev_fd; /* /dev/fuse, borrowed */
	pthread_mutex_t lock; /* and what nodes have of it; held over the ioctls */
};

/*
 * Whether the kernel grants it to this process for the file @fd, tried over a connection of its
 * own: INIT offers it to everybody, the ioctl alone says it. 0, or -errno for ovl_pass_refusal().
 */
int ovl_pass_probe(int fd) __attribute__((warn_unused_result));
const char *ovl_pass_refusal(int r);
/* The same for a file of the upper. */
int ovl_pass_probe_upper(struct ovl_fs *fs) __attribute__((warn_unused_result));
/* Asks for passthrough in our answer to INIT, which is to be as long as it can. */
void ovl_pass_ask(struct fuse_init_out *out);
/*
 * An open of @n as @f with @flags is about to be answered: true when @ret_id is to be in the
 * answer. Ends with ovl_pass_end(), which is given the same.
 */
bool ovl_pass_begin(struct ovl_fs *fs, struct ovl_node *n, struct ovl_file *f, int flags,
		    int32_t *ret_id);
void ovl_pass_end(struct ovl_fs *fs, struct ovl_node *n, bool passed);

/* linux/fuse.h of 6.9; the headers here may be older. */
#define OVL_PASS_FLAG2	   (1u << 5) /* FUSE_PASSTHROUGH, upper half of the flags of INIT */
#define OVL_PASS_FOPEN	   (1u << 7) /* FOPEN_PASSTHROUGH */
#define OVL_PASS_MAX_DEPTH 1 /* more, and the mount could not be a layer of overlayfs */
struct ovl_pass_open_out {
	uint64_t fh;
	uint32_t open_flags;
	int32_t backing_id;
};
