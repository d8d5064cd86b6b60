/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/fs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "overlay/node.h"
#include "overlay/ops.h"
#include "overlay/push.h"
#include "overlay/quota.h"
#include "overlay/record.h"
#include "overlay/whiteout.h"

#define PART_MAX 1024
/* We alone change what is mounted, and the kernel knows of all we do: nothing goes out of date. */
#define TIMEOUT_NEVER 1e8

/* Idle directory fds, and files that are removed and in use: each a part of what we may have, so
 * that open files have the rest. */
static size_t fds_part(void)
{
	struct rlimit rl;
	size_t max;

	if (getrlimit(RLIMIT_NOFILE, &rl) < 0)
		return 64;
	if (rl.rlim_cur < rl.rlim_max) {
		rl.rlim_cur = rl.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &rl);
	}
	max = rl.rlim_cur / 8;
	return max > PART_MAX ? PART_MAX : max < 16 ? 16 : max;
}

/* trusted.* needs CAP_SYS_ADMIN in the first user namespace; asking the upper is the sure way. */
static bool may_trusted(const struct ovl_fs *fs)
{
	static const char probe[] = OVL_XATTR_TRUSTED "snap.probe";

	if (!fs->has_upper)
		return ovl_marks_prefix()[0] == 't';
	if (ovl_sys_setxattr(fs->work_fd, "", probe, "y", 1, 0) < 0)
		return false;
	(void)!ovl_sys_removexattr(fs->work_fd, "", probe);
	return true;
}

void ovl_marks_init(struct ovl_fs *fs)
{
	static const char *const names[OVL_MARK_COUNT] = {
		[OVL_MARK_OPAQUE] = "opaque",	  [OVL_MARK_REDIRECT] = "redirect",
		[OVL_MARK_IMPURE] = "impure",	  [OVL_MARK_ORIGIN] = "snap.origin",
		[OVL_MARK_NLINK] = "snap.nlink",  [OVL_MARK_PLACE] = "snap.place",
		[OVL_MARK_METACOPY] = "metacopy", [OVL_MARK_PROTATTR] = "protattr",
	};
	const char *prefix = may_trusted(fs) ? OVL_XATTR_TRUSTED : OVL_XATTR_USER;

	fs->marks = prefix;
	for (int i = 0; i < OVL_MARK_COUNT; i++)
		snprintf(fs->mark[i], sizeof(fs->mark[i]), "%s%s", prefix, names[i]);
	for (size_t i = 0; i < fs->n_layers; i++)
		fs->layers[i]->marks = prefix;
}

static int open_layers(struct ovl_fs *fs, const struct ovl_config *c, struct err *err)
{
	fs->layers = calloc(c->n_lowers + 1, sizeof(*fs->layers));
	if (!fs->layers)
		return err_set(err, -ENOMEM, "open the layers");
	for (size_t i = 0; i < c->n_lowers; i++) {
		int r = ovl_layer_open(c->lowers[i], fs->fds, &fs->layers[i], err);

		if (r < 0)
			return r;
		fs->layers[i]->height = (unsigned int)(c->n_lowers - 1 - i);
		fs->layers[i]->batch = ovl_fs_batch(fs, fs->layers[i]->height);
		fs->n_layers++;
	}
	return 0;
}

/* mount_setattr(2): such a mount is marked in /proc/self/mountinfo, by its number. */
static bool is_idmapped(const char *mountinfo, int fd)
{
	char path[64], id[32], *text cleanup_free = NULL;
	const char *line, *p;
	size_t len;
	int mnt = -1;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	if (io_read_path(path, 4096, &text, &len) < 0)
		return false;
	p = strstr(text, "mnt_id:");
	if (!p || sscanf(p, "mnt_id: %d", &mnt) != 1)
		return false;
	len = (size_t)snprintf(id, sizeof(id), "%d ", mnt);
	for (line = mountinfo; line && *line; line = strchr(line, '\n'), line += !!line) {
		size_t end = strcspn(line, "\n");

		/* In the mount's own options, which stand before the " - ". */
		if (strncmp(line, id, len) == 0) {
			const char *sep = memmem(line, end, " - ", 3);

			return sep && memmem(line, (size_t)(sep - line), ",idmapped", 9);
		}
	}
	return false;
}

/*
 * Podman lets the kernel map the layers where it can, keeps what the container writes under the
 * numbers that are seen, and asks for the mapping all the same.
 */
static bool is_mapped_below(struct ovl_fs *fs)
{
	cleanup_free char *mountinfo = NULL;
	size_t len;

	if (io_read_path("/proc/self/mountinfo", 16 << 20, &mountinfo, &len) < 0)
		return false;
	for (size_t i = 0; i < fs->n_layers; i++)
		if (fs->layers[i]->fd >= 0 && is_idmapped(mountinfo, fs->layers[i]->fd))
			return true;
	return false;
}

