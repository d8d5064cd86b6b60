/* SPDX-License-Identifier: Apache-2.0 */
#define FUSE_USE_VERSION 312
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "snapshotter/als_private.h"

/*
 * The folders that podman looks into are nodes: one for each REF, one for each DIGEST in it. What
 * is in `diff` has no memory of its own: its inode number says node and number in the index.
 *
 *	63..62 kind   61..32 node   31..0 number in the layer
 *
 * A node goes when the kernel has forgotten it and all that is in it.
 */
enum kind { IN_DIFF, FOLDER, INFO, BLOB };
#define KIND_SHIFT 62
#define NODE_SHIFT 32
#define NODES_MAX  (1u << 30)

struct node {
	uint32_t id;
	struct node *parent; /* of a DIGEST in a REF; counted there once */
	char *name;
	bool is_layer;
	struct digest digest;
	struct als_place place;
	struct als_layer *layer; /* set once, when something in the folder is looked for */
	uint64_t lookups; /* that the kernel has not forgotten, of everything in it */
};

struct session {
	struct snap_store *store;
	struct als_layers *layers;
	pthread_mutex_t lock; /* of all that follows, and of the store */
	struct node **nodes; /* by id; [0] is the root */
	uint32_t n_nodes, cap_nodes;
	uid_t uid;
	gid_t gid;
	struct timespec born;
};

/* Of contents, which never change. */
#define FOREVER 86400.0

static uint64_t number(enum kind kind, const struct node *n, uint64_t nid)
{
	if (kind == FOLDER && n->id == 0)
		return FUSE_ROOT_ID;
	return (uint64_t)kind << KIND_SHIFT | (uint64_t)n->id << NODE_SHIFT | nid;
}

static enum kind kind_of(fuse_ino_t ino)
{
	return ino == FUSE_ROOT_ID ? FOLDER : (enum kind)(ino >> KIND_SHIFT);
}

static uint64_t nid_of(fuse_ino_t ino)
{
	return ino & UINT32_MAX;
}

/* A node is there as long as the kernel knows a number of it. */
static struct node *node_of(struct session *s, fuse_ino_t ino)
{
	uint32_t id = ino == FUSE_ROOT_ID ? 0 : (ino >> NODE_SHIFT) & (NODES_MAX - 1);
	struct node *n;

	(void)pthread_mutex_lock(&s->lock);
	n = id < s->n_nodes ? s->nodes[id] : NULL;
	(void)pthread_mutex_unlock(&s->lock);
	return n;
}

static void node_free(struct node *n)
{
	als_layer_close(n->layer);
	free(n->name);
	free(n);
}

static void forget(struct session *s, struct node *n, uint64_t count)
{
	while (n && n->id != 0) {
		struct node *parent = n->parent;

		n->lookups -= count < n->lookups ? count : n->lookups;
		if (n->lookups > 0)
			return;
		s->nodes[n->id] = NULL;
		node_free(n);
		n = parent;
		count = 1;
	}
}

static struct node *find_child(struct session *s, const struct node *parent, const char *name)
{
	for (uint32_t i = 1; i < s->n_nodes; i++)
		if (s->nodes[i] && s->nodes[i]->parent == parent &&
		    strcmp(s->nodes[i]->name, name) == 0)
			return s->nodes[i];
	return NULL;
}

/* Takes @n. */
static int add_node(struct session *s, struct node *n)
{
	uint32_t id = 0;

	while (id < s->n_nodes && s->nodes[id])
		id++;
	if (id == s->n_nodes) {
		if (s->n_nodes == s->cap_nodes) {
			uint32_t cap = s->cap_nodes ? 2 * s->cap_nodes : 64;
			struct node **v =
				cap < NODES_MAX ? reallocarray(s->nodes, cap, sizeof(*v)) : NULL;

			if (!v) {
				node_free(n);
				return -ENOMEM;
			}
			s->nodes = v;
			s->cap_nodes = cap;
		}
		s->n_nodes++;
	}
	s->nodes[id] = n;
	n->id = id;
	if (n->parent)
		n->parent->lookups++;
	return 0;
}

