/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/filler_private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "overlay/lazy.h"
#include "snapshotter/image.h"

#define BACKLOG	     64
#define CALLS_MAX    256 /* at once; more wait in the socket's queue */
#define IDLE_SECONDS 30
#define LOG_MAX	     (1 << 20) /* bytes of run/fill.log, when a filler starts */

struct call {
	struct filler *f;
	int fd;
};

uint64_t filler_now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static time_t now(void)
{
	return (time_t)(filler_now_ms() / 1000);
}

void filler_unref_locked(struct open_layer *o)
{
	if (--o->refs > 0)
		return;
	lazy_layer_close(o->layer);
	free(o);
}

void filler_unref(struct filler *f, struct open_layer *o)
{
	(void)pthread_mutex_lock(&f->lock);
	filler_unref_locked(o);
	(void)pthread_mutex_unlock(&f->lock);
}

static void unlist_locked(struct filler *f, struct open_layer *o)
{
	struct open_layer **p = &f->layers;

	if (!o->listed)
		return;
	while (*p != o)
		p = &(*p)->next;
	*p = o->next;
	o->listed = false;
	filler_unref_locked(o);
}

void filler_unlist(struct filler *f, struct open_layer *o)
{
	(void)pthread_mutex_lock(&f->lock);
	unlist_locked(f, o);
	(void)pthread_mutex_unlock(&f->lock);
}

int filler_layer(struct filler *f, const char *id, struct open_layer **ret, struct err *err)
{
	struct open_layer *o;
	int r = 0;

	(void)pthread_mutex_lock(&f->lock);
	for (o = f->layers; o && strcmp(lazy_layer_id(o->layer), id) != 0; o = o->next)
		;
	/* removed, and pulled again: another folder */
	if (o && !lazy_layer_is_there(o->layer)) {
		unlist_locked(f, o);
		o = NULL;
	}
	if (!o) {
		o = calloc(1, sizeof(*o));
		r = o ? lazy_layer_open(f->store, id, &o->layer, err)
		      : err_set(err, -ENOMEM, "layer");
		if (r < 0) {
			free(o);
		} else {
			o->next = f->layers;
			o->listed = true;
			o->refs = 1;
			f->layers = o;
		}
	}
	if (r == 0) {
		o->refs++;
		*ret = o;
	}
	(void)pthread_mutex_unlock(&f->lock);
	return r;
}

int filler_finish(struct filler *f, struct open_layer *o, struct err *err)
{
	struct snap_store *store cleanup_snap_store = NULL;
	uint64_t off, len;
	int r;

	if (lazy_layer_missing(o->layer, 1, &off, &len) > 0)
		return 0;
	/* one after another: two would do the same work */
	(void)pthread_mutex_lock(&f->finish_lock);
	r = o->listed ? snap_store_open(snap_store_root(f->store), &store, err) : 0;
	if (r == 0 && o->listed) {
		r = lazy_layer_finish(o->layer, store, err);
		if (r == 0 || r == -ENOENT)
			filler_unlist(f, o);
	}
	(void)pthread_mutex_unlock(&f->finish_lock);
	return r;
}

void filler_wake(struct filler *f)
{
	(void)pthread_mutex_lock(&f->lock);
	f->look = true;
	(void)pthread_cond_signal(&f->wake);
	(void)pthread_mutex_unlock(&f->lock);
}

/* All of a layer. */
static int complete(struct filler *f, struct open_layer *o, struct err *err)
{
	uint64_t off, len;
	int r = 0;

	while (r == 0 && lazy_layer_missing(o->layer, FILLER_RUN, &off, &len) > 0)
		r = lazy_layer_is_there(o->layer)
			    ? lazy_layer_fill(o->layer, off, len, ovl_lazy_seconds(), err)
			    : err_msg(err, -ENOENT, "layer %s is gone", lazy_layer_id(o->layer));
	return r == 0 ? filler_finish(f, o, err) : r;
}

