/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/tarmaker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(int r)
{
	if (r < 0)
		abort();
}

void tm_octal(char *field, size_t len, uint64_t n)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%0*llo", (int)len - 1, (unsigned long long)n);
	memcpy(field, text, len - 1);
	field[len - 1] = '\0';
}

struct tar_header *tm_header(struct strbuf *tar, char type, const char *name)
{
	struct tar_header zero, *h;
	size_t n = strlen(name);

	memset(&zero, 0, sizeof(zero));
	must(strbuf_add(tar, &zero, sizeof(zero)));
	h = (struct tar_header *)(void *)(tar->s + tar->len - sizeof(*h));
	memcpy(h->name, name, n < sizeof(h->name) ? n : sizeof(h->name));
	tm_octal(h->mode, sizeof(h->mode), type == '5' ? 0755 : type == '2' ? 0777 : 0644);
	tm_octal(h->uid, sizeof(h->uid), 1);
	tm_octal(h->gid, sizeof(h->gid), 2);
	tm_octal(h->size, sizeof(h->size), 0);
	tm_octal(h->mtime, sizeof(h->mtime), 7);
	tm_octal(h->devmajor, sizeof(h->devmajor), 0);
	tm_octal(h->devminor, sizeof(h->devminor), 0);
	h->type = type;
	memcpy(h->magic, "ustar\00000", sizeof(h->magic));
	tm_seal(h);
	return h;
}

void tm_seal(struct tar_header *h)
{
	unsigned int sum = 0;

	memset(h->checksum, ' ', sizeof(h->checksum));
	for (size_t i = 0; i < sizeof(*h); i++)
		sum += ((const unsigned char *)h)[i];
	tm_octal(h->checksum, 7, sum);
}

void tm_data(struct strbuf *tar, const void *data, size_t len)
{
	static const char zeros[TAR_BLOCK];

	must(strbuf_add(tar, data, len));
	if (len % TAR_BLOCK)
		must(strbuf_add(tar, zeros, TAR_BLOCK - len % TAR_BLOCK));
}

void tm_end(struct strbuf *tar)
{
	static const char zeros[2 * TAR_BLOCK];

	must(strbuf_add(tar, zeros, sizeof(zeros)));
}

void tm_line(struct strbuf *tar, const char *line)
{
	static const char kinds[] = "fdshcb0p", types[] = "05213436";
	const char *kind = strchr(kinds, line[0]), *p = line + 1, *data = "";
	char *name, *arrow, *eq;
	struct tar_header *h;
	unsigned long mode = 0;

	if (!kind || !line[0])
		abort();
	if (*p == ':') {
		char *end;

		mode = strtoul(p + 1, &end, 8);
		p = end;
	}
	if (*p++ != ' ')
		abort();
	name = strdup(p);
	if (!name)
		abort();
	arrow = strstr(name, " -> ");
	eq = line[0] == 'f' ? strchr(name, '=') : NULL;
	if (arrow)
		*arrow = '\0';
	if (eq) {
		*eq = '\0';
		data = eq + 1;
	}
	h = tm_header(tar, types[kind - kinds], name);
	if (mode)
		tm_octal(h->mode, sizeof(h->mode), mode);
	if (arrow)
		memcpy(h->linkname, arrow + 4, strlen(arrow + 4));
	if (line[0] == 'c' || line[0] == 'b') {
		tm_octal(h->devmajor, sizeof(h->devmajor), 1);
		tm_octal(h->devminor, sizeof(h->devminor), 3);
	}
	tm_octal(h->size, sizeof(h->size), strlen(data));
	tm_seal(h);
	tm_data(tar, data, strlen(data));
	free(name);
}

void tm_record(struct strbuf *records, const char *key, const void *value, size_t len)
{
	size_t rest = 1 + strlen(key) + 1 + len + 1, n = rest + 1;
	char digits[24];

	/* the length counts its own digits */
	while ((size_t)snprintf(digits, sizeof(digits), "%zu", n) + rest != n)
		n++;
	must(strbuf_addf(records, "%zu %s=", n, key));
	must(strbuf_add(records, value, len));
	must(strbuf_addc(records, '\n'));
}

void tm_pax(struct strbuf *tar, char type, const struct strbuf *records)
{
	struct tar_header *h = tm_header(tar, type, "PaxHeaders/x");

	tm_octal(h->size, sizeof(h->size), records->len);
	tm_seal(h);
	tm_data(tar, records->s, records->len);
}

void tm_pax1(struct strbuf *tar, char type, const char *key, const char *value)
{
	struct strbuf records = STRBUF_INIT;

	tm_record(&records, key, value, strlen(value));
	tm_pax(tar, type, &records);
	strbuf_release(&records);
}

void tm_gnu(struct strbuf *tar, char type, const char *text)
{
	struct tar_header *h = tm_header(tar, type, "././@LongLink");

	memcpy(h->magic, "ustar  ", 8);
	tm_octal(h->size, sizeof(h->size), strlen(text) + 1);
	tm_seal(h);
	tm_data(tar, text, strlen(text) + 1);
}
