/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "oci/document.h"
#include "oci/quote.h"

/* What uname(2) and people say, as images say it (Go's GOARCH). */
static const struct {
	const char *from, *arch, *variant;
} arch_names[] = {
	{"x86_64", "amd64", ""},    {"x86-64", "amd64", ""},   {"aarch64", "arm64", ""},
	{"arm64e", "arm64", ""},    {"armv8l", "arm", "v7"},   {"armv7l", "arm", "v7"},
	{"armv6l", "arm", "v6"},    {"armv5tel", "arm", "v5"}, {"armhf", "arm", "v7"},
	{"armel", "arm", "v6"},	    {"i386", "386", ""},       {"i486", "386", ""},
	{"i586", "386", ""},	    {"i686", "386", ""},       {"loongarch64", "loong64", ""},
	{"ppc64el", "ppc64le", ""},
};

static int copy_part(char *to, size_t size, const char *from, size_t len)
{
	if (len == 0 || len >= size)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-",
			    from[i]))
			return -EINVAL;
	}
	memcpy(to, from, len);
	to[len] = '\0';
	return 0;
}

static void normalise(struct oci_platform *p)
{
	for (size_t i = 0; i < sizeof(arch_names) / sizeof(arch_names[0]); i++) {
		if (strcmp(p->architecture, arch_names[i].from) != 0)
			continue;
		(void)snprintf(p->architecture, sizeof(p->architecture), "%s", arch_names[i].arch);
		if (p->variant[0] == '\0')
			(void)snprintf(p->variant, sizeof(p->variant), "%s", arch_names[i].variant);
		return;
	}
}

int oci_platform_parse(const char *text, struct oci_platform *ret, struct err *err)
{
	struct oci_platform p = {.os = "linux"};
	const char *slash, *second;
	struct oci_quoted q;
	struct utsname u;
	int r;

	if (!text) {
		if (uname(&u) < 0)
			return err_set(err, -errno, "uname");
		r = copy_part(p.architecture, sizeof(p.architecture), u.machine, strlen(u.machine));
	} else {
		slash = strchr(text, '/');
		if (!slash)
			goto bad;
		second = strchrnul(slash + 1, '/');
		r = copy_part(p.os, sizeof(p.os), text, (size_t)(slash - text));
		if (r == 0)
			r = copy_part(p.architecture, sizeof(p.architecture), slash + 1,
				      (size_t)(second - slash - 1));
		if (r == 0 && *second)
			r = copy_part(p.variant, sizeof(p.variant), second + 1, strlen(second + 1));
	}
	if (r < 0)
		goto bad;
	normalise(&p);
	*ret = p;
	return 0;
bad:
	(void)err_msg(err, -EINVAL, "%s is no platform", oci_quote(&q, text));
	err_hint(err, "a platform is OS/ARCH or OS/ARCH/VARIANT, as in linux/arm64/v8");
	return -EINVAL;
}

/* The number of a variant "vN" where higher ones run what lower ones do; -1 when it is none of that
 * kind. */
static int level(const struct oci_platform *p)
{
	int none;

	if (strcmp(p->architecture, "arm") == 0)
		none = 7;
	else if (strcmp(p->architecture, "arm64") == 0)
		none = 8;
	else if (strcmp(p->architecture, "amd64") == 0)
		none = 1;
	else
		return -1;
	if (p->variant[0] == '\0')
		return none;
	if (p->variant[0] == 'v' && p->variant[1] >= '1' && p->variant[1] <= '9' && !p->variant[2])
		return p->variant[1] - '0';
	return -1;
}

unsigned int oci_platform_rank(const struct oci_platform *want, const struct oci_platform *have)
{
	struct oci_platform h = *have;
	int w, l;

	normalise(&h);
	if (strcmp(want->os, h.os) != 0 || strcmp(want->architecture, h.architecture) != 0)
		return 0;
	w = level(want);
	l = level(&h);
	if (w < 0 || l < 0)
		return strcmp(want->variant, h.variant) == 0 ? 100 : 0;
	return l <= w ? (unsigned int)(100 - (w - l)) : 0;
}

const char *oci_platform_format(const struct oci_platform *p, char *buf, size_t size)
{
	(void)snprintf(buf, size, "%s/%s%s%s", p->os[0] ? p->os : "?",
		       p->architecture[0] ? p->architecture : "?", p->variant[0] ? "/" : "",
		       p->variant);
	return buf;
}
