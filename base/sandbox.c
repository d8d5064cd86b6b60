/* SPDX-License-Identifier: Apache-2.0 */
#include "base/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

#ifndef SNAP_SANITIZED
#define SNAP_SANITIZED 0
#endif

#define NOBODY	  65534
#define CPU_LIMIT 7200 /* seconds: the largest layer that the budgets allow takes minutes */

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__i386__)
#define ARCH AUDIT_ARCH_I386
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#elif defined(__arm__)
#define ARCH AUDIT_ARCH_ARM
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCH AUDIT_ARCH_RISCV64
#elif defined(__powerpc64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define ARCH AUDIT_ARCH_PPC64LE
#elif defined(__s390x__)
#define ARCH AUDIT_ARCH_S390X
#else
#error "which architecture does seccomp know this machine by?"
#endif

/* Debian 12's headers know landlock's second version; what came later, by its numbers. */
#define LANDLOCK_FS_ALL(version)                                                                   \
	((1ULL << ((version) >= 5 ? 16 : (version) >= 3 ? 15 : (version) == 2 ? 14 : 13)) - 1)
#define LANDLOCK_NET_ALL   3ULL /* TCP: bind, connect; version 4 */
#define LANDLOCK_SCOPE_ALL 3ULL /* abstract sockets, signals; version 6 */
struct landlock_attr {
	uint64_t fs, net, scoped;
};

int sandbox_landlock_version(void)
{
	long v = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0,
			 LANDLOCK_CREATE_RULESET_VERSION);

	return v < 0 ? 0 : (int)v;
}

static int enter_landlock(void)
{
	int version = sandbox_landlock_version(), fd cleanup_close = -1;
	struct landlock_attr attr = {.fs = LANDLOCK_FS_ALL(version)};
	size_t size = offsetof(struct landlock_attr, net);

	if (version == 0)
		return 0;
	if (version >= 4) {
		attr.net = LANDLOCK_NET_ALL;
		size = offsetof(struct landlock_attr, scoped);
	}
	if (version >= 6) {
		attr.scoped = LANDLOCK_SCOPE_ALL;
		size = sizeof(attr);
	}
	/* no rule: nothing is allowed */
	fd = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
	if (fd < 0 || syscall(SYS_landlock_restrict_self, fd, 0) < 0)
		return -errno;
	return 0;
}

void sandbox_close_others(int first, int last)
{
	int null = open("/dev/null", O_RDWR);

	for (int fd = 0; fd < 3 && null >= 0; fd++) {
		/* where a sanitizer writes its report */
		if (!SNAP_SANITIZED || fd != STDERR_FILENO)
			(void)dup2(null, fd);
	}
	if (first > 3)
		(void)close_range(3, (unsigned int)first - 1, 0);
	(void)close_range((unsigned int)last + 1, ~0U, 0);
}

int sandbox_die_with_parent(void)
{
	return prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ? -errno : 0;
}

/* As root of a namespace that knows no nobody it stays root of it, without what makes root. */
static int drop_privileges(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{.effective = 0}};

	if (geteuid() == 0) {
		(void)setgroups(0, NULL);
		if (setresgid(NOBODY, NOBODY, NOBODY) < 0 && errno != EINVAL && errno != EPERM)
			return -errno;
		if (setresuid(NOBODY, NOBODY, NOBODY) < 0 && errno != EINVAL && errno != EPERM)
			return -errno;
	}
	if (syscall(SYS_capset, &head, none) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return -errno;
	/* a change of user takes it away */
	return sandbox_die_with_parent();
}

static int limit(__rlimit_resource_t what, uint64_t value)
{
	struct rlimit l;

	if (getrlimit(what, &l) < 0)
		return -errno;
	if (l.rlim_max > value)
		l.rlim_max = value;
	l.rlim_cur = l.rlim_max;
	return setrlimit(what, &l) < 0 ? -errno : 0;
}

static int limit_all(uint64_t memory)
{
	int r = limit(RLIMIT_CORE, 0);

	if (r == 0)
		r = limit(RLIMIT_FSIZE, 0);
	if (r == 0)
		r = limit(RLIMIT_CPU, CPU_LIMIT);
	if (r == 0)
		r = limit(RLIMIT_NPROC, 0);
	if (r == 0 && !SNAP_SANITIZED)
		r = limit(RLIMIT_NOFILE, 0);
	if (r == 0 && !SNAP_SANITIZED)
		r = limit(RLIMIT_AS, memory);
	return r;
}

