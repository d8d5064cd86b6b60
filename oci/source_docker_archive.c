/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/strbuf.h"
#include "oci/docker_archive.h"
#include "oci/media.h"
#include "oci/quote.h"
#include "oci/reference.h"
#include "oci/resolve.h"
#include "oci/source_private.h"
#include "oci/tarball.h"

#define HASH_CHUNK (1u << 18)

/*
 * `docker save` and `podman save`: no manifest with digests is inside, only names, so one is made
 * of what is there, of OCI's media types, because readers of layouts know no others. Layers are
 * mostly plain tars, whose digest is the diff id that the config has; a compressed one is hashed to
 * know it.
 */
struct docker_archive {
	struct oci_tarball *tar;
	char *want; /* NULL: the only image */
	char **names; /* of the layers' members */
	struct digest *digests;
	size_t n;
};

static void docker_close(void *impl)
{
	struct docker_archive *a = impl;

	if (!a)
		return;
	for (size_t i = 0; i < a->n; i++)
		free(a->names[i]);
	free(a->names);
	free(a->digests);
	free(a->want);
	oci_tarball_close(a->tar);
	free(a);
}
DEFINE_CLEANUP(struct docker_archive *, docker_close)

/* "FILE[:TAG]": a tag may hold colons, so the first colon ends the name, unless more is a file's.
 */
static int split(const char *rest, char **ret_file, char **ret_want)
{
	const char *colon = strchr(rest, ':');
	char *file cleanup_free = NULL, *want = NULL;
	struct stat st;

	for (const char *c = colon; c && stat(rest, &st) < 0; c = strchr(c + 1, ':')) {
		char *part cleanup_free = strndup(rest, (size_t)(c - rest));

		if (!part)
			return -ENOMEM;
		if (stat(part, &st) < 0 && c != colon)
			continue;
		free(file);
		file = steal_ptr(&part);
		colon = c;
		if (stat(file, &st) == 0)
			break;
	}
	if (file && colon[1] != '\0') {
		want = strdup(colon + 1);
		if (!want)
			return -ENOMEM;
	}
	if (!file)
		file = strdup(rest);
	if (!file) {
		free(want);
		return -ENOMEM;
	}
	*ret_file = steal_ptr(&file);
	*ret_want = want;
	return 0;
}

static int docker_open(const char *rest, const struct oci_remote *remote, void **ret_impl,
		       struct err *err)
{
	struct docker_archive *a CLEANUP(docker_closep) = calloc(1, sizeof(*a));
	char *file cleanup_free = NULL;
	int r;

	(void)remote;
	if (!a)
		return err_set(err, -ENOMEM, "open archive");
	if (*rest == '\0')
		return err_msg(err, -EINVAL,
			       "'docker-archive:' needs a file: docker-archive:FILE[:TAG]");
	r = split(rest, &file, &a->want);
	if (r < 0)
		return err_set(err, r, "open archive");
	r = oci_tarball_open(file, &a->tar, err);
	if (r < 0)
		return r;
	*ret_impl = steal_ptr(&a);
	return 0;
}

static int hash_member(int fd, uint64_t size, struct digest *ret)
{
	struct hash *h cleanup_hash = hash_new(DIGEST_SHA256);
	char *buf cleanup_free = malloc(HASH_CHUNK);
	int r = 0;

	if (!h || !buf)
		return -ENOMEM;
	while (r == 0 && size > 0) {
		size_t want = size < HASH_CHUNK ? (size_t)size : HASH_CHUNK;

		r = io_read_full(fd, buf, want);
		if (r == 0)
			r = hash_update(h, buf, want);
		size -= want;
	}
	return r < 0 ? r : hash_final(h, ret);
}

/* The descriptor of a layer: plain, it is what its diff id says, and that is verified on the way.
 */
static int describe_layer(const struct docker_archive *a, const char *name, const char *diff_id,
			  struct oci_descriptor *ret, struct err *err)
{
	unsigned char magic[4] = {0};
	const char *type = OCI_MEDIA_LAYER;
	int fd cleanup_close = -1;
	struct oci_quoted q;
	int r = oci_tarball_size(a->tar, name, &ret->size);

