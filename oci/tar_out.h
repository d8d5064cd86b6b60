/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/strbuf.h"
#include "oci/layer_out.h"

/*
 * tar_out - the header blocks of one tar entry: ustar where everything fits
 * into it, with a PAX extended header in front where something does not
 * (POSIX.1-2017, pax, "pax Interchange Format"). Pure: the same entry, the same bytes.
 *
 * Names are bytes. A name that is no UTF-8 and fits into ustar is written there as
 * it is, which every reader takes; a longer one goes into a record, with
 * hdrcharset=BINARY in front.
 */
#define OCI_TAR_BLOCK 512

/*
 * Appends to @out a multiple of OCI_TAR_BLOCK bytes. -EINVAL: an entry no tar can hold (@err says
 * why), -EOVERFLOW: a number beyond the format, -ENOMEM.
 */
int oci_tar_header(const struct oci_tar_entry *e, struct strbuf *out, struct err *err)
	__attribute__((warn_unused_result));
/* Bytes of content that follow the header (hard links have none). */
uint64_t oci_tar_content_size(const struct oci_tar_entry *e);
