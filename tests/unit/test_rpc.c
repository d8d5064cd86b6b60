/* SPDX-License-Identifier: Apache-2.0 */
/* 'snap serve' without its socket and threads: a client's bytes in, a client's bytes out. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "snapshotter/containerd/rpc.h"
#include "snapshotter/containerd/service.h"
#include "tests/lib/grpc_client.h"

#define SNAPSHOTS "/containerd.services.snapshots.v1.Snapshots/"
#define TYPE	  "application/grpc"
#define QUEUE_MAX 512

static char top[] = "/tmp/test-rpc.XXXXXX";
static const struct snap_rootfs rootfs = {.engine = SNAP_ENGINE_AUTO, .overlay = true};
static struct service service = {.rootfs = &rootfs};
static struct rpc rpc;
static struct h2_conn *conn;
static struct grpc_client *client;
static struct call *queue[QUEUE_MAX];
static size_t n_queue, queue_limit;

static int submit(void *ctx, struct call *c)
{
	(void)ctx;
	if (n_queue >= queue_limit)
		return -EAGAIN;
	queue[n_queue++] = call_ref(c);
	return 0;
}

static void wake(void *ctx, struct call *c)
{
	(void)ctx;
	rpc_deliver(&rpc, c);
}

static void setup(void)
{
	strcpy(top + strlen(top) - 6, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(top));
	ck_assert_int_eq(snap_store_open(top, &service.store, NULL), 0);
	snap_store_set_owner(service.store, SERVICE_OWNER);
	rpc = (struct rpc){.submit = submit, .wake = wake};
	queue_limit = QUEUE_MAX;
	conn = h2_conn_new(&rpc_handler, &rpc);
	client = grpc_client_new(0);
	ck_assert_ptr_nonnull(conn);
}

static void teardown(void)
{
	h2_conn_free(conn);
	grpc_client_free(client);
	for (size_t i = 0; i < n_queue; i++)
		call_unref(queue[i]);
	n_queue = 0;
	snap_store_close(service.store);
	ck_assert_int_eq(io_remove_tree(AT_FDCWD, top), 0);
}

/* Bytes to and fro until nobody has any; no call is run. */
static void exchange(void)
{
	for (bool busy = true; busy;) {
		const uint8_t *out;
		size_t n = grpc_client_send(client, &out);
		ptrdiff_t m;

		busy = n > 0;
		for (size_t at = 0; at < n; at += 100) /* in pieces, as sockets give them */
			ck_assert_int_eq(h2_conn_recv(conn, out + at, n - at < 100 ? n - at : 100),
					 0);
		while ((m = h2_conn_send(conn, &out)) > 0) {
			busy = true;
			ck_assert(grpc_client_recv(client, out, (size_t)m));
		}
		ck_assert_int_ge(m, 0);
	}
}

static void run_queue(void)
{
	for (size_t i = 0; i < n_queue; i++) {
		if (!atomic_load(&queue[i]->cancelled))
			service_run(&service, queue[i]);
		call_unref(queue[i]);
	}
	n_queue = 0;
	exchange();
}

static struct grpc_result *start(const char *path, const char *timeout, const void *body,
				 size_t len)
{
	struct strbuf framed = STRBUF_INIT;
	struct grpc_result *r;

	ck_assert_int_eq(grpc_frame_add(&framed, body, len), 0);
	r = grpc_client_call(client, path, timeout, TYPE, framed.s, framed.len);
	strbuf_release(&framed);
	exchange();
	return r;
}

static struct grpc_result *call_key(const char *method, const char *key)
{
	char body[256], path[128];
	struct grpc_result *r;

	(void)snprintf(path, sizeof(path), SNAPSHOTS "%s", method);
	(void)snprintf(body, sizeof(body), "\x12%c%s", (int)strlen(key), key);
	r = start(path, NULL, body, 2 + strlen(key));
	run_queue();
	ck_assert(r->done);
	return r;
}

START_TEST(test_statuses)
{
	struct grpc_result *r = call_key("Stat", "none");

	ck_assert_str_eq(r->http, "200");
	ck_assert_str_eq(r->status, "5");
	ck_assert_str_eq(r->message, "no snapshot 'none': not found");
	r = call_key("Prepare", "a");
	ck_assert_str_eq(r->status, "0");
	ck_assert_uint_gt(r->body.len, 5);
	ck_assert_str_eq(call_key("Prepare", "a")->status, "6");
	ck_assert_str_eq(call_key("Prepare", "")->status, "3");
	ck_assert_str_eq(call_key("Remove", "a")->status, "0");
	ck_assert_str_eq(call_key("Nothing", "a")->status, "12");
	r = call_key("Stat", "100%\xc3\xa4");
	ck_assert_str_eq(r->message, "no snapshot '100%25%C3%A4': not found");
	r = start(SNAPSHOTS "Stat", NULL,
		  "\x12\x03"
		  "a\0b",
		  5);
	run_queue();
	ck_assert_str_eq(r->status, "3"); /* not taken for the key "a" */
	r = start(SNAPSHOTS "Stat", NULL, "\x12\xff", 2);
	run_queue();
	ck_assert_str_eq(r->status, "13");
	ck_assert_uint_eq(rpc.n_active, 0);
}
END_TEST

