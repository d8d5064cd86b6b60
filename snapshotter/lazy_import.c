/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/lazy_import.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "erofs/image.h"
#include "erofs/presence.h"
#include "oci/limits.h"
#include "oci/spans.h"
#include "snapshotter/lazy_bundle.h"
#include "snapshotter/lazy_table.h"

void lazy_offer_release(struct lazy_offer *o)
{
	oci_source_close(o->own);
	json_free(o->doc);
	free(o->spec);
	free(o->authfile);
	o->own = NULL;
	o->doc = NULL;
	o->spec = o->authfile = NULL;
}

/*
 * The filler works somewhere else, and for somebody whose environment it need not have: what is at
 * @path, as it is found from there, behind @prefix.
 */
static int absolute(const char *prefix, size_t len, const char *path, char **ret)
{
	char *cwd cleanup_free = path[0] == '/' ? NULL : getcwd(NULL, 0);

	if ((path[0] != '/' && !cwd) || asprintf(ret, "%.*s%s%s%s", (int)len, prefix,
						 cwd ? cwd : "", cwd ? "/" : "", path) < 0) {
		*ret = NULL;
		return -ENOMEM;
	}
	return 0;
}

/* Of "oci:DIR" the folder, of "docker://..." nothing is a path. */
static int keep_place(struct lazy_offer *o, const struct lazy_place_of *at)
{
	const char *authfile = at->remote ? at->remote->authfile : NULL;
	const char *colon = strchr(at->spec, ':');
	bool path = colon && strncmp(at->spec, "docker:", 7) != 0;
	int r = 0;

	if (!authfile)
		authfile = getenv("REGISTRY_AUTH_FILE");
	if (path)
		r = absolute(at->spec, (size_t)(colon - at->spec) + 1, colon + 1, &o->spec);
	else
		o->spec = strdup(at->spec);
	if (r == 0 && authfile && authfile[0])
		r = absolute("", 0, authfile, &o->authfile);
	if (r < 0 || !o->spec)
		return -ENOMEM;
	o->where = (struct lazy_source){.spec = o->spec,
					.authfile = o->authfile,
					.insecure = at->remote && at->remote->insecure};
	return 0;
}

static bool has_table(const struct oci_image *image)
{
	for (size_t i = 0; i < image->n_layers; i++) {
		if (image->layers[i].toc.kind != OCI_TOC_NONE)
			return true;
	}
	return false;
}

int lazy_offer_open(const struct lazy_place_of *at, const struct oci_image *image,
		    struct lazy_offer *ret, struct err *err)
{
	int r;

	if (at->remote && at->remote->creds) {
		r = err_msg(err, -ENOENT, "--creds are not kept for later reads");
		err_hint(err, "use --authfile, or 'podman login'");
		return r;
	}
	ret->source = at->source;
	if (at->index) {
		r = oci_source_open(at->index, at->remote, &ret->own, err);
		if (r < 0)
			return r;
		ret->source = ret->own;
	}
	r = lazy_index_find(ret->source, image, at->expect, &ret->doc, err);
	/* layers may have tables of contents of their own */
	if (r == -ENOENT && !at->index && !at->expect && has_table(image))
		r = 0;
	if (r < 0)
		return r;
	r = keep_place(ret, at);
	return r < 0 ? err_set(err, r, "lazy index") : 0;
}

int lazy_offer_list(const struct lazy_offer *o, struct lazy_list *ret, struct err *err)
{
	struct oci_descriptor desc;
	char *text cleanup_free = NULL;
	int r = lazy_manifest_list(o->doc, &desc, err);

	if (r == 0)
		r = lazy_part_fetch(o->source, &desc, &text, err);
	return r < 0 ? r : lazy_list_parse(text, (size_t)desc.size, ret, err);
}

struct lazy_work {
	const struct import_job *job;
	struct store_tmp tmp;
	int dir, index, blob;
	char *bundle;
	struct strbuf table; /* spans that a table of contents gave */
	uint64_t fetched;
	struct oci_spans *spans;
	struct oci_layer_result result;
};

static void work_release(struct lazy_work *w)
{
	closep(&w->dir);
	closep(&w->index);
	closep(&w->blob);
	strbuf_release(&w->table);
	free(w->bundle);
	oci_spans_free(w->spans);
	store_tmp_release(&w->tmp);
}

