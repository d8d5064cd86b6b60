/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <sys/stat.h>

#include "tests/differential/diffop.h"

/* What the files that do operations share: how answers are told. */
enum { DATA = 512 * 1024 };

__attribute__((format(printf, 2, 3))) void say(struct result *r, const char *fmt, ...);
/* Notes the errno of a step of a composite operation. */
void step(struct result *r, const char *what, long v);
uint64_t hash(const void *data, size_t len);
void say_stat(struct result *r, const struct setup *s, const struct stat *st);
/* The operation's bytes, which its numbers decide. */
long write_data(int fd, const struct op *op, bool at_offset);
long set_size(const struct setup *s, int fd, off_t size);

/* An operation on what is open in a slot. */
long do_slot(struct side *side, const struct setup *s, const struct op *op, struct result *r);
