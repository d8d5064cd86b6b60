/* SPDX-License-Identifier: Apache-2.0 */
#define FUSE_USE_VERSION 312
#include "overlay/session_io.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <linux/fuse.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "overlay/fs.h"

/* A request is read and handled by the same thread. */
static _Thread_local bool kills;

bool ovl_session_io_kills(void)
{
	return kills;
}

/* This thread has a share of the gate. */
static _Thread_local bool inside;

static void leave(struct ovl_session_io *io)
{
	if (inside)
		pthread_rwlock_unlock(&io->gate);
	inside = false;
}

void ovl_session_io_stop(struct ovl_session_io *io)
{
	leave(io);
	pthread_rwlock_wrlock(&io->gate);
}

void ovl_session_io_go(struct ovl_session_io *io)
{
	pthread_rwlock_unlock(&io->gate);
}

/* Linux 6.1: CREATE without a name, and with "/" for one. */
#define OPCODE_TMPFILE 51

static void look_at(struct ovl_session_io *io, char *buf, size_t len)
{
	struct fuse_in_header h;
	const char *arg = buf + sizeof(h);

	kills = false;
	if (len < sizeof(h))
		return;
	memcpy(&h, buf, sizeof(h));
	len -= sizeof(h);
	if (h.opcode == OPCODE_TMPFILE) {
		h.opcode = FUSE_CREATE;
		memcpy(buf, &h, sizeof(h));
	}
	if (h.opcode == FUSE_WRITE && len >= sizeof(struct fuse_write_in)) {
		struct fuse_write_in in;

		memcpy(&in, arg, sizeof(in));
		kills = in.write_flags & FUSE_WRITE_KILL_SUIDGID;
	} else if (h.opcode == FUSE_SETATTR && len >= sizeof(struct fuse_setattr_in)) {
		struct fuse_setattr_in in;

		memcpy(&in, arg, sizeof(in));
		kills = in.valid & FATTR_KILL_SUIDGID;
	} else if (h.opcode == FUSE_INIT && len >= offsetof(struct fuse_init_in, flags2)) {
		struct fuse_init_in in = {.flags = 0};

		memcpy(&in, arg, len < sizeof(in) ? len : sizeof(in));
		io->offered = in.flags;
		io->offered2 = in.flags & FUSE_INIT_EXT ? in.flags2 : 0;
	}
}

static ssize_t io_read(int fd, void *buf, size_t len, void *userdata)
{
	struct ovl_fs *fs = userdata;
	ssize_t n;

	/* What was read before is answered by now. */
	leave(&fs->io);
	n = read(fd, buf, len);
	if (n > 0) {
		pthread_rwlock_rdlock(&fs->io.gate);
		inside = true;
		atomic_fetch_add_explicit(&fs->io.requests, 1, memory_order_relaxed);
		look_at(&fs->io, buf, (size_t)n);
	}
	return n;
}

/* The first answer is that to INIT: the kernel asks nothing else before it has it. */
static ssize_t io_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	struct ovl_fs *fs = userdata;
	struct fuse_init_out out;

	if (!atomic_exchange_explicit(&fs->io.answered, true, memory_order_relaxed) && count == 2 &&
	    iov[1].iov_len >= offsetof(struct fuse_init_out, max_pages)) {
		size_t len = iov[1].iov_len < sizeof(out) ? iov[1].iov_len : sizeof(out);

		memcpy(&out, iov[1].iov_base, len);
		out.flags |= fs->io.wanted & fs->io.offered;
		if (fs->pass.on && fs->io.offered2 & OVL_PASS_FLAG2 && len == sizeof(out))
			ovl_pass_ask(&out);
		memcpy(iov[1].iov_base, &out, len);
	}
	return writev(fd, iov, count);
}

/* Contents go from a file's pages to the kernel's answer without a copy of ours. */
static ssize_t io_splice(int from, off_t *from_off, int to, off_t *to_off, size_t len,
			 unsigned int flags, void *userdata)
{
	(void)userdata;
	return splice(from, from_off, to, to_off, len, flags);
}

int ovl_session_io_attach(struct ovl_session_io *io, struct fuse_session *se)
{
	static const struct fuse_custom_io calls = {
		.writev = io_writev, .read = io_read, .splice_send = io_splice};

	io->se = se;
	return fuse_session_custom_io(se, &calls, fuse_session_fd(se));
}

bool ovl_session_io_init(struct ovl_session_io *io, bool writes_seen)
{
	/* look-ups in one directory at once; no question about capabilities at each write */
	io->wanted = FUSE_PARALLEL_DIROPS | (writes_seen ? FUSE_HANDLE_KILLPRIV_V2 : 0);
	return io->offered & io->wanted & FUSE_HANDLE_KILLPRIV_V2;
}