/* The index is one that can be read, of this tar alone. Its entries are verified at the end. */
static int check_index(struct lazy_work *w, struct err *err)
{
	struct erofs_image *img cleanup_erofs_image = NULL;
	const struct erofs_device *dev;
	uint64_t tar = oci_spans_tar_size(w->spans);
	struct oci_limits limits;
	int r = erofs_image_open(w->index, &img, err);

	if (r < 0)
		return r;
	dev = erofs_image_device(img, 1);
	if (erofs_image_device_count(img) != 1 ||
	    strcmp(dev->tag, digest_hex(oci_spans_tar(w->spans))) != 0 || dev->size < tar ||
	    dev->size - tar >= 512)
		return err_msg(err, -EBADMSG, "lazy index: its files are not in this layer's tar");
	oci_limits_fill(w->job->limits, &limits);
	if (tar > limits.bytes)
		return oci_limit_hit(err, "bytes", limits.bytes);
	if (erofs_image_inodes(img) > limits.entries)
		return oci_limit_hit(err, "entries", limits.entries);
	w->result.tar = *oci_spans_tar(w->spans);
	w->result.tar_size = tar;
	w->result.entries = erofs_image_inodes(img);
	return 0;
}

static int new_file(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	return fd < 0 ? -errno : fd;
}

static int make_sparse(int dir, const char *name, uint64_t size, struct err *err)
{
	int fd cleanup_close = new_file(dir, name);

	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		return err_set(err, fd < 0 ? fd : -errno, "make '%s'", name);
	return 0;
}

static int write_map(struct lazy_work *w, struct err *err)
{
	size_t n = oci_spans_count(w->spans);
	uint64_t *starts cleanup_free = calloc(n, sizeof(*starts));
	int fd cleanup_close = new_file(w->dir, "present");
	int r = !starts ? -ENOMEM : fd < 0 ? fd : 0;

	for (size_t i = 0; r == 0 && i < n; i++)
		starts[i] = oci_spans_get(w->spans, i)->out;
	if (r == 0)
		r = erofs_presence_create(fd, starts, n, oci_spans_tar_size(w->spans));
	if (r == 0 && fdatasync(fd) < 0)
		r = -errno;
	return r < 0 ? err_set(err, r, "make 'present'") : 0;
}

static int write_files(struct lazy_work *w, const void *spans, size_t len, struct err *err)
{
	int fd cleanup_close = new_file(w->dir, "spans");
	int r = fd < 0 ? fd : io_write_full(fd, spans, len);

	if (r == 0 && (fdatasync(fd) < 0 || fdatasync(w->index) < 0))
		r = -errno;
	if (r < 0)
		return err_set(err, r, "write lazy layer");
	r = make_sparse(w->dir, "data", oci_spans_tar_size(w->spans), err);
	if (r == 0)
		r = write_map(w, err);
	if (r == 0)
		r = lazy_source_write(w->dir, w->job->layer, &w->job->lazy->where, err);
	if (r == 0 && fsync(w->dir) < 0)
		r = err_set(err, -errno, "sync lazy layer");
	return r;
}

/* What somebody else made of the layer and published. */
static int use_bundle(struct lazy_work *w, const struct oci_descriptor *desc, struct err *err)
{
	const void *spans = NULL;
	size_t len = 0;
	int r = lazy_part_fetch(w->job->lazy->source, desc, &w->bundle, err);

	if (r == 0)
		r = lazy_bundle_read(w->bundle, (size_t)desc->size, w->index, &spans, &len, err);
	if (r == 0)
		r = oci_spans_parse(spans, len, &w->spans, err);
	if (r == 0)
		r = lazy_spans_check(w->spans, w->job->layer, err);
	if (r == 0)
		r = check_index(w, err);
	w->fetched = desc->size;
	return r < 0 ? r : write_files(w, spans, len, err);
}

