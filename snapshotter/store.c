/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/strbuf.h"
#include "snapshotter/store_private.h"

static const char *const folders[] = {
	"blobs/sha256", "blobs/sha512", "layers/sha256", "chains/sha256",
	"snapshots",	"tmp",		"locks",	 "run",
};

/*
 * manifests: what is known of an image by its digest; images: names for them. A snapshot keeps
 * its manifest, chain and layers alive whatever happens to the names. KEYs are bytes: blobs.
 * chain: NULL for an image without layers. owner: who manages the snapshot; NULL: snap's user.
 */
/* An additional layer store's (als.h): how often the layer that is called so there is in use. */
#define LAYER_USES                                                                                 \
	"CREATE TABLE layer_uses (ref TEXT NOT NULL, digest TEXT NOT NULL, manifest TEXT NOT NULL" \
	" REFERENCES manifests(digest), pos INTEGER NOT NULL, count INTEGER NOT NULL,"             \
	" PRIMARY KEY (ref, digest)) WITHOUT ROWID"

/* Why a pull that was to be lazy brought a layer whole; NULL: it was not to be, or is lazy. */
#define WHOLE "ALTER TABLE manifest_layers ADD COLUMN whole TEXT"

/*
 * kept: 0 when its layer is to be here without it (--no-blobs); level: what compresses the tar to
 * it again, if it was made here.
 */
#define KEPT  "ALTER TABLE layer_blobs ADD COLUMN kept INTEGER NOT NULL DEFAULT 1"
#define LEVEL "ALTER TABLE layer_blobs ADD COLUMN level INTEGER NOT NULL DEFAULT 0"

static const char *const schema[] = {
	"CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
	"CREATE TABLE layers (id TEXT PRIMARY KEY, diff_id TEXT NOT NULL, tar_size INTEGER NOT "
	"NULL,"
	" side_size INTEGER NOT NULL, entries INTEGER NOT NULL, state TEXT NOT NULL) WITHOUT ROWID",
	"CREATE TABLE layer_blobs (digest TEXT PRIMARY KEY, size INTEGER NOT NULL,"
	" layer TEXT NOT NULL REFERENCES layers(id)) WITHOUT ROWID",
	"CREATE INDEX layer_blobs_layer ON layer_blobs(layer)",
	"CREATE TABLE chains (id TEXT PRIMARY KEY, inodes INTEGER NOT NULL) WITHOUT ROWID",
	"CREATE TABLE chain_layers (chain TEXT NOT NULL REFERENCES chains(id) ON DELETE CASCADE,"
	" pos INTEGER NOT NULL, layer TEXT NOT NULL REFERENCES layers(id), PRIMARY KEY (chain, "
	"pos))"
	" WITHOUT ROWID",
	"CREATE INDEX chain_layers_layer ON chain_layers(layer)",
	"CREATE TABLE manifests (digest TEXT PRIMARY KEY, media_type TEXT NOT NULL,"
	" size INTEGER NOT NULL, config TEXT NOT NULL, config_size INTEGER NOT NULL,"
	" chain TEXT REFERENCES chains(id), created TEXT NOT NULL, platform TEXT NOT NULL,"
	" layers INTEGER NOT NULL, blob_bytes INTEGER NOT NULL) WITHOUT ROWID",
	"CREATE TABLE manifest_layers (manifest TEXT NOT NULL REFERENCES manifests(digest) ON "
	"DELETE"
	" CASCADE, pos INTEGER NOT NULL, layer TEXT NOT NULL REFERENCES layers(id),"
	" blob TEXT NOT NULL REFERENCES layer_blobs(digest), PRIMARY KEY (manifest, pos)) WITHOUT "
	"ROWID",
	"CREATE TABLE images (ref TEXT PRIMARY KEY, manifest TEXT NOT NULL REFERENCES "
	"manifests(digest),"
	" updated INTEGER NOT NULL) WITHOUT ROWID",
	"CREATE TABLE snapshots (id INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL UNIQUE,"
	" kind INTEGER NOT NULL, parent INTEGER REFERENCES snapshots(id), image TEXT,"
	" manifest TEXT REFERENCES manifests(digest), chain TEXT REFERENCES chains(id),"
	" created INTEGER NOT NULL, updated INTEGER NOT NULL, batch INTEGER NOT NULL,"
	" size INTEGER NOT NULL DEFAULT 0, inodes INTEGER NOT NULL DEFAULT 0, owner TEXT)",
	"CREATE INDEX snapshots_parent ON snapshots(parent)",
	"CREATE TABLE labels (snapshot INTEGER NOT NULL REFERENCES snapshots(id) ON DELETE CASCADE,"
	" key BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY (snapshot, key)) WITHOUT ROWID",
	LAYER_USES,
	WHOLE,
	KEPT,
	LEVEL,
	"INSERT INTO meta VALUES ('version', 5), ('next_batch', 1)",
};

