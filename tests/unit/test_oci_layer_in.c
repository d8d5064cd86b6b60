/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <zlib.h>
#include <zstd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "erofs/image.h"
#include "oci/layer_in.h"
#include "oci/media.h"
#include "tests/lib/tarmaker.h"

static struct strbuf tar, blob;
static struct oci_layer_ref layer;
static struct oci_layer_result result;
static struct oci_limits limits;
static struct err err;
static struct erofs_image *image;
static int data_fd, side_fd, index_fd;

static void setup(void)
{
	log_set_level(LOG_ERROR);
	strbuf_init(&tar);
	strbuf_init(&blob);
	memset(&layer, 0, sizeof(layer));
	memset(&limits, 0, sizeof(limits));
	memset(&err, 0, sizeof(err));
	image = NULL;
	data_fd = memfd_create("data", MFD_CLOEXEC);
	side_fd = memfd_create("side", MFD_CLOEXEC);
	index_fd = memfd_create("index", MFD_CLOEXEC);
	ck_assert_int_ge(index_fd, 0);
}

static void teardown(void)
{
	erofs_image_close(image);
	strbuf_release(&tar);
	strbuf_release(&blob);
	close(data_fd);
	close(side_fd);
	close(index_fd);
}

/* One test case wants several layers. */
static void again(void)
{
	teardown();
	setup();
}

static int run_blob(void)
{
	struct oci_layer_job job = {
		.layer = &layer,
		.limits = &limits,
		.data_fd = data_fd,
		.side_fd = side_fd,
		.index_fd = index_fd,
		.copy_fd = -1,
	};
	int fd cleanup_close = memfd_create("blob", MFD_CLOEXEC), r;

	ck_assert_int_eq(io_write_full(fd, blob.s, blob.len), 0);
	ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
	job.blob_fd = fd;
	if (layer.desc.size == 0)
		layer.desc.size = blob.len;
	if (!layer.desc.digest.text[0])
		ck_assert_int_eq(digest_buffer(DIGEST_SHA256, blob.s, blob.len, &layer.desc.digest),
				 0);
	if (!layer.diff_id.text[0])
		ck_assert_int_eq(digest_buffer(DIGEST_SHA256, tar.s, tar.len, &layer.diff_id), 0);
	r = oci_layer_in(&job, &result, &err);
	ck_assert(r <= 0);
	ck_assert(r == 0 || err.msg[0]);
	if (r == 0) {
		char *text cleanup_free = malloc(tar.len + 1);

		ck_assert_uint_eq(result.tar_size, tar.len);
		ck_assert_int_eq(io_pread_full(data_fd, text, tar.len, 0), 0);
		ck_assert(tar.len == 0 || memcmp(text, tar.s, tar.len) == 0);
		ck_assert_int_eq(erofs_image_open(index_fd, &image, &err), 0);
		ck_assert_uint_eq(result.entries, erofs_image_inodes(image));
	}
	return r;
}

/* The tar as it stands, plain. */
static int run(void)
{
	ck_assert_int_eq(strbuf_add(&blob, tar.s, tar.len), 0);
	return run_blob();
}

static void lines(const char *const *l)
{
	for (; *l; l++)
		tm_line(&tar, *l);
	tm_end(&tar);
}

static void accepted(void)
{
	int r = run();

	ck_assert_msg(r == 0, "%s: %s", err.where, err.msg);
}

static void refused(const char *why)
{
	int r = run();

	ck_assert_msg(r == -EBADMSG || r == -E2BIG, "%d", r);
	ck_assert_msg(strstr(err.msg, why) || strstr(err.where, why), "'%s' is not in '%s: %s'",
		      why, err.where, err.msg);
}

static bool find(const char *path, struct erofs_stat *ret)
{
	uint64_t nid = erofs_image_root(image);

	ck_assert_int_eq(erofs_image_inode(image, nid, ret), 0);
	while (*path) {
		size_t n = strcspn(path, "/");

		if (erofs_image_lookup(image, ret, path, n, &nid) < 0)
			return false;
		ck_assert_int_eq(erofs_image_inode(image, nid, ret), 0);
		path += n;
		path += strspn(path, "/");
	}
	return true;
}

/* "TYPE MODE UID:GID MTIME[...]" of what is at @path, "none" when nothing is. */
static const char *show(const char *path)
{
	static char text[512];
	struct erofs_stat st;
	size_t n;

	if (!find(path, &st))
		return "none";
	if (S_ISCHR(st.mode) && st.rdev_major == 0 && st.rdev_minor == 0)
		return "whiteout";
	n = (size_t)snprintf(text, sizeof(text), "%s %o %u:%u %lld",
			     S_ISREG(st.mode)	 ? "reg"
			     : S_ISDIR(st.mode)	 ? "dir"
			     : S_ISLNK(st.mode)	 ? "sym"
			     : S_ISFIFO(st.mode) ? "fifo"
			     : S_ISCHR(st.mode)	 ? "char"
						 : "block",
			     st.mode & 07777, st.uid, st.gid, (long long)st.mtime);
	if (S_ISREG(st.mode))
		n += (size_t)snprintf(text + n, sizeof(text) - n, " size=%llu",
				      (unsigned long long)st.size);
	if (!S_ISDIR(st.mode) && st.nlink != 1)
		n += (size_t)snprintf(text + n, sizeof(text) - n, " nlink=%u", st.nlink);
	if (st.flags & EROFS_I_OPAQUE)
		n += (size_t)snprintf(text + n, sizeof(text) - n, " opaque");
	if (st.flags & EROFS_I_IMPLIED)
		n += (size_t)snprintf(text + n, sizeof(text) - n, " implied");
	if (st.flags & EROFS_I_LINK) {
		char *target = NULL;

		ck_assert_int_eq(erofs_image_link_target(image, &st, &target), 0);
		n += (size_t)snprintf(text + n, sizeof(text) - n, " link=%s", target);
		free(target);
	}
	if (S_ISCHR(st.mode) || S_ISBLK(st.mode))
		n += (size_t)snprintf(text + n, sizeof(text) - n, " %u:%u", st.rdev_major,
				      st.rdev_minor);
	if (S_ISLNK(st.mode)) {
		const char *target;

		ck_assert_int_eq(erofs_image_symlink(image, &st, &target), 0);
		(void)snprintf(text + n, sizeof(text) - n, " -> %.*s", (int)st.size, target);
	}
	return text;
}

