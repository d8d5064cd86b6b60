/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "oci/authfile.h"
#include "oci/challenge.h"
#include "oci/quote.h"
#include "oci/registry.h"

#define TOKEN_ANSWER_MAX (1u << 20)
#define TOKEN_MAX	 (64u << 10)

/* The best of all headers' challenges. One that cannot be read does not hide another. */
static int choose(const char *challenges, struct oci_challenge *ret, struct err *err)
{
	struct oci_challenge best = {.scheme = OCI_AUTH_NONE};
	int bad = 0;

	for (const char *line = challenges; *line;) {
		size_t n = strcspn(line, "\n");
		char *one cleanup_free = strndup(line, n);
		struct oci_challenge c;
		int r;

		if (!one)
			return err_set(err, -ENOMEM, "authenticate");
		r = oci_challenge_parse(one, &c, err);
		if (r < 0)
			bad = r;
		else if (c.scheme > best.scheme)
			best = c;
		line += n + (line[n] == '\n');
	}
	*ret = best;
	return best.scheme == OCI_AUTH_NONE ? bad : 0;
}

static int find_credentials(const struct registry *r, struct oci_credentials *ret, struct err *err)
{
	const char *host = r->ref.host;
	int n;

	if (r->remote.creds) {
		n = oci_credentials_parse(r->remote.creds, ret, err);
		return n < 0 ? n : 1;
	}
	n = oci_authfile_find(r->remote.authfile, host, r->ref.name, ret, err);
	/* docker login writes its own registry by this name */
	if (n == 0 && strcmp(host, "docker.io") == 0)
		n = oci_authfile_find(r->remote.authfile, "index.docker.io", r->ref.name, ret, err);
	return n;
}

static int add_pair(struct strbuf *out, const char *name, const char *value)
{
	int n = strbuf_addf(out, "%s%s=", out->len ? "&" : "", name);

	return n < 0 ? n : http_query_escape(value, out);
}

static int add_scopes(const struct registry *r, const struct oci_challenge *c, struct strbuf *out)
{
	char *own cleanup_free = NULL, *from cleanup_free = NULL;
	int n;

	if (asprintf(&own, "repository:%s:%s", r->ref.name, r->push ? "pull,push" : "pull") < 0) {
		own = NULL;
		return -ENOMEM;
	}
	if (r->mount_from && asprintf(&from, "repository:%s:pull", r->mount_from) < 0) {
		from = NULL;
		return -ENOMEM;
	}
	/* for a pull the registry knows best; a push needs both rights from the start */
	n = add_pair(out, "scope", c->scope[0] && !r->push ? c->scope : own);
	return n < 0 || !from ? n : add_pair(out, "scope", from);
}

/* {"token":...} or {"access_token":...} */
static int read_token(const struct http_answer *a, char **ret, struct err *err)
{
	struct json *doc cleanup_json = NULL;
	const char *token;
	int n = json_parse(a->body.s, a->body.len, &doc, err);

	if (n < 0)
		return err_wrap(err, n, "token");
	token = json_string(json_get(doc, "token"));
	if (!token || !token[0])
		token = json_string(json_get(doc, "access_token"));
	if (!token || !token[0] || strlen(token) > TOKEN_MAX || strpbrk(token, "\r\n"))
		return err_msg(err, -EBADMSG, "the token server's answer has no usable token");
	if (asprintf(ret, "Bearer %s", token) < 0) {
		*ret = NULL;
		return err_set(err, -ENOMEM, "token");
	}
	return 0;
}

/* A realm is another host, and it gets the password: never in the clear beyond this machine. */
static int check_realm(const struct registry *r, const char *realm, struct err *err)
{
	char *url cleanup_free = http_url_join(r->base, realm);
	struct oci_quoted q;

	if (!url || !strstr(realm, "://"))
		return err_msg(err, -EBADMSG, "realm %s is no URL", oci_quote(&q, realm));
	if (!http_is_tls(url) && (http_is_tls(r->base) || !http_is_loopback(url)))
		return err_msg(err, -EBADMSG, "realm %s is without TLS: refused",
			       oci_quote(&q, realm));
	return 0;
}