int64_t store_now(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void store_blob_path(const struct digest *d, char ret[STORE_PATH_MAX])
{
	(void)snprintf(ret, STORE_PATH_MAX, "blobs/%s/%s",
		       digest_algorithm_name(digest_algorithm(d)), digest_hex(d));
}

void store_layer_path(const char *id, const char *file, char ret[STORE_PATH_MAX])
{
	(void)snprintf(ret, STORE_PATH_MAX, "layers/sha256/%.64s%s%s", id, file ? "/" : "",
		       file ? file : "");
}

void store_chain_path(const char *id, const char *file, char ret[STORE_PATH_MAX])
{
	(void)snprintf(ret, STORE_PATH_MAX, "chains/sha256/%.64s%s%s", id, file ? "/" : "",
		       file ? file : "");
}

void store_snapshot_path(int64_t id, const char *file, char ret[STORE_PATH_MAX])
{
	(void)snprintf(ret, STORE_PATH_MAX, "snapshots/%lld%s%s", (long long)id, file ? "/" : "",
		       file ? file : "");
}

static int default_root(struct strbuf *out)
{
	const char *env = getenv("SNAP_ROOT"), *home;

	if (env && env[0])
		return strbuf_adds(out, env);
	/* root of an ordinary user's namespace (userns.h) has that user's store */
	if (geteuid() == 0 && !getenv("SNAP_ROOTLESS_UID"))
		return strbuf_adds(out, "/var/lib/snap");
	env = getenv("XDG_DATA_HOME");
	if (env && env[0] == '/')
		return strbuf_addf(out, "%s/snap", env);
	home = getenv("HOME");
	if (!home || home[0] != '/')
		return -ENOTDIR;
	return strbuf_addf(out, "%s/.local/share/snap", home);
}

/* Parents of the root as mkdir -p would; the root itself and what is in it 0700. */
static int make_folders(const char *root, int *ret_fd, struct err *err)
{
	int fd cleanup_close = -1, r;
	struct stat st;

	r = io_mkdir_p(AT_FDCWD, root, 0700);
	if (r < 0)
		return err_set(err, r, "make store '%s'", root);
	fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, -errno, "open store '%s'", root);
	/* others must not reach setuid files of images (docs/THREAT_MODEL.md) */
	if ((st.st_mode & 077) != 0 && fchmod(fd, 0700) < 0)
		return err_set(err, -errno, "make store '%s' private (0700)", root);
	if (faccessat(fd, "empty", F_OK, 0) < 0) { /* the last to be made */
		for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
			r = io_mkdir_p(fd, folders[i], 0700);
			if (r < 0)
				return err_set(err, r, "make '%s/%s'", root, folders[i]);
		}
		/* the lower layer of a snapshot that has none: what its mount shows as root */
		r = store_mkdir(fd, "empty", 0755);
		if (r < 0 && r != -EEXIST)
			return err_set(err, r, "make '%s/empty'", root);
	}
	*ret_fd = steal_fd(&fd);
	return 0;
}

