/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * session_io - the messages as they are on the wire (linux/fuse.h), for what libfuse 3.14 has no
 * word for: flags of INIT that it never sends, and flags of requests that it drops.
 */
struct fuse_session;

struct ovl_session_io {
	uint32_t offered; /* by the kernel, in its INIT */
	uint32_t wanted; /* of them: put into our answer */
	uint32_t offered2; /* the upper half of the flags */
	struct fuse_session *se; /* for notifications */
	atomic_bool answered;
	atomic_ulong requests; /* since the mount */
	pthread_rwlock_t gate; /* held for reading by who handles a request */
};

/* The name that a CREATE has which was TMPFILE on the wire: no file can have it. */
#define OVL_NAME_TMPFILE "/"

/*
 * From the request that this thread handles: waits until no other one is under way, and keeps those
 * that come from beginning, until ovl_session_io_go().
 */
void ovl_session_io_stop(struct ovl_session_io *io);
void ovl_session_io_go(struct ovl_session_io *io);
/* After fuse_session_mount(). The session's userdata is the struct ovl_fs that has @io. */
int ovl_session_io_attach(struct ovl_session_io *io, struct fuse_session *se)
	__attribute__((warn_unused_result));
/*
 * While INIT is answered: asks for what we can. True when set-id bits are ours to take away, which
 * needs that all writes are seen by us.
 */
bool ovl_session_io_init(struct ovl_session_io *io, bool writes_seen);
/*
 * Of the request that this thread handles: it is to take set-user-id and set-group-id away
 * (FUSE_WRITE_KILL_SUIDGID, FATTR_KILL_SUIDGID).
 */
bool ovl_session_io_kills(void);
