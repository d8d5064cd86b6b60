/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "oci/source.h"
#include "snapshotter/cmd/cmd.h"

/* remote - the options of commands that talk to a registry. */
struct cmd_remote {
	const char *tls_verify, *creds, *authfile;
};
/* @type: the command's options; @member: its struct cmd_remote. */
#define CMD_REMOTE_OPTION(name, arg, help, offset)                                                 \
	{                                                                                          \
		name, 0, CMD_STRING, arg, help, offset                                             \
	}
#define CMD_REMOTE_OPTIONS(type, member)                                                           \
	CMD_REMOTE_OPTION("tls-verify", "BOOL",                                                    \
			  "false: any certificate, plain HTTP to this machine",                    \
			  offsetof(type, member.tls_verify)),                                      \
		CMD_REMOTE_OPTION("creds", "USER:PASSWORD", "for the registry",                    \
				  offsetof(type, member.creds)),                                   \
		CMD_REMOTE_OPTION("authfile", "FILE",                                              \
				  "where they are otherwise (containers' auth.json)",              \
				  offsetof(type, member.authfile))

/* @ret borrows from @options. -EINVAL. */
int cmd_remote_read(const struct cmd_remote *options, struct oci_remote *ret, struct err *err)
	__attribute__((warn_unused_result));
