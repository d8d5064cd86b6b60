/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "oci/layer_tree.h"
#include "oci/limits.h"
#include "oci/tar_header.h"
#include "oci/tar_in.h"
#include "tests/lib/tarmaker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct ctx {
	struct oci_layer_tree *tree;
	uint64_t sparse_size;
	const uint8_t *data; /* what is left */
	size_t size, piece;
};

static int next(void *p, const void **ret_data, size_t *ret_len, struct err *err)
{
	struct ctx *c = p;

	(void)err;
	*ret_data = c->data;
	*ret_len = c->size < c->piece ? c->size : c->piece;
	c->data += *ret_len;
	c->size -= *ret_len;
	return 0;
}

static int member(void *p, const struct oci_tar_member *m, struct err *err)
{
	struct ctx *c = p;
	uint64_t end = 0;

	if (m->data % TAR_BLOCK || (m->type != OCI_TAR_REG && m->size) || m->mode > 07777)
		abort();
	for (size_t i = 0; m->sparse && i < m->n_map; i++) {
		if (m->map[i].offset < end || m->map[i].len > m->size ||
		    m->map[i].offset > m->size - m->map[i].len)
			abort();
		end = m->map[i].offset + m->map[i].len;
	}
	c->sparse_size = m->size;
	return oci_layer_tree_add(c->tree, m, 0, err);
}

static int sparse_data(void *p, const void *data, size_t len, uint64_t pos, struct err *err)
{
	const struct ctx *c = p;

	(void)data;
	(void)err;
	if (pos > c->sparse_size || len > c->sparse_size - pos)
		abort();
	return 0;
}

/*
 * Any bytes as a tar. No fuzzer finds checksums by chance, so blocks that say they are headers get
 * theirs. The last byte is how long the pieces are in which it comes.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct oci_limits few = {
		.entries = 2000, .meta_bytes = 1 << 20, .header_bytes = 1 << 16};
	struct oci_limits limits;
	struct ctx c = {.tree = NULL};
	const struct oci_tar_io io = {next, member, sparse_data, &c};
	struct err err = ERR_INIT;
	uint8_t *copy;
	uint64_t inodes;
	int r;

	if (size == 0)
		return 0;
	log_set_level(LOG_ERROR);
	c.piece = (size_t)data[--size] * 7 + 1;
	oci_limits_fill(&few, &limits);
	copy = malloc(size + 1);
	c.tree = oci_layer_tree_new(&limits);
	if (!copy || !c.tree)
		abort();
	memcpy(copy, data, size);
	for (size_t i = 0; i + TAR_BLOCK <= size; i += TAR_BLOCK) {
		if (memcmp(copy + i + offsetof(struct tar_header, magic), "ustar", 5) == 0)
			tm_seal((struct tar_header *)(void *)(copy + i));
	}
	c.data = copy;
	c.size = size;
	r = oci_tar_in(&io, &limits, &err);
	if (r == 0)
		r = oci_layer_tree_finish(c.tree, &inodes, &err);
	if (r > 0 || (r < 0 && !err.msg[0]))
		abort();
	oci_layer_tree_free(c.tree);
	free(copy);
	return 0;
}
