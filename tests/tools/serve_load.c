/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve-load SOCKET CLIENTS MILLISECONDS [KEEP]: that many clients of 'snap serve' at once, each
 * preparing, committing and removing on a connection of its own, which it opens again when it is
 * lost. Prints what has to be there afterwards: "have NAME" (acknowledged), "maybe NAME" (the
 * connection was lost before the answer); nothing else may be. Exit 1: an answer that should not
 * be. With KEEP it only prepares, so many in all, and has all the time for it.
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "tests/lib/grpc_client.h"

#define SNAPSHOTS     "/containerd.services.snapshots.v1.Snapshots/"
#define CALLS_A_CONN  50
#define CONNECT_TRIES 1000 /* of 10 ms */

static const char *address;
static int64_t end;
static int keep; /* of each client; 0: all kinds of calls, until the end */
static pthread_mutex_t output = PTHREAD_MUTEX_INITIALIZER;
static _Atomic unsigned long acknowledged;
static _Atomic bool failed;

struct load {
	pthread_t thread;
	int number, fd;
	struct grpc_client *client;
	int calls; /* on this connection */
};

static int64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void hang_up(struct load *l)
{
	if (l->fd >= 0)
		(void)close(l->fd);
	if (l->client)
		grpc_client_free(l->client);
	l->fd = -1;
	l->client = NULL;
	l->calls = 0;
}

static bool dial(struct load *l)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	const struct timespec pause = {.tv_nsec = 10000000};

	(void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", address);
	for (int i = 0; i < CONNECT_TRIES; i++) {
		l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (l->fd >= 0 && connect(l->fd, (const void *)&a, sizeof(a)) == 0) {
			l->client = grpc_client_new(0);
			return true;
		}
		hang_up(l);
		(void)nanosleep(&pause, NULL);
	}
	(void)fprintf(stderr, "client %d: no server\n", l->number);
	failed = true;
	return false;
}

static bool exchange(struct load *l, const struct grpc_result *r)
{
	while (!r->done) {
		const uint8_t *out;
		char buf[4096];
		ssize_t got;
		size_t n;

		while ((n = grpc_client_send(l->client, &out)) > 0) {
			if (send(l->fd, out, n, MSG_NOSIGNAL) != (ssize_t)n)
				return false;
		}
		got = recv(l->fd, buf, sizeof(buf), 0);
		if (got <= 0 || !grpc_client_recv(l->client, buf, (size_t)got))
			return false;
	}
	return r->reset == 0 && r->status[0] != '\0';
}

static void put_field(char *body, size_t *len, int field, const char *text)
{
	size_t n = strlen(text);

	body[(*len)++] = (char)(field << 3 | 2);
	body[(*len)++] = (char)n;
	memcpy(body + *len, text, n);
	*len += n;
}

/* 1: acknowledged; 0: the connection was lost first; -1: it should not have failed. */
static int call(struct load *l, const char *method, const char *name, const char *key)
{
	char path[128], body[256] = {0};
	struct grpc_result *r;
	size_t len = 5;

	if (l->calls++ == CALLS_A_CONN)
		hang_up(l);
	if (l->fd < 0 && !dial(l))
		return -1;
	if (name)
		put_field(body, &len, 2, name);
	put_field(body, &len, name ? 3 : 2, key);
	body[4] = (char)(len - 5);
	(void)snprintf(path, sizeof(path), SNAPSHOTS "%s", method);
	r = grpc_client_call(l->client, path, "30S", "application/grpc", body, len);
	if (!exchange(l, r)) {
		hang_up(l);
		return 0;
	}
	if (strcmp(r->status, "0") == 0) {
		acknowledged++;
		return 1;
	}
	(void)fprintf(stderr, "%s %s: status %s: %s\n", method, key, r->status, r->message);
	failed = true;
	return -1;
}

static void say(const char *what, const char *name)
{
	(void)pthread_mutex_lock(&output);
	(void)printf("%s %s\n", what, name);
	(void)pthread_mutex_unlock(&output);
}

/* One life: prepared; two of three committed; every second of those removed again. */
static bool one(struct load *l, int n)
{
	char key[64], name[64];
	int r;

	(void)snprintf(key, sizeof(key), "k-%d-%d", l->number, n);
	(void)snprintf(name, sizeof(name), "c-%d-%d", l->number, n);
	r = call(l, "Prepare", NULL, key);
	if (r <= 0 || n % 3 == 0 || keep > 0) {
		say(r > 0 ? "have" : "maybe", key);
		return r >= 0;
	}
	r = call(l, "Commit", name, key);
	if (r <= 0) { /* it is there under one of the two */
		say("maybe", key);
		say("maybe", name);
		return r >= 0;
	}
	if (n % 2 == 0) {
		say("have", name);
		return true;
	}
	r = call(l, "Remove", NULL, name);
	if (r <= 0)
		say("maybe", name);
	return r >= 0;
}

static void *work(void *arg)
{
	struct load *l = arg;

	for (int n = 0; (keep > 0 ? n < keep : now_ms() < end) && !failed; n++) {
		if (!one(l, n))
			break;
	}
	hang_up(l);
	return NULL;
}

int main(int argc, char **argv)
{
	int clients = argc == 4 || argc == 5 ? atoi(argv[2]) : 0;
	struct load *loads;

	if (clients < 1) {
		(void)fprintf(stderr, "usage: serve-load SOCKET CLIENTS MILLISECONDS [KEEP]\n");
		return 2;
	}
	address = argv[1];
	end = now_ms() + atoi(argv[3]);
	keep = argc == 5 ? (atoi(argv[4]) + clients - 1) / clients : 0;
	loads = calloc((size_t)clients, sizeof(*loads));
	if (!loads)
		return 1;
	for (int i = 0; i < clients; i++) {
		loads[i].number = i;
		loads[i].fd = -1;
		if (pthread_create(&loads[i].thread, NULL, work, &loads[i]) != 0)
			return 1;
	}
	for (int i = 0; i < clients; i++)
		(void)pthread_join(loads[i].thread, NULL);
	free(loads);
	(void)fprintf(stderr, "%lu calls acknowledged\n", acknowledged);
	return failed || fflush(stdout) != 0 ? 1 : 0;
}
