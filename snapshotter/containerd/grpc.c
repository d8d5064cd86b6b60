/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/containerd/grpc.h"

#include <errno.h>
#include <string.h>

enum grpc_code grpc_code_of(int code)
{
	switch (code) {
	case 0:
		return GRPC_OK;
	case -EINVAL:
		return GRPC_INVALID_ARGUMENT;
	case -ENOENT:
		return GRPC_NOT_FOUND;
	case -EEXIST:
		return GRPC_ALREADY_EXISTS;
	case -EBUSY:
		return GRPC_FAILED_PRECONDITION;
	case -EAGAIN:
		return GRPC_UNAVAILABLE;
	case -ECANCELED:
		return GRPC_CANCELLED;
	case -EBADMSG:
		return GRPC_INTERNAL;
	case -EMSGSIZE:
		return GRPC_RESOURCE_EXHAUSTED;
	default:
		return GRPC_UNKNOWN;
	}
}

const char *grpc_code_text(enum grpc_code code)
{
	switch (code) {
	case GRPC_INVALID_ARGUMENT:
		return "invalid argument";
	case GRPC_NOT_FOUND:
		return "not found";
	case GRPC_ALREADY_EXISTS:
		return "already exists";
	case GRPC_FAILED_PRECONDITION:
		return "failed precondition";
	case GRPC_UNAVAILABLE:
		return "unavailable";
	case GRPC_OK:
	case GRPC_CANCELLED:
	case GRPC_UNKNOWN:
	case GRPC_DEADLINE_EXCEEDED:
	case GRPC_RESOURCE_EXHAUSTED:
	case GRPC_UNIMPLEMENTED:
	case GRPC_INTERNAL:
		break;
	}
	return NULL;
}

static int64_t unit_ns(char unit)
{
	switch (unit) {
	case 'H':
		return INT64_C(3600000000000);
	case 'M':
		return INT64_C(60000000000);
	case 'S':
		return 1000000000;
	case 'm':
		return 1000000;
	case 'u':
		return 1000;
	case 'n':
		return 1;
	default:
		return 0;
	}
}

int grpc_timeout_parse(const char *text, int64_t *ret_ns)
{
	int64_t value = 0, unit, ns;
	size_t n = 0;

	for (; text[n] >= '0' && text[n] <= '9'; n++) {
		if (n == 8)
			return -EINVAL;
		value = value * 10 + (text[n] - '0');
	}
	unit = n > 0 ? unit_ns(text[n]) : 0;
	if (unit == 0 || text[n + 1] != '\0')
		return -EINVAL;
	*ret_ns = __builtin_mul_overflow(value, unit, &ns) ? INT64_MAX : ns;
	return 0;
}

int grpc_message_encode(const char *text, struct strbuf *out)
{
	int r = 0;

	for (const unsigned char *p = (const unsigned char *)text; *p && r == 0; p++) {
		if (*p >= 0x20 && *p <= 0x7e && *p != '%')
			r = strbuf_addc(out, (char)*p);
		else
			r = strbuf_addf(out, "%%%02X", *p);
	}
	return r;
}

int grpc_frame_add(struct strbuf *out, const void *data, size_t len)
{
	const unsigned char head[5] = {0, (unsigned char)(len >> 24), (unsigned char)(len >> 16),
				       (unsigned char)(len >> 8), (unsigned char)len};
	int r;

	if (len > UINT32_MAX)
		return -EMSGSIZE;
	r = strbuf_reserve(out, sizeof(head) + len);
	if (r == 0)
		r = strbuf_add(out, head, sizeof(head));
	return r == 0 && len > 0 ? strbuf_add(out, data, len) : r;
}

void grpc_reader_init(struct grpc_reader *r)
{
	memset(r, 0, sizeof(*r));
	strbuf_init(&r->message);
}

void grpc_reader_release(struct grpc_reader *r)
{
	strbuf_release(&r->message);
}

static int read_head(struct grpc_reader *r)
{
	if (r->head[0] == 1)
		return -EPROTONOSUPPORT;
	if (r->head[0] != 0)
		return -EPROTO;
	r->length = (uint32_t)r->head[1] << 24 | (uint32_t)r->head[2] << 16 |
		    (uint32_t)r->head[3] << 8 | r->head[4];
	return r->length > GRPC_MESSAGE_MAX ? -EMSGSIZE : 0;
}

int grpc_reader_add(struct grpc_reader *r, const void *data, size_t len)
{
	const unsigned char *p = data;
	int e;

	while (len > 0 && r->n_head < sizeof(r->head)) {
		r->head[r->n_head++] = *p++;
		len--;
		e = r->n_head == sizeof(r->head) ? read_head(r) : 0;
		if (e < 0)
			return e;
	}
	if (len == 0)
		return 0;
	/* memory grows with what came, not with what the head promises */
	return len > r->length - r->message.len ? -EPROTO : strbuf_add(&r->message, p, len);
}

int grpc_reader_end(const struct grpc_reader *r)
{
	return r->n_head == sizeof(r->head) && r->message.len == r->length ? 0 : -EPROTO;
}
