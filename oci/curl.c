/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/curl.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>

#define LIBRARY "libcurl.so.4" /* ABI 4 since 2006 */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct curl_calls calls;
static struct err failed; /* of the first try */
static int result;

static int open_library(struct err *err)
{
	static const struct {
		const char *symbol;
		size_t at; /* bytes into struct curl_calls */
	} wanted[] = {
#define X(name) {"curl_" #name, offsetof(struct curl_calls, name)},
		CURL_CALLS(X)
#undef X
	};
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);

	for (size_t i = 0; library && i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		void *call = dlsym(library, wanted[i].symbol);

		if (!call)
			return err_msg(err, -ELIBACC, "%s has no %s", LIBRARY, wanted[i].symbol);
		/* POSIX has both of one representation (dlsym's rationale) */
		memcpy((char *)&calls + wanted[i].at, &call, sizeof(call));
	}
	if (!library) {
		(void)err_msg(err, -ELIBACC, "registries need libcurl: %s", dlerror());
		err_hint(err, "install the package libcurl4");
		return -ELIBACC;
	}
	if (calls.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return err_set(err, -ENOMEM, "start %s", LIBRARY);
	return 0;
}

static void open_once(void)
{
	result = open_library(&failed);
}

int curl_open(const struct curl_calls **ret, struct err *err)
{
	(void)pthread_once(&once, open_once);
	if (result == 0)
		*ret = &calls;
	else if (err)
		*err = failed;
	return result;
}
