/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/runtime_user.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

#define FIELDS_MAX 7
#define ID_MAX	   0x7fffffffu /* as every runtime has it */

void runtime_user_release(struct runtime_user *u)
{
	free(u->groups);
	free(u->home);
	memset(u, 0, sizeof(*u));
}

struct field {
	const char *s;
	size_t len;
};

/* The fields of the line at *@text, which moves on to the next one. 0: no more lines. */
static size_t next_line(const char **text, struct field fields[FIELDS_MAX])
{
	const char *p = *text, *end;
	size_t n = 0;

	if (!*p)
		return 0;
	end = strchrnul(p, '\n');
	*text = *end ? end + 1 : end;
	while (n < FIELDS_MAX) {
		const char *colon = memchr(p, ':', (size_t)(end - p));

		fields[n++] = (struct field){p, (size_t)((colon ? colon : end) - p)};
		if (!colon)
			break;
		p = colon + 1;
	}
	return n;
}

static bool field_is(const struct field *f, const char *s, size_t len)
{
	return f->len == len && memcmp(f->s, s, len) == 0;
}

static bool number(const char *s, size_t len, uint32_t *ret)
{
	uint64_t v = 0;

	if (len == 0 || len > 10)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(s[i] - '0');
	}
	if (v > ID_MAX)
		return false;
	*ret = (uint32_t)v;
	return true;
}

struct who {
	struct field name; /* as passwd has it; empty: no line there */
	struct field home;
};

/* The first line that has @user as its name, or else as its number. */
static int find_user(const char *passwd, const char *user, size_t len, struct runtime_user *u,
		     struct who *who, struct err *err)
{
	struct field f[FIELDS_MAX] = {{NULL, 0}};
	uint32_t wanted = 0, uid, gid;
	bool is_number = number(user, len, &wanted);
	size_t n;

	for (const char *p = passwd; (n = next_line(&p, f)) > 0;) {
		if (n < 4 || !number(f[2].s, f[2].len, &uid) || !number(f[3].s, f[3].len, &gid))
			continue;
		if (!field_is(&f[0], user, len) && !(is_number && uid == wanted))
			continue;
		u->uid = uid;
		u->gid = gid;
		who->name = f[0];
		if (n > 5)
			who->home = f[5];
		return 0;
	}
	if (!is_number)
		return err_msg(err, -ENOENT, "the image's /etc/passwd has no user '%.*s'",
			       (int)(len > 100 ? 100 : len), user);
	u->uid = wanted;
	u->gid = 0;
	return 0;
}

static int find_group(const char *group, const char *name, struct runtime_user *u, struct err *err)
{
	struct field f[FIELDS_MAX] = {{NULL, 0}};
	uint32_t wanted = 0, gid;
	bool is_number = number(name, strlen(name), &wanted);
	size_t n;

	for (const char *p = group; (n = next_line(&p, f)) > 0;) {
		if (n < 3 || !number(f[2].s, f[2].len, &gid))
			continue;
		if (field_is(&f[0], name, strlen(name)) || (is_number && gid == wanted)) {
			u->gid = gid;
			return 0;
		}
	}
	if (!is_number)
		return err_msg(err, -ENOENT, "the image's /etc/group has no group '%.100s'", name);
	u->gid = wanted;
	return 0;
}

static bool is_member(const struct field *members, const struct field *name)
{
	const char *p = members->s, *end = members->s + members->len;

	while (p <= end) {
		const char *comma = memchr(p, ',', (size_t)(end - p));
		size_t len = (size_t)((comma ? comma : end) - p);

		if (len == name->len && memcmp(p, name->s, len) == 0)
			return true;
		p += len + 1;
	}
	return false;
}

