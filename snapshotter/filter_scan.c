/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/filter_scan.h"

#include <errno.h>
#include <string.h>

#define RUNE_END (-1)
#define RUNE_BAD (-2)
#define RUNE_MAX 0x10ffff

/* One code point of UTF-8 (RFC 3629); its length, or 0 when it is none. */
static size_t decode(const char *text, size_t len, int *ret)
{
	static const int least[] = {0, 0, 0x80, 0x800, 0x10000};
	const unsigned char *p = (const unsigned char *)text;
	size_t n = p[0] < 0x80	     ? 1
		   : p[0] >> 5 == 6  ? 2
		   : p[0] >> 4 == 14 ? 3
		   : p[0] >> 3 == 30 ? 4
				     : 0;
	int c = n == 1 ? p[0] : n > 1 ? p[0] & (0x7f >> n) : 0;

	if (n == 0 || n > len)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if (p[i] >> 6 != 2)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < least[n] || c > RUNE_MAX || (c >= 0xd800 && c <= 0xdfff) || c == 0xfffd)
		return 0;
	*ret = c;
	return n;
}

static int next_rune(struct filter_scan *s)
{
	int c = 0;
	size_t n;

	if (s->pos >= s->len)
		return RUNE_END;
	n = decode(s->text + s->pos, s->len - s->pos, &c);
	if (n == 0 || c == 0) {
		s->pos += n ? n : 1;
		if (!s->error)
			s->error = n ? "unexpected null" : "not UTF-8";
		return RUNE_BAD;
	}
	s->pos += n;
	return c;
}

int filter_scan_peek(const struct filter_scan *s)
{
	struct filter_scan copy = *s;

	return next_rune(&copy);
}

static bool is_space(int c)
{
	return c == ' ' || (c >= '\t' && c <= '\r') || c == 0x85 || c == 0xa0 || c == 0x1680 ||
	       (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
	       c == 0x205f || c == 0x3000;
}

static bool is_field(int c)
{
	return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9');
}

static bool is_operator(int c)
{
	return c == '=' || c == '!' || c == '~';
}

static bool is_value(int c)
{
	return c > 0x20 && c != ',' && c != 0x7f && !(c >= 0x80 && c < 0xa0) && !is_space(c);
}

static void skip_while(struct filter_scan *s, bool (*fits)(int))
{
	while (fits(filter_scan_peek(s)))
		(void)next_rune(s);
}

static int digit(int c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : 16;
}

/* How many digits of which base follow this letter of an escape; false: it takes none. */
static bool escape_digits(int c, int *ret_count, int *ret_base)
{
	*ret_base = c >= '0' && c <= '7' ? 8 : 16;
	*ret_count = *ret_base == 8 ? 3 : c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
	return *ret_count > 0;
}

/* The backslash is taken. */
static bool scan_escape(struct filter_scan *s, int quote)
{
	int c = filter_scan_peek(s), count, base;

	if (c > 0 && (c == quote || (c < 0x80 && strchr("abfnrtv\\", c)))) {
		(void)next_rune(s);
		return true;
	}
	if (!escape_digits(c, &count, &base)) {
		s->error = "illegal escape sequence";
		return false;
	}
	if (base == 16)
		(void)next_rune(s);
	for (; count > 0; count--) {
		if (digit(filter_scan_peek(s)) >= base) {
			s->error = "illegal numeric escape sequence";
			return false;
		}
		(void)next_rune(s);
	}
	return true;
}

static bool scan_quoted(struct filter_scan *s, int quote)
{
	for (;;) {
		int c = next_rune(s);

		if (c == quote)
			return true;
		if (c < 0 || c == '\n') {
			if (!s->error)
				s->error = "quoted literal not terminated";
			return false;
		}
		if (c == '\\' && !scan_escape(s, quote))
			return false;
	}
}

enum filter_token filter_scan_next(struct filter_scan *s, size_t *ret_at, size_t *ret_len)
{
	enum filter_token token = FILTER_OTHER;
	int c;

	skip_while(s, is_space);
	*ret_at = s->pos;
	c = next_rune(s);
	if (c == RUNE_END) {
		token = FILTER_END;
	} else if (c == RUNE_BAD) {
		token = FILTER_ILLEGAL;
	} else if (c == '"' || c == '/' || c == '|') {
		token = scan_quoted(s, c) ? FILTER_QUOTED : FILTER_ILLEGAL;
	} else if (c == ',' || c == '.') {
		s->value = false;
		token = FILTER_SEPARATOR;
	} else if (is_operator(c)) {
		skip_while(s, is_operator);
		s->value = true;
		token = FILTER_OPERATOR;
	} else if (s->value) {
		skip_while(s, is_value);
		s->value = false;
		token = FILTER_VALUE;
	} else if (is_field(c)) {
		skip_while(s, is_field);
		token = FILTER_FIELD;
	}
	*ret_len = s->pos - *ret_at;
	return token;
}

static int add_rune(struct strbuf *out, unsigned int c)
{
	char buf[4];
	size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

	if (n == 1)
		return strbuf_addc(out, (char)c);
	for (size_t i = n - 1; i > 0; i--) {
		buf[i] = (char)(0x80 | (c & 0x3f));
		c >>= 6;
	}
	buf[0] = (char)(0xf00 >> n | c);
	return strbuf_add(out, buf, n);
}

/* @p stands behind the backslash. Takes what belongs to it. */
static int unescape(const char **p, const char *end, struct strbuf *out)
{
	static const char names[] = "abfnrtv", values[] = "\a\b\f\n\r\t\v";
	unsigned int v = 0;
	int count, base;
	char c;

	if (*p >= end)
		return -EINVAL;
	c = *(*p)++;
	if (!escape_digits(c, &count, &base)) {
		const char *name = c ? strchr(names, c) : NULL;

		return strbuf_addc(out, name ? values[name - names] : c);
	}
	if (base == 8)
		--*p;
	for (; count > 0; count--, ++*p) {
		if (*p >= end || digit(**p) >= base)
			return -EINVAL;
		v = v * (unsigned int)base + (unsigned int)digit(**p);
	}
	if (c == 'u' || c == 'U') {
		if (v > RUNE_MAX)
			return -EINVAL;
		return add_rune(out, v >= 0xd800 && v <= 0xdfff ? 0xfffd : v);
	}
	return v > 0xff ? -EINVAL : strbuf_addc(out, (char)v);
}

int filter_unquote(const char *text, size_t len, struct strbuf *out)
{
	const char *p = text + 1, *end = text + len - 1;
	int r = len < 2 ? -EINVAL : 0;

	while (r == 0 && p < end) {
		if (*p != '\\') {
			r = strbuf_addc(out, *p++);
			continue;
		}
		p++;
		r = unescape(&p, end, out);
	}
	return r;
}
