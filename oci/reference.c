/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/reference.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/digest.h"

#define ALNUM_LOW "abcdefghijklmnopqrstuvwxyz0123456789"
#define ALNUM	  ALNUM_LOW "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

bool oci_tag_is_valid(const char *tag)
{
	size_t n = strlen(tag);

	return n >= 1 && n <= OCI_TAG_MAX && strchr(ALNUM "_", tag[0]) &&
	       strspn(tag, ALNUM "_.-") == n;
}

/* Length of one path component at @s: alphanumerics, with '.', '_', '__' or any number of '-'
 * between; 0 = none. */
static size_t component_len(const char *s)
{
	size_t n = strspn(s, ALNUM_LOW);

	if (n == 0)
		return 0;
	for (;;) {
		size_t sep = strspn(s + n, "-"), more;

		if (sep == 0 && (s[n] == '.' || s[n] == '_'))
			sep = s[n] == '_' && s[n + 1] == '_' ? 2 : 1;
		more = sep ? strspn(s + n + sep, ALNUM_LOW) : 0;
		if (more == 0)
			return n;
		n += sep + more;
	}
}

static bool host_is_valid(const char *s, size_t len)
{
	const char *colon = memchr(s, ':', len), *bracket = memchr(s, ']', len);
	size_t name = colon ? (size_t)(colon - s) : len;

	/* an IPv6 address in brackets */
	if (s[0] == '[') {
		name = bracket ? (size_t)(bracket - s) + 1 : 0;
		if (name < 4 || strspn(s + 1, "0123456789abcdefABCDEF:.") != name - 2)
			return false;
		return name == len || (s[name] == ':' && len > name + 1 &&
				       strspn(s + name + 1, "0123456789") == len - name - 1);
	}

	/* without one of these it is the first part of a name (docker.io is implied) */
	if (!colon && !memchr(s, '.', len) && !(len == 9 && memcmp(s, "localhost", 9) == 0))
		return false;
	if (name == 0 || strspn(s, ALNUM ".-") < name || s[0] == '.' || s[0] == '-')
		return false;
	return !colon || (len > name + 1 && strspn(colon + 1, "0123456789") == len - name - 1);
}

/* The byte behind the name of a full reference, NULL when it is none. */
static const char *name_end(const char *ref)
{
	const char *p = strchr(ref, '/');

	if (!p || p - ref > 255 || !host_is_valid(ref, (size_t)(p - ref)))
		return NULL;
	do {
		size_t n = component_len(++p);

		if (n == 0)
			return NULL;
		p += n;
	} while (*p == '/');
	return p;
}

bool oci_reference_is_full(const char *ref)
{
	const char *p = name_end(ref);
	char tag[OCI_TAG_MAX + 1];
	struct digest d;

	if (!p || strlen(ref) > 1024)
		return false;
	if (*p == ':') {
		if (!oci_reference_tag(ref, tag))
			return false;
		p += 1 + strlen(tag);
	}
	if (*p == '@')
		return digest_parse(p + 1, &d) == 0;
	return *p == '\0';
}

bool oci_reference_tag(const char *ref, char ret[OCI_TAG_MAX + 1])
{
	const char *p = name_end(ref);
	size_t n;

	if (!p || *p != ':')
		return false;
	n = strcspn(++p, "@");
	if (n == 0 || n > OCI_TAG_MAX)
		return false;
	memcpy(ret, p, n);
	ret[n] = '\0';
	return oci_tag_is_valid(ret);
}

int oci_reference_parse(const char *text, struct oci_reference *ret)
{
	struct oci_reference out = {.host = "docker.io"};
	const char *slash = strchr(text, '/'), *name = text, *p, *prefix;
	size_t n;

	if (strlen(text) > 1024)
		return -EINVAL;
	if (slash && slash - text < (int)sizeof(out.host) &&
	    host_is_valid(text, (size_t)(slash - text))) {
		memcpy(out.host, text, (size_t)(slash - text));
		out.host[slash - text] = '\0';
		name = slash + 1;
	}
	p = name;
	while ((n = component_len(p)) > 0 && p[n] == '/')
		p += n + 1;
	if (n == 0)
		return -EINVAL;
	p += n;
	prefix = strcmp(out.host, "docker.io") == 0 && !memchr(name, '/', (size_t)(p - name))
			 ? "library/"
			 : "";
	if (strlen(prefix) + (size_t)(p - name) >= sizeof(out.name))
		return -EINVAL;
	(void)snprintf(out.name, sizeof(out.name), "%s%.*s", prefix, (int)(p - name), name);
	if (*p == ':') {
		n = strcspn(++p, "@");
		if (n == 0 || n > OCI_TAG_MAX)
			return -EINVAL;
		memcpy(out.tag, p, n);
		out.tag[n] = '\0';
		if (!oci_tag_is_valid(out.tag))
			return -EINVAL;
		p += n;
	}
	if (*p == '@') {
		if (digest_parse(p + 1, &out.digest) < 0)
			return -EINVAL;
	} else if (*p) {
		return -EINVAL;
	} else if (!out.tag[0]) {
		strcpy(out.tag, "latest");
	}
	*ret = out;
	return 0;
}

char *oci_reference_format(const struct oci_reference *r)
{
	char *text;
	bool digest = r->digest.text[0] != '\0';

	return asprintf(&text, "%s/%s%s%s", r->host, r->name, digest ? "@" : ":",
			digest ? r->digest.text : r->tag) < 0
		       ? NULL
		       : text;
}

char *oci_reference_for_folder(const char *folder, const char *tag)
{
	char *name cleanup_free = malloc(strlen(folder) + sizeof("image"));
	char *ref, *out = name;

	if (!name)
		return NULL;
	/* separators only between alphanumerics, one at a time: always within the grammar */
	for (const char *p = folder; *p; p++) {
		unsigned char c = (unsigned char)*p;
		bool alnum = c < 0x80 && isalnum(c);

		if (alnum)
			*out++ = (char)tolower(c);
		else if (out > name && out[-1] != '-' && out[-1] != '.' && out[-1] != '_')
			*out++ = c == '.' || c == '_' ? (char)c : '-';
	}
	while (out > name && (out[-1] == '-' || out[-1] == '.' || out[-1] == '_'))
		out--;
	*out = '\0';
	if (out == name)
		strcpy(name, "image");
	if (asprintf(&ref, "localhost/%s:%s", name, tag) < 0)
		return NULL;
	for (char *p = ref; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	return ref;
}
