/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/compress.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "oci/compress_private.h"

/* More than this keeps no disk and no hash busy. */
#define THREADS_MAX 32

static int plain_write(struct oci_compress *c, const void *data, size_t len, struct err *err)
{
	return c->sink(c->ctx, data, len, err);
}

static int plain_finish(struct oci_compress *c, struct err *err)
{
	(void)c;
	(void)err;
	return 0;
}

static void plain_free(struct oci_compress *c)
{
	free(c);
}

static const struct oci_compress_ops plain_ops = {plain_write, plain_finish, plain_free};

static unsigned int cpus(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set))
		return 1;
	return (unsigned int)CPU_COUNT(&set);
}

int oci_compress_new(enum oci_compression how, int level, unsigned int threads,
		     oci_compress_sink_fn sink, void *ctx, struct oci_compress **ret,
		     struct err *err)
{
	static const struct {
		const char *name;
		int usual, max;
	} levels[] = {
		[OCI_PLAIN] = {"none", 0, 0},
		[OCI_GZIP] = {"gzip", 6, 12},
		[OCI_ZSTD] = {"zstd", 3, 22},
	};
	struct oci_compress *c = NULL;
	int r = 0;

	if (level < 0 || level > levels[how].max)
		return err_msg(err, -EINVAL, "compression level %d: %s has 1 to %d", level,
			       levels[how].name, levels[how].max);
	if (level == 0)
		level = levels[how].usual;
	if (threads == 0)
		threads = cpus();
	if (threads > THREADS_MAX)
		threads = THREADS_MAX;
	switch (how) {
	case OCI_PLAIN:
		c = calloc(1, sizeof(*c));
		if (!c)
			return err_set(err, -ENOMEM, "start the compression");
		c->ops = &plain_ops;
		break;
	case OCI_GZIP:
		r = oci_compress_gzip_new(level, threads, &c, err);
		break;
	case OCI_ZSTD:
		r = oci_compress_zstd_new(level, threads, &c, err);
		break;
	}
	if (r)
		return r;
	c->sink = sink;
	c->ctx = ctx;
	*ret = c;
	return 0;
}

int oci_compress_write(struct oci_compress *c, const void *data, size_t len, struct err *err)
{
	return c->ops->write(c, data, len, err);
}

int oci_compress_finish(struct oci_compress *c, struct err *err)
{
	return c->ops->finish(c, err);
}

void oci_compress_free(struct oci_compress *c)
{
	if (c)
		c->ops->free(c);
}
