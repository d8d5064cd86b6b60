/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "erofs/effects.h"
#include "snapshotter/snapshot.h"
#include "snapshotter/store.h"

/*
 * cmd - the commands of `snap`. One file a command: its options struct, the
 * table of its options, its function, and one struct cmd that main.c lists.
 * Parsing, --help, opening the store and printing errors happen in main.c.
 */
struct cmd_context {
	const char *root; /* --root, or NULL */
	struct snap_store *store; /* open, unless CMD_NO_STORE */
	bool json, quiet, progress; /* progress: on a terminal, or asked for */
	int exit_code; /* of a command that succeeded in finding something wrong: fsck */
};

enum cmd_option_kind { CMD_FLAG, CMD_STRING, CMD_UINT, CMD_LIST };
struct cmd_list { /* CMD_LIST: an option that may be given again; borrowed strings */
	const char **items;
	size_t n;
};
struct cmd_option {
	const char *name; /* without "--"; NULL ends the table */
	char letter; /* 0: none */
	enum cmd_option_kind kind;
	const char *arg; /* its name in the help; NULL for a flag */
	const char *help;
	size_t offset; /* in the command's struct: bool, const char *, unsigned int, struct cmd_list
			*/
};
#define CMD_OPTIONS_END                                                                            \
	{                                                                                          \
		.name = NULL                                                                       \
	}

enum cmd_flags {
	CMD_NO_STORE = 1 << 0, /* does not open the store */
	CMD_NAMESPACES = 1 << 1, /* works in namespaces of its own: snapshotter/userns.h */
	CMD_USERNS_TRIES = 1 << 2, /* so for an ordinary user, if he may; without otherwise */
	CMD_KEEPS_TMP = 1 << 4, /* what a killed process left in tmp/ is not swept first */
	CMD_FOLLOWS_KEYS = 1 << 3, /* works in the namespaces that its arguments, KEYs, need */
};

struct cmd {
	const char *name, *summary;
	const char *usage; /* what follows the name; several forms: one a line */
	const char *help; /* what it does, a few sentences; may be NULL */
	const struct cmd_option *options; /* may be NULL */
	size_t options_size; /* of the struct that @run gets, zeroed and filled */
	int min_args, max_args; /* max -1: any number */
	int rest_after; /* options end behind this many arguments; 0: they may stand anywhere */
	int failure; /* exit code of a failure; 0: 1 */
	unsigned int flags;
	int (*run)(struct cmd_context *c, const void *options, int argc, char **argv,
		   struct err *err);
};

/* A failure that is the caller's wrong usage: exit code 2. Returns the code to return. */
int cmd_usage_error(struct err *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), cold));

/* What a library function made of an argument was wrong usage as well. Returns @code. */
int cmd_is_usage_error(int code);

/* "64", "300K", "2M", "1G", powers of 1024. -EINVAL. */
int cmd_parse_size(const char *text, uint64_t *ret) __attribute__((warn_unused_result));

/* "K=V" each; free() @ret, which borrows nothing: the strings are inside. */
int cmd_parse_labels(const struct cmd_list *list, struct snap_label **ret, struct err *err)
	__attribute__((warn_unused_result));
void cmd_free_labels(struct snap_label *labels, size_t n);
/* Labels of positional arguments: borrows @argv. */
int cmd_parse_label_args(int argc, char **argv, struct snap_label **ret, struct err *err)
	__attribute__((warn_unused_result));

/* Names with control characters and backslashes as \ooo: a line stays a line, a terminal unharmed.
 */
void cmd_put_name(FILE *f, const char *name);
/* RFC 3339, UTC, nanoseconds. */
void cmd_format_time(int64_t ns, char ret[40]);
/* "12.3 MiB" */
void cmd_format_size(uint64_t bytes, char ret[24]);

/* Takes the writer; prints the document and a newline. */
int cmd_print_json(struct json_writer *w, struct err *err) __attribute__((warn_unused_result));
void cmd_json_snapshot(struct json_writer *w, const struct snap_info *info);
/* The same for an object that is open. */
void cmd_json_snapshot_members(struct json_writer *w, const struct snap_info *info);
/* The members of an object that is open: adds, changes, hides, bytes, wasted. */
void cmd_json_effect(struct json_writer *w, const struct erofs_effect *e);
int cmd_print_mounts(struct cmd_context *c, const char *key, struct err *err)
	__attribute__((warn_unused_result));

/* Rows of text in columns as wide as they need to be. */
struct cmd_table {
	size_t columns, n, cap;
	char **cells;
	int error;
};
void cmd_table_init(struct cmd_table *t, size_t columns);
void cmd_table_add(struct cmd_table *t, const char *cell); /* sticky error; NULL: empty */
/* Prints, and releases. */
int cmd_table_print(struct cmd_table *t, struct err *err) __attribute__((warn_unused_result));

/* Every command, in the order of the help; NULL ends. */
extern const struct cmd *const cmd_all[];
extern const struct cmd cmd_als, cmd_bundle, cmd_commit, cmd_df, cmd_diff, cmd_doctor, cmd_fill,
	cmd_fsck, cmd_gc, cmd_images, cmd_index, cmd_inspect, cmd_label, cmd_ls, cmd_mount,
	cmd_mounts, cmd_prepare, cmd_pull, cmd_push, cmd_rm, cmd_rmi, cmd_run, cmd_serve, cmd_stat,
	cmd_tree, cmd_umount, cmd_unpack, cmd_unshare, cmd_usage, cmd_view;
