/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "snapshotter/containerd/fetch.h"
#include "snapshotter/containerd/service.h"
#include "snapshotter/containerd/wire_util.h"
#include "snapshotter/filter.h"
#include "snapshotter/gc.h"

#define INFOS_PER_MESSAGE 100 /* of a List, as the reference has it */

static int send_empty(struct call *c, struct err *err)
{
	const Wire__Empty reply = WIRE__EMPTY__INIT;

	return wire_send(c, &reply.base, err);
}

/* The key of a request that has nothing else; free() it. */
static int read_key(struct call *c, char **ret, struct err *err)
{
	Wire__KeyRequest *q = NULL;
	int r = WIRE_DECODE(c, key_request, &q, err);

	if (r < 0)
		return r;
	r = wire_text(&q->key, "a key", ret, err);
	wire_free(&q->base);
	return r;
}

static int send_mounts(struct service *s, struct call *c, const char *key, struct err *err)
{
	struct snap_rootfs_mount m cleanup_snap_rootfs_mount = {.type = NULL};
	ProtobufCBinaryData options[SNAP_ROOTFS_OPTIONS_MAX];
	Wire__MountsReply reply = WIRE__MOUNTS_REPLY__INIT;
	Wire__Mount mount = WIRE__MOUNT__INIT, *mounts[] = {&mount};
	int r = snap_rootfs_mounts(s->store, s->rootfs, key, &m, err);

	if (r < 0)
		return r;
	mount.type = wire_bytes(m.type);
	mount.source = wire_bytes(m.source);
	for (size_t i = 0; i < m.n_options; i++)
		options[i] = wire_bytes(m.options[i]);
	mount.options = options;
	mount.n_options = m.n_options;
	reply.mounts = mounts;
	reply.n_mounts = 1;
	return wire_send(c, &reply.base, err);
}

static int prepare(struct service *s, struct call *c, enum snap_kind kind, struct err *err)
{
	char *key cleanup_free = NULL, *parent cleanup_free = NULL;
	struct snap_label *labels = NULL;
	Wire__PrepareRequest *q = NULL;
	size_t n = 0;
	int r = WIRE_DECODE(c, prepare_request, &q, err);

	if (r < 0)
		return r;
	r = wire_text(&q->key, "a key", &key, err);
	if (r == 0)
		r = wire_text(&q->parent, "a parent", &parent, err);
	n = q->n_labels;
	if (r == 0)
		r = wire_labels(q->labels, n, &labels, err);
	wire_free(&q->base);
	if (r == 0 && kind == SNAP_ACTIVE)
		r = fetch_remote(s->store, s->fetch, parent, labels, n, err);
	if (r > 0) /* containerd looks for it by its label, and unpacks nothing */
		r = err_msg(err, -EEXIST, "target snapshot of '%.200s'", key);
	if (r == 0)
		r = snap_prepare(s->store, kind, key, parent, labels, n, err);
	wire_labels_free(labels, n);
	if (r < 0)
		return r;
	r = send_mounts(s, c, key, err);
	/* a client that is told of a failure does not expect a snapshot to be there */
	if (r < 0 && snap_rootfs_remove(s->store, key, &s->removed, NULL) < 0)
		err_hint(err, "the snapshot stays");
	return r;
}

static int run_prepare(struct service *s, struct call *c, struct err *err)
{
	return prepare(s, c, SNAP_ACTIVE, err);
}

static int run_view(struct service *s, struct call *c, struct err *err)
{
	return prepare(s, c, SNAP_VIEW, err);
}

static int run_mounts(struct service *s, struct call *c, struct err *err)
{
	char *key cleanup_free = NULL;
	int r = read_key(c, &key, err);

	return r < 0 ? r : send_mounts(s, c, key, err);
}