START_TEST(test_what_is_no_grpc)
{
	struct grpc_result *r =
		grpc_client_call(client, SNAPSHOTS "Stat", NULL, "text/plain", "", 0);

	exchange();
	ck_assert_str_eq(r->http, "415");
	r = grpc_client_call(client, SNAPSHOTS "Stat", "1x", TYPE, "", 0);
	exchange();
	ck_assert_str_eq(r->status, "13");
	r = grpc_client_call(client, SNAPSHOTS "Stat", NULL, TYPE, "\1\0\0\0\0", 5);
	exchange();
	ck_assert_str_eq(r->status, "12"); /* compressed */
	r = grpc_client_call(client, SNAPSHOTS "Stat", NULL, TYPE, "\0\1\0\0\1", 5);
	exchange();
	ck_assert_str_eq(r->status, "8"); /* more than 16 MiB are announced */
	r = grpc_client_call(client, SNAPSHOTS "Stat", NULL, TYPE, "\0\0\0", 3);
	exchange();
	ck_assert_str_eq(r->status, "13");
	ck_assert_uint_eq(rpc.n_active, 0);
}
END_TEST

START_TEST(test_deadline)
{
	struct grpc_result *late = start(SNAPSHOTS "Prepare", "10m", "\x12\1a", 3);
	struct grpc_result *early = start(SNAPSHOTS "Prepare", "1H", "\x12\1b", 3);
	int64_t now = call_now(), next = rpc_expire(&rpc, now - 1000000000);

	ck_assert_int_gt(next, now - 1000000000);
	ck_assert_int_lt(next, now + 1000000000);
	next = rpc_expire(&rpc, now + 1000000000);
	ck_assert_int_gt(next, now + INT64_C(3500000000000));
	exchange();
	ck_assert(late->done && !early->done);
	ck_assert_str_eq(late->status, "4");
	run_queue();
	ck_assert_str_eq(early->status, "0");
	ck_assert_str_eq(call_key("Stat", "a")->status, "5"); /* was not begun any more */
	ck_assert_str_eq(call_key("Stat", "b")->status, "0");
}
END_TEST

START_TEST(test_cancel)
{
	struct grpc_result *r = start(SNAPSHOTS "Prepare", NULL, "\x12\1a", 3);

	grpc_client_cancel(client, r);
	exchange();
	ck_assert_uint_eq(rpc.n_active, 0);
	run_queue();
	ck_assert_str_eq(call_key("Stat", "a")->status, "5");
	/* cancelled while it runs: it is done as a whole, and nobody is told */
	r = start(SNAPSHOTS "Prepare", NULL, "\x12\1c", 3);
	ck_assert_uint_eq(n_queue, 1);
	service_run(&service, queue[0]);
	grpc_client_cancel(client, r);
	run_queue();
	ck_assert_str_eq(call_key("Stat", "c")->status, "0");
}
END_TEST

static size_t count_infos(const struct strbuf *body, size_t *ret_messages)
{
	const unsigned char *p = (const unsigned char *)body->s, *end = p + body->len;
	size_t n = 0;

	*ret_messages = 0;
	while (p < end) {
		size_t len = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
		const unsigned char *q = p + 5, *stop = q + len;

		for (; q < stop; n++) {
			ck_assert_uint_eq(q[0], 0x0a);
			ck_assert_uint_lt(q[1], 128); /* small ones, here */
			q += 2 + q[1];
		}
		p = stop;
		++*ret_messages;
	}
	ck_assert_ptr_eq(p, end);
	return n;
}

