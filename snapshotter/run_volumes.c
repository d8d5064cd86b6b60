/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "snapshotter/mount_private.h"
#include "snapshotter/run_private.h"

int run_bind(struct run *run, const char *source, const char *destination, bool read_only,
	     bool nodev, struct err *err)
{
	struct runtime_bind *p = reallocarray(run->binds, run->n_binds + 1, sizeof(*p));
	struct runtime_bind b = {.read_only = read_only, .nodev = nodev};

	if (!p)
		return err_set(err, -ENOMEM, "volumes");
	run->binds = p;
	b.source = strdup(source);
	b.destination = strdup(destination);
	p[run->n_binds++] = b;
	return b.source && b.destination ? 0 : err_set(err, -ENOMEM, "volumes");
}

static bool is_bound(const struct run *run, const char *destination)
{
	for (size_t i = 0; i < run->n_binds; i++) {
		if (strcmp(run->binds[i].destination, destination) == 0)
			return true;
	}
	return false;
}

/* Absolute, not the root, and no way up in it. */
static bool is_mount_point(const char *path)
{
	bool any = false;

	if (path[0] != '/' || strlen(path) >= PATH_MAX)
		return false;
	for (const char *p = path; *p;) {
		size_t len;

		p += strspn(p, "/");
		len = strcspn(p, "/");
		if (len == 2 && p[0] == '.' && p[1] == '.')
			return false;
		any = any || (len > 0 && !(len == 1 && p[0] == '.'));
		p += len;
	}
	return any;
}

/* "HOST:CONTAINER[:ro|rw]" */
static int add_volume(struct run *run, const char *text, struct err *err)
{
	char *copy cleanup_free = strdup(text), *host cleanup_free = NULL, *to, *mode;
	bool read_only = false;

	if (!copy)
		return err_set(err, -ENOMEM, "volumes");
	to = strchr(copy, ':');
	mode = to ? strchr(to + 1, ':') : NULL;
	if (to)
		*to++ = '\0';
	if (mode)
		*mode++ = '\0';
	if (!to || !copy[0] || !is_mount_point(to))
		return err_msg(
			err, -EINVAL,
			"volume '%s' is not HOST:CONTAINER[:ro] with a path in the container",
			text);
	if (mode && strcmp(mode, "ro") != 0 && strcmp(mode, "rw") != 0)
		return err_msg(err, -EINVAL, "volume '%s': '%s' is neither ro nor rw", text, mode);
	read_only = mode && strcmp(mode, "ro") == 0;
	host = realpath(copy, NULL);
	if (!host)
		return err_set(err, -errno, "volume '%s': '%s'", text, copy);
	return run_bind(run, host, to, read_only, false, err);
}

/* What the image has at the place of a volume is what the new volume holds, owners and all. */
static int fill_volume(const struct run *run, struct store_tmp *tmp, const char *path,
		       struct err *err)
{
	char *to cleanup_free = NULL;
	char from[64];
	int fd cleanup_close = io_open_in_root(run->root_fd, path, O_PATH | O_DIRECTORY), r;

	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return err_set(err, fd, "the image's '%s'", path);
	(void)snprintf(from, sizeof(from), "/proc/%d/fd/%d/.", getpid(), fd);
	if (asprintf(&to, "%s/tmp/%s/volume", run->store->root, tmp->name) < 0)
		return err_set(err, -ENOMEM, "volumes");
	r = run_program((const char *const[]){"cp", "-a", "--", from, to, NULL}, err);
	return r < 0 ? err_wrap(err, r, "fill the volume '%s'", path) : 0;
}

/* Number @i of the image's volumes is a folder beside the upper: it lives as long as the snapshot.
 */
