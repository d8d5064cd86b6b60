/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/lazy_index.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "oci/spans.h"
#include "snapshotter/blob.h"
#include "snapshotter/image_private.h"
#include "snapshotter/lazy_bundle.h"
#include "snapshotter/lazy_plan.h"

/* One layer: what the image says of it, and what the store has. */
struct layer {
	const struct oci_layer_ref *ref;
	const struct snap_layer_info *info;
	struct strbuf spans; /* the file */
	struct oci_spans *parsed;
};

static void layer_release(struct layer *l)
{
	strbuf_release(&l->spans);
	oci_spans_free(l->parsed);
}

static int load_spans(struct snap_store *store, struct layer *l)
{
	char path[STORE_PATH_MAX], *text cleanup_free = NULL;
	size_t len = 0;
	int r;

	store_layer_path(l->info->id, "spans", path);
	r = io_read_file(store->root_fd, path, OCI_SPANS_SIZE_MAX, &text, &len);
	if (r == 0)
		r = oci_spans_parse(text, len, &l->parsed, NULL);
	/* the same tar may have come as another blob */
	if (r == 0 && !digest_equal(oci_spans_blob(l->parsed), &l->ref->desc.digest)) {
		oci_spans_free(l->parsed);
		l->parsed = NULL;
		r = -ENOENT;
	}
	return r < 0 ? r : strbuf_add(&l->spans, text, len);
}

