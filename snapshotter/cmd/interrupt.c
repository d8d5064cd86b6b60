/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/cmd/interrupt.h"

#include <signal.h>
#include <unistd.h>

#define PATIENCE 3 /* seconds */

_Atomic bool cmd_interrupted;
static volatile sig_atomic_t first; /* the signal that asked */

static void on_signal(int sig)
{
	if (sig != SIGALRM && !cmd_interrupted) {
		first = sig;
		cmd_interrupted = true;
		(void)alarm(PATIENCE);
		return;
	}
	/* as if it had never been caught: who waits for us is to see that */
	(void)signal(first, SIG_DFL);
	(void)kill(getpid(), first);
}

void cmd_interrupt_catch(void)
{
	static const int asking[] = {SIGINT, SIGTERM};
	struct sigaction act = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, is;

	(void)sigemptyset(&act.sa_mask);
	(void)sigaction(SIGALRM, &act, NULL);
	for (unsigned int i = 0; i < sizeof(asking) / sizeof(asking[0]); i++) {
		/* ignored by who started us (nohup, a job in the background): it stays so */
		if (sigaction(asking[i], NULL, &is) == 0 && is.sa_handler != SIG_IGN)
			(void)sigaction(asking[i], &act, NULL);
	}
}

int cmd_interrupt_status(void)
{
	return 128 + first;
}