	if (r < 0)
		return err_msg(err, -EBADMSG, "layer %s is missing", oci_quote(&q, name));
	r = oci_tarball_open_member(a->tar, name, &fd, err);
	if (r < 0)
		return r;
	if (ret->size >= sizeof(magic)) {
		r = io_read_full(fd, magic, sizeof(magic));
		if (r == 0 && lseek(fd, -(off_t)sizeof(magic), SEEK_CUR) < 0)
			r = -errno;
		if (r < 0)
			return err_set(err, r, "read '%s'", oci_tarball_name(a->tar));
	}
	if (magic[0] == 0x1f && magic[1] == 0x8b)
		type = OCI_MEDIA_LAYER "+gzip";
	else if (memcmp(magic, "\x28\xb5\x2f\xfd", 4) == 0)
		type = OCI_MEDIA_LAYER "+zstd";
	strcpy(ret->media_type, type);
	if (strcmp(type, OCI_MEDIA_LAYER) == 0) {
		if (!diff_id || digest_parse(diff_id, &ret->digest) < 0)
			return err_msg(err, -EBADMSG, "config: %s is no diff id",
				       oci_quote(&q, diff_id));
		return 0;
	}
	r = hash_member(fd, ret->size, &ret->digest);
	return r < 0 ? err_set(err, r, "read '%s'", oci_tarball_name(a->tar)) : 0;
}

static void write_descriptor(struct json_writer *w, const struct oci_descriptor *d)
{
	json_w_object(w);
	json_w_key(w, "mediaType");
	json_w_string(w, d->media_type);
	json_w_key(w, "size");
	json_w_uint(w, d->size);
	json_w_key(w, "digest");
	json_w_string(w, d->digest.text);
	json_w_end(w);
}

/* The members' names and digests into @a, the manifest into @out. */
static int make_manifest(struct docker_archive *a, const struct oci_docker_entry *e,
			 const struct oci_descriptor *config, const struct json *diff_ids,
			 struct strbuf *out, struct err *err)
{
	struct json_writer *w = json_writer_new(0);
	size_t n = json_len(e->layers);
	int r = 0;

	a->names = calloc(n + 1, sizeof(*a->names));
	a->digests = calloc(n + 1, sizeof(*a->digests));
	if (!w || !a->names || !a->digests) {
		json_writer_free(w);
		return err_set(err, -ENOMEM, "read the archive");
	}
	json_w_object(w);
	json_w_key(w, "schemaVersion");
	json_w_uint(w, 2);
	json_w_key(w, "mediaType");
	json_w_string(w, OCI_MEDIA_MANIFEST);
	json_w_key(w, "config");
	write_descriptor(w, config);
	json_w_key(w, "layers");
	json_w_array(w);
	for (size_t i = 0; r == 0 && i < n; i++) {
		const char *name = json_string(json_at(e->layers, i));
		struct oci_descriptor d;

		r = describe_layer(a, name, json_string(json_at(diff_ids, i)), &d, err);
		if (r < 0)
			break;
		write_descriptor(w, &d);
		a->digests[i] = d.digest;
		a->names[i] = strdup(name);
		a->n = i + 1;
		if (!a->names[i])
			r = err_set(err, -ENOMEM, "read the archive");
	}
	if (r < 0) {
		json_writer_free(w);
		return r;
	}
	json_w_end(w);
	json_w_end(w);
	r = json_writer_finish(w, out);
	return r < 0 ? err_set(err, r, "read the archive") : 0;
}

/* What it is called without --name: the tag asked for, or its first. */
static char *image_ref(const struct docker_archive *a, const struct oci_docker_entry *e)
{
	const char *tag = json_string(json_at(e->tags, 0)), *slash, *first, *name;
	char *copy cleanup_free = NULL, *full = NULL;

	if (a->want && strpbrk(a->want, ":/"))
		tag = a->want;
	if (tag && oci_reference_is_full(tag))
		return strdup(tag);
	slash = tag ? strchr(tag, '/') : NULL;
	if (tag && asprintf(&full, "docker.io/%s%s", slash ? "" : "library/", tag) < 0)
		return NULL;
	if (full && oci_reference_is_full(full))
		return full;
	free(full);
	first = strrchr(oci_tarball_name(a->tar), '/');
	name = first ? first + 1 : oci_tarball_name(a->tar);
	copy = strndup(name, strcspn(name, "."));
	return copy ? oci_reference_for_folder(copy, "latest") : NULL;
}