static int fetch_token(struct registry *r, const struct oci_challenge *c,
		       const struct oci_credentials *creds, char **ret, struct err *err)
{
	struct strbuf query CLEANUP(strbuf_release) = STRBUF_INIT;
	struct strbuf basic CLEANUP(strbuf_release) = STRBUF_INIT;
	struct http_answer answer cleanup_http_answer = HTTP_ANSWER_INIT;
	struct http_request req = {.method = "GET", .max = TOKEN_ANSWER_MAX};
	char *url cleanup_free = NULL;
	int n = check_realm(r, c->realm, err);

	if (n < 0)
		return n;
	if (creds->identity) {
		n = add_pair(&query, "grant_type", "refresh_token");
		if (n == 0)
			n = add_pair(&query, "refresh_token", creds->identity);
		if (n == 0)
			n = add_pair(&query, "client_id", "snap");
	} else if (creds->user) {
		n = oci_credentials_basic(creds, &basic);
		if (n == 0)
			n = add_pair(&query, "account", creds->user);
		req.authorization = basic.s;
	}
	if (n == 0 && c->service[0])
		n = add_pair(&query, "service", c->service);
	if (n == 0)
		n = add_scopes(r, c, &query);
	if (n == 0 && asprintf(&url, "%s%c%s", c->realm, strchr(c->realm, '?') ? '&' : '?',
			       creds->identity ? "" : query.s) < 0)
		n = -ENOMEM;
	if (n < 0) {
		url = NULL;
		return err_set(err, n, "token");
	}
	req.url = creds->identity ? c->realm : url;
	if (creds->identity) {
		req.method = "POST";
		req.body = query.s;
		req.body_size = query.len;
		req.has_body = true;
		req.content_type = "application/x-www-form-urlencoded";
	}
	for (unsigned int try = 1;; try++) {
		n = http_perform(r->http, &req, &answer, err);
		if (!registry_is_passing(n, &answer) || try == REGISTRY_TRIES)
			break;
		if (registry_wait(try, n < 0 ? NULL : &answer, NULL) < 0)
			break;
	}
	if (basic.len)
		explicit_bzero(basic.s, basic.len);
	if (n < 0)
		return n;
	if (answer.status != 200)
		return registry_error(&answer, "token server", err);
	return read_token(&answer, ret, err);
}

static int new_authorization(struct registry *r, const char *challenges, char **ret,
			     struct err *err)
{
	struct oci_credentials creds cleanup_oci_credentials = {.user = NULL};
	struct strbuf basic CLEANUP(strbuf_release) = STRBUF_INIT;
	struct oci_challenge c;
	int n = choose(challenges, &c, err);

	if (n < 0)
		return n;
	if (c.scheme == OCI_AUTH_NONE)
		return -EAGAIN;
	n = find_credentials(r, &creds, err);
	if (n < 0)
		return n;
	if (c.scheme == OCI_AUTH_BEARER)
		return fetch_token(r, &c, &creds, ret, err);
	if (!creds.user)
		return -EAGAIN;
	n = oci_credentials_basic(&creds, &basic);
	*ret = n == 0 ? strbuf_steal(&basic) : NULL;
	return *ret ? 0 : err_set(err, -ENOMEM, "authenticate");
}

/*
 * Threads that were refused at once must not all ask for a token: who comes second finds that the
 * value has changed since its request (@had), and tries again with it.
 */
int registry_authorize(struct registry *r, const char *challenges, unsigned int had,
		       struct err *err)
{
	char *fresh cleanup_free = NULL;
	int n = 0;

	(void)pthread_mutex_lock(&r->lock);
	if (r->generation == had)
		n = new_authorization(r, challenges, &fresh, err);
	/* the same name and password again: they are not wanted */
	if (n == 0 && fresh && r->authorization && strcmp(fresh, r->authorization) == 0)
		n = -EAGAIN;
	if (n == 0 && fresh) {
		free(r->authorization);
		r->authorization = steal_ptr(&fresh);
		r->generation++;
	}
	(void)pthread_mutex_unlock(&r->lock);
	return n;
}