/* The content of a regular file, by the index and its devices. */
static const char *content(const char *path)
{
	static char text[8192];
	struct erofs_extent e;
	struct erofs_stat st;

	ck_assert_msg(find(path, &st), "%s", path);
	ck_assert_uint_lt(st.size, sizeof(text));
	memset(text, 0, sizeof(text));
	for (uint64_t pos = 0; pos < st.size; pos += e.len) {
		ck_assert_int_eq(erofs_image_map(image, &st, pos, &e), 0);
		ck_assert_uint_gt(e.len, 0);
		if (e.device)
			ck_assert_int_eq(io_pread_full(e.device == 1 ? data_fd : side_fd,
						       text + pos, e.len, (off_t)e.offset),
					 0);
	}
	return text;
}

static const char *xattr(const char *path, const char *name)
{
	static char text[1024];
	struct erofs_stat st;
	const void *value;
	size_t len;

	ck_assert(find(path, &st));
	if (erofs_image_getxattr(image, &st, name, &value, &len) < 0)
		return "(none)";
	ck_assert_uint_lt(len, sizeof(text));
	memcpy(text, value, len);
	text[len] = '\0';
	return text;
}

/* Layers and what stands at some paths afterwards. */
static const struct {
	const char *lines[8];
	const char *shown[6]; /* path, what show() says, ... */
} good[] = {
	{{"d:700 .", "f a=hello"}, {"", "dir 700 1:2 7", "a", "reg 644 1:2 7 size=5"}},
	{{"f:4755 /a"}, {"a", "reg 4755 1:2 7 size=0", "", "dir 755 0:0 0 implied"}},
	{{"s l -> a/b", "c c", "b b", "p p"},
	 {"l", "sym 777 1:2 7 -> a/b", "c", "char 644 1:2 7 1:3", "b", "block 644 1:2 7 1:3"}},
	{{"f x/y/z"}, {"x/y", "dir 755 0:0 0 implied", "x/y/z", "reg 644 1:2 7 size=0"}},
	{{"f ./a//b/./../c"}, {"a/c", "reg 644 1:2 7 size=0", "a/b", "none"}},
	{{"f ../../up"}, {"up", "reg 644 1:2 7 size=0"}},
	{{"f d/../x"}, {"x", "reg 644 1:2 7 size=0", "d", "none"}},
	{{"f dir/"}, {"dir", "dir 644 1:2 7"}},
	/* twice */
	{{"f a=one", "f a=three"}, {"a", "reg 644 1:2 7 size=5"}},
	{{"d d", "f d/x", "d:700 d"}, {"d", "dir 700 1:2 7", "d/x", "reg 644 1:2 7 size=0"}},
	{{"d d", "f d/x", "f d"}, {"d", "reg 644 1:2 7 size=0"}},
	{{"f d/x", "d:711 d/"}, {"d", "dir 711 1:2 7"}},
	/* whiteouts */
	{{"f .wh.a"}, {"a", "whiteout", ".wh.a", "none"}},
	{{"0 a"}, {"a", "whiteout"}},
	{{"h .wh.a -> nowhere"}, {"a", "whiteout"}},
	{{"f .wh.a=data"}, {"a", "whiteout"}},
	{{"f a", "f .wh.a"}, {"a", "reg 644 1:2 7 size=0"}},
	{{"f .wh.a", "f a"}, {"a", "reg 644 1:2 7 size=0"}},
	{{"d d", "f .wh.d"}, {"d", "dir 755 1:2 7 opaque"}},
	{{"f .wh.d", "d d"}, {"d", "dir 755 1:2 7 opaque"}},
	{{"f .wh.d", "f d/x"}, {"d", "dir 755 0:0 0 opaque", "d/x", "reg 644 1:2 7 size=0"}},
	{{"f d/x", "f .wh.d"}, {"d", "dir 755 0:0 0 opaque", "d/x", "reg 644 1:2 7 size=0"}},
	{{"f .wh.d", "f d/.wh.x"}, {"d", "whiteout"}},
	{{"f d/.wh.x", "f .wh.d"}, {"d", "whiteout"}},
	{{"f .wh.d", "f d/e/.wh.x", "f d/f/g"},
	 {"d", "dir 755 0:0 0 opaque", "d/e", "dir 755 0:0 0 implied", "d/f/g",
	  "reg 644 1:2 7 size=0"}},
	{{"f d/.wh..wh..opq"}, {"d", "dir 755 0:0 0 opaque implied"}},
	{{"d d", "f d/.wh..wh..opq", "f d/x"},
	 {"d", "dir 755 1:2 7 opaque", "d/x", "reg 644 1:2 7 size=0"}},
	{{"f d/.wh..wh..opq", "d d"}, {"d", "dir 755 1:2 7 opaque"}},
	{{"f .wh..wh..opq"}, {"", "dir 755 0:0 0 opaque implied"}},
	{{"d .wh..wh.plnk", "f .wh..wh.plnk/1.2", "f .wh..wh.aufs", "f a"},
	 {".wh..wh.plnk", "none", "a", "reg 644 1:2 7 size=0", ".wh..wh.aufs", "none"}},
	/* hard links */
	{{"f a=x", "h b -> a", "h c -> /b"},
	 {"a", "reg 644 1:2 7 size=1 nlink=3", "c", "reg 644 1:2 7 size=1 nlink=3"}},
	{{"f a=x", "h:600 b -> a"}, {"a", "reg 600 1:2 7 size=1 nlink=2"}},
	{{"h b -> low/er"}, {"b", "reg 644 1:2 7 size=0 link=low/er"}},
	{{"h b -> lower", "h c -> b"}, {"c", "reg 644 1:2 7 size=0 nlink=2 link=lower"}},
	{{"s s -> t", "h b -> s"}, {"b", "sym 777 1:2 7 nlink=2 -> t"}},
	{{"f a=old", "h b -> a", "f a=newer"},
	 {"a", "reg 644 1:2 7 size=5", "b", "reg 644 1:2 7 size=3"}},
	{{"f a=x", "h b -> a", "f .wh.a"}, {"b", "reg 644 1:2 7 size=1 nlink=2"}},
	{{"d d", "s l -> d", "f d/a=x", "h b -> l/a"}, {"b", "reg 644 1:2 7 size=1 nlink=2"}},
	/* paths through symlinks */
	{{"s lib -> usr/lib", "f lib/x"},
	 {"usr/lib/x", "reg 644 1:2 7 size=0", "lib", "sym 777 1:2 7 -> usr/lib"}},
	{{"s out -> ../../../etc", "f out/x"}, {"etc/x", "reg 644 1:2 7 size=0"}},
	{{"s out -> /etc/../b", "f out/x"}, {"b/x", "reg 644 1:2 7 size=0", "etc", "none"}},
	{{"s a -> b", "s b -> c", "d c", "f a/x"}, {"c/x", "reg 644 1:2 7 size=0"}},
	{{"s d -> e", "d d"}, {"d", "dir 755 1:2 7", "e", "none"}},
	{{"s l -> x", "f l/.wh.y"}, {"x/y", "whiteout"}},
	{{"d p/q", "s p/q/l -> ../r", "f p/q/l/x"}, {"p/r/x", "reg 644 1:2 7 size=0"}},
};