/* What a folder of the root is named after: standard base64 with padding. */
static int decode_ref(const char *name, char *ret, size_t size)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t len = strlen(name), out = 0;
	uint32_t bits = 0;

	if (len == 0 || len % 4 != 0 || len / 4 * 3 >= size)
		return -ENOENT;
	for (size_t i = 0; i < len; i++) {
		const char *d = name[i] == '=' ? digits : strchr(digits, name[i]);

		if (!d || (name[i] == '=' && (i + 2 < len || (i + 1 < len && name[i + 1] != '='))))
			return -ENOENT;
		bits = bits << 6 | (uint32_t)(d - digits);
		if (i % 4 == 3)
			for (int k = 16; k >= 0; k -= 8)
				ret[out++] = (char)(bits >> k);
	}
	for (size_t i = len; i > 0 && name[i - 1] == '='; i--)
		out--;
	ret[out] = '\0';
	return memchr(ret, '\0', out) ? -ENOENT : 0;
}

/* What DIGESTs in it are looked up by: NULL for the root. */
static const char *ref_of(const struct node *folder, char *buf, size_t size)
{
	return folder->id != 0 && decode_ref(folder->name, buf, size) == 0 ? buf : NULL;
}

static int new_node(struct session *s, struct node *parent, const char *name, struct node **ret)
{
	struct node *n = calloc(1, sizeof(*n));
	struct err err = ERR_INIT;
	char ref[1024];
	int r = 0;

	if (!n)
		return -ENOMEM;
	n->parent = parent;
	n->name = strdup(name);
	if (!n->name)
		r = -ENOMEM;
	else if (digest_parse(name, &n->digest) == 0) {
		n->is_layer = true;
		r = als_find(s->store, ref_of(parent, ref, sizeof(ref)), &n->digest, &n->place,
			     &err);
		if (r < 0 && r != -ENOENT)
			log_error("layer '%s': %s", name, err.msg);
	} else
		r = parent->id == 0 ? decode_ref(name, ref, sizeof(ref)) : -ENOENT;
	if (r < 0) {
		node_free(n);
		return r == -ENOENT || r == -ENOMEM ? r : -EIO;
	}
	r = add_node(s, n);
	if (r == 0)
		*ret = n;
	return r;
}

/* With the lock held. */
static int have_layer(struct session *s, struct node *n)
{
	char(*ids)[65] = NULL;
	struct err err = ERR_INIT;
	size_t count;
	int r;

	if (n->layer)
		return 0;
	r = als_stack(s->store, &n->place, &ids, &count, &err);
	if (r == 0)
		r = als_layer_open(s->layers, (const char(*)[65])ids, count, &n->layer, &err);
	free(ids);
	if (r < 0) {
		log_error("layer %s: %s", n->digest.text, err.msg);
		return r == -ENOMEM ? r : -EIO;
	}
	return 0;
}

static void folder_stat(const struct session *s, const struct node *n, struct stat *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->st_ino = number(FOLDER, n, 0);
	ret->st_mode = S_IFDIR | 0755; /* the owner may try to make 'use' */
	ret->st_nlink = 1;
	ret->st_uid = s->uid;
	ret->st_gid = s->gid;
	ret->st_mtim = ret->st_ctim = ret->st_atim = s->born;
}

static int file_stat(struct session *s, const struct node *n, enum kind kind, struct stat *ret)
{
	struct strbuf text CLEANUP(strbuf_release) = STRBUF_INIT;
	struct err err = ERR_INIT;
	int r = 0;

	folder_stat(s, n, ret);
	ret->st_ino = number(kind, n, 0);
	ret->st_mode = S_IFREG | 0444;
	if (kind == INFO) {
		(void)pthread_mutex_lock(&s->lock);
		r = als_info(s->store, &n->place, n->layer, &text, &err);
		(void)pthread_mutex_unlock(&s->lock);
		ret->st_size = (off_t)text.len;
	} else
		ret->st_size = (off_t)n->place.blob_size;
	if (r < 0)
		log_error("layer %s: %s", n->digest.text, err.msg);
	return r;
}

