/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/lazy.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "erofs/presence.h"
#include "overlay/sys.h"

#define START_PAUSE_MS 2000 /* between two fillers that are started by one process */
#define RETRY_MS       50

struct ovl_lazy {
	struct erofs_presence *present;
	char *root; /* the store's folder */
	char tag[65];
	int run_fd;
};

static int64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

unsigned int ovl_lazy_seconds(void)
{
	const char *text = getenv("SNAP_FILL_TIMEOUT");
	char *end;
	unsigned long n;

	if (!text || text[0] < '0' || text[0] > '9')
		return OVL_LAZY_SECONDS;
	n = strtoul(text, &end, 10);
	return *end || n == 0 || n > 3600 ? OVL_LAZY_SECONDS : (unsigned int)n;
}

int ovl_lazy_open(const char *index, const char *tag, struct ovl_lazy **ret, struct err *err)
{
	char *path cleanup_free = NULL;
	struct ovl_lazy *l = NULL;
	int fd cleanup_close = -1, r = 0;
	const char *end = index + strlen(index);

	/* ROOT/{layers,chains}/sha256/ID/index */
	for (int n = 0; n < 4 && end; n++)
		end = memrchr(index, '/', (size_t)(end - index));
	if (!end)
		return err_msg(err, -EINVAL, "'%s' is not inside a store", index);
	if (asprintf(&path, "%.*s/layers/sha256/%.64s/present", (int)(end - index), index, tag) <
	    0) {
		path = NULL;
		return err_set(err, -ENOMEM, "open layer");
	}
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 && errno == ENOENT) {
		*ret = NULL;
		return 0;
	}
	if (fd < 0)
		return err_set(err, -errno, "open '%s'", path);
	l = calloc(1, sizeof(*l));
	if (!l)
		return err_set(err, -ENOMEM, "open layer");
	l->run_fd = -1;
	memcpy(l->tag, tag, 64);
	l->root = strndup(index, (size_t)(end - index));
	if (!l->root)
		r = err_set(err, -ENOMEM, "open layer");
	if (r == 0)
		r = erofs_presence_open(fd, false, &l->present, err);
	if (r == 0) {
		(void)snprintf(path, strlen(path), "%s/run", l->root);
		l->run_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (l->run_fd < 0)
			r = err_set(err, -errno, "open '%s'", path);
	}
	if (r < 0) {
		ovl_lazy_close(l);
		return r;
	}
	*ret = l;
	return 0;
}

void ovl_lazy_close(struct ovl_lazy *l)
{
	if (!l)
		return;
	erofs_presence_close(l->present);
	closep(&l->run_fd);
	free(l->root);
	free(l);
}

/* "snap" beside the running program, so that a build or an installation is used as a whole. */
static char *find_snap(void)
{
	char *self = realpath("/proc/self/exe", NULL), *slash, *beside = NULL;

	slash = self ? strrchr(self, '/') : NULL;
	if (slash && asprintf(&beside, "%.*s/snap", (int)(slash - self), self) < 0)
		beside = NULL;
	free(self);
	if (beside && access(beside, X_OK) == 0)
		return beside;
	free(beside);
	return strdup("snap");
}