/* What the layer says itself. Of eStargz the table is a file of the layer, and is here. */
static int use_table(struct lazy_work *w, struct err *err)
{
	struct erofs_presence *map cleanup_erofs_presence = NULL;
	int data cleanup_close = -1, present cleanup_close = -1;
	size_t last;
	int r = lazy_table_fetch(w->job, w->index, w->blob, &w->table, &w->result, &w->fetched,
				 err);

	if (r == 0)
		r = oci_spans_parse(w->table.s, w->table.len, &w->spans, err);
	if (r == 0)
		r = write_files(w, w->table.s, w->table.len, err);
	if (r < 0 || w->job->layer->toc.kind != OCI_TOC_ESTARGZ)
		return r;
	data = openat(w->dir, "data", O_RDWR | O_CLOEXEC);
	present = openat(w->dir, "present", O_RDWR | O_CLOEXEC);
	if (data < 0 || present < 0)
		return err_set(err, -errno, "open lazy layer");
	last = oci_spans_count(w->spans) - 1;
	r = oci_spans_inflate(w->spans, last, w->blob, data, err);
	if (r == 0 && (fdatasync(data) < 0 || fdatasync(w->blob) < 0))
		r = err_set(err, -errno, "sync lazy layer");
	if (r == 0)
		r = erofs_presence_open(present, true, &map, err);
	if (r == 0)
		erofs_presence_set(map, last, true);
	return r;
}

/* @desc: NULL, or the bundle. */
static int make_layer(struct import *im, struct lazy_work *w, const struct oci_descriptor *desc,
		      struct err *err)
{
	int r = store_tmp_new(im->store, &w->tmp, err);

	if (r == 0)
		r = store_mkdir(w->tmp.fd, "l", 0700);
	if (r < 0)
		return err_set(err, r, "make a folder in '%s/tmp'", im->store->root);
	w->dir = openat(w->tmp.fd, "l", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	w->index = new_file(w->dir, "index");
	if (w->index < 0)
		return err_set(err, w->index, "make a file in '%s/tmp'", im->store->root);
	w->blob = new_file(w->dir, "blob");
	if (w->blob < 0 || ftruncate(w->blob, (off_t)w->job->layer->desc.size) < 0)
		return err_set(err, w->blob < 0 ? w->blob : -errno, "make 'blob'");
	return desc ? use_bundle(w, desc, err) : use_table(w, err);
}

int lazy_import_layer(struct import *im, const struct import_job *job, struct import_layer *ret,
		      struct err *err)
{
	struct lazy_work w CLEANUP(work_release) = {.job = job,
						    .tmp = STORE_TMP_INIT,
						    .dir = -1,
						    .index = -1,
						    .blob = -1,
						    .table = STRBUF_INIT};
	struct oci_descriptor desc;
	struct err why = ERR_INIT;
	const char *id;
	int r;

	if (digest_algorithm(&job->layer->diff_id) != DIGEST_SHA256)
		r = err_msg(&why, -EOPNOTSUPP, "its diff id is no sha256");
	else if (!job->lazy->doc)
		r = err_msg(&why, -ENOENT,
			    "it has no table of contents, and the image no lazy index");
	else
		r = lazy_manifest_find(job->lazy->doc, &job->layer->desc.digest, &desc, &why);
	if (r == 0)
		r = make_layer(im, &w, &desc, &why);
	else if (r == -ENOENT && job->layer->toc.kind != OCI_TOC_NONE)
		r = make_layer(im, &w, NULL, &why);
	if (r == -ENOSPC || r == -ENOMEM || r == -E2BIG) {
		if (err)
			*err = why;
		return r;
	}
	if (r < 0) {
		(void)snprintf(ret->whole, sizeof(ret->whole), "%.100s%s%.150s", why.where,
			       why.where[0] ? ": " : "", why.msg);
		job->lazy->whole(job->lazy->ctx, &job->layer->desc.digest, ret->whole);
		return 0;
	}
	id = digest_hex(&w.result.tar);
	r = import_place(im, &w.tmp, "l", id, -1, err);
	if (r == 0)
		r = import_rows(im, job->layer, &w.result,
				&(struct import_row){.id = id, .state = "lazy", .kept = true}, err);
	if (r < 0)
		return r;
	memcpy(ret->id, id, 65);
	ret->tar_size = w.result.tar_size;
	ret->is_new = ret->is_lazy = true;
	ret->fetched = w.fetched;
	if (job->progress)
		*job->progress += job->layer->desc.size;
	return 1;
}
