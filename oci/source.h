/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>

#include "base/strbuf.h"
#include "oci/document.h"

/*
 * source, dest - where images come from and go to, by the transport names that
 * people know: "oci:DIR[:TAG]", "oci-archive:FILE[:TAG]" (the same in a tar),
 * "docker-archive:FILE[:TAG]" (what docker save and podman save write; only read).
 * Archives are read where they lie, never unpacked.
 */
struct oci_source;

/* What is needed to talk to a registry; the others do not look at it. Strings are borrowed. */
struct oci_remote {
	bool insecure; /* certificates are not checked; plain HTTP on this machine */
	const char *creds; /* "USER:PASSWORD", or NULL */
	const char *authfile; /* instead of where containers' auth.json is looked for, or NULL */
};

/* @remote may be NULL. -EINVAL: no such transport (@err lists them), -ENOENT and others: it is not
 * there. */
int oci_source_open(const char *spec, const struct oci_remote *remote, struct oci_source **ret,
		    struct err *err) __attribute__((warn_unused_result));
void oci_source_close(struct oci_source *src);
static inline void oci_source_closep(struct oci_source **src)
{
	oci_source_close(*src);
}
#define cleanup_oci_source __attribute__((cleanup(oci_source_closep)))

/*
 * Finds the tag (the layout's only image when none is given), follows nested indexes (at most 4
 * deep) to the manifest for @platform, and reads manifest and config, each checked against digest
 * and size.
 */
int oci_source_image(struct oci_source *src, const struct oci_platform *platform,
		     struct oci_image **ret, struct err *err) __attribute__((warn_unused_result));
/*
 * The REF the image is known by without --name: the layout's full reference annotation
 * (io.containerd.image.name, or org.opencontainers.image.ref.name when it is a full reference),
 * else localhost/<last folder's name>:<tag, or "latest">, lower case, characters no reference may
 * have replaced by '-'. Borrowed. Valid after oci_source_image().
 */
const char *oci_source_ref(const struct oci_source *src);
/*
 * A blob's bytes, not yet verified: read @fd from where it stands, to its end, or only as far as
 * the blob's size when it is @bounded. Then ask oci_blob_finish() whether that was all of it: a
 * download that broke off looks like an end.
 */
struct oci_blob {
	int fd; /* owned */
	bool bounded;
	struct oci_stream *stream; /* what fills it, or NULL */
};
#define OCI_BLOB_INIT                                                                              \
	{                                                                                          \
		.fd = -1                                                                           \
	}
int oci_source_blob(struct oci_source *src, const struct oci_descriptor *desc, struct oci_blob *ret,
		    struct err *err) __attribute__((warn_unused_result));
/* Bytes of a blob that are wanted: [from, from + len); len > 0, not beyond the blob's size. */
struct oci_range {
	uint64_t from, len;
	int fd; /* where they go, to the same place as in the blob */
	unsigned int seconds; /* how long it is tried */
	/*
	 * NULL, or told, where they come bit by bit, that all in front of @end is there: by the
	 * thread that waits for the whole. < 0 ends the transfer, and is its result.
	 */
	int (*arrived)(void *ctx, uint64_t end, struct err *err);
	void *ctx;
};
/* Not verified. Any number of threads. */
int oci_source_range(struct oci_source *src, const struct oci_descriptor *desc,
		     const struct oci_range *want, struct err *err)
	__attribute__((warn_unused_result));
/* The list of all that refers to @subject, an image index: appended. -ENOENT: there is none. */
int oci_source_referrers(struct oci_source *src, const struct digest *subject, struct strbuf *out,
			 struct err *err) __attribute__((warn_unused_result));
/*
 * What refers to the manifest @subject as an artifact of @type, the newest first (image
 * specification, "subject"; in a layout and where a registry has no such list: the tag
 * ALGORITHM-HEX). Its manifest, verified: owned. -ENOENT: there is none.
 */
int oci_source_referrer(struct oci_source *src, const struct oci_descriptor *subject,
			const char *type, char **ret, struct err *err)
	__attribute__((warn_unused_result));
/* Closes it. 0: nothing went wrong at the source (the reader may have stopped early). */
int oci_blob_finish(struct oci_blob *blob, struct err *err) __attribute__((warn_unused_result));
void oci_blob_release(struct oci_blob *blob);
#define cleanup_oci_blob __attribute__((cleanup(oci_blob_release)))

struct oci_dest;
/*
 * "oci:DIR[:TAG]": the layout is made when it is not there; what other tags it has stays.
 * "docker://[HOST[:PORT]/]NAME[:TAG]": a registry; what it has is not sent again.
 * "oci-archive:FILE[:TAG]": a file that is there is replaced, at once, by oci_dest_image().
 */
int oci_dest_open(const char *spec, const struct oci_remote *remote, struct oci_dest **ret,
		  struct err *err) __attribute__((warn_unused_result));
/* Without oci_dest_image() nothing of the image becomes visible. */
void oci_dest_close(struct oci_dest *dest);
static inline void oci_dest_closep(struct oci_dest **dest)
{
	oci_dest_close(*dest);
}
#define cleanup_oci_dest __attribute__((cleanup(oci_dest_closep)))
/* Is the blob there with the right size already? */
bool oci_dest_has(struct oci_dest *dest, const struct oci_descriptor *desc);
/* The image known as @ref has the blob, too: takes it from there when that is the same registry. */
bool oci_dest_mount(struct oci_dest *dest, const struct oci_descriptor *desc, const char *ref);
/* Copies @fd from its start; the digest is verified on the way. -EBADMSG. */
int oci_dest_blob(struct oci_dest *dest, const struct oci_descriptor *desc, int fd, struct err *err)
	__attribute__((warn_unused_result));
/*
 * Manifest and config of @image, then the tag, replacing what had it (index.json appears at once).
 * @ref: the image's REF, used for the annotation.
 */
int oci_dest_image(struct oci_dest *dest, const struct oci_image *image, const char *ref,
		   struct err *err) __attribute__((warn_unused_result));
/*
 * The manifest @text of an artifact of @type whose blobs are there and that has @subject as its
 * subject: found there by oci_source_referrer() from now on, instead of an earlier one of the type.
 * -EOPNOTSUPP: the transport has no place for it.
 */
int oci_dest_referrer(struct oci_dest *dest, const struct oci_descriptor *desc, const char *text,
		      const struct oci_descriptor *subject, const char *type, struct err *err)
	__attribute__((warn_unused_result));
