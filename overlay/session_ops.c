/* SPDX-License-Identifier: Apache-2.0 */
#define FUSE_USE_VERSION 312
#include "overlay/session_ops.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <linux/fs.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "overlay/node.h"
#include "overlay/ops.h"
#include "overlay/push.h"
#include "overlay/quota.h"

#define READDIR_MAX (1u << 20)
#define READ_MAX    (1u << 20)
#define SYMLINK_MAX 4096

static struct ovl_fs *fs_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static struct ovl_node *node_of(fuse_req_t req, fuse_ino_t ino)
{
	return ino == FUSE_ROOT_ID ? fs_of(req)->root : (struct ovl_node *)(uintptr_t)ino;
}

static fuse_ino_t ino_of(struct ovl_fs *fs, const struct ovl_node *n)
{
	return n == fs->root ? FUSE_ROOT_ID : (fuse_ino_t)(uintptr_t)n;
}

/*
 * Handles are pointers, and so even: the last bit says that the open was passed through. Then there
 * is no pointer, and no fd is ours: the kernel has the file.
 */
#define FH_PASSED 1u

static struct ovl_file *file_of(const struct fuse_file_info *fi)
{
	return (struct ovl_file *)(uintptr_t)(fi->fh & ~(uint64_t)FH_PASSED);
}

/*
 * The file a request is about: opened for this request alone where the kernel has no handle of it.
 * Ends with file_done().
 */
static int file_get(fuse_req_t req, fuse_ino_t ino, const struct fuse_file_info *fi, int flags,
		    struct ovl_file **ret)
{
	if (!file_of(fi))
		return ovl_open(fs_of(req), node_of(req, ino), flags, ret);
	*ret = file_of(fi);
	return 0;
}

static void file_done(struct ovl_fs *fs, const struct fuse_file_info *fi, struct ovl_file *f)
{
	if (f && f != file_of(fi))
		ovl_close(fs, f);
}

/* An asker's supplementary groups, from the process: asked for in rare cases only. */
static bool in_group(void *ctx, gid_t gid)
{
	gid_t groups[256];
	int n = fuse_req_getgroups(ctx, 256, groups);

	for (int i = 0; i < n && i < 256; i++)
		if (groups[i] == gid)
			return true;
	return false;
}

static struct ovl_cred cred_of(fuse_req_t req)
{
	const struct fuse_ctx *c = fuse_req_ctx(req);

	return (struct ovl_cred){
		.uid = c->uid, .gid = c->gid, .umask = c->umask, .in_group = in_group, .ctx = req};
}

static void fill_entry(struct ovl_fs *fs, struct ovl_node *n, const struct stat *st,
		       struct fuse_entry_param *e)
{
	memset(e, 0, sizeof(*e));
	e->ino = ino_of(fs, n);
	e->attr = *st;
	e->attr_timeout = e->entry_timeout = fs->timeout;
}

/* A reply that the kernel did not take (the asker was killed) must not keep the look-up. */
static void reply_entry(fuse_req_t req, struct ovl_node *n, const struct stat *st, int r)
{
	struct ovl_fs *fs = fs_of(req);
	struct fuse_entry_param e;

	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	fill_entry(fs, n, st, &e);
	if (fuse_reply_entry(req, &e) < 0)
		ovl_node_forget(fs, n, 1);
}

static void reply_attr(fuse_req_t req, const struct stat *st, int r)
{
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_attr(req, st, fs_of(req)->timeout);
}

