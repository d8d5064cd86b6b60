/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/containerd/server.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "snapshotter/containerd/listen.h"
#include "snapshotter/containerd/notify.h"
#include "snapshotter/containerd/pool.h"
#include "snapshotter/containerd/rpc.h"
#include "snapshotter/gc.h"
#include "snapshotter/rootfs.h"

#define CONNECTIONS_MAX 512
#define READ_SIZE	65536
#define DRAIN_NS	INT64_C(10000000000)
#define EVENTS		64

struct conn {
	int fd;
	struct h2_conn *h2;
	const uint8_t *out; /* of h2_conn_send(): not yet written */
	size_t out_len;
	bool wants_write; /* as epoll knows it */
	bool failed;
	struct conn *next, *prev;
};

struct server {
	struct rpc rpc;
	struct listener listener;
	struct pool *pool;
	struct snap_rootfs rootfs;
	int epoll, signals, events;
	struct conn *conns;
	size_t n_conns;
	int64_t drain_until; /* 0: not draining */
	pthread_mutex_t lock;
	struct call *done; /* under lock: calls that have something to deliver */
};

/* Any thread. */
static void wake(void *ctx, struct call *c)
{
	const uint64_t one = 1;
	struct server *s = ctx;
	bool first = false;

	(void)pthread_mutex_lock(&s->lock);
	if (!c->in_done) {
		first = s->done == NULL;
		c->in_done = true;
		c->next_done = s->done;
		s->done = call_ref(c);
	}
	(void)pthread_mutex_unlock(&s->lock);
	if (first)
		(void)!write(s->events, &one,
			     sizeof(one)); /* a full counter is a wake-up as well */
}

static int submit(void *ctx, struct call *c)
{
	struct server *s = ctx;

	return pool_submit(s->pool, c);
}

static void deliver_all(struct server *s)
{
	uint64_t count;

	(void)!read(s->events, &count, sizeof(count));
	for (;;) {
		struct call *c;

		(void)pthread_mutex_lock(&s->lock);
		c = s->done;
		if (c) {
			s->done = c->next_done;
			c->in_done = false;
		}
		(void)pthread_mutex_unlock(&s->lock);
		if (!c)
			return;
		rpc_deliver(&s->rpc, c);
		call_unref(c);
	}
}

static int watch(struct server *s, int op, int fd, uint32_t events, void *what)
{
	struct epoll_event e = {.events = events, .data = {.ptr = what}};

	return epoll_ctl(s->epoll, op, fd, &e) < 0 ? -errno : 0;
}

static void conn_free(struct server *s, struct conn *c)
{
	if (c->prev)
		c->prev->next = c->next;
	else
		s->conns = c->next;
	if (c->next)
		c->next->prev = c->prev;
	s->n_conns--;
	h2_conn_free(c->h2);
	(void)close(c->fd);
	free(c);
}

static void conn_new(struct server *s, int fd)
{
	struct conn *c = calloc(1, sizeof(*c));

	if (!c) {
		(void)close(fd);
		return;
	}
	c->fd = fd;
	c->h2 = h2_conn_new(&rpc_handler, &s->rpc);
	c->next = s->conns;
	if (c->next)
		c->next->prev = c;
	s->conns = c;
	s->n_conns++;
	if (!c->h2 || watch(s, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLRDHUP, c) < 0)
		conn_free(s, c);
}

static void accept_all(struct server *s)
{
	for (;;) {
		int fd = listener_accept(&s->listener);

		if (fd == -EPERM)
			continue;
		if (fd < 0) {
			if (fd != -EAGAIN)
				log_warn("accept: %s", strerror(-fd));
			return;
		}
		if (s->n_conns >= CONNECTIONS_MAX) {
			log_warn("more than %d connections", CONNECTIONS_MAX);
			(void)close(fd);
			continue;
		}
		conn_new(s, fd);
	}
}

/* Writes what there is until the socket is full. */
static void conn_write(struct server *s, struct conn *c)
{
	bool full = false;

	while (!full && !c->failed) {
		ssize_t n;

		if (c->out_len == 0) {
			n = h2_conn_send(c->h2, &c->out);
			if (n <= 0) {
				c->failed = n < 0;
				break;
			}
			c->out_len = (size_t)n;
		}
		n = send(c->fd, c->out, c->out_len, MSG_NOSIGNAL);
		if (n >= 0) {
			c->out += n;
			c->out_len -= (size_t)n;
		} else if (errno == EAGAIN) {
			full = true;
		} else if (errno != EINTR) {
			c->failed = true;
		}
	}
	if (full != c->wants_write && !c->failed) {
		c->wants_write = full;
		c->failed = watch(s, EPOLL_CTL_MOD, c->fd,
				  EPOLLIN | EPOLLRDHUP | (full ? EPOLLOUT : 0), c) < 0;
	}
}

static void conn_read(struct conn *c)
{
	uint8_t buf[8192];
	size_t total = 0;

	/* one turn each: a busy client does not keep the others waiting */
	while (!c->failed && total < READ_SIZE) {
		ssize_t n = recv(c->fd, buf, sizeof(buf), 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			c->failed = true;
			return;
		}
		total += (size_t)n;
		if (h2_conn_recv(c->h2, buf, (size_t)n) == -ENOMEM)
			c->failed = true;
		if (n < (ssize_t)sizeof(buf))
			return;
	}
}

