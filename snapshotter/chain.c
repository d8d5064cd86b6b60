/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "erofs/image.h"
#include "erofs/merge.h"
#include "erofs/write.h"
#include "snapshotter/image.h"
#include "snapshotter/import.h"

/* The merged index of a stack of layers: chains/sha256/<id>/index. */

int chain_folder(const struct digest *diff_ids, size_t n, char ret_id[65], struct err *err)
{
	struct digest chain, name;
	int r = oci_chain_id(diff_ids, n, &chain);

	/* a single layer with a sha512 diff id has a sha512 chain id: folders are named by sha256
	 */
	name = chain;
	if (r == 0 && digest_algorithm(&chain) != DIGEST_SHA256)
		r = digest_buffer(DIGEST_SHA256, chain.text, strlen(chain.text), &name);
	if (r < 0)
		return err_set(err, r, "chain id");
	memcpy(ret_id, digest_hex(&name), 64);
	ret_id[64] = '\0';
	return 0;
}

static void close_images(struct erofs_image **images, size_t n)
{
	for (size_t i = 0; images && i < n; i++)
		erofs_image_close(images[i]);
	free(images);
}

static int open_images(struct snap_store *store, const char *const *ids, size_t n,
		       struct erofs_image **images, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		char path[STORE_PATH_MAX];
		int fd cleanup_close = -1, r;

		store_layer_path(ids[i], "index", path);
		fd = openat(store->root_fd, path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return err_set(err, -errno, "open '%s/%s'", store->root, path);
		r = erofs_image_open(fd, &images[i], err);
		if (r < 0)
			return err_wrap(err, r, "'%s/%s'", store->root, path);
	}
	return 0;
}

int chain_merge(struct snap_store *store, const char *const *ids, size_t n, int fd,
		uint64_t *ret_inodes, struct err *err)
{
	struct erofs_image **images = calloc(n, sizeof(*images));
	struct erofs_device *devices cleanup_free = NULL;
	struct erofs_image *merged cleanup_erofs_image = NULL;
	struct erofs_tree *tree = NULL;
	size_t n_devices = 0;
	int r = images ? open_images(store, ids, n, images, err) : err_set(err, -ENOMEM, "merge");

	if (r == 0)
		r = erofs_merge(images, n, &tree, &devices, &n_devices, err);
	if (r == 0)
		r = erofs_write(tree, devices, n_devices, fd, err);
	if (tree)
		erofs_tree_free(tree);
	close_images(images, n);
	if (r == 0)
		r = erofs_image_open(fd, &merged, err); /* what we wrote is what can be read */
	if (r == 0)
		*ret_inodes = erofs_image_inodes(merged);
	return r;
}

int snap_image_effects(struct snap_store *store, const struct snap_layer_info *layers, size_t n,
		       struct erofs_effect *ret, struct err *err)
{
	struct erofs_image **images = calloc(n + 1, sizeof(*images));
	const char **ids cleanup_free = calloc(n + 1, sizeof(*ids));
	int r = images && ids ? 0 : err_set(err, -ENOMEM, "layers");

	for (size_t i = 0; r == 0 && i < n; i++)
		ids[i] = layers[i].id;
	if (r == 0)
		r = open_images(store, ids, n, images, err);
	if (r == 0)
		r = erofs_effects(images, n, ret, err);
	close_images(images, n);
	return r;
}

static int existing(struct snap_store *store, const char *path, uint64_t *ret_inodes)
{
	struct erofs_image *img cleanup_erofs_image = NULL;
	int fd cleanup_close = openat(store->root_fd, path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || erofs_image_open(fd, &img, NULL) < 0)
		return 0;
	*ret_inodes = erofs_image_inodes(img);
	return 1;
}

static int build(struct snap_store *store, const char *const *ids, size_t n, const char *id,
		 uint64_t *ret_inodes, struct err *err)
{
	struct store_tmp t cleanup_store_tmp = STORE_TMP_INIT;
	char folder[STORE_PATH_MAX];
	int fd cleanup_close = -1, dir cleanup_close = -1, r = store_tmp_new(store, &t, err);

	if (r < 0)
		return r;
	r = store_mkdir(t.fd, "c", 0700);
	if (r < 0)
		return err_set(err, r, "make a folder in '%s/tmp'", store->root);
	dir = openat(t.fd, "c", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fd = openat(dir, "index", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(err, -errno, "make a file in '%s/tmp'", store->root);
	r = chain_merge(store, ids, n, fd, ret_inodes, err);
	if (r < 0)
		return r;
	if (fsync(fd) < 0 || fsync(dir) < 0)
		return err_set(err, -errno, "sync the merged index");
	store_chain_path(id, NULL, folder);
	r = store_discard(store, folder,
			  err); /* a damaged one, if any: it has just been looked at */
	return r < 0 ? r : store_publish(&t, "c", folder, err);
}

int chain_build(struct snap_store *store, const struct digest *diff_ids,
		const struct import_layer *layers, size_t n, char ret_id[65], uint64_t *ret_inodes,
		struct err *err)
{
	const char **ids cleanup_free = calloc(n, sizeof(*ids));
	char name[80] = "chain-", path[STORE_PATH_MAX];
	int lock cleanup_close = -1, r;

	if (!ids)
		return err_set(err, -ENOMEM, "merge");
	for (size_t i = 0; i < n; i++)
		ids[i] = layers[i].id;
	r = chain_folder(diff_ids, n, ret_id, err);
	if (r < 0)
		return r;
	memcpy(name + strlen(name), ret_id, 65);
	lock = store_lock(store, name, LOCK_EX, err);
	if (lock < 0)
		return lock;
	store_chain_path(ret_id, "index", path);
	if (existing(store, path, ret_inodes))
		return 0;
	return build(store, ids, n, ret_id, ret_inodes, err);
}