static void reply_result(fuse_req_t req, int r)
{
	fuse_reply_err(req, r < 0 ? -r : 0);
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct ovl_fs *fs = userdata;
	/*
	 * O_TRUNC comes as SETATTR, where the kernel says what of suid and capabilities has to go.
	 * Requests are read by session_io.c, and so not from a pipe.
	 */
	const unsigned int off = FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_AUTO_INVAL_DATA |
				 FUSE_CAP_HANDLE_KILLPRIV | FUSE_CAP_WRITEBACK_CACHE |
				 FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_SPLICE_READ;
	const unsigned int on = FUSE_CAP_ASYNC_READ | FUSE_CAP_POSIX_ACL | FUSE_CAP_DONT_MASK |
				FUSE_CAP_READDIRPLUS | FUSE_CAP_SPLICE_WRITE |
				FUSE_CAP_CACHE_SYMLINKS;

	conn->want &= ~off;
	conn->want |= conn->capable & on;
	if (fs->writeback)
		conn->want |= conn->capable & FUSE_CAP_WRITEBACK_CACHE;
	if (fs->no_acl)
		conn->want &= ~(unsigned int)FUSE_CAP_POSIX_ACL;
	fs->no_handles = fs->no_handles && conn->capable & FUSE_CAP_NO_OPEN_SUPPORT;
	fs->kills = ovl_session_io_init(&fs->io, !fs->pass.on);
	conn->max_write = READ_MAX;
	conn->max_readahead = READ_MAX;
	conn->max_background = 64;
	conn->congestion_threshold = 48;
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param none = {.entry_timeout = fs_of(req)->timeout};
	struct ovl_node *n;
	struct stat st;
	int r = ovl_lookup(fs_of(req), node_of(req, parent), name, &n, &st);

	/* "Not there" is worth knowing: nobody but the kernel can make it. */
	if (r == -ENOENT)
		fuse_reply_entry(req, &none);
	else
		reply_entry(req, n, &st, r);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	if (ino != FUSE_ROOT_ID)
		ovl_node_forget(fs_of(req), node_of(req, ino), nlookup);
	ovl_table_trim(&fs_of(req)->table);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		if (forgets[i].ino != FUSE_ROOT_ID)
			ovl_node_forget(fs_of(req), node_of(req, forgets[i].ino),
					forgets[i].nlookup);
	ovl_table_trim(&fs_of(req)->table);
	fuse_reply_none(req);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;
	int r = ovl_getattr(fs_of(req), node_of(req, ino), &st);

	(void)fi;
	reply_attr(req, &st, r);
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		       struct fuse_file_info *fi)
{
	static const struct {
		int fuse;
		unsigned int ours;
	} map[] = {
		{FUSE_SET_ATTR_MODE, OVL_SET_MODE},
		{FUSE_SET_ATTR_UID, OVL_SET_UID},
		{FUSE_SET_ATTR_GID, OVL_SET_GID},
		{FUSE_SET_ATTR_SIZE, OVL_SET_SIZE},
		{FUSE_SET_ATTR_ATIME, OVL_SET_ATIME},
		{FUSE_SET_ATTR_MTIME, OVL_SET_MTIME},
		{FUSE_SET_ATTR_ATIME_NOW, OVL_SET_ATIME_NOW},
		{FUSE_SET_ATTR_MTIME_NOW, OVL_SET_MTIME_NOW},
	};
	const struct ovl_cred cred = cred_of(req);
	unsigned int set = 0;
	struct stat st;
	int r;

	for (size_t i = 0; i < sizeof(map) / sizeof(*map); i++)
		if (to_set & map[i].fuse)
			set |= map[i].ours;
	/* chown comes without a word about it */
	if (fs_of(req)->kills && (ovl_session_io_kills() || set & (OVL_SET_UID | OVL_SET_GID)))
		set |= OVL_SET_KILL;
	r = ovl_setattr(fs_of(req), node_of(req, ino), attr, set, fi ? file_of(fi) : NULL, &cred,
			&st);
	reply_attr(req, &st, r);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	char target[SYMLINK_MAX + 1];
	int r = ovl_readlink(fs_of(req), node_of(req, ino), target, sizeof(target));

	if (r < 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_readlink(req, target);
}

static void create(fuse_req_t req, fuse_ino_t parent, const char *name, const struct ovl_new *what)
{
	const struct ovl_cred cred = cred_of(req);
	struct ovl_node *n;
	struct stat st;
	int r = ovl_create(fs_of(req), node_of(req, parent), name, what, &cred, &n, &st, 0, NULL);

	reply_entry(req, n, &st, r);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	create(req, parent, name, &(struct ovl_new){.mode = mode, .rdev = rdev});
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	create(req, parent, name, &(struct ovl_new){.mode = S_IFDIR | (mode & 07777)});
}

static void op_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name)
{
	create(req, parent, name, &(struct ovl_new){.mode = S_IFLNK | 0777, .target = link});
}