static int any_stat(struct session *s, fuse_ino_t ino, struct stat *ret)
{
	struct node *n = node_of(s, ino);
	int r;

	if (!n)
		return -ESTALE;
	switch (kind_of(ino)) {
	case FOLDER:
		folder_stat(s, n, ret);
		return 0;
	case INFO:
	case BLOB:
		return file_stat(s, n, kind_of(ino), ret);
	case IN_DIFF:
	default:
		r = als_layer_stat(n->layer, nid_of(ino), ret);
		ret->st_ino = ino;
		return r;
	}
}

/* What is in a layer's folder. With the lock held. */
static int look_into_layer(struct session *s, struct node *n, const char *name, uint64_t *ret)
{
	int r;

	if (strcmp(name, "diff") != 0 && strcmp(name, "info") != 0 && strcmp(name, "blob") != 0)
		return -ENOENT;
	if (name[0] == 'b' && !als_has_blob(s->store, &n->place))
		return -ENOENT;
	r = have_layer(s, n);
	if (r == 0)
		*ret = name[0] == 'd'	? number(IN_DIFF, n, als_layer_root(n->layer))
		       : name[0] == 'i' ? number(INFO, n, 0)
					: number(BLOB, n, 0);
	return r;
}

/* Finds and counts. */
static int look_up(struct session *s, fuse_ino_t parent, const char *name, uint64_t *ret)
{
	struct node *n = node_of(s, parent), *child;
	uint64_t nid;
	int r = n ? 0 : -ESTALE;

	if (r == 0 && kind_of(parent) == IN_DIFF) {
		r = als_layer_lookup(n->layer, nid_of(parent), name, &nid);
		if (r == 0)
			*ret = number(IN_DIFF, n, nid);
	}
	(void)pthread_mutex_lock(&s->lock);
	if (r == 0 && kind_of(parent) == FOLDER) {
		if (n->is_layer)
			r = look_into_layer(s, n, name, ret);
		else {
			child = find_child(s, n, name);
			if (!child)
				r = new_node(s, n, name, &child);
			if (r == 0) {
				n = child;
				*ret = number(FOLDER, n, 0);
			}
		}
	}
	if (r == 0)
		n->lookups++;
	(void)pthread_mutex_unlock(&s->lock);
	return r;
}

static struct session *session_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct session *s = session_of(req);
	struct fuse_entry_param e = {.generation = 0};
	int r = look_up(s, parent, name, &e.ino);

	if (r == 0) {
		r = any_stat(s, e.ino, &e.attr);
		e.attr_timeout = e.entry_timeout = kind_of(e.ino) == IN_DIFF ? FOREVER : 1.0;
		if (r < 0) {
			(void)pthread_mutex_lock(&s->lock);
			forget(s, s->nodes[(e.ino >> NODE_SHIFT) & (NODES_MAX - 1)], 1);
			(void)pthread_mutex_unlock(&s->lock);
		}
	} else if (r == -ENOENT && kind_of(parent) == IN_DIFF) {
		e.ino = 0; /* never there: the kernel need not ask again */
		e.entry_timeout = FOREVER;
		r = 0;
	}
	if (r < 0)
		(void)fuse_reply_err(req, -r);
	else
		(void)fuse_reply_entry(req, &e);
}

static void forget_one(struct session *s, fuse_ino_t ino, uint64_t count)
{
	struct node *n = node_of(s, ino);

	if (!n)
		return;
	(void)pthread_mutex_lock(&s->lock);
	forget(s, n, count);
	(void)pthread_mutex_unlock(&s->lock);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	forget_one(session_of(req), ino, count);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		forget_one(session_of(req), forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;
	int r = any_stat(session_of(req), ino, &st);

	(void)fi;
	if (r < 0)
		(void)fuse_reply_err(req, -r);
	else
		(void)fuse_reply_attr(req, &st, kind_of(ino) == IN_DIFF ? FOREVER : 1.0);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct node *n = node_of(session_of(req), ino);
	char buf[4096];
	ssize_t len = n && kind_of(ino) == IN_DIFF
			      ? als_layer_readlink(n->layer, nid_of(ino), buf, sizeof(buf) - 1)
			      : -EINVAL;

	if (len < 0) {
		(void)fuse_reply_err(req, (int)-len);
		return;
	}
	buf[len] = '\0';
	(void)fuse_reply_readlink(req, buf);
}

/* No message for opening and closing: reads bring all they need. */
static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	(void)fuse_reply_err(req, ENOSYS);
}

