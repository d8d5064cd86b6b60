/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/err.h"
#include "snapshotter/store.h"

/*
 * lazy_plan - what is fetched of lazy layers before anybody reads it. A *list* is what an earlier
 * run read (docs/FORMAT.md, "Record"), of all layers of an image and in order. A *plan* is what a
 * pull wants of one layer, the file `plan` in its folder: its part of such a list, and whether the
 * rest is to come as well. The filler acts on plans; who reads waits for neither.
 */
#define LAZY_LIST_MAX	(4u << 20) /* bytes of a list's text */
#define LAZY_WANTS_MAX	65536u /* lines of one that are taken */
#define LAZY_RECORD_TOP "# snap record 1\n"

struct lazy_want {
	char layer[65];
	uint64_t off, len; /* of the layer's tar */
};
struct lazy_list {
	struct lazy_want *wants; /* owned; in the order of reading */
	size_t n;
};
#define LAZY_LIST_INIT                                                                             \
	{                                                                                          \
		.wants = NULL                                                                      \
	}
/* -EBADMSG: it is no such text; @err has the line. */
int lazy_list_parse(const char *text, size_t len, struct lazy_list *ret, struct err *err)
	__attribute__((warn_unused_result));
/* A file of this machine. */
int lazy_list_load(const char *path, char **ret_text, size_t *ret_len, struct lazy_list *ret,
		   struct err *err) __attribute__((warn_unused_result));
void lazy_list_release(struct lazy_list *l);
#define cleanup_lazy_list __attribute__((cleanup(lazy_list_release)))

struct lazy_range {
	uint64_t order; /* the line of its list: layers of one image are fetched alternately */
	uint64_t off, len;
};
struct lazy_plan {
	bool background; /* all of it is to come */
	uint64_t rate; /* of that: bytes of the blob a second; 0: no bound */
	struct lazy_range *ranges; /* owned; come first, as fast as they can */
	size_t n;
};
#define LAZY_PLAN_INIT                                                                             \
	{                                                                                          \
		.ranges = NULL                                                                     \
	}
/* One that nobody made wants nothing. */
int lazy_plan_read(struct snap_store *store, const char *id, struct lazy_plan *ret, struct err *err)
	__attribute__((warn_unused_result));
void lazy_plan_release(struct lazy_plan *p);
#define cleanup_lazy_plan __attribute__((cleanup(lazy_plan_release)))

/*
 * What a pull asks for, of a lazy layer: its own plan then, but that what an earlier pull wanted in
 * the background stays wanted. @list: NULL, or replaces the ranges of an earlier one.
 */
struct lazy_wish {
	bool background;
	uint64_t rate;
	const struct lazy_list *list;
};
int lazy_plan_make(struct snap_store *store, const char *id, const struct lazy_wish *wish,
		   struct err *err) __attribute__((warn_unused_result));
