/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "overlay/fs.h"

/*
 * node - what the kernel knows an inode by. A node's identity is its number;
 * names are looked up on disk each time, and what is found there leads to the
 * one node of its number. Counted references; the table finds, but owns nothing.
 */

/* What a name leads to on disk: the result of ovl_resolve(). */
struct ovl_entry {
	bool found;
	bool upper; /* the upper has the object (found), or nothing is known of lowers below it */
	bool whiteout; /* the upper has a whiteout at the name (not found) */
	bool indexed; /* the object is a copied-up hard link: see OVL_NODE_INDEXED */
	bool metacopy; /* the upper has it without its data, which ->lowers have */
	bool origin; /* the number does not come from the object's own place */
	unsigned int protection; /* in the upper: OVL_NODE_IMMUTABLE, OVL_NODE_APPEND */
	int nlink; /* indexed: names in the union */
	struct stat st; /* of the uppermost object, as it is on disk */
	uint64_t number;
	struct ovl_obj **lowers; /* owned, as are the references in it */
	unsigned int n_lowers;
	char *redirect; /* owned */
};
#define OVL_ENTRY_INIT                                                                             \
	{                                                                                          \
		.found = false                                                                     \
	}
void ovl_entry_release(struct ovl_entry *e);
#define cleanup_entry __attribute__((cleanup(ovl_entry_release)))

int ovl_table_init(struct ovl_table *t) OVL_MUST;
void ovl_table_release(struct ovl_table *t);
/*
 * After nodes were let go of: when they were as many as are left, what memory they had goes back to
 * the machine, which malloc alone does not do.
 */
void ovl_table_trim(struct ovl_table *t);

/*
 * The node of @e, found by @name in @parent: the one of that number, or a new one. Returns a
 * reference, which is the kernel's when @lookup. Moves what it needs out of @e.
 */
int ovl_node_get(struct ovl_fs *fs, struct ovl_node *parent, const char *name, struct ovl_entry *e,
		 bool lookup, struct ovl_node **ret) OVL_MUST;
/* A node that is known already: a reference, or NULL. */
struct ovl_node *ovl_node_find(struct ovl_fs *fs, uint64_t number);
struct ovl_node *ovl_node_ref(struct ovl_fs *fs, struct ovl_node *n);
void ovl_node_unref(struct ovl_fs *fs, struct ovl_node *n); /* NULL is fine */
/* The kernel gives @count look-ups back. */
void ovl_node_forget(struct ovl_fs *fs, struct ovl_node *n, uint64_t count);
/* One more look-up by the kernel, for who holds a reference. */
void ovl_node_looked_up(struct ovl_fs *fs, struct ovl_node *n);

/* The number leads here no more: the object is removed. */
void ovl_node_unhash(struct ovl_fs *fs, struct ovl_node *n);

/* With fs->tree held for writing. */
bool ovl_node_has_alias_locked(const struct ovl_node *n, const struct ovl_node *parent,
			       const char *name);
int ovl_node_add_alias_locked(struct ovl_fs *fs, struct ovl_node *n, struct ovl_node *parent,
			      const char *name) OVL_MUST;
/* Takes the name away if it is one; what else is known of the node moves up. */
void ovl_node_drop_alias_locked(struct ovl_fs *fs, struct ovl_node *n, struct ovl_node *parent,
				const char *name);

/*
 * Where an upper object is: (fd, name) as overlay/sys.h has it. With fs->tree held (either way)
 * until the call that uses it has returned.
 */
struct ovl_at {
	int fd;
	const char *name;
	struct ovl_dirfd *dir; /* owned */
	char buf[24];
};
#define OVL_AT_INIT                                                                                \
	{                                                                                          \
		.fd = -1                                                                           \
	}
int ovl_at_get_locked(struct ovl_fs *fs, struct ovl_node *n, struct ovl_at *ret) OVL_MUST;
void ovl_at_release(struct ovl_at *at);
#define cleanup_at __attribute__((cleanup(ovl_at_release)))

/* The upper directory of @n, which has one. -ENOENT when it was removed. */
int ovl_node_dirfd_locked(struct ovl_fs *fs, struct ovl_node *n, struct ovl_dirfd **ret) OVL_MUST;
int ovl_node_dirfd(struct ovl_fs *fs, struct ovl_node *n, struct ovl_dirfd **ret) OVL_MUST;

/* number.c: numbers that do not fit their batch, and the copied-up hard links. */
#define OVL_DYNAMIC_BATCHES 2 /* when the first is used up, the second goes on */
/* @size: how many numbers of a batch are given out; 0: all 2^32. NULL: no memory. */
struct ovl_numbers *ovl_numbers_new(unsigned int dynamic_batch, uint64_t size);
void ovl_numbers_free(struct ovl_numbers *m);
/* The number of host inode @ino in @batch; @foreign: it is on another device than the batch's own.
 */
int ovl_number(struct ovl_numbers *m, unsigned int batch, uint64_t ino, dev_t foreign,
	       uint64_t *ret) OVL_MUST;
/* A number nobody has. -EOVERFLOW: there are none left (two batches of them). */
int ovl_number_fresh(struct ovl_numbers *m, uint64_t *ret) OVL_MUST;
/* Reads work/numbers: what was written down by earlier mounts is given out no more. */
int ovl_numbers_keep(struct ovl_numbers *m, int work_fd, bool sync) OVL_MUST;
/* Before @number is written to the upper or to work: work/numbers says so first. */
int ovl_number_written(struct ovl_numbers *m, uint64_t number) OVL_MUST;
/* Another work directory takes work/numbers over: first what it says, then what follows. */
int ovl_numbers_copy(struct ovl_numbers *m, int work_fd) OVL_MUST;
void ovl_numbers_move(struct ovl_numbers *m, int work_fd);
bool ovl_number_is_dynamic(const struct ovl_numbers *m, uint64_t number);
/* What an earlier mount gave to a host inode, for ovl_number(). */
int ovl_number_restore(struct ovl_numbers *m, unsigned int batch, uint64_t ino, dev_t foreign,
		       uint64_t number) OVL_MUST;
/* Copied-up hard links by number: the host inode of work/links/NUMBER; 0: none. */
int ovl_links_add(struct ovl_numbers *m, uint64_t number, uint64_t host_ino) OVL_MUST;
uint64_t ovl_links_find(struct ovl_numbers *m, uint64_t number);
void ovl_links_remove(struct ovl_numbers *m, uint64_t number);
/* The numbers of all of them, malloc. */
int ovl_links_list(struct ovl_numbers *m, uint64_t **ret, size_t *ret_n) OVL_MUST;
/*
 * Copies that cannot have an origin mark (symlinks and special files, where marks are user.*): the
 * number of host inode @host_ino of the upper whose batch is @batch, from its copy-up until it is
 * gone.
 */
int ovl_origins_add(struct ovl_numbers *m, unsigned int batch, uint64_t host_ino,
		    uint64_t number) OVL_MUST;
bool ovl_origins_find(struct ovl_numbers *m, unsigned int batch, uint64_t host_ino, uint64_t *ret);
void ovl_origins_remove(struct ovl_numbers *m, unsigned int batch, uint64_t host_ino);