static void read_info(fuse_req_t req, struct session *s, const struct node *n, size_t size,
		      off_t off)
{
	struct strbuf text CLEANUP(strbuf_release) = STRBUF_INIT;
	struct err err = ERR_INIT;
	size_t at, len;
	int r;

	(void)pthread_mutex_lock(&s->lock);
	r = als_info(s->store, &n->place, n->layer, &text, &err);
	(void)pthread_mutex_unlock(&s->lock);
	if (r < 0) {
		(void)fuse_reply_err(req, EIO);
		return;
	}
	at = (size_t)off < text.len ? (size_t)off : text.len;
	len = text.len - at < size ? text.len - at : size;
	(void)fuse_reply_buf(req, text.s + at, len);
}

static void reply_from(fuse_req_t req, int fd, off_t pos, size_t size)
{
	struct fuse_bufvec buf = FUSE_BUFVEC_INIT(size);

	buf.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
	buf.buf[0].fd = fd;
	buf.buf[0].pos = pos;
	(void)fuse_reply_data(req, &buf, FUSE_BUF_SPLICE_MOVE);
}

static void read_blob(fuse_req_t req, struct session *s, const struct node *n, size_t size,
		      off_t off)
{
	struct err err = ERR_INIT;
	int fd cleanup_close = -1, r;

	(void)pthread_mutex_lock(&s->lock);
	r = als_blob(s->store, &n->place, &fd, &err);
	(void)pthread_mutex_unlock(&s->lock);
	if (r < 0) {
		log_error("blob %s: %s", n->digest.text, err.msg);
		(void)fuse_reply_err(req, EIO);
		return;
	}
	reply_from(req, fd, off, size);
}

static void read_data(fuse_req_t req, const struct node *n, uint64_t nid, size_t size, off_t off)
{
	static const char zeros[1 << 16];
	struct ovl_data d;
	int r = als_layer_data(n->layer, nid, &d);

	if (r < 0) {
		(void)fuse_reply_err(req, -r);
		return;
	}
	if ((uint64_t)off >= d.size)
		size = 0;
	else if (size > d.size - (uint64_t)off)
		size = (size_t)(d.size - (uint64_t)off);
	r = size > 0 ? ovl_data_need(&d, (uint64_t)off, size) : 0;
	if (r < 0)
		(void)fuse_reply_err(req, -r);
	else if (size == 0)
		(void)fuse_reply_buf(req, NULL, 0);
	else if (d.fd < 0) {
		char *buf cleanup_free = size > sizeof(zeros) ? calloc(1, size) : NULL;

		if (size > sizeof(zeros) && !buf)
			(void)fuse_reply_err(req, ENOMEM);
		else
			(void)fuse_reply_buf(req, buf ? buf : zeros, size);
	} else
		reply_from(req, d.fd, (off_t)d.off + off, size);
	ovl_data_release(&d);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	struct session *s = session_of(req);
	struct node *n = node_of(s, ino);

	(void)fi;
	switch (n ? kind_of(ino) : FOLDER) {
	case INFO:
		read_info(req, s, n, size, off);
		break;
	case BLOB:
		read_blob(req, s, n, size, off);
		break;
	case IN_DIFF:
		read_data(req, n, nid_of(ino), size, off);
		break;
	case FOLDER:
	default:
		(void)fuse_reply_err(req, n ? EISDIR : ESTALE);
	}
}

struct filling {
	fuse_req_t req;
	const struct node *n;
	char *buf;
	size_t len, size;
};

static int add_entry(struct filling *f, const char *name, uint64_t ino, unsigned int type,
		     uint64_t next)
{
	struct stat st = {.st_ino = ino, .st_mode = (mode_t)type << 12};
	size_t n = fuse_add_direntry(f->req, f->buf + f->len, f->size - f->len, name, &st,
				     (off_t)next);

	if (n > f->size - f->len)
		return 1;
	f->len += n;
	return 0;
}

