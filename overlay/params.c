/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/params.h"

#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "overlay/lower.h"

/* The kernel's own overlayfs stops at 500; ten times that is still no burden. */
#define LOWERS_MAX 5000
/* A batch is 2^32 numbers and an overlay owns one for each lower and two more. */
#define BATCH_MAX (UINT32_MAX - LOWERS_MAX - 2)

enum opt_kind {
	OPT_LOWERS, /* paths between colons */
	OPT_PATH,
	OPT_TEXT,
	OPT_FLAG, /* true by its presence */
	OPT_CLEAR, /* false by its presence */
	OPT_SWITCH, /* 0, 1, on, off, yes, no; none means 1 */
	OPT_NUMBER,
	OPT_SIZE, /* K, M, G and T are powers of 1024 */
	OPT_SECONDS, /* decimal fraction allowed; kept as milliseconds */
	OPT_REDIRECT,
	OPT_PASSTHROUGH,
	OPT_IDMAP, /* STORED:SHOWN:COUNT:... */
	OPT_OWNER_XATTR, /* 0, 1 or 2, as fuse-overlayfs has it */
	OPT_OFF_ONLY, /* known; only "off", "0" and "no" can be had */
	OPT_ACCEPT, /* known and without meaning here */
	OPT_REFUSE, /* known; would change what is seen; not there yet */
};

/* What the user asked for, before it is applied. */
struct opt_value {
	const char *name;
	char *text; /* unescaped; NULL when there was no '=' */
	const char *raw; /* as written, with its escapes */
	size_t raw_len;
};

enum opt_key {
	KEY_NONE,
	KEY_UPPER,
	KEY_WORK,
	KEY_SOURCE,
	KEY_RECORD,
	KEY_RO,
	KEY_DEV,
	KEY_SUID,
	KEY_ALLOW_OTHER,
	KEY_METACOPY,
	KEY_VOLATILE,
	KEY_FSYNC,
	KEY_THREADED,
	KEY_NOOPEN,
	KEY_WRITEBACK,
	KEY_UIDS,
	KEY_GIDS,
	KEY_SQUASH,
	KEY_SQUASH_UID,
	KEY_SQUASH_GID,
	KEY_NO_ACL,
	KEY_NO_XATTRS,
	KEY_STATIC_NLINK,
	KEY_BATCH,
	KEY_BATCHES,
	KEY_TIMEOUT,
	KEY_MAX_WRITE,
	KEY_QUOTA_BYTES,
	KEY_QUOTA_INODES,
};

struct opt {
	const char *name;
	enum opt_kind kind;
	enum opt_key key;
};

