/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/resolve.h"

#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/strbuf.h"
#include "oci/media.h"
#include "oci/quote.h"

int oci_fetch_verified(const struct oci_fetcher *f, const struct oci_descriptor *desc, char **ret,
		       struct err *err)
{
	char *text cleanup_free = NULL;
	struct digest got;
	int r;

	if (desc->size > JSON_SIZE_MAX)
		return err_msg(err, -EBADMSG, "document %s of %" PRIu64 " bytes: the limit is %u",
			       desc->digest.text, desc->size, JSON_SIZE_MAX);
	r = f->fetch(f->ctx, desc, &text, err);
	if (r < 0)
		return r;
	r = digest_buffer(digest_algorithm(&desc->digest), text, (size_t)desc->size, &got);
	if (r < 0)
		return err_set(err, r, "digest of %s", desc->digest.text);
	if (!digest_equal(&got, &desc->digest))
		return err_msg(err, -EBADMSG, "document %s: digest does not match (it is %s)",
			       desc->digest.text, got.text);
	*ret = steal_ptr(&text);
	return 0;
}

static int no_platform(const struct oci_index *index, const struct oci_platform *want,
		       struct err *err)
{
	struct strbuf list CLEANUP(strbuf_release) = STRBUF_INIT;
	char text[OCI_PLATFORM_TEXT_MAX];
	int r = 0;

	for (size_t i = 0; i < index->n && r == 0 && list.len < 150; i++) {
		const struct oci_index_entry *e = &index->entries[i];

		if (e->is_image && e->has_platform)
			r = strbuf_addf(&list, "%s%s", list.len ? ", " : "",
					oci_platform_format(&e->platform, text, sizeof(text)));
	}
	(void)err_msg(err, -ENOENT, "no image for platform %s",
		      oci_platform_format(want, text, sizeof(text)));
	if (r == 0 && list.len)
		err_hint(err, "there is: %s (--platform)", list.s);
	return -ENOENT;
}

int oci_index_choose(const struct oci_index *index, const struct oci_platform *platform,
		     const struct oci_index_entry **ret, struct err *err)
{
	const struct oci_index_entry *best = NULL, *untold = NULL;
	unsigned int best_rank = 0;
	size_t n_untold = 0;

	for (size_t i = 0; i < index->n; i++) {
		const struct oci_index_entry *e = &index->entries[i];
		unsigned int rank;

		if (!e->is_image)
			continue;
		if (!e->has_platform) {
			untold = e;
			n_untold++;
			continue;
		}
		rank = oci_platform_rank(platform, &e->platform);
		/* the first of equals: "the client SHOULD use the first matching entry" */
		if (rank > best_rank) {
			best_rank = rank;
			best = e;
		}
	}
	/* one without a platform may still be it: its config will say */
	if (!best && n_untold == 1)
		best = untold;
	if (!best)
		return no_platform(index, platform, err);
	*ret = best;
	return 0;
}

int oci_image_check_platform(const struct oci_image *image, const struct oci_platform *platform,
			     struct err *err)
{
	char have[OCI_PLATFORM_TEXT_MAX], want[OCI_PLATFORM_TEXT_MAX];

	if (!image->platform.os[0] || !image->platform.architecture[0] ||
	    oci_platform_rank(platform, &image->platform) > 0)
		return 0;
	oci_platform_format(&image->platform, have, sizeof(have));
	(void)err_msg(err, -ENOENT, "the image is for platform %s, not for %s", have,
		      oci_platform_format(platform, want, sizeof(want)));
	err_hint(err, "--platform %s takes it as it is", have);
	return -ENOENT;
}

static int read_manifest(const struct oci_fetcher *f, const struct oci_descriptor *desc,
			 const struct oci_platform *platform, struct oci_image **ret,
			 struct err *err)
{
	struct oci_image *image cleanup_oci_image = NULL;
	char *manifest cleanup_free = NULL, *config cleanup_free = NULL;
	struct oci_descriptor config_desc;
	int r = oci_fetch_verified(f, desc, &manifest, err);

	if (r < 0)
		return r;
	r = oci_manifest_config(manifest, (size_t)desc->size, &config_desc, err);
	if (r == 0)
		r = oci_fetch_verified(f, &config_desc, &config, err);
	if (r == 0)
		r = oci_image_parse(desc, manifest, (size_t)desc->size, config,
				    (size_t)config_desc.size, &image, err);
	if (r < 0)
		return err_wrap(err, r, "manifest %s", desc->digest.text);
	r = oci_image_check_platform(image, platform, err);
	if (r < 0)
		return r;
	*ret = steal_ptr(&image);
	return 0;
}

int oci_resolve(const struct oci_fetcher *f, const struct oci_descriptor *start,
		const struct oci_platform *platform, struct oci_image **ret, struct err *err)
{
	struct oci_descriptor desc = *start;
	struct oci_quoted q;

	for (unsigned int depth = 0;; depth++) {
		struct oci_index index cleanup_oci_index = OCI_INDEX_INIT;
		enum oci_media_kind kind = oci_media_of(desc.media_type).kind;
		const struct oci_index_entry *entry;
		char *text cleanup_free = NULL;
		int r;

		if (kind == OCI_KIND_MANIFEST)
			return read_manifest(f, &desc, platform, ret, err);
		if (kind != OCI_KIND_INDEX)
			return err_msg(err, -EBADMSG, "%s is no image: media type %s",
				       desc.digest.text, oci_quote(&q, desc.media_type));
		if (depth == OCI_INDEX_DEPTH_MAX)
			return err_msg(err, -EBADMSG, "indexes nested more than %d deep",
				       OCI_INDEX_DEPTH_MAX);
		r = oci_fetch_verified(f, &desc, &text, err);
		if (r == 0)
			r = oci_index_parse(text, (size_t)desc.size, desc.media_type, &index, err);
		if (r == 0)
			r = oci_index_choose(&index, platform, &entry, err);
		if (r == 0)
			r = oci_descriptor_parse(entry->v, "entry of the index", &desc, err);
		if (r < 0)
			return err_wrap(err, r, "index %s", desc.digest.text);
	}
}
