/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * presence - which parts of a layer's `data` are there and verified, while it is lazy: the file
 * `present` beside it (docs/FORMAT.md, "presence"). Whoever fills writes the data first and then
 * the part's byte, so that a process killed at any instant leaves no claim that does not hold. The
 * machine itself may stop with data that never came to the disk: what was claimed before the
 * machine's present boot is not believed until it was verified again.
 *
 *	r = erofs_presence_open(fd, false, &p, err);        borrows fd: it may be closed afterwards
 *	if (!erofs_presence_covers(p, off, len)) ask for it, and look again
 *	erofs_presence_close(p);
 *
 * The file is mapped and shared: what one process sets the others see. Any number of threads.
 */
#define EROFS_PRESENCE_MAX (1u << 20) /* parts */

struct erofs_presence;

/* Writes a map of nothing into the empty file @fd. @starts: of @n parts, the first 0; @size: of
 * all.
 */
int erofs_presence_create(int fd, const uint64_t *starts, size_t n, uint64_t size)
	__attribute__((warn_unused_result));
/* -EBADMSG: damaged. */
int erofs_presence_open(int fd, bool writable, struct erofs_presence **ret, struct err *err)
	__attribute__((warn_unused_result));
void erofs_presence_close(struct erofs_presence *p);
static inline void erofs_presence_closep(struct erofs_presence **p)
{
	erofs_presence_close(*p);
}
#define cleanup_erofs_presence __attribute__((cleanup(erofs_presence_closep)))

size_t erofs_presence_count(const struct erofs_presence *p);
uint64_t erofs_presence_size(const struct erofs_presence *p); /* of the data */
/* First byte of part @i; the size for @i == count. */
uint64_t erofs_presence_start(const struct erofs_presence *p, size_t i);
size_t erofs_presence_find(const struct erofs_presence *p, uint64_t pos); /* pos < size */
/* Is part @i there? As what it is believed to be: false for what another boot claimed. */
bool erofs_presence_has(const struct erofs_presence *p, size_t i);
/* Are all of these bytes there? Beyond the end there is nothing to be missed. */
bool erofs_presence_covers(const struct erofs_presence *p, uint64_t off, uint64_t len);
size_t erofs_presence_have(const struct erofs_presence *p); /* parts that are there */
/* The layer turned out to be something else than it said: nothing of it may be read any more. */
bool erofs_presence_is_condemned(const struct erofs_presence *p);

/* For who fills, and opened it writable. */
void erofs_presence_set(struct erofs_presence *p, size_t i, bool there);
void erofs_presence_condemn(struct erofs_presence *p);
/* Was it written to in another boot? Then each part that claims to be there is to be verified... */
bool erofs_presence_is_stale(const struct erofs_presence *p);
bool erofs_presence_claims(const struct erofs_presence *p, size_t i); /* believed or not */
/* ... before this says that they are. */
void erofs_presence_renew(struct erofs_presence *p);
