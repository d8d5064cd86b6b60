/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "oci/tar_header.h"

/*
 * tarmaker - tars made byte by byte, right or wrong. Aborts on lack of memory.
 *
 * tm_line() reads a small language, one member each:
 *	"d:755 dir"  "f name=content"  "s name -> target"  "h name -> target"
 *	"c name"  "b name" (device 1:3)  "0 name" (char 0:0)  "p name" (fifo)
 * Owner 1:2 and mtime 7 unless said otherwise; mode by default 0755 (d), 0777 (s), 0644.
 */
struct tar_header *tm_header(struct strbuf *tar, char type,
			     const char *name); /* until the next call */
void tm_seal(struct tar_header *h); /* puts the checksum in */
void tm_data(struct strbuf *tar, const void *data, size_t len); /* and the padding */
void tm_octal(char *field, size_t len, uint64_t n);
void tm_line(struct strbuf *tar, const char *line);
void tm_end(struct strbuf *tar); /* two zero blocks */

/* PAX: records gathered in @records, then written as a header of @type 'x' or 'g'. */
void tm_record(struct strbuf *records, const char *key, const void *value, size_t len);
void tm_pax(struct strbuf *tar, char type, const struct strbuf *records);
/* One header with one record. */
void tm_pax1(struct strbuf *tar, char type, const char *key, const char *value);
/* GNU 'L' or 'K'. */
void tm_gnu(struct strbuf *tar, char type, const char *text);