static void set_time(uint64_t *sec, uint32_t *nsec, double timeout)
{
	*sec = timeout > (double)UINT32_MAX ? UINT32_MAX : (uint64_t)timeout;
	*nsec = timeout > (double)UINT32_MAX ? 0 : (uint32_t)((timeout - (double)*sec) * 1e9);
}

/* As libfuse makes it of a struct fuse_entry_param: it has no answer with a backing id. */
static void wire_entry(const struct fuse_entry_param *e, struct fuse_entry_out *out)
{
	const struct stat *st = &e->attr;

	memset(out, 0, sizeof(*out));
	out->nodeid = e->ino;
	out->generation = e->generation;
	set_time(&out->entry_valid, &out->entry_valid_nsec, e->entry_timeout);
	set_time(&out->attr_valid, &out->attr_valid_nsec, e->attr_timeout);
	out->attr.ino = st->st_ino;
	out->attr.size = (uint64_t)st->st_size;
	out->attr.blocks = (uint64_t)st->st_blocks;
	out->attr.atime = (uint64_t)st->st_atim.tv_sec;
	out->attr.mtime = (uint64_t)st->st_mtim.tv_sec;
	out->attr.ctime = (uint64_t)st->st_ctim.tv_sec;
	out->attr.atimensec = (uint32_t)st->st_atim.tv_nsec;
	out->attr.mtimensec = (uint32_t)st->st_mtim.tv_nsec;
	out->attr.ctimensec = (uint32_t)st->st_ctim.tv_nsec;
	out->attr.mode = st->st_mode;
	out->attr.nlink = (uint32_t)st->st_nlink;
	out->attr.uid = st->st_uid;
	out->attr.gid = st->st_gid;
	out->attr.rdev = (uint32_t)st->st_rdev;
	out->attr.blksize = (uint32_t)st->st_blksize;
}

/*
 * Answers an open as @f, which it takes when it returns 0; @e of a new file, or NULL. Pages that
 * the kernel has stay good but for those of a file that it wrote to behind its own back.
 */
static int reply_open(fuse_req_t req, struct ovl_node *n, struct ovl_file *f,
		      const struct fuse_entry_param *e, struct fuse_file_info *fi)
{
	struct {
		struct fuse_entry_out entry;
		struct ovl_pass_open_out open;
	} out;
	struct ovl_fs *fs = fs_of(req);
	int r;

	if (ovl_pass_begin(fs, n, f, fi->flags, &out.open.backing_id)) {
		fi->fh = FH_PASSED;
		out.open.fh = fi->fh;
		out.open.open_flags = OVL_PASS_FOPEN;
		if (e)
			wire_entry(e, &out.entry);
		r = e ? fuse_reply_buf(req, (const char *)&out, sizeof(out))
		      : fuse_reply_buf(req, (const char *)&out.open, sizeof(out.open));
	} else {
		fi->fh = (uintptr_t)f;
		fi->keep_cache = !ovl_node_has(n, OVL_NODE_PASSED);
		r = e ? fuse_reply_create(req, e, fi) : fuse_reply_open(req, fi);
	}
	if (r < 0)
		ovl_pass_end(fs, n, fi->fh & FH_PASSED);
	else if (fi->fh & FH_PASSED)
		ovl_close(fs, f);
	return r;
}

/* To keep a part of a page the kernel reads the rest of it, also by who only writes. */
static int flags_of(struct ovl_fs *fs, const struct fuse_file_info *fi)
{
	bool write_only = (fi->flags & O_ACCMODE) == O_WRONLY;

	return fs->writeback && write_only ? (fi->flags & ~O_ACCMODE) | O_RDWR : fi->flags;
}

