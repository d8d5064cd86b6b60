/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/quote.h"

#include <stdio.h>
#include <string.h>

const char *oci_quote_len(struct oci_quoted *q, const char *s, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	size_t n = 0;

	if (!s) {
		(void)snprintf(q->text, sizeof(q->text), "(none)");
		return q->text;
	}
	q->text[n++] = '\'';
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];

		/* room for one escape, the dots, the quote and the NUL */
		if (n + 4 + 3 + 2 > sizeof(q->text)) {
			memcpy(q->text + n, "...", 3);
			n += 3;
			break;
		}
		if (c >= 0x20 && c < 0x7f && c != '\\') {
			q->text[n++] = (char)c;
		} else {
			q->text[n++] = '\\';
			q->text[n++] = 'x';
			q->text[n++] = digits[c >> 4];
			q->text[n++] = digits[c & 15];
		}
	}
	q->text[n++] = '\'';
	q->text[n] = '\0';
	return q->text;
}

const char *oci_quote(struct oci_quoted *q, const char *s)
{
	return oci_quote_len(q, s, s ? strlen(s) : 0);
}
