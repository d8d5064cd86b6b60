/* SPDX-License-Identifier: Apache-2.0 */
#define FUSE_USE_VERSION 312
#include <errno.h>
#include <fuse3/fuse_lowlevel.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "overlay/fs.h"
#include "overlay/overlay.h"
#include "overlay/session_ops.h"
#include "overlay/sys.h"

struct ovl_session {
	struct ovl_fs *fs;
	struct fuse_session *se;
	bool mounted;
	unsigned int threads;
};

#define THREADS_DEFAULT 8
#define THREADS_LAZY	64 /* most of them may wait for a network */

static bool waits_for_others(const struct ovl_fs *fs)
{
	for (size_t i = 0; i < fs->n_layers; i++)
		if (ovl_layer_is_lazy(fs->layers[i]))
			return true;
	return false;
}

/* "a\,b\\": as libfuse reads option strings. */
static int add_escaped(struct strbuf *s, const char *text)
{
	int r = 0;

	for (; r == 0 && *text; text++) {
		if (*text == ',' || *text == '\\')
			r = strbuf_addc(s, '\\');
		if (r == 0)
			r = strbuf_addc(s, *text);
	}
	return r;
}

static int mount_options(const struct ovl_config *c, struct strbuf *s)
{
	/* Root of a namespace mounts for its users; another one needs user_allow_other. */
	bool others = c->allow_other_set ? c->allow_other : geteuid() == 0;
	int r = strbuf_adds(s, "default_permissions,subtype=snapfs,fsname=");

	if (r == 0)
		r = add_escaped(s, c->source ? c->source : "snapfs");
	if (r == 0 && others)
		r = strbuf_adds(s, ",allow_other");
	if (r == 0 && (c->read_only || !c->upper))
		r = strbuf_adds(s, ",ro");
	if (r == 0 && c->dev)
		r = strbuf_adds(s, ",dev");
	if (r == 0 && c->suid)
		r = strbuf_adds(s, ",suid");
	return r;
}

static int new_session(struct ovl_session *s, const struct ovl_config *c, struct err *err)
{
	struct strbuf opts CLEANUP(strbuf_release) = STRBUF_INIT;
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	int r = mount_options(c, &opts);

	if (r < 0 || fuse_opt_add_arg(&args, "snapfs") != 0 || fuse_opt_add_arg(&args, "-o") != 0 ||
	    fuse_opt_add_arg(&args, opts.s) != 0)
		r = err_set(err, -ENOMEM, "mount options");
	if (r == 0) {
		s->se = fuse_session_new(&args, &ovl_session_ops, sizeof(ovl_session_ops), s->fs);
		if (!s->se)
			r = err_msg(err, -EINVAL, "the FUSE library refuses the options '%s'",
				    opts.s);
	}
	fuse_opt_free_args(&args);
	return r;
}

/* Files are opened again for each request: whatever mode they have meanwhile. */
static bool may_open_anything(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[2] = {{.effective = 0}};

	return syscall(SYS_capget, &head, caps) == 0 &&
	       caps[0].effective & (1U << CAP_DAC_OVERRIDE);
}

const char *ovl_session_open_refusal(void)
{
	return may_open_anything()
		       ? NULL
		       : "without CAP_DAC_OVERRIDE a file must be opened while its mode allows it";
}

/* Why files are not passed through; NULL: they are. */
static const char *pass_refusal(struct ovl_fs *fs)
{
	int r;

	if (!fs->has_upper)
		return "there is no upper directory";
	if (fs->quota)
		return "the quota has to see what is written";
	r = ovl_pass_probe_upper(fs);
	return r == 0 ? NULL : ovl_pass_refusal(r);
}

static const char others_change[] = "timeout= is given, so others may change the upper directory";

/*
 * By what was measured (docs/ARCHITECTURE.md): without a message where that can be had, or else by
 * passthrough where it is granted, or else with a message for each open. The log says why.
 */