static int answer(struct filler *f, const struct ovl_lazy_question *q, struct err *err)
{
	struct open_layer *o = NULL;
	char id[65];
	int r;

	if (memcmp(q->magic, OVL_LAZY_MAGIC, sizeof(q->magic)) != 0)
		return err_msg(err, -EPROTO, "this is no question");
	if (q->op == OVL_LAZY_WAKE) {
		filler_wake(f);
		return 0;
	}
	memcpy(id, q->layer, 64);
	id[64] = '\0';
	if (strspn(id, "0123456789abcdef") != 64)
		return err_msg(err, -EINVAL, "this is no layer");
	if (q->op != OVL_LAZY_NEED && q->op != OVL_LAZY_COMPLETE)
		return err_msg(err, -EPROTO, "this is no question");
	r = filler_layer(f, id, &o, err);
	if (r == -ENOENT) /* complete, in the meantime */
		return 0;
	if (r < 0)
		return r;
	if (q->op == OVL_LAZY_COMPLETE) {
		r = complete(f, o, err);
	} else {
		f->demands++;
		filler_plan_ahead(f, o, q->off, q->len);
		r = lazy_layer_fill(o->layer, q->off, q->len, ovl_lazy_seconds(), err);
		f->demands--;
		if (r == 0 && lazy_layer_missing(o->layer, 1, &(uint64_t){0}, &(uint64_t){0}) == 0)
			filler_wake(f); /* that was the last of it */
	}
	filler_unref(f, o);
	return r;
}

static void *serve_call(void *ctx)
{
	struct call *c = ctx;
	struct ovl_lazy_question q;
	struct err err = ERR_INIT;
	struct ovl_lazy_answer a = {.code = 0};
	const struct timeval patience = {.tv_sec = 10};
	ssize_t n;

	(void)setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	do
		n = recv(c->fd, &q, sizeof(q), 0);
	while (n < 0 && errno == EINTR);
	if (n == sizeof(q)) {
		a.code = answer(c->f, &q, &err);
		if (a.code < 0)
			(void)snprintf(a.text, sizeof(a.text), "%.60s%s%.180s", err.where,
				       err.where[0] ? ": " : "", err.msg);
		(void)!send(c->fd, &a, sizeof(a), MSG_NOSIGNAL);
	}
	c->f->last = now();
	c->f->calls--;
	(void)close(c->fd);
	free(c);
	return NULL;
}

static bool may_end(struct filler *f)
{
	bool resting;

	(void)pthread_mutex_lock(&f->lock);
	resting = f->resting && !f->look;
	(void)pthread_mutex_unlock(&f->lock);
	return resting && f->calls == 0 && now() - f->last >= IDLE_SECONDS;
}

static void accept_call(struct filler *f, int listener, const pthread_attr_t *detached)
{
	int fd cleanup_close = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	struct call *c;
	pthread_t thread;

	if (fd < 0)
		return;
	c = malloc(sizeof(*c));
	if (!c)
		return;
	*c = (struct call){.f = f, .fd = fd};
	f->calls++;
	if (pthread_create(&thread, detached, serve_call, c) != 0) {
		f->calls--;
		free(c);
		return;
	}
	(void)steal_fd(&fd);
}

static int serve(struct filler *f, int listener, struct err *err)
{
	pthread_attr_t detached;
	pthread_t thread;
	int r = pthread_attr_init(&detached);

	if (r == 0)
		r = pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	f->last = now();
	f->look = true;
	if (r == 0)
		r = pthread_create(&thread, &detached, filler_background, f);
	if (r != 0)
		return err_set(err, -r, "start a thread");
	while (!may_end(f)) {
		struct pollfd p = {.fd = listener, .events = POLLIN};

		if (f->calls >= CALLS_MAX) {
			(void)poll(NULL, 0, 10);
			continue;
		}
		if (poll(&p, 1, 1000) > 0)
			accept_call(f, listener, &detached);
	}
	return 0;
}

/* The socket: only who may enter the store's folder (0700) gets to it. */
static int listen_at(struct snap_store *store, int *ret, struct err *err)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int run cleanup_close = openat(store->root_fd, "run", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int fd cleanup_close = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (run < 0 || fd < 0)
		return err_set(err, -errno, "socket");
	(void)snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/" OVL_LAZY_SOCKET, run);
	if (unlinkat(run, OVL_LAZY_SOCKET, 0) < 0 && errno != ENOENT)
		return err_set(err, -errno, "remove '%s/run/" OVL_LAZY_SOCKET "'", store->root);
	if (bind(fd, (const void *)&a, sizeof(a)) < 0 || listen(fd, BACKLOG) < 0)
		return err_set(err, -errno, "make socket '%s/run/" OVL_LAZY_SOCKET "'",
			       store->root);
	*ret = steal_fd(&fd);
	return 0;
}

