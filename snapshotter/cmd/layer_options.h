/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "snapshotter/cmd/cmd.h"
#include "snapshotter/diff.h"

/* The options that commit and diff share: how a layer is made. */
struct cmd_layer_options {
	const char *compression, *timestamp;
	unsigned int level;
};

/* Rows of an options table; @member is a struct cmd_layer_options in @type. */
#define CMD_LAYER_OPTIONS(type, member)                                                            \
	{"compression",	       0,                                                                  \
	 CMD_STRING,	       "NAME",                                                             \
	 "gzip, zstd or none", offsetof(type, member.compression)},                                \
		{"level", 0, CMD_UINT, "N", "of the compression", offsetof(type, member.level)},   \
	{                                                                                          \
		"timestamp", 0, CMD_STRING, "T",                                                   \
			"created then, no file newer: seconds or RFC 3339 (SOURCE_DATE_EPOCH)",    \
			offsetof(type, member.timestamp)                                           \
	}

bool cmd_has_layer_options(const struct cmd_layer_options *o);
int cmd_layer_options(const struct cmd_layer_options *o, struct snap_layer_options *ret,
		      struct err *err) __attribute__((warn_unused_result));
