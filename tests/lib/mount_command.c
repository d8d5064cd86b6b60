/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/strbuf.h"
#include "tests/lib/mount_command.h"

static int expand(struct strbuf *s, const char *template, const struct mount_paths *paths)
{
	for (const char *p = template; *p; p++) {
		const char *v = NULL;

		if (*p == '%')
			v = p[1] == 'l'	  ? paths->lowers
			    : p[1] == 'u' ? paths->upper
			    : p[1] == 'w' ? paths->work
			    : p[1] == 'm' ? paths->mnt
					  : NULL;
		if (v)
			p++;
		if (v ? strbuf_adds(s, v) < 0 : strbuf_add(s, p, 1) < 0)
			return -1;
	}
	return 0;
}

int shell_run(const char *command)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		(void)execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return 255;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

int mount_command_run(const char *command, const struct mount_paths *paths)
{
	CLEANUP(strbuf_release) struct strbuf s = STRBUF_INIT;
	int r;

	if (expand(&s, command, paths) < 0)
		return 255;
	r = shell_run(s.s);
	if (r)
		(void)fprintf(stderr, "status %d of: %s\n", r, s.s);
	return r;
}

int mount_command_line(const char *command, const struct mount_paths *paths, char *buf, int size)
{
	CLEANUP(strbuf_release) struct strbuf s = STRBUF_INIT;
	FILE *p;
	char *line;

	if (expand(&s, command, paths) < 0)
		return -1;
	p = popen(s.s, "re");
	if (!p)
		return -1;
	line = fgets(buf, size, p);
	if (pclose(p) != 0 || !line) {
		(void)fprintf(stderr, "no line from: %s\n", s.s);
		return -1;
	}
	buf[strcspn(buf, "\n")] = '\0';
	return 0;
}

int mount_end(const char *mnt)
{
	char command[512];

	for (int i = 0; i < 1000; i++) {
		if (umount2(mnt, 0) == 0)
			return 0;
		if (errno == EPERM) {
			(void)snprintf(command, sizeof(command), "fusermount3 -u '%s'", mnt);
			if (shell_run(command) == 0)
				return 0;
		} else if (errno != EBUSY) {
			break;
		}
		(void)usleep(10000);
	}
	(void)fprintf(stderr, "unmount %s: %s\n", mnt, strerror(errno));
	return -1;
}
