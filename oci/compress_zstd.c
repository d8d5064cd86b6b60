/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <zstd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "oci/compress_private.h"

struct zstd {
	struct oci_compress base;
	ZSTD_CCtx *cctx;
	void *out;
	size_t out_size;
};

static int run(struct zstd *z, const void *data, size_t len, ZSTD_EndDirective end, struct err *err)
{
	ZSTD_inBuffer in = {data, len, 0};
	size_t left;
	int r;

	do {
		ZSTD_outBuffer out = {z->out, z->out_size, 0};

		left = ZSTD_compressStream2(z->cctx, &out, &in, end);
		if (ZSTD_isError(left))
			return err_msg(err, -EIO, "zstd: %s", ZSTD_getErrorName(left));
		if (out.pos > 0) {
			r = z->base.sink(z->base.ctx, z->out, out.pos, err);
			if (r)
				return r;
		}
	} while (in.pos < in.size || (end == ZSTD_e_end && left > 0));
	return 0;
}

static int zstd_write(struct oci_compress *c, const void *data, size_t len, struct err *err)
{
	return run((struct zstd *)c, data, len, ZSTD_e_continue, err);
}

static int zstd_finish(struct oci_compress *c, struct err *err)
{
	return run((struct zstd *)c, NULL, 0, ZSTD_e_end, err);
}

static void zstd_free(struct oci_compress *c)
{
	struct zstd *z = (struct zstd *)c;

	(void)ZSTD_freeCCtx(z->cctx);
	free(z->out);
	free(z);
}

static const struct oci_compress_ops zstd_ops = {zstd_write, zstd_finish, zstd_free};

int oci_compress_zstd_new(int level, unsigned int threads, struct oci_compress **ret,
			  struct err *err)
{
	struct zstd *z = calloc(1, sizeof(*z));

	if (!z)
		return err_set(err, -ENOMEM, "start zstd");
	z->base.ops = &zstd_ops;
	z->out_size = ZSTD_CStreamOutSize();
	z->out = malloc(z->out_size);
	z->cctx = ZSTD_createCCtx();
	if (!z->out || !z->cctx) {
		zstd_free(&z->base);
		return err_set(err, -ENOMEM, "start zstd");
	}
	if (ZSTD_isError(ZSTD_CCtx_setParameter(z->cctx, ZSTD_c_compressionLevel, level)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(z->cctx, ZSTD_c_checksumFlag, 1))) {
		zstd_free(&z->base);
		return err_msg(err, -EINVAL, "zstd refuses level %d", level);
	}
	/*
	 * Never 0 workers: that is another algorithm with other bytes. Any number from 1 on gives
	 * the same ones.
	 */
	if (ZSTD_isError(ZSTD_CCtx_setParameter(z->cctx, ZSTD_c_nbWorkers, (int)threads)))
		log_info("zstd: this library was built without threads");
	*ret = &z->base;
	return 0;
}
