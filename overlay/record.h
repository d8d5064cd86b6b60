/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "overlay/fs.h"

/*
 * record - what of the lower layers was read, in the order in which it was first read: the mount
 * option record=FILE, whose text docs/FORMAT.md, "Record", has. Another store brings the same parts
 * first ('snap pull --prefetch'). Only layers of a store have names that mean something elsewhere:
 * what is read of directories is not recorded.
 *
 *	r = ovl_record_open(path, &record, err);
 *	ovl_record_read(fs, node, &data, off, len);         any thread
 *	ovl_record_close(record);
 *
 * A run of a file that is read in order is one line, written when it ends: a mount that is killed
 * loses the last one.
 */
struct ovl_record;

int ovl_record_open(const char *path, struct ovl_record **ret, struct err *err) OVL_MUST;
void ovl_record_close(struct ovl_record *r); /* NULL is fine */
/* Bytes of the lower file @d of @n are about to be read. Does nothing when fs->record is NULL. */
void ovl_record_read(struct ovl_fs *fs, struct ovl_node *n, const struct ovl_data *d, uint64_t off,
		     uint64_t len);