START_TEST(good_layers)
{
	lines(good[_i].lines);
	accepted();
	for (size_t i = 0; i + 1 < 6 && good[_i].shown[i]; i += 2)
		ck_assert_str_eq(show(good[_i].shown[i]), good[_i].shown[i + 1]);
}
END_TEST

static const struct {
	const char *lines[6];
	const char *why;
} bad[] = {
	{{"f "}, "empty name"},
	{{"f ."}, "root"},
	{{"s .. -> x"}, "root"},
	{{"f .wh."}, "names nothing"},
	{{"f .wh.."}, "names nothing"},
	{{"f d/.wh..."}, "names nothing"},
	{{"f .wh.d/x"}, "below a whiteout"},
	{{"f a", "f a/b"}, "no directory"},
	{{"c c", "f c/b"}, "no directory"},
	{{"s a -> a", "f a/x"}, "loop"},
	{{"s a -> b", "s b -> a", "f a/x"}, "loop"},
	{{"s a -> "}, "empty symlink"},
	{{"h a -> a"}, "itself"},
	{{"f a", "h a -> ./a"}, "itself"},
	{{"d d", "h a -> d"}, "directory"},
	{{"h a -> /"}, "directory"},
	{{"h a -> b", "f b"}, "later"},
	{{"h a -> b", "d b"}, "directory"},
	{{"f .wh.b", "h a -> b"}, "whites out"},
	{{"h a -> b", "f .wh.b"}, "hides"},
	{{"h a -> d/b", "f d/.wh..wh..opq"}, "hides"},
	{{"f d/.wh..wh..opq", "h a -> d/b"}, "hides"},
	{{"h a -> d/b", "f .wh.d"}, "hides"},
	{{"f .wh.d", "h a -> d/b", "d d"}, "hides"},
	{{"h a -> "}, "empty name"},
};

START_TEST(bad_layers)
{
	lines(bad[_i].lines);
	refused(bad[_i].why);
}
END_TEST

START_TEST(empty_layers)
{
	accepted();
	ck_assert_uint_eq(result.entries, 1);
	again();
	tm_end(&tar);
	accepted();
	again();
	/* without an end, with half of one */
	tm_line(&tar, "f a=x");
	accepted();
	again();
	tm_line(&tar, "f a=x");
	ck_assert_int_eq(strbuf_reserve(&tar, 512), 0);
	memset(tar.s + tar.len, 0, 512);
	tar.len += 512;
	accepted();
	ck_assert_str_eq(content("a"), "x");
}
END_TEST

START_TEST(ends)
{
	/* what follows the end is hashed and not parsed */
	tm_line(&tar, "f a");
	tm_end(&tar);
	tm_line(&tar, "f b");
	ck_assert_int_eq(strbuf_adds(&tar, "rubbish"), 0);
	accepted();
	ck_assert_str_eq(show("b"), "none");
	again();
	tm_line(&tar, "f a");
	ck_assert_int_eq(strbuf_add(&tar, (char[512]){0}, 512), 0);
	tm_line(&tar, "f b");
	refused("zero block");
	again();
	tm_line(&tar, "f a=hello");
	strbuf_truncate(&tar, tar.len - 508);
	refused("truncated");
	again();
	tm_line(&tar, "f a");
	strbuf_truncate(&tar, 100);
	refused("truncated");
	again();
	tm_line(&tar, "f a");
	tar.s[3] ^= 1;
	refused("checksum");
}
END_TEST