static int image_volume(struct run *run, size_t i, const char *path, struct err *err)
{
	struct store_tmp tmp cleanup_store_tmp = STORE_TMP_INIT;
	char file[48], place[STORE_PATH_MAX];
	char *full cleanup_free = NULL;
	int r;

	(void)snprintf(file, sizeof(file), "volumes/%zu", i);
	store_snapshot_path(run->row.id, file, place);
	if (faccessat(run->store->root_fd, place, F_OK, AT_SYMLINK_NOFOLLOW) < 0) {
		char folder[STORE_PATH_MAX];

		store_snapshot_path(run->row.id, "volumes", folder);
		r = io_mkdir_p(run->store->root_fd, folder, 0700);
		if (r < 0)
			return err_set(err, r, "make '%s/%s'", run->store->root, folder);
		r = store_tmp_new(run->store, &tmp, err);
		if (r == 0 && (r = store_mkdir(tmp.fd, "volume", 0755)) < 0)
			r = err_set(err, r, "make a volume");
		if (r == 0)
			r = fill_volume(run, &tmp, path, err);
		if (r == 0)
			r = store_publish(&tmp, "volume", place, err);
		if (r < 0)
			return r;
	}
	if (asprintf(&full, "%s/%s", run->store->root, place) < 0)
		return err_set(err, -ENOMEM, "volumes");
	return run_bind(run, full, path, false, true, err);
}

int run_volumes(struct run *run, struct err *err)
{
	const struct json *config = run->image ? json_get(run->image->config_doc, "config") : NULL;
	const struct json *volumes = json_get(config, "Volumes");
	int r = 0;

	for (size_t i = 0; i < run->opt->n_volumes && r == 0; i++)
		r = add_volume(run, run->opt->volumes[i], err);
	for (size_t i = 0; i < json_len(volumes) && r == 0; i++) {
		const char *path = json_key_at(volumes, i);

		if (!path || !is_mount_point(path))
			r = err_msg(err, -EBADMSG, "the image's volume '%s' is no path for one",
				    path ? path : "");
		else if (!is_bound(run, path) && run->row.kind == SNAP_ACTIVE)
			r = image_volume(run, i, path, err);
	}
	return r;
}

static int note(struct run *run, const char *path, size_t len)
{
	char **p = reallocarray(run->made, run->n_made + 1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	run->made = p;
	p[run->n_made] = strndup(path, len);
	return p[run->n_made] ? (run->n_made++, 0) : -ENOMEM;
}

/* Each part of @path that is not there. */
static int note_missing(struct run *run, const char *path)
{
	char *copy cleanup_free = strdup(path);
	int r = copy ? 0 : -ENOMEM;

	for (size_t len = 1; r == 0 && copy[len - 1]; len++) {
		int fd cleanup_close = -1;

		if (copy[len] != '/' && copy[len] != '\0')
			continue;
		copy[len] = '\0';
		fd = io_open_in_root(run->root_fd, copy, O_PATH | O_NOFOLLOW);
		if (fd == -ENOENT)
			r = note(run, copy, len);
		copy[len] = path[len];
	}
	return r;
}

int run_note_mount_points(struct run *run, struct err *err)
{
	static const char *const always[] = {"/proc", "/dev", "/sys"};
	int r = 0;

	for (size_t i = 0; i < sizeof(always) / sizeof(always[0]) && r == 0; i++)
		r = note_missing(run, always[i]);
	for (size_t i = 0; i < run->n_binds && r == 0; i++)
		r = note_missing(run, run->binds[i].destination);
	return r < 0 ? err_set(err, r, "mount points") : 0;
}

/* Only what is still as the runtime made it: an empty file or directory. */
static void remove_empty(int root_fd, const char *path)
{
	char *copy cleanup_free = strdup(path), *slash = copy ? strrchr(copy, '/') : NULL;
	int dir cleanup_close = -1;
	struct stat st;

	if (!slash || !slash[1])
		return;
	*slash = '\0';
	dir = io_open_in_root(root_fd, slash == copy ? "/" : copy, O_PATH | O_DIRECTORY);
	if (dir < 0 || fstatat(dir, slash + 1, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	if (S_ISDIR(st.st_mode) || (S_ISREG(st.st_mode) && st.st_size == 0))
		(void)unlinkat(dir, slash + 1, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0);
}

void run_remove_mount_points(struct run *run)
{
	for (size_t i = run->n_made; i > 0; i--)
		remove_empty(run->root_fd, run->made[i - 1]);
}
