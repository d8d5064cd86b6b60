/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "overlay/idmap.h"

/*
 * overlay - the union of an upper directory and a stack of read-only lower
 * layers, mounted through FUSE (docs/SEMANTICS.md).
 *
 *	struct ovl_config c = OVL_CONFIG_INIT;
 *	r = ovl_params_parse(&c, "lowerdir=A:B,upperdir=U,workdir=W", &err);     overlay/params.h
 *	r = ovl_session_mount(&c, mountpoint, &s, &err);    live when it returns 0
 *	r = ovl_session_run(s);                             until it is unmounted
 *	ovl_session_free(s);
 */
enum ovl_pass_choice {
	OVL_PASS_AUTO, /* where it gains: an open costs a message anyway */
	OVL_PASS_NEVER,
	OVL_PASS_WANTED, /* where the kernel grants it */
};

struct ovl_config {
	char **lowers; /* uppermost first; each a directory or a layer/chain index file */
	size_t n_lowers;
	char *upper; /* NULL: read-only */
	char *work; /* same file system as upper */
	uint64_t ino_batch; /* first of the batches of 2^32 numbers this overlay owns
			       (docs/SEMANTICS.md) */
	uint64_t ino_batches; /* how many it owns; 0: what it begins with, or with no ->ino_batch as
				 many as it takes */
	uint64_t batch_size; /* for tests: numbers that a batch of them gives out; 0: all */
	bool read_only;
	bool redirect_dir; /* write redirects when a merged directory is renamed (always read) */
	bool redirect_set; /* the user chose */
	bool nofollow; /* ... and they, and files without data, are not to be believed */
	bool metacopy; /* copy files up without data where these do not change (always read);
			  needs redirect_dir */
	bool volatile_; /* no syncs; a mark in work says so */
	bool allow_other; /* and default_permissions, which is always on */
	bool allow_other_set; /* the user said so; else: yes for root of any user namespace */
	bool dev, suid; /* root of the initial user namespace only */
	bool debug;
	struct ovl_idmap uids, gids; /* of every layer */
	bool squash_root; /* for ovl_params_verify() */
	bool static_nlink; /* directories have one link */
	const char *owner_xattr; /* static; owners and modes are kept there; NULL: where we must */
	bool no_acl, no_xattrs; /* ACLs, or xattrs and so ACLs too, do not show */
	uint64_t quota_bytes, quota_inodes; /* of the upper; 0: no bound */
	char *record; /* file: what is read of the lowers is written there; NULL: nowhere */
	char *source; /* shown in the mount table; NULL: "snapfs" */
	unsigned int threads; /* 0: chosen by the engine */
	bool noopen_set, noopen; /* the user chose; else: where it can be had */
	bool writeback; /* the kernel may keep what is written until a file is closed or synced */
	enum ovl_pass_choice passthrough; /* the kernel reads and writes files of the upper itself
					   */
	bool timeout_set; /* the user gave a time-out; else: without end, the layers are ours */
	unsigned int timeout_ms; /* of names and attributes in the kernel */
};
#define OVL_CONFIG_INIT                                                                            \
	{                                                                                          \
		.source = NULL                                                                     \
	}
void ovl_config_release(struct ovl_config *c);

/* Why this process must open files while their mode allows it, and so with a message; NULL: it need
 * not. Static. */
const char *ovl_session_open_refusal(void);

struct ovl_session;
/* Opens every layer, then mounts. The config is borrowed for the call. */
int ovl_session_mount(const struct ovl_config *c, const char *mountpoint, struct ovl_session **ret,
		      struct err *err) __attribute__((warn_unused_result));
/* Answers requests until the mount is gone; 0 then. May be called after fork() in the child. */
int ovl_session_run(struct ovl_session *s) __attribute__((warn_unused_result));
/*
 * Puts a fresh upper on top of the stack that is mounted on @mountpoint, whose work directory is
 * @work; the one that it had becomes a lower layer (overlay/push.h). @upper and @new_work are empty
 * directories on the same file system; the mount's server must know them by the paths that we do.
 */
int ovl_push_order(const char *mountpoint, const char *work, const char *upper,
		   const char *new_work, struct err *err) __attribute__((warn_unused_result));
/* Unmounts when it still is mounted. */
void ovl_session_free(struct ovl_session *s);
