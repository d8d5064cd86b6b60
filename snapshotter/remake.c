/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/remake.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/cleanup.h"

const struct oci_limits no_limits = {
	.bytes = UINT64_MAX,
	.ratio = UINT64_MAX,
	.entries = UINT64_MAX,
	.xattr_bytes = UINT64_MAX,
	.header_bytes = UINT64_MAX,
	.depth = UINT64_MAX,
	.meta_bytes = UINT64_MAX,
};

void remade_release(struct remade *m)
{
	closep(&m->dir);
	closep(&m->data);
	closep(&m->side);
	closep(&m->index);
	store_tmp_release(&m->tmp);
}

int layer_remake(struct snap_store *store, int from, const struct oci_layer_ref *ref,
		 const struct oci_limits *limits, struct remade *ret, struct err *err)
{
	struct oci_layer_job job = {.blob_fd = from, .layer = ref, .limits = limits, .copy_fd = -1};
	int r = store_tmp_new(store, &ret->tmp, err);

	if (r < 0)
		return r;
	r = store_mkdir(ret->tmp.fd, "l", 0700);
	ret->dir = openat(ret->tmp.fd, "l", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ret->data = openat(ret->dir, "data", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ret->side = openat(ret->dir, "side", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ret->index = openat(ret->dir, "index", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (r < 0 || ret->data < 0 || ret->side < 0 || ret->index < 0)
		return err_set(err, r < 0 ? r : -EIO, "make files in '%s/tmp'", store->root);
	job.data_fd = ret->data;
	job.side_fd = ret->side;
	job.index_fd = ret->index;
	r = oci_layer_in(&job, &ret->result, err);
	if (r == 0 && ret->result.side_size == 0 && unlinkat(ret->dir, "side", 0) < 0)
		r = err_set(err, -errno, "remove an empty file");
	return r;
}

int remade_sync(const struct remade *m, struct err *err)
{
	if (fdatasync(m->data) < 0 || fdatasync(m->index) < 0 ||
	    (m->result.side_size > 0 && fdatasync(m->side) < 0) || fsync(m->dir) < 0)
		return err_set(err, -errno, "sync layer");
	return 0;
}
