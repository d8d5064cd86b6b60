/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "oci/layer_in.h"
#include "oci/tar_member.h"
#include "oci/toc_text.h"

/*
 * reader_wire - what is said between a process that brings a layer in and its reader, the process
 * without privileges that inflates and parses (oci/reader.h). Bytes of the blob and of the tar lie
 * in shared memory, cut into slots that are used one after the other; over a socket goes how long
 * each is. Same machine, same build: integers as they are.
 *
 * What the reader says is believed no more than a tar would be: it says which members the tar has,
 * every number of a message is checked, and all rules of layers are applied to what came over
 * (oci/layer_tree.h). So a reader that was taken over can make of its layer what a tar could have
 * made of it, and nothing else.
 */
#define READER_MAGIC	 0x736e7202u /* changes with anything here */
#define READER_SOCK	 3 /* descriptors of the reader */
#define READER_IN	 4
#define READER_OUT	 5
#define READER_IN_SLOTS	 12
#define READER_IN_SIZE	 (256u << 10)
#define READER_OUT_SLOTS 16
#define READER_OUT_SIZE	 (256u << 10)
#define READER_MEMORY	 (512u << 20) /* of address space: a zstd window may be 128 MiB */
#define READER_BODY_MAX	 (48u << 20) /* a sparse map has at most 2^20 segments of 16 bytes */

/* What the bytes inflate to. */
enum reader_content {
	READER_LAYER, /* a tar */
	READER_TABLE, /* the JSON of a table of contents (oci/toc.h) */
	READER_TABLE_TAR, /* a tar that has that as its only file */
	READER_CONTENTS,
};
/* To the reader: first this, then orders. */
struct reader_start {
	uint32_t magic, compression, content, spare;
	struct oci_limits limits;
};
enum reader_order_type {
	READER_INPUT = 1, /* the next slot has so many bytes of the blob; 0: there are no more */
	READER_TAR_DONE, /* so many slots of the tar are free again */
};
struct reader_order {
	uint32_t type, n;
};

/* From the reader: heads, each with a body of @n bytes where its type has one. */
enum reader_answer_type {
	READER_INPUT_DONE = 1, /* so many slots of the blob are free again */
	READER_TAR, /* the next slot has so many bytes of the tar */
	READER_MEMBER, /* a body */
	READER_CHUNK, /* a body: of a table's entry that was told last */
	READER_FAILED, /* a body: struct reader_failure */
	READER_END, /* that was all of the tar */
};
struct reader_answer {
	uint32_t type, n;
};
struct reader_failure {
	int32_t code;
	char msg[384], where[384], hint[192];
};

int reader_put_member(struct strbuf *to, const struct oci_tar_member *m)
	__attribute__((warn_unused_result));

int reader_put_chunk(struct strbuf *to, const struct toc_chunk *c)
	__attribute__((warn_unused_result));
/* -EPROTO: it is none. */
int reader_get_chunk(const void *body, size_t len, struct toc_chunk *ret)
	__attribute__((warn_unused_result));

/* A member that came over; @m points into the body, and to what is owned here. */
struct reader_member {
	struct oci_tar_member m;
	struct oci_pax_xattr *xattrs;
	struct oci_tar_segment *map;
	size_t cap_xattrs, cap_map;
};
/* @body has room for nothing more, and lives as long as @ret is used. -EPROTO: no member. */
int reader_get_member(const void *body, size_t len, struct reader_member *ret)
	__attribute__((warn_unused_result));
void reader_member_release(struct reader_member *m);
/* A failure as it may be shown: text that no terminal obeys, a hint only of ours. Returns its code.
 */
int reader_get_failure(const void *body, size_t len, struct err *err);