/* Without a name there is no other way to make a file: so also where there are no handles. */
static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		      struct fuse_file_info *fi)
{
	const struct ovl_new what = {.mode = S_IFREG | (mode & 07777)};
	const struct ovl_cred cred = cred_of(req);
	struct ovl_fs *fs = fs_of(req);
	struct fuse_entry_param e;
	struct ovl_file *f = NULL;
	struct ovl_node *n;
	struct stat st;
	int r = -ENOSYS; /* the kernel takes MKNOD from now on */

	if (strcmp(name, OVL_NAME_TMPFILE) == 0)
		r = ovl_tmpfile(fs, node_of(req, parent), mode, &cred, &n, &st,
				fs->no_handles ? NULL : &f);
	else if (!fs->no_handles)
		r = ovl_create(fs, node_of(req, parent), name, &what, &cred, &n, &st,
			       flags_of(fs, fi), &f);
	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	fill_entry(fs, n, &st, &e);
	if ((f ? reply_open(req, n, f, &e, fi) : fuse_reply_create(req, &e, fi)) < 0) {
		if (f)
			ovl_close(fs, f);
		ovl_node_forget(fs, n, 1);
	}
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	struct ovl_node *n = node_of(req, ino);
	struct stat st;
	int r = ovl_link(fs_of(req), n, node_of(req, parent), name, &st);

	reply_entry(req, n, &st, r);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	reply_result(req, ovl_unlink(fs_of(req), node_of(req, parent), name));
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	reply_result(req, ovl_rmdir(fs_of(req), node_of(req, parent), name));
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
		      const char *newname, unsigned int flags)
{
	reply_result(req, ovl_rename(fs_of(req), node_of(req, parent), name,
				     node_of(req, newparent), newname, flags));
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct ovl_fs *fs = fs_of(req);
	struct ovl_file *f;
	int r;

	r = fs->no_handles ? -ENOSYS : ovl_open(fs, node_of(req, ino), flags_of(fs, fi), &f);
	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	if (reply_open(req, node_of(req, ino), f, NULL, fi) < 0)
		ovl_close(fs, f);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (fi->fh) /* without handles a file that was made without a name has none */
		ovl_pass_end(fs_of(req), node_of(req, ino), fi->fh & FH_PASSED);
	if (file_of(fi))
		ovl_close(fs_of(req), file_of(fi));
	fuse_reply_err(req, 0);
}

static void reply_zeros(fuse_req_t req, size_t len)
{
	cleanup_free char *zeros = calloc(1, len ? len : 1);

	if (!zeros)
		fuse_reply_err(req, ENOMEM);
	else
		fuse_reply_buf(req, zeros, len);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	struct fuse_bufvec buf = FUSE_BUFVEC_INIT(0);
	struct ovl_fs *fs = fs_of(req);
	struct ovl_file *f = NULL;
	struct ovl_span span;
	int r = file_get(req, ino, fi, O_RDONLY, &f);

	if (r == 0)
		r = ovl_read_map(fs, f, off, size, &span);
	if (r < 0) {
		fuse_reply_err(req, -r);
	} else if (span.fd < 0 || span.len == 0) {
		reply_zeros(req, span.len);
	} else {
		buf.buf[0].size = span.len;
		buf.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
		buf.buf[0].fd = span.fd;
		buf.buf[0].pos = span.off;
		fuse_reply_data(req, &buf, FUSE_BUF_SPLICE_MOVE);
	}
	file_done(fs, fi, f);
}

/* The kernel keeps a mode until it is told: after bits were taken away behind its back. */
static void kill_bits(fuse_req_t req, fuse_ino_t ino)
{
	const struct ovl_cred cred = cred_of(req);
	struct ovl_fs *fs = fs_of(req);
	struct ovl_node *n = node_of(req, ino);
	struct stat before, st;

	if (ovl_getattr(fs, n, &before) < 0 || !(before.st_mode & (S_ISUID | S_ISGID)))
		return;
	if (ovl_setattr(fs, n, &before, OVL_SET_KILL, NULL, &cred, &st) < 0)
		log_error("set-id bits of a file that was written to cannot be taken away");
	else if (st.st_mode != before.st_mode)
		(void)fuse_lowlevel_notify_inval_inode(fs->io.se, ino, -1, 0);
}

static void op_write_buf(fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *in, off_t off,
			 struct fuse_file_info *fi)
{
	struct ovl_quota_change c = OVL_QUOTA_CHANGE_INIT;
	size_t len = fuse_buf_size(in);
	bool kills = ovl_session_io_kills();
	struct ovl_fs *fs = fs_of(req);
	struct ovl_caps caps = {.len = 0};
	struct ovl_file *f = NULL;
	ssize_t done = file_get(req, ino, fi, O_WRONLY | (fi->flags & O_APPEND), &f);