static int run_commit(struct service *s, struct call *c, struct err *err)
{
	char *key cleanup_free = NULL, *name cleanup_free = NULL, *parent cleanup_free = NULL;
	struct snap_label *labels = NULL;
	Wire__CommitRequest *q = NULL;
	size_t n = 0;
	int r = WIRE_DECODE(c, commit_request, &q, err);

	if (r < 0)
		return r;
	r = wire_text(&q->key, "a key", &key, err);
	if (r == 0) /* only given to a plugin that says it can "rebase" */
		r = wire_text(&q->parent, "a parent", &parent, err);
	if (r == 0)
		r = wire_text(&q->name, "a name", &name, err);
	n = q->n_labels;
	if (r == 0)
		r = wire_labels(q->labels, n, &labels, err);
	wire_free(&q->base);
	if (r == 0)
		r = snap_rootfs_commit(s->store, name, key, parent, labels, n, err);
	wire_labels_free(labels, n);
	return r < 0 ? r : send_empty(c, err);
}

static int run_remove(struct service *s, struct call *c, struct err *err)
{
	char *key cleanup_free = NULL;
	int r = read_key(c, &key, err);

	if (r == 0)
		r = snap_rootfs_remove(s->store, key, &s->removed, err);
	return r < 0 ? r : send_empty(c, err);
}

static int send_info(struct service *s, struct call *c, const char *key, struct err *err)
{
	struct snap_info info cleanup_snap_info = {.key = NULL};
	Wire__InfoReply reply = WIRE__INFO_REPLY__INIT;
	struct wire_info w;
	int r = snap_stat(s->store, key, &info, err);

	if (r == 0)
		r = wire_info_init(&w, &info, err);
	if (r < 0)
		return r;
	reply.info = &w.info;
	r = wire_send(c, &reply.base, err);
	wire_info_release(&w);
	return r;
}

static int run_stat(struct service *s, struct call *c, struct err *err)
{
	char *key cleanup_free = NULL;
	int r = read_key(c, &key, err);

	return r < 0 ? r : send_info(s, c, key, err);
}

/* Strings of their own; free_texts(). */
static int read_texts(const ProtobufCBinaryData *from, size_t n, const char *what, char ***ret,
		      struct err *err)
{
	char **texts = calloc(n + 1, sizeof(*texts));
	int r = texts ? 0 : err_set(err, -ENOMEM, "request");

	for (size_t i = 0; i < n && r == 0; i++)
		r = wire_text(&from[i], what, &texts[i], err);
	for (size_t i = 0; i < n && r < 0 && texts; i++)
		free(texts[i]);
	if (r < 0)
		free(texts);
	else
		*ret = texts;
	return r;
}

static void free_texts(char **texts, size_t n)
{
	for (size_t i = 0; texts && i < n; i++)
		free(texts[i]);
	free(texts);
}

static int run_update(struct service *s, struct call *c, struct err *err)
{
	char *key cleanup_free = NULL, **paths = NULL;
	size_t n_paths = 0, n_labels = 0;
	struct snap_label *labels = NULL;
	Wire__UpdateRequest *q = NULL;
	int r = WIRE_DECODE(c, update_request, &q, err);

	if (r < 0)
		return r;
	if (!q->info)
		r = err_msg(err, -EINVAL, "an update of nothing");
	if (r == 0)
		r = wire_text(&q->info->name, "a name", &key, err);
	if (r == 0) {
		n_labels = q->info->n_labels;
		r = wire_labels(q->info->labels, n_labels, &labels, err);
	}
	if (r == 0 && q->update_mask) {
		n_paths = q->update_mask->n_paths;
		r = read_texts(q->update_mask->paths, n_paths, "a path", &paths, err);
	}
	wire_free(&q->base);
	if (r == 0)
		r = snap_update(s->store, key, labels, n_labels, (const char *const *)paths,
				n_paths, err);
	wire_labels_free(labels, n_labels);
	free_texts(paths, n_paths);
	return r < 0 ? r : send_info(s, c, key, err);
}

/* A List under way: the message that is being filled. */
struct list {
	struct call *call;
	struct strbuf message;
	size_t n; /* infos in it */
};

