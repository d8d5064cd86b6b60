/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "oci/media.h"
#include "oci/quote.h"

#define REF_NAME   "org.opencontainers.image.ref.name"
#define IMAGE_NAME "io.containerd.image.name"

static int entry_parse(const struct json *v, struct oci_index_entry *e, struct err *err)
{
	const struct json *annotations = json_get(v, "annotations");
	const struct json *platform = json_get(v, "platform");
	enum oci_media_kind kind;
	int r;

	if (json_type(v) != JSON_OBJECT)
		return err_msg(err, -EBADMSG, "an entry of the index is no object");
	e->v = v;
	e->media_type = json_string(json_get(v, "mediaType"));
	if (!e->media_type)
		e->media_type = "";
	kind = oci_media_of(e->media_type).kind;
	e->is_image = kind == OCI_KIND_MANIFEST || kind == OCI_KIND_INDEX;
	e->ref_name = json_string(json_get(annotations, REF_NAME));
	e->image_name = json_string(json_get(annotations, IMAGE_NAME));
	if (json_type(platform) != JSON_OBJECT)
		return 0;
	r = oci_platform_read(platform, &e->platform, err);
	if (r < 0)
		return r;
	e->has_platform = e->platform.os[0] && e->platform.architecture[0];
	/* what buildkit puts beside the images: provenance, bills of material */
	if (strcmp(e->platform.os, "unknown") == 0 &&
	    strcmp(e->platform.architecture, "unknown") == 0)
		e->is_image = false;
	return 0;
}

int oci_index_parse(const char *text, size_t len, const char *media_type, struct oci_index *ret,
		    struct err *err)
{
	struct oci_index index cleanup_oci_index = OCI_INDEX_INIT;
	const struct json *manifests, *type;
	struct oci_quoted q;
	int64_t version;
	int r = json_parse(text, len, &index.doc, err);

	if (r < 0)
		return err_wrap(err, r, "index");
	if (json_type(index.doc) != JSON_OBJECT)
		return err_msg(err, -EBADMSG, "the index is no object");
	if (json_int(json_get(index.doc, "schemaVersion"), &version) < 0 || version != 2)
		return err_msg(err, -EBADMSG, "the index's schemaVersion is not 2");
	type = json_get(index.doc, "mediaType");
	if (type && (!json_string(type) ||
		     (media_type ? strcmp(json_string(type), media_type) != 0
				 : oci_media_of(json_string(type)).kind != OCI_KIND_INDEX)))
		return err_msg(err, -EBADMSG, "the index says it is %s, its descriptor says '%s'",
			       oci_quote(&q, json_string(type)),
			       media_type ? media_type : OCI_MEDIA_INDEX);
	/* a document that can be read as two kinds is what CVE-2021-41190 is about */
	if (json_get(index.doc, "layers") || json_get(index.doc, "config"))
		return err_msg(err, -EBADMSG, "the index has 'layers' as well as 'manifests'");
	manifests = json_get(index.doc, "manifests");
	if (json_type(manifests) != JSON_ARRAY &&
	    !(json_get(index.doc, "manifests") && json_type(manifests) == JSON_NULL))
		return err_msg(err, -EBADMSG, "the index has no 'manifests'");
	if (json_len(manifests) > 0) {
		index.entries = calloc(json_len(manifests), sizeof(*index.entries));
		if (!index.entries)
			return err_set(err, -ENOMEM, "read the index");
	}
	for (index.n = 0; index.n < json_len(manifests); index.n++) {
		r = entry_parse(json_at(manifests, index.n), &index.entries[index.n], err);
		if (r < 0)
			return r;
	}
	*ret = index;
	index = (struct oci_index)OCI_INDEX_INIT;
	return 0;
}

void oci_index_release(struct oci_index *index)
{
	json_free(index->doc);
	free(index->entries);
	index->doc = NULL;
	index->entries = NULL;
	index->n = 0;
}
