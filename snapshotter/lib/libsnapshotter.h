/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIBSNAPSHOTTER_H
#define LIBSNAPSHOTTER_H
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * libsnapshotter - root file systems for containers, out of images that stay
 * verified: the store of snap(1) for programs in C.
 *
 *	struct snapshotter *s = snapshotter_new();
 *	if (!s || snapshotter_open(s, NULL) < 0)                    the caller's default store
 *		errx(1, "%s", snapshotter_error(s));
 *	snapshotter_pull(s, "oci:DIR:TAG", "debian:12", NULL);      bring an image in
 *	snapshotter_prepare(s, "work", "debian:12");                a writable snapshot of it
 *	snapshotter_mount(s, "work", "/mnt/root", NULL);            its root file system
 *	...
 *	snapshotter_unmount(s, "work");
 *	snapshotter_commit_image(s, "debian:new", "work", NULL, NULL);
 *	snapshotter_free(s);
 *
 * Stability: the shared library's major version (soname) changes when a program
 * that was linked with an older one would break; functions are only added, each
 * under the symbol version of the release that brought it. Structs that a caller
 * fills begin with their size, so that they may grow. On-disk: a store that a
 * newer release changed is refused by an older one with -EPROTONOSUPPORT.
 *
 * Results are 0 or a negative errno: -ENOENT no such snapshot or image, -EEXIST
 * the name is taken, -EBUSY not in this state (mounted, committed, has
 * children), -EINVAL no valid argument; others are the system's. Strings that
 * are returned through a pointer are the caller's, for free(3). Every call is
 * one change of the store or none, whenever the process is killed.
 *
 * Threads: one at a time for a handle; any number of handles and processes work
 * on one store at once. Child processes (snapfs, fusermount3, snap-reader) are
 * started and waited for: SIGCHLD must not be ignored. Layers are read by
 * snap-reader, which gives up its rights first; SNAP_SANDBOX=off in the
 * environment lets it keep them, where the system has no way to take them.
 */
#define SNAPSHOTTER_VERSION_MAJOR 1
#define SNAPSHOTTER_VERSION_MINOR 0

#define SNAPSHOTTER_PUBLIC __attribute__((visibility("default")))

struct snapshotter; /* a handle */

/* "MAJOR.MINOR" of the library that is in use. */
SNAPSHOTTER_PUBLIC const char *snapshotter_version(void);

/* NULL: out of memory. */
SNAPSHOTTER_PUBLIC struct snapshotter *snapshotter_new(void);
/* Takes NULL. Mounts stay. */
SNAPSHOTTER_PUBLIC void snapshotter_free(struct snapshotter *s);
/*
 * What the last failed call on @s was about, for a person, one line; "" when none failed yet. Valid
 * until the next call. Takes NULL for a handle that could not be made.
 */
SNAPSHOTTER_PUBLIC const char *snapshotter_error(const struct snapshotter *s);
/* What can be done about it; "" for nothing that is known. */
SNAPSHOTTER_PUBLIC const char *snapshotter_hint(const struct snapshotter *s);

/*
 * @root: the store's folder, made when it is not there; NULL: $SNAP_ROOT, or /var/lib/snap for root
 * and ~/.local/share/snap for others. To be called once, before all that follow.
 */
SNAPSHOTTER_PUBLIC int snapshotter_open(struct snapshotter *s, const char *root);

/*
 * @source as snap(1) has it ("oci:DIR[:TAG]"); @name: what the image is called, NULL for what the
 * source says. @ret_ref (may be NULL): what it is called.
 */
SNAPSHOTTER_PUBLIC int snapshotter_pull(struct snapshotter *s, const char *source, const char *name,
					char **ret_ref);
/* @ret_digest (may be NULL): of the manifest. */
SNAPSHOTTER_PUBLIC int snapshotter_push(struct snapshotter *s, const char *ref, const char *dest,
					char **ret_digest);
/* Forgets an image's name; snapshots on it stay usable. */
SNAPSHOTTER_PUBLIC int snapshotter_forget(struct snapshotter *s, const char *ref);

/* A writable snapshot on @parent: a committed snapshot, an image, or NULL for nothing. */
SNAPSHOTTER_PUBLIC int snapshotter_prepare(struct snapshotter *s, const char *key,
					   const char *parent);
/* The same, read-only. */
SNAPSHOTTER_PUBLIC int snapshotter_view(struct snapshotter *s, const char *key, const char *parent);
/* The active snapshot @key becomes the committed @name. */
SNAPSHOTTER_PUBLIC int snapshotter_commit(struct snapshotter *s, const char *name, const char *key);
SNAPSHOTTER_PUBLIC int snapshotter_remove(struct snapshotter *s, const char *key);

struct snapshotter_commit_options {
	size_t size; /* sizeof(struct snapshotter_commit_options) */
	const char *message, *author; /* NULL: none */
	const char *const *changes; /* "ENV K=V" and the like, ended by NULL; NULL: none */
	int has_timestamp;
	int64_t timestamp; /* seconds since 1970: when the image was made, and the newest mtime */
};
/*
 * A new image @ref of what is below the active snapshot @key and what was changed in it, which
 * stays as it is. @opt may be NULL. @ret_digest (may be NULL): of the manifest.
 */
SNAPSHOTTER_PUBLIC int snapshotter_commit_image(struct snapshotter *s, const char *ref,
						const char *key,
						const struct snapshotter_commit_options *opt,
						char **ret_digest);

/* Mounts @key at the directory @target. @options: NULL or more of the engine's ("ro,dev,suid"). */
SNAPSHOTTER_PUBLIC int snapshotter_mount(struct snapshotter *s, const char *key, const char *target,
					 const char *options);
/* @what: a key or the directory. When it returns everything that was written is in the store. */
SNAPSHOTTER_PUBLIC int snapshotter_unmount(struct snapshotter *s, const char *what);
/* What mount(8) takes for the same mount. */
SNAPSHOTTER_PUBLIC int snapshotter_mounts(struct snapshotter *s, const char *key, char **ret_type,
					  char **ret_source, char **ret_options);

/* Bytes on disk and inodes of the snapshot itself, without what it stands on. */
SNAPSHOTTER_PUBLIC int snapshotter_usage(struct snapshotter *s, const char *key,
					 uint64_t *ret_bytes, uint64_t *ret_inodes);

/*
 * Calls @fn for every snapshot in the order of keys. @kind: "view", "active" or "committed";
 * @parent: NULL for none. The strings are valid during the call, in which @s must not be used.
 * Stops when @fn returns other than 0, and returns that.
 */
typedef int (*snapshotter_each_fn)(void *ctx, const char *key, const char *kind,
				   const char *parent);
SNAPSHOTTER_PUBLIC int snapshotter_each(struct snapshotter *s, snapshotter_each_fn fn, void *ctx);
/* The same for images: @digest of the manifest, @bytes of all blobs. */
typedef int (*snapshotter_image_fn)(void *ctx, const char *ref, const char *digest, uint64_t bytes);
SNAPSHOTTER_PUBLIC int snapshotter_each_image(struct snapshotter *s, snapshotter_image_fn fn,
					      void *ctx);

#ifdef __cplusplus
}
#endif
#endif
