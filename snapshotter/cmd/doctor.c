/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/sandbox.h"
#include "oci/http.h"
#include "oci/reader_start.h"
#include "overlay/overlay.h"
#include "overlay/session_pass.h"
#include "snapshotter/cmd/cmd.h"
#include "snapshotter/mount.h"
#include "snapshotter/rootfs.h"
#include "snapshotter/runtime.h"
#include "snapshotter/userns.h"

/* One finding: what was looked at, whether it is there, and what that means. */
enum state { GOOD, MISSING, NEUTRAL };

struct report {
	struct json_writer *json; /* NULL: text */
};

static void say(struct report *rep, const char *name, enum state state, const char *text)
{
	static const char *const words[] = {"ok", "missing", "info"};

	if (rep->json) {
		json_w_object(rep->json);
		json_w_key(rep->json, "check");
		json_w_string(rep->json, name);
		json_w_key(rep->json, "state");
		json_w_string(rep->json, words[state]);
		json_w_key(rep->json, "detail");
		json_w_string(rep->json, text);
		json_w_end(rep->json);
	} else {
		(void)printf("%-7s  %-16s  %s\n", words[state], name, text);
	}
}

/*
 * Is it the device, and not another file of that name? A device that nobody has mounted refuses to
 * be read with -EPERM (fs/fuse/dev.c); anything else answers, or knows no such call.
 */
static bool is_fuse(int fd)
{
	struct stat st;
	char byte;

	return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) &&
	       st.st_rdev == makedev(10, 229) && /* Documentation/admin-guide/devices.txt */
	       read(fd, &byte, 1) < 0 && errno == EPERM;
}

static const char *mend_fuse(int code)
{
	switch (code) {
	case ENOENT:
		return "'modprobe fuse', or give this container the device";
	case ENODEV:
	case ENXIO:
		return "'modprobe fuse'";
	case EACCES:
		return "'chmod 0666 /dev/fuse' is the distributions' default";
	case EPERM:
		return "the container's device rules forbid it: give it the device";
	default:
		return "'rm /dev/fuse && mknod -m 0666 /dev/fuse c 10 229' makes the device";
	}
}

/* @kernel: root's other engine works. */
static void check_fuse(struct report *rep, bool kernel)
{
	int fd cleanup_close = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	int code = fd < 0 ? errno : is_fuse(fd) ? 0 : ENOTTY;
	char text[320];

	if (code == 0) {
		say(rep, "/dev/fuse", GOOD, "opened for reading and writing");
		return;
	}
	(void)snprintf(text, sizeof(text),
		       "%s: the FUSE engine cannot work; %s and all that needs no mount works; %s",
		       fd < 0 ? strerror(code) : "that is another file, not the device",
		       kernel ? "--engine kernel"
			      : "no 'snap mount', no 'snap run'; pull, "
				"inspect, unpack, commit, push, fsck",
		       mend_fuse(code));
	say(rep, "/dev/fuse", MISSING, text);
}

static char *find_program(const char *name)
{
	const char *path = getenv("PATH");
	char *copy cleanup_free = strdup(path ? path : "/usr/bin:/bin"), *save, *dir, *full = NULL;

	for (dir = copy ? strtok_r(copy, ":", &save) : NULL; dir;
	     dir = strtok_r(NULL, ":", &save)) {
		if (asprintf(&full, "%s/%s", dir, name) < 0)
			return NULL;
		if (access(full, X_OK) == 0)
			return full;
		free(full);
	}
	return NULL;
}

static void check_program(struct report *rep, const char *name, const char *without)
{
	char *path cleanup_free = find_program(name);

	say(rep, name, path ? GOOD : MISSING, path ? path : without);
}

/* The engine beside the running program counts first, as 'snap mount' looks for it. */
static void check_snapfs(struct report *rep)
{
	char *self cleanup_free = realpath("/proc/self/exe", NULL), *slash,
		   *beside cleanup_free = NULL;

	slash = self ? strrchr(self, '/') : NULL;
	if (slash && asprintf(&beside, "%.*s/snapfs", (int)(slash - self), self) > 0 &&
	    access(beside, X_OK) == 0)
		say(rep, "snapfs", GOOD, beside);
	else
		check_program(rep, "snapfs", "the FUSE engine is not installed");
}