/* Sorted by meaning; looked at from the top, so short and small enough as it is. */
static const struct opt table[] = {
	{"lowerdir", OPT_LOWERS, KEY_NONE},
	{"upperdir", OPT_PATH, KEY_UPPER},
	{"workdir", OPT_PATH, KEY_WORK},
	{"record", OPT_PATH, KEY_RECORD},
	{"ro", OPT_FLAG, KEY_RO},
	{"rw", OPT_CLEAR, KEY_RO},
	{"dev", OPT_FLAG, KEY_DEV},
	{"nodev", OPT_CLEAR, KEY_DEV},
	{"suid", OPT_FLAG, KEY_SUID},
	{"nosuid", OPT_CLEAR, KEY_SUID},
	{"allow_other", OPT_FLAG, KEY_ALLOW_OTHER},
	{"redirect_dir", OPT_REDIRECT, KEY_NONE},
	{"metacopy", OPT_SWITCH, KEY_METACOPY},
	{"volatile", OPT_FLAG, KEY_VOLATILE},
	{"fsync", OPT_SWITCH, KEY_FSYNC},
	{"threaded", OPT_SWITCH, KEY_THREADED},
	{"ino_batch", OPT_NUMBER, KEY_BATCH},
	{"ino_batches", OPT_NUMBER, KEY_BATCHES},
	{"noopen", OPT_SWITCH, KEY_NOOPEN},
	{"writeback", OPT_SWITCH, KEY_WRITEBACK},
	{"passthrough", OPT_PASSTHROUGH, KEY_NONE},
	{"timeout", OPT_SECONDS, KEY_TIMEOUT},
	{"uidmapping", OPT_IDMAP, KEY_UIDS},
	{"gidmapping", OPT_IDMAP, KEY_GIDS},
	{"squash_to_root", OPT_SWITCH, KEY_SQUASH},
	{"squash_to_uid", OPT_NUMBER, KEY_SQUASH_UID},
	{"squash_to_gid", OPT_NUMBER, KEY_SQUASH_GID},
	{"xattr_permissions", OPT_OWNER_XATTR, KEY_NONE},
	{"noacl", OPT_SWITCH, KEY_NO_ACL},
	{"noxattrs", OPT_SWITCH, KEY_NO_XATTRS},
	{"static_nlink", OPT_SWITCH, KEY_STATIC_NLINK},
	{"quota_bytes", OPT_SIZE, KEY_QUOTA_BYTES},
	{"quota_inodes", OPT_SIZE, KEY_QUOTA_INODES},
	{"max_write", OPT_NUMBER, KEY_MAX_WRITE},
	{"fsname", OPT_TEXT, KEY_SOURCE},

	{"nfs_export", OPT_OFF_ONLY, KEY_NONE},
	{"verity", OPT_OFF_ONLY, KEY_NONE},

	{"ino32_t", OPT_REFUSE, KEY_NONE},
	{"plugins", OPT_REFUSE, KEY_NONE},

	/* fuse-overlayfs and libfuse: how, not what */
	{"allow_root", OPT_ACCEPT, KEY_NONE},
	{"default_permissions", OPT_ACCEPT, KEY_NONE},
	{"subtype", OPT_ACCEPT, KEY_NONE},
	{"private", OPT_ACCEPT, KEY_NONE},
	{"shared", OPT_ACCEPT, KEY_NONE},
	{"slave", OPT_ACCEPT, KEY_NONE},
	{"fast_ino", OPT_ACCEPT, KEY_NONE},
	{"kernel_cache", OPT_ACCEPT, KEY_NONE},
	{"auto_cache", OPT_ACCEPT, KEY_NONE},
	{"big_writes", OPT_ACCEPT, KEY_NONE},
	{"clone_fd", OPT_ACCEPT, KEY_NONE},
	{"max_read", OPT_ACCEPT, KEY_NONE},
	{"auto_unmount", OPT_ACCEPT, KEY_NONE},
	{"nonempty", OPT_ACCEPT, KEY_NONE},
	/* kernel overlayfs: always so here, or chosen by the engine */
	{"xino", OPT_ACCEPT, KEY_NONE},
	{"index", OPT_ACCEPT, KEY_NONE},
	{"uuid", OPT_ACCEPT, KEY_NONE},
	{"userxattr", OPT_ACCEPT, KEY_NONE},
	/* mount(8) */
	{"exec", OPT_ACCEPT, KEY_NONE},
	{"noexec", OPT_ACCEPT, KEY_NONE},
	{"atime", OPT_ACCEPT, KEY_NONE},
	{"noatime", OPT_ACCEPT, KEY_NONE},
	{"diratime", OPT_ACCEPT, KEY_NONE},
	{"nodiratime", OPT_ACCEPT, KEY_NONE},
	{"relatime", OPT_ACCEPT, KEY_NONE},
	{"norelatime", OPT_ACCEPT, KEY_NONE},
	{"strictatime", OPT_ACCEPT, KEY_NONE},
	{"lazytime", OPT_ACCEPT, KEY_NONE},
	{"sync", OPT_ACCEPT, KEY_NONE},
	{"async", OPT_ACCEPT, KEY_NONE},
	{"dirsync", OPT_ACCEPT, KEY_NONE},
	{"defaults", OPT_ACCEPT, KEY_NONE},
	{"auto", OPT_ACCEPT, KEY_NONE},
	{"noauto", OPT_ACCEPT, KEY_NONE},
	{"user", OPT_ACCEPT, KEY_NONE},
	{"nouser", OPT_ACCEPT, KEY_NONE},
	{"users", OPT_ACCEPT, KEY_NONE},
	{"nofail", OPT_ACCEPT, KEY_NONE},
	{"_netdev", OPT_ACCEPT, KEY_NONE},
	{"comment", OPT_ACCEPT, KEY_NONE},
	{"context", OPT_ACCEPT, KEY_NONE},
	{"fscontext", OPT_ACCEPT, KEY_NONE},
	{"defcontext", OPT_ACCEPT, KEY_NONE},
	{"rootcontext", OPT_ACCEPT, KEY_NONE},
};

