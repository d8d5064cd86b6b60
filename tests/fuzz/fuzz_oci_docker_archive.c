/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/io.h"
#include "oci/docker_archive.h"
#include "oci/tarball.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void as_manifest(const char *text, size_t size)
{
	const char *zero = size ? memchr(text, 0, size) : NULL;
	size_t len = zero ? (size_t)(zero - text) : size;
	struct oci_docker_entry e;
	struct json *doc = NULL;
	struct err err = ERR_INIT;
	char want[64] = "";

	if (zero)
		(void)snprintf(want, sizeof(want), "%.*s", (int)(size - len - 1), zero + 1);
	if (json_parse(text, len, &doc, NULL) < 0)
		return;
	if (oci_docker_entry_find(doc, zero ? want : NULL, &e, &err) == 0) {
		if (!e.config || json_len(e.layers) > OCI_LAYERS_MAX)
			abort();
	} else if (!err.msg[0]) {
		abort();
	}
	json_free(doc);
}

/* Any bytes as manifest.json (behind a zero byte: the tag asked for), and as the tar around it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = memfd_create("tar", MFD_CLOEXEC);
	struct oci_tarball *t = NULL;
	struct err err = ERR_INIT;
	char path[40], *text;
	size_t len;

	as_manifest((const char *)data, size);
	if (fd < 0 || io_write_full(fd, data, size) < 0)
		abort();
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (oci_tarball_open(path, &t, &err) == 0) {
		if (oci_tarball_read(t, "manifest.json", 4096, &text, &len, &err) == 0) {
			if (len > 4096 || text[len] != '\0')
				abort();
			free(text);
		}
		oci_tarball_close(t);
	} else if (!err.msg[0]) {
		abort();
	}
	(void)close(fd);
	return 0;
}
