/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * mount_command - mounts of the engine under test, by a command that the test is given:
 * '%l' in it stands for the lowerdir list, '%u' for the upper, '%w' for the work directory
 * and '%m' for the target. What cannot be done is said on stderr.
 */
struct mount_paths {
	const char *lowers, *upper, *work, *mnt; /* NULL: left as it stands */
};

/* Runs @command in a shell: its exit status, 255 when it has none. */
int shell_run(const char *command);
/* Runs it with the paths in place: its exit status. */
int mount_command_run(const char *command, const struct mount_paths *paths);
/* The first line of what it prints, without its newline, in @buf; 0, or -1 when there is none. */
int mount_command_line(const char *command, const struct mount_paths *paths, char *buf, int size);
/* Unmounts @mnt, by fusermount3 where we may not; waits a while for who still uses it. 0 or -1. */
int mount_end(const char *mnt);
