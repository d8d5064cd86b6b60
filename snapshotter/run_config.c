/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "snapshotter/run_private.h"
#include "snapshotter/userns.h"

#define HOST_FILE_MAX (1u << 20)

static int write_in_bundle(const struct run *run, const char *name, const char *text, size_t len,
			   struct err *err)
{
	int fd cleanup_close = openat(run->dir_fd, name,
				      O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	int r = fd < 0 ? -errno : io_write_full(fd, text, len);

	return r < 0 ? err_set(err, r, "write '%s/%s'", run->dir, name) : 0;
}

/* A copy of the host's, which the container may change for itself. */
static int add_host_file(struct run *run, const char *name, struct err *err)
{
	char *text cleanup_free = NULL, *copy cleanup_free = NULL;
	char path[64];
	size_t len;
	int r;

	(void)snprintf(path, sizeof(path), "/etc/%s", name);
	for (size_t i = 0; i < run->n_binds; i++) {
		if (strcmp(run->binds[i].destination, path) == 0)
			return 0;
	}
	r = io_read_path(path, HOST_FILE_MAX, &text, &len);
	if (r < 0) /* the host has none: neither has the container */
		return r == -ENOMEM ? err_set(err, r, "'%s'", path) : 0;
	r = write_in_bundle(run, name, text, len, err);
	if (r < 0)
		return r;
	if (asprintf(&copy, "%s/%s", run->dir, name) < 0)
		return err_set(err, -ENOMEM, "'%s'", path);
	return run_bind(run, copy, path, false, false, err);
}

struct env_list {
	char **v;
	size_t n;
};

static void env_list_release(struct env_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i]);
	free(l->v);
}

/* "K" alone is the caller's own variable, or none when there is none. */
static int make_env(const struct snap_run_options *opt, struct env_list *l, struct err *err)
{
	l->v = calloc(opt->n_env + 1, sizeof(*l->v));
	if (!l->v)
		return err_set(err, -ENOMEM, "environment");
	for (size_t i = 0; i < opt->n_env; i++) {
		const char *e = opt->env[i], *value = strchr(e, '=') ? NULL : getenv(e);
		int n = 0;

		if (!e[0] || e[0] == '=')
			return err_msg(err, -EINVAL, "'%s' is no variable: NAME=VALUE", e);
		if (strchr(e, '='))
			n = asprintf(&l->v[l->n], "%s", e);
		else if (value)
			n = asprintf(&l->v[l->n], "%s=%s", e, value);
		else
			continue;
		if (n < 0)
			return err_set(err, -ENOMEM, "environment");
		l->n++;
	}
	return 0;
}

static int check_ids(const struct runtime_user *u, struct err *err)
{
	bool uid = snap_userns_has("uid_map", u->uid);

	if (uid && snap_userns_has("gid_map", u->gid))
		return 0;
	(void)err_msg(err, -EINVAL, "%s %u is not in this user namespace, which has %llu ids",
		      uid ? "group" : "user", uid ? u->gid : u->uid,
		      (unsigned long long)snap_userns_ids(uid ? "gid_map" : "uid_map"));
	err_hint(err, "give the user ranges: 'usermod --add-subuids 100000-165535 --add-subgids "
		      "100000-165535 NAME'");
	return -EINVAL;
}

static unsigned int make_flags(const struct run *run)
{
	unsigned int flags = run->terminal ? RUNTIME_TERMINAL : 0;

	if (run->row.kind != SNAP_ACTIVE)
		flags |= RUNTIME_READ_ONLY;
	if (snap_userns_inside())
		flags |= RUNTIME_USERNS;
	if (!snap_userns_has("gid_map", 5))
		flags |= RUNTIME_NO_TTY_GROUP;
	if (!snap_userns_setgroups())
		flags |= RUNTIME_NO_SETGROUPS;
	if (run->runtime.cgroup2)
		flags |= RUNTIME_CGROUP2;
	if (run->runtime.no_cgroups)
		flags |= RUNTIME_NO_CGROUPS;
	return flags;
}

static int write_config(struct run *run, const char *root, const struct runtime_user *user,
			const struct env_list *env, struct err *err)
{
	struct strbuf text CLEANUP(strbuf_release) = STRBUF_INIT;
	char hostname[256] = "localhost";
	struct runtime_config c = {
		.image = run->image ? run->image->config_doc : NULL,
		.root = root,
		.id = run->id,
		.hostname = hostname,
		.command = run->opt->command,
		.n_command = run->opt->n_command,
		.env = (const char *const *)env->v,
		.n_env = env->n,
		.workdir = run->opt->workdir,
		.user = user,
		.binds = run->binds,
		.n_binds = run->n_binds,
		.flags = make_flags(run),
	};
	int r;

	(void)gethostname(hostname, sizeof(hostname) - 1);
	r = runtime_config_write(&c, &text, err);
	if (r == 0 && strbuf_addc(&text, '\n') < 0)
		r = err_set(err, -ENOMEM, "config.json");
	return r < 0 ? r : write_in_bundle(run, "config.json", text.s, text.len, err);
}

int run_config(struct run *run, const char *root, struct err *err)
{
	static const char *const host_files[] = {"resolv.conf", "hosts", "hostname"};
	const struct json *config = run->image ? json_get(run->image->config_doc, "config") : NULL;
	struct runtime_user user cleanup_runtime_user = {.groups = NULL};
	struct env_list env CLEANUP(env_list_release) = {.v = NULL};
	const char *spec = run->opt->user ? run->opt->user : json_string(json_get(config, "User"));
	int r;

	if (run->opt->workdir && run->opt->workdir[0] != '/')
		return err_msg(err, -EINVAL, "working directory '%s' is not absolute",
			       run->opt->workdir);
	r = runtime_user_find(run->root_fd, spec, &user, err);
	if (r == 0)
		r = check_ids(&user, err);
	if (r == 0)
		r = make_env(run->opt, &env, err);
	for (size_t i = 0; i < sizeof(host_files) / sizeof(host_files[0]) && r == 0; i++)
		r = add_host_file(run, host_files[i], err);
	if (r == 0)
		r = run_note_mount_points(run, err);
	return r < 0 ? r : write_config(run, root, &user, &env, err);
}
