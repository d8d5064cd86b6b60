/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "overlay/sys.h"

/*
 * mounted - the engine's own program in a process of its own, with memory shared between it and the
 * test that says which of its calls fail. Folders: low, up, wk, mnt of the current one.
 */
struct faults {
	struct ovl_fault sys; /* system calls on real layers (overlay/sys.h) */
	struct ovl_fault memory; /* malloc and its like, in our code */
};
extern struct faults *faults; /* after mounted_init() */

void mounted_init(void);
/* Exits with a message when it cannot mount. @options: more of them, "" for none. */
void mounted_start(const char *options);
/* Returns when the process is gone, too. */
void mounted_stop(void);
/* Nothing of the upper is left; both folders are there again. */
void mounted_clean(void);
