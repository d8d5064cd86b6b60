/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/df.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "snapshotter/snapshot_private.h"

static const struct {
	const char *folder;
	unsigned int depth; /* where the things are: 1 = directly below */
} parts[SNAP_DF_PARTS - 1] = {
	{"blobs", 2}, {"layers", 2}, {"chains", 2}, {"snapshots", 1}, {"tmp", 1},
};

static int count_things(int dir, const char *name, unsigned int depth, uint64_t *count)
{
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), r = 0;
	DIR *d cleanup_closedir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d)
		return errno == ENOENT ? 0 : -errno;
	while (r == 0 && (errno = 0, e = readdir(d))) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (depth == 1)
			++*count;
		else
			r = count_things(fd, e->d_name, depth - 1, count);
	}
	return r ? r : -errno;
}

static int read_rows(struct snap_store *store, struct snap_df *ret, struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	int r = db_query(store->db,
			 "SELECT count(*), total(b.size), (SELECT value FROM meta WHERE name = "
			 "'" STORE_PULL_TEMPORARY
			 "') FROM layer_blobs b JOIN layers l ON l.id = b.layer"
			 " WHERE NOT b.kept AND l.state = 'complete'",
			 DB_NONE, &rows, err);

	if (r == 0)
		r = db_next(rows, err);
	if (r <= 0)
		return r;
	ret->left_out = (uint64_t)db_col_int(rows, 0);
	ret->left_out_size = (uint64_t)db_col_int(rows, 1);
	ret->pull_temporary = (uint64_t)db_col_int(rows, 2); /* NULL is 0 */
	return 0;
}

static int read_parts(struct snap_store *store, struct snap_df_part ret[SNAP_DF_PARTS],
		      struct err *err)
{
	struct snap_df_part *rest = &ret[SNAP_DF_PARTS - 1];
	struct snap_usage all, part;
	int r = usage_of_tree(store->root_fd, ".", &all, err);

	if (r < 0)
		return r;
	*rest = (struct snap_df_part){.what = "rest", .count = all.inodes, .size = all.size};
	for (size_t i = 0; i < SNAP_DF_PARTS - 1; i++) {
		ret[i] = (struct snap_df_part){.what = parts[i].folder};
		r = usage_of_tree(store->root_fd, parts[i].folder, &part, err);
		if (r < 0)
			return r;
		r = count_things(store->root_fd, parts[i].folder, parts[i].depth, &ret[i].count);
		if (r < 0)
			return err_set(err, r, "count '%s/%s'", store->root, parts[i].folder);
		ret[i].size = part.size;
		/* something may have come since the whole was counted */
		rest->size -= part.size < rest->size ? part.size : rest->size;
		rest->count -= part.inodes < rest->count ? part.inodes : rest->count;
	}
	return 0;
}

int snap_df(struct snap_store *store, struct snap_df *ret, struct err *err)
{
	int r = read_parts(store, ret->parts, err);

	if (r == 0)
		r = read_rows(store, ret, err);
	if (r < 0)
		return err_wrap(err, r, "df");
	ret->size = 0;
	for (size_t i = 0; i < SNAP_DF_PARTS; i++)
		ret->size += ret->parts[i].size;
	return 0;
}
