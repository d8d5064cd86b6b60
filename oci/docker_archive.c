/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/docker_archive.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/strbuf.h"
#include "oci/quote.h"

#define IMAGES_MAX 1024
#define TAGS_MAX   1024

static bool all_strings(const struct json *list)
{
	for (size_t i = 0; i < json_len(list); i++) {
		if (!json_string(json_at(list, i)))
			return false;
	}
	return true;
}

static int entry_parse(const struct json *v, struct oci_docker_entry *ret, struct err *err)
{
	ret->config = json_string(json_get(v, "Config"));
	ret->tags = json_get(v, "RepoTags");
	ret->layers = json_get(v, "Layers");
	if (!ret->config)
		return err_msg(err, -EBADMSG, "manifest.json: an image without 'Config'");
	/* Go writes null for an empty list */
	if ((json_type(ret->layers) != JSON_ARRAY && json_type(ret->layers) != JSON_NULL) ||
	    (json_type(ret->tags) != JSON_ARRAY && json_type(ret->tags) != JSON_NULL) ||
	    !all_strings(ret->layers) || !all_strings(ret->tags))
		return err_msg(err, -EBADMSG, "manifest.json: no lists of names");
	if (json_len(ret->layers) > OCI_LAYERS_MAX)
		return err_msg(err, -EBADMSG, "%zu layers: at most %d are allowed",
			       json_len(ret->layers), OCI_LAYERS_MAX);
	if (json_len(ret->tags) > TAGS_MAX)
		return err_msg(err, -EBADMSG, "manifest.json: more than %d tags", TAGS_MAX);
	return 0;
}

static bool tag_is(const char *tag, const char *want)
{
	static const char *const implied[] = {"docker.io/library/", "docker.io/"};
	const char *colon = strrchr(tag, ':'), *slash = strrchr(tag, '/');

	if (strcmp(tag, want) == 0)
		return true;
	for (size_t i = 0; i < sizeof(implied) / sizeof(implied[0]); i++) {
		size_t n = strlen(implied[i]);

		if (strncmp(tag, implied[i], n) == 0 && strcmp(tag + n, want) == 0)
			return true;
		if (strncmp(want, implied[i], n) == 0 && strcmp(want + n, tag) == 0)
			return true;
	}
	return colon && (!slash || colon > slash) && strcmp(colon + 1, want) == 0;
}

static bool entry_is(const struct oci_docker_entry *e, const char *want)
{
	if (!want)
		return true;
	for (size_t i = 0; i < json_len(e->tags); i++) {
		if (tag_is(json_string(json_at(e->tags, i)), want))
			return true;
	}
	return false;
}

static void hint_tags(const struct json *doc, struct err *err)
{
	struct strbuf list CLEANUP(strbuf_release) = STRBUF_INIT;
	struct oci_quoted q;
	int r = 0;

	for (size_t i = 0; r == 0 && i < json_len(doc); i++) {
		const struct json *tags = json_get(json_at(doc, i), "RepoTags");

		for (size_t k = 0; r == 0 && k < json_len(tags) && list.len < 120; k++)
			r = strbuf_addf(&list, "%s%s", list.len ? ", " : "",
					oci_quote(&q, json_string(json_at(tags, k))));
	}
	if (r == 0 && list.len)
		err_hint(err, "there is: %s", list.s);
	else
		err_hint(err, "no image in it has a tag");
}

int oci_docker_entry_find(const struct json *doc, const char *want, struct oci_docker_entry *ret,
			  struct err *err)
{
	struct oci_docker_entry found = {.config = NULL};
	size_t n = 0;
	struct oci_quoted q;

	if (json_type(doc) != JSON_ARRAY || json_len(doc) == 0)
		return err_msg(err, -EBADMSG, "manifest.json is no list of images");
	if (json_len(doc) > IMAGES_MAX)
		return err_msg(err, -EBADMSG, "manifest.json: more than %d images", IMAGES_MAX);
	for (size_t i = 0; i < json_len(doc); i++) {
		struct oci_docker_entry e;
		int r = entry_parse(json_at(doc, i), &e, err);

		if (r < 0)
			return r;
		if (!entry_is(&e, want))
			continue;
		found = e;
		n++;
	}
	if (n == 1) {
		*ret = found;
		return 0;
	}
	if (n == 0)
		(void)err_msg(err, -ENOENT, "no image is tagged %s", oci_quote(&q, want));
	else if (want)
		(void)err_msg(err, -EINVAL, "several images are tagged %s", oci_quote(&q, want));
	else
		(void)err_msg(err, -EINVAL, "several images: a tag is needed");
	hint_tags(doc, err);
	return n == 0 ? -ENOENT : -EINVAL;
}
