/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pthread.h>
#include <stdatomic.h>

#include "base/cleanup.h"
#include "erofs/presence.h"
#include "oci/spans.h"
#include "snapshotter/lazy.h"
#include "snapshotter/store_private.h"

/* One lazy layer, opened by the filler. */
#define LAZY_SOURCES_MAX 8

struct lazy_place {
	char *spec, *authfile; /* owned */
	bool insecure;
	struct oci_source *source; /* NULL: not opened yet; under open_lock */
};

struct lazy_layer {
	char id[65];
	int root_fd; /* borrowed from nobody: a duplicate */
	int dir_fd, data_fd, blob_fd;
	struct oci_spans *spans;
	struct erofs_presence *present;
	struct oci_descriptor desc; /* of the blob */
	struct lazy_place places[LAZY_SOURCES_MAX];
	size_t n_places;
	pthread_mutex_t open_lock;
	pthread_mutex_t lock; /* over what follows */
	pthread_cond_t done;
	uint8_t *busy; /* a byte a span: somebody brings it */
	uint64_t failures;
	struct err failure; /* the last one */
};

DEFINE_CLEANUP(struct lazy_layer *, lazy_layer_close)

int lazy_read_spans(int dir, struct oci_spans **ret, struct err *err)
	__attribute__((warn_unused_result));
/* Do the spans, the map and the source speak of the same layer? -EUCLEAN. */
int lazy_check_files(const struct lazy_layer *l, struct err *err)
	__attribute__((warn_unused_result));
/* lazy_finish.c: the blob, which is here, against its digest; and to its place. */
int lazy_check_blob(struct lazy_layer *l, struct err *err) __attribute__((warn_unused_result));
int lazy_publish_blob(struct lazy_layer *l, struct err *err) __attribute__((warn_unused_result));
int lazy_refuse_condemned(const struct erofs_presence *p, const char *id, struct err *err)
	__attribute__((warn_unused_result));
/* The spans [i, end) that are missing, whose bytes of the blob are in our copy of it: @from. */
int lazy_inflate(struct lazy_layer *l, size_t i, size_t end, const char *from, struct err *err)
	__attribute__((warn_unused_result));
/* Reads the file `source`. */
int lazy_source_read(int dir, struct lazy_layer *l, struct err *err)
	__attribute__((warn_unused_result));
/* Bytes of the blob, from one of the layer's places. */
int lazy_fetch(struct lazy_layer *l, const struct oci_range *want, size_t place, struct err *err)
	__attribute__((warn_unused_result));
