/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/strbuf.h"
#include "oci/layout.h"
#include "oci/media.h"
#include "oci/quote.h"
#include "oci/reference.h"
#include "oci/referrers.h"
#include "oci/resolve.h"
#include "oci/source_private.h"
#include "oci/tarball.h"

struct layout {
	char *dir, *tag; /* tag may be NULL */
	int fd; /* the folder, or -1 */
	struct oci_tarball *archive; /* or NULL */
	struct digest start; /* of a content store: the manifest or index; else empty */
};

static void layout_close(void *impl)
{
	struct layout *l = impl;

	if (!l)
		return;
	free(l->dir);
	free(l->tag);
	if (l->fd >= 0)
		(void)close(l->fd);
	oci_tarball_close(l->archive);
	free(l);
}
DEFINE_CLEANUP(struct layout *, layout_close)

static int layout_open(const char *rest, const struct oci_remote *remote, void **ret_impl,
		       struct err *err)
{
	struct layout *l CLEANUP(layout_closep) = calloc(1, sizeof(*l));
	int r;

	(void)remote;
	if (!l)
		return err_set(err, -ENOMEM, "open layout");
	l->fd = -1;
	if (*rest == '\0')
		return err_msg(err, -EINVAL, "'oci:' needs a folder: oci:DIR[:TAG]");
	r = oci_layout_split(rest, S_IFDIR, &l->dir, &l->tag);
	if (r < 0)
		return err_set(err, r, "open layout");
	l->fd = open(l->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (l->fd < 0)
		return err_set(err, -errno, "open layout '%s'", l->dir);
	r = oci_layout_check_dir(l->fd, l->dir, err);
	if (r < 0)
		return r;
	*ret_impl = steal_ptr(&l);
	return 0;
}

static int archive_open(const char *rest, const struct oci_remote *remote, void **ret_impl,
			struct err *err)
{
	struct layout *l CLEANUP(layout_closep) = calloc(1, sizeof(*l));
	char *text cleanup_free = NULL;
	size_t len;
	int r;

	(void)remote;
	if (!l)
		return err_set(err, -ENOMEM, "open archive");
	l->fd = -1;
	if (*rest == '\0')
		return err_msg(err, -EINVAL, "'oci-archive:' needs a file: oci-archive:FILE[:TAG]");
	r = oci_layout_split(rest, S_IFREG, &l->dir, &l->tag);
	if (r < 0)
		return err_set(err, r, "open archive");
	r = oci_tarball_open(l->dir, &l->archive, err);
	if (r < 0)
		return r;
	r = oci_tarball_read(l->archive, "oci-layout", OCI_LAYOUT_MARKER_MAX, &text, &len, err);
	if (r == -ENOENT)
		return err_msg(err, r, "'%s' is no OCI archive: it has no 'oci-layout'", l->dir);
	if (r == 0)
		r = oci_layout_check(text, len, l->dir, err);
	if (r < 0)
		return r;
	*ret_impl = steal_ptr(&l);
	return 0;
}

/* What is at its start, a fd that stands there: of a folder's file, or inside the archive. */
static int open_blob(const struct layout *l, const struct oci_descriptor *desc, int *ret_fd,
		     struct err *err)
{
	char path[OCI_BLOB_PATH_MAX + 1];
	uint64_t size;
	int r;