	if (done == 0)
		done = ovl_write_begin(fs, f, off, len, &c);
	if (done == 0) {
		struct fuse_bufvec out = FUSE_BUFVEC_INIT(c.len);

		out.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
		out.buf[0].fd = c.fd;
		out.buf[0].pos = off;
		if (fi->writepage)
			ovl_caps_get(c.fd, &caps);
		done = fuse_buf_copy(&out, in, 0);
		if (ovl_caps_put(c.fd, &caps) < 0)
			log_error("capabilities of a file that is mapped cannot be kept");
	}
	ovl_quota_end(&c);
	if (done > 0 && kills)
		kill_bits(req, ino);
	if (done < 0)
		fuse_reply_err(req, (int)-done);
	else
		fuse_reply_write(req, (size_t)done);
	file_done(fs, fi, f);
}

/* Where no flag tells: by who asks (CAP_FSETID is root's). */
static bool asker_kills(fuse_req_t req)
{
	return fs_of(req)->kills && fuse_req_ctx(req)->uid != 0;
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct ovl_fs *fs = fs_of(req);
	struct ovl_file *f = NULL;
	int r = file_get(req, ino, fi, O_RDONLY, &f);

	if (r == 0)
		r = ovl_fsync(fs, f, datasync);
	reply_result(req, r);
	file_done(fs, fi, f);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
			 struct fuse_file_info *fi)
{
	struct ovl_fs *fs = fs_of(req);
	struct ovl_file *f = NULL;
	/* whether it changes more than the end is seen there */
	int r = file_get(req, ino, fi, O_WRONLY | O_APPEND, &f);

	if (r == 0)
		r = ovl_fallocate(fs, f, mode, off, len);
	if (r == 0 && asker_kills(req))
		kill_bits(req, ino);
	reply_result(req, r);
	file_done(fs, fi, f);
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
		     struct fuse_file_info *fi)
{
	struct ovl_fs *fs = fs_of(req);
	struct ovl_file *f = NULL;
	off_t at;
	/* It would not see what the kernel has kept, which then takes all for data. */
	int r = fs->writeback ? -ENOSYS : file_get(req, ino, fi, O_RDONLY, &f);

	if (r == 0)
		r = ovl_lseek(fs, f, off, whence, &at);
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_lseek(req, at);
	file_done(fs, fi, f);
}

static void op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
			       struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t off_out,
			       struct fuse_file_info *fi_out, size_t len, int flags)
{
	struct ovl_fs *fs = fs_of(req);
	struct ovl_file *in = NULL, *out = NULL;
	ssize_t n = file_get(req, ino_out, fi_out, O_WRONLY, &out);

	(void)flags;
	if (n == 0) /* after the other, which may make a copy of the same file */
		n = file_get(req, ino_in, fi_in, O_RDONLY, &in);
	if (n == 0)
		n = ovl_copy_range(fs, in, off_in, out, off_out, len);
	if (n > 0 && asker_kills(req))
		kill_bits(req, ino_out);
	if (n < 0)
		fuse_reply_err(req, (int)-n);
	else
		fuse_reply_write(req, (size_t)n);
	file_done(fs, fi_in, in);
	file_done(fs, fi_out, out);
}

/* Flags of files and directories; and that an order is waiting. */
static void op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg,
		     struct fuse_file_info *fi, unsigned int flags, const void *in, size_t in_size,
		     size_t out_size)
{
	size_t size = ovl_fileattr_size(cmd);
	struct fsxattr data = {.fsx_xflags = 0};
	int r = -ENOTTY;

	(void)arg;
	(void)fi;
	(void)flags;
	if (ovl_order_is(cmd) && ino == FUSE_ROOT_ID) {
		r = ovl_order_obey(fs_of(req));
		out_size = 0;
	} else if (size > 0 && in_size <= size && out_size <= size && in_size + out_size >= size) {
		memcpy(&data, in, in_size);
		r = ovl_fileattr(fs_of(req), node_of(req, ino), cmd, &data);
	}
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_ioctl(req, 0, &data, out_size);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs st;
	int r = ovl_statfs(fs_of(req), &st);

	(void)ino;
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_statfs(req, &st);
}

