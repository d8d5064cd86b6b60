/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/xattr.h"

#include <endian.h>
#include <errno.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "oci/quote.h"
#include "overlay/whiteout.h"

#define ACL_ENTRIES_MAX 8191 /* what fits in 64 KiB */

enum oci_xattr_verdict oci_xattr_judge(const char *name, unsigned int mode, const char **ret_why)
{
	if (strcmp(name, "security.selinux") == 0)
		return OCI_XATTR_DROP;
	if (ovl_xattr_is_private(name) || strncmp(name, "trusted.snap.", 13) == 0) {
		*ret_why = "a union, or a file system, keeps its own books in it";
		return OCI_XATTR_WARN;
	}
	if (strcmp(name, OCI_ACL_ACCESS) == 0 || strcmp(name, OCI_ACL_DEFAULT) == 0)
		return OCI_XATTR_KEEP;
	if (strncmp(name, "user.", 5) == 0 && name[5]) {
		if (S_ISREG(mode) || S_ISDIR(mode))
			return OCI_XATTR_KEEP;
		*ret_why = "only files and directories can have user.*";
		return OCI_XATTR_WARN;
	}
	if ((strncmp(name, "security.", 9) == 0 && name[9]) ||
	    (strncmp(name, "trusted.", 8) == 0 && name[8]))
		return OCI_XATTR_KEEP;
	*ret_why = "the kernel has no such name space";
	return OCI_XATTR_WARN;
}

bool oci_acl_is_valid(const void *value, size_t len)
{
	uint32_t version;

	if (len < sizeof(struct posix_acl_xattr_header) ||
	    (len - sizeof(struct posix_acl_xattr_header)) % sizeof(struct posix_acl_xattr_entry))
		return false;
	memcpy(&version, value, sizeof(version));
	return le32toh(version) == POSIX_ACL_XATTR_VERSION;
}

struct entry {
	uint16_t tag, perm;
	uint32_t id;
};

static int parse_id(const char *text, uint32_t *ret)
{
	unsigned long long n;
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno || *end != '\0' || n > 4294967294ULL)
		return -EINVAL;
	*ret = (uint32_t)n;
	return 0;
}

static int parse_perm(const char *text, uint16_t *ret)
{
	*ret = 0;
	for (; *text; text++) {
		switch (*text) {
		case 'r':
			*ret |= 4;
			break;
		case 'w':
			*ret |= 2;
			break;
		case 'x':
			*ret |= 1;
			break;
		case '-':
			break;
		default:
			return -EINVAL;
		}
	}
	return 0;
}

static bool is_word(const char *text, const char *word)
{
	return strcmp(text, word) == 0 || (text[0] == word[0] && text[1] == '\0');
}

/* "TAG:QUALIFIER:PERM[:ID]"; mask and other are written with one colon, too. @text is changed. */
static int parse_entry(char *text, struct entry *e)
{
	char *part[4] = {NULL};
	size_t n = 0;

	for (char *p = text; n < 4; n++) {
		part[n] = p;
		p = strchr(p, ':');
		if (!p) {
			n++;
			break;
		}
		*p++ = '\0';
		if (n == 3)
			return -EINVAL;
	}
	e->id = (uint32_t)ACL_UNDEFINED_ID;
	if (n == 2 && (is_word(part[0], "mask") || is_word(part[0], "other"))) {
		part[2] = part[1];
		part[1] = part[1] + strlen(part[1]);
		n = 3;
	}
	if (n < 3 || parse_perm(part[2], &e->perm) < 0)
		return -EINVAL;
	if (is_word(part[0], "mask") || is_word(part[0], "other")) {
		e->tag = part[0][0] == 'm' ? ACL_MASK : ACL_OTHER;
		return *part[1] ? -EINVAL : 0;
	}
	if (is_word(part[0], "user"))
		e->tag = *part[1] ? ACL_USER : ACL_USER_OBJ;
	else if (is_word(part[0], "group"))
		e->tag = *part[1] ? ACL_GROUP : ACL_GROUP_OBJ;
	else
		return -EINVAL;
	if (*part[1] == '\0')
		return 0;
	/* names are the writer's: only numbers mean something here */
	if (n == 4 && *part[3])
		return parse_id(part[3], &e->id);
	return parse_id(part[1], &e->id);
}

static int compare(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->tag != y->tag)
		return x->tag < y->tag ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

/* As the kernel's posix_acl_valid(): the three owners once, a mask where there are named ones. */
static bool is_complete(const struct entry *e, size_t n)
{
	unsigned int users = 0, groups = 0, masks = 0, others = 0, named = 0;

	for (size_t i = 0; i < n; i++) {
		users += e[i].tag == ACL_USER_OBJ;
		groups += e[i].tag == ACL_GROUP_OBJ;
		masks += e[i].tag == ACL_MASK;
		others += e[i].tag == ACL_OTHER;
		named += e[i].tag == ACL_USER || e[i].tag == ACL_GROUP;
		if (i > 0 && compare(&e[i - 1], &e[i]) == 0)
			return false;
	}
	return users == 1 && groups == 1 && others == 1 && masks <= 1 && (named == 0 || masks == 1);
}

static int write_acl(const struct entry *e, size_t n, struct strbuf *out)
{
	struct posix_acl_xattr_header h = {.a_version = htole32(POSIX_ACL_XATTR_VERSION)};
	int r = strbuf_add(out, &h, sizeof(h));

	for (size_t i = 0; i < n && r == 0; i++) {
		struct posix_acl_xattr_entry x = {
			.e_tag = htole16(e[i].tag),
			.e_perm = htole16(e[i].perm),
			.e_id = htole32(e[i].id),
		};

		r = strbuf_add(out, &x, sizeof(x));
	}
	return r;
}

int oci_acl_from_text(const char *text, bool is_default, struct strbuf *out, struct err *err)
{
	char *copy cleanup_free = strdup(text);
	struct entry *entries cleanup_free = NULL;
	size_t n = 0, cap = 0;
	struct oci_quoted q;
	char *save = NULL;

	if (!copy)
		return err_set(err, -ENOMEM, "read ACL");
	for (char *p = strtok_r(copy, ",\n", &save); p; p = strtok_r(NULL, ",\n", &save)) {
		char *comment = strchr(p, '#');

		if (comment)
			*comment = '\0';
		p += strspn(p, " \t");
		if (strncmp(p, "default:", 8) == 0 && is_default)
			p += 8;
		p[strcspn(p, " \t")] = '\0';
		if (*p == '\0')
			continue;
		if (n == cap) {
			struct entry *more;

			cap = cap ? cap * 2 : 8;
			more = reallocarray(entries, cap, sizeof(*more));
			if (!more)
				return err_set(err, -ENOMEM, "read ACL");
			entries = more;
		}
		if (n == ACL_ENTRIES_MAX || parse_entry(p, &entries[n++]) < 0)
			return err_msg(
				err, -EBADMSG,
				"ACL %s cannot be read (names need their number behind them)",
				oci_quote(&q, text));
	}
	if (n)
		qsort(entries, n, sizeof(*entries), compare);
	if (!is_complete(entries, n))
		return err_msg(err, -EBADMSG, "ACL %s is incomplete", oci_quote(&q, text));
	if (n == 3 && !is_default)
		return 0;
	if (write_acl(entries, n, out) < 0)
		return err_set(err, -ENOMEM, "read ACL");
	return 0;
}
