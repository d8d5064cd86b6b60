/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/cmd/remote.h"

#include <errno.h>
#include <string.h>

int cmd_remote_read(const struct cmd_remote *options, struct oci_remote *ret, struct err *err)
{
	const char *verify = options->tls_verify;

	*ret = (struct oci_remote){.creds = options->creds, .authfile = options->authfile};
	if (verify && strcmp(verify, "false") == 0)
		ret->insecure = true;
	else if (verify && strcmp(verify, "true") != 0)
		return err_msg(err, -EINVAL, "--tls-verify: 'true' or 'false', not '%s'", verify);
	return 0;
}
