/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pthread.h>
#include <stdatomic.h>

#include "overlay/lower.h"
#include "overlay/overlay.h"
#include "overlay/session_io.h"
#include "overlay/session_pass.h"
#include "overlay/stack.h"

/*
 * fs - one overlay, opened: its layers, its upper, and the nodes the kernel
 * knows. All state that lasts is on disk; a struct ovl_fs can be thrown away
 * and opened again at any moment.
 *
 *	r = ovl_fs_open(&config, &fs, err);
 *	r = ovl_lookup(fs, fs->root, "etc", &node, &st);      overlay/ops.h
 *	ovl_node_forget(fs, node, 1);
 *	ovl_fs_close(fs);
 *
 * Locks and their order: docs/LOCKING.md.
 */

/* A name of a node. A directory has one, a file with hard links one for each name the kernel knows.
 */
struct ovl_alias {
	struct ovl_alias *next;
	struct ovl_node *parent; /* a reference; NULL: no name (the root, or removed) */
	char *name;
};

enum ovl_node_flags {
	OVL_NODE_UPPER = 1 << 0, /* the object is in the upper; never goes away again */
	OVL_NODE_INDEXED = 1 << 1, /* it is at work/links/NUMBER, whatever its names */
	OVL_NODE_ORPHAN = 1 << 2, /* removed, and still referred to */
	OVL_NODE_IMPURE = 1 << 3, /* upper directory: entries may have an origin */
	OVL_NODE_PURE = 1 << 4, /* ... or are known not to */
	OVL_NODE_NO_ACL = 1 << 5, /* directory: known to have no default ACL */
	OVL_NODE_COPYING = 1 << 6, /* under fs->copy_lock */
	OVL_NODE_LINKED = 1 << 7, /* INDEXED: the upper has the names that were known */
	OVL_NODE_PASSED = 1 << 8, /* was open by passthrough: pages in the kernel may be old */
	OVL_NODE_NAMELESS = 1 << 10, /* ORPHAN that never had a name (O_TMPFILE): it may get one */
	OVL_NODE_IMMUTABLE = 1 << 11, /* UPPER: chattr +i */
	OVL_NODE_APPEND = 1 << 12, /* UPPER: chattr +a */
	OVL_NODE_KEPT = 1 << 13, /* ORPHAN that has outlived a push: its object is what it was */
	OVL_NODE_MOVED = 1 << 14, /* push.c, while it works: is below the new upper */
	OVL_NODE_METACOPY = 1 << 9, /* UPPER, but its data are below still; goes away once */
};

struct ovl_node {
	uint64_t number; /* relative to fs->base; what is seen is the sum */
	struct ovl_node *hash_next; /* under table->lock */
	uint64_t lookups; /* under table->lock: the kernel's */
	unsigned int refs; /* under table->lock: all references; ->lookups > 0 is one */
	bool hashed; /* under table->lock: in the table ... */
	bool hidden; /* under table->lock: ... and not found there any more */
	atomic_uint flags;
	mode_t type; /* S_IFMT part */
	struct ovl_alias at; /* under fs->tree, as all to its aliases */
	int pin; /* under fs->tree: of an object without a known name (overlay/pin.h) */
	int nlink; /* under fs->tree: INDEXED only, names in the union */
	/*
	 * directories: merged, uppermost first. Others: the object, and behind it, when that is
	 * another one, what has its data (metacopy).
	 */
	unsigned int n_lowers;
	union {
		struct ovl_obj *one; /* n_lowers == 1 */
		struct ovl_obj **many; /* n_lowers > 1 */
	};
	char *redirect; /* under fs->tree: in the upper, and its lowers (METACOPY: its data) have
			   another name */
	unsigned int opens_cached, opens_passed; /* session_pass.c, under its lock */
	int32_t backing; /* the same: an id of the kernel's while opens_passed > 0 */
	uint64_t upper_ino; /* the host's; valid with UPPER */
	uint64_t
		charge; /* quota.c, under its lock: bytes counted for the file, and 1; 0: not yet */
};

struct ovl_table {
	pthread_mutex_t lock;
	struct ovl_node **buckets; /* under lock */
	size_t n_buckets, count; /* under lock */
	size_t freed; /* under lock: since memory was last given back */
};

struct ovl_numbers; /* number.c */
struct ovl_listings; /* readdir.c */
struct ovl_quota; /* quota.c */
struct ovl_record; /* record.c */

enum ovl_mark {
	OVL_MARK_OPAQUE,
	OVL_MARK_REDIRECT,
	OVL_MARK_IMPURE,
	OVL_MARK_ORIGIN,
	OVL_MARK_NLINK,
	OVL_MARK_METACOPY,
	OVL_MARK_PROTATTR, /* flags that only we obey */
	OVL_MARK_PLACE, /* work/links: the lower file that a dynamic number is of */
	OVL_MARK_COUNT
};

struct ovl_fs {
	struct ovl_layer **layers; /* uppermost first */
	size_t n_layers;
	struct ovl_real_cache *fds;
	struct ovl_node *root;
	struct ovl_table table;
	struct ovl_numbers *numbers;
	uint64_t base; /* added to every number that is seen */
	unsigned int upper_batch; /* of inodes that are born in the upper */
	unsigned int first_lowers; /* layers that were below the first upper: not frozen */
	uint64_t max_batches; /* that are ours; 0: no bound */
	unsigned int
		pushes; /* of this mount: what handles were opened before is not the upper now */