static const struct opt *opt_find(const char *name)
{
	static const struct opt user_space = {"x-*", OPT_ACCEPT, KEY_NONE};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (strcmp(table[i].name, name) == 0)
			return &table[i];
	/* mount(8): "x-" and "X-" are comments of programs in user space. */
	return strncasecmp(name, "x-", 2) == 0 ? &user_space : NULL;
}

/* One backslash less in front of everything. -EINVAL when the last one stands alone. */
static int unescape(const char *s, size_t len, char **ret)
{
	char *out = malloc(len + 1);
	size_t n = 0;

	if (!out)
		return -ENOMEM;
	for (size_t i = 0; i < len; i++) {
		if (s[i] == '\\' && ++i == len) {
			free(out);
			return -EINVAL;
		}
		out[n++] = s[i];
	}
	out[n] = '\0';
	*ret = out;
	return 0;
}

/* Length of what stands before an unescaped @sep or the end. */
static size_t span(const char *s, size_t len, char sep)
{
	size_t i;

	for (i = 0; i < len && s[i] != sep; i++)
		if (s[i] == '\\' && i + 1 < len)
			i++;
	return i;
}

/* Podman writes context="...": the commas of an MCS label are inside the quotes. */
static size_t option_len(const char *s)
{
	size_t len = strlen(s), name = strcspn(s, "=,");
	const char *end;

	if (s[name] == '=' && s[name + 1] == '"' && name >= strlen("context") &&
	    memcmp(s + name - strlen("context"), "context", strlen("context")) == 0) {
		end = strchr(s + name + 2, '"');
		if (end)
			return (size_t)(end - s) + span(end, len - (size_t)(end - s), ',');
	}
	return span(s, len, ',');
}

static void lowers_free(char **lowers, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(lowers[i]);
	free(lowers);
}

void ovl_config_release(struct ovl_config *c)
{
	lowers_free(c->lowers, c->n_lowers);
	free(c->upper);
	free(c->work);
	free(c->source);
	free(c->record);
	ovl_idmap_release(&c->uids);
	ovl_idmap_release(&c->gids);
	memset(c, 0, sizeof(*c));
}

static int bad_value(const struct opt_value *v, const char *expects, struct err *err)
{
	return err_msg(err, -EINVAL, "mount option '%s': '%s' is not %s", v->name,
		       v->text ? v->text : "", expects);
}

static int set_lowers(struct ovl_config *c, const struct opt_value *v, struct err *err)
{
	const char *s = v->raw, *end = v->raw + v->raw_len;
	size_t n = 0, cap = 1, len;
	char **lowers;
	int r = 0;

	for (const char *p = s; p < end; p += len + 1) {
		len = span(p, (size_t)(end - p), ':');
		cap++;
	}
	if (cap > LOWERS_MAX)
		return err_msg(err, -EINVAL, "mount option 'lowerdir': more than %d directories",
			       LOWERS_MAX - 1);
	lowers = calloc(cap, sizeof(*lowers));
	if (!lowers)
		return err_set(err, -ENOMEM, "mount option 'lowerdir'");
	do {
		len = span(s, (size_t)(end - s), ':');
		if (len == 0)
			r = -EINVAL;
		else
			r = unescape(s, len, &lowers[n]);
		if (r)
			break;
		n++;
		s += len + 1;
	} while (s <= end);
	if (r) {
		lowers_free(lowers, n);
		return err_msg(err, r,
			       r == -ENOMEM ? "out of memory"
			       : len == 0   ? "mount option 'lowerdir': an empty path in the list"
					  : "mount option 'lowerdir': a '\\' at the end of a path");
	}
	lowers_free(c->lowers, c->n_lowers);
	c->lowers = lowers;
	c->n_lowers = n;
	return 0;
}

