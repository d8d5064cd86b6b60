/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/json.h"
#include "snapshotter/lazy_private.h"

/* The file `source` of a lazy layer: what its blob is, and where it comes from. */
#define SOURCE_MAX (1u << 20)

int lazy_source_write(int dir, const struct oci_layer_ref *layer, const struct lazy_source *s,
		      struct err *err)
{
	struct strbuf text CLEANUP(strbuf_release) = STRBUF_INIT;
	struct json_writer *w = json_writer_new(JSON_PRETTY);
	int fd cleanup_close = -1, r;

	json_w_object(w);
	json_w_key(w, "blob");
	json_w_string(w, layer->desc.digest.text);
	json_w_key(w, "size");
	json_w_uint(w, layer->desc.size);
	json_w_key(w, "sources");
	json_w_array(w);
	json_w_object(w);
	json_w_key(w, "spec");
	json_w_string(w, s->spec);
	json_w_key(w, "insecure");
	json_w_bool(w, s->insecure);
	json_w_key(w, "authfile");
	json_w_string(w, s->authfile);
	json_w_end(w);
	json_w_end(w);
	json_w_end(w);
	r = json_writer_finish(w, &text);
	if (r < 0)
		return err_set(err, r, "write 'source'");
	fd = openat(dir, "source", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(err, -errno, "write 'source'");
	r = io_write_full(fd, text.s, text.len);
	if (r == 0 && fdatasync(fd) < 0)
		r = -errno;
	return r < 0 ? err_set(err, r, "write 'source'") : 0;
}

static int read_place(const struct json *v, struct lazy_place *p, struct err *err)
{
	const char *spec = json_string(json_get(v, "spec"));
	const char *authfile = json_string(json_get(v, "authfile"));

	if (!spec)
		return err_msg(err, -EBADMSG, "'source' has no place");
	p->spec = strdup(spec);
	p->authfile = authfile ? strdup(authfile) : NULL;
	p->insecure = json_bool(json_get(v, "insecure"), false);
	return p->spec && (!authfile || p->authfile) ? 0 : err_set(err, -ENOMEM, "'source'");
}

int lazy_source_read(int dir, struct lazy_layer *l, struct err *err)
{
	struct json *doc cleanup_json = NULL;
	char *text cleanup_free = NULL;
	const struct json *list;
	const char *digest;
	size_t len = 0;
	int64_t size = 0;
	int r = io_read_file(dir, "source", SOURCE_MAX, &text, &len);

	if (r < 0)
		return err_set(err, r, "read 'source'");
	r = json_parse(text, len, &doc, err);
	if (r < 0)
		return r;
	digest = json_string(json_get(doc, "blob"));
	if (!digest || digest_parse(digest, &l->desc.digest) < 0 ||
	    json_int(json_get(doc, "size"), &size) < 0 || size <= 0)
		return err_msg(err, -EBADMSG, "'source' does not say what the blob is");
	l->desc.size = (uint64_t)size;
	list = json_get(doc, "sources");
	for (size_t i = 0; r == 0 && i < json_len(list) && l->n_places < LAZY_SOURCES_MAX; i++)
		r = read_place(json_at(list, i), &l->places[l->n_places++], err);
	if (r == 0 && l->n_places == 0)
		r = err_msg(err, -EBADMSG, "'source' has no place");
	return r;
}

static int open_place(struct lazy_layer *l, struct lazy_place *p, struct oci_source **ret,
		      struct err *err)
{
	const struct oci_remote remote = {.insecure = p->insecure, .authfile = p->authfile};
	int r = 0;

	(void)pthread_mutex_lock(&l->open_lock);
	if (!p->source)
		r = oci_source_open(p->spec, &remote, &p->source, err);
	*ret = p->source;
	(void)pthread_mutex_unlock(&l->open_lock);
	return r;
}

int lazy_fetch(struct lazy_layer *l, const struct oci_range *want, size_t place, struct err *err)
{
	struct oci_source *src;
	int r = open_place(l, &l->places[place], &src, err);

	if (r == 0)
		r = oci_source_range(src, &l->desc, want, err);
	return r < 0 ? err_wrap(err, r, "'%s'", l->places[place].spec) : 0;
}
