/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/challenge.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "oci/quote.h"

#define TOKEN	"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define TOKEN68 "-._~+/0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define BLANK	" \t"

static int bad(const char *text, struct err *err)
{
	struct oci_quoted q;

	return err_msg(err, -EBADMSG, "bad WWW-Authenticate %s", oci_quote(&q, text));
}

/* token or quoted-string at @p into @to; the byte behind it, or NULL. */
static const char *value_at(const char *p, char to[OCI_CHALLENGE_VALUE_MAX])
{
	size_t n = 0;

	if (*p != '"') {
		n = strspn(p, TOKEN);
		if (n == 0 || n >= OCI_CHALLENGE_VALUE_MAX)
			return NULL;
		memcpy(to, p, n);
		to[n] = '\0';
		return p + n;
	}
	for (p++; *p != '"'; p++) {
		if (*p == '\\')
			p++;
		if (((unsigned char)*p < ' ' && *p != '\t') || *p == 0x7f ||
		    n == OCI_CHALLENGE_VALUE_MAX - 1)
			return NULL; /* the NUL too: an open quote */
		to[n++] = *p;
	}
	to[n] = '\0';
	return p + 1;
}

/* A parameter "name = value" at @p: the byte behind it, p itself when there is none, or NULL. */
static const char *param_at(const char *p, struct oci_challenge *c)
{
	char value[OCI_CHALLENGE_VALUE_MAX];
	size_t n = strspn(p, TOKEN);
	const char *eq = p + n + strspn(p + n, BLANK), *end;
	char *to = NULL;

	if (n == 0 || *eq != '=')
		return p;
	eq++;
	eq += strspn(eq, BLANK);
	end = value_at(eq, value);
	if (!end)
		return NULL;
	if (n == 5 && strncasecmp(p, "realm", n) == 0)
		to = c->realm;
	else if (n == 7 && strncasecmp(p, "service", n) == 0)
		to = c->service;
	else if (n == 5 && strncasecmp(p, "scope", n) == 0)
		to = c->scope;
	if (to)
		strcpy(to, value);
	return end;
}

/* What follows a scheme: a token68, or parameters with commas between; the byte behind. */
static const char *params_at(const char *p, struct oci_challenge *c)
{
	size_t n = strspn(p, TOKEN68), pad = n ? strspn(p + n, "=") : 0;
	const char *after = p + n + pad + strspn(p + n + pad, BLANK), *next;

	if (n > 0 && (*after == ',' || *after == '\0'))
		return after;
	for (;;) {
		const char *start = p;

		next = param_at(p, c);
		if (!next)
			return NULL;
		if (next == start)
			return start; /* another scheme */
		p = next + strspn(next, BLANK);
		if (*p == '\0')
			return p;
		if (*p != ',')
			return NULL;
		p += strspn(p, BLANK ",");
	}
}

int oci_challenge_parse(const char *text, struct oci_challenge *ret, struct err *err)
{
	struct oci_challenge best = {.scheme = OCI_AUTH_NONE};
	const char *p = text + strspn(text, BLANK ",");

	while (*p) {
		struct oci_challenge c = {.scheme = OCI_AUTH_NONE};
		size_t n = strspn(p, TOKEN);

		if (n == 0 ||
		    !strchr(BLANK ",", p[n])) /* the NUL is found, too: it ends a scheme */
			return bad(text, err);
		if (n == 5 && strncasecmp(p, "Basic", n) == 0)
			c.scheme = OCI_AUTH_BASIC;
		else if (n == 6 && strncasecmp(p, "Bearer", n) == 0)
			c.scheme = OCI_AUTH_BEARER;
		p += n;
		if (*p == ' ' || *p == '\t')
			p = params_at(p + strspn(p, BLANK), &c);
		if (!p)
			return bad(text, err);
		p += strspn(p, BLANK ",");
		if (c.scheme == OCI_AUTH_BEARER && !c.realm[0])
			return bad(text, err);
		if (c.scheme > best.scheme)
			best = c;
	}
	*ret = best;
	return 0;
}