static bool file_has(const char *path, const char *line_start, const char *word)
{
	FILE *f = fopen(path, "re");
	char *line = NULL;
	bool found = false;
	size_t cap = 0;

	while (f && !found && getline(&line, &cap, f) > 0)
		found = (!line_start || strncmp(line, line_start, strlen(line_start)) == 0) &&
			(!word || strstr(line, word));
	free(line);
	if (f)
		(void)fclose(f);
	return found;
}

static void check_kernel(struct report *rep)
{
	struct utsname u;

	(void)uname(&u);
	say(rep, "kernel", NEUTRAL, u.release);
	say(rep, "overlayfs", file_has("/proc/filesystems", NULL, "\toverlay") ? GOOD : MISSING,
	    file_has("/proc/filesystems", NULL, "\toverlay")
		    ? "known to the kernel"
		    : "not loaded: the kernel engine needs it ('modprobe overlay')");
}

/* By which of its ways snapfs will read and write here (overlay/session.c chooses). */
static void check_data_path(struct report *rep, const char *root)
{
	int fd cleanup_close = open(root, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	const char *with_messages = ovl_session_open_refusal();
	int r = fd < 0 ? -errno : ovl_pass_probe(fd);
	char text[400];

	if (r == 0)
		say(rep, "passthrough", GOOD,
		    "the kernel grants it: passthrough=1 makes large writes faster and many small "
		    "files slower");
	else {
		(void)snprintf(text, sizeof(text), "not granted: %s", ovl_pass_refusal(r));
		say(rep, "passthrough", NEUTRAL, text);
	}
	if (!with_messages)
		say(rep, "data path", GOOD,
		    "files are opened and read again without a message: measured faster than "
		    "passthrough for most work");
	else {
		(void)snprintf(text, sizeof(text),
			       "'snap mount': a message for each open, %s; 'snap run', where we "
			       "are root of a namespace: without",
			       with_messages);
		say(rep, "data path", NEUTRAL, text);
	}
}

/* What bytes of strangers are read in. */
static void check_sandbox(struct report *rep)
{
	char *program cleanup_free = oci_reader_program(), text[700];
	int version = sandbox_landlock_version();
	struct err err = ERR_INIT;

	if (!oci_reader_is_confined())
		say(rep, "sandbox", MISSING,
		    "layers are read with all of the caller's rights, as --no-sandbox or "
		    "SNAP_SANDBOX=off says");
	else if (!program)
		say(rep, "sandbox", MISSING, "no 'snap pull': snap-reader is not installed");
	else if (oci_reader_try(&err) < 0) {
		(void)snprintf(text, sizeof(text),
			       "no 'snap pull' without --no-sandbox: %.250s: %.300s", err.where,
			       err.msg);
		say(rep, "sandbox", MISSING, text);
	} else {
		if (version)
			(void)snprintf(text, sizeof(text),
				       "layers are read by %.400s, without privileges: seccomp, "
				       "landlock %d",
				       program, version);
		else
			(void)snprintf(
				text, sizeof(text),
				"layers are read by %.400s, without privileges: seccomp; this "
				"kernel has no landlock",
				program);
		say(rep, "sandbox", GOOD, text);
	}
}

/* Tries it in a process of its own: how many ids there are inside, 0: no namespace. */
static uint64_t try_userns(struct err *err)
{
	struct {
		uint64_t ids;
		struct err err;
	} answer = {.ids = 0};
	int fds[2], status;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return 0;
	(void)fflush(NULL);
	pid = fork();
	if (pid == 0) {
		log_set_level(LOG_ERROR);
		if (snap_userns_enter(&answer.err) == 0)
			answer.ids = snap_userns_ids("uid_map");
		_exit(io_write_full(fds[1], &answer, sizeof(answer)) < 0);
	}
	(void)close(fds[1]);
	if (pid < 0 || io_read_full(fds[0], &answer, sizeof(answer)) < 0)
		answer.ids = 0;
	(void)close(fds[0]);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	*err = answer.err;
	return answer.ids;
}

static void check_ids(struct report *rep, uint64_t ids)
{
	struct passwd *pw = getpwuid(getuid());
	const char *name = pw ? pw->pw_name : "USER";
	char *newuidmap cleanup_free = find_program("newuidmap");
	char text[700];

	if (ids > 1) {
		(void)snprintf(text, sizeof(text), "%llu ids in a container",
			       (unsigned long long)ids);
		say(rep, "subordinate ids", GOOD, text);
		return;
	}
	(void)snprintf(
		text, sizeof(text),
		"'snap run' works with one id, root: others in the container cannot be used, or "
		"given to files; %s "
		"'usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %.250s'",
		newuidmap ? "as root," : "install uidmap, and as root,", name);
	say(rep, "subordinate ids", MISSING, text);
}

static void check_rootless(struct report *rep)
{
	struct err err = ERR_INIT;
	char text[700];
	uint64_t ids;

	if (geteuid() == 0)
		return;
	ids = try_userns(&err);
	if (ids == 0) {
		(void)snprintf(text, sizeof(text),
			       "%s: no 'snap run', no 'snap unshare'; 'snap mount' works by "
			       "fusermount3, and all "
			       "that needs no mount; see user.max_user_namespaces, "
			       "kernel.unprivileged_userns_clone and "
			       "kernel.apparmor_restrict_unprivileged_userns of sysctl, and the "
			       "container's seccomp profile if this is one",
			       err.msg);
		say(rep, "user namespaces", MISSING, text);
	} else {
		say(rep, "user namespaces", GOOD, "can be made");
		check_ids(rep, ids);
	}
	say(rep, "user_allow_other",
	    file_has("/etc/fuse.conf", "user_allow_other", NULL) ? GOOD : NEUTRAL,
	    "in /etc/fuse.conf lets other users into your mounts");
}

static void check_registries(struct report *rep)
{
	struct http *http;

	if (http_new(false, &http, NULL) == 0) {
		http_free(http);
		say(rep, "registries", GOOD, "libcurl");
	} else {
		say(rep, "registries", MISSING, "no docker:// images: install libcurl4");
	}
}

static void check_runtime(struct report *rep)
{
	struct err err = ERR_INIT;
	struct runtime rt;

	if (runtime_find(NULL, &rt, &err) == 0)
		say(rep, "runtime", rt.no_cgroups ? NEUTRAL : GOOD,
		    rt.no_cgroups ? "crun, which refuses this machine's cgroups of v1 and v2: "
				    "install runc"
				  : rt.name);
	else
		say(rep, "runtime", MISSING, "no 'snap run': install runc or crun");
}

static void check_serve(struct report *rep, struct snap_store *store)
{
	struct snap_rootfs fs;
	struct err err = ERR_INIT;

	if (snap_rootfs_init(store, SNAP_ENGINE_AUTO, &fs, &err) == 0)
		say(rep, "serve", NEUTRAL, fs.reason);
	else
		say(rep, "serve", MISSING, err.msg);
}

static int run(struct cmd_context *c, const void *o, int argc, char **argv, struct err *err)
{
	struct report rep = {.json = c->json ? json_writer_new(JSON_PRETTY) : NULL};
	struct snap_mount_result choice;
	char text[600];

	(void)o;
	(void)argc;
	(void)argv;
	if (rep.json) {
		json_w_object(rep.json);
		json_w_key(rep.json, "checks");
		json_w_array(rep.json);
	}
	say(&rep, "store", NEUTRAL, snap_store_root(c->store));
	check_kernel(&rep);
	check_data_path(&rep, snap_store_root(c->store));
	snap_engine_choice(c->store, &choice);
	check_fuse(&rep, choice.engine == SNAP_ENGINE_KERNEL);
	check_program(&rep, "fusermount3", "ordinary users cannot mount: install fuse3");
	check_snapfs(&rep);
	check_sandbox(&rep);
	say(&rep, "EROFS from files", choice.engine == SNAP_ENGINE_KERNEL ? GOOD : NEUTRAL,
	    choice.engine == SNAP_ENGINE_KERNEL ? "the kernel mounts an index" : choice.reason);
	check_rootless(&rep);
	check_serve(&rep, c->store);
	check_registries(&rep);
	check_runtime(&rep);
	(void)snprintf(text, sizeof(text), "auto is %s: %s", snap_engine_name(choice.engine),
		       choice.reason);
	say(&rep, "engine", NEUTRAL, text);
	if (!rep.json)
		return 0;
	json_w_end(rep.json);
	json_w_key(rep.json, "engine");
	json_w_string(rep.json, snap_engine_name(choice.engine));
	json_w_key(rep.json, "reason");
	json_w_string(rep.json, choice.reason);
	json_w_end(rep.json);
	return cmd_print_json(rep.json, err);
}

const struct cmd cmd_doctor = {
	.name = "doctor",
	.summary = "Say what this machine can do and what will be used",
	.usage = "",
	.help = "Kernel, FUSE, EROFS, user namespaces, registries, runtimes, and which engine "
		"'snap mount' picks and why.",
	.run = run,
};