int store_mkdir(int dirfd, const char *name, unsigned int mode)
{
	if (mkdirat(dirfd, name, mode) < 0)
		return -errno;
	return fchmodat(dirfd, name, mode, 0) < 0 ? -errno : 0;
}

static int read_version(struct db *db, int64_t *ret, struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	int r = db_query(db, "PRAGMA user_version", DB_NONE, &rows, err);

	if (r == 0)
		r = db_next(rows, err);
	if (r < 0)
		return r;
	*ret = r > 0 ? db_col_int(rows, 0) : 0;
	return 0;
}

static int create_schema(struct db *db, struct err *err)
{
	unsigned char random[8];
	char uuid[17];
	int64_t version = 0;
	int r = db_begin(db, err);

	if (r < 0)
		return r;
	r = read_version(db, &version, err); /* another process may have been first */
	if (r < 0 || version > 0)
		goto out;
	for (size_t i = 0; i < sizeof(schema) / sizeof(schema[0]) && r == 0; i++)
		r = db_run(db, schema[i], DB_NONE, err);
	if (r < 0)
		goto out;
	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
		r = err_set(err, -errno, "random number");
		goto out;
	}
	for (size_t i = 0; i < sizeof(random); i++)
		(void)snprintf(uuid + 2 * i, 3, "%02x", random[i]);
	r = db_run(db, "INSERT INTO meta VALUES ('uuid', ?)", DB_ARGS(db_text(uuid)), err);
	if (r == 0)
		r = db_run(db, "PRAGMA user_version = 5", DB_NONE, err);
	if (r == 0)
		return db_commit(db, err);
out:
	db_rollback(db);
	return r;
}

/*
 * Version 1 knew no owners, version 2 no uses of layers, version 3 not why layers are whole,
 * version 4 no layers without blobs.
 */
static int upgrade_schema(struct db *db, struct err *err)
{
	static const struct {
		int64_t from;
		const char *sql;
	} steps[] = {
		{1, "ALTER TABLE snapshots ADD COLUMN owner TEXT"},
		{2, LAYER_USES},
		{3, WHOLE},
		{4, KEPT},
		{4, LEVEL},
		{4, "UPDATE meta SET value = 5 WHERE name = 'version'"},
		{4, "PRAGMA user_version = 5"},
	};
	int64_t version = 0;
	int r = db_begin(db, err);

	if (r < 0)
		return r;
	r = read_version(db, &version, err); /* another process may have been first */
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && r == 0; i++)
		if (version <= steps[i].from)
			r = db_run(db, steps[i].sql, DB_NONE, err);
	if (r == 0)
		r = db_commit(db, err);
	db_rollback(db);
	return r;
}

static int open_database(struct snap_store *store, struct err *err)
{
	struct db_rows *rows cleanup_db_rows = NULL;
	struct strbuf path CLEANUP(strbuf_release) = STRBUF_INIT;
	int64_t version;
	int r;

	r = strbuf_addf(&path, "%s/meta.db", store->root);
	if (r < 0)
		return err_set(err, r, "store '%s'", store->root);
	r = db_open(path.s, &store->db, err);
	if (r == 0)
		r = read_version(store->db, &version, err);
	if (r == 0 && version == 0)
		r = create_schema(store->db, err);
	else if (r == 0 && version > 0 && version < STORE_VERSION)
		r = upgrade_schema(store->db, err);
	else if (r == 0 && version > STORE_VERSION) {
		r = err_msg(err, -EPROTONOSUPPORT,
			    "the store has format version %lld, this program knows up to %d",
			    (long long)version, STORE_VERSION);
		err_hint(err, "use the newer snap that made it, or another --root");
	}
	if (r == 0)
		r = db_query(store->db, "SELECT value FROM meta WHERE name = 'uuid'", DB_NONE,
			     &rows, err);
	if (r == 0)
		r = db_next(rows, err);
	if (r == 0)
		return err_msg(err, -EUCLEAN, "the store's database has lost its identity");
	if (r < 0)
		return r;
	(void)snprintf(store->uuid, sizeof(store->uuid), "%s", db_col_text(rows, 0));
	return 0;
}

