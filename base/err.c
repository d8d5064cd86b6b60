/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void __attribute__((format(printf, 3, 0)))
set_message(struct err *err, int code, const char *fmt, va_list ap)
{
	err->code = code;
	err->where[0] = err->hint[0] = '\0';
	(void)vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
}

int err_set(struct err *err, int code, const char *fmt, ...)
{
	const char *text;
	va_list ap;
	size_t n;

	assert(code < 0);
	if (!err)
		return code;
	va_start(ap, fmt);
	set_message(err, code, fmt, ap);
	va_end(ap);
	n = strlen(err->msg);
	text = strerrordesc_np(-code);
	(void)snprintf(err->msg + n, sizeof(err->msg) - n, ": %s", text ? text : "unknown error");
	return code;
}

int err_msg(struct err *err, int code, const char *fmt, ...)
{
	va_list ap;

	assert(code < 0);
	if (!err)
		return code;
	va_start(ap, fmt);
	set_message(err, code, fmt, ap);
	va_end(ap);
	return code;
}

int err_wrap(struct err *err, int code, const char *fmt, ...)
{
	char inner[sizeof(err->where)];
	va_list ap;
	size_t n;

	assert(code < 0);
	if (!err)
		return code;
	memcpy(inner, err->where, sizeof(inner));
	va_start(ap, fmt);
	(void)vsnprintf(err->where, sizeof(err->where), fmt, ap);
	va_end(ap);
	n = strlen(err->where);
	if (inner[0] != '\0')
		(void)snprintf(err->where + n, sizeof(err->where) - n, ": %s", inner);
	return code;
}

void err_hint(struct err *err, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(err->hint, sizeof(err->hint), fmt, ap);
	va_end(ap);
}

const char *err_name(int code)
{
	const char *name = strerrorname_np(code < 0 ? -code : code);

	return name ? name : "EUNKNOWN";
}
