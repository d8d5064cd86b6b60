/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/faults/mounted.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "tests/faults/snapfs_main.h"

struct faults *faults;
static bool serving; /* this process is the mount's: its memory may run out */

/* The linker sends all of our code's calls here (--wrap). */
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_reallocarray(void *p, size_t n, size_t size);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_reallocarray(void *p, size_t n, size_t size);
char *__wrap_strdup(const char *s);

static bool out_of_memory(void)
{
	if (!serving || ovl_fault_hit(&faults->memory) == 0)
		return false;
	errno = ENOMEM;
	return true;
}

void *__wrap_malloc(size_t size)
{
	return out_of_memory() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return out_of_memory() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return out_of_memory() ? NULL : __real_realloc(p, size);
}

void *__wrap_reallocarray(void *p, size_t n, size_t size)
{
	return out_of_memory() ? NULL : __real_reallocarray(p, n, size);
}

char *__wrap_strdup(const char *s)
{
	return out_of_memory() ? NULL : __real_strdup(s);
}

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(2);
}

void mounted_init(void)
{
	faults = mmap(NULL, sizeof(*faults), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (faults == MAP_FAILED)
		die("shared memory");
	/* The server's parent goes at once: so we are told when it ends. */
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		die("subreaper");
	if (mkdir("mnt", 0755) < 0)
		die("mnt");
}

void mounted_start(const char *options)
{
	char dir[1024], opts[5000], mnt[1100];
	char *argv[] = {(char[]){"snapfs"}, (char[]){"-o"}, opts, mnt, NULL};
	int status;
	pid_t pid;

	if (!getcwd(dir, sizeof(dir)))
		die("getcwd");
	snprintf(opts, sizeof(opts),
		 "lowerdir=%s/low,upperdir=%s/up,workdir=%s/wk,redirect_dir=on%s%s", dir, dir, dir,
		 *options ? "," : "", options);
	snprintf(mnt, sizeof(mnt), "%s/mnt", dir);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		serving = true;
		ovl_fault_use(&faults->sys);
		optind = 0;
		_exit(snapfs_main(4, argv));
	}
	if (waitpid(pid, &status, 0) != pid || status != 0) {
		fprintf(stderr, "snapfs did not mount (status %#x)\n", (unsigned int)status);
		exit(2);
	}
}

static void unmount(void)
{
	int status;
	pid_t pid;

	if (geteuid() == 0) {
		if (umount2("mnt", 0) < 0 && umount2("mnt", MNT_DETACH) < 0)
			die("unmount");
		return;
	}
	pid = fork();
	if (pid == 0) {
		execlp("fusermount3", "fusermount3", "-u", "-z", "mnt", (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		die("fusermount3");
}

void mounted_stop(void)
{
	unmount();
	while (wait(NULL) >= 0 || errno == EINTR)
		;
}

void mounted_clean(void)
{
	static const char *const dirs[] = {"up", "wk"};

	for (int i = 0; i < 2; i++) {
		errno = -io_remove_tree(AT_FDCWD, dirs[i]);
		if (errno || mkdir(dirs[i], 0755) < 0)
			die(dirs[i]);
	}
}
