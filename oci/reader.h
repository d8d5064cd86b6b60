/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/err.h"

/*
 * reader - inflates and parses one layer, in a process of its own that has nothing but the socket
 *and the memory that it shares with who started it (oci/reader_wire.h, oci/reader_start.h). One
 *thread. Serves one layer, then the process ends: a reader that a layer has taken over never sees
 *another.
 *
 *	r = oci_reader_open(&reader, err);        maps what is shared
 *	... sandbox_enter() ...
 *	r = oci_reader_serve(&reader);
 */
struct oci_reader {
	const unsigned char *in; /* slots of the blob: read-only for this process */
	unsigned char *out; /* slots of the tar */
};
int oci_reader_open(struct oci_reader *ret, struct err *err) __attribute__((warn_unused_result));
/* 0 also when it told a failure; else nobody listens any more. */
int oci_reader_serve(const struct oci_reader *reader) __attribute__((warn_unused_result));
/* Tells that nothing can be done, before any byte has been looked at. */
void oci_reader_fail(const struct err *err);