static int set_text(struct ovl_config *c, enum opt_key key, struct opt_value *v, struct err *err)
{
	char **slot = key == KEY_UPPER	  ? &c->upper
		      : key == KEY_WORK	  ? &c->work
		      : key == KEY_RECORD ? &c->record
					  : &c->source;

	if (!v->text || !*v->text)
		return err_msg(err, -EINVAL, "mount option '%s' needs a value", v->name);
	free(*slot);
	*slot = steal_ptr(&v->text);
	return 0;
}

static int parse_switch(const struct opt_value *v, bool *ret)
{
	static const char *const yes[] = {"1", "on", "yes", "true"};
	static const char *const no[] = {"0", "off", "no", "false"};

	if (!v->text) {
		*ret = true;
		return 0;
	}
	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
		if (strcmp(v->text, yes[i]) == 0 || strcmp(v->text, no[i]) == 0) {
			*ret = strcmp(v->text, yes[i]) == 0;
			return 0;
		}
	}
	return -EINVAL;
}

static int set_passthrough(struct ovl_config *c, const struct opt_value *v, struct err *err)
{
	bool on;

	if (v->text && strcmp(v->text, "auto") == 0)
		c->passthrough = OVL_PASS_AUTO;
	else if (parse_switch(v, &on) == 0)
		c->passthrough = on ? OVL_PASS_WANTED : OVL_PASS_NEVER;
	else
		return bad_value(v, "'auto', 0 or 1", err);
	return 0;
}

static void set_flag(struct ovl_config *c, enum opt_key key, bool on)
{
	switch (key) {
	case KEY_RO:
		c->read_only = on;
		break;
	case KEY_DEV:
		c->dev = on;
		break;
	case KEY_SUID:
		c->suid = on;
		break;
	case KEY_ALLOW_OTHER:
		c->allow_other = on;
		c->allow_other_set = true;
		break;
	case KEY_METACOPY:
		c->metacopy = on;
		break;
	case KEY_VOLATILE:
		c->volatile_ = on;
		break;
	case KEY_FSYNC:
		/* Not to sync at all is what volatile means; there is no third way. */
		c->volatile_ = !on;
		break;
	case KEY_THREADED:
		c->threads = on ? 0 : 1;
		break;
	case KEY_NOOPEN:
		c->noopen = on;
		c->noopen_set = true;
		break;
	case KEY_WRITEBACK:
		c->writeback = on;
		break;
	case KEY_SQUASH:
		/* squash_to_uid and squash_to_gid say more, whichever comes first. */
		c->squash_root = on;
		break;
	case KEY_NO_ACL:
		c->no_acl = on;
		break;
	case KEY_NO_XATTRS:
		c->no_xattrs = on;
		break;
	case KEY_STATIC_NLINK:
		c->static_nlink = on;
		break;
	case KEY_UIDS:
	case KEY_GIDS:
	case KEY_SQUASH_UID:
	case KEY_SQUASH_GID:
	case KEY_NONE:
	case KEY_UPPER:
	case KEY_WORK:
	case KEY_SOURCE:
	case KEY_RECORD:
	case KEY_BATCH:
	case KEY_BATCHES:
	case KEY_TIMEOUT:
	case KEY_MAX_WRITE:
	case KEY_QUOTA_BYTES:
	case KEY_QUOTA_INODES:
		break;
	}
}

static int parse_number(const char *s, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;

	if (!s || !*s)
		return -EINVAL;
	for (; *s; s++) {
		if (*s < '0' || *s > '9' || __builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v) || v > max)
			return -EINVAL;
	}
	*ret = v;
	return 0;
}

/* "1", "0.5", "86400.0": whole and thousandth parts, further digits cut off. */
static int parse_seconds(const char *s, unsigned int *ret_ms)
{
	uint64_t whole, ms = 0;
	char digits[24];
	size_t n;

	if (!s)
		return -EINVAL;
	n = strcspn(s, ".");
	if (n >= sizeof(digits))
		return -EINVAL;
	memcpy(digits, s, n);
	digits[n] = '\0';
	if (parse_number(digits, UINT_MAX / 1000 - 1, &whole))
		return -EINVAL;
	if (s[n] == '.') {
		unsigned int unit = 100;

		for (s += n + 1; *s; s++, unit /= 10) {
			if (*s < '0' || *s > '9')
				return -EINVAL;
			ms += (uint64_t)(*s - '0') * unit;
		}
	}
	*ret_ms = (unsigned int)(whole * 1000 + ms);
	return 0;
}

