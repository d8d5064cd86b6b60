/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "oci/document.h"

/*
 * source, dest - where images come from and go to, by the transport names that
 * people know: "oci:DIR[:TAG]". Later: oci-archive:, docker-archive:, docker://.
 */
struct oci_source;

/* -EINVAL: no such transport (@err lists them), -ENOENT and others: it is not there. */
int oci_source_open(const char *spec, struct oci_source **ret, struct err *err)
	__attribute__((warn_unused_result));
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
/* A stream of the blob's bytes, not yet verified: an fd (owned by the caller) to be read to its
 * end. */
int oci_source_blob(struct oci_source *src, const struct oci_descriptor *desc, int *ret_fd,
		    struct err *err) __attribute__((warn_unused_result));

struct oci_dest;
/* "oci:DIR[:TAG]": the layout is made when it is not there; what other tags it has stays. */
int oci_dest_open(const char *spec, struct oci_dest **ret, struct err *err)
	__attribute__((warn_unused_result));
/* Without oci_dest_image() nothing of the image becomes visible. */
void oci_dest_close(struct oci_dest *dest);
static inline void oci_dest_closep(struct oci_dest **dest)
{
	oci_dest_close(*dest);
}
#define cleanup_oci_dest __attribute__((cleanup(oci_dest_closep)))
/* Is the blob there with the right size already? */
bool oci_dest_has(struct oci_dest *dest, const struct oci_descriptor *desc);
/* Copies @fd from its start; the digest is verified on the way. -EBADMSG. */
int oci_dest_blob(struct oci_dest *dest, const struct oci_descriptor *desc, int fd, struct err *err)
	__attribute__((warn_unused_result));
/*
 * Manifest and config of @image, then the tag, replacing what had it (index.json appears at once).
 * @ref: the image's REF, used for the annotation.
 */
int oci_dest_image(struct oci_dest *dest, const struct oci_image *image, const char *ref,
		   struct err *err) __attribute__((warn_unused_result));