	bool has_upper, redirect_dir, nofollow, metacopy, volatile_;
	struct ovl_listings *listings;
	uint64_t hold_max; /* bytes of merged index directories that a listing holds */
	struct ovl_session_io io;
	struct ovl_pass pass;
	struct ovl_quota *quota; /* NULL: none */
	struct ovl_record *record; /* of what is read; NULL: none */
	bool owned; /* nobody else changes the upper: the kernel may believe all it knows */
	bool writeback; /* the kernel keeps what is written, and sizes and times with it */
	bool no_handles; /* OPEN is answered ENOSYS: requests on files come without one */
	bool kills; /* FUSE_HANDLE_KILLPRIV_V2: set-id bits are ours to take away */
	double timeout; /* seconds that the kernel may believe names and attributes */
	const char *owner_xattr; /* where owners and modes are kept instead; NULL: nowhere */
	bool owner_always; /* there, and not only what cannot be had otherwise */
	struct ovl_idmap uids, gids; /* what is stored and what is seen; never changes */
	bool static_nlink, no_acl, no_xattrs;
	uid_t uid; /* who we are: what needs no chown */
	gid_t gid;
	const char *marks; /* static: what the names of marks begin with */
	char mark[OVL_MARK_COUNT][48]; /* xattr names */
	int upper_fd, work_base_fd, work_fd,
		links_fd; /* -1 without an upper; work/work, work/links */
	dev_t upper_dev;
	atomic_ulong temp; /* for names in work/work */
	atomic_uint pins; /* fds of overlay/pin.h */
	unsigned int pins_max;

	/*
	 * Where nodes are: ->at, ->pin, ->redirect of every node. Held for reading while a
	 * place is turned into an fd or used in one call, for writing from the call that
	 * changes a place on disk to the change in memory.
	 */
	pthread_rwlock_t tree;
	pthread_mutex_t copy_lock; /* OVL_NODE_COPYING of all nodes */
	pthread_cond_t copy_done;
};

#define OVL_HOLD_MAX (1 << 20)
/* readdir.c: the listings that are under way: at most 64 are kept. NULL: no memory. */
struct ovl_listings *ovl_listings_new(void);
void ovl_listings_free(struct ovl_fs *fs, struct ovl_listings *l); /* NULL is fine */
void ovl_listings_forget(struct ovl_fs *fs, const struct ovl_node *n); /* those of @n */
int ovl_fs_open(const struct ovl_config *c, struct ovl_fs **ret, struct err *err) OVL_MUST;
void ovl_fs_close(struct ovl_fs *fs); /* NULL is fine */
/*
 * Names of the marks, of root's xattrs or of anybody's, also for the layers. Asks the work
 * directory, if there is one.
 */
void ovl_marks_init(struct ovl_fs *fs);
/* The batch of the inodes of layer (or upper) @height, and how many batches are in use. */
static inline unsigned int ovl_fs_batch(const struct ovl_fs *fs, size_t height)
{
	/* those of numbers given out came after the first upper's */
	return (unsigned int)height + (height > fs->first_lowers ? 2 : 0);
}
static inline uint64_t ovl_fs_batches(const struct ovl_fs *fs)
{
	uint64_t first = (uint64_t)fs->first_lowers + 3;

	return fs->upper_batch >= first ? (uint64_t)fs->upper_batch + 1 : first;
}
/* The lowers that the root merges; @e gets references. */
struct ovl_entry;
int ovl_root_lowers(struct ovl_fs *fs, bool opaque, struct ovl_entry *e) OVL_MUST;
/* work.c: the work directory. */
int ovl_work_open(struct ovl_fs *fs, const struct ovl_config *c, struct err *err) OVL_MUST;
void ovl_work_close(struct ovl_fs *fs);
/*
 * The directories, empty by now, of another upper of @fs: @ret gets the four fds and is good for
 * nothing else. Ends with ovl_work_undo(), which leaves the work directory empty, or with the fds
 * being taken. -EXDEV: not on the file system of the upper that there is.
 */
int ovl_work_open_new(const struct ovl_fs *fs, const char *upper, const char *work,
		      struct ovl_fs *ret, struct err *err) OVL_MUST;
void ovl_work_undo(struct ovl_fs *fs);

static inline unsigned int ovl_node_has(const struct ovl_node *n, unsigned int flags)
{
	return atomic_load_explicit(&n->flags, memory_order_acquire) & flags;
}
static inline void ovl_node_set(struct ovl_node *n, unsigned int flags)
{
	atomic_fetch_or_explicit(&n->flags, flags, memory_order_acq_rel);
}
static inline void ovl_node_clear(struct ovl_node *n, unsigned int flags)
{
	atomic_fetch_and_explicit(&n->flags, ~flags, memory_order_acq_rel);
}
/* Its data, too, are in the upper. */
static inline bool ovl_node_has_data(const struct ovl_node *n)
{
	return ovl_node_has(n, OVL_NODE_UPPER | OVL_NODE_METACOPY) == OVL_NODE_UPPER;
}
/* n_lowers of them, borrowed. They change in a push alone (overlay/push.h). */
static inline struct ovl_obj **ovl_node_lowers(struct ovl_node *n)
{
	return n->n_lowers > 1 ? n->many : &n->one;
}
/* The lower file with the data of @n, borrowed: of one without ->n_lowers there is none. */
static inline struct ovl_obj *ovl_node_data(struct ovl_node *n)
{
	return ovl_node_lowers(n)[n->n_lowers - 1];
}
static inline struct ovl_stack ovl_fs_stack(const struct ovl_fs *fs)
{
	return (struct ovl_stack){fs->layers, fs->n_layers, fs->nofollow};
}