#define LOAD(field)                                                                                \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, field))
/* Low half of an argument, on a machine of either order. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LOAD_ARG(n) LOAD(args[n])
#else
#define LOAD_ARG(n)                                                                                \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, args[n]) + 4)
#endif
#define ANSWER(action)	BPF_STMT(BPF_RET | BPF_K, (action))
#define REFUSE		ANSWER(SECCOMP_RET_ERRNO | EPERM)
#define KILL		ANSWER(SECCOMP_RET_KILL_PROCESS)
#define ALLOW		ANSWER(SECCOMP_RET_ALLOW)
#define IF_CALL(nr)	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(nr), 0, 1)
#define ALLOW_CALL(nr)	IF_CALL(nr), ALLOW
#define REFUSE_CALL(nr) IF_CALL(nr), REFUSE
#define KILL_CALL(nr)	IF_CALL(nr), KILL
/* The call's argument @n is @value, or it kills. */
#define CALL_WITH(nr, n, value)                                                                    \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(nr), 0, 4), LOAD_ARG(n),                    \
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), 0, 1), ALLOW, KILL
/* Argument @n has none of @bits, or it is refused. */
#define CALL_WITHOUT(nr, n, bits)                                                                  \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(nr), 0, 4), LOAD_ARG(n),                    \
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (uint32_t)(bits), 0, 1), REFUSE, ALLOW
#ifdef SYS_mmap2
#define NR_MMAP SYS_mmap2
#else
#define NR_MMAP SYS_mmap
#endif

/* Not inherited, so no process of this one could be without it: there can be none. */
static int enter_seccomp(int fd)
{
	struct sock_filter filter[] = {
		LOAD(arch),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
		KILL,
		LOAD(nr),
#if SNAP_SANITIZED
		/* what reaches beyond the process; all else a sanitizer may need */
		REFUSE_CALL(SYS_openat),
		REFUSE_CALL(SYS_openat2),
#ifdef SYS_open
		REFUSE_CALL(SYS_open),
		KILL_CALL(SYS_fork),
		KILL_CALL(SYS_vfork),
#endif
		KILL_CALL(SYS_socket),
		KILL_CALL(SYS_connect),
		KILL_CALL(SYS_bind),
		KILL_CALL(SYS_execve),
		KILL_CALL(SYS_execveat),
		KILL_CALL(SYS_ptrace),
		KILL_CALL(SYS_process_vm_writev),
		KILL_CALL(SYS_kill),
		KILL_CALL(SYS_pidfd_open),
		KILL_CALL(SYS_io_uring_setup),
		KILL_CALL(SYS_bpf),
		KILL_CALL(SYS_mount),
		KILL_CALL(SYS_unshare),
		ALLOW,
#else
		CALL_WITH(SYS_read, 0, fd),
		CALL_WITH(SYS_write, 0, fd),
		CALL_WITHOUT(NR_MMAP, 2, PROT_EXEC),
		CALL_WITHOUT(SYS_mprotect, 2, PROT_EXEC),
		ALLOW_CALL(SYS_munmap),
		ALLOW_CALL(SYS_mremap),
		ALLOW_CALL(SYS_madvise),
		ALLOW_CALL(SYS_brk),
		ALLOW_CALL(SYS_futex),
		ALLOW_CALL(SYS_restart_syscall),
		ALLOW_CALL(SYS_rt_sigreturn),
		ALLOW_CALL(SYS_rt_sigprocmask),
		ALLOW_CALL(SYS_clock_gettime),
		ALLOW_CALL(SYS_getrandom),
		ALLOW_CALL(SYS_exit),
		ALLOW_CALL(SYS_exit_group),
		/* asked by libraries in passing, which can do without an answer */
		REFUSE_CALL(SYS_openat),
#ifdef SYS_open
		REFUSE_CALL(SYS_open),
#endif
#ifdef SYS_newfstatat
		REFUSE_CALL(SYS_newfstatat),
#endif
#ifdef SYS_fstat
		REFUSE_CALL(SYS_fstat),
#endif
		REFUSE_CALL(SYS_ioctl),
		REFUSE_CALL(SYS_sched_getaffinity),
		REFUSE_CALL(SYS_sysinfo),
		KILL,
#endif
	};
	struct sock_fprog prog = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};

	(void)fd;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0 ? -errno : 0;
}

int sandbox_enter(int fd, uint64_t memory, struct err *err)
{
	int r = drop_privileges();

	if (r < 0)
		return err_set(err, r, "give up privileges");
	r = enter_landlock();
	if (r < 0)
		return err_set(err, r, "landlock");
	r = limit_all(memory);
	if (r < 0)
		return err_set(err, r, "limits");
	r = enter_seccomp(fd);
	return r < 0 ? err_set(err, r, "seccomp") : 0;
}