static int add_groups(const char *group, const struct field *name, struct runtime_user *u)
{
	struct field f[FIELDS_MAX] = {{NULL, 0}};
	uint32_t gid, *grown;
	size_t n;

	for (const char *p = group; (n = next_line(&p, f)) > 0;) {
		if (n < 4 || !number(f[2].s, f[2].len, &gid) || !is_member(&f[3], name))
			continue;
		if (u->n_groups == RUNTIME_GROUPS_MAX)
			break;
		grown = reallocarray(u->groups, u->n_groups + 1, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		u->groups = grown;
		grown[u->n_groups++] = gid;
	}
	return 0;
}

int runtime_user_parse(const char *passwd, const char *group, const char *spec,
		       struct runtime_user *ret, struct err *err)
{
	struct runtime_user u cleanup_runtime_user = {.groups = NULL};
	const char *user = spec && spec[0] ? spec : "0", *colon = strchrnul(user, ':');
	size_t len = (size_t)(colon - user);
	struct who who = {.name = {.s = ""}, .home = {.s = "/", .len = 1}};
	int r;

	if (len == 0) { /* ":GROUP" */
		user = "0";
		len = 1;
	}
	r = find_user(passwd, user, len, &u, &who, err);
	if (r == 0 && colon[0] && colon[1])
		r = find_group(group, colon + 1, &u, err);
	else if (r == 0 && who.name.len > 0 && add_groups(group, &who.name, &u) < 0)
		r = err_set(err, -ENOMEM, "groups");
	if (r < 0)
		return r;
	if (who.home.len == 0 || who.home.s[0] != '/' || who.home.len >= PATH_MAX)
		who.home = (struct field){"/", 1};
	u.home = strndup(who.home.s, who.home.len);
	if (!u.home)
		return err_set(err, -ENOMEM, "user");
	*ret = u;
	memset(&u, 0, sizeof(u));
	return 0;
}

/* What it is called once all symlinks are followed: below these the container has other files. */
static bool will_be_covered(int root_fd, int fd)
{
	static const char *const covered[] = {"/dev/", "/proc/", "/sys/"};
	char link[40], root[PATH_MAX], path[PATH_MAX];
	ssize_t root_len, len;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", root_fd);
	root_len = readlink(link, root, sizeof(root) - 1);
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof(path) - 1);
	if (root_len < 0 || len < root_len)
		return true;
	path[len] = '\0';
	if (root_len == 1) /* "/" */
		root_len = 0;
	for (size_t i = 0; i < sizeof(covered) / sizeof(covered[0]); i++) {
		if (strncmp(path + root_len, covered[i], strlen(covered[i])) == 0)
			return true;
	}
	return false;
}

/* Runtimes read lines with a buffer of this size, and fail on longer ones. */
static bool has_long_line(const char *text)
{
	for (const char *p = text, *end; *p; p = *end ? end + 1 : end) {
		end = strchrnul(p, '\n');
		if (end - p >= RUNTIME_USER_LINE_MAX)
			return true;
	}
	return false;
}

/*
 * The runtime reads the file again, in the container and with no care: one on which it would hang
 * or choke is refused here. @ret is "" when the image has none.
 */
static int read_in_root(int root_fd, const char *path, char **ret, struct err *err)
{
	int at cleanup_close = io_open_in_root(root_fd, path, O_PATH), fd cleanup_close = -1, r;
	char self[40];
	struct stat st;
	size_t len;

	if (at == -ENOENT || at == -ENOTDIR) {
		int link cleanup_close = io_open_in_root(root_fd, path, O_PATH | O_NOFOLLOW);

		if (link >= 0)
			return err_msg(err, -EUCLEAN, "the image's %s is a symlink to nothing",
				       path);
		*ret = strdup("");
		return *ret ? 0 : err_set(err, -ENOMEM, "user");
	}
	if (at < 0)
		return err_set(err, at, "the image's %s", path);
	if (fstat(at, &st) < 0)
		return err_set(err, -errno, "the image's %s", path);
	if (!S_ISREG(st.st_mode) || will_be_covered(root_fd, at))
		return err_msg(err, -EUCLEAN, "the image's %s is no ordinary file", path);
	if (st.st_size > RUNTIME_USER_FILE_MAX)
		return err_msg(err, -EFBIG, "the image's %s has more than %u bytes", path,
			       RUNTIME_USER_FILE_MAX);
	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", at);
	fd = open(self, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, -errno, "the image's %s", path);
	*ret = malloc((size_t)st.st_size + 1);
	if (!*ret)
		return err_set(err, -ENOMEM, "user");
	len = (size_t)st.st_size;
	r = io_pread_full(fd, *ret, len, 0);
	if (r < 0) {
		free(*ret);
		*ret = NULL;
		return err_set(err, r, "read the image's %s", path);
	}
	(*ret)[len] = '\0';
	if (strlen(*ret) == len && !has_long_line(*ret))
		return 0;
	free(*ret);
	*ret = NULL;
	return err_msg(err, -EUCLEAN, "the image's %s is no text of lines of less than %d bytes",
		       path, RUNTIME_USER_LINE_MAX);
}

int runtime_user_find(int root_fd, const char *spec, struct runtime_user *ret, struct err *err)
{
	char *passwd cleanup_free = NULL, *group cleanup_free = NULL;
	int r = read_in_root(root_fd, "/etc/passwd", &passwd, err);

	if (r == 0)
		r = read_in_root(root_fd, "/etc/group", &group, err);
	return r < 0 ? r : runtime_user_parse(passwd, group, spec, ret, err);
}
