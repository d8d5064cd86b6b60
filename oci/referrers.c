/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "oci/index.h"
#include "oci/media.h"
#include "oci/referrers.h"
#include "oci/registry.h"
#include "oci/source_private.h"

void oci_referrers_tag(const struct digest *subject, char ret[OCI_REFERRERS_TAG_MAX])
{
	char *colon;

	/* distribution specification 1.1, "Referrers Tag Schema" */
	(void)snprintf(ret, OCI_REFERRERS_TAG_MAX, "%.*s", OCI_REFERRERS_TAG_MAX - 1,
		       subject->text);
	colon = strchr(ret, ':');
	if (colon)
		*colon = '-';
	if (strlen(ret) > 128)
		ret[128] = '\0';
}

bool oci_referrers_is_tag(const char *tag)
{
	size_t n = strncmp(tag, "sha256-", 7) == 0 ? 64 : strncmp(tag, "sha512-", 7) == 0 ? 121 : 0;

	return n && strlen(tag) == 7 + n && strspn(tag + 7, "0123456789abcdef") == n;
}

static int get_index(struct registry *r, const char *where, struct strbuf *out, struct err *err)
{
	struct http_answer a cleanup_http_answer = HTTP_ANSWER_INIT;
	char *url cleanup_free = registry_url(r, "%s", where);
	struct http_request req = {
		.method = "GET", .url = url, .accept = OCI_MEDIA_INDEX, .max = JSON_SIZE_MAX};
	int code = url ? registry_request(r, &req, &a, err) : err_set(err, -ENOMEM, "%s", where);

	if (code < 0)
		return code;
	if (a.status != 200)
		return err_msg(err, a.status == 404 ? -ENOENT : -EIO, "%s: HTTP status %u", where,
			       a.status);
	if (a.content_type && strncmp(a.content_type, OCI_MEDIA_INDEX, strlen(OCI_MEDIA_INDEX)))
		return err_msg(err, -ENOENT, "%s is no index", where);
	return strbuf_add(out, a.body.s, a.body.len) < 0 ? err_set(err, -ENOMEM, "%s", where) : 0;
}

int registry_referrers(struct registry *r, const struct digest *subject, struct strbuf *out,
		       struct err *err)
{
	char tag[OCI_REFERRERS_TAG_MAX], where[200];

	(void)snprintf(where, sizeof(where), "referrers/%s", subject->text);
	if (get_index(r, where, out, NULL) == 0)
		return 0;
	oci_referrers_tag(subject, tag);
	(void)snprintf(where, sizeof(where), "manifests/%s", tag);
	return get_index(r, where, out, err);
}

/* The last of the entries: each new one replaces its elders of the type, where we write it. */
static int choose(const char *text, size_t len, const char *type, struct oci_descriptor *ret,
		  struct err *err)
{
	struct json *doc cleanup_json = NULL;
	const struct json *list, *found = NULL;
	int r = json_parse(text, len, &doc, err);

	if (r < 0)
		return err_wrap(err, r, "referrers");
	list = json_get(doc, "manifests");
	for (size_t i = 0; i < json_len(list); i++) {
		const char *t = json_string(json_get(json_at(list, i), "artifactType"));

		if (t && strcmp(t, type) == 0)
			found = json_at(list, i);
	}
	if (!found)
		return err_msg(err, -ENOENT, "nothing of type '%s' refers to it", type);
	r = oci_descriptor_parse(found, "referrer", ret, err);
	if (r == 0 &&
	    (ret->size > JSON_SIZE_MAX || strcmp(ret->media_type, OCI_MEDIA_MANIFEST) != 0))
		r = err_msg(err, -EBADMSG, "referrer %s is no manifest", ret->digest.text);
	return r;
}

/* The text is what the descriptor says, of the type asked for, and means @subject. */
static int check(const struct oci_descriptor *desc, const char *text, const char *type,
		 const struct oci_descriptor *subject, struct err *err)
{
	struct json *doc cleanup_json = NULL;
	struct oci_descriptor of;
	struct digest is;
	const char *t;
	int r = digest_buffer(digest_algorithm(&desc->digest), text, strlen(text), &is);

	if (r < 0)
		return err_set(err, r, "referrer");
	if (!digest_equal(&is, &desc->digest))
		return err_msg(err, -EBADMSG, "referrer %s: digest does not match",
			       desc->digest.text);
	r = json_parse(text, strlen(text), &doc, err);
	if (r == 0)
		r = oci_descriptor_parse(json_get(doc, "subject"), "subject", &of, err);
	if (r < 0)
		return err_wrap(err, r, "referrer %s", desc->digest.text);
	t = json_string(json_get(doc, "artifactType"));
	if (!t || strcmp(t, type) != 0 || !digest_equal(&of.digest, &subject->digest) ||
	    of.size != subject->size)
		return err_msg(err, -EBADMSG, "referrer %s refers to something else",
			       desc->digest.text);
	return 0;
}

int oci_referrers_find(const struct oci_source_ops *ops, void *impl,
		       const struct oci_descriptor *subject, const char *type, char **ret,
		       struct err *err)
{
	struct strbuf index CLEANUP(strbuf_release) = STRBUF_INIT;
	char *text cleanup_free = NULL;
	struct oci_descriptor desc;
	int r;

	if (!ops->referrers)
		return err_msg(err, -ENOENT, "nothing can refer to an image there");
	r = ops->referrers(impl, &subject->digest, &index, err);
	if (r == 0)
		r = choose(index.s, index.len, type, &desc, err);
	if (r == 0)
		r = ops->document(impl, &desc, &text, err);
	if (r == 0)
		r = check(&desc, text, type, subject, err);
	if (r == 0)
		*ret = steal_ptr(&text);
	return r;
}

int oci_referrers_add(const char *old, size_t len, const struct oci_descriptor *desc,
		      const char *type, struct strbuf *out, struct err *err)
{
	struct json *doc cleanup_json = NULL;
	const struct json *list = NULL;
	struct json_writer *w;
	int r = len ? json_parse(old, len, &doc, err) : 0;

	if (r < 0)
		return err_wrap(err, r, "referrers");
	list = json_get(doc, "manifests");
	w = json_writer_new(0);
	json_w_object(w);
	json_w_key(w, "schemaVersion");
	json_w_uint(w, 2);
	json_w_key(w, "mediaType");
	json_w_string(w, OCI_MEDIA_INDEX);
	json_w_key(w, "manifests");
	json_w_array(w);
	for (size_t i = 0; i < json_len(list); i++) {
		const char *t = json_string(json_get(json_at(list, i), "artifactType"));

		if (!t || strcmp(t, type) != 0)
			json_w_value(w, json_at(list, i));
	}
	json_w_object(w);
	json_w_key(w, "mediaType");
	json_w_string(w, desc->media_type);
	json_w_key(w, "digest");
	json_w_string(w, desc->digest.text);
	json_w_key(w, "size");
	json_w_uint(w, desc->size);
	json_w_key(w, "artifactType");
	json_w_string(w, type);
	json_w_end(w);
	json_w_end(w);
	json_w_end(w);
	r = json_writer_finish(w, out);
	return r < 0 ? err_set(err, r, "referrers") : 0;
}