static int fill_one(void *ctx, const char *name, uint64_t nid, unsigned int type, uint64_t next)
{
	struct filling *f = ctx;

	return add_entry(f, name, number(IN_DIFF, f->n, nid), type, next + 2);
}

/* REFs and DIGESTs are found when they are asked for: who wants a list asks 'snap images'. */
static int fill_folder(struct filling *f, uint64_t pos)
{
	static const struct {
		const char *name;
		enum kind kind;
		unsigned int type;
	} files[] = {{"diff", IN_DIFF, S_IFDIR >> 12},
		     {"info", INFO, S_IFREG >> 12},
		     {"blob", BLOB, S_IFREG >> 12}};
	int r = 0;

	for (uint64_t i = pos - 2; f->n->is_layer && i < 3 && r == 0; i++)
		r = add_entry(f, files[i].name, number(files[i].kind, f->n, 1), files[i].type,
			      i + 3);
	return r;
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	struct node *n = node_of(session_of(req), ino);
	struct filling f = {.req = req, .n = n, .size = size};
	char *buf cleanup_free = malloc(size);
	uint64_t pos = (uint64_t)off;
	int r = n && buf ? 0 : -ENOMEM;

	(void)fi;
	f.buf = buf;
	for (; r == 0 && pos < 2; pos++)
		r = add_entry(&f, pos == 0 ? "." : "..", ino, S_IFDIR >> 12, pos + 1);
	if (r == 0)
		r = kind_of(ino) == IN_DIFF
			    ? als_layer_readdir(n->layer, nid_of(ino), pos - 2, fill_one, &f)
			    : fill_folder(&f, pos);
	if (r < 0)
		(void)fuse_reply_err(req, -r);
	else
		(void)fuse_reply_buf(req, buf, f.len);
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct node *n = node_of(session_of(req), ino);
	char *buf cleanup_free = size ? malloc(size) : NULL;
	ssize_t r = n && kind_of(ino) == IN_DIFF && (buf || !size)
			    ? als_layer_getxattr(n->layer, nid_of(ino), name, buf, size)
			    : -ENODATA;

	if (r < 0)
		(void)fuse_reply_err(req, (int)-r);
	else if (size == 0)
		(void)fuse_reply_xattr(req, (size_t)r);
	else
		(void)fuse_reply_buf(req, buf, (size_t)r);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct node *n = node_of(session_of(req), ino);
	char *buf cleanup_free = size ? malloc(size) : NULL;
	ssize_t r = n && kind_of(ino) == IN_DIFF && (buf || !size)
			    ? als_layer_listxattr(n->layer, nid_of(ino), buf, size)
			    : 0;

	if (r < 0)
		(void)fuse_reply_err(req, (int)-r);
	else if (size == 0)
		(void)fuse_reply_xattr(req, (size_t)r);
	else
		(void)fuse_reply_buf(req, buf, (size_t)r);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs st;

	(void)ino;
	if (fstatvfs(session_of(req)->store->root_fd, &st) < 0)
		(void)fuse_reply_err(req, errno);
	else
		(void)fuse_reply_statfs(req, &st);
}

static void count_use(fuse_req_t req, const struct node *n, bool more)
{
	struct session *s = session_of(req);
	struct err err = ERR_INIT;
	char ref[1024];
	int r;

	(void)pthread_mutex_lock(&s->lock);
	r = als_use(s->store, n->parent ? ref_of(n->parent, ref, sizeof(ref)) : NULL, &n->digest,
		    more, &err);
	(void)pthread_mutex_unlock(&s->lock);
	if (r < 0)
		log_error("use of layer %s: %s", n->digest.text, err.msg);
	(void)fuse_reply_err(req, r < 0 ? EIO : ENOENT);
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		      struct fuse_file_info *fi)
{
	struct node *n = node_of(session_of(req), parent);

	(void)mode;
	(void)fi;
	if (n && n->is_layer && kind_of(parent) == FOLDER && strcmp(name, "use") == 0)
		count_use(req, n, true);
	else
		(void)fuse_reply_err(req, EROFS);
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct session *s = session_of(req);
	struct node *folder = node_of(s, parent), *n = NULL;

	if (folder && kind_of(parent) == FOLDER && !folder->is_layer) {
		(void)pthread_mutex_lock(&s->lock);
		n = find_child(s, folder, name); /* the kernel has looked it up */
		(void)pthread_mutex_unlock(&s->lock);
	}
	if (n && n->is_layer)
		count_use(req, n, false);
	else
		(void)fuse_reply_err(req, EROFS);
}

