/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/containerd/wire_util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define DECODED_MAX (64u << 20) /* bytes of memory for one message */

struct budget {
	size_t left;
	bool exceeded;
};

static void *budget_alloc(void *data, size_t size)
{
	struct budget *b = data;

	if (size > b->left) {
		b->exceeded = true;
		return NULL;
	}
	b->left -= size;
	return malloc(size);
}

static void budget_free(void *data, void *p)
{
	(void)data;
	free(p);
}

int wire_decode(const struct call *c, const ProtobufCMessageDescriptor *type, void *ret,
		struct err *err)
{
	struct budget budget = {.left = DECODED_MAX};
	ProtobufCAllocator allocator = {
		.alloc = budget_alloc, .free = budget_free, .allocator_data = &budget};
	ProtobufCMessage *m = protobuf_c_message_unpack(type, &allocator, c->request.len,
							(const uint8_t *)c->request.s);

	if (m) {
		memcpy(ret, &m, sizeof(m)); /* every message begins with a ProtobufCMessage */
		return 0;
	}
	if (budget.exceeded)
		return err_msg(err, -EMSGSIZE, "the message has too many parts");
	return err_msg(err, -EBADMSG, "grpc: error unmarshalling request");
}

void wire_free(ProtobufCMessage *m)
{
	struct budget budget = {.left = 0};
	ProtobufCAllocator allocator = {
		.alloc = budget_alloc, .free = budget_free, .allocator_data = &budget};

	if (m)
		protobuf_c_message_free_unpacked(m, &allocator);
}

int wire_send(struct call *c, const ProtobufCMessage *m, struct err *err)
{
	size_t len = protobuf_c_message_get_packed_size(m);
	uint8_t *buf cleanup_free = malloc(len + 1);
	int r = buf ? 0 : -ENOMEM;

	if (r == 0)
		r = call_send(c, buf, protobuf_c_message_pack(m, buf));
	return r < 0 ? err_set(err, r, "answer") : 0;
}

int wire_text(const ProtobufCBinaryData *b, const char *what, char **ret, struct err *err)
{
	char *s;

	if (b->len > 0 && memchr(b->data, 0, b->len))
		return err_msg(err, -EINVAL, "%s with a NUL byte", what);
	s = malloc(b->len + 1);
	if (!s)
		return err_set(err, -ENOMEM, "request");
	if (b->len > 0)
		memcpy(s, b->data, b->len);
	s[b->len] = '\0';
	*ret = s;
	return 0;
}

ProtobufCBinaryData wire_bytes(const char *text)
{
	return (ProtobufCBinaryData){.len = text ? strlen(text) : 0,
				     .data = (uint8_t *)(uintptr_t)text};
}

void wire_labels_free(struct snap_label *labels, size_t n)
{
	for (size_t i = 0; labels && i < n; i++) {
		free(labels[i].key);
		free(labels[i].value);
	}
	free(labels);
}

int wire_labels(Wire__Label **labels, size_t n, struct snap_label **ret, struct err *err)
{
	struct snap_label *l = calloc(n + 1, sizeof(*l));
	int r = l ? 0 : err_set(err, -ENOMEM, "labels");

	for (size_t i = 0; i < n && r == 0; i++) {
		r = wire_text(&labels[i]->key, "a label's key", &l[i].key, err);
		if (r == 0)
			r = wire_text(&labels[i]->value, "a label's value", &l[i].value, err);
	}
	if (r < 0)
		wire_labels_free(l, n);
	else
		*ret = l;
	return r;
}

static void set_time(Wire__Timestamp *t, int64_t ns)
{
	wire__timestamp__init(t);
	t->seconds = ns / 1000000000;
	t->nanos = (int32_t)(ns % 1000000000);
}

int wire_info_init(struct wire_info *w, const struct snap_info *info, struct err *err)
{
	wire__info__init(&w->info);
	w->labels = calloc(info->n_labels + 1, sizeof(*w->labels));
	w->pointers = calloc(info->n_labels + 1, sizeof(*w->pointers));
	if (!w->labels || !w->pointers) {
		wire_info_release(w);
		return err_set(err, -ENOMEM, "answer");
	}
	for (size_t i = 0; i < info->n_labels; i++) {
		wire__label__init(&w->labels[i]);
		w->labels[i].key = wire_bytes(info->labels[i].key);
		w->labels[i].value = wire_bytes(info->labels[i].value);
		w->pointers[i] = &w->labels[i];
	}
	set_time(&w->created, info->created);
	set_time(&w->updated, info->updated);
	w->info.name = wire_bytes(info->key);
	w->info.parent = wire_bytes(info->parent);
	w->info.kind = (int32_t)info->kind; /* the same numbers */
	w->info.created_at = &w->created;
	w->info.updated_at = &w->updated;
	w->info.labels = w->pointers;
	w->info.n_labels = info->n_labels;
	return 0;
}

void wire_info_release(struct wire_info *w)
{
	free(w->labels);
	free(w->pointers);
	w->labels = NULL;
	w->pointers = NULL;
}
