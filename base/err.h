/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * err - what went wrong, for a person, next to the code for the program.
 *
 * Every fallible function returns 0 or a negative errno. Above the engine it
 * also takes a struct err as last parameter (may be NULL). The place that sees
 * the failure writes the message, callers may add where it happened, and only
 * a command prints it, once. No allocation: it must work after -ENOMEM.
 *
 *	return err_set(err, -errno, "open '%s'", path);          "...: No such file or directory"
 *	return err_msg(err, -EBADMSG, "digest does not match");   no errno text behind it
 *	return err_wrap(err, r, "layer %s", digest);              where it happened, outermost first
 *	err_hint(err, "run 'snap fsck --repair'");                what to do
 */
struct err {
	int code; /* negative errno, 0 when unset */
	char msg[384]; /* what and why; truncated at the end */
	char where[384]; /* "outer: inner", empty when unset */
	char hint[192]; /* what the user can do, empty when unset */
};

#define ERR_INIT                                                                                   \
	{                                                                                          \
		.code = 0                                                                          \
	}

/* Sets the message, ": " and the errno's text behind it. Returns @code, which is negative. */
int err_set(struct err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4), cold));

/* Sets the message alone: for failures that no errno text explains. Returns @code. */
int err_msg(struct err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4), cold));

/* Puts "context: " in front of where it happened. Returns @code. */
int err_wrap(struct err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4), cold));

/* Sets what the user can do about it. */
void err_hint(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));

/* The symbolic name of an errno of either sign ("ENOENT"); "EUNKNOWN" for none. */
const char *err_name(int code);
