/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/err.h"
#include "base/strbuf.h"

/*
 * authfile - whose name and password a registry wants: containers' auth.json
 * (containers-auth.json(5)) and docker's config.json, which have the same form. Credential helpers
 * are not run.
 */
#define OCI_AUTH_TEXT_MAX 8192 /* bytes of a name, a password or a token */

struct oci_credentials {
	char *user, *password; /* owned; NULL: none */
	char *identity; /* an OAuth2 refresh token instead, or NULL */
};
void oci_credentials_release(struct oci_credentials *c); /* wipes them */
#define cleanup_oci_credentials __attribute__((cleanup(oci_credentials_release)))

/* "USER:PASSWORD": -EINVAL. */
int oci_credentials_parse(const char *text, struct oci_credentials *ret, struct err *err)
	__attribute__((warn_unused_result));

/*
 * The entry of a document for "HOST[:PORT]/NAME": the longest of its keys that are a part of it,
 * down to the host ("https://HOST/v1/", as old docker wrote, counts as HOST). 1: found, 0: none.
 * -EBADMSG.
 */
int oci_authfile_parse(const char *text, size_t len, const char *host, const char *name,
		       struct oci_credentials *ret, struct err *err)
	__attribute__((warn_unused_result));

/*
 * Looks through @file (it must be there), or else $REGISTRY_AUTH_FILE (the same),
 * ${XDG_RUNTIME_DIR}/containers/auth.json (/run/containers/UID/auth.json without), ~/.config (or
 * $XDG_CONFIG_HOME) /containers/auth.json, ~/.docker/config.json; the first that has an entry.
 * 1: found, 0: none.
 */
int oci_authfile_find(const char *file, const char *host, const char *name,
		      struct oci_credentials *ret, struct err *err)
	__attribute__((warn_unused_result));

/* Appends "Basic BASE64(USER:PASSWORD)". -ENOMEM. */
int oci_credentials_basic(const struct oci_credentials *c, struct strbuf *out)
	__attribute__((warn_unused_result));
