/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/build.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/strbuf.h"
#include "oci/change.h"
#include "oci/media.h"

struct build {
	const struct oci_build *in;
	const struct json *base; /* the older config; NULL: none */
	struct oci_changes changes;
	char created[40];
};

static int format_time(int64_t seconds, char *buf, size_t size, struct err *err)
{
	time_t t = (time_t)seconds;
	struct tm tm;

	/* RFC 3339, 1: four digits of a year, no more. */
	if (!gmtime_r(&t, &tm) || tm.tm_year < -1900 || tm.tm_year > 8099 ||
	    strftime(buf, size, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		return err_msg(err, -EINVAL, "time stamp %lld: not within the years 0 to 9999",
			       (long long)seconds);
	/* %Y does not pad; years before 1000 are nobody's business but must still parse. */
	if (tm.tm_year < -900)
		return err_msg(err, -EINVAL, "time stamp %lld: before the year 1000",
			       (long long)seconds);
	return 0;
}

static void write_strings(struct json_writer *w, const char *key, const struct oci_strings *l)
{
	json_w_key(w, key);
	json_w_array(w);
	for (size_t i = 0; i < l->n; i++)
		json_w_string(w, l->v[i]);
	json_w_end(w);
}

static bool has_key(const struct json *object, const char *key, size_t len)
{
	for (size_t i = 0; i < json_len(object); i++) {
		const char *k = json_key_at(object, i);

		if (k && strlen(k) == len && memcmp(k, key, len) == 0)
			return true;
	}
	return false;
}

/* Labels: the older ones in their order, with new values where there are, then the new ones. */
static void write_labels(struct json_writer *w, const struct json *old,
			 const struct oci_strings *labels)
{
	json_w_key(w, "Labels");
	json_w_object(w);
	for (size_t i = 0; i < json_len(old); i++) {
		const char *key = json_key_at(old, i), *value = NULL;
		size_t n = key ? strlen(key) : 0;

		if (!key)
			break;
		for (size_t k = 0; k < labels->n; k++)
			if (strncmp(labels->v[k], key, n) == 0 && labels->v[k][n] == '=')
				value = labels->v[k] + n + 1;
		json_w_key(w, key);
		if (value)
			json_w_string(w, value);
		else
			json_w_value(w, json_at(old, i));
	}
	for (size_t k = 0; k < labels->n; k++) {
		size_t n = strcspn(labels->v[k], "=");

		if (has_key(old, labels->v[k], n))
			continue;
		labels->v[k][n] = '\0';
		json_w_key(w, labels->v[k]);
		labels->v[k][n] = '=';
		json_w_string(w, labels->v[k] + n + 1);
	}
	json_w_end(w);
}

/* Ports and volumes are sets: objects whose members are empty objects. */
static void write_set(struct json_writer *w, const char *name, const struct json *old,
		      const struct oci_strings *more)
{
	json_w_key(w, name);
	json_w_object(w);
	for (size_t i = 0; i < json_len(old); i++) {
		const char *key = json_key_at(old, i);

		if (!key)
			break;
		json_w_key(w, key);
		json_w_value(w, json_at(old, i));
	}
	for (size_t i = 0; i < more->n; i++) {
		if (has_key(old, more->v[i], strlen(more->v[i])))
			continue;
		json_w_key(w, more->v[i]);
		json_w_object(w);
		json_w_end(w);
	}
	json_w_end(w);
}

enum member {
	MEMBER_USER,
	MEMBER_PORTS,
	MEMBER_ENV,
	MEMBER_ENTRYPOINT,
	MEMBER_CMD,
	MEMBER_VOLUMES,
	MEMBER_WORKDIR,
	MEMBER_LABELS,
	MEMBER_STOP_SIGNAL,
	MEMBERS,
};

static const char *const member_names[MEMBERS] = {"User",	"ExposedPorts", "Env",
						  "Entrypoint", "Cmd",		"Volumes",
						  "WorkingDir", "Labels",	"StopSignal"};

/* Was it changed? Then write_member() says what it is now, which may be nothing. */
static bool member_changed(const struct oci_changes *c, enum member m)
{
	switch (m) {
	case MEMBER_USER:
		return c->user != NULL;
	case MEMBER_PORTS:
		return c->ports.n > 0;
	case MEMBER_ENV:
		return c->env.n > 0;
	case MEMBER_ENTRYPOINT:
		return c->has_entrypoint;
	case MEMBER_CMD:
		/* A command was made for the entry point it came with: a new one takes it away. */
		return c->has_cmd || c->has_entrypoint;
	case MEMBER_VOLUMES:
		return c->volumes.n > 0;
	case MEMBER_WORKDIR:
		return c->workdir != NULL;
	case MEMBER_LABELS:
		return c->labels.n > 0;
	case MEMBER_STOP_SIGNAL:
		return c->stop_signal != NULL;
	case MEMBERS:
		break;
	}
	return false;
}

static void write_member(struct json_writer *w, const struct oci_changes *c, enum member m,
			 const struct json *old)
{
	switch (m) {
	case MEMBER_USER:
		json_w_key(w, "User");
		json_w_string(w, c->user);
		break;
	case MEMBER_PORTS:
		write_set(w, "ExposedPorts", old, &c->ports);
		break;
	case MEMBER_ENV:
		write_strings(w, "Env", &c->env);
		break;
	case MEMBER_ENTRYPOINT:
		if (c->entrypoint.n > 0)
			write_strings(w, "Entrypoint", &c->entrypoint);
		break;
	case MEMBER_CMD:
		if (c->cmd.n > 0)
			write_strings(w, "Cmd", &c->cmd);
		break;
	case MEMBER_VOLUMES:
		write_set(w, "Volumes", old, &c->volumes);
		break;
	case MEMBER_WORKDIR:
		json_w_key(w, "WorkingDir");
		json_w_string(w, c->workdir);
		break;
	case MEMBER_LABELS:
		write_labels(w, old, &c->labels);
		break;
	case MEMBER_STOP_SIGNAL:
		json_w_key(w, "StopSignal");
		json_w_string(w, c->stop_signal);
		break;
	case MEMBERS:
		break;
	}
}

/* What a container is started with: known members changed in place, all others as they were. */
static void write_execution(struct json_writer *w, const struct build *b)
{
	const struct json *old = json_get(b->base, "config");
	bool done[MEMBERS] = {false};

	json_w_object(w);
	for (size_t i = 0; i < json_len(old); i++) {
		const char *key = json_key_at(old, i);
		int m = 0;

		if (!key)
			break;
		while (m < MEMBERS && strcmp(member_names[m], key) != 0)
			m++;
		if (m < MEMBERS && member_changed(&b->changes, (enum member)m)) {
			write_member(w, &b->changes, (enum member)m, json_at(old, i));
			done[m] = true;
		} else {
			json_w_key(w, key);
			json_w_value(w, json_at(old, i));
		}
	}
	for (int m = 0; m < MEMBERS; m++)
		if (!done[m] && member_changed(&b->changes, (enum member)m))
			write_member(w, &b->changes, (enum member)m, NULL);
	json_w_end(w);
}

static void write_rootfs(struct json_writer *w, const struct build *b)
{
	const struct oci_build *in = b->in;

	json_w_object(w);
	json_w_key(w, "type");
	json_w_string(w, "layers");
	json_w_key(w, "diff_ids");
	json_w_array(w);
	for (size_t i = 0; in->base && i < in->base->n_layers; i++)
		json_w_string(w, in->base->layers[i].diff_id.text);
	if (in->layer)
		json_w_string(w, in->layer->diff_id.text);
	json_w_end(w);
	json_w_end(w);
}

static void write_history_line(struct json_writer *w, const struct build *b, const char *prefix,
			       const char *created_by, const char *comment, bool empty)
{
	struct strbuf text CLEANUP(strbuf_release) = STRBUF_INIT;

	json_w_object(w);
	json_w_key(w, "created");
	json_w_string(w, b->created);
	json_w_key(w, "created_by");
	json_w_string(w, strbuf_addf(&text, "%s%s", prefix, created_by) < 0 ? NULL : text.s);
	if (b->in->author) {
		json_w_key(w, "author");
		json_w_string(w, b->in->author);
	}
	if (comment) {
		json_w_key(w, "comment");
		json_w_string(w, comment);
	}
	if (empty) {
		json_w_key(w, "empty_layer");
		json_w_bool(w, true);
	}
	json_w_end(w);
}

/* A line for the layer, and one for each change of the configuration. */
static void write_history(struct json_writer *w, const struct build *b)
{
	const struct json *old = json_get(b->base, "history");
	const struct oci_build *in = b->in;

	bool own = in->layer || in->created_by || in->n_changes == 0;

	json_w_array(w);
	for (size_t i = 0; i < json_len(old); i++)
		json_w_value(w, json_at(old, i));
	if (own)
		write_history_line(w, b, "", in->created_by ? in->created_by : "snap commit",
				   in->message, !in->layer);
	/* docker and buildah have a line for each instruction, and this is how they begin */
	for (size_t i = 0; i < in->n_changes; i++)
		write_history_line(w, b, "/bin/sh -c #(nop) ", in->changes[i],
				   own || i + 1 < in->n_changes ? NULL : in->message, true);
	json_w_end(w);
}

static void write_created(struct json_writer *w, const struct build *b)
{
	json_w_string(w, b->created);
}

static void write_author(struct json_writer *w, const struct build *b)
{
	json_w_string(w, b->in->author);
}

static void write_os(struct json_writer *w, const struct build *b)
{
	json_w_string(w, b->in->platform.os);
}

static void write_architecture(struct json_writer *w, const struct build *b)
{
	json_w_string(w, b->in->platform.architecture);
}

static void write_variant(struct json_writer *w, const struct build *b)
{
	json_w_string(w, b->in->platform.variant);
}

/* The image configuration (image specification, config.md). */
static int write_config(const struct build *b, struct strbuf *out)
{
	const struct {
		const char *key;
		void (*write)(struct json_writer *w, const struct build *b);
		bool wanted; /* written new; otherwise only what the base has is kept */
	} members[] = {
		{"created", write_created, true},
		{"author", write_author, b->in->author != NULL},
		{"architecture", write_architecture, !b->base},
		{"variant", write_variant, !b->base && *b->in->platform.variant},
		{"os", write_os, !b->base},
		{"config", write_execution, true},
		{"rootfs", write_rootfs, true},
		{"history", write_history, true},
	};
	enum { N = sizeof(members) / sizeof(members[0]) };
	struct json_writer *w = json_writer_new(0);
	bool done[N] = {false};

	if (!w)
		return -ENOMEM;
	json_w_object(w);
	for (size_t i = 0; i < json_len(b->base); i++) {
		const char *key = json_key_at(b->base, i);
		size_t m = 0;

		if (!key)
			break;
		while (m < N && strcmp(members[m].key, key) != 0)
			m++;
		json_w_key(w, key);
		if (m < N && members[m].wanted) {
			members[m].write(w, b);
			done[m] = true;
		} else {
			json_w_value(w, json_at(b->base, i));
		}
	}
	for (size_t m = 0; m < N; m++) {
		if (members[m].wanted && !done[m]) {
			json_w_key(w, members[m].key);
			members[m].write(w, b);
		}
	}
	json_w_end(w);
	return json_writer_finish(w, out);
}

static void write_descriptor(struct json_writer *w, const char *media_type,
			     const struct oci_descriptor *d)
{
	json_w_object(w);
	json_w_key(w, "mediaType");
	json_w_string(w, media_type);
	json_w_key(w, "digest");
	json_w_string(w, d->digest.text);
	json_w_key(w, "size");
	json_w_uint(w, d->size);
	json_w_end(w);
}

/* Types of the two families may not be mixed in one manifest: docker's become OCI's. */
static const char *layer_type(const struct oci_layer_ref *layer)
{
	static const char *const types[] = {
		[OCI_PLAIN] = OCI_MEDIA_LAYER,
		[OCI_GZIP] = OCI_MEDIA_LAYER "+gzip",
		[OCI_ZSTD] = OCI_MEDIA_LAYER "+zstd",
	};
	static const char oci[] = "application/vnd.oci.";

	if (strncmp(layer->desc.media_type, oci, sizeof(oci) - 1) == 0)
		return layer->desc.media_type;
	return types[layer->compression];
}

/* The image manifest (image specification, manifest.md). */
static int write_manifest(const struct oci_build *in, const struct oci_descriptor *config,
			  struct strbuf *out)
{
	struct json_writer *w = json_writer_new(0);

	if (!w)
		return -ENOMEM;
	json_w_object(w);
	json_w_key(w, "schemaVersion");
	json_w_int(w, 2);
	json_w_key(w, "mediaType");
	json_w_string(w, OCI_MEDIA_MANIFEST);
	json_w_key(w, "config");
	write_descriptor(w, OCI_MEDIA_CONFIG, config);
	json_w_key(w, "layers");
	json_w_array(w);
	for (size_t i = 0; in->base && i < in->base->n_layers; i++)
		write_descriptor(w, layer_type(&in->base->layers[i]), &in->base->layers[i].desc);
	if (in->layer)
		write_descriptor(w, layer_type(in->layer), &in->layer->desc);
	json_w_end(w);
	json_w_end(w);
	return json_writer_finish(w, out);
}

static int describe(const char *media_type, const struct strbuf *text, struct oci_descriptor *ret)
{
	*ret = (struct oci_descriptor){.size = text->len};
	memcpy(ret->media_type, media_type, strlen(media_type) + 1);
	return digest_buffer(DIGEST_SHA256, text->s, text->len, &ret->digest);
}

static int finish(const struct build *b, struct oci_image **ret, struct err *err)
{
	struct strbuf config CLEANUP(strbuf_release) = STRBUF_INIT;
	struct strbuf manifest CLEANUP(strbuf_release) = STRBUF_INIT;
	struct oci_descriptor config_desc, manifest_desc;
	int r = write_config(b, &config);

	if (!r)
		r = describe(OCI_MEDIA_CONFIG, &config, &config_desc);
	if (!r)
		r = write_manifest(b->in, &config_desc, &manifest);
	if (!r)
		r = describe(OCI_MEDIA_MANIFEST, &manifest, &manifest_desc);
	if (r)
		return err_set(err, r, "write the image's documents");
	r = oci_image_parse(&manifest_desc, manifest.s, manifest.len, config.s, config.len, ret,
			    err);
	return r ? err_wrap(err, r, "the new image") : 0;
}

int oci_build_image(const struct oci_build *build, struct oci_image **ret, struct err *err)
{
	struct build b = {.in = build, .base = build->base ? build->base->config_doc : NULL};
	int r = format_time(build->created, b.created, sizeof(b.created), err);

	if (r)
		return r;
	r = oci_changes_init(&b.changes, json_get(b.base, "config"));
	if (r)
		return err_set(err, r, "the new image's config");
	for (size_t i = 0; i < build->n_changes && !r; i++)
		r = oci_changes_add(&b.changes, build->changes[i], err);
	if (!r)
		r = finish(&b, ret, err);
	oci_changes_release(&b.changes);
	return r;
}