START_TEST(test_list)
{
	struct grpc_result *r;
	char key[16];
	size_t messages;

	for (int i = 0; i < 250; i++) {
		(void)snprintf(key, sizeof(key), "k%d", i);
		ck_assert_int_eq(snap_prepare(service.store, SNAP_ACTIVE, key, NULL, NULL, 0, NULL),
				 0);
	}
	r = start(SNAPSHOTS "List", NULL, "", 0);
	run_queue();
	ck_assert_str_eq(r->status, "0");
	ck_assert_uint_eq(count_infos(&r->body, &messages), 250);
	ck_assert_uint_eq(messages, 3);
	r = start(SNAPSHOTS "List", NULL,
		  "\x12\x0b"
		  "name~=^k1.",
		  12);
	run_queue();
	ck_assert_str_eq(r->status, "13"); /* cut off within the filter */
	r = start(SNAPSHOTS "List", NULL,
		  "\x12\x0b"
		  "name~=^k1.$",
		  13);
	run_queue();
	ck_assert_uint_eq(count_infos(&r->body, &messages), 10);
	r = start(SNAPSHOTS "List", NULL,
		  "\x12\x05"
		  "name=",
		  7);
	run_queue();
	ck_assert_str_eq(r->status, "3");

	/* a client that reads slowly: the server sends no more than it was asked for */
	grpc_client_free(client);
	h2_conn_free(conn);
	conn = h2_conn_new(&rpc_handler, &rpc);
	client = grpc_client_new(1000);
	r = start(SNAPSHOTS "List", NULL, "", 0);
	run_queue();
	ck_assert_uint_eq(r->body.len, 1000);
	ck_assert(!r->done);
	for (int i = 0; i < 100 && !r->done; i++) {
		size_t before = r->body.len;

		grpc_client_more(client, r, 1000);
		exchange();
		ck_assert_uint_le(r->body.len - before, 1000);
	}
	ck_assert(r->done);
	ck_assert_str_eq(r->status, "0");
	ck_assert_uint_eq(count_infos(&r->body, &messages), 250);
}
END_TEST

START_TEST(test_many_streams)
{
	struct grpc_result *r[H2_STREAMS_MAX + 50];
	char body[16];

	/* the client keeps those above the limit back until others are done */
	for (int i = 0; i < H2_STREAMS_MAX + 50; i++) {
		(void)snprintf(body, sizeof(body), "\x12\4k%03d", i);
		r[i] = start(SNAPSHOTS "Prepare", NULL, body, strlen(body));
	}
	ck_assert_uint_eq(n_queue, H2_STREAMS_MAX);
	while (n_queue > 0)
		run_queue();
	for (int i = 0; i < H2_STREAMS_MAX + 50; i++)
		ck_assert_str_eq(r[i]->status, "0");
	queue_limit = 0;
	r[0] = start(SNAPSHOTS "Prepare", NULL, "\x12\1x", 3);
	ck_assert_str_eq(r[0]->status, "14");
}
END_TEST

START_TEST(test_health_and_drain)
{
	struct grpc_result *r = start("/grpc.health.v1.Health/Check", NULL, "", 0), *w, *under_way;

	run_queue();
	ck_assert_str_eq(r->status, "0");
	ck_assert_uint_eq(r->body.len, 7);
	ck_assert_int_eq(memcmp(r->body.s, "\0\0\0\0\2\x08\1", 7), 0);
	r = start("/grpc.health.v1.Health/Check", NULL, "\x0a\1x", 3);
	run_queue();
	ck_assert_str_eq(r->status, "5");
	w = start("/grpc.health.v1.Health/Watch", NULL, "", 0);
	run_queue();
	ck_assert(!w->done);
	ck_assert_uint_eq(w->body.len, 7);
	under_way = start(SNAPSHOTS "Prepare", NULL, "\x12\1a", 3);
	rpc_drain(&rpc);
	h2_conn_shutdown(conn);
	exchange();
	ck_assert(w->done && !under_way->done);
	ck_assert_str_eq(w->status, "0");
	ck_assert_int_eq(memcmp(w->body.s + 7, "\0\0\0\0\2\x08\2", 7), 0); /* not serving */
	ck_assert(grpc_client_was_told_to_go(client));
	ck_assert(!h2_conn_is_done(conn));
	run_queue();
	ck_assert_str_eq(under_way->status, "0");
	ck_assert(h2_conn_is_done(conn));
}
END_TEST

START_TEST(test_noise)
{
	ck_assert_int_eq(h2_conn_recv(conn, "GET / HTTP/1.1\r\n\r\n......", 24), -EPROTO);
	ck_assert(h2_conn_is_done(conn));
	ck_assert_int_eq(h2_conn_recv(conn, "x", 1), -EPROTO);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("rpc");
	TCase *t = tcase_create("rpc");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_statuses);
	tcase_add_test(t, test_what_is_no_grpc);
	tcase_add_test(t, test_deadline);
	tcase_add_test(t, test_cancel);
	tcase_add_test(t, test_list);
	tcase_add_test(t, test_many_streams);
	tcase_add_test(t, test_health_and_drain);
	tcase_add_test(t, test_noise);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