static int open_store(const char *root, bool sweep, struct snap_store **ret, struct err *err)
{
	struct strbuf path CLEANUP(strbuf_release) = STRBUF_INIT;
	struct snap_store *store = calloc(1, sizeof(*store));
	int r;

	if (!store)
		return err_set(err, -ENOMEM, "store");
	store->root_fd = store->tmp_fd = store->snapshots_fd = -1;
	r = root ? strbuf_adds(&path, root) : default_root(&path);
	if (r == 0 && path.len == 0)
		r = -ENOENT;
	if (r < 0) {
		r = err_set(err, r, "no folder for the store: neither --root, SNAP_ROOT nor HOME");
		goto bad;
	}
	r = make_folders(path.s, &store->root_fd, err);
	if (r < 0)
		goto bad;
	store->root = realpath(path.s, NULL);
	store->tmp_fd = openat(store->root_fd, "tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	store->snapshots_fd =
		openat(store->root_fd, "snapshots", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (!store->root || store->tmp_fd < 0 || store->snapshots_fd < 0) {
		r = err_set(err, -errno, "open store '%s'", path.s);
		goto bad;
	}
	r = open_database(store, err);
	if (r == 0 && sweep) {
		r = store_tmp_sweep(store, NULL, NULL);
		if (r < 0)
			(void)err_set(err, r, "clean '%s/tmp'", store->root);
	}
	if (r < 0)
		goto bad;
	*ret = store;
	return 0;
bad:
	(void)err_wrap(err, r, "store '%s'", path.s);
	snap_store_close(store);
	return r;
}

int snap_store_open(const char *root, struct snap_store **ret, struct err *err)
{
	return open_store(root, true, ret, err);
}

int snap_store_open_as_it_is(const char *root, struct snap_store **ret, struct err *err)
{
	return open_store(root, false, ret, err);
}

void snap_store_close(struct snap_store *store)
{
	if (!store)
		return;
	db_close(store->db);
	if (store->scratch)
		store_tmp_release(store->scratch);
	free(store->scratch);
	closep(&store->snapshots_fd);
	closep(&store->tmp_fd);
	closep(&store->root_fd);
	free(store->root);
	free(store);
}

void snap_store_set_owner(struct snap_store *store, const char *owner)
{
	store->owner = owner;
}

const char *snap_store_root(const struct snap_store *store)
{
	return store->root;
}

int store_lock(struct snap_store *store, const char *name, int operation, struct err *err)
{
	char path[STORE_PATH_MAX];
	int fd cleanup_close = -1;

	(void)snprintf(path, sizeof(path), "locks/%s", name);
	/* never removed while in use: a lock file that is replaced locks nothing */
	fd = openat(store->root_fd, path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(err, -errno, "open '%s/%s'", store->root, path);
	while (flock(fd, operation) < 0) {
		if (errno == EWOULDBLOCK)
			return -EWOULDBLOCK;
		if (errno != EINTR)
			return err_set(err, -errno, "lock '%s/%s'", store->root, path);
	}
	return steal_fd(&fd);
}

void store_clean_locks(struct snap_store *store)
{
	DIR *dir cleanup_closedir = NULL;
	struct dirent *d;
	int fd = openat(store->root_fd, "locks", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	dir = fd < 0 ? NULL : fdopendir(fd);
	while (dir && (d = readdir(dir))) {
		if (strncmp(d->d_name, "layer-", 6) == 0 || strncmp(d->d_name, "chain-", 6) == 0)
			(void)unlinkat(fd, d->d_name, 0);
	}
}