START_TEST(numbers)
{
	struct tar_header *h = tm_header(&tar, '0', "a");

	/* base-256: 2^32-2 is the last id, before 1970 is a time */
	memcpy(h->uid, "\x80\0\0\0\xff\xff\xff\xfe", 8);
	memcpy(h->mtime, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", 12);
	tm_seal(h);
	accepted();
	ck_assert_str_eq(show("a"), "reg 644 4294967294:2 -2 size=0");
	again();
	h = tm_header(&tar, '0', "a");
	memcpy(h->uid, "\x80\0\0\0\xff\xff\xff\xff", 8);
	tm_seal(h);
	refused("uid is out of range");
	again();
	h = tm_header(&tar, '0', "a");
	memcpy(h->gid, "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
	tm_seal(h);
	refused("gid is out of range");
	again();
	h = tm_header(&tar, '0', "a");
	memcpy(h->mtime, "\x80\1\0\0\0\0\0\0\0\0\0\0", 12);
	tm_seal(h);
	refused("mtime is out of range");
	again();
	h = tm_header(&tar, '0', "a");
	memcpy(h->mode, "12345x", 6);
	tm_seal(h);
	refused("mode is no number");
	again();
	h = tm_header(&tar, '3', "a");
	tm_octal(h->devmajor, 8, 4096);
	tm_seal(h);
	refused("device number");
	again();
	tm_pax1(&tar, 'x', "uid", "4294967295");
	tm_line(&tar, "f a");
	refused("uid is out of range");
	again();
	tm_pax1(&tar, 'x', "gid", "-1");
	tm_line(&tar, "f a");
	refused("gid is out of range");
}
END_TEST

START_TEST(times)
{
	struct erofs_stat st;
	static const struct {
		const char *text;
		int64_t sec;
		uint32_t nsec;
	} ok[] = {
		{"1.5", 1, 500000000},
		{"-1.25", -2, 750000000},
		{"-0.000000001", -1, 999999999},
		{"123456789012.123456789", 123456789012, 123456789},
		{"0.0000000009", 0, 0},
		{"-0.0000000001", -1, 999999999},
		{"9223372036854775807", INT64_MAX, 0},
	};

	for (size_t i = 0; i < sizeof(ok) / sizeof(ok[0]); i++) {
		again();
		tm_pax1(&tar, 'x', "mtime", ok[i].text);
		tm_line(&tar, "f a");
		accepted();
		ck_assert(find("a", &st));
		ck_assert_int_eq(st.mtime, ok[i].sec);
		ck_assert_uint_eq(st.mtime_nsec, ok[i].nsec);
	}
	again();
	tm_pax1(&tar, 'x', "mtime", "9223372036854775808");
	tm_line(&tar, "f a");
	refused("mtime");
	again();
	tm_pax1(&tar, 'x', "mtime", "12e5");
	tm_line(&tar, "f a");
	refused("mtime");
}
END_TEST

START_TEST(types)
{
	tm_header(&tar, '7', "contiguous");
	tm_header(&tar, '\0', "old");
	tm_header(&tar, '\0', "old-dir/");
	accepted();
	ck_assert_str_eq(show("contiguous"), "reg 644 1:2 7 size=0");
	ck_assert_str_eq(show("old-dir"), "dir 644 1:2 7");
	for (const char *t = "89ADMNVXZ"; *t; t++) {
		again();
		tm_header(&tar, *t, "a");
		refused("unknown type");
	}
	again();
	struct tar_header *h = tm_header(&tar, '1', "a");
	memcpy(h->linkname, "b", 1);
	tm_octal(h->size, 12, 5);
	tm_seal(h);
	tm_data(&tar, "hello", 5);
	refused("with data");
	again();
	h = tm_header(&tar, '0', "d/");
	tm_octal(h->size, 12, 5);
	tm_seal(h);
	tm_data(&tar, "hello", 5);
	refused("directory with data");
}
END_TEST

START_TEST(names)
{
	char name[5000];

	memset(name, 'n', sizeof(name));
	name[255] = '\0';
	tm_pax1(&tar, 'x', "path", name);
	tm_line(&tar, "f short");
	accepted();
	ck_assert_str_eq(show(name), "reg 644 1:2 7 size=0");
	again();
	memset(name, 'n', sizeof(name));
	name[256] = '\0';
	tm_gnu(&tar, 'L', name);
	tm_line(&tar, "f short");
	refused("255");
	again();
	/* 4,095 bytes work, one more does not */
	for (size_t i = 0; i < sizeof(name); i++)
		name[i] = i % 2 ? '/' : 'n';
	name[4095] = '\0';
	tm_gnu(&tar, 'L', name);
	tm_line(&tar, "f short");
	accepted();
	again();
	name[4095] = 'n';
	name[4096] = '\0';
	tm_gnu(&tar, 'L', name);
	tm_line(&tar, "f short");
	refused("4095");
	again();
	/* bytes that are no UTF-8, and control characters */
	tm_pax1(&tar, 'x', "path", "a\xff\n\x01");
	tm_line(&tar, "f short");
	tm_line(&tar, "f b\xc3(\n");
	accepted();
	ck_assert_str_eq(show("a\xff\n\x01"), "reg 644 1:2 7 size=0");
	ck_assert_str_eq(show("b\xc3(\n"), "reg 644 1:2 7 size=0");
	again();
	struct strbuf records CLEANUP(strbuf_release) = STRBUF_INIT;
	tm_record(&records, "path", "a\0b", 3);
	tm_pax(&tar, 'x', &records);
	tm_line(&tar, "f short");
	refused("NUL");
	again();
	/* prefix and name */
	struct tar_header *h = tm_header(&tar, '0', "file");
	memcpy(h->u.prefix, "long/dir", 8);
	tm_seal(h);
	accepted();
	ck_assert_str_eq(show("long/dir/file"), "reg 644 1:2 7 size=0");
}
END_TEST

START_TEST(headers)
{
	tm_pax1(&tar, 'g', "uid", "77");
	tm_line(&tar, "f a");
	tm_pax1(&tar, 'x', "uid", "78");
	tm_line(&tar, "f b");
	tm_pax1(&tar, 'x', "uid", "");
	tm_line(&tar, "f c");
	tm_pax1(&tar, 'g', "uid", "");
	tm_line(&tar, "f d");
	accepted();
	ck_assert_str_eq(show("a"), "reg 644 77:2 7 size=0");
	ck_assert_str_eq(show("b"), "reg 644 78:2 7 size=0");
	ck_assert_str_eq(show("c"), "reg 644 1:2 7 size=0");
	ck_assert_str_eq(show("d"), "reg 644 1:2 7 size=0");
	again();
	tm_gnu(&tar, 'L', "gnu/name");
	tm_gnu(&tar, 'K', "gnu/target");
	tm_line(&tar, "s x -> y");
	accepted();
	ck_assert_str_eq(show("gnu/name"), "sym 777 1:2 7 -> gnu/target");

	static const struct {
		const char *types, *why;
	} bad_headers[] = {
		{"xxf", "two 'x'"},	    {"LLf", "two 'L'"},
		{"KKf", "two 'K'"},	    {"xgf", "global header between"},
		{"x", "without an entry"},  {"L", "without an entry"},
		{"Lxf", "different names"},
	};
	for (size_t i = 0; i < sizeof(bad_headers) / sizeof(bad_headers[0]); i++) {
		again();
		for (const char *t = bad_headers[i].types; *t; t++) {
			if (*t == 'f')
				tm_line(&tar, "f a");
			else if (*t == 'L' || *t == 'K')
				tm_gnu(&tar, *t, "gnu");
			else
				tm_pax1(&tar, *t, "path", "pax");
		}
		tm_end(&tar);
		refused(bad_headers[i].why);
	}
	static const char *const malformed[] = {
		"5 a=\n",      "7 a=b\n", "4 a=\n",
		"6 a=bX",      "6a=b\n",  "x a=b\n",
		"6 =ab\n",     "6 abc\n", "99999999999 a=b\n",
		"6 a=b\n6 a=",
	};
	for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
		struct strbuf records CLEANUP(strbuf_release) = STRBUF_INIT;

		again();
		/* the first is right: to be sure that the others are wrong for their own reason */
		ck_assert_int_eq(strbuf_adds(&records, malformed[i]), 0);
		tm_pax(&tar, 'x', &records);
		tm_line(&tar, "f a");
		if (i == 0)
			accepted();
		else
			refused("malformed PAX");
	}
	again();
	tm_pax1(&tar, 'g', "size", "5");
	tm_line(&tar, "f a");
	refused("global");
}
END_TEST

/* What libarchive takes for something else than the strict reader does is nobody's. */
START_TEST(two_readers)
{
	struct tar_header *h;

	/* a map of holes that only libarchive knows */
	tm_pax1(&tar, 'x', "SUN.holesdata", " 0 3");
	tm_line(&tar, "f holes=0123456789");
	refused("libarchive reads it differently: 'its size'");
	again();
	/* a field that no file has, and that makes the whole no tar to libarchive */
	h = tm_header(&tar, '0', "f");
	memset(h->devmajor, 'x', sizeof(h->devmajor));
	tm_seal(h);
	refused("libarchive reads it differently: 'Unrecognized archive format'");
	again();
	/* a size that only libarchive knows */
	tm_pax1(&tar, 'x', "SCHILY.realsize", "1000");
	tm_line(&tar, "f grown=x");
	refused("libarchive reads it differently: 'its size'");
	again();
	/* what libarchive is known to tell otherwise, all in one */
	tm_pax1(&tar, 'g', "gid", "99");
	tm_pax1(&tar, 'x', "mtime", "-1.25");
	tm_line(&tar, "f early");
	tm_pax1(&tar, 'x', "SCHILY.acl.access", "user::rwx,group::rwx,other::rwx");
	tm_line(&tar, "f:600 acl");
	tm_pax1(&tar, 'x', "SCHILY.xattr.user.e", "");
	tm_line(&tar, "f none");
	accepted();
	ck_assert_str_eq(show("early"), "reg 644 1:99 -2 size=0");
	ck_assert_str_eq(show("none"), "reg 644 1:99 7 size=0");
}
END_TEST

START_TEST(xattrs)
{
	struct strbuf r CLEANUP(strbuf_release) = STRBUF_INIT;

	tm_record(&r, "SCHILY.xattr.user.a", "one", 3);
	tm_record(&r, "SCHILY.xattr.user.gone", "", 0);
	tm_record(&r, "LIBARCHIVE.xattr.user.%62", "dHdv", 4);
	tm_record(&r, "SCHILY.xattr.trusted.t", "x=\ny", 4);
	tm_record(&r, "SCHILY.xattr.security.capability", "cap", 3);
	tm_record(&r, "SCHILY.xattr.security.selinux", "label", 5);
	tm_record(&r, "SCHILY.xattr.trusted.overlay.opaque", "y", 1);
	tm_record(&r, "SCHILY.xattr.user.overlay.opaque", "y", 1);
	tm_record(&r, "SCHILY.xattr.trusted.snap.link", "/etc/shadow", 11);
	tm_record(&r, "SCHILY.xattr.other.space", "y", 1);
	tm_pax(&tar, 'x', &r);
	tm_line(&tar, "f a");
	strbuf_reset(&r);
	tm_record(&r, "SCHILY.xattr.user.a", "one", 3);
	tm_record(&r, "SCHILY.xattr.trusted.t", "yes", 3);
	tm_pax(&tar, 'x', &r);
	tm_line(&tar, "s s -> a");
	accepted();
	ck_assert_str_eq(xattr("a", "user.a"), "one");
	ck_assert_str_eq(xattr("a", "user.b"), "two");
	ck_assert_str_eq(xattr("a", "user.gone"), "(none)");
	ck_assert_str_eq(xattr("a", "trusted.t"), "x=\ny");
	ck_assert_str_eq(xattr("a", "security.capability"), "cap");
	ck_assert_str_eq(xattr("a", "security.selinux"), "(none)");
	ck_assert_str_eq(xattr("a", "user.overlay.opaque"), "(none)");
	ck_assert_str_eq(xattr("a", "other.space"), "(none)");
	ck_assert_str_eq(xattr("s", "user.a"), "(none)");
	ck_assert_str_eq(xattr("s", "trusted.t"), "yes");
	ck_assert_str_eq(show("a"), "reg 644 1:2 7 size=0");
	again();
	/* global ones, taken back by one entry */
	tm_pax1(&tar, 'g', "SCHILY.xattr.user.g", "all");
	tm_line(&tar, "f a");
	tm_pax1(&tar, 'x', "SCHILY.xattr.user.g", "");
	tm_line(&tar, "f b");
	accepted();
	ck_assert_str_eq(xattr("a", "user.g"), "all");
	ck_assert_str_eq(xattr("b", "user.g"), "(none)");
	again();
	/* those a link entry gives are the inode's, the others stay */
	tm_pax1(&tar, 'x', "SCHILY.xattr.user.a", "one");
	tm_line(&tar, "f a");
	tm_pax1(&tar, 'x', "SCHILY.xattr.user.b", "two");
	tm_line(&tar, "h b -> a");
	accepted();
	ck_assert_str_eq(xattr("a", "user.a"), "one");
	ck_assert_str_eq(xattr("a", "user.b"), "two");
	again();
	limits.xattr_bytes = 100;
	strbuf_reset(&r);
	for (int i = 0; i < 20; i++) {
		char key[64];

		snprintf(key, sizeof(key), "SCHILY.xattr.user.%d", i);
		tm_record(&r, key, "value", 5);
	}
	tm_pax(&tar, 'x', &r);
	tm_line(&tar, "f a");
	refused("'xattr-bytes'");
	ck_assert_ptr_nonnull(strstr(err.hint, "--limit xattr-bytes="));
}
END_TEST

START_TEST(acls)
{
	static const uint8_t want[] = {
		2,  0, 0, 0, /* version */
		1,  0, 7, 0, 255,  255, 255, 255, /* user:: */
		2,  0, 4, 0, 0xe8, 3,	0,   0, /* user 1000 */
		4,  0, 5, 0, 255,  255, 255, 255, /* group:: */
		16, 0, 5, 0, 255,  255, 255, 255, /* mask:: */
		32, 0, 0, 0, 255,  255, 255, 255, /* other:: */
	};
	struct erofs_stat st;
	const void *value;
	size_t len;

	tm_pax1(&tar, 'x', "SCHILY.acl.access",
		"user::rwx,group::r-x,other::---,mask::r-x,user:bob:r--:1000");
	tm_line(&tar, "f a");
	tm_pax1(&tar, 'x', "SCHILY.acl.default", "u::rwx\ng::r-x\no:---\nu:1000:r--\nm:r-x");
	tm_line(&tar, "d d");
	tm_pax1(&tar, 'x', "SCHILY.acl.access", "user::rw-,group::r--,other::r--");
	tm_line(&tar, "f plain");
	accepted();
	ck_assert(find("a", &st));
	ck_assert_int_eq(erofs_image_getxattr(image, &st, "system.posix_acl_access", &value, &len),
			 0);
	ck_assert_uint_eq(len, sizeof(want));
	ck_assert_mem_eq(value, want, len);
	ck_assert(find("d", &st));
	ck_assert_int_eq(erofs_image_getxattr(image, &st, "system.posix_acl_default", &value, &len),
			 0);
	ck_assert_mem_eq(value, want, sizeof(want));
	ck_assert_str_eq(xattr("plain", "system.posix_acl_access"), "(none)");
	static const char *const wrong[] = {
		"user::rwx",
		"user::rwx,group::r-x,other::---,user:bob:r--,mask::r--",
		"user::rwx,group::r-x,other::---,user:5:r--",
		"user::rwz,group::r-x,other::---",
		"rubbish",
	};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		again();
		tm_pax1(&tar, 'x', "SCHILY.acl.access", wrong[i]);
		tm_line(&tar, "f a");
		refused("ACL");
	}
}
END_TEST