static void choose_data_path(struct ovl_fs *fs, const struct ovl_config *c)
{
	const char *why, *not_passed;

	if (c->noopen_set && !c->noopen)
		why = "noopen=0";
	else if (!fs->owned)
		why = others_change;
	else
		why = ovl_session_open_refusal();
	if (c->passthrough == OVL_PASS_WANTED || (c->passthrough == OVL_PASS_AUTO && why)) {
		not_passed = pass_refusal(fs);
		fs->pass.on = !not_passed;
		if (fs->pass.on) {
			log_info("files of the upper directory are passed through: %s",
				 c->passthrough == OVL_PASS_WANTED ? "passthrough=1" : why);
			return;
		}
		log_write(c->passthrough == OVL_PASS_WANTED ? LOG_WARN : LOG_INFO,
			  "no passthrough: %s", not_passed);
	}
	fs->no_handles = !why;
	if (why && c->noopen_set && c->noopen)
		log_warn("files are opened with a message each: %s", why);
	else
		log_info("files are opened %s%s",
			 why ? "with a message each: " : "without a message", why ? why : "");
}

/* Why what is written does not stay in the kernel; NULL: it does. */
static const char *writeback_refusal(struct ovl_fs *fs)
{
	if (!fs->has_upper)
		return "there is no upper directory";
	if (fs->pass.on)
		return "files are passed through";
	if (!fs->owned)
		return others_change;
	if (fs->quota)
		return "what a quota refuses must be refused when it is written";
	return NULL;
}

static void choose_writeback(struct ovl_fs *fs, const struct ovl_config *c)
{
	const char *why = c->writeback ? writeback_refusal(fs) : NULL;

	fs->writeback = c->writeback && !why;
	if (why)
		log_warn("no writeback: %s", why);
}

int ovl_session_mount(const struct ovl_config *c, const char *mountpoint, struct ovl_session **ret,
		      struct err *err)
{
	struct ovl_session *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_set(err, -ENOMEM, "mount '%s'", mountpoint);
	ovl_trace_set(c->debug);
	/* Modes are what the requests say, whatever whoever started us has masked. */
	(void)umask(0);
	r = ovl_fs_open(c, &s->fs, err);
	if (r == 0)
		s->threads = c->threads		       ? c->threads
			     : waits_for_others(s->fs) ? THREADS_LAZY
						       : THREADS_DEFAULT;
	if (r == 0)
		choose_data_path(s->fs, c);
	if (r == 0)
		choose_writeback(s->fs, c);
	if (r == 0)
		r = new_session(s, c, err);
	if (r == 0) {
		errno = 0;
		if (fuse_session_mount(s->se, mountpoint) < 0) {
			err_hint(err, "see that /dev/fuse is there and may be used, and that "
				      "fusermount3 is installed");
			r = err_set(err, errno ? -errno : -EPERM, "mount on '%s'", mountpoint);
		} else {
			s->mounted = true;
			s->fs->pass.dev_fd = fuse_session_fd(s->se);
			r = ovl_session_io_attach(&s->fs->io, s->se);
			if (r < 0)
				r = err_set(err, r, "mount on '%s'", mountpoint);
		}
	}
	if (r < 0) {
		ovl_session_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

int ovl_session_run(struct ovl_session *s)
{
	struct fuse_loop_config *cfg = fuse_loop_cfg_create();
	int r;

	if (!cfg)
		return -ENOMEM;
	fuse_loop_cfg_set_clone_fd(cfg, 0);
	fuse_loop_cfg_set_max_threads(cfg, s->threads);
	fuse_loop_cfg_set_idle_threads(cfg, s->threads);
	r = fuse_session_loop_mt(s->se, cfg);
	fuse_loop_cfg_destroy(cfg);
	return r > 0 ? 0 : r;
}

void ovl_session_free(struct ovl_session *s)
{
	if (!s)
		return;
	if (s->mounted)
		fuse_session_unmount(s->se);
	if (s->se)
		fuse_session_destroy(s->se);
	ovl_fs_close(s->fs);
	free(s);
}