static int set_number(struct ovl_config *c, enum opt_key key, const struct opt_value *v,
		      struct err *err)
{
	uint64_t n;

	struct ovl_idmap *m = key == KEY_SQUASH_UID ? &c->uids : &c->gids;
	bool squash = key == KEY_SQUASH_UID || key == KEY_SQUASH_GID;
	uint64_t max = key == KEY_BATCH ? BATCH_MAX : UINT32_MAX;

	/* 2^32-1 is no id. */
	if (parse_number(v->text, squash ? max - 1 : max, &n))
		return bad_value(v, "a number in range", err);
	if (squash) {
		m->squash = true;
		m->squash_to = (uint32_t)n;
	}
	if (key == KEY_BATCH)
		c->ino_batch = n;
	if (key == KEY_BATCHES)
		c->ino_batches = n;
	/* max_write is only a wish about request sizes: the engine takes the largest there is. */
	return 0;
}

static int set_quota(struct ovl_config *c, enum opt_key key, const struct opt_value *v,
		     struct err *err)
{
	static const char units[] = "kmgt";
	uint64_t n = 0, max = (uint64_t)INT64_MAX;
	size_t len = v->text ? strlen(v->text) : 0;
	const char *unit = len > 1 ? strchr(units, tolower((unsigned char)v->text[len - 1])) : NULL;
	unsigned int shift = unit && *unit ? 10 * (unsigned int)(unit - units + 1) : 0;

	if (shift > 0)
		v->text[len - 1] = '\0';
	if (parse_number(v->text, max >> shift, &n) || n == 0)
		return bad_value(v, "a size from 1, with K, M, G or T", err);
	*(key == KEY_QUOTA_BYTES ? &c->quota_bytes : &c->quota_inodes) = n << shift;
	return 0;
}

static int not_supported(const struct opt_value *v, struct err *err)
{
	if (v->text)
		return err_msg(err, -EOPNOTSUPP,
			       "mount option '%s=%s' is not supported by this version", v->name,
			       v->text);
	return err_msg(err, -EOPNOTSUPP, "mount option '%s' is not supported by this version",
		       v->name);
}

static int set_redirect(struct ovl_config *c, const struct opt_value *v, struct err *err)
{
	bool on;

	c->nofollow = v->text && strcmp(v->text, "nofollow") == 0;
	if (c->nofollow || (v->text && strcmp(v->text, "follow") == 0))
		on = false; /* the kernel's names: write none, and read none, or read them */
	else if (!v->text || parse_switch(v, &on))
		return bad_value(v, "on, off, follow or nofollow", err);
	c->redirect_dir = on;
	c->redirect_set = true;
	return 0;
}

static int set_idmap(struct ovl_idmap *slot, const struct opt_value *v, struct err *err)
{
	struct ovl_idmap m = *slot;
	int r;

	m.ranges = NULL;
	m.n = 0;
	r = ovl_idmap_parse(&m, v->text ? v->text : "x");
	if (r == -EINVAL)
		return bad_value(v, "STORED:SHOWN:COUNT[:...] without overlaps", err);
	if (r < 0)
		return err_set(err, r, "mount option '%s'", v->name);
	ovl_idmap_release(slot);
	*slot = m;
	return 0;
}

static int set_owner_xattr(struct ovl_config *c, const struct opt_value *v, struct err *err)
{
	static const char *const names[] = {NULL, OVL_XATTR_OVERRIDE_PRIVILEGED,
					    OVL_XATTR_OVERRIDE};
	uint64_t n;

	if (parse_number(v->text, 2, &n))
		return bad_value(v, "0, 1 or 2", err);
	c->owner_xattr = names[n];
	return 0;
}

static int opt_apply(struct ovl_config *c, const struct opt *o, struct opt_value *v,
		     struct err *err)
{
	bool on;