/* A member of PAX 1.0 with this map in front of this data. */
static void sparse10(const char *map, const char *data, const char *size)
{
	struct strbuf r CLEANUP(strbuf_release) = STRBUF_INIT;
	struct tar_header *h;

	tm_record(&r, "GNU.sparse.major", "1", 1);
	tm_record(&r, "GNU.sparse.minor", "0", 1);
	tm_record(&r, "GNU.sparse.name", "sparse", 6);
	tm_record(&r, "GNU.sparse.realsize", size, strlen(size));
	tm_pax(&tar, 'x', &r);
	h = tm_header(&tar, '0', "GNUSparseFile.0/sparse");
	tm_octal(h->size, 12, 512 + strlen(data));
	tm_seal(h);
	tm_data(&tar, map, strlen(map));
	tm_data(&tar, data, strlen(data));
}

START_TEST(sparse_pax)
{
	struct strbuf r CLEANUP(strbuf_release) = STRBUF_INIT;
	struct tar_header *h;

	sparse10("2\n1000\n5\n4000\n3\n", "helloend", "5000");
	tm_line(&tar, "f behind=here");
	accepted();
	ck_assert_str_eq(show("sparse"), "reg 644 1:2 7 size=5000");
	ck_assert_str_eq(content("sparse") + 1000, "hello");
	ck_assert_str_eq(content("sparse") + 4000, "end");
	ck_assert_int_eq(content("sparse")[999], 0);
	ck_assert_str_eq(content("behind"), "here");
	ck_assert_uint_eq(result.side_size, 5120);
	again();
	sparse10("1\n5000\n0\n", "", "5000");
	accepted();
	ck_assert_str_eq(show("sparse"), "reg 644 1:2 7 size=5000");
	ck_assert_int_eq(content("sparse")[4999], 0);
	again();
	/* 0.1 */
	tm_record(&r, "GNU.sparse.size", "3000", 4);
	tm_record(&r, "GNU.sparse.numblocks", "2", 1);
	tm_record(&r, "GNU.sparse.map", "10,2,2000,2", 11);
	tm_pax(&tar, 'x', &r);
	h = tm_header(&tar, '0', "a");
	tm_octal(h->size, 12, 4);
	tm_seal(h);
	tm_data(&tar, "abcd", 4);
	accepted();
	ck_assert_str_eq(content("a") + 10, "ab");
	ck_assert_str_eq(content("a") + 2000, "cd");
	again();
	/* 0.0 */
	strbuf_reset(&r);
	tm_record(&r, "GNU.sparse.size", "3000", 4);
	tm_record(&r, "GNU.sparse.numblocks", "2", 1);
	tm_record(&r, "GNU.sparse.offset", "10", 2);
	tm_record(&r, "GNU.sparse.numbytes", "2", 1);
	tm_record(&r, "GNU.sparse.offset", "2000", 4);
	tm_record(&r, "GNU.sparse.numbytes", "2", 1);
	tm_pax(&tar, 'x', &r);
	h = tm_header(&tar, '0', "a");
	tm_octal(h->size, 12, 4);
	tm_seal(h);
	tm_data(&tar, "abcd", 4);
	accepted();
	ck_assert_str_eq(content("a") + 2000, "cd");

	static const struct {
		const char *map, *data, *size, *why;
	} wrong[] = {
		{"2\n1000\n5\n1002\n3\n", "helloend", "5000", "overlaps"},
		{"2\n1000\n5\n10\n3\n", "helloend", "5000", "overlaps"},
		{"1\n4999\n5\n", "hello", "5000", "overlaps"},
		{"1\n18446744073709551615\n5\n", "hello", "5000", "overlaps"},
		{"1\n1000\n4\n", "hello", "5000", "does not match"},
		{"x", "hello", "5000", "no number"},
		{"3\n1\n", "hello", "5000", "no number"},
		{"99999999999999999999\n", "hello", "5000", "out of range"},
		{"99999999\n", "hello", "5000", "more than"},
	};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		again();
		sparse10(wrong[i].map, wrong[i].data, wrong[i].size);
		refused(wrong[i].why);
	}
}
END_TEST

