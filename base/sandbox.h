/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdint.h>

#include "base/err.h"

/*
 * sandbox - a process gives away all that it does not need for computing on memory and talking over
 * the descriptors that it has, before it looks at bytes of strangers:
 *
 *	sandbox_close_others(SOCK, LAST);        nothing of who started it, but SOCK..LAST
 *	r = sandbox_enter(SOCK, memory, err);    and from here on:
 *
 * no user and group of its own (as root: nobody), no capability, none to be had by exec(2);
 *landlock: no file of any name, no TCP port, no signal (where the kernel has it: the system calls
 *are closed as well); no new descriptor, process, core, or byte of a file; at most so much memory;
 *and of the system calls only read(2) and write(2) on SOCK, memory without PROT_EXEC, and the end.
 *What programs ask in passing (a file, a number of CPUs) fails with EPERM, any other call kills. It
 *dies with who started it.
 *
 * By a process of one thread. What a sanitizer needs stays open in a build with one
 *(SNAP_SANITIZED): memory is not limited, and system calls are only closed that reach beyond the
 *process.
 */
void sandbox_close_others(int first, int last);
/* To be killed with the thread that started this process, whatever else is asked for. */
int sandbox_die_with_parent(void) __attribute__((warn_unused_result));
/* @fd: of the two calls. @memory: bytes of address space. Nothing is taken back on failure. */
int sandbox_enter(int fd, uint64_t memory, struct err *err) __attribute__((warn_unused_result));

/* The version of landlock's interface that this kernel has; 0: none. */
int sandbox_landlock_version(void);
