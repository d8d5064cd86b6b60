/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/runtime_config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "snapshotter/runtime_private.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void put(struct json_writer *w, const char *key, const char *value)
{
	json_w_key(w, key);
	json_w_string(w, value);
}

static void put_bool(struct json_writer *w, const char *key, bool value)
{
	json_w_key(w, key);
	json_w_bool(w, value);
}

static void put_strings(struct json_writer *w, const char *key, const char *const *v, size_t n)
{
	json_w_key(w, key);
	json_w_array(w);
	for (size_t i = 0; i < n; i++)
		json_w_string(w, v[i]);
	json_w_end(w);
}

/* Environment: later ones win and keep the place of the first. */
struct env {
	char **v;
	size_t n;
};

static void env_release(struct env *e)
{
	for (size_t i = 0; i < e->n; i++)
		free(e->v[i]);
	free(e->v);
}

static bool env_has(const struct env *e, const char *name, size_t len, size_t *ret_at)
{
	for (size_t i = 0; i < e->n; i++) {
		if (strncmp(e->v[i], name, len) == 0 && e->v[i][len] == '=') {
			if (ret_at)
				*ret_at = i;
			return true;
		}
	}
	return false;
}

static int env_set(struct env *e, const char *pair)
{
	size_t len = strcspn(pair, "="), at;
	char *copy, **v;

	if (len == 0 || !pair[len]) /* an image's "NAME" without a value: nothing to set */
		return 0;
	copy = strdup(pair);
	if (!copy)
		return -ENOMEM;
	if (env_has(e, pair, len, &at)) {
		free(e->v[at]);
		e->v[at] = copy;
		return 0;
	}
	v = reallocarray(e->v, e->n + 1, sizeof(*v));
	if (!v) {
		free(copy);
		return -ENOMEM;
	}
	e->v = v;
	v[e->n++] = copy;
	return 0;
}

static int env_set_two(struct env *e, const char *name, const char *value)
{
	char *pair cleanup_free = NULL;

	if (asprintf(&pair, "%s=%s", name, value) < 0)
		return -ENOMEM;
	return env_set(e, pair);
}

