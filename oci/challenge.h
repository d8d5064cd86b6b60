/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/err.h"

/*
 * challenge - the value of a WWW-Authenticate header (RFC 9110, 11.6.1): a list of schemes with
 * parameters, of which a registry's two are known: Basic, and Bearer with realm, service and scope
 * (distribution specification, "token authentication").
 */
#define OCI_CHALLENGE_VALUE_MAX 1024

enum oci_auth_scheme { OCI_AUTH_NONE, OCI_AUTH_BASIC, OCI_AUTH_BEARER };
struct oci_challenge {
	enum oci_auth_scheme scheme;
	char realm[OCI_CHALLENGE_VALUE_MAX];
	char service[OCI_CHALLENGE_VALUE_MAX];
	char scope[OCI_CHALLENGE_VALUE_MAX]; /* all empty when not there */
};

/*
 * One header's value. Of several schemes Bearer wins over Basic, the first of equals counts;
 * OCI_AUTH_NONE: none that is known. -EBADMSG: not what the grammar allows, a value too long or
 * with control characters, a Bearer without realm.
 */
int oci_challenge_parse(const char *text, struct oci_challenge *ret, struct err *err)
	__attribute__((warn_unused_result));
