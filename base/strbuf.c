/* SPDX-License-Identifier: Apache-2.0 */
#include "base/strbuf.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char strbuf_empty[1] = "";

void strbuf_init(struct strbuf *s)
{
	*s = (struct strbuf)STRBUF_INIT;
}

void strbuf_release(struct strbuf *s)
{
	if (s->cap)
		free(s->s);
	strbuf_init(s);
}

void strbuf_reset(struct strbuf *s)
{
	strbuf_truncate(s, 0);
}

void strbuf_truncate(struct strbuf *s, size_t len)
{
	assert(len <= s->len);
	s->len = len;
	if (s->cap)
		s->s[len] = '\0';
}

int strbuf_reserve(struct strbuf *s, size_t more)
{
	size_t need, cap;
	char *p;

	if (__builtin_add_overflow(s->len, more, &need) || need > SIZE_MAX / 2)
		return -ENOMEM;
	need++;
	if (need <= s->cap)
		return 0;
	cap = s->cap ? s->cap : 64;
	while (cap < need)
		cap *= 2;
	p = realloc(s->cap ? s->s : NULL, cap);
	if (!p)
		return -ENOMEM;
	if (!s->cap)
		p[0] = '\0';
	s->s = p;
	s->cap = cap;
	return 0;
}

int strbuf_add(struct strbuf *s, const void *data, size_t len)
{
	int r = strbuf_reserve(s, len);

	if (r < 0)
		return r;
	if (len)
		memcpy(s->s + s->len, data, len);
	s->len += len;
	s->s[s->len] = '\0';
	return 0;
}

int strbuf_adds(struct strbuf *s, const char *text)
{
	return strbuf_add(s, text, strlen(text));
}

int strbuf_addc(struct strbuf *s, char c)
{
	return strbuf_add(s, &c, 1);
}

int strbuf_addf(struct strbuf *s, const char *fmt, ...)
{
	va_list ap;
	int n, r;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		return -EINVAL;
	r = strbuf_reserve(s, (size_t)n);
	if (r < 0)
		return r;
	va_start(ap, fmt);
	(void)vsnprintf(s->s + s->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	s->len += (size_t)n;
	return 0;
}

char *strbuf_steal(struct strbuf *s)
{
	char *p;

	if (strbuf_reserve(s, 0) < 0)
		return NULL;
	p = s->s;
	strbuf_init(s);
	return p;
}