static int list_send(struct list *l, struct err *err)
{
	int r = l->n > 0 ? call_send(l->call, l->message.s, l->message.len) : 0;

	strbuf_reset(&l->message);
	l->n = 0;
	call_flush(l->call);
	return r < 0 ? err_set(err, r, "answer") : 0;
}

/* Messages of one info each, behind each other, are one message of them all (protobuf encoding). */
static int list_append(struct list *l, const struct snap_info *info, struct err *err)
{
	Wire__ListReply reply = WIRE__LIST_REPLY__INIT;
	Wire__Info *infos[1];
	struct wire_info w;
	size_t len;
	int r = wire_info_init(&w, info, err);

	if (r < 0)
		return r;
	infos[0] = &w.info;
	reply.info = infos;
	reply.n_info = 1;
	len = protobuf_c_message_get_packed_size(&reply.base);
	r = strbuf_reserve(&l->message, len + 1);
	if (r == 0)
		l->message.len += protobuf_c_message_pack(&reply.base,
							  (uint8_t *)l->message.s + l->message.len);
	wire_info_release(&w);
	return r < 0 ? err_set(err, r, "answer") : 0;
}

static int list_add(void *ctx, const struct snap_info *info, struct err *err)
{
	struct list *l = ctx;
	int r;

	if (atomic_load(&l->call->cancelled))
		return err_msg(err, -ECANCELED, "context canceled");
	r = list_append(l, info, err);
	if (r < 0)
		return r;
	return ++l->n == INFOS_PER_MESSAGE ? list_send(l, err) : 0;
}

static int run_list(struct service *s, struct call *c, struct err *err)
{
	struct snap_filter *filter cleanup_snap_filter = NULL;
	struct list l = {.call = c, .message = STRBUF_INIT};
	Wire__ListRequest *q = NULL;
	char **texts = NULL;
	int r = WIRE_DECODE(c, list_request, &q, err);

	if (r < 0)
		return r;
	r = read_texts(q->filters, q->n_filters, "a filter", &texts, err);
	if (r == 0) {
		r = snap_filter_parse((const char *const *)texts, q->n_filters, &filter, err);
		free_texts(texts, q->n_filters);
	}
	wire_free(&q->base);
	if (r == 0)
		r = snap_walk(s->store, filter, list_add, &l, err);
	if (r == 0)
		r = list_send(&l, err);
	strbuf_release(&l.message);
	return r;
}

static int run_usage(struct service *s, struct call *c, struct err *err)
{
	Wire__UsageReply reply = WIRE__USAGE_REPLY__INIT;
	char *key cleanup_free = NULL;
	struct snap_usage usage;
	int r = read_key(c, &key, err);

	if (r == 0)
		r = snap_usage(s->store, key, &usage, err);
	if (r < 0)
		return r;
	reply.size = (int64_t)usage.size;
	reply.inodes = (int64_t)usage.inodes;
	return wire_send(c, &reply.base, err);
}

static int run_cleanup(struct service *s, struct call *c, struct err *err)
{
	Wire__CleanupRequest *q = NULL;
	int r = WIRE_DECODE(c, cleanup_request, &q, err);

	wire_free(r == 0 ? &q->base : NULL);
	if (r == 0)
		r = snap_gc_snapshots(s->store, err);
	if (r == 0)
		r = snap_rootfs_prune(s->store, err);
	return r < 0 ? r : send_empty(c, err);
}

#define SERVICE "/containerd.services.snapshots.v1.Snapshots/"
const struct service_method service_snapshots[] = {
	{.path = SERVICE "Prepare", .run = run_prepare},
	{.path = SERVICE "View", .run = run_view},
	{.path = SERVICE "Mounts", .run = run_mounts},
	{.path = SERVICE "Commit", .run = run_commit},
	{.path = SERVICE "Remove", .run = run_remove},
	{.path = SERVICE "Stat", .run = run_stat},
	{.path = SERVICE "Update", .run = run_update},
	{.path = SERVICE "List", .run = run_list},
	{.path = SERVICE "Usage", .run = run_usage},
	{.path = SERVICE "Cleanup", .run = run_cleanup},
	{.path = NULL},
};