static int save_spans(struct snap_store *store, struct layer *l, struct err *err)
{
	struct io_tmp t cleanup_io_tmp = IO_TMP_INIT;
	char path[STORE_PATH_MAX];
	int dir cleanup_close = -1, r;

	store_layer_path(l->info->id, NULL, path);
	dir = openat(store->root_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = dir < 0 ? -errno : io_tmp_create(store->tmp_fd, 0600, &t);
	if (r == 0)
		r = io_write_full(t.fd, l->spans.s, l->spans.len);
	if (r == 0)
		r = io_tmp_publish(&t, dir, "spans");
	return r < 0 ? err_set(err, r, "write '%s/%s/spans'", store->root, path) : 0;
}

static int make_spans(struct snap_store *store, struct layer *l, struct err *err)
{
	struct blob blob cleanup_blob = BLOB_INIT;
	int r = blob_open(store, l->ref, false, &blob, err);

	if (r < 0)
		return r;
	r = oci_spans_make(l->ref, blob.fd, l->info->tar_size,
			   oci_spans_size_for(l->info->tar_size), &l->spans, err);
	if (r == 0)
		r = oci_spans_parse(l->spans.s, l->spans.len, &l->parsed, err);
	return r < 0 ? r : save_spans(store, l, err);
}

/* Can it ever be lazy? */
static bool is_never(const struct layer *l, char why[160])
{
	if (l->info->side_size > 0)
		(void)snprintf(why, 160, "it has sparse files, which are kept in full");
	else if (digest_algorithm(&l->ref->diff_id) != DIGEST_SHA256)
		(void)snprintf(why, 160, "its diff id is no sha256");
	else if (l->info->tar_size == 0)
		(void)snprintf(why, 160, "it is empty");
	else
		return false;
	return true;
}

static bool has_long_span(const struct oci_spans *s, char why[160])
{
	for (size_t i = 0; i < oci_spans_count(s); i++) {
		uint64_t len = oci_spans_get(s, i)->out_len;

		if (len <= LAZY_SPAN_MAX)
			continue;
		(void)snprintf(why, 160, "%" PRIu64 " MiB of it can only be had in one piece (%s)",
			       len >> 20,
			       oci_spans_compression(s) == OCI_ZSTD ? "a zstd frame"
								    : "a block of deflate");
		return true;
	}
	return false;
}

/* @l is loaded behind it when READY. */
static int look_at(struct snap_store *store, struct layer *l, bool make,
		   struct snap_index_layer *ret, struct err *err)
{
	int r;

	memset(ret, 0, sizeof(*ret));
	ret->blob = l->ref->desc.digest;
	ret->blob_size = l->ref->desc.size;
	ret->tar_size = l->info->tar_size;
	ret->state = SNAP_INDEX_NEVER;
	if (is_never(l, ret->why))
		return 0;
	ret->state = SNAP_INDEX_MISSING;
	r = load_spans(store, l);
	if (r < 0 && !make)
		return 0;
	if (r < 0)
		r = make_spans(store, l, err);
	if (r < 0)
		return r;
	if (oci_spans_is_by_table(l->parsed)) {
		(void)snprintf(ret->why, sizeof(ret->why),
			       "it is lazy by a table of contents of its own");
		ret->state = SNAP_INDEX_NEVER;
		return 0;
	}
	ret->spans = oci_spans_count(l->parsed);
	ret->size = l->spans.len;
	ret->state = has_long_span(l->parsed, ret->why) ? SNAP_INDEX_NEVER : SNAP_INDEX_READY;
	return 0;
}

struct image {
	struct snap_image_info info;
	struct oci_image *doc;
	struct snap_layer_info *layers;
	size_t n;
};

static void image_release(struct image *i)
{
	snap_image_info_release(&i->info);
	oci_image_free(i->doc);
	free(i->layers);
}

static int image_load(struct snap_store *store, const char *ref, struct image *ret, struct err *err)
{
	int r = snap_image_find(store, ref, &ret->info, err);

	if (r == 0)
		r = snap_image_load(store, &ret->info.manifest, &ret->doc, err);
	if (r == 0)
		r = snap_image_layers(store, &ret->info.manifest, &ret->layers, &ret->n, err);
	if (r == 0 && ret->n != ret->doc->n_layers)
		r = err_msg(err, -EUCLEAN, "image '%s' has other layers than its manifest says",
			    ref);
	return r;
}

int snap_index_layers(struct snap_store *store, const char *ref, bool make,
		      struct snap_index_layer **ret, size_t *ret_n, struct err *err)
{
	struct image image CLEANUP(image_release) = {.n = 0};
	struct snap_index_layer *list cleanup_free = NULL;
	int gc cleanup_close = store_lock(store, "gc", LOCK_SH, err);
	int r = gc < 0 ? gc : image_load(store, ref, &image, err);

	list = r == 0 ? calloc(image.n + 1, sizeof(*list)) : NULL;
	if (r == 0 && !list)
		r = err_set(err, -ENOMEM, "index");
	for (size_t i = 0; r == 0 && i < image.n; i++) {
		struct layer l CLEANUP(layer_release) = {.ref = &image.doc->layers[i],
							 .info = &image.layers[i],
							 .spans = STRBUF_INIT};

		r = look_at(store, &l, make, &list[i], err);
	}
	if (r < 0)
		return err_wrap(err, r, "index of '%s'", ref);
	*ret = steal_ptr(&list);
	*ret_n = image.n;
	return 0;
}

static int read_index(struct snap_store *store, const char *id, void **ret, size_t *ret_len,
		      struct err *err)
{
	char path[STORE_PATH_MAX];
	int fd cleanup_close = -1;
	struct stat st;
	void *map;

	store_layer_path(id, "index", path);
	fd = openat(store->root_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, -errno, "open '%s/%s'", store->root, path);
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		return err_set(err, -errno, "read '%s/%s'", store->root, path);
	*ret = map;
	*ret_len = (size_t)st.st_size;
	return 0;
}

static int send_text(struct snap_store *store, struct oci_dest *dest, const char *type,
		     const struct strbuf *text, struct oci_descriptor *ret, struct err *err)
{
	struct io_tmp t cleanup_io_tmp = IO_TMP_INIT;
	int r;

	(void)snprintf(ret->media_type, sizeof(ret->media_type), "%s", type);
	ret->size = text->len;
	r = digest_buffer(DIGEST_SHA256, text->s, text->len, &ret->digest);
	if (r < 0)
		return err_set(err, r, "index");
	if (oci_dest_has(dest, ret))
		return 0;
	r = io_tmp_create(store->tmp_fd, 0600, &t);
	if (r == 0)
		r = io_write_full(t.fd, text->s, text->len);
	return r < 0 ? err_set(err, r, "write index") : oci_dest_blob(dest, ret, t.fd, err);
}

static int send_layer(struct snap_store *store, struct oci_dest *dest, const struct layer *l,
		      struct lazy_bundle_ref *ret, struct err *err)
{
	struct strbuf bundle CLEANUP(strbuf_release) = STRBUF_INIT;
	void *index = NULL;
	size_t len = 0;
	int r = read_index(store, l->info->id, &index, &len, err);

	if (r < 0)
		return r;
	r = lazy_bundle_write(index, len, l->spans.s, l->spans.len, &bundle, err);
	(void)munmap(index, len);
	ret->blob = l->ref->desc.digest;
	return r < 0 ? r : send_text(store, dest, LAZY_LAYER_TYPE, &bundle, &ret->desc, err);
}

/* A file that a run recorded, as it is. */
static int send_list(struct snap_store *store, struct oci_dest *dest, const char *path,
		     struct oci_descriptor *ret, struct err *err)
{
	struct lazy_list list cleanup_lazy_list = LAZY_LIST_INIT;
	struct strbuf text CLEANUP(strbuf_release) = STRBUF_INIT;
	char *data cleanup_free = NULL;
	size_t len = 0;
	int r = lazy_list_load(path, &data, &len, &list, err);

	if (r == 0 && strbuf_add(&text, data, len) < 0)
		r = err_set(err, -ENOMEM, "index");
	return r < 0 ? r : send_text(store, dest, LAZY_LIST_TYPE, &text, ret, err);
}

static int send_manifest(struct snap_store *store, struct oci_dest *dest, const struct image *image,
			 const struct lazy_bundle_ref *refs, const struct oci_descriptor *list,
			 struct snap_index_result *ret, struct err *err)
{
	struct strbuf text CLEANUP(strbuf_release) = STRBUF_INIT;
	struct strbuf empty CLEANUP(strbuf_release) = STRBUF_INIT;
	struct oci_descriptor config, desc = {.size = 0};
	int r = strbuf_adds(&empty, "{}");

	if (r < 0)
		return err_set(err, r, "index");
	r = send_text(store, dest, "application/vnd.oci.empty.v1+json", &empty, &config, err);
	if (r == 0)
		r = lazy_manifest_write(image->doc, refs, ret->layers, list, &config, &text, err);
	if (r < 0)
		return r;
	(void)snprintf(desc.media_type, sizeof(desc.media_type),
		       "application/vnd.oci.image.manifest.v1+json");
	desc.size = text.len;
	r = digest_buffer(DIGEST_SHA256, text.s, text.len, &desc.digest);
	if (r < 0)
		return err_set(err, r, "index");
	ret->manifest = desc.digest;
	ret->subject = image->info.manifest;
	return oci_dest_referrer(dest, &desc, text.s, &image->doc->manifest_desc, LAZY_TYPE, err);
}

int snap_index_push(struct snap_store *store, const char *ref, const char *spec, const char *path,
		    const struct oci_remote *remote, struct snap_index_result *ret, struct err *err)
{
	struct image image CLEANUP(image_release) = {.n = 0};
	struct oci_dest *dest cleanup_oci_dest = NULL;
	struct lazy_bundle_ref *refs cleanup_free = NULL;
	struct snap_index_result result = {.layers = 0};
	struct snap_index_layer state = {.state = SNAP_INDEX_MISSING};
	struct oci_descriptor list = {.size = 0};
	int gc cleanup_close = store_lock(store, "gc", LOCK_SH, err);
	int r = gc < 0 ? gc : image_load(store, ref, &image, err);

	if (r == 0)
		r = oci_dest_open(spec, remote, &dest, err);
	refs = r == 0 ? calloc(image.n + 1, sizeof(*refs)) : NULL;
	if (r == 0 && !refs)
		r = err_set(err, -ENOMEM, "index");
	for (size_t i = 0; r == 0 && i < image.n; i++) {
		struct layer l CLEANUP(layer_release) = {.ref = &image.doc->layers[i],
							 .info = &image.layers[i],
							 .spans = STRBUF_INIT};

		r = look_at(store, &l, true, &state, err);
		if (r == 0 && state.state != SNAP_INDEX_READY) {
			result.left_out++;
			continue;
		}
		if (r == 0)
			r = send_layer(store, dest, &l, &refs[result.layers], err);
		if (r == 0)
			result.size += refs[result.layers++].desc.size;
	}
	if (r == 0 && result.layers == 0)
		r = err_msg(err, -EOPNOTSUPP, "no layer of it can be lazy: %s",
			    image.n ? state.why : "it has none");
	if (r == 0)
		r = path ? send_list(store, dest, path, &list, err) : 0;
	if (r == 0)
		r = send_manifest(store, dest, &image, refs, path ? &list : NULL, &result, err);
	if (r < 0)
		return err_wrap(err, r, "index of '%s' to '%s'", ref, spec);
	*ret = result;
	return 0;
}

/* Every span, from the blob that is here: what it says of where to start may be a lie as well. */
static int try_spans(struct snap_store *store, const struct layer *l, struct err *err)
{
	int nowhere cleanup_close = open("/dev/null", O_WRONLY | O_CLOEXEC);
	struct blob blob cleanup_blob = BLOB_INIT;
	int r = nowhere < 0 ? err_set(err, -errno, "open '/dev/null'")
			    : blob_open(store, l->ref, false, &blob, err);

	if (r == -ENOENT)
		return err_msg(err, -ENOENT, "its blob is not here to hold it against");
	for (size_t i = 0; r == 0 && i < oci_spans_count(l->parsed); i++) {
		r = oci_spans_inflate(l->parsed, i, blob.fd, nowhere, err);
		if (r < 0)
			r = err_wrap(err, r, "lazy index: span %zu", i);
	}
	return r;
}

static int take_layer(struct snap_store *store, struct oci_source *source, const struct json *doc,
		      struct layer *l, struct err *err)
{
	char *bundle cleanup_free = NULL;
	int nowhere cleanup_close = open("/dev/null", O_WRONLY | O_CLOEXEC);
	const void *spans = NULL;
	struct oci_descriptor desc;
	size_t len = 0;
	int r = nowhere < 0 ? err_set(err, -errno, "open '/dev/null'")
			    : lazy_manifest_find(doc, &l->ref->desc.digest, &desc, err);

	if (r == 0)
		r = lazy_part_fetch(source, &desc, &bundle, err);
	/* the EROFS index is ours: made from the tar */
	if (r == 0)
		r = lazy_bundle_read(bundle, (size_t)desc.size, nowhere, &spans, &len, err);
	if (r == 0)
		r = oci_spans_parse(spans, len, &l->parsed, err);
	if (r == 0)
		r = lazy_spans_check(l->parsed, l->ref, err);
	if (r == 0)
		r = try_spans(store, l, err);
	if (r == 0 && strbuf_add(&l->spans, spans, len) < 0)
		r = err_set(err, -ENOMEM, "index");
	return r < 0 ? r : save_spans(store, l, err);
}

int snap_index_import(struct snap_store *store, const char *ref, const char *spec,
		      const struct oci_remote *remote, const struct digest *expect,
		      void (*left_out)(const struct digest *blob, const char *why),
		      struct snap_index_import *ret, struct err *err)
{
	struct image image CLEANUP(image_release) = {.n = 0};
	struct oci_source *source cleanup_oci_source = NULL;
	struct json *doc cleanup_json = NULL;
	struct snap_index_import result = {.layers = 0};
	int gc cleanup_close = store_lock(store, "gc", LOCK_SH, err);
	int r = gc < 0 ? gc : image_load(store, ref, &image, err);

	if (r == 0)
		r = oci_source_open(spec, remote, &source, err);
	if (r == 0)
		r = lazy_index_find(source, image.doc, expect, &doc, err);
	for (size_t i = 0; r == 0 && i < image.n; i++) {
		struct layer l CLEANUP(layer_release) = {.ref = &image.doc->layers[i],
							 .info = &image.layers[i],
							 .spans = STRBUF_INIT};
		struct snap_index_layer state;
		struct err why = ERR_INIT;

		r = look_at(store, &l, false, &state, err);
		if (r == 0 && state.state == SNAP_INDEX_READY) {
			result.known++;
			continue;
		}
		if (r == 0)
			r = take_layer(store, source, doc, &l, &why);
		if (r == 0) {
			result.layers++;
		} else if (r == -ENOENT || r == -EBADMSG || r == -EPROTONOSUPPORT) {
			result.left_out++;
			if (left_out)
				left_out(&l.ref->desc.digest, why.msg);
			r = 0;
		} else if (why.code < 0) {
			*err = why;
		}
	}
	if (r < 0)
		return err_wrap(err, r, "index of '%s' from '%s'", ref, spec);
	*ret = result;
	return 0;
}