	switch (o->kind) {
	case OPT_LOWERS:
		return set_lowers(c, v, err);
	case OPT_PATH:
	case OPT_TEXT:
		return set_text(c, o->key, v, err);
	case OPT_FLAG:
	case OPT_CLEAR:
		if (v->text)
			return err_msg(err, -EINVAL, "mount option '%s' takes no value", v->name);
		set_flag(c, o->key, o->kind == OPT_FLAG);
		return 0;
	case OPT_SWITCH:
		if (parse_switch(v, &on))
			return bad_value(v, "0 or 1", err);
		set_flag(c, o->key, on);
		return 0;
	case OPT_NUMBER:
		return set_number(c, o->key, v, err);
	case OPT_SIZE:
		return set_quota(c, o->key, v, err);
	case OPT_SECONDS:
		if (parse_seconds(v->text, &c->timeout_ms))
			return bad_value(v, "a number of seconds", err);
		c->timeout_set = true;
		return 0;
	case OPT_IDMAP:
		return set_idmap(o->key == KEY_UIDS ? &c->uids : &c->gids, v, err);
	case OPT_OWNER_XATTR:
		return set_owner_xattr(c, v, err);
	case OPT_REDIRECT:
		return set_redirect(c, v, err);
	case OPT_PASSTHROUGH:
		return set_passthrough(c, v, err);
	case OPT_OFF_ONLY:
		if (parse_switch(v, &on) == 0 && !on)
			return 0;
		return not_supported(v, err);
	case OPT_REFUSE:
		return not_supported(v, err);
	case OPT_ACCEPT:
		break;
	}
	log_debug("mount option '%s' has no meaning here", v->name);
	return 0;
}

static int parse_one(struct ovl_config *c, const char *s, size_t len, struct err *err)
{
	char *name cleanup_free = NULL, *text cleanup_free = NULL;
	struct opt_value v = {.raw = ""};
	const char *eq = memchr(s, '=', len);
	const struct opt *o;
	int r;

	name = strndup(s, eq ? (size_t)(eq - s) : len);
	if (!name)
		return err_set(err, -ENOMEM, "mount options");
	o = opt_find(name);
	if (!o)
		return err_msg(err, -EINVAL, "unknown mount option '%s'", name);
	v.name = name;
	if (eq) {
		v.raw = eq + 1;
		v.raw_len = len - (size_t)(v.raw - s);
		r = unescape(v.raw, v.raw_len, &text);
		if (r == -EINVAL)
			return err_msg(err, r, "mount option '%s' ends in a lone '\\'", name);
		if (r)
			return err_set(err, r, "mount option '%s'", name);
		v.text = text;
	}
	r = opt_apply(c, o, &v, err);
	text = v.text; /* NULL when the config took it */
	return r;
}

int ovl_params_parse(struct ovl_config *c, const char *options, struct err *err)
{
	size_t len;
	int r;

	for (const char *s = options;; s += len + 1) {
		len = option_len(s);
		if (len > 0) {
			r = parse_one(c, s, len, err);
			if (r)
				return r;
		}
		if (s[len] == '\0')
			return 0;
	}
}

int ovl_params_verify(struct ovl_config *c, struct err *err)
{
	if (c->n_lowers == 0 && !c->upper) {
		(void)err_msg(err, -EINVAL, "nothing to mount: no lowerdir and no upperdir given");
		err_hint(err, "-o lowerdir=TOP:...:BOTTOM[,upperdir=DIR,workdir=DIR]");
		return -EINVAL;
	}
	if (c->upper && !c->work) {
		(void)err_msg(err, -EINVAL, "upperdir '%s' needs a workdir", c->upper);
		err_hint(err, "add workdir=DIR, an empty directory on the same file system");
		return -EINVAL;
	}
	if (!c->upper && c->work) {
		/* As the kernel does: useless, not wrong. */
		log_info("workdir '%s' is not used: there is no upperdir", c->work);
		free(c->work);
		c->work = NULL;
	}
	/* A file whose data stay below is found by a redirect when it moves (the kernel's rule). */
	if (c->metacopy && c->redirect_set && !c->redirect_dir)
		return err_msg(err, -EINVAL, "metacopy=on needs redirect_dir=on");
	c->redirect_dir |= c->metacopy;
	if (c->ino_batch > BATCH_MAX)
		return err_msg(err, -EINVAL, "ino_batch %llu is out of range",
			       (unsigned long long)c->ino_batch);
	if (!c->upper)
		c->read_only = true;
	if (c->squash_root && !c->uids.squash) {
		c->uids.squash = true;
		c->uids.squash_to = 0;
	}
	if (c->squash_root && !c->gids.squash) {
		c->gids.squash = true;
		c->gids.squash_to = 0;
	}
	return 0;
}

