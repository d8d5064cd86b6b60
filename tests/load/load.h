/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "tests/lib/rng.h"

/*
 * loadop - many at once do random operations on one mount, and know what must come of them.
 *
 *	model.c   a tree in memory: names, contents, links, attributes
 *	file.c    operations on contents (what fsx does)      tree.c   on names (what fsstress does)
 *	region.c  chooses them, keeps the last ones, compares a directory with the model
 *	shared.c  what all do in the same directories, and what must hold whatever the order
 *	main.c    processes, mounts, rounds
 *
 * A region is a directory that one thread alone works on; a model of it says the answer to
 * each operation and the tree at the end, exactly. What a region does depends on its seed alone.
 */
enum {
	LOAD_FILE_MAX = 256 * 1024,
	LOAD_NAME = 24,
	LOAD_PATH = 1024,
	LOAD_XATTR = 64,
	LOAD_HANDLES = 6,
	LOAD_LAST = 24, /* operations that a failure shows */
	LOAD_LOGS = 4,
	LOAD_TOKENS = 40,
};

enum node_type { NODE_FILE, NODE_DIR, NODE_SYMLINK };

struct entry {
	char name[LOAD_NAME];
	struct node *node;
};

struct node {
	enum node_type type;
	unsigned int links; /* names */
	unsigned int handles; /* open ones: keep a file without a name alive */
	mode_t mode;
	unsigned char *data; /* LOAD_FILE_MAX of it; a file's */
	size_t size;
	char target[LOAD_NAME]; /* a symlink's */
	int xattr_len; /* of user.load; -1: none */
	unsigned char xattr[LOAD_XATTR];
	struct entry *entries; /* a directory's */
	size_t n_entries, room;
	struct node *parent;
	ino_t ino; /* as first seen; 0: not yet */
};

/* A new node without a name; NULL when out of memory. */
struct node *node_new(enum node_type type, mode_t mode);
/* Frees it when neither names nor handles are left. */
void node_put(struct node *n);
void node_free_tree(struct node *dir);
/* Index in ->entries, or -1. */
int node_find(const struct node *dir, const char *name);
int node_add(struct node *dir, const char *name, struct node *n)
	__attribute__((warn_unused_result));
/* Takes the name away; the node stays until node_put(). */
struct node *node_remove(struct node *dir, int index);
/* Whether @n is @dir or a directory above it. */
bool node_is_above(const struct node *n, const struct node *dir);
/* The path of @name in @dir (or of @dir: NULL) below the region's root. */
void node_path(const struct node *dir, const char *name, char path[LOAD_PATH]);
/* Bytes of a file, zeros where it grows. */
void node_resize(struct node *n, size_t size);

struct handle {
	int fd; /* -1: free */
	bool writes;
	struct node *node;
	unsigned char *map; /* a shared mapping for reading, made early; NULL: none */
};

struct region {
	unsigned int id;
	struct rng rng;
	struct node *top;
	unsigned int n_nodes;
	int root; /* of the region, where it is at the time; -1 between mounts */
	struct handle handles[LOAD_HANDLES];
	unsigned long ops;
	bool failed;
	char last[LOAD_LAST][256];
	unsigned char *scratch; /* LOAD_FILE_MAX */
	unsigned long seq[LOAD_LOGS]; /* shared.c: records that this region appended */
};

int region_init(struct region *r, unsigned int id, uint64_t seed)
	__attribute__((warn_unused_result));
void region_release(struct region *r);
/* @root is taken: where the region's directory is from now on, until region_leave(). */
void region_enter(struct region *r, int root);
void region_leave(struct region *r);
/* One operation; the region has ->failed when its answer was wrong. */
void region_step(struct region *r);
/* Everything below ->root is what the model says. */
void region_compare(struct region *r);
__attribute__((format(printf, 2, 3))) void region_note(struct region *r, const char *fmt, ...);
__attribute__((format(printf, 2, 3))) void region_fail(struct region *r, const char *fmt, ...);
/* Compares what a call gave (0, or the errno) with what it must give. */
bool region_expect(struct region *r, int want, long got);

struct place {
	struct node *dir;
	int index; /* -1: nothing has the name */
	char name[LOAD_NAME];
	char path[LOAD_PATH];
};
/* Something that exists; false in an empty tree. */
bool region_pick(struct region *r, struct place *p);
/* Of one type, or false. */
bool region_pick_type(struct region *r, enum node_type type, struct place *p);
/* A name in a directory that exists: often free. */
void region_pick_new(struct region *r, struct place *p);

void file_step(struct region *r);
void tree_step(struct region *r);
/* ->map and contents of an open file are the model's. */
void handle_check(struct region *r, struct handle *h);
void handle_close(struct region *r, struct handle *h);

/* In the directory @shared: logs, and tokens in directories. */
int shared_make(int shared) __attribute__((warn_unused_result));
void shared_step(struct region *r, int shared);
/* Nothing is lost, twice or torn; @seq[who][log] records were written. What is wrong on stdout. */
bool shared_check(int shared, unsigned int regions, unsigned long (*seq)[LOAD_LOGS]);
