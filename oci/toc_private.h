/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "oci/tar_member.h"
#include "oci/toc.h"
#include "oci/toc_text.h"

/* toc_make - a layer's index and spans of what its table of contents says (oci/toc.h). */
struct toc_make;
/* @layer and @limits (filled): borrowed. @start: as in struct oci_toc_job. NULL: no memory. */
struct toc_make *toc_make_new(const struct oci_layer_ref *layer, const struct oci_limits *limits,
			      uint64_t start);
/* eStargz: the table itself is the tar's last file; @m as its header has it. */
int toc_make_self(struct toc_make *m, const struct oci_tar_member *member, struct err *err)
	__attribute__((warn_unused_result));
int toc_make_member(struct toc_make *m, const struct oci_tar_member *member, struct err *err)
	__attribute__((warn_unused_result));
int toc_make_chunk(struct toc_make *m, const struct toc_chunk *c, struct err *err)
	__attribute__((warn_unused_result));
int toc_make_finish(struct toc_make *m, int index_fd, struct strbuf *spans,
		    struct oci_layer_result *ret, struct err *err)
	__attribute__((warn_unused_result));
void toc_make_free(struct toc_make *m); /* NULL is fine */