static int copy_idmaps(struct ovl_fs *fs, const struct ovl_config *c, struct err *err)
{
	int r = ovl_idmap_copy(&c->uids, &fs->uids);

	if (r == 0)
		r = ovl_idmap_copy(&c->gids, &fs->gids);
	if (r < 0)
		return err_set(err, r, "open the overlay");
	if ((fs->uids.n > 0 || fs->gids.n > 0) && is_mapped_below(fs)) {
		log_info("uidmapping and gidmapping: the kernel maps the lower layers already");
		ovl_idmap_release(&fs->uids);
		ovl_idmap_release(&fs->gids);
	}
	return 0;
}

static int root_stat(struct ovl_fs *fs, struct ovl_entry *e)
{
	int r;

	if (!fs->has_upper)
		return ovl_lower_stat(fs->layers[0]->root, &e->st);
	r = ovl_sys_stat(fs->upper_fd, "", &e->st);
	if (r < 0)
		return r;
	e->upper = true;
	e->protection = ovl_protection_read(fs, fs->upper_fd, "");
	return 0;
}

/* All roots, but for what an opaque upper hides, also when it is frozen. */
int ovl_root_lowers(struct ovl_fs *fs, bool opaque, struct ovl_entry *e)
{
	if (opaque || fs->n_layers == 0)
		return 0;
	e->lowers = calloc(fs->n_layers, sizeof(*e->lowers));
	if (!e->lowers)
		return -ENOMEM;
	for (size_t i = 0; i < fs->n_layers && !opaque; i++) {
		struct ovl_layer *l = fs->layers[i];
		char c = 'n';

		e->lowers[e->n_lowers++] = ovl_obj_ref(l->root);
		if (l->frozen)
			(void)!ovl_lower_getxattr(l->root, fs->mark[OVL_MARK_OPAQUE], &c, 1);
		opaque = c == 'y';
	}
	return 0;
}

static int make_root(struct ovl_fs *fs, struct err *err)
{
	struct ovl_entry e cleanup_entry = OVL_ENTRY_INIT;
	struct stat bottom;
	char opaque = 'n';
	int r = root_stat(fs, &e);

	if (r < 0)
		return err_set(err, r, "read the root");
	if (!S_ISDIR(e.st.st_mode))
		return err_msg(err, -ENOTDIR, "the root of the uppermost layer is no directory");
	if (fs->has_upper)
		(void)!ovl_sys_getxattr(fs->upper_fd, "", fs->mark[OVL_MARK_OPAQUE], &opaque, 1);
	r = ovl_root_lowers(fs, opaque == 'y', &e);
	if (r < 0)
		return err_set(err, r, "read the root");
	/* The same number whether there is an upper or not, and however many layers: the lowest
	 * root's. */
	r = 0;
	if (fs->n_layers > 0) {
		struct ovl_layer *l = fs->layers[fs->n_layers - 1];

		r = ovl_lower_stat(l->root, &bottom);
		if (r == 0)
			r = ovl_number(fs->numbers, l->batch, bottom.st_ino, 0, &e.number);
	} else {
		r = ovl_number(fs->numbers, fs->upper_batch, e.st.st_ino, 0, &e.number);
	}
	if (r == 0)
		r = ovl_node_get(fs, NULL, "", &e, true, &fs->root);
	return r < 0 ? err_set(err, r, "read the root") : 0;
}

