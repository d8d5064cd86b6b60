/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdint.h>

#include "base/err.h"

/*
 * lazy - data of a layer that is not all here yet. A mount reads no network: it looks at the map of
 * what is present (erofs/presence.h) and asks the store's filler, a process of its own behind
 * ROOT/run/fill, for what is missing (`snap fill --serve`). When none answers, it starts one.
 *
 *	r = ovl_lazy_open(index_path, tag, &lazy, err);      NULL: the layer is complete
 *	r = ovl_lazy_need(lazy, off, len);                   before these bytes are read
 *
 * Any number of threads. Nothing is asked, and nothing but memory looked at, for what is here.
 */
struct ovl_lazy;

/* @index: absolute path of ROOT/{layers,chains}/sha256/ID/index; @tag: the layer's folder. */
int ovl_lazy_open(const char *index, const char *tag, struct ovl_lazy **ret, struct err *err)
	__attribute__((warn_unused_result));
void ovl_lazy_close(struct ovl_lazy *l); /* NULL is fine */
/* 0: they are here. -EIO: they cannot be had now; the next one who asks may be luckier. */
int ovl_lazy_need(struct ovl_lazy *l, uint64_t off, uint64_t len)
	__attribute__((warn_unused_result));

/* What goes over the socket, SOCK_SEQPACKET: one question, one answer. Same machine, same user. */
#define OVL_LAZY_SOCKET "fill" /* in ROOT/run */
#define OVL_LAZY_SECONDS                                                                           \
	60 /* that a reader waits; the variable SNAP_FILL_TIMEOUT is instead of it */
enum ovl_lazy_op {
	OVL_LAZY_NEED = 1, /* the bytes [off, off + len) of layer */
	OVL_LAZY_WAKE, /* look at the store again: there is a layer to be filled in the background
			*/
	OVL_LAZY_COMPLETE, /* all of layer, verified as a whole */
};
struct ovl_lazy_question {
	char magic[4]; /* "FIL1" */
	uint32_t op;
	char layer[64];
	uint64_t off, len;
};
struct ovl_lazy_answer {
	int32_t code; /* 0 or -errno */
	char text[252]; /* why, NUL-terminated */
};
#define OVL_LAZY_MAGIC "FIL1"

/*
 * Asks the filler of the store whose open folder run/ is @run_fd; @root: for starting one. Waits
 * @seconds at most (0: what the environment says). -ETIMEDOUT, or what it answered; @err may be
 * NULL.
 */
int ovl_lazy_ask(int run_fd, const char *root, const struct ovl_lazy_question *q,
		 unsigned int seconds, struct err *err) __attribute__((warn_unused_result));
unsigned int ovl_lazy_seconds(void); /* as the environment has it */