START_TEST(sparse_gnu)
{
	struct tar_gnu_sparse_block more;
	struct tar_header *h = tm_header(&tar, 'S', "a");

	memset(&more, 0, sizeof(more));
	memcpy(h->magic, "ustar  ", 8);
	tm_octal(h->size, 12, 10);
	tm_octal(h->u.gnu.realsize, 12, 8000);
	for (unsigned int i = 0; i < 4; i++) {
		tm_octal(h->u.gnu.sparse[i].offset, 12, i * 1000);
		tm_octal(h->u.gnu.sparse[i].len, 12, 2);
	}
	h->u.gnu.is_extended = 1;
	tm_seal(h);
	tm_octal(more.sparse[0].offset, 12, 7000);
	tm_octal(more.sparse[0].len, 12, 2);
	ck_assert_int_eq(strbuf_add(&tar, &more, sizeof(more)), 0);
	tm_data(&tar, "aabbccddee", 10);
	tm_line(&tar, "f b=after");
	accepted();
	ck_assert_str_eq(show("a"), "reg 644 1:2 7 size=8000");
	ck_assert_str_eq(content("a"), "aa");
	ck_assert_str_eq(content("a") + 3000, "dd");
	ck_assert_str_eq(content("a") + 7000, "ee");
	ck_assert_str_eq(content("b"), "after");
}
END_TEST