static const struct fuse_lowlevel_ops ops = {
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.readlink = op_readlink,
	.open = op_open,
	.opendir = op_open,
	.read = op_read,
	.readdir = op_readdir,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.statfs = op_statfs,
	.create = op_create,
	.rmdir = op_rmdir,
};

#define THREADS 16 /* some may wait for a network */

static int serve(struct session *s, struct fuse_session *se, struct err *err)
{
	struct fuse_loop_config *cfg = fuse_loop_cfg_create();
	int r;

	(void)s;
	if (!cfg)
		return err_set(err, -ENOMEM, "serve");
	fuse_loop_cfg_set_clone_fd(cfg, 0);
	fuse_loop_cfg_set_max_threads(cfg, THREADS);
	fuse_loop_cfg_set_idle_threads(cfg, THREADS);
	r = fuse_session_loop_mt(se, cfg);
	fuse_loop_cfg_destroy(cfg);
	return r < 0 ? err_set(err, r, "serve") : 0;
}

static struct fuse_session *new_session(struct session *s)
{
	/* podman's root in a user namespace is the user that mounts: others need not get in */
	const char *options = geteuid() == 0 ? "default_permissions,subtype=snap-als,fsname=snap,"
					       "allow_other,dev,suid"
					     : "default_permissions,subtype=snap-als,fsname=snap";
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_session *se = NULL;

	if (fuse_opt_add_arg(&args, "snap") == 0 && fuse_opt_add_arg(&args, "-o") == 0 &&
	    fuse_opt_add_arg(&args, options) == 0)
		se = fuse_session_new(&args, &ops, sizeof(ops), s);
	fuse_opt_free_args(&args);
	return se;
}

static int prepare(struct session *s, const struct als_ids *ids, struct err *err)
{
	struct node *root = calloc(1, sizeof(*root));
	int r;

	s->layers = als_layers_new(s->store->root, ids);
	if (!root || !s->layers) {
		free(root);
		return err_set(err, -ENOMEM, "serve");
	}
	r = add_node(s, root);
	if (r < 0)
		return err_set(err, r, "serve");
	root->lookups = 1;
	return 0;
}

int als_session_run(struct snap_store *store, const char *mountpoint, const struct als_ids *ids,
		    int (*ready)(void *ctx, struct err *err), void *ctx, struct err *err)
{
	struct session s = {.store = store, .uid = geteuid(), .gid = getegid()};
	struct fuse_session *se = NULL;
	bool mounted = false, handled = false;
	int r;

	(void)pthread_mutex_init(&s.lock, NULL);
	(void)clock_gettime(CLOCK_REALTIME, &s.born);
	r = prepare(&s, ids, err);
	if (r == 0 && !(se = new_session(&s)))
		r = err_msg(err, -EINVAL, "the FUSE library refuses the mount's options");
	if (r == 0) {
		errno = 0;
		mounted = fuse_session_mount(se, mountpoint) == 0;
		if (!mounted) {
			err_hint(err, "see that /dev/fuse is there and may be used, and that "
				      "fusermount3 is installed");
			r = err_set(err, errno ? -errno : -EPERM, "mount on '%s'", mountpoint);
		}
	}
	if (r == 0) {
		handled = fuse_set_signal_handlers(se) == 0;
		r = ready(ctx, err);
	}
	if (r == 0)
		r = serve(&s, se, err);
	if (handled)
		fuse_remove_signal_handlers(se);
	if (mounted)
		fuse_session_unmount(se);
	if (se)
		fuse_session_destroy(se);
	for (uint32_t i = 0; i < s.n_nodes; i++)
		if (s.nodes[i])
			node_free(s.nodes[i]);
	free(s.nodes);
	als_layers_free(s.layers);
	(void)pthread_mutex_destroy(&s.lock);
	return r;
}