	if (!l->archive)
		return oci_layout_open_blob(l->fd, l->dir, desc, ret_fd, err);
	oci_layout_blob_path(&desc->digest, path);
	r = oci_tarball_size(l->archive, path, &size);
	if (r == -ENOENT && oci_media_of(desc->media_type).kind == OCI_KIND_FOREIGN)
		return err_msg(err, r,
			       "layer %s is not distributed with the image ('%s'), and not in '%s'",
			       desc->digest.text, desc->media_type, l->dir);
	if (r == -ENOENT)
		return err_msg(err, r, "blob %s is missing in '%s'", desc->digest.text, l->dir);
	if (r == 0 && size != desc->size)
		return err_msg(err, -EBADMSG, "blob %s: size is %" PRIu64 ", it should be %" PRIu64,
			       desc->digest.text, size, desc->size);
	return oci_tarball_open_member(l->archive, path, ret_fd, err);
}

static int layout_fetch(void *ctx, const struct oci_descriptor *desc, char **ret, struct err *err)
{
	struct layout *l = ctx;
	char *text cleanup_free = NULL;
	int fd cleanup_close = -1;
	int r = open_blob(l, desc, &fd, err);

	if (r < 0)
		return r;
	text = malloc((size_t)desc->size + 1);
	if (!text)
		return err_set(err, -ENOMEM, "read %s", desc->digest.text);
	r = io_read_full(fd, text, (size_t)desc->size);
	if (r < 0)
		return err_set(err, r, "read blob %s in '%s'", desc->digest.text, l->dir);
	text[desc->size] = '\0';
	*ret = steal_ptr(&text);
	return 0;
}

/* Does @e carry @tag: 2 = as its own name, 1 = as the tag of a full reference, 0 = no. */
static int entry_has_tag(const struct oci_index_entry *e, const char *tag)
{
	char own[OCI_TAG_MAX + 1];

	if (e->ref_name && strcmp(e->ref_name, tag) == 0)
		return 2;
	if (e->ref_name && oci_reference_tag(e->ref_name, own) && strcmp(own, tag) == 0)
		return 1;
	if (!e->ref_name && e->image_name && oci_reference_tag(e->image_name, own) &&
	    strcmp(own, tag) == 0)
		return 1;
	return 0;
}

/* "a, b, c, ..." of the tags there are. */
static void hint_tags(const struct oci_index *index, struct err *err)
{
	struct strbuf list CLEANUP(strbuf_release) = STRBUF_INIT;
	struct oci_quoted q;
	int r = 0;

	for (size_t i = 0; i < index->n && r == 0; i++) {
		const struct oci_index_entry *e = &index->entries[i];

		if (!e->is_image || !e->ref_name || oci_referrers_is_tag(e->ref_name))
			continue;
		if (list.len > 120) {
			r = strbuf_adds(&list, ", ...");
			break;
		}
		r = strbuf_addf(&list, "%s%s", list.len ? ", " : "", oci_quote(&q, e->ref_name));
	}
	if (r == 0 && list.len)
		err_hint(err, "there is: %s", list.s);
	else
		err_hint(err, "no image in it has a tag");
}

static bool same_digest(const struct oci_index_entry *a, const struct oci_index_entry *b)
{
	const char *x = json_string(json_get(a->v, "digest"));
	const char *y = json_string(json_get(b->v, "digest"));

	return x && y && strcmp(x, y) == 0;
}

static int find_tag(const struct layout *l, const struct oci_index *index,
		    const struct oci_index_entry **ret, struct err *err)
{
	const struct oci_index_entry *found = NULL;
	int found_how = 0;

	for (size_t i = 0; i < index->n; i++) {
		const struct oci_index_entry *e = &index->entries[i];
		int how = entry_has_tag(e, l->tag);

		if (how == 0 || how < found_how)
			continue;
		if (how == found_how && !same_digest(found, e))
			return err_msg(err, -EBADMSG, "'%s' has more than one image named '%s'",
				       l->dir, l->tag);
		found = e;
		found_how = how;
	}
	if (!found) {
		(void)err_msg(err, -ENOENT, "'%s' has no image with tag '%s'", l->dir, l->tag);
		hint_tags(index, err);
		return -ENOENT;
	}
	*ret = found;
	return 0;
}

/* Without a tag: the only image there is, be it under several names or for several platforms. */
static int find_only(const struct layout *l, const struct oci_index *index,
		     const struct oci_platform *platform, const struct oci_index_entry **ret,
		     struct err *err)
{
	const struct oci_index_entry *found = NULL;
	bool several = false, named = false;