static void gzip_member(const void *data, size_t len)
{
	z_stream z = {.next_in = (Bytef *)(uintptr_t)data, .avail_in = (uInt)len};
	size_t bound = len + len / 100 + 1024;

	ck_assert_int_eq(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
	ck_assert_int_eq(strbuf_reserve(&blob, bound), 0);
	z.next_out = (Bytef *)blob.s + blob.len;
	z.avail_out = (uInt)bound;
	ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
	blob.len += z.total_out;
	deflateEnd(&z);
}

static void zstd_frame(const void *data, size_t len)
{
	size_t bound = ZSTD_compressBound(len), n;

	ck_assert_int_eq(strbuf_reserve(&blob, bound), 0);
	n = ZSTD_compress(blob.s + blob.len, bound, data, len, 1);
	ck_assert(!ZSTD_isError(n));
	blob.len += n;
}

static void make_tar(void)
{
	char line[200];

	for (int i = 0; i < 3000; i++) {
		snprintf(line, sizeof(line), "f dir%d/file%d=some content %d, and some more %d",
			 i % 7, i, i * 7919, i * 104729);
		tm_line(&tar, line);
	}
	tm_end(&tar);
}

static void compressed_ok(void)
{
	int r = run_blob();

	ck_assert_msg(r == 0, "%s", err.msg);
	ck_assert_str_eq(content("dir1/file1"), "some content 7919, and some more 104729");
}

static void compressed_bad(const char *why)
{
	ck_assert_int_eq(run_blob(), -EBADMSG);
	ck_assert_msg(strstr(err.msg, why), "'%s' is not in '%s'", why, err.msg);
}

START_TEST(gzip)
{
	const size_t half = 700001;

	for (int i = 0; i < 12; i++) {
		again();
		make_tar();
		layer.compression = OCI_GZIP;
		if (i == 1) { /* two members */
			gzip_member(tar.s, half);
			gzip_member(tar.s + half, tar.len - half);
		} else {
			gzip_member(tar.s, tar.len);
		}
		switch (i) {
		case 2: /* padding */
			for (int k = 0; k < 1000; k++)
				ck_assert_int_eq(strbuf_addc(&blob, '\0'), 0);
			break;
		case 3:
			ck_assert_int_eq(strbuf_adds(&blob, "x"), 0);
			compressed_bad("behind the end");
			continue;
		case 4:
			ck_assert_int_eq(strbuf_add(&blob, "\0\0\0x", 4), 0);
			compressed_bad("behind the padding");
			continue;
		case 5: /* padding between members */
			ck_assert_int_eq(strbuf_addc(&blob, '\0'), 0);
			gzip_member("", 0);
			compressed_bad("behind the padding");
			continue;
		case 6:
			strbuf_truncate(&blob, blob.len - 1);
			compressed_bad("truncated");
			continue;
		case 7:
			blob.s[blob.len - 6] ^= 1;
			compressed_bad("checksum");
			continue;
		case 8:
			blob.s[blob.len - 1] ^= 1; /* the length in the trailer */
			compressed_bad("checksum");
			continue;
		case 9:
			blob.s[3] = '\x80';
			compressed_bad("reserved");
			continue;
		case 10:
			blob.s[0] = 'x';
			compressed_bad("not gzip");
			continue;
		case 11:
			strbuf_truncate(&blob, 5);
			compressed_bad("truncated");
			continue;
		default:
			break;
		}
		compressed_ok();
	}
	again();
	layer.compression = OCI_GZIP;
	compressed_bad("truncated");
	again();
	/* what a header may have: extra field, name, comment, checksum of the header */
	layer.compression = OCI_GZIP;
	make_tar();
	gzip_member(tar.s, tar.len);
	{
		struct strbuf with CLEANUP(strbuf_release) = STRBUF_INIT;
		uint32_t crc;

		ck_assert_int_eq(strbuf_add(&with,
					    "\x1f\x8b\x08\x1e\0\0\0\0\0\x03\3\0xyzname\0"
					    "comment",
					    10 + 5 + 5 + 8),
				 0);
		crc = (uint32_t)crc32(0, (const Bytef *)with.s, (uInt)with.len) & 0xffff;
		ck_assert_int_eq(strbuf_addc(&with, (char)(crc & 0xff)), 0);
		ck_assert_int_eq(strbuf_addc(&with, (char)(crc >> 8)), 0);
		ck_assert_int_eq(strbuf_add(&with, blob.s + 10, blob.len - 10), 0);
		strbuf_reset(&blob);
		ck_assert_int_eq(strbuf_add(&blob, with.s, with.len), 0);
	}
	compressed_ok();
	{
		char *header_crc = blob.s + 28;

		*header_crc ^= 1;
	}
	memset(&layer.desc.digest, 0, sizeof(layer.desc.digest));
	compressed_bad("header checksum");
}
END_TEST

START_TEST(zstandard)
{
	static const char skippable[] = "\x50\x2a\x4d\x18\x04\0\0\0skip";

	for (int i = 0; i < 7; i++) {
		again();
		make_tar();
		layer.compression = OCI_ZSTD;
		if (i == 1)
			ck_assert_int_eq(strbuf_add(&blob, skippable, 12), 0);
		zstd_frame(tar.s, 5000);
		zstd_frame(tar.s + 5000, tar.len - 5000);
		switch (i) {
		case 2:
			strbuf_truncate(&blob, blob.len - 1);
			compressed_bad("truncated");
			continue;
		case 3:
			ck_assert_int_eq(strbuf_adds(&blob, "trailing"), 0);
			compressed_bad("zstd:");
			continue;
		case 4:
			ck_assert_int_eq(strbuf_add(&blob, "\0\0\0\0", 4), 0);
			compressed_bad("zstd:");
			continue;
		case 5: /* what the media type says is what counts */
			layer.compression = OCI_GZIP;
			compressed_bad("not gzip");
			continue;
		case 6: /* a window of 256 MiB */
			strbuf_reset(&blob);
			ck_assert_int_eq(strbuf_add(&blob, "\x28\xb5\x2f\xfd\x00\x90\x01\0\0", 9),
					 0);
			compressed_bad("zstd:");
			continue;
		default:
			break;
		}
		compressed_ok();
	}
}
END_TEST

START_TEST(digests)
{
	make_tar();
	layer.desc.size = tar.len + 1;
	refused("only");
	again();
	make_tar();
	layer.desc.size = tar.len - 1;
	refused("more than");
	again();
	make_tar();
	ck_assert_int_eq(digest_buffer(DIGEST_SHA256, "x", 1, &layer.desc.digest), 0);
	refused("digest does not match");
	again();
	make_tar();
	ck_assert_int_eq(digest_buffer(DIGEST_SHA256, "x", 1, &layer.diff_id), 0);
	refused("diff id does not match");
	again();
	make_tar();
	ck_assert_int_eq(digest_buffer(DIGEST_SHA512, tar.s, tar.len, &layer.diff_id), 0);
	ck_assert_int_eq(digest_buffer(DIGEST_SHA512, tar.s, tar.len, &layer.desc.digest), 0);
	accepted();
	ck_assert_int_eq(strncmp(result.tar.text, "sha256:", 7), 0);
	again();
	/* another blob is the reason, not what is wrong inside it */
	tm_line(&tar, "f .wh.");
	ck_assert_int_eq(digest_buffer(DIGEST_SHA256, "x", 1, &layer.desc.digest), 0);
	refused("digest does not match");
}
END_TEST

START_TEST(budgets)
{
	static const char *const each[] = {"bytes=1K", "entries=100", "header-bytes=10", "depth=1",
					   "meta-bytes=50"};

	for (size_t i = 0; i < sizeof(each) / sizeof(each[0]); i++) {
		char name[40];

		again();
		ck_assert_int_eq(oci_limits_set(&limits, each[i], &err), 0);
		tm_gnu(&tar, 'L', "some/long/name/with/some/words");
		tm_line(&tar, "f x=data");
		make_tar();
		snprintf(name, sizeof(name), "'%.*s'", (int)strcspn(each[i], "="), each[i]);
		refused(name);
		ck_assert_int_eq(err.code, -E2BIG);
		ck_assert_ptr_nonnull(strstr(err.hint, "--limit "));
	}
	ck_assert_int_eq(oci_limits_set(&limits, "bytes=0", &err), -EINVAL);
	ck_assert_int_eq(oci_limits_set(&limits, "bytes=x", &err), -EINVAL);
	ck_assert_int_eq(oci_limits_set(&limits, "nonsense=1", &err), -EINVAL);
	ck_assert_int_eq(oci_limits_set(&limits, "bytes", &err), -EINVAL);
	/* no more than libarchive reads */
	ck_assert_int_eq(oci_limits_set(&limits, "header-bytes=1MiB", &err), 0);
	ck_assert_int_eq(oci_limits_set(&limits, "header-bytes=1048577", &err), -EINVAL);
	ck_assert_int_eq(oci_limits_set(&limits, "bytes=2GiB", &err), 0);
	ck_assert_uint_eq(limits.bytes, 2ULL << 30);
}
END_TEST

/* More than 1 GiB of zeros out of a few kilobytes: only then is a ratio looked at. */
START_TEST(bomb)
{
	const size_t chunk = 1 << 20, chunks = 1100;
	char *zeros = calloc(1, chunk);
	struct tar_header *h = tm_header(&tar, '0', "zeros");

	tm_octal(h->size, sizeof(h->size), chunk * chunks);
	tm_seal(h);
	layer.compression = OCI_ZSTD;
	zstd_frame(tar.s, tar.len);
	for (size_t i = 0; i < chunks; i++)
		zstd_frame(zeros, chunk);
	free(zeros);
	close(data_fd);
	data_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	ck_assert_int_eq(run_blob(), -E2BIG);
	ck_assert_ptr_nonnull(strstr(err.msg, "'ratio'"));
}
END_TEST

/* Paths that cost much to resolve end in an error, not in hours. */
START_TEST(costly_paths)
{
	char name[4096], line[64];

	for (size_t i = 0; i + 1 < sizeof(name); i++)
		name[i] = i % 2 ? '/' : 'd';
	name[2000] = '\0';
	for (int i = 0; i < 39; i++) {
		struct strbuf target CLEANUP(strbuf_release) = STRBUF_INIT;

		/* down 500 directories and up again, then to the next symlink */
		for (int k = 0; k < 500; k++)
			ck_assert_int_eq(strbuf_adds(&target, "d/"), 0);
		for (int k = 0; k < 500; k++)
			ck_assert_int_eq(strbuf_adds(&target, "../"), 0);
		ck_assert_int_eq(strbuf_addf(&target, "l%d", i + 1), 0);
		tm_gnu(&tar, 'K', target.s);
		snprintf(line, sizeof(line), "s l%d -> x", i);
		tm_line(&tar, line);
	}
	tm_gnu(&tar, 'L', name);
	tm_line(&tar, "d x");
	tm_line(&tar, "f l38/ok");
	tm_line(&tar, "f l0/never");
	refused("too many directories");
	ck_assert_ptr_nonnull(strstr(err.where, "l0/never"));
}
END_TEST

START_TEST(cancelling)
{
	_Atomic bool cancel = true;
	struct oci_layer_job job = {.layer = &layer,
				    .data_fd = data_fd,
				    .side_fd = side_fd,
				    .index_fd = index_fd,
				    .copy_fd = -1,
				    .cancel = &cancel};
	int fd cleanup_close = memfd_create("blob", MFD_CLOEXEC);

	make_tar();
	ck_assert_int_eq(io_write_full(fd, tar.s, tar.len), 0);
	ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
	job.blob_fd = fd;
	layer.desc.size = tar.len;
	ck_assert_int_eq(digest_buffer(DIGEST_SHA256, tar.s, tar.len, &layer.desc.digest), 0);
	layer.diff_id = layer.desc.digest;
	ck_assert_int_eq(oci_layer_in(&job, &result, &err), -ECANCELED);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("oci_layer_in");
	TCase *t = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, good_layers, 0, (int)(sizeof(good) / sizeof(good[0])));
	tcase_add_loop_test(t, bad_layers, 0, (int)(sizeof(bad) / sizeof(bad[0])));
	tcase_add_test(t, empty_layers);
	tcase_add_test(t, ends);
	tcase_add_test(t, numbers);
	tcase_add_test(t, times);
	tcase_add_test(t, types);
	tcase_add_test(t, names);
	tcase_add_test(t, headers);
	tcase_add_test(t, two_readers);
	tcase_add_test(t, xattrs);
	tcase_add_test(t, acls);
	tcase_add_test(t, sparse_pax);
	tcase_add_test(t, sparse_gnu);
	tcase_add_test(t, gzip);
	tcase_add_test(t, zstandard);
	tcase_add_test(t, digests);
	tcase_add_test(t, budgets);
	tcase_add_test(t, bomb);
	tcase_add_test(t, costly_paths);
	tcase_add_test(t, cancelling);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
