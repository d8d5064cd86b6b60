/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "oci/document.h"
#include "oci/layer_in.h"
#include "oci/reader_wire.h"

/*
 * reader_start - the side of a layer's reader (oci/reader.h) that starts it and does not trust it.
 *
 *	struct oci_reader_link link = OCI_READER_LINK_INIT;
 *	r = oci_reader_start(&link, compression, &limits, err);
 *	... one thread gives input, another takes answers ...
 *	oci_reader_end(&link);                       it is gone, whatever it was doing
 *
 * The program is snap-reader: what SNAP_READER names, or the one beside the running program, in
 * ../libexec of it, or where it was installed. It confines itself before it looks at anything
 * (base/sandbox.h); SNAP_SANDBOX=off lets it run without.
 */
struct oci_reader_link {
	pid_t pid; /* 0: none */
	int sock;
	unsigned char *in; /* slots of the blob; the reader can only read them */
	const unsigned char *out; /* slots of the tar: the reader may change them at any time */
};
#define OCI_READER_LINK_INIT                                                                       \
	{                                                                                          \
		.sock = -1                                                                         \
	}

/* @limits: filled. -ENOENT: the program is not installed. */
int oci_reader_start(struct oci_reader_link *ret, enum oci_compression compression,
		     enum reader_content content, const struct oci_limits *limits, struct err *err)
	__attribute__((warn_unused_result));
/*
 * Takes what it says until its end: answers that it may give, each with its body whole. What @fn
 * returns below 0 ends it and is returned. -EBADMSG: it is gone, or makes no sense; else what it
 * says is the reason that it cannot.
 */
typedef int (*oci_reader_fn)(void *ctx, const struct reader_answer *a, const char *body,
			     struct err *err);
int oci_reader_listen(struct oci_reader_link *link, oci_reader_fn fn, void *ctx, struct err *err)
	__attribute__((warn_unused_result));
int oci_reader_no_sense(struct err *err); /* -EBADMSG, and says so */
/* -EPIPE: it is gone. */
int oci_reader_order(const struct oci_reader_link *link, uint32_t type, uint32_t n)
	__attribute__((warn_unused_result));
/* No more orders: it ends when it has done those that it has. */
void oci_reader_hang_up(const struct oci_reader_link *link);
/* The socket has ended before the layer was told of completely: how did the process end? */
int oci_reader_why(struct oci_reader_link *link, struct err *err);
void oci_reader_end(struct oci_reader_link *link);

bool oci_reader_is_confined(void); /* unless SNAP_SANDBOX=off */
/* The program's path, free() it; NULL: not installed, or no memory. */
char *oci_reader_program(void);
/* Starts one to see whether it can be confined here. */
int oci_reader_try(struct err *err) __attribute__((warn_unused_result));