static void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
			size_t size, int flags)
{
	const struct ovl_cred cred = cred_of(req);

	reply_result(req,
		     ovl_setxattr(fs_of(req), node_of(req, ino), name, value, size, flags, &cred));
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	cleanup_free char *buf = size ? malloc(size) : NULL;
	ssize_t n = size && !buf ? -ENOMEM
				 : ovl_getxattr(fs_of(req), node_of(req, ino), name, buf, size);

	if (n < 0)
		fuse_reply_err(req, (int)-n);
	else if (size == 0)
		fuse_reply_xattr(req, (size_t)n);
	else
		fuse_reply_buf(req, buf, (size_t)n);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	cleanup_free char *buf = size ? malloc(size) : NULL;
	ssize_t n =
		size && !buf ? -ENOMEM : ovl_listxattr(fs_of(req), node_of(req, ino), buf, size);

	if (n < 0)
		fuse_reply_err(req, (int)-n);
	else if (size == 0)
		fuse_reply_xattr(req, (size_t)n);
	else
		fuse_reply_buf(req, buf, (size_t)n);
}

static void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	reply_result(req, ovl_removexattr(fs_of(req), node_of(req, ino), name));
}

/* Listings need no handle. Where we alone change things, nobody asks again, and listings are kept.
 */
static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	if (fs_of(req)->owned)
		fuse_reply_err(req, ENOSYS);
	else
		fuse_reply_open(req, fi);
}

static void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)datasync;
	(void)fi;
	reply_result(req, ovl_dir_sync(fs_of(req), node_of(req, ino)));
}

struct fill {
	fuse_req_t req;
	struct ovl_node *dir;
	char *buf;
	size_t size, used;
};

static int fill_plain(void *ctx, const struct ovl_dirent *de)
{
	struct fill *f = ctx;
	struct stat st = {.st_ino = de->ino, .st_mode = DTTOIF(de->type)};
	size_t n = fuse_add_direntry(f->req, f->buf + f->used, f->size - f->used, de->name, &st,
				     (off_t)de->next);

	if (n > f->size - f->used)
		return 1;
	f->used += n;
	return 0;
}

/* An entry counts as looked up only when it went into the reply. */
static int fill_plus(void *ctx, const struct ovl_dirent *de)
{
	struct fill *f = ctx;
	struct ovl_fs *fs = fs_of(f->req);
	struct fuse_entry_param e = {.attr = {.st_ino = de->ino, .st_mode = DTTOIF(de->type)}};
	struct ovl_node *n = NULL;
	struct stat st;
	size_t len;

	/* "." and ".." are not looked up; nor can be what is gone by now: the kernel asks again. */
	if (strcmp(de->name, ".") != 0 && strcmp(de->name, "..") != 0 &&
	    ovl_lookup(fs, f->dir, de->name, &n, &st) == 0)
		fill_entry(fs, n, &st, &e);
	len = fuse_add_direntry_plus(f->req, f->buf + f->used, f->size - f->used, de->name, &e,
				     (off_t)de->next);
	if (len > f->size - f->used) {
		if (n)
			ovl_node_forget(fs, n, 1);
		return 1;
	}
	f->used += len;
	return 0;
}

static void readdir_common(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, ovl_dir_fn fn)
{
	struct fill f = {.req = req, .dir = node_of(req, ino), .size = size};
	int r;

	if (f.size > READDIR_MAX)
		f.size = READDIR_MAX;
	f.buf = malloc(f.size);
	r = f.buf ? ovl_dir_read(fs_of(req), f.dir, (uint64_t)off, fn, &f) : -ENOMEM;
	if (r < 0 && f.used == 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_buf(req, f.buf, f.used);
	free(f.buf);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	(void)fi;
	readdir_common(req, ino, size, off, fill_plain);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
			   struct fuse_file_info *fi)
{
	(void)fi;
	readdir_common(req, ino, size, off, fill_plus);
}

const struct fuse_lowlevel_ops ovl_session_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.symlink = op_symlink,
	.create = op_create,
	.link = op_link,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.rename = op_rename,
	.open = op_open,
	.release = op_release,
	.read = op_read,
	.write_buf = op_write_buf,
	.fsync = op_fsync,
	.fallocate = op_fallocate,
	.lseek = op_lseek,
	.copy_file_range = op_copy_file_range,
	.ioctl = op_ioctl,
	.statfs = op_statfs,
	.setxattr = op_setxattr,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.removexattr = op_removexattr,
	.opendir = op_opendir,
	.fsyncdir = op_fsyncdir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	/* No flush, access, locks: the kernel does without, and asks once only. */
};
