/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "snapshotter/import.h"
#include "snapshotter/lazy.h"

/*
 * lazy_table - lazy layers by the table of contents that their own blob has (oci/toc.h). Such a
 * layer has a folder of its own, not named by its tar; when all of it is here the blob is brought
 * in like any other, held against what the table said, and takes the place of it.
 */
/*
 * Fetches the table to @blob_fd, where the blob has it, and nothing else; writes the index and
 * appends the spans. @ret as from oci_toc_make().
 */
int lazy_table_fetch(const struct import_job *job, int index_fd, int blob_fd, struct strbuf *spans,
		     struct oci_layer_result *ret, uint64_t *ret_fetched, struct err *err)
	__attribute__((warn_unused_result));
/* All spans are here. @gc: the lock "gc", held shared. -EBADMSG: the table lied. */
int lazy_table_finish(struct lazy_layer *l, struct snap_store *store, int gc, struct err *err)
	__attribute__((warn_unused_result));
/*
 * A pull brought the layer @id of @ref whole: one that is lazy by the table of the same blob gets
 * its bytes, for those who have it mounted, and @id takes the place of it. Under the lock of @id.
 */
int lazy_table_adopt(struct snap_store *store, const struct oci_layer_ref *ref, const char *id,
		     struct err *err) __attribute__((warn_unused_result));
/* Does the table in the image's index @a at @a_data say what the tar's @b says? -EBADMSG. */
int lazy_table_compare(int a, int a_data, int b, int b_data, struct err *err)
	__attribute__((warn_unused_result));
