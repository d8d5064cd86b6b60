/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "overlay/lower.h"
#include "overlay/mark.h"
#include "overlay/whiteout.h"

/*
 * The marks of a layer or an upper, each parser by the first byte: whatever stands there, what
 * comes out keeps what the engine relies on.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void see_number(const char *s, size_t len)
{
	uint64_t n;
	char *end;

	if (ovl_mark_number(s, len, &n) == 0) {
		char *copy cleanup_free = strndup(s, len);

		if (copy && (strtoull(copy, &end, 10) != n || *end))
			abort();
	}
}

static void see_nlink(const char *s, size_t len)
{
	for (unsigned int real = 0; real < 4; real++)
		if (ovl_mark_nlink(s, len, real) < 1)
			abort();
	if (ovl_mark_nlink(s, len, (nlink_t)-1) < 1)
		abort();
}

static void see_place(const char *s, size_t len)
{
	struct ovl_place p;

	if (ovl_mark_place(s, len, &p) == 0 && len < strlen("0:0:0"))
		abort();
}

/* Every component of what comes out is a name: no way leads out of the layer. */
static void expect_inside(const char *path, bool absolute)
{
	if ((path[0] == '/') != absolute)
		abort();
	if (!absolute && !ovl_mark_is_name(path, strlen(path)))
		abort();
}

/* A chain of redirects, one a layer, between NULs. */
static void see_redirect(const char *s, size_t len)
{
	char *all cleanup_free = malloc(len + 1), *path cleanup_free = strdup("name");
	bool absolute = false;

	if (!all || !path)
		return;
	memcpy(all, s, len);
	all[len] = '\0';
	for (const char *p = all; p < all + len; p += strlen(p) + 1) {
		if (ovl_mark_redirect(&path, p, &absolute) < 0)
			break;
		expect_inside(path, absolute);
	}
	expect_inside(path, absolute);
}

static void see_override(const char *s, size_t len)
{
	struct stat st = {.st_mode = S_IFREG | 0644, .st_uid = 1, .st_gid = 2};
	bool known = ovl_override_parse(s, len, &st);

	if (!S_ISREG(st.st_mode) || (!known && (st.st_uid != 1 || st.st_mode != (S_IFREG | 0644))))
		abort();
}

static void see_whiteout(const char *s, size_t len)
{
	const char *name = NULL;
	size_t name_len = 0;

	if (ovl_wh_classify(s, len, &name, &name_len) != OVL_WH_FILE)
		return;
	if (name_len == 0 || name + name_len != s + len || (name_len == 1 && *name == '.'))
		abort();
}

static void see_xattr(const char *s, size_t len)
{
	char *name cleanup_free = strndup(s, len);

	if (name && ovl_xattr_is_private(name) && strncmp(name, "user.", 5) != 0 &&
	    strncmp(name, "trusted.", 8) != 0 && strncmp(name, "security.", 9) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const parsers[])(const char *, size_t) = {
		see_number,   see_nlink,    see_place, see_redirect,
		see_override, see_whiteout, see_xattr,
	};
	char *text cleanup_free = NULL;

	if (size == 0)
		return 0;
	/* of its own length, so that one byte too many is seen */
	text = malloc(size);
	if (!text)
		return 0;
	memcpy(text, data + 1, size - 1);
	parsers[data[0] % (sizeof(parsers) / sizeof(*parsers))](text, size - 1);
	return 0;
}
