/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "oci/authfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct oci_credentials c = {.user = NULL};
	struct strbuf basic = STRBUF_INIT;
	struct err err = ERR_INIT;
	int r = oci_authfile_parse((const char *)data, size, "reg.example:5000", "a/b", &c, &err);

	if (r < 0 && !err.msg[0])
		abort();
	if (r == 1) {
		if (!c.user && !c.identity)
			abort();
		if (oci_credentials_basic(&c, &basic) == 0 && strpbrk(basic.s, "\r\n"))
			abort();
	} else if (c.user || c.password || c.identity) {
		abort();
	}
	strbuf_release(&basic);
	oci_credentials_release(&c);
	return 0;
}
