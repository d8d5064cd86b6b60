/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/authfile.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/json.h"

#define FILE_MAX (1u << 20)

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void wipe(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

void oci_credentials_release(struct oci_credentials *c)
{
	wipe(c->user);
	wipe(c->password);
	wipe(c->identity);
	memset(c, 0, sizeof(*c));
}

/* No control characters: they end up in a header. */
static int copy_text(const char *from, size_t len, char **to)
{
	if (len > OCI_AUTH_TEXT_MAX)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)from[i] < ' ' || from[i] == 0x7f)
			return -EINVAL;
	}
	*to = strndup(from, len);
	return *to ? 0 : -ENOMEM;
}

static int split_pair(const char *text, struct oci_credentials *ret)
{
	struct oci_credentials c cleanup_oci_credentials = {.user = NULL};
	const char *colon = strchr(text, ':');
	int r;

	if (!colon || colon == text)
		return -EINVAL;
	r = copy_text(text, (size_t)(colon - text), &c.user);
	if (r == 0)
		r = copy_text(colon + 1, strlen(colon + 1), &c.password);
	if (r < 0)
		return r;
	*ret = c;
	memset(&c, 0, sizeof(c));
	return 0;
}

int oci_credentials_parse(const char *text, struct oci_credentials *ret, struct err *err)
{
	int r = split_pair(text, ret);

	/* the text itself is a secret: it is not shown */
	return r == -EINVAL ? err_msg(err, r, "credentials must be USER:PASSWORD")
	       : r < 0	    ? err_set(err, r, "credentials")
			    : 0;
}

/* Strict: padded to a multiple of four, nothing else inside. Owned, NUL-terminated; NULL. */
static char *decode_base64(const char *text)
{
	size_t len = strlen(text), pad = 0, n = 0;
	char *out;
	uint32_t bits = 0;

	if (len == 0 || len % 4 != 0 || len > 2 * OCI_AUTH_TEXT_MAX)
		return NULL;
	while (pad < 2 && len > pad && text[len - pad - 1] == '=')
		pad++;
	out = malloc(len / 4 * 3 + 1);
	for (size_t i = 0; out && i < len; i++) {
		const char *digit = i < len - pad ? strchr(digits, text[i]) : digits;

		if (!digit) {
			free(out);
			return NULL;
		}
		bits = bits << 6 | (uint32_t)(digit - digits);
		if (i % 4 != 3)
			continue;
		out[n++] = (char)(bits >> 16);
		out[n++] = (char)(bits >> 8);
		out[n++] = (char)bits;
	}
	if (!out)
		return NULL;
	n -= pad;
	out[n] = '\0';
	/* docker pads what it encodes by NULs */
	while (n > 0 && out[n - 1] == '\0')
		n--;
	if (memchr(out, '\0', n)) {
		wipe(out);
		return NULL;
	}
	return out;
}

int oci_credentials_basic(const struct oci_credentials *c, struct strbuf *out)
{
	char *pair cleanup_free = NULL;
	int len, r = strbuf_adds(out, "Basic ");

	len = asprintf(&pair, "%s:%s", c->user ? c->user : "", c->password ? c->password : "");
	if (len < 0)
		return -ENOMEM;
	for (int i = 0; i < len && r == 0; i += 3) {
		uint32_t bits = (uint32_t)(unsigned char)pair[i] << 16;
		char four[5] = "====";

		if (i + 1 < len)
			bits |= (uint32_t)(unsigned char)pair[i + 1] << 8;
		if (i + 2 < len)
			bits |= (unsigned char)pair[i + 2];
		four[0] = digits[bits >> 18];
		four[1] = digits[bits >> 12 & 63];
		if (i + 1 < len)
			four[2] = digits[bits >> 6 & 63];
		if (i + 2 < len)
			four[3] = digits[bits & 63];
		r = strbuf_adds(out, four);
	}
	explicit_bzero(pair, (size_t)len);
	return r;
}

