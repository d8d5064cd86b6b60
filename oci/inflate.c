/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/inflate.h"

#include <errno.h>
#include <isa-l/crc.h>
#include <isa-l/igzip_lib.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

/* RFC 1952, 2.3.1 */
enum gzip_flags {
	GZ_HCRC = 1 << 1,
	GZ_EXTRA = 1 << 2,
	GZ_NAME = 1 << 3,
	GZ_COMMENT = 1 << 4,
	GZ_RESERVED = 0xe0,
};

enum gzip_state {
	GZ_FIXED, /* the ten bytes every member starts with */
	GZ_XLEN,
	GZ_XDATA,
	GZ_NAME_TEXT,
	GZ_COMMENT_TEXT,
	GZ_CRC16,
	GZ_BODY, /* deflate, and the trailer */
	GZ_BETWEEN, /* behind a member */
	GZ_PADDING, /* zeros to the end */
};

struct oci_inflate {
	enum oci_compression compression;
	/* gzip */
	enum gzip_state state;
	bool any; /* a byte has been seen */
	uint8_t flags;
	uint8_t fixed[10]; /* also what other small fields are gathered in */
	size_t have;
	size_t skip; /* of the extra field */
	uint32_t header_crc;
	struct inflate_state isal;
	/* zstd */
	ZSTD_DCtx *zstd;
	bool in_frame;
};

struct oci_inflate *oci_inflate_new(enum oci_compression compression)
{
	struct oci_inflate *z = calloc(1, sizeof(*z));

	if (!z)
		return NULL;
	z->compression = compression;
	if (compression == OCI_ZSTD) {
		z->zstd = ZSTD_createDCtx();
		if (!z->zstd || ZSTD_isError(ZSTD_DCtx_setParameter(z->zstd, ZSTD_d_windowLogMax,
								    OCI_ZSTD_WINDOW_LOG_MAX))) {
			oci_inflate_free(z);
			return NULL;
		}
	}
	return z;
}

void oci_inflate_free(struct oci_inflate *z)
{
	if (!z)
		return;
	ZSTD_freeDCtx(z->zstd);
	free(z);
}

static void start_body(struct oci_inflate *z)
{
	isal_inflate_init(&z->isal);
	z->isal.crc_flag = ISAL_GZIP_NO_HDR_VER; /* raw deflate, then CRC and length checked */
	z->state = GZ_BODY;
}

/* What comes after the field that @z->state was in. */
static void next_field(struct oci_inflate *z)
{
	z->have = 0;
	switch (z->state) {
	case GZ_FIXED:
		z->state = GZ_XLEN;
		if (z->flags & GZ_EXTRA)
			return;
		__attribute__((fallthrough));
	case GZ_XLEN:
	case GZ_XDATA:
		z->state = GZ_NAME_TEXT;
		if (z->flags & GZ_NAME)
			return;
		__attribute__((fallthrough));
	case GZ_NAME_TEXT:
		z->state = GZ_COMMENT_TEXT;
		if (z->flags & GZ_COMMENT)
			return;
		__attribute__((fallthrough));
	case GZ_COMMENT_TEXT:
		z->state = GZ_CRC16;
		if (z->flags & GZ_HCRC)
			return;
		__attribute__((fallthrough));
	case GZ_CRC16:
	case GZ_BODY:
	case GZ_BETWEEN:
	case GZ_PADDING:
		start_body(z);
		return;
	}
}

static int check_fixed(struct oci_inflate *z, struct err *err)
{
	if (z->fixed[0] != 0x1f || z->fixed[1] != 0x8b)
		return err_msg(err, -EBADMSG, "gzip: the bytes are not gzip");
	if (z->fixed[2] != 8)
		return err_msg(err, -EBADMSG, "gzip: unknown method %u", z->fixed[2]);
	if (z->fixed[3] & GZ_RESERVED)
		return err_msg(err, -EBADMSG, "gzip: reserved flags are set");
	z->flags = z->fixed[3];
	return 0;
}

/* One byte of a header. Headers are short: no need to be fast. */
static int gzip_header_byte(struct oci_inflate *z, uint8_t c, struct err *err)
{
	if (z->state != GZ_CRC16)
		z->header_crc = crc32_gzip_refl(z->header_crc, &c, 1);
	switch (z->state) {
	case GZ_FIXED:
		z->fixed[z->have++] = c;
		/* the magic at once: what is no gzip may be shorter than a header */
		if (z->have <= 2 && c != (z->have == 1 ? 0x1f : 0x8b))
			return err_msg(err, -EBADMSG, "gzip: the bytes are not gzip");
		if (z->have == sizeof(z->fixed)) {
			int r = check_fixed(z, err);

			if (r < 0)
				return r;
			next_field(z);
		}
		return 0;
	case GZ_XLEN:
		z->fixed[z->have++] = c;
		if (z->have == 2) {
			z->skip = (size_t)z->fixed[0] | (size_t)z->fixed[1] << 8;
			z->state = GZ_XDATA;
			if (z->skip == 0)
				next_field(z);
		}
		return 0;
	case GZ_XDATA:
		if (--z->skip == 0)
			next_field(z);
		return 0;
	case GZ_NAME_TEXT:
	case GZ_COMMENT_TEXT:
		if (c == 0)
			next_field(z);
		return 0;
	case GZ_CRC16:
		z->fixed[z->have++] = c;
		if (z->have == 2) {
			if ((z->header_crc & 0xffff) !=
			    ((uint32_t)z->fixed[0] | (uint32_t)z->fixed[1] << 8))
				return err_msg(err, -EBADMSG, "gzip: bad header checksum");
			next_field(z);
		}
		return 0;
	case GZ_BODY:
	case GZ_BETWEEN:
	case GZ_PADDING:
		break;
	}
	return -EINVAL;
}