static int resolve(char **path, const char *what, struct err *err)
{
	char *abs = realpath(*path, NULL);

	if (!abs)
		return err_set(err, -errno, "%s '%s'", what, *path);
	free(*path);
	*path = abs;
	return 0;
}

/* It need not be there yet; that it can be written is found out while somebody listens. */
static int resolve_record(char **path, struct err *err)
{
	int fd = open(*path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	if (fd < 0)
		return err_set(err, -errno, "record '%s'", *path);
	(void)close(fd);
	return resolve(path, "record", err);
}

static bool is_inside(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return strncmp(path, dir, n) == 0 && (path[n] == '\0' || path[n] == '/' || n == 1);
}

int ovl_params_resolve(struct ovl_config *c, struct err *err)
{
	int r = 0;

	for (size_t i = 0; !r && i < c->n_lowers; i++)
		r = resolve(&c->lowers[i], "lowerdir", err);
	if (!r && c->upper)
		r = resolve(&c->upper, "upperdir", err);
	if (!r && c->work)
		r = resolve(&c->work, "workdir", err);
	if (!r && c->record)
		r = resolve_record(&c->record, err);
	if (r)
		return r;
	if (c->upper && c->work && (is_inside(c->upper, c->work) || is_inside(c->work, c->upper)))
		return err_msg(err, -EINVAL,
			       "upperdir '%s' and workdir '%s' must be two separate trees",
			       c->upper, c->work);
	return 0;
}

const char *ovl_params_help(void)
{
	return "  lowerdir=TOP:...:BOTTOM   read-only layers, each a directory or an index of the "
	       "store;\n"
	       "                            '\\:' and '\\,' stand for ':' and ',' in a name\n"
	       "  upperdir=DIR              what is written goes here; without it the mount is "
	       "read-only\n"
	       "  workdir=DIR               on the same file system as upperdir, otherwise empty\n"
	       "  ro                        read-only even with an upperdir\n"
	       "  redirect_dir=on|off|nofollow\n"
	       "                            whether a directory of a lower layer can be renamed "
	       "(off)\n"
	       "  metacopy=on|off           whether chown, chmod and the like leave a file's data "
	       "below (off)\n"
	       "  volatile, fsync=0         no syncs: fast, and worthless after a crash of the "
	       "machine\n"
	       "  timeout=SECONDS           how long the kernel may keep names and attributes\n"
	       "  noopen=0|1                the kernel opens and closes files without asking "
	       "(where it can)\n"
	       "  writeback=0|1             what is written stays in the kernel until a file is "
	       "closed or synced\n"
	       "  passthrough=auto|0|1      the kernel itself reads and writes files of the upper; "
	       "auto:\n"
	       "                            where it has to ask for each open anyway\n"
	       "  uidmapping=STORED:SHOWN:COUNT[:...], gidmapping=...\n"
	       "                            owners that are kept as one id and seen as another\n"
	       "  squash_to_root, squash_to_uid=N, squash_to_gid=N\n"
	       "                            everything is seen to be owned by these\n"
	       "  xattr_permissions=0|1|2   owners and modes are kept in an xattr: 1 "
	       "security.fuseoverlayfs.override_stat,\n"
	       "                            2 user.containers.override_stat\n"
	       "  quota_bytes=N, quota_inodes=N\n"
	       "                            what the upper may hold, K, M, G, T; ENOSPC beyond\n"
	       "  record=FILE               what is read of layers of a store, in order\n"
	       "  noacl, noxattrs           no POSIX ACLs, no extended attributes at all\n"
	       "  static_nlink              every directory has one link\n"
	       "  ino_batch=N               first batch of 2^32 inode numbers of this mount (0)\n"
	       "  ino_batches=N             so many are its own: what it begins with, or\n"
	       "                            without ino_batch as many as it takes\n"
	       "  threaded=0|1              answer requests one after the other, or at once (1)\n"
	       "  allow_other               other users may enter (default for root)\n"
	       "  dev, suid                 device nodes and set-user-id bits work (root only)\n";
}
