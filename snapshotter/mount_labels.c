/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "snapshotter/mount_private.h"

/*
 * containerd's labels of a snapshot that say how its mount is to be
 * (core/snapshots/snapshotter.go): owners by who announces "remap-ids", as container:host:count
 * ranges with commas between them, which is what the engine calls stored:shown:count with colons;
 * and a size in bytes. A size that is none is passed over, as the label is a wish; owners that are
 * none would be wrong owners.
 */
#define PREFIX "containerd.io/snapshot/"

static int add_mapping(struct strbuf *out, const char *option, const char *value, struct err *err)
{
	size_t n = 0;
	int r = strbuf_addf(out, ",%s=", option);

	for (const char *p = value; r == 0; p++) {
		char *end;
		unsigned long id = strtoul(p, &end, 10);

		if (*p < '0' || *p > '9' || end - p > 10 || id > UINT32_MAX ||
		    (*end != '\0' && *end != (++n % 3 == 0 ? ',' : ':')))
			return err_msg(err, -EINVAL, "label '" PREFIX "%s': '%.64s' is no mapping",
				       option, value);
		r = strbuf_addf(out, "%lu%s", id, *end ? ":" : "");
		p = end;
		if (*end == '\0')
			break;
	}
	if (r == 0 && n % 3 != 2)
		return err_msg(err, -EINVAL, "label '" PREFIX "%s': '%.64s' is no mapping", option,
			       value);
	return r < 0 ? err_set(err, r, "labels") : 0;
}

static int add_size(struct strbuf *out, const char *value, struct err *err)
{
	char *end;
	long long size;

	errno = 0;
	size = strtoll(value, &end, 10);
	if (value[0] < '0' || value[0] > '9' || *end || errno || size == 0) {
		log_warn("label '" PREFIX "max-size': '%.64s' is no size: not limited", value);
		return 0;
	}
	if (strbuf_addf(out, ",quota_bytes=%lld", size) < 0)
		return err_set(err, -ENOMEM, "labels");
	return 0;
}

/* option NULL: the size */
static const struct {
	const char *key, *option;
} known[] = {{PREFIX "uidmapping", "uidmapping"},
	     {PREFIX "gidmapping", "gidmapping"},
	     {PREFIX "max-size", NULL}};

int mount_label_check(const struct snap_label *label, struct err *err)
{
	struct strbuf out CLEANUP(strbuf_release) = STRBUF_INIT;

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (known[i].option && strcmp(label->key, known[i].key) == 0 && label->value[0])
			return add_mapping(&out, known[i].option, label->value, err);
	}
	return 0;
}

int mount_label_options(struct snap_store *store, int64_t id, struct strbuf *out, struct err *err)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < sizeof(known) / sizeof(known[0]); i++) {
		struct db_rows *rows cleanup_db_rows = NULL;
		char *value cleanup_free = NULL;

		r = db_query(store->db, "SELECT value FROM labels WHERE snapshot = ? AND key = ?",
			     DB_ARGS(db_int(id), db_blob(known[i].key, strlen(known[i].key))),
			     &rows, err);
		if (r == 0)
			r = db_next(rows, err);
		if (r <= 0)
			continue;
		value = db_col_dup(rows, 0);
		if (!value)
			r = err_set(err, -ENOMEM, "labels");
		else
			r = known[i].option ? add_mapping(out, known[i].option, value, err)
					    : add_size(out, value, err);
	}
	return r < 0 ? r : 0;
}