/* It goes to the background by itself; what it has to say goes where our own words go. */
static int start_filler(const char *root)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static int64_t last; /* under lock */
	char *program cleanup_free = find_snap();
	const char *argv[] = {program, "--root", root, "fill", "--serve", "--background", NULL};
	posix_spawnattr_t attr;
	sigset_t none, defaults;
	int r = 0, status;
	pid_t pid;

	if (!program)
		return -ENOMEM;
	(void)pthread_mutex_lock(&lock);
	if (last && now_ms() - last < START_PAUSE_MS)
		goto out;
	last = now_ms();
	r = posix_spawnattr_init(&attr);
	if (r == 0) {
		(void)sigemptyset(&none);
		(void)sigemptyset(&defaults);
		(void)sigaddset(&defaults, SIGPIPE);
		(void)posix_spawnattr_setsigmask(&attr, &none);
		(void)posix_spawnattr_setsigdefault(&attr, &defaults);
		(void)posix_spawnattr_setflags(&attr,
					       POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
		r = posix_spawnp(&pid, program, NULL, &attr, (char *const *)(uintptr_t)argv,
				 environ);
		(void)posix_spawnattr_destroy(&attr);
	}
	while (r == 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (r != 0)
		log_error("cannot start '%s fill --serve': %s", program, strerror(r));
out:
	(void)pthread_mutex_unlock(&lock);
	return -r;
}

static int connect_filler(int run_fd)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd cleanup_close = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	/* a store's path may be longer than a socket's */
	(void)snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/" OVL_LAZY_SOCKET, run_fd);
	if (connect(fd, (const void *)&a, sizeof(a)) < 0)
		return -errno;
	return steal_fd(&fd);
}

/* -EAGAIN: it went away without an answer. */
static int ask_once(int fd, const struct ovl_lazy_question *q, int64_t until, struct err *err)
{
	struct ovl_lazy_answer a = {.code = 0};
	int64_t left = until - now_ms();
	struct timeval tv = {.tv_sec = left > 0 ? left / 1000 : 0, .tv_usec = 1000};
	ssize_t n;

	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) < 0)
		return -errno;
	do
		n = send(fd, q, sizeof(*q), MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -EAGAIN;
	do
		n = recv(fd, &a, sizeof(a), 0);
	while (n < 0 && errno == EINTR && now_ms() < until);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return err_msg(err, -ETIMEDOUT, "the filler does not answer in time");
	if (n != sizeof(a))
		return -EAGAIN;
	a.text[sizeof(a.text) - 1] = '\0';
	return a.code < 0 ? err_msg(err, a.code, "%s", a.text) : 0;
}

int ovl_lazy_ask(int run_fd, const char *root, const struct ovl_lazy_question *q,
		 unsigned int seconds, struct err *err)
{
	const struct timespec pause = {.tv_nsec = RETRY_MS * 1000000L};
	int64_t until = now_ms() + 1000ll * (seconds ? seconds : ovl_lazy_seconds());

	for (;;) {
		int fd cleanup_close = connect_filler(run_fd);
		int r = fd < 0 ? fd : ask_once(fd, q, until, err);

		if (fd >= 0 && r != -EAGAIN)
			return r;
		if (now_ms() >= until)
			return err_msg(err, -ETIMEDOUT, "no filler answers for '%s'", root);
		if (r == -ECONNREFUSED || r == -ENOENT || (fd >= 0 && r == -EAGAIN)) {
			r = start_filler(root);
			if (r < 0)
				return err_set(err, r, "start 'snap fill --serve'");
		}
		(void)nanosleep(&pause, NULL);
	}
}

int ovl_lazy_need(struct ovl_lazy *l, uint64_t off, uint64_t len)
{
	struct ovl_lazy_question q = {
		.magic = OVL_LAZY_MAGIC, .op = OVL_LAZY_NEED, .off = off, .len = len};
	struct err err = ERR_INIT;
	int r;

	if (erofs_presence_covers(l->present, off, len))
		return 0;
	if (erofs_presence_is_condemned(l->present)) {
		log_error("layer %s is not what its index says: nothing of it is read", l->tag);
		return -EIO;
	}
	memcpy(q.layer, l->tag, sizeof(q.layer));
	r = ovl_lazy_ask(l->run_fd, l->root, &q, 0, &err);
	if (r == 0 && erofs_presence_covers(l->present, off, len))
		return 0;
	log_error("layer %s, bytes %llu to %llu: %s", l->tag, (unsigned long long)off,
		  (unsigned long long)(off + len), r < 0 ? err.msg : "still not there");
	return -EIO;
}