	for (size_t i = 0; i < index->n; i++) {
		const struct oci_index_entry *e = &index->entries[i];

		if (!e->is_image || (e->ref_name && oci_referrers_is_tag(e->ref_name)))
			continue;
		named = named || e->ref_name || e->image_name;
		if (!found)
			found = e;
		else if (!same_digest(found, e))
			several = true;
	}
	if (!found)
		return err_msg(err, -ENOENT, "'%s' has no image", l->dir);
	if (several && !named)
		return oci_index_choose(index, platform, ret, err);
	if (several) {
		(void)err_msg(err, -EINVAL, "'%s' has several images: a tag is needed", l->dir);
		hint_tags(index, err);
		return -EINVAL;
	}
	*ret = found;
	return 0;
}

static char *layout_ref(const struct layout *l, const struct oci_index_entry *e)
{
	const char *tag = l->tag, *name;
	char *full cleanup_free = NULL, *copy cleanup_free = NULL;
	size_t n;

	if (e->image_name && oci_reference_is_full(e->image_name))
		return strdup(e->image_name);
	if (e->ref_name && oci_reference_is_full(e->ref_name))
		return strdup(e->ref_name);
	if (!tag)
		tag = e->ref_name && oci_tag_is_valid(e->ref_name) ? e->ref_name : "latest";
	copy = strdup(l->dir);
	if (!copy)
		return NULL;
	for (n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--)
		copy[n - 1] = '\0';
	name = strrchr(copy, '/');
	name = name ? name + 1 : copy;
	/* ".", ".." and "/" name a folder only once it is known where they are */
	if (strspn(name, ".") == strlen(name)) {
		full = realpath(copy, NULL);
		name = full ? strrchr(full, '/') + 1 : "";
	}
	return oci_reference_for_folder(name, tag);
}

static int read_index(const struct layout *l, char **ret, size_t *ret_len, struct err *err)
{
	int r;

	if (l->archive) {
		r = oci_tarball_read(l->archive, "index.json", JSON_SIZE_MAX, ret, ret_len, err);
		return r == -ENOENT ? err_msg(err, r, "'%s' has no 'index.json'", l->dir) : r;
	}
	r = io_read_file(l->fd, "index.json", JSON_SIZE_MAX, ret, ret_len);
	if (r == -EFBIG)
		return err_msg(err, -EBADMSG, "'%s/index.json' has more than %u bytes", l->dir,
			       JSON_SIZE_MAX);
	return r < 0 ? err_set(err, r, "read '%s/index.json'", l->dir) : 0;
}

static int layout_image(void *impl, const struct oci_platform *platform, struct oci_image **ret,
			char **ret_ref, struct err *err)
{
	struct layout *l = impl;
	struct oci_index index cleanup_oci_index = OCI_INDEX_INIT;
	struct oci_image *image cleanup_oci_image = NULL;
	struct oci_fetcher fetcher = {.fetch = layout_fetch, .ctx = l};
	const struct oci_index_entry *entry;
	struct oci_descriptor desc;
	char *text cleanup_free = NULL, *ref;
	size_t len;
	int r = read_index(l, &text, &len, err);

	if (r < 0)
		return r;
	r = oci_index_parse(text, len, NULL, &index, err);
	if (r == 0)
		r = l->tag ? find_tag(l, &index, &entry, err)
			   : find_only(l, &index, platform, &entry, err);
	if (r < 0)
		return r;
	r = oci_descriptor_parse(entry->v, "entry of index.json", &desc, err);
	if (r == 0)
		r = oci_resolve(&fetcher, &desc, platform, &image, err);
	if (r < 0)
		return err_wrap(err, r, "'%s'", l->dir);
	ref = layout_ref(l, entry);
	if (!ref)
		return err_set(err, -ENOMEM, "name of the image");
	*ret_ref = ref;
	*ret = steal_ptr(&image);
	return 0;
}

static int layout_blob(void *impl, const struct oci_descriptor *desc, struct oci_blob *ret,
		       struct err *err)
{
	struct layout *l = impl;

	ret->bounded = l->archive != NULL;
	return open_blob(l, desc, &ret->fd, err);
}

/* The index that the tag of the schema names. */
static int layout_referrers(void *impl, const struct digest *subject, struct strbuf *out,
			    struct err *err)
{
	struct layout *l = impl;
	struct oci_index index cleanup_oci_index = OCI_INDEX_INIT;
	char tag[OCI_REFERRERS_TAG_MAX];
	char *text cleanup_free = NULL, *list cleanup_free = NULL;
	struct oci_descriptor desc;
	size_t len;
	int r = read_index(l, &text, &len, err);

