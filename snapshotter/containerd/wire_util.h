/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/err.h"
#include "snapshotter/containerd/call.h"
#include "snapshotter/snapshot.h"
#include "wire.pb-c.h"

/*
 * wire_util - between messages of the wire and what the snapshotter's functions take.
 */

/*
 * The call's message, decoded, to *@ret, a pointer to the type's struct; for wire_free(). Memory is
 * bounded: a message of many empty parts would else need fifty times its size. -EBADMSG: it is
 * none; -EMSGSIZE.
 */
int wire_decode(const struct call *c, const ProtobufCMessageDescriptor *type, void *ret,
		struct err *err) __attribute__((warn_unused_result));
void wire_free(ProtobufCMessage *m); /* NULL is fine */
#define WIRE_DECODE(c, type, field, err) wire_decode(c, &wire__##type##__descriptor, field, err)

/* Encodes @m as one message of the call's answer. */
int wire_send(struct call *c, const ProtobufCMessage *m, struct err *err)
	__attribute__((warn_unused_result));

/* A copy that ends with NUL (free() it). -EINVAL: there is a NUL in it. */
int wire_text(const ProtobufCBinaryData *b, const char *what, char **ret, struct err *err)
	__attribute__((warn_unused_result));
ProtobufCBinaryData wire_bytes(const char *text); /* borrows; NULL: empty */

/* Labels with strings of their own; wire_labels_free(). */
int wire_labels(Wire__Label **labels, size_t n, struct snap_label **ret, struct err *err)
	__attribute__((warn_unused_result));
void wire_labels_free(struct snap_label *labels, size_t n);

/* A snapshot as a message: borrows from @info. */
struct wire_info {
	Wire__Info info;
	Wire__Timestamp created, updated;
	Wire__Label *labels;
	Wire__Label **pointers;
};
int wire_info_init(struct wire_info *w, const struct snap_info *info, struct err *err)
	__attribute__((warn_unused_result));
void wire_info_release(struct wire_info *w);
