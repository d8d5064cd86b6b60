/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve-call SOCKET METHOD [NUMBER=TEXT]...: one call of 'snap serve' with these fields. Prints
 * each mount of the answer as "TYPE SOURCE OPTION,OPTION"; of other answers the size. A failure:
 * the gRPC status and message on standard error, exit 1.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/lib/grpc_client.h"

#define FIELD_MAX 4096

static int dial(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	if (fd < 0 || connect(fd, (const void *)&a, sizeof(a)) < 0) {
		perror(path);
		exit(1);
	}
	return fd;
}

static void put_field(struct strbuf *body, const char *arg)
{
	const char *text = strchr(arg, '=') + 1;
	size_t len = strlen(text);
	char head[3] = {(char)(atoi(arg) << 3 | 2), (char)(0x80 | (len & 0x7f)), (char)(len >> 7)};

	if (len > FIELD_MAX || strbuf_add(body, head, 3) < 0 || strbuf_add(body, text, len) < 0)
		abort();
}

/* A length-delimited field at @p; its number, 0 at the end. */
static int next_field(const unsigned char **p, const unsigned char *end, const unsigned char **ret,
		      size_t *ret_len)
{
	int number = 0, shift = 0;

	if (*p >= end)
		return 0;
	number = **p >> 3;
	++*p;
	*ret_len = 0;
	do {
		*ret_len |= (size_t)(**p & 0x7f) << shift;
		shift += 7;
	} while (*(*p)++ & 0x80);
	*ret = *p;
	*p += *ret_len;
	return number;
}

static void print_mounts(const unsigned char *p, const unsigned char *end)
{
	const unsigned char *mount, *text;
	size_t len;

	while (next_field(&p, end, &mount, &len) == 1) {
		const unsigned char *q = mount, *stop = mount + len;
		const char *between = "";
		int number;

		while ((number = next_field(&q, stop, &text, &len)) > 0) {
			(void)printf("%s%.*s", between, (int)len, text);
			between = number == 4 ? "," : " ";
		}
		(void)printf("\n");
	}
}

static void exchange(int fd, struct grpc_client *c, const struct grpc_result *r)
{
	while (!r->done) {
		const uint8_t *out;
		char buf[4096];
		ssize_t got;
		size_t n;

		while ((n = grpc_client_send(c, &out)) > 0) {
			if (send(fd, out, n, MSG_NOSIGNAL) != (ssize_t)n)
				exit(1);
		}
		got = recv(fd, buf, sizeof(buf), 0);
		if (got <= 0 || !grpc_client_recv(c, buf, (size_t)got)) {
			(void)fprintf(stderr, "the connection was lost\n");
			exit(1);
		}
	}
}

int main(int argc, char **argv)
{
	struct grpc_client *c = grpc_client_new(0);
	struct strbuf body = STRBUF_INIT;
	struct grpc_result *r;
	char path[128];
	int status, fd;

	if (argc < 3)
		return 2;
	fd = dial(argv[1]);
	if (strbuf_add(&body, "\0\0\0\0\0", 5) < 0)
		abort();
	for (int i = 3; i < argc; i++)
		put_field(&body, argv[i]);
	body.s[3] = (char)((body.len - 5) >> 8);
	body.s[4] = (char)(body.len - 5);
	(void)snprintf(path, sizeof(path), "/containerd.services.snapshots.v1.Snapshots/%s",
		       argv[2]);
	r = grpc_client_call(c, path, NULL, "application/grpc", body.s, body.len);
	exchange(fd, c, r);
	status = strcmp(r->status, "0") != 0;
	if (status)
		(void)fprintf(stderr, "status %s: %s\n", r->status, r->message);
	else if (r->body.len > 5 &&
		 (strcmp(argv[2], "Prepare") == 0 || strcmp(argv[2], "View") == 0 ||
		  strcmp(argv[2], "Mounts") == 0))
		print_mounts((const unsigned char *)r->body.s + 5,
			     (const unsigned char *)r->body.s + r->body.len);
	else
		(void)printf("%zu\n", r->body.len);
	strbuf_release(&body);
	grpc_client_free(c);
	(void)close(fd);
	return status;
}
