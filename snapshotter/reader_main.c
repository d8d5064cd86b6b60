/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/sandbox.h"
#include "oci/reader.h"
#include "oci/reader_wire.h"

/*
 * snap-reader: started by snap for each layer, never by people. Its arguments: nothing, or
 * "unconfined".
 */
int main(int argc, char **argv)
{
	struct oci_reader reader;
	struct err err = ERR_INIT;
	int r;

	sandbox_close_others(READER_SOCK, READER_OUT);
	r = oci_reader_open(&reader, &err);
	if (r == 0 && argc > 1 && strcmp(argv[1], "unconfined") == 0)
		r = sandbox_die_with_parent();
	else if (r == 0)
		r = sandbox_enter(READER_SOCK, READER_MEMORY, &err);
	if (r < 0) {
		err.code = err_wrap(&err, -EPERM, "the layer's reader cannot be confined");
		oci_reader_fail(&err);
		return EXIT_FAILURE;
	}
	return oci_reader_serve(&reader) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
