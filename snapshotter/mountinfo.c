/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/mountinfo.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

static void fclosep(FILE **f)
{
	if (*f)
		(void)fclose(*f);
}

static bool is_octal(const char *p)
{
	return p[0] >= '0' && p[0] <= '3' && p[1] >= '0' && p[1] <= '7' && p[2] >= '0' &&
	       p[2] <= '7';
}

/* Undoes \ooo in place: spaces, tabs, newlines, backslashes, '#'. */
static void unescape(char *s)
{
	char *out = s;

	while (*s) {
		if (*s == '\\' && is_octal(s + 1)) {
			*out++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 4;
		} else {
			*out++ = *s++;
		}
	}
	*out = '\0';
}

/* Cuts the line into target and source; false when it has not the form of proc(5). */
static bool parse_line(char *line, char **ret_target, char **ret_source)
{
	char *save, *target, *dash = strstr(line, " - ");

	if (!dash)
		return false;
	*dash = '\0';
	(void)strtok_r(line, " ", &save); /* id */
	for (int i = 0; i < 3; i++) /* parent, device, root */
		(void)strtok_r(NULL, " ", &save);
	target = strtok_r(NULL, " ", &save);
	(void)strtok_r(dash + 3, " ", &save); /* type */
	*ret_source = strtok_r(NULL, " ", &save);
	*ret_target = target;
	if (!target || !*ret_source)
		return false;
	unescape(target);
	unescape(*ret_source);
	return true;
}

int mountinfo_find(enum mountinfo_field field, const char *value, char **ret_target,
		   char **ret_source, struct err *err)
{
	FILE *f CLEANUP(fclosep) = fopen("/proc/self/mountinfo", "re");
	char *line cleanup_free = NULL, *found_target cleanup_free = NULL;
	char *found_source cleanup_free = NULL;
	size_t cap = 0;
	int found = 0;

	if (!f)
		return err_set(err, -errno, "open '/proc/self/mountinfo'");
	while (getline(&line, &cap, f) > 0) {
		char *target, *source;

		line[strcspn(line, "\n")] = '\0';
		if (!parse_line(line, &target, &source) ||
		    strcmp(field == MOUNTINFO_SOURCE ? source : target, value) != 0)
			continue;
		free(found_target);
		free(found_source);
		found_target = strdup(target);
		found_source = strdup(source);
		if (!found_target || !found_source)
			return err_set(err, -ENOMEM, "mount table");
		found = 1;
	}
	if (found && ret_target)
		*ret_target = steal_ptr(&found_target);
	if (found && ret_source)
		*ret_source = steal_ptr(&found_source);
	return found;
}

int mountinfo_ours(char ***ret, size_t *ret_n)
{
	FILE *f CLEANUP(fclosep) = fopen("/proc/self/mountinfo", "re");
	char *line cleanup_free = NULL, **list = NULL;
	size_t cap = 0, n = 0;

	if (!f)
		return -errno;
	while (getline(&line, &cap, f) > 0) {
		bool engine = strstr(line, " - fuse.snapfs ") != NULL;
		char *target, *source, **p;

		line[strcspn(line, "\n")] = '\0';
		if (!parse_line(line, &target, &source) ||
		    (!engine && strncmp(source, "snap:", 5) != 0))
			continue;
		p = reallocarray(list, n + 1, sizeof(*p));
		target = strdup(target);
		if (p)
			list = p;
		if (!p || !target) {
			free(target);
			break; /* what is known already is better than nothing */
		}
		list[n++] = target;
	}
	*ret = list;
	*ret_n = n;
	return 0;
}