/* How many bytes of "HOST/NAME" the entry's key stands for; 0: it is another's. */
static size_t key_matches(const char *key, const char *host, const char *full)
{
	size_t len, h = strlen(host);

	for (size_t i = 0; i < 2; i++) {
		const char *scheme = i ? "http://" : "https://";

		if (strncmp(key, scheme, strlen(scheme)) != 0)
			continue;
		/* old docker: a URL, of which only the host counts */
		key += strlen(scheme);
		return strcspn(key, "/") == h && strncmp(key, host, h) == 0 ? h : 0;
	}
	len = strlen(key);
	if (len < h || strncmp(full, key, len) != 0)
		return 0;
	return full[len] == '\0' || full[len] == '/' ? len : 0;
}

static int entry_read(const struct json *v, struct oci_credentials *ret)
{
	const char *auth = json_string(json_get(v, "auth"));
	const char *token = json_string(json_get(v, "identitytoken"));
	struct oci_credentials c cleanup_oci_credentials = {.user = NULL};
	char *pair = NULL;
	int r = 0;

	if (auth && auth[0]) {
		pair = decode_base64(auth);
		r = pair ? split_pair(pair, &c) : -EINVAL;
		wipe(pair);
	}
	if (r == 0 && token && token[0])
		r = copy_text(token, strlen(token), &c.identity);
	if (r < 0 || (!c.user && !c.identity))
		return r;
	*ret = c;
	memset(&c, 0, sizeof(c));
	return 1;
}

int oci_authfile_parse(const char *text, size_t len, const char *host, const char *name,
		       struct oci_credentials *ret, struct err *err)
{
	struct json *doc cleanup_json = NULL;
	const struct json *auths, *best = NULL;
	char *full cleanup_free = NULL;
	size_t best_len = 0;
	int r = json_parse(text, len, &doc, err);

	if (r < 0)
		return r;
	auths = json_get(doc, "auths");
	if (asprintf(&full, "%s/%s", host, name) < 0) {
		full = NULL;
		return err_set(err, -ENOMEM, "credentials");
	}
	if (json_type(doc) != JSON_OBJECT ||
	    (json_type(auths) != JSON_OBJECT && json_type(auths) != JSON_NULL))
		return err_msg(err, -EBADMSG, "'auths' is no object");
	for (size_t i = 0; i < json_len(auths); i++) {
		size_t n = key_matches(json_key_at(auths, i), host, full);

		if (n > best_len) {
			best_len = n;
			best = json_at(auths, i);
		}
	}
	if (!best)
		return 0;
	r = entry_read(best, ret);
	if (r == -ENOMEM)
		return err_set(err, r, "credentials");
	return r < 0 ? err_msg(err, -EBADMSG, "the entry for '%s' has no usable 'auth'", host) : r;
}

static int try_file(const char *path, bool must, const char *host, const char *name,
		    struct oci_credentials *ret, struct err *err)
{
	char *text = NULL;
	size_t len;
	int r = io_read_path(path, FILE_MAX, &text, &len);

	if ((r == -ENOENT || r == -ENOTDIR || r == -EACCES) && !must)
		return 0;
	if (r < 0)
		return err_set(err, r, "read '%s'", path);
	r = oci_authfile_parse(text, len, host, name, ret, err);
	wipe(text);
	return r < 0 ? err_wrap(err, r, "'%s'", path) : r;
}

int oci_authfile_find(const char *file, const char *host, const char *name,
		      struct oci_credentials *ret, struct err *err)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR"), *config = getenv("XDG_CONFIG_HOME");
	const char *home = getenv("HOME"), *given = file ? file : getenv("REGISTRY_AUTH_FILE");
	int r = 0;

	if (given && given[0])
		return try_file(given, true, host, name, ret, err);
	for (int i = 0; i < 3 && r == 0; i++) {
		char *path cleanup_free = NULL;
		int n = 0;

		if (i == 0)
			n = runtime && runtime[0]
				    ? asprintf(&path, "%s/containers/auth.json", runtime)
				    : asprintf(&path, "/run/containers/%u/auth.json", geteuid());
		else if (i == 1 && config && config[0])
			n = asprintf(&path, "%s/containers/auth.json", config);
		else if (home && home[0])
			n = asprintf(&path, "%s/%s", home,
				     i == 1 ? ".config/containers/auth.json"
					    : ".docker/config.json");
		if (n < 0) {
			path = NULL;
			return err_set(err, -ENOMEM, "credentials");
		}
		if (path)
			r = try_file(path, false, host, name, ret, err);
	}
	return r;
}
