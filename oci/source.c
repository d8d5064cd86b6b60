/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/source.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "oci/quote.h"
#include "oci/referrers.h"
#include "oci/source_private.h"

struct oci_source {
	const struct oci_source_ops *ops;
	void *impl;
	char *ref;
};

struct oci_dest {
	const struct oci_dest_ops *ops;
	void *impl;
};

static const struct oci_remote defaults = {.creds = NULL};
static const struct oci_source_ops *const sources[] = {&oci_source_layout, &oci_source_archive,
						       &oci_source_docker_archive,
						       &oci_source_registry, &oci_source_content};
static const struct oci_dest_ops *const dests[] = {&oci_dest_layout, &oci_dest_archive,
						   &oci_dest_registry};

static int unknown_transport(const char *spec, const char *known, struct err *err)
{
	struct oci_quoted q;

	(void)err_msg(err, -EINVAL, "%s: no such transport", oci_quote(&q, spec));
	err_hint(err, "%s", known);
	return -EINVAL;
}

/* What follows "NAME:", or NULL. */
static const char *after_name(const char *spec, const char *name)
{
	size_t n = strlen(name);

	return strncmp(spec, name, n) == 0 && spec[n] == ':' ? spec + n + 1 : NULL;
}

int oci_source_open(const char *spec, const struct oci_remote *remote, struct oci_source **ret,
		    struct err *err)
{
	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
		const char *rest = after_name(spec, sources[i]->name);
		struct oci_source *src;
		int r;

		if (!rest)
			continue;
		src = calloc(1, sizeof(*src));
		if (!src)
			return err_set(err, -ENOMEM, "open '%s'", spec);
		src->ops = sources[i];
		r = src->ops->open(rest, remote ? remote : &defaults, &src->impl, err);
		if (r < 0) {
			free(src);
			return r;
		}
		*ret = src;
		return 0;
	}
	return unknown_transport(spec,
				 "known: oci:DIR[:TAG], oci-archive:FILE[:TAG], "
				 "docker-archive:FILE[:TAG], docker://[HOST/]NAME[:TAG|@DIGEST], "
				 "containerd:DIR@DIGEST",
				 err);
}

void oci_source_close(struct oci_source *src)
{
	if (!src)
		return;
	src->ops->close(src->impl);
	free(src->ref);
	free(src);
}

int oci_source_image(struct oci_source *src, const struct oci_platform *platform,
		     struct oci_image **ret, struct err *err)
{
	struct oci_platform host;
	char *ref = NULL;
	int r;

	if (!platform) {
		r = oci_platform_parse(NULL, &host, err);
		if (r < 0)
			return r;
		platform = &host;
	}
	r = src->ops->image(src->impl, platform, ret, &ref, err);
	if (r < 0)
		return r;
	free(src->ref);
	src->ref = ref;
	return 0;
}

const char *oci_source_ref(const struct oci_source *src)
{
	return src->ref;
}

int oci_source_blob(struct oci_source *src, const struct oci_descriptor *desc, struct oci_blob *ret,
		    struct err *err)
{
	struct oci_blob blob = OCI_BLOB_INIT;
	int r = src->ops->blob(src->impl, desc, &blob, err);

	if (r == 0)
		*ret = blob;
	return r;
}

/* From a file that can be read anywhere: its blob starts where it stands. */
static int range_of_file(struct oci_source *src, const struct oci_descriptor *desc,
			 const struct oci_range *want, struct err *err)
{
	struct oci_blob blob cleanup_oci_blob = OCI_BLOB_INIT;
	off_t base;
	int r = oci_source_blob(src, desc, &blob, err);

	if (r < 0)
		return r;
	base = blob.stream ? -1 : lseek(blob.fd, 0, SEEK_CUR);
	if (base < 0)
		return err_msg(err, -EOPNOTSUPP, "blob %s cannot be read in pieces",
			       desc->digest.text);
	r = io_copy_range(blob.fd, base + (off_t)want->from, want->fd, (off_t)want->from, want->len,
			  false);
	return r < 0 ? err_set(err, r, "read blob %s", desc->digest.text) : 0;
}

int oci_source_range(struct oci_source *src, const struct oci_descriptor *desc,
		     const struct oci_range *want, struct err *err)
{
	if (want->len == 0 || want->from > desc->size || want->len > desc->size - want->from)
		return err_msg(err, -EINVAL, "blob %s has no such range", desc->digest.text);
	return src->ops->range ? src->ops->range(src->impl, desc, want, err)
			       : range_of_file(src, desc, want, err);
}

int oci_source_referrers(struct oci_source *src, const struct digest *subject, struct strbuf *out,
			 struct err *err)
{
	if (!src->ops->referrers)
		return err_msg(err, -ENOENT, "nothing can refer to an image there");
	return src->ops->referrers(src->impl, subject, out, err);
}

int oci_source_referrer(struct oci_source *src, const struct oci_descriptor *subject,
			const char *type, char **ret, struct err *err)
{
	return oci_referrers_find(src->ops, src->impl, subject, type, ret, err);
}

int oci_dest_referrer(struct oci_dest *dest, const struct oci_descriptor *desc, const char *text,
		      const struct oci_descriptor *subject, const char *type, struct err *err)
{
	if (!dest->ops->refer)
		return err_msg(err, -EOPNOTSUPP, "an index can go to oci:DIR and docker://");
	return dest->ops->refer(dest->impl, desc, text, subject, type, err);
}

int oci_blob_finish(struct oci_blob *blob, struct err *err)
{
	struct oci_stream *stream = steal_ptr(&blob->stream);

	/* first: who writes into the pipe learns from it that nobody reads any more */
	closep(&blob->fd);
	return stream ? stream->finish(stream, err) : 0;
}

void oci_blob_release(struct oci_blob *blob)
{
	(void)!oci_blob_finish(blob, NULL);
}

int oci_dest_open(const char *spec, const struct oci_remote *remote, struct oci_dest **ret,
		  struct err *err)
{
	for (size_t i = 0; i < sizeof(dests) / sizeof(dests[0]); i++) {
		const char *rest = after_name(spec, dests[i]->name);
		struct oci_dest *dest;
		int r;

		if (!rest)
			continue;
		dest = calloc(1, sizeof(*dest));
		if (!dest)
			return err_set(err, -ENOMEM, "open '%s'", spec);
		dest->ops = dests[i];
		r = dest->ops->open(rest, remote ? remote : &defaults, &dest->impl, err);
		if (r < 0) {
			free(dest);
			return r;
		}
		*ret = dest;
		return 0;
	}
	return unknown_transport(spec,
				 "known: oci:DIR[:TAG], oci-archive:FILE[:TAG], "
				 "docker://[HOST/]NAME[:TAG]",
				 err);
}

void oci_dest_close(struct oci_dest *dest)
{
	if (!dest)
		return;
	dest->ops->close(dest->impl);
	free(dest);
}

bool oci_dest_has(struct oci_dest *dest, const struct oci_descriptor *desc)
{
	return dest->ops->has(dest->impl, desc);
}

bool oci_dest_mount(struct oci_dest *dest, const struct oci_descriptor *desc, const char *ref)
{
	return dest->ops->mount && dest->ops->mount(dest->impl, desc, ref);
}

int oci_dest_blob(struct oci_dest *dest, const struct oci_descriptor *desc, int fd, struct err *err)
{
	return dest->ops->blob(dest->impl, desc, fd, err);
}

int oci_dest_image(struct oci_dest *dest, const struct oci_image *image, const char *ref,
		   struct err *err)
{
	return dest->ops->image(dest->impl, image, ref, err);
}