static int gzip_body(struct oci_inflate *z, struct oci_inflate_io *io, struct err *err)
{
	/* igzip counts in 32 bits */
	uint32_t in = io->in_len > 1u << 30 ? 1u << 30 : (uint32_t)io->in_len;
	uint32_t out = io->out_len > 1u << 30 ? 1u << 30 : (uint32_t)io->out_len;
	int r;

	z->isal.next_in = (uint8_t *)(uintptr_t)io->in; /* not written to, whatever its type says */
	z->isal.avail_in = in;
	z->isal.next_out = io->out;
	z->isal.avail_out = out;
	r = isal_inflate(&z->isal);
	io->in += in - z->isal.avail_in;
	io->in_len -= in - z->isal.avail_in;
	io->out += out - z->isal.avail_out;
	io->out_len -= out - z->isal.avail_out;
	if (r == ISAL_INCORRECT_CHECKSUM)
		return err_msg(err, -EBADMSG, "gzip: bad checksum");
	if (r < 0)
		return err_msg(err, -EBADMSG, "gzip: bad data");
	if (z->isal.block_state == ISAL_BLOCK_FINISH)
		z->state = GZ_BETWEEN;
	return 0;
}

static int gzip_step(struct oci_inflate *z, struct oci_inflate_io *io, struct err *err)
{
	int r = 0;

	if (io->in_len)
		z->any = true;
	/* a body may still have output when its input is used up */
	while (r == 0 && (io->in_len > 0 || z->state == GZ_BODY)) {
		if (z->state == GZ_BODY) {
			r = gzip_body(z, io, err);
			if (io->out_len == 0 || (io->in_len == 0 && z->state == GZ_BODY))
				break;
			continue;
		}
		if (z->state == GZ_BETWEEN) {
			if (*io->in == 0) {
				z->state = GZ_PADDING;
				continue;
			}
			z->state = GZ_FIXED;
			z->have = 0;
			z->header_crc = 0;
			if (*io->in != 0x1f)
				return err_msg(err, -EBADMSG, "gzip: bytes behind the end");
		}
		if (z->state == GZ_PADDING) {
			if (*io->in != 0)
				return err_msg(err, -EBADMSG, "gzip: bytes behind the padding");
		} else {
			r = gzip_header_byte(z, *io->in, err);
		}
		io->in++;
		io->in_len--;
	}
	return r;
}

static int zstd_step(struct oci_inflate *z, struct oci_inflate_io *io, struct err *err)
{
	ZSTD_inBuffer in = {.src = io->in, .size = io->in_len};
	ZSTD_outBuffer out = {.dst = io->out, .size = io->out_len};
	int r = 0;

	if (io->in_len)
		z->any = true;
	while (out.pos < out.size && (in.pos < in.size || z->in_frame)) {
		size_t in_pos = in.pos, out_pos = out.pos;
		size_t n = ZSTD_decompressStream(z->zstd, &out, &in);

		if (ZSTD_isError(n)) {
			r = err_msg(err, -EBADMSG, "zstd: %s", ZSTD_getErrorName(n));
			break;
		}
		z->in_frame = n != 0;
		if (in.pos == in_pos && out.pos == out_pos)
			break;
	}
	io->in += in.pos;
	io->in_len -= in.pos;
	io->out += out.pos;
	io->out_len -= out.pos;
	return r;
}

int oci_inflate_step(struct oci_inflate *z, struct oci_inflate_io *io, struct err *err)
{
	size_t n;

	switch (z->compression) {
	case OCI_GZIP:
		return gzip_step(z, io, err);
	case OCI_ZSTD:
		return zstd_step(z, io, err);
	case OCI_PLAIN:
		break;
	}
	n = io->in_len < io->out_len ? io->in_len : io->out_len;
	if (n)
		memcpy(io->out, io->in, n);
	io->in += n;
	io->in_len -= n;
	io->out += n;
	io->out_len -= n;
	return 0;
}

int oci_inflate_finish(const struct oci_inflate *z, struct err *err)
{
	if (z->compression == OCI_GZIP && z->state != GZ_BETWEEN && z->state != GZ_PADDING)
		return err_msg(err, -EBADMSG, "gzip: truncated");
	if (z->compression == OCI_ZSTD && (z->in_frame || !z->any))
		return err_msg(err, -EBADMSG, "zstd: truncated");
	return 0;
}