static int build_image(struct docker_archive *a, const struct oci_docker_entry *e,
		       struct oci_image **ret, struct err *err)
{
	struct oci_descriptor config = {.media_type = OCI_MEDIA_CONFIG};
	struct oci_descriptor manifest = {.media_type = OCI_MEDIA_MANIFEST};
	struct strbuf text CLEANUP(strbuf_release) = STRBUF_INIT;
	struct json *doc cleanup_json = NULL;
	char *config_text cleanup_free = NULL;
	const struct json *diff_ids;
	size_t len;
	int r = oci_tarball_read(a->tar, e->config, JSON_SIZE_MAX, &config_text, &len, err);

	if (r < 0)
		return r;
	config.size = len;
	r = digest_buffer(DIGEST_SHA256, config_text, len, &config.digest);
	if (r < 0)
		return err_set(err, r, "digest of the config");
	r = json_parse(config_text, len, &doc, err);
	if (r < 0)
		return err_wrap(err, r, "config");
	diff_ids = json_get(json_get(doc, "rootfs"), "diff_ids");
	if (json_len(diff_ids) != json_len(e->layers))
		return err_msg(err, -EBADMSG, "%zu layers, but %zu diff ids in the config",
			       json_len(e->layers), json_len(diff_ids));
	r = make_manifest(a, e, &config, diff_ids, &text, err);
	if (r < 0)
		return r;
	manifest.size = text.len;
	r = digest_buffer(DIGEST_SHA256, text.s, text.len, &manifest.digest);
	if (r < 0)
		return err_set(err, r, "digest of the manifest");
	return oci_image_parse(&manifest, text.s, text.len, config_text, len, ret, err);
}

static int docker_image(void *impl, const struct oci_platform *platform, struct oci_image **ret,
			char **ret_ref, struct err *err)
{
	struct docker_archive *a = impl;
	struct oci_image *image cleanup_oci_image = NULL;
	struct json *doc cleanup_json = NULL;
	char *text cleanup_free = NULL;
	struct oci_docker_entry entry;
	size_t len;
	int r = oci_tarball_read(a->tar, "manifest.json", JSON_SIZE_MAX, &text, &len, err);

	if (r == -ENOENT)
		return err_msg(err, r, "'%s' is no docker archive: it has no 'manifest.json'",
			       oci_tarball_name(a->tar));
	if (r == 0)
		r = json_parse(text, len, &doc, err);
	if (r == 0)
		r = oci_docker_entry_find(doc, a->want, &entry, err);
	if (r == 0)
		r = build_image(a, &entry, &image, err);
	if (r == 0)
		r = oci_image_check_platform(image, platform, err);
	if (r < 0)
		return err_wrap(err, r, "'%s'", oci_tarball_name(a->tar));
	*ret_ref = image_ref(a, &entry);
	if (!*ret_ref)
		return err_set(err, -ENOMEM, "name of the image");
	*ret = steal_ptr(&image);
	return 0;
}

static int docker_blob(void *impl, const struct oci_descriptor *desc, struct oci_blob *ret,
		       struct err *err)
{
	const struct docker_archive *a = impl;

	ret->bounded = true;
	for (size_t i = 0; i < a->n; i++) {
		if (digest_equal(&a->digests[i], &desc->digest))
			return oci_tarball_open_member(a->tar, a->names[i], &ret->fd, err);
	}
	return err_msg(err, -ENOENT, "blob %s is missing in '%s'", desc->digest.text,
		       oci_tarball_name(a->tar));
}

const struct oci_source_ops oci_source_docker_archive = {
	.name = "docker-archive",
	.open = docker_open,
	.close = docker_close,
	.image = docker_image,
	.blob = docker_blob,
};
