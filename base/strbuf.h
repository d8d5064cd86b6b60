/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stddef.h>

/*
 * strbuf - a growing byte string, always NUL-terminated, NULs allowed inside.
 *
 *	struct strbuf s CLEANUP(strbuf_release) = STRBUF_INIT;
 *	r = strbuf_addf(&s, "%s/%s", a, b);
 *
 * Every function that grows it returns 0 or -ENOMEM and leaves it as it was on failure.
 */
struct strbuf {
	char *s; /* never NULL, "" when empty */
	size_t len; /* without the NUL */
	size_t cap; /* 0: s is static and not owned */
};

extern char strbuf_empty[1];
#define STRBUF_INIT                                                                                \
	{                                                                                          \
		.s = strbuf_empty, .len = 0, .cap = 0                                              \
	}

void strbuf_init(struct strbuf *s);
void strbuf_release(struct strbuf *s);
/* Makes it empty, keeps the memory. */
void strbuf_reset(struct strbuf *s);
/* Cuts it to @len bytes, which is at most its length. */
void strbuf_truncate(struct strbuf *s, size_t len);
/* Room for @more further bytes. */
int strbuf_reserve(struct strbuf *s, size_t more) __attribute__((warn_unused_result));
int strbuf_add(struct strbuf *s, const void *data, size_t len) __attribute__((warn_unused_result));
int strbuf_adds(struct strbuf *s, const char *text) __attribute__((warn_unused_result));
int strbuf_addc(struct strbuf *s, char c) __attribute__((warn_unused_result));
int strbuf_addf(struct strbuf *s, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), warn_unused_result));
/* The string itself, returned owned (free() it), or NULL when out of memory; leaves @s empty. */
char *strbuf_steal(struct strbuf *s);