/* After each turn: answers go out wherever there are some, connections that are over go. */
static void settle(struct server *s)
{
	for (struct conn *c = s->conns, *next; c; c = next) {
		next = c->next;
		conn_write(s, c);
		if (c->failed || (c->out_len == 0 && h2_conn_is_done(c->h2)))
			conn_free(s, c);
	}
}

static void begin_drain(struct server *s)
{
	log_info("going: %zu calls under way", s->rpc.n_active);
	notify_manager("STOPPING=1");
	s->drain_until = call_now() + DRAIN_NS;
	listener_close(&s->listener);
	rpc_drain(&s->rpc);
	for (struct conn *c = s->conns; c; c = c->next)
		h2_conn_shutdown(c->h2);
}

static void on_signal(struct server *s)
{
	struct signalfd_siginfo info;

	if (read(s->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return;
	if (s->drain_until != 0)
		s->drain_until = 1; /* asked twice: now */
	else
		begin_drain(s);
}

static int timeout_ms(int64_t now, int64_t until)
{
	if (until == INT64_MAX)
		return -1;
	if (until <= now)
		return 0;
	return until - now > INT64_C(60000000000) ? 60000 : (int)((until - now) / 1000000 + 1);
}

static bool is_done(const struct server *s, int64_t now)
{
	return s->drain_until != 0 && (s->n_conns == 0 || now >= s->drain_until);
}

static int loop(struct server *s, struct err *err)
{
	struct epoll_event events[EVENTS];
	int64_t now = call_now(), next = INT64_MAX;

	while (!is_done(s, now)) {
		int n;

		if (s->drain_until != 0 && s->drain_until < next)
			next = s->drain_until;
		n = epoll_wait(s->epoll, events, EVENTS, timeout_ms(now, next));
		if (n < 0 && errno != EINTR)
			return err_set(err, -errno, "epoll");
		for (int i = 0; i < n; i++) {
			void *what = events[i].data.ptr;
			struct conn *c = what;

			if (what == &s->listener)
				accept_all(s);
			else if (what == &s->signals)
				on_signal(s);
			else if (what == &s->events)
				deliver_all(s);
			else if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP))
				conn_read(c);
		}
		now = call_now();
		next = rpc_expire(&s->rpc, now);
		settle(s); /* the only place where connections are freed: events name none that is
			      gone */
	}
	if (s->rpc.n_active > 0)
		log_warn("%zu calls are not waited for any longer", s->rpc.n_active);
	return 0;
}

static int open_fds(struct server *s, struct err *err)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 || signal(SIGHUP, SIG_IGN) == SIG_ERR)
		return err_set(err, -errno, "signals");
	s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	s->events = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (s->signals < 0 || s->events < 0 || s->epoll < 0 ||
	    watch(s, EPOLL_CTL_ADD, s->signals, EPOLLIN, &s->signals) < 0 ||
	    watch(s, EPOLL_CTL_ADD, s->events, EPOLLIN, &s->events) < 0)
		return err_set(err, -errno, "epoll");
	return 0;
}

static void server_release(struct server *s)
{
	listener_close(&s->listener);
	while (s->conns)
		conn_free(s, s->conns);
	pool_free(s->pool);
	while (s->done) {
		struct call *c = s->done;

		s->done = c->next_done;
		call_unref(c);
	}
	closep(&s->signals);
	closep(&s->events);
	closep(&s->epoll);
	(void)pthread_mutex_destroy(&s->lock);
}

static int prepare_store(struct server *s, const struct snap_serve_options *opt, struct err *err)
{
	struct snap_store *store cleanup_snap_store = NULL;
	int r = snap_store_open(opt->root, &store, err);

	if (r == 0)
		r = snap_rootfs_init(store, opt->engine, &s->rootfs, err);
	s->rootfs.helper = opt->fuse_helper;
	if (r == 0)
		r = snap_rootfs_prune(store, err);
	/* what a killed server had removed, or not yet prepared */
	if (r == 0)
		r = snap_gc_snapshots(store, err);
	return r;
}

int snap_serve(const struct snap_serve_options *opt, struct err *err)
{
	struct server s = {
		.listener = {.fd = -1},
		.epoll = -1,
		.signals = -1,
		.events = -1,
		.lock = PTHREAD_MUTEX_INITIALIZER,
	};
	const char *path =
		strncmp(opt->address, "unix://", 7) == 0 ? opt->address + 7 : opt->address;
	int r;

	s.rpc = (struct rpc){.submit = submit, .wake = wake, .ctx = &s};
	r = prepare_store(&s, opt, err);
	if (r == 0)
		r = open_fds(&s, err);
	if (r == 0)
		r = pool_new(opt->root, &s.rootfs, &opt->fetch, &s.pool, err);
	if (r == 0)
		r = listener_open(path, &s.listener, err);
	if (r == 0 && watch(&s, EPOLL_CTL_ADD, s.listener.fd, EPOLLIN, &s.listener) < 0)
		r = err_set(err, -errno, "epoll");
	if (r == 0) {
		log_info("serving at '%s': %s", path, s.rootfs.reason);
		notify_manager("READY=1");
		r = loop(&s, err);
	}
	server_release(&s);
	return r;
}
