/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>

/*
 * interrupt - Ctrl-C (and SIGTERM) ask for an end that leaves nothing half: who
 * works looks at the flag. Asked twice, or when three seconds have passed because
 * something cannot look just now (it waits for another process's lock, for a disk),
 * the process ends at once; what it leaves in tmp/ is the next command's.
 */
extern _Atomic bool cmd_interrupted;
void cmd_interrupt_catch(void);
/* What a shell calls it: 128 and the signal. */
int cmd_interrupt_status(void);