	if (r == 0)
		r = oci_index_parse(text, len, NULL, &index, err);
	oci_referrers_tag(subject, tag);
	for (size_t i = 0; r == 0 && i < index.n && !list; i++) {
		const struct oci_index_entry *e = &index.entries[i];

		if (!e->ref_name || strcmp(e->ref_name, tag) != 0)
			continue;
		r = oci_descriptor_parse(e->v, "entry of index.json", &desc, err);
		if (r == 0 && desc.size > JSON_SIZE_MAX)
			r = err_msg(err, -EBADMSG, "the list of referrers is too long");
		if (r == 0)
			r = layout_fetch(l, &desc, &list, err);
	}
	if (r == 0 && !list)
		r = err_msg(err, -ENOENT, "'%s' has no tag '%s'", l->dir, tag);
	if (r == 0 && strbuf_adds(out, list) < 0)
		r = err_set(err, -ENOMEM, "referrers");
	return r;
}

static int layout_document(void *impl, const struct oci_descriptor *desc, char **ret,
			   struct err *err)
{
	return layout_fetch(impl, desc, ret, err);
}

const struct oci_source_ops oci_source_layout = {
	.name = "oci",
	.open = layout_open,
	.close = layout_close,
	.image = layout_image,
	.blob = layout_blob,
	.referrers = layout_referrers,
	.document = layout_document,
};

const struct oci_source_ops oci_source_archive = {
	.name = "oci-archive",
	.open = archive_open,
	.close = layout_close,
	.image = layout_image,
	.blob = layout_blob,
	.referrers = layout_referrers,
	.document = layout_document,
};

/* containerd's content store is blobs/ALGORITHM/HEX as a layout has them, and no index. */
static int content_open(const char *rest, const struct oci_remote *remote, void **ret_impl,
			struct err *err)
{
	struct layout *l CLEANUP(layout_closep) = calloc(1, sizeof(*l));
	const char *at = strrchr(rest, '@');

	(void)remote;
	if (!l)
		return err_set(err, -ENOMEM, "open content store");
	l->fd = -1;
	if (!at || at == rest || digest_parse(at + 1, &l->start) < 0)
		return err_msg(err, -EINVAL,
			       "'containerd:' needs a folder and a digest: containerd:DIR@DIGEST");
	l->dir = strndup(rest, (size_t)(at - rest));
	if (!l->dir)
		return err_set(err, -ENOMEM, "open content store");
	l->fd = open(l->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (l->fd < 0)
		return err_set(err, -errno, "open content store '%s'", l->dir);
	*ret_impl = steal_ptr(&l);
	return 0;
}

/* What only an index, or the document itself, says of a blob. */
static int content_describe(const struct layout *l, struct oci_descriptor *ret, struct err *err)
{
	struct json *doc cleanup_json = NULL;
	char path[OCI_BLOB_PATH_MAX + 1];
	char *text cleanup_free = NULL;
	struct digest real;
	const char *type;
	size_t len;
	int r;

	oci_layout_blob_path(&l->start, path);
	r = io_read_file(l->fd, path, JSON_SIZE_MAX, &text, &len);
	if (r == -ENOENT)
		return err_msg(err, r, "blob %s is missing in '%s'", l->start.text, l->dir);
	if (r < 0)
		return err_set(err, r, "read '%s/%s'", l->dir, path);
	r = digest_buffer(digest_algorithm(&l->start), text, len, &real);
	if (r == 0 && !digest_equal(&real, &l->start))
		return err_msg(err, -EBADMSG, "'%s/%s' is not what its name says", l->dir, path);
	r = r < 0 ? err_set(err, r, "hash") : json_parse(text, len, &doc, err);
	if (r < 0)
		return err_wrap(err, r, "'%s/%s'", l->dir, path);
	type = json_string(json_get(doc, "mediaType"));
	if (!type)
		type = json_get(doc, "manifests") ? OCI_MEDIA_INDEX : OCI_MEDIA_MANIFEST;
	ret->digest = l->start;
	ret->size = len;
	(void)snprintf(ret->media_type, sizeof(ret->media_type), "%s", type);
	return 0;
}

static int content_image(void *impl, const struct oci_platform *platform, struct oci_image **ret,
			 char **ret_ref, struct err *err)
{
	struct layout *l = impl;
	struct oci_image *image cleanup_oci_image = NULL;
	struct oci_fetcher fetcher = {.fetch = layout_fetch, .ctx = l};
	struct oci_descriptor desc = {.size = 0};
	int r = content_describe(l, &desc, err);

	if (r == 0)
		r = oci_resolve(&fetcher, &desc, platform, &image, err);
	if (r < 0)
		return err_wrap(err, r, "'%s'", l->dir);
	*ret_ref = oci_reference_for_folder("containerd", "latest");
	if (!*ret_ref)
		return err_set(err, -ENOMEM, "name of the image");
	*ret = steal_ptr(&image);
	return 0;
}

const struct oci_source_ops oci_source_content = {
	.name = "containerd",
	.open = content_open,
	.close = layout_close,
	.image = content_image,
	.blob = layout_blob,
	.document = layout_document,
};
