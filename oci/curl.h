/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#define CURL_DISABLE_TYPECHECK /* its macros do not know calls by pointer */
#include <curl/curl.h>

#include "base/err.h"

/*
 * curl - libcurl, opened when the first registry is spoken to. It brings some twenty-five libraries
 * (LDAP, Kerberos, SSH, two of TLS), which took as long to link as all else that a command does
 * that needs no network, such as `snap commit` or `snap run`.
 */
#define CURL_CALLS(X)                                                                              \
	X(easy_cleanup)                                                                            \
	X(easy_getinfo)                                                                            \
	X(easy_init)                                                                               \
	X(easy_perform)                                                                            \
	X(easy_reset)                                                                              \
	X(easy_setopt)                                                                             \
	X(easy_strerror)                                                                           \
	X(free)                                                                                    \
	X(global_init)                                                                             \
	X(slist_append)                                                                            \
	X(slist_free_all)                                                                          \
	X(url)                                                                                     \
	X(url_cleanup)                                                                             \
	X(url_get)                                                                                 \
	X(url_set)

/* curl_NAME() is curl->NAME(). */
struct curl_calls {
#define X(name) __typeof__(&curl_##name) name;
	CURL_CALLS(X)
#undef X
};

/*
 * The library, initialised; for the process's life. Any thread. -ELIBACC: it is not there, or lacks
 * a call; -ENOMEM.
 */
int curl_open(const struct curl_calls **ret, struct err *err) __attribute__((warn_unused_result));
