/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/*
 * Scope-bound release. A variable carrying one of these marks owns its value;
 * hand the value on with steal_ptr()/steal_fd(), never by clearing it by hand.
 */
#define CLEANUP(fn) __attribute__((cleanup(fn)))
#define DEFINE_CLEANUP(type, fn)                                                                   \
	static inline void fn##p(type *p)                                                          \
	{                                                                                          \
		if (*p)                                                                            \
			fn(*p);                                                                    \
		*p = NULL;                                                                         \
	}

static inline void freep(void *p)
{
	free(*(void **)p);
}
#define cleanup_free CLEANUP(freep)

/* Never changes errno, so it is safe on an error path. */
static inline void closep(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		(void)close(*fd);
	*fd = -EBADF;
	errno = saved;
}
#define cleanup_close CLEANUP(closep)

static inline void closedirp(DIR **dir)
{
	int saved = errno;

	if (*dir)
		(void)closedir(*dir);
	*dir = NULL;
	errno = saved;
}
#define cleanup_closedir CLEANUP(closedirp)

#define steal_ptr(pp)                                                                              \
	({                                                                                         \
		__typeof__(*(pp)) *_pp = (pp);                                                     \
		__typeof__(*(pp)) _v = *_pp;                                                       \
		*_pp = NULL;                                                                       \
		_v;                                                                                \
	})

static inline int steal_fd(int *fd)
{
	int v = *fd;

	*fd = -EBADF;
	return v;
}
