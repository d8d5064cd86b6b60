/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "oci/build.h"
#include "snapshotter/diff_private.h"
#include "snapshotter/import.h"

/* commit --image: layers of the directories between the base image and the snapshot, bottom up. */
struct commit {
	struct snap_store *store;
	const struct snap_commit_options *opt;
	struct snap_stack stack;
	struct import im;
	struct store_tmp tmp;
	struct oci_image *image; /* as far as it is made; NULL: nothing yet */
	struct import_layer *layers; /* of ->image */
	size_t n_layers;
	int64_t created;
	struct snap_commit_result result;
};

static int add_layer(struct commit *c, const struct import_layer *layer, struct err *err)
{
	struct import_layer *p = reallocarray(c->layers, c->n_layers + 1, sizeof(*p));

	if (!p)
		return err_set(err, -ENOMEM, "layers");
	c->layers = p;
	p[c->n_layers++] = *layer;
	return 0;
}

static int load_base(struct commit *c, struct err *err)
{
	struct snap_layer_info *infos cleanup_free = NULL;
	struct digest manifest;
	size_t n = 0;
	int r;

	if (!c->stack.manifest[0])
		return 0;
	if (digest_parse(c->stack.manifest, &manifest) < 0)
		return err_msg(err, -EUCLEAN, "a snapshot's row is damaged");
	r = snap_image_load(c->store, &manifest, &c->image, err);
	if (r == 0)
		r = snap_image_layers(c->store, &manifest, &infos, &n, err);
	if (r == 0 && n != c->image->n_layers)
		r = err_msg(err, -EUCLEAN, "the base image's rows are incomplete");
	for (size_t i = 0; i < n && r == 0; i++) {
		struct import_layer l = {.tar_size = infos[i].tar_size};

		memcpy(l.id, infos[i].id, sizeof(l.id));
		r = add_layer(c, &l, err);
	}
	return r;
}

static int write_layer(struct commit *c, const struct ovl_config *config, const char *name,
		       struct oci_layer_ref *ret, uint64_t *ret_events, struct err *err)
{
	int fd cleanup_close =
		openat(c->tmp.fd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int r = fd < 0 ? err_set(err, -errno, "make a file in '%s/tmp'", c->store->root)
		       : diff_write(config, fd, &c->opt->layer, ret, ret_events, err);

	if (r == 0 && fsync(fd) < 0)
		r = err_set(err, -errno, "sync the new layer");
	return r;
}

static int check_again(struct commit *c, const struct ovl_config *config,
		       const struct oci_layer_ref *first, struct err *err)
{
	struct oci_layer_ref second;
	uint64_t events;
	int r = write_layer(c, config, "check", &second, &events, err);

	if (r == 0 && !digest_equal(&first->desc.digest, &second.desc.digest)) {
		r = err_msg(err, -EAGAIN, "made twice, the layer differs: %s and %s",
			    first->desc.digest.text, second.desc.digest.text);
		err_hint(err, "something writes to the snapshot, or its times are in the future: "
			      "give --timestamp");
	}
	return r;
}

static int build(struct commit *c, const struct oci_layer_ref *ref, const char *created_by,
		 bool last, struct err *err)
{
	struct oci_build b = {
		.base = c->image,
		.layer = ref,
		.created = c->created,
		.author = c->opt->author,
		.created_by = created_by,
	};
	struct oci_image *image;
	int r = oci_platform_parse(NULL, &b.platform, err);

	if (last) {
		b.message = c->opt->message;
		b.changes = c->opt->changes;
		b.n_changes = c->opt->n_changes;
	}
	if (r == 0)
		r = oci_build_image(&b, &image, err);
	if (r < 0)
		return r;
	oci_image_free(c->image);
	c->image = image;
	return 0;
}

/* What changed nothing has no layer, and a line in the history if there is anything to say. */
static int without_layer(struct commit *c, const char *created_by, bool last, struct err *err)
{
	const struct snap_commit_options *o = c->opt;
	bool said = created_by || (last && (o->n_changes || o->message || o->author));

	return said || (last && c->result.new_layers == 0) ? build(c, NULL, created_by, last, err)
							   : 0;
}

/* One directory's changes become a layer. */
static int commit_dir(struct commit *c, int64_t id, size_t first_lower, bool last, struct err *err)
{
	char *label cleanup_free = NULL;
	const char *created_by = last ? c->opt->created_by : NULL;
	struct ovl_config config CLEANUP(ovl_config_release) = OVL_CONFIG_INIT;
	struct import_layer layer;
	struct oci_layer_ref ref;
	uint64_t events = 0;
	int r = snap_stack_config(c->store, &c->stack, first_lower, id, &config, err);

	if (r == 0)
		r = write_layer(c, &config, "layer", &ref, &events, err);
	if (r == 0 && c->opt->check)
		r = check_again(c, &config, &ref, err);
	if (r < 0)
		return r;
	if (!created_by) {
		r = snap_label_get(c->store, id, SNAP_LABEL_CREATED_BY, &label, err);
		created_by = label;
	}
	if (r < 0 || events == 0)
		return r < 0 ? r : without_layer(c, created_by, last, err);
	r = import_layer(&c->im,
			 &(struct import_job){.layer = &ref,
					      .own = &c->tmp,
					      .own_name = "layer",
					      .level = c->opt->layer.level},
			 &layer, err);
	if (r == 0)
		r = add_layer(c, &layer, err);
	if (r == 0)
		r = build(c, &ref, created_by, last, err);
	if (r == 0) {
		c->result.new_layers++;
		c->result.new_bytes += ref.desc.size;
	}
	return r;
}

static int make(struct commit *c, const struct snap_row *row, const char *ref, struct err *err)
{
	int r = snap_stack_load(c->store, row, &c->stack, err);

	if (r == 0)
		r = load_base(c, err);
	if (r == 0)
		r = diff_flush_mount(c->store, row->id, err);
	for (size_t i = c->stack.n_dirs; i > 0 && r == 0; i--)
		r = commit_dir(c, c->stack.dirs[i - 1], i, false, err);
	if (r == 0)
		r = commit_dir(c, row->id, 0, true, err);
	if (r == 0)
		r = import_image(&c->im, c->image, c->layers, ref, err);
	if (r == 0) {
		c->result.manifest = c->image->manifest_desc.digest;
		c->result.layers = c->image->n_layers;
	}
	return r;
}

int snap_commit_image(struct snap_store *store, const char *ref, const char *key,
		      const struct snap_commit_options *opt, struct snap_commit_result *ret,
		      struct err *err)
{
	struct commit c = {.store = store, .opt = opt, .tmp = STORE_TMP_INIT};
	struct snap_row row;
	int r = snap_row_find(store, key, &row, err);

	if (r == 0 && row.kind != SNAP_ACTIVE)
		r = err_msg(err, -EBUSY, "snapshot '%s' is not active, it is %s", key,
			    snap_kind_name(row.kind));
	c.created = opt->layer.has_timestamp ? opt->layer.timestamp : (int64_t)time(NULL);
	if (r == 0)
		r = import_begin(store, &c.im, err);
	c.im.no_blobs = opt->no_blobs;
	if (r == 0)
		r = store_tmp_new(store, &c.tmp, err);
	if (r == 0)
		r = make(&c, &row, ref, err);
	store_tmp_release(&c.tmp);
	import_end(&c.im);
	snap_stack_release(&c.stack);
	oci_image_free(c.image);
	free(c.layers);
	if (r < 0)
		return err_wrap(err, r, "commit '%s' as image '%s'", key, ref);
	*ret = c.result;
	return 0;
}