static int fs_open(const struct ovl_config *c, struct ovl_fs **ret, struct err *err)
{
	struct ovl_fs *fs = calloc(1, sizeof(*fs));
	pthread_rwlockattr_t attr;
	int r;

	if (!fs)
		return err_set(err, -ENOMEM, "open the overlay");
	fs->upper_fd = fs->work_base_fd = fs->work_fd = fs->links_fd = -1;
	fs->has_upper = c->upper && c->work;
	fs->redirect_dir = c->redirect_dir;
	fs->nofollow = c->nofollow;
	fs->metacopy = c->metacopy;
	fs->volatile_ = c->volatile_;
	fs->owned = !c->timeout_set;
	fs->timeout = c->timeout_set ? c->timeout_ms / 1000.0 : TIMEOUT_NEVER;
	fs->static_nlink = c->static_nlink;
	fs->no_xattrs = c->no_xattrs;
	fs->no_acl = c->no_acl || c->no_xattrs;
	fs->uid = geteuid();
	fs->gid = getegid();
	fs->owner_xattr = c->owner_xattr ? c->owner_xattr : ovl_override_needed();
	fs->owner_always = c->owner_xattr;
	fs->base = c->ino_batch << 32;
	fs->first_lowers = (unsigned int)(c->n_lowers - ovl_push_count(c));
	fs->upper_batch = ovl_fs_batch(fs, c->n_lowers);
	fs->max_batches = c->ino_batches;
	/* Who says where they begin has others behind them. */
	if (fs->base > 0 && fs->max_batches == 0)
		fs->max_batches = ovl_fs_batches(fs);
	pthread_rwlockattr_init(&attr);
	/* Readers come all the time: without this a rename would wait for ever. No one reads twice.
	 */
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&fs->tree, &attr);
	pthread_rwlock_init(&fs->io.gate, &attr);
	pthread_rwlockattr_destroy(&attr);
	pthread_mutex_init(&fs->copy_lock, NULL);
	pthread_mutex_init(&fs->pass.lock, NULL);
	pthread_cond_init(&fs->copy_done, NULL);
	fs->pins_max = (unsigned int)fds_part();
	fs->fds = ovl_real_cache_new(fs->pins_max);
	fs->numbers = ovl_numbers_new(fs->first_lowers + 1, c->batch_size);
	fs->listings = ovl_listings_new();
	fs->hold_max = OVL_HOLD_MAX;
	r = ovl_table_init(&fs->table);
	if (r < 0 || !fs->fds || !fs->numbers || !fs->listings)
		r = err_set(err, -ENOMEM, "open the overlay");
	if (r == 0 && !fs->has_upper && c->n_lowers == 0)
		r = err_msg(err, -EINVAL, "no layers: lowerdir= is missing");
	if (r == 0 && c->ino_batches > 0 && c->ino_batches < ovl_fs_batches(fs))
		r = err_msg(err, -EINVAL,
			    "%llu layers need more than %llu batches of inode numbers",
			    (unsigned long long)c->n_lowers, (unsigned long long)c->ino_batches);
	if (r == 0)
		r = open_layers(fs, c, err);
	for (size_t i = 0; r == 0 && i < fs->n_layers - fs->first_lowers; i++)
		fs->layers[i]->frozen = true;
	if (r == 0)
		r = copy_idmaps(fs, c, err);
	if (r == 0 && fs->has_upper)
		r = ovl_work_open(fs, c, err);
	else
		ovl_marks_init(fs);
	if (r == 0) {
		r = ovl_quota_open(fs, c->quota_bytes, c->quota_inodes);
		if (r < 0)
			(void)err_set(err, r, "count what upper directory '%s' holds", c->upper);
	}
	if (r == 0 && c->record)
		r = ovl_record_open(c->record, &fs->record, err);
	if (r == 0)
		r = make_root(fs, err);
	if (r < 0) {
		ovl_fs_close(fs);
		return r;
	}
	*ret = fs;
	return 0;
}

/*
 * A read-only mount of an upper that another mount writes to (containerd compares containers that
 * run so) shows it as a layer: what it holds so far, and a second later what it holds then.
 */
static int open_as_layer(const struct ovl_config *c, struct ovl_fs **ret, struct err *err)
{
	struct ovl_config layer = *c;
	int r;

	layer.lowers = calloc(c->n_lowers + 1, sizeof(*layer.lowers));
	if (!layer.lowers)
		return err_set(err, -ENOMEM, "open the overlay");
	layer.lowers[0] = c->upper;
	memcpy(layer.lowers + 1, c->lowers, c->n_lowers * sizeof(*layer.lowers));
	layer.n_lowers++;
	layer.upper = layer.work = NULL;
	if (!layer.timeout_set) {
		layer.timeout_set = true;
		layer.timeout_ms = 1000;
	}
	r = fs_open(&layer, ret, err);
	free(layer.lowers);
	return r;
}

int ovl_fs_open(const struct ovl_config *c, struct ovl_fs **ret, struct err *err)
{
	struct err busy = ERR_INIT;
	int r = fs_open(c, ret, &busy);

	if (r == -EBUSY && c->read_only && c->upper) {
		log_info("'%s' is in use by another mount: shown as a layer", c->upper);
		return open_as_layer(c, ret, err);
	}
	if (r < 0)
		*err = busy;
	return r;
}

/* The kernel does not give back what it knows when the mount goes: every node is let go of here. */
static void drop_nodes(struct ovl_fs *fs)
{
	struct ovl_table *t = &fs->table;

	for (size_t i = 0; t->buckets && i < t->n_buckets;) {
		struct ovl_node *n = t->buckets[i];

		while (n && n->lookups == 0)
			n = n->hash_next;
		if (n)
			ovl_node_forget(fs, n, n->lookups);
		else
			i++;
	}
}

void ovl_fs_close(struct ovl_fs *fs)
{
	if (!fs)
		return;
	ovl_quota_close(fs);
	drop_nodes(fs);
	ovl_listings_free(fs, fs->listings);
	ovl_node_unref(fs, NULL);
	ovl_record_close(fs->record);
	ovl_table_release(&fs->table);
	for (size_t i = 0; i < fs->n_layers; i++)
		ovl_layer_close(fs->layers[i]);
	free(fs->layers);
	ovl_numbers_free(fs->numbers);
	ovl_real_cache_free(fs->fds);
	ovl_work_close(fs);
	ovl_idmap_release(&fs->uids);
	ovl_idmap_release(&fs->gids);
	pthread_rwlock_destroy(&fs->tree);
	pthread_rwlock_destroy(&fs->io.gate);
	pthread_mutex_destroy(&fs->copy_lock);
	pthread_mutex_destroy(&fs->pass.lock);
	pthread_cond_destroy(&fs->copy_done);
	free(fs);
}
