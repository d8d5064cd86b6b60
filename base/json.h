/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/strbuf.h"

/*
 * json - documents from outside as a tree, and documents of ours as text. The
 * only user of yajl.
 *
 * Reading is strict: one value, nothing behind it, no duplicate keys, valid
 * UTF-8, no NUL inside a string, bounded depth and size. Every getter takes
 * NULL for "not there" and returns NULL/-ENOENT for it, so that look-ups chain:
 * json_string(json_get(json_get(doc, "config"), "digest")).
 * All returned pointers are borrowed from the document and live as long as it.
 */
struct json; /* one value */

#define JSON_SIZE_MAX  (8u << 20) /* bytes of a document */
#define JSON_DEPTH_MAX 64

enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

/* Returns owned. -EBADMSG for a document that breaks a rule above (@err says which), -ENOMEM. */
int json_parse(const void *text, size_t len, struct json **ret, struct err *err)
	__attribute__((warn_unused_result));
/*
 * The same for a document of any length that is mostly one list: it is given piece by piece, each
 * element of the member @list of the outermost object goes to @fn as soon as it is read, and is
 * freed. What @fn returns below 0 ends it and is returned; @fn fills @err then.
 *
 *	l = json_list_new("entries", fn, ctx);      @list: borrowed until the end
 *	r = json_list_push(l, text, len, err);      ...
 *	r = json_list_finish(l, &doc, err);         the document with an empty list, owned
 *	json_list_free(l);
 */
#define JSON_LIVE_MAX 100000u /* values beside the list, and in an element */
struct json_list;
typedef int (*json_list_fn)(void *ctx, const struct json *element, struct err *err);
struct json_list *json_list_new(const char *list, json_list_fn fn, void *ctx);
int json_list_push(struct json_list *l, const void *text, size_t len, struct err *err)
	__attribute__((warn_unused_result));
int json_list_finish(struct json_list *l, struct json **ret, struct err *err)
	__attribute__((warn_unused_result));
void json_list_free(struct json_list *l); /* NULL is fine */
void json_free(struct json *doc);
static inline void json_freep(struct json **doc)
{
	json_free(*doc);
}
#define cleanup_json __attribute__((cleanup(json_freep)))

enum json_type json_type(const struct json *v); /* JSON_NULL for NULL */
/* Member of an object; NULL when @v is no object or has no such key. */
const struct json *json_get(const struct json *v, const char *key);
/* Number of elements or members; 0 for other types. */
size_t json_len(const struct json *v);
/* Element, or value of member, @i of an array or object in document order; NULL beyond the end. */
const struct json *json_at(const struct json *v, size_t i);
/* Key of member @i of an object; NULL beyond the end or for other types. */
const char *json_key_at(const struct json *v, size_t i);
/* The string, or NULL when it is none. */
const char *json_string(const struct json *v);
/* -ENOENT for NULL, -EBADMSG when it is no integer or does not fit. */
int json_int(const struct json *v, int64_t *ret) __attribute__((warn_unused_result));
/* @fallback when it is no boolean. */
bool json_bool(const struct json *v, bool fallback);

/*
 * The writer. Errors are sticky: call on, and ask once at the end.
 *
 *	struct json_writer *w = json_writer_new(0);
 *	json_w_object(w); json_w_key(w, "a"); json_w_int(w, 1); json_w_end(w);
 *	r = json_writer_finish(w, &buf);       frees w, appends to buf
 *
 * Bytes that are no UTF-8 are written as U+FFFD: names and keys of any bytes may be passed.
 */
bool json_is_text(const char *s); /* can it be written as it is? */
struct json_writer;
enum json_writer_flags { JSON_PRETTY = 1 << 0 };

struct json_writer *json_writer_new(unsigned int flags); /* NULL when out of memory */
void json_w_object(struct json_writer *w);
void json_w_array(struct json_writer *w);
void json_w_end(struct json_writer *w); /* closes the innermost object or array */
void json_w_key(struct json_writer *w, const char *key);
void json_w_string(struct json_writer *w, const char *s); /* null for NULL */
void json_w_stringn(struct json_writer *w, const char *s, size_t len);
void json_w_int(struct json_writer *w, int64_t v);
void json_w_uint(struct json_writer *w, uint64_t v);
void json_w_bool(struct json_writer *w, bool v);
void json_w_null(struct json_writer *w);
/* A whole value of a parsed document, as it was (numbers keep their text, members their order). */
void json_w_value(struct json_writer *w, const struct json *v);
/* Takes @w; appends the text to @out. -ENOMEM, -EINVAL when what was written is no document. */
int json_writer_finish(struct json_writer *w, struct strbuf *out)
	__attribute__((warn_unused_result));
void json_writer_free(struct json_writer *w); /* gives up without a document; NULL is fine */
