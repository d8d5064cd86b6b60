/* SPDX-License-Identifier: Apache-2.0 */
/* Replays a corpus through a fuzz entry point without a fuzzer: one file an input. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"

#define INPUT_MAX (1u << 24)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv)
{
	DIR *dir cleanup_closedir = NULL;
	unsigned int inputs = 0;
	struct dirent *d;

	if (argc != 2) {
		(void)fprintf(stderr, "usage: %s CORPUS\n", argv[0]);
		return 2;
	}
	dir = opendir(argv[1]);
	if (!dir) {
		perror(argv[1]);
		return 1; /* a corpus that is gone is a failure, not a skip */
	}
	while ((d = readdir(dir))) {
		char *text cleanup_free = NULL;
		size_t len;

		if (d->d_name[0] == '.')
			continue;
		if (io_read_file(dirfd(dir), d->d_name, INPUT_MAX, &text, &len) < 0)
			return 1;
		(void)LLVMFuzzerTestOneInput((const uint8_t *)text, len);
		inputs++;
	}
	(void)printf("%u inputs\n", inputs);
	return inputs ? 0 : 1;
}