/* What there is to say goes to run/fill.log: whoever started us is not to wait for our end. */
static int let_go(struct snap_store *store, struct err *err)
{
	int log cleanup_close =
		openat(store->root_fd, "run/fill.log",
		       O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	int null cleanup_close = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct stat st;

	if (log < 0 || null < 0)
		return err_set(err, -errno, "open '%s/run/fill.log'", store->root);
	if (fstat(log, &st) == 0 && st.st_size > LOG_MAX && ftruncate(log, 0) < 0)
		return err_set(err, -errno, "cut '%s/run/fill.log'", store->root);
	if (chdir("/") < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(log, 2) < 0)
		return err_set(err, -errno, "release standard streams");
	log_set_level(LOG_INFO);
	return 0;
}

/* @report_fd: who waits for us to be ready, or -1. */
static int run(const char *root, int report_fd, struct err *err)
{
	struct filler f = {.lock = PTHREAD_MUTEX_INITIALIZER,
			   .finish_lock = PTHREAD_MUTEX_INITIALIZER,
			   .wake = PTHREAD_COND_INITIALIZER};
	int lock cleanup_close = -1, listener cleanup_close = -1;
	int r = snap_store_open(root, &f.store, err);

	if (r == 0) {
		lock = store_lock(f.store, "fill", LOCK_EX | LOCK_NB, err);
		r = lock < 0 ? lock : listen_at(f.store, &listener, err);
	}
	if (r == 0 && report_fd >= 0)
		r = let_go(f.store, err);
	if (report_fd >= 0) {
		const struct err fine = ERR_INIT;

		/* -EWOULDBLOCK: another one serves */
		(void)!write(report_fd, r < 0 && r != -EWOULDBLOCK ? err : &fine, sizeof(*err));
		(void)close(report_fd);
	}
	if (r == 0) {
		log_info("filler of '%s'", snap_store_root(f.store));
		r = serve(&f, listener, err);
		log_info("nothing is left to be done");
		/* its threads may be in a system call still: the end of the process is theirs */
		(void)unlinkat(f.store->root_fd, "run/" OVL_LAZY_SOCKET, 0);
		return r;
	}
	snap_store_close(f.store);
	return r == -EWOULDBLOCK ? 0 : r;
}

/* The store is opened behind the fork: a database handle must not come through one. */
int snap_filler_serve(const char *root, bool background, struct err *err)
{
	struct err told = ERR_INIT;
	int fds[2], r;
	pid_t pid;

	if (!background)
		return run(root, -1, err);
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_set(err, -errno, "pipe");
	pid = fork();
	if (pid < 0) {
		r = err_set(err, -errno, "fork");
		(void)close(fds[0]);
		(void)close(fds[1]);
		return r;
	}
	if (pid == 0) {
		(void)close(fds[0]);
		(void)setsid();
		_exit(run(root, fds[1], &told) < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
	}
	(void)close(fds[1]);
	r = io_read_full(fds[0], &told, sizeof(told));
	(void)close(fds[0]);
	if (r < 0)
		return err_msg(err, -EIO, "the filler died");
	if (told.code < 0 && err)
		*err = told;
	return told.code;
}

static int ask(struct snap_store *store, enum ovl_lazy_op op, const char *layer,
	       unsigned int seconds, struct err *err)
{
	struct ovl_lazy_question q = {.magic = OVL_LAZY_MAGIC, .op = op};
	int run cleanup_close = openat(store->root_fd, "run", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (run < 0)
		return err_set(err, -errno, "open '%s/run'", store->root);
	if (layer)
		memcpy(q.layer, layer, sizeof(q.layer));
	return ovl_lazy_ask(run, store->root, &q, seconds, err);
}

int snap_filler_wake(struct snap_store *store, struct err *err)
{
	return ask(store, OVL_LAZY_WAKE, NULL, 0, err);
}

#define FILL_SECONDS (7 * 24 * 3600u)

int snap_filler_complete(struct snap_store *store, const char *layer, struct err *err)
{
	return ask(store, OVL_LAZY_COMPLETE, layer, FILL_SECONDS, err);
}

int snap_fill(struct snap_store *store, const char *name, size_t *ret_layers, struct err *err)
{
	struct snap_image_info info cleanup_snap_image_info = {.ref = NULL};
	struct snap_layer_info *layers cleanup_free = NULL;
	size_t n = 0;
	int r = snap_image_find(store, name, &info, err);

	if (r == 0)
		r = snap_image_layers(store, &info.manifest, &layers, &n, err);
	*ret_layers = 0;
	for (size_t i = 0; i < n && r == 0; i++) {
		if (strcmp(layers[i].state, "complete") == 0)
			continue;
		r = snap_filler_complete(store, layers[i].id, err);
		(*ret_layers)++;
	}
	return r < 0 ? err_wrap(err, r, "fill '%s'", name) : 0;
}