static int make_env(const struct runtime_config *c, const struct json *config, struct env *e)
{
	const struct json *own = json_get(config, "Env");
	int r = env_set(e, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");

	if (r == 0 && c->flags & RUNTIME_TERMINAL)
		r = env_set(e, "TERM=xterm");
	if (r == 0)
		r = env_set(e, "container=oci");
	if (r == 0)
		r = env_set_two(e, "HOSTNAME", c->hostname);
	for (size_t i = 0; i < json_len(own) && r == 0; i++) {
		const char *pair = json_string(json_at(own, i));

		r = pair ? env_set(e, pair) : 0;
	}
	/* always there: else the runtime looks for it in the container's /etc/passwd */
	if (r == 0 && !env_has(e, "HOME", 4, NULL))
		r = env_set_two(e, "HOME", c->user->home);
	for (size_t i = 0; i < c->n_env && r == 0; i++)
		r = env_set(e, c->env[i]);
	return r;
}

static size_t put_json_strings(struct json_writer *w, const struct json *array)
{
	size_t n = 0;

	for (size_t i = 0; i < json_len(array); i++) {
		const char *s = json_string(json_at(array, i));

		if (s) {
			json_w_string(w, s);
			n++;
		}
	}
	return n;
}

/* Entrypoint, and behind it the caller's command or else Cmd (image specification, config.md). */
static size_t put_args(struct json_writer *w, const struct runtime_config *c,
		       const struct json *config)
{
	size_t n;

	json_w_key(w, "args");
	json_w_array(w);
	n = put_json_strings(w, json_get(config, "Entrypoint"));
	for (size_t i = 0; i < c->n_command; i++, n++)
		json_w_string(w, c->command[i]);
	if (c->n_command == 0)
		n += put_json_strings(w, json_get(config, "Cmd"));
	json_w_end(w);
	return n;
}

static void put_user(struct json_writer *w, const struct runtime_config *c)
{
	json_w_key(w, "user");
	json_w_object(w);
	json_w_key(w, "uid");
	json_w_uint(w, c->user->uid);
	json_w_key(w, "gid");
	json_w_uint(w, c->user->gid);
	json_w_key(w, "umask");
	json_w_uint(w, 022);
	if (c->user->n_groups > 0 && !(c->flags & RUNTIME_NO_SETGROUPS)) {
		json_w_key(w, "additionalGids");
		json_w_array(w);
		for (size_t i = 0; i < c->user->n_groups; i++)
			json_w_uint(w, c->user->groups[i]);
		json_w_end(w);
	}
	json_w_end(w);
}

static void put_capabilities(struct json_writer *w, const struct runtime_config *c)
{
	static const char *const caps[] = {
		"CAP_AUDIT_WRITE", "CAP_CHOWN",	    "CAP_DAC_OVERRIDE", "CAP_FOWNER",
		"CAP_FSETID",	   "CAP_KILL",	    "CAP_MKNOD",	"CAP_NET_BIND_SERVICE",
		"CAP_NET_RAW",	   "CAP_SETFCAP",   "CAP_SETGID",	"CAP_SETPCAP",
		"CAP_SETUID",	   "CAP_SYS_CHROOT"};

	json_w_key(w, "capabilities");
	json_w_object(w);
	put_strings(w, "bounding", caps, COUNT(caps));
	/* others than root get them by programs that have them only; none are inheritable */
	put_strings(w, "effective", caps, c->user->uid == 0 ? COUNT(caps) : 0);
	put_strings(w, "permitted", caps, c->user->uid == 0 ? COUNT(caps) : 0);
	json_w_end(w);
}

static int put_process(struct json_writer *w, const struct runtime_config *c,
		       const struct json *config, struct err *err)
{
	const char *cwd = c->workdir ? c->workdir : json_string(json_get(config, "WorkingDir"));
	struct strbuf dir CLEANUP(strbuf_release) = STRBUF_INIT;
	struct env env CLEANUP(env_release) = {.v = NULL};
	int r = strbuf_addf(&dir, "%s%s", cwd && cwd[0] == '/' ? "" : "/", cwd ? cwd : "");

	if (r == 0)
		r = make_env(c, config, &env);
	if (r < 0)
		return err_set(err, r, "runtime configuration");
	json_w_key(w, "process");
	json_w_object(w);
	put_bool(w, "terminal", c->flags & RUNTIME_TERMINAL);
	put_user(w, c);
	if (put_args(w, c, config) == 0) {
		(void)err_msg(err, -EINVAL, "no command: the image has neither Entrypoint nor Cmd");
		err_hint(err, "give the command behind the image");
		return -EINVAL;
	}
	put_strings(w, "env", (const char *const *)env.v, env.n);
	put(w, "cwd", dir.s);
	put_capabilities(w, c);
	put_bool(w, "noNewPrivileges", false);
	json_w_end(w);
	return 0;
}

struct mount {
	const char *destination, *type, *source;
	const char *options[8];
};

static void put_mount(struct json_writer *w, const struct mount *m)
{
	size_t n = 0;

	json_w_object(w);
	put(w, "destination", m->destination);
	put(w, "type", m->type);
	put(w, "source", m->source);
	while (n < COUNT(m->options) && m->options[n])
		n++;
	put_strings(w, "options", m->options, n);
	json_w_end(w);
}

static void put_binds(struct json_writer *w, const struct runtime_config *c)
{
	for (size_t i = 0; i < c->n_binds; i++) {
		const struct runtime_bind *b = &c->binds[i];
		struct mount m = {b->destination, "bind", b->source, {"rbind", "rprivate"}};
		size_t n = 2;

		m.options[n++] = b->read_only ? "ro" : "rw";
		if (b->nodev) {
			m.options[n++] = "nosuid";
			m.options[n++] = "nodev";
		}
		put_mount(w, &m);
	}
}

static void put_mounts(struct json_writer *w, const struct runtime_config *c)
{
	static const struct mount mounts[] = {
		{"/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}},
		{"/dev",
		 "tmpfs",
		 "tmpfs",
		 {"nosuid", "noexec", "strictatime", "mode=755", "size=65536k"}},
	};
	static const struct mount sys = {
		"/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", "ro"}};
	/* sysfs shows a network: only who owns that may mount it anew */
	static const struct mount host_sys = {
		"/sys", "bind", "/sys", {"rbind", "nosuid", "noexec", "nodev", "ro"}};
	static const struct mount ipc[] = {
		{"/dev/shm",
		 "tmpfs",
		 "shm",
		 {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
		{"/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}},
	};
	static const struct mount cgroup = {
		"/sys/fs/cgroup",
		"cgroup",
		"cgroup",
		{"rprivate", "nosuid", "noexec", "nodev", "relatime", "ro"}};
	struct mount pts = {
		"/dev/pts",
		"devpts",
		"devpts",
		{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}};

	if (c->flags & RUNTIME_NO_TTY_GROUP)
		pts.options[5] = NULL;
	json_w_key(w, "mounts");
	json_w_array(w);
	for (size_t i = 0; i < COUNT(mounts); i++)
		put_mount(w, &mounts[i]);
	put_mount(w, c->flags & RUNTIME_USERNS ? &host_sys : &sys);
	put_mount(w, &pts);
	for (size_t i = 0; i < COUNT(ipc); i++)
		put_mount(w, &ipc[i]);
	if (!(c->flags & RUNTIME_NO_CGROUPS))
		put_mount(w, &cgroup);
	put_binds(w, c);
	json_w_end(w);
}

static void put_annotation(struct json_writer *w, const struct json *labels, const char *key,
			   const char *value)
{
	if (value && value[0] && !json_get(labels, key)) /* a label of that name wins */
		put(w, key, value);
}

static int put_ports(struct json_writer *w, const struct json *labels, const struct json *ports)
{
	struct strbuf text CLEANUP(strbuf_release) = STRBUF_INIT;
	int r = 0;

	for (size_t i = 0; i < json_len(ports) && r == 0; i++)
		r = strbuf_addf(&text, "%s%s", i > 0 ? "," : "", json_key_at(ports, i));
	if (r == 0)
		put_annotation(w, labels, "org.opencontainers.image.exposedPorts", text.s);
	return r;
}

/* Image specification, conversion.md, "annotation fields". */
static int put_annotations(struct json_writer *w, const struct json *image)
{
	static const char *const fields[] = {"os", "architecture", "variant", "author", "created"};
	const struct json *config = json_get(image, "config"), *labels = json_get(config, "Labels");
	int r;

	json_w_key(w, "annotations");
	json_w_object(w);
	for (size_t i = 0; i < COUNT(fields); i++) {
		char key[64] = "org.opencontainers.image.";

		(void)strncat(key, fields[i], sizeof(key) - strlen(key) - 1);
		put_annotation(w, labels, key, json_string(json_get(image, fields[i])));
	}
	put_annotation(w, labels, "org.opencontainers.image.stopSignal",
		       json_string(json_get(config, "StopSignal")));
	r = put_ports(w, labels, json_get(config, "ExposedPorts"));
	for (size_t i = 0; i < json_len(labels) && json_type(labels) == JSON_OBJECT; i++) {
		const char *value = json_string(json_at(labels, i));

		if (value)
			put(w, json_key_at(labels, i), value);
	}
	json_w_end(w);
	return r;
}

static void put_resources(struct json_writer *w)
{
	json_w_key(w, "resources");
	json_w_object(w);
	json_w_key(w, "devices");
	json_w_array(w);
	json_w_object(w);
	put_bool(w, "allow", false);
	put(w, "access", "rwm");
	json_w_end(w);
	json_w_end(w);
	json_w_key(w, "pids");
	json_w_object(w);
	json_w_key(w, "limit");
	json_w_uint(w, 2048);
	json_w_end(w);
	json_w_end(w);
}

static int put_linux(struct json_writer *w, const struct runtime_config *c)
{
	static const char *const masked[] = {
		"/proc/acpi",	    "/proc/kcore",	 "/proc/keys",	      "/proc/latency_stats",
		"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi",
		"/sys/firmware",    "/sys/fs/selinux",	 "/sys/dev/block"};
	static const char *const read_only[] = {"/proc/asound", "/proc/bus", "/proc/fs",
						"/proc/irq",	"/proc/sys", "/proc/sysrq-trigger"};
	static const char *const spaces[] = {"pid", "ipc", "uts", "mount", "cgroup"};
	size_t n = COUNT(spaces) - (c->flags & RUNTIME_CGROUP2 ? 0 : 1);
	char *cgroup cleanup_free = NULL;

	if (asprintf(&cgroup, "/snap/%s", c->id) < 0)
		return -ENOMEM;
	json_w_key(w, "linux");
	json_w_object(w);
	/* an ordinary user has no cgroup to make others in, and the runtime does without */
	if (!(c->flags & (RUNTIME_USERNS | RUNTIME_NO_CGROUPS))) {
		put_resources(w);
		put(w, "cgroupsPath", cgroup);
	}
	json_w_key(w, "namespaces");
	json_w_array(w);
	for (size_t i = 0; i < n; i++) {
		json_w_object(w);
		put(w, "type", spaces[i]);
		json_w_end(w);
	}
	json_w_end(w);
	json_w_key(w, "seccomp");
	runtime_config_seccomp(w);
	put_strings(w, "maskedPaths", masked, COUNT(masked));
	put_strings(w, "readonlyPaths", read_only, COUNT(read_only));
	json_w_end(w);
	return 0;
}

static int check_text(const char *what, const char *s, struct err *err)
{
	if (!s || json_is_text(s))
		return 0;
	return err_msg(err, -EILSEQ,
		       "%s '%s' is no UTF-8, and a runtime's configuration cannot say it", what, s);
}

/* What the caller wants is done to the letter or not at all; the image's config is text already. */
static int check_all_text(const struct runtime_config *c, struct err *err)
{
	int r = check_text("working directory", c->workdir, err);

	for (size_t i = 0; i < c->n_command && r == 0; i++)
		r = check_text("argument", c->command[i], err);
	for (size_t i = 0; i < c->n_env && r == 0; i++)
		r = check_text("variable", c->env[i], err);
	for (size_t i = 0; i < c->n_binds && r == 0; i++) {
		r = check_text("volume", c->binds[i].source, err);
		if (r == 0)
			r = check_text("volume", c->binds[i].destination, err);
	}
	return r == 0 ? check_text("folder", c->root, err) : r;
}

int runtime_config_write(const struct runtime_config *c, struct strbuf *out, struct err *err)
{
	struct json_writer *w;
	int r = check_all_text(c, err);

	if (r < 0)
		return r;
	w = json_writer_new(JSON_PRETTY);
	if (!w)
		return err_set(err, -ENOMEM, "runtime configuration");
	json_w_object(w);
	put(w, "ociVersion", "1.0.2");
	r = put_process(w, c, json_get(c->image, "config"), err);
	if (r < 0) {
		json_writer_free(w);
		return r;
	}
	json_w_key(w, "root");
	json_w_object(w);
	put(w, "path", c->root);
	put_bool(w, "readonly", c->flags & RUNTIME_READ_ONLY);
	json_w_end(w);
	put(w, "hostname", c->hostname);
	put_mounts(w, c);
	r = put_annotations(w, c->image);
	if (r == 0)
		r = put_linux(w, c);
	if (r < 0) {
		json_writer_free(w);
		return err_set(err, r, "runtime configuration");
	}
	json_w_end(w);
	r = json_writer_finish(w, out);
	return r < 0 ? err_set(err, r, "runtime configuration") : 0;
}
