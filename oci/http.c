/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "oci/curl.h"

#define IDLE_MAX	16 /* connections kept */
#define CONNECT_SECONDS 20L
#define STALL_SECONDS	30L /* without a byte: the connection counts as broken */

struct http {
	const struct curl_calls *curl;
	pthread_mutex_t lock;
	CURL *idle[IDLE_MAX];
	size_t n_idle;
	bool insecure;
	char *ca_file; /* instead of the system's; NULL: those */
};

struct exchange {
	const struct http_request *req;
	struct http_answer *answer;
	const struct curl_calls *curl;
	CURL *easy;
	uint64_t sent;
	size_t header_bytes;
	int failed; /* what a callback gave up with */
	char error[CURL_ERROR_SIZE];
};

int http_new(bool insecure, struct http **ret, struct err *err)
{
	const struct curl_calls *curl;
	const char *ca_file = getenv("SSL_CERT_FILE");
	struct http *h;
	int r = curl_open(&curl, err);

	if (r < 0)
		return r;
	h = calloc(1, sizeof(*h));
	if (!h)
		return err_set(err, -ENOMEM, "open connections");
	(void)pthread_mutex_init(&h->lock, NULL);
	h->curl = curl;
	h->insecure = insecure;
	/* the variable that OpenSSL and Go obey, and so podman */
	if (ca_file && ca_file[0]) {
		h->ca_file = strdup(ca_file);
		if (!h->ca_file) {
			http_free(h);
			return err_set(err, -ENOMEM, "open connections");
		}
	}
	*ret = h;
	return 0;
}

void http_free(struct http *h)
{
	if (!h)
		return;
	for (size_t i = 0; i < h->n_idle; i++)
		h->curl->easy_cleanup(h->idle[i]);
	(void)pthread_mutex_destroy(&h->lock);
	free(h->ca_file);
	free(h);
}

void http_answer_release(struct http_answer *a)
{
	free(a->location);
	free(a->content_type);
	free(a->content_digest);
	free(a->content_range);
	free(a->range);
	free(a->retry_after);
	strbuf_release(&a->challenges);
	strbuf_release(&a->body);
	*a = (struct http_answer)HTTP_ANSWER_INIT;
}

static CURL *take_handle(struct http *h)
{
	CURL *easy = NULL;

	(void)pthread_mutex_lock(&h->lock);
	if (h->n_idle > 0)
		easy = h->idle[--h->n_idle];
	(void)pthread_mutex_unlock(&h->lock);
	return easy ? easy : h->curl->easy_init();
}

/* A reset keeps the connections. */
static void give_handle(struct http *h, CURL *easy)
{
	h->curl->easy_reset(easy);
	(void)pthread_mutex_lock(&h->lock);
	if (h->n_idle < IDLE_MAX) {
		h->idle[h->n_idle++] = easy;
		easy = NULL;
	}
	(void)pthread_mutex_unlock(&h->lock);
	if (easy)
		h->curl->easy_cleanup(easy);
}

/* The value of a "Name: value" line when it is @name's: owned in @to, the last one counts. */
static void keep_header(const char *line, size_t len, const char *name, char **to)
{
	size_t n = strlen(name);

	if (len <= n || strncasecmp(line, name, n) != 0 || line[n] != ':')
		return;
	line += n + 1;
	len -= n + 1;
	while (len > 0 && (*line == ' ' || *line == '\t')) {
		line++;
		len--;
	}
	free(*to);
	*to = strndup(line, len);
}

static size_t on_header(char *data, size_t one, size_t len, void *ctx)
{
	struct exchange *x = ctx;
	struct http_answer *a = x->answer;
	size_t n = one * len;
	char *challenge cleanup_free = NULL;

	x->header_bytes += n;
	if (x->header_bytes > HTTP_HEADERS_MAX) {
		x->failed = -EFBIG;
		return 0;
	}
	/* a status line: the answer begins (again, behind a 100) */
	if (n > 5 && strncmp(data, "HTTP/", 5) == 0)
		http_answer_release(a);
	while (n > 0 && strchr("\r\n \t", data[n - 1]))
		n--;
	if (n > HTTP_HEADER_MAX || memchr(data, '\0', n))
		return one * len;
	keep_header(data, n, "Location", &a->location);
	keep_header(data, n, "Content-Type", &a->content_type);
	keep_header(data, n, "Docker-Content-Digest", &a->content_digest);
	keep_header(data, n, "Content-Range", &a->content_range);
	keep_header(data, n, "Range", &a->range);
	keep_header(data, n, "Retry-After", &a->retry_after);
	keep_header(data, n, "WWW-Authenticate", &challenge);
	if (challenge && strbuf_addf(&a->challenges, "%s\n", challenge) < 0) {
		x->failed = -ENOMEM;
		return 0;
	}
	return one * len;
}

static size_t on_data(char *data, size_t one, size_t len, void *ctx)
{
	struct exchange *x = ctx;
	size_t n = one * len;
	long status = 0;

	(void)x->curl->easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
	if (x->req->sink && (status == 200 || status == 206))
		x->failed = x->req->sink(x->req->ctx, (unsigned int)status,
					 x->answer->content_range, data, n);
	else if (n > x->req->max - x->answer->body.len)
		x->failed = -EFBIG;
	else
		x->failed = strbuf_add(&x->answer->body, data, n);
	return x->failed < 0 ? 0 : n;
}

static size_t on_send(char *to, size_t one, size_t len, void *ctx)
{
	struct exchange *x = ctx;
	uint64_t left = x->req->body_size - x->sent;
	size_t n = left < one * len ? (size_t)left : one * len;
	ssize_t got;

	if (x->req->body) {
		memcpy(to, x->req->body + x->sent, n);
		x->sent += n;
		return n;
	}
	do
		got = pread(x->req->body_fd, to, n, (off_t)(x->req->body_pos + x->sent));
	while (got < 0 && errno == EINTR);
	if (got < 0 || (got == 0 && n > 0)) {
		x->failed = got < 0 ? -errno : -ENODATA;
		return CURL_READFUNC_ABORT;
	}
	x->sent += (uint64_t)got;
	return (size_t)got;
}

/* Only back to where the body began, or to what was sent: a connection that had gone stale. */
static int on_seek(void *ctx, curl_off_t offset, int origin)
{
	struct exchange *x = ctx;

	if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > x->req->body_size)
		return CURL_SEEKFUNC_FAIL;
	x->sent = (uint64_t)offset;
	return CURL_SEEKFUNC_OK;
}

static int on_progress(void *ctx, curl_off_t down_all, curl_off_t down, curl_off_t up_all,
		       curl_off_t up)
{
	struct exchange *x = ctx;

	(void)down_all;
	(void)down;
	(void)up_all;
	(void)up;
	if (!x->req->cancel || !*x->req->cancel)
		return 0;
	x->failed = -ECANCELED;
	return 1;
}

static int add_header(const struct curl_calls *curl, struct curl_slist **list, const char *name,
		      const char *value)
{
	char *line cleanup_free = NULL;
	struct curl_slist *more;

	/* "Name:" alone takes out a header that libcurl would add */
	if (asprintf(&line, "%s:%s%s", name, value ? " " : "", value ? value : "") < 0)
		return -ENOMEM;
	if (strpbrk(line, "\r\n"))
		return -EINVAL;
	more = curl->slist_append(*list, line);
	if (!more)
		return -ENOMEM;
	*list = more;
	return 0;
}

static int request_headers(const struct curl_calls *curl, const struct http_request *req,
			   struct curl_slist **list)
{
	const char *const pairs[][2] = {
		{"Authorization", req->authorization},
		{"Accept", req->accept},
		{"Range", req->range},
		{"Content-Range", req->content_range},
		{"Content-Type", req->content_type},
	};
	int r = add_header(curl, list, "Expect", NULL);

	for (size_t i = 0; r == 0 && i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		if (pairs[i][1])
			r = add_header(curl, list, pairs[i][0], pairs[i][1]);
	}
	if (r == 0 && req->has_body && !req->content_type)
		r = add_header(curl, list, "Content-Type", "application/octet-stream");
	return r;
}

#define SET(easy, option, value) bad |= x->curl->easy_setopt(easy, option, value) != CURLE_OK

static int set_up(const struct http *h, struct exchange *x, struct curl_slist *headers)
{
	const struct http_request *req = x->req;
	CURL *c = x->easy;
	bool bad = false;

	SET(c, CURLOPT_URL, req->url);
	SET(c, CURLOPT_PROTOCOLS_STR, "http,https");
	SET(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	SET(c, CURLOPT_FOLLOWLOCATION, 0L);
	SET(c, CURLOPT_NOSIGNAL, 1L);
	SET(c, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	SET(c, CURLOPT_USERAGENT, "snap/" SNAP_VERSION);
	SET(c, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
	SET(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
	SET(c, CURLOPT_LOW_SPEED_TIME, STALL_SECONDS);
	SET(c, CURLOPT_SSL_VERIFYPEER, h->insecure ? 0L : 1L);
	SET(c, CURLOPT_SSL_VERIFYHOST, h->insecure ? 0L : 2L);
	if (h->ca_file)
		SET(c, CURLOPT_CAINFO, h->ca_file);
	SET(c, CURLOPT_ERRORBUFFER, x->error);
	SET(c, CURLOPT_HTTPHEADER, headers);
	SET(c, CURLOPT_HEADERFUNCTION, on_header);
	SET(c, CURLOPT_HEADERDATA, x);
	SET(c, CURLOPT_WRITEFUNCTION, on_data);
	SET(c, CURLOPT_WRITEDATA, x);
	SET(c, CURLOPT_NOPROGRESS, 0L);
	SET(c, CURLOPT_XFERINFOFUNCTION, on_progress);
	SET(c, CURLOPT_XFERINFODATA, x);
	if (strcmp(req->method, "HEAD") == 0)
		SET(c, CURLOPT_NOBODY, 1L);
	if (req->has_body) {
		SET(c, CURLOPT_UPLOAD, 1L);
		SET(c, CURLOPT_READFUNCTION, on_send);
		SET(c, CURLOPT_READDATA, x);
		SET(c, CURLOPT_SEEKFUNCTION, on_seek);
		SET(c, CURLOPT_SEEKDATA, x);
		SET(c, CURLOPT_INFILESIZE_LARGE, (curl_off_t)req->body_size);
	}
	if (strcmp(req->method, "HEAD") != 0)
		SET(c, CURLOPT_CUSTOMREQUEST, req->method);
	return bad ? -ENOMEM : 0;
}

/* A write to a connection that broke raises SIGPIPE, in TLS libraries: it must not end us. */
static CURLcode perform_quietly(const struct exchange *x)
{
	const struct timespec now = {0};
	sigset_t pipe_set, old, pending;
	CURLcode code;
	bool was_pending;

	(void)sigemptyset(&pipe_set);
	(void)sigaddset(&pipe_set, SIGPIPE);
	(void)sigpending(&pending);
	was_pending = sigismember(&pending, SIGPIPE) == 1;
	(void)pthread_sigmask(SIG_BLOCK, &pipe_set, &old);
	code = x->curl->easy_perform(x->easy);
	if (!was_pending && sigismember(&old, SIGPIPE) == 0) {
		while (sigtimedwait(&pipe_set, NULL, &now) < 0 && errno == EINTR)
			;
	}
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return code;
}

static int explain(CURLcode code, const struct exchange *x, struct err *err)
{
	const char *why = x->error[0] ? x->error : x->curl->easy_strerror(code);
	int r = -ECONNABORTED;

	if (x->failed == -EFBIG)
		return err_msg(err, x->failed, "%s: the answer is too long", x->req->url);
	if (x->failed < 0)
		return err_set(err, x->failed, "%s", x->req->url);
	if (code == CURLE_OUT_OF_MEMORY)
		return err_set(err, -ENOMEM, "%s", x->req->url);
	if (code == CURLE_SSL_CONNECT_ERROR)
		r = -EPROTO;
	else if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE)
		r = -EKEYREJECTED;
	else if (code == CURLE_COULDNT_RESOLVE_HOST)
		r = -EHOSTUNREACH;
	else if (code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL)
		r = -EINVAL;
	return err_msg(err, r, "%s: %s", x->req->url, why);
}

int http_perform(struct http *h, const struct http_request *req, struct http_answer *ret,
		 struct err *err)
{
	struct http_answer answer cleanup_http_answer = HTTP_ANSWER_INIT;
	struct exchange x = {
		.req = req, .answer = &answer, .curl = h->curl, .easy = take_handle(h)};
	struct curl_slist *headers = NULL;
	CURLcode code = CURLE_OK;
	long status = 0;
	int r = x.easy ? request_headers(h->curl, req, &headers) : -ENOMEM;

	if (r == 0)
		r = set_up(h, &x, headers);
	if (r < 0)
		r = err_set(err, r, "%s", req->url);
	if (r == 0) {
		code = perform_quietly(&x);
		if (code == CURLE_OK)
			(void)x.curl->easy_getinfo(x.easy, CURLINFO_RESPONSE_CODE, &status);
		else
			r = explain(code, &x, err);
	}
	if (x.easy)
		give_handle(h, x.easy);
	h->curl->slist_free_all(headers);
	if (r < 0)
		return r;
	answer.status = (unsigned int)status;
	http_answer_release(ret);
	*ret = answer;
	answer = (struct http_answer)HTTP_ANSWER_INIT;
	return 0;
}

static char *url_part(const struct curl_calls *curl, CURLU *u, CURLUPart part)
{
	char *got = NULL, *copy = NULL;

	if (curl->url_get(u, part, &got, part == CURLUPART_PORT ? CURLU_DEFAULT_PORT : 0) ==
	    CURLUE_OK)
		copy = strdup(got);
	curl->free(got);
	return copy;
}

static char *part_of(const char *url, CURLUPart part)
{
	const struct curl_calls *curl;
	CURLU *u;
	char *text = NULL;

	if (curl_open(&curl, NULL) < 0)
		return NULL;
	u = curl->url();
	if (u && curl->url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK)
		text = url_part(curl, u, part);
	curl->url_cleanup(u);
	return text;
}

char *http_url_join(const char *base, const char *location)
{
	const struct curl_calls *curl;
	CURLU *u;
	char *out = NULL, *user cleanup_free = NULL, *scheme cleanup_free = NULL;

	if (curl_open(&curl, NULL) < 0)
		return NULL;
	u = curl->url();
	if (u && curl->url_set(u, CURLUPART_URL, base, 0) == CURLUE_OK &&
	    curl->url_set(u, CURLUPART_URL, location, CURLU_DISALLOW_USER) == CURLUE_OK) {
		user = url_part(curl, u, CURLUPART_USER);
		scheme = url_part(curl, u, CURLUPART_SCHEME);
		if (!user && scheme &&
		    (strcmp(scheme, "https") == 0 || strcmp(scheme, "http") == 0))
			out = url_part(curl, u, CURLUPART_URL);
	}
	curl->url_cleanup(u);
	return out;
}

bool http_same_origin(const char *a, const char *b)
{
	static const CURLUPart parts[] = {CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT};

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		char *x cleanup_free = part_of(a, parts[i]), *y cleanup_free = part_of(b, parts[i]);

		if (!x || !y || strcasecmp(x, y) != 0)
			return false;
	}
	return true;
}

bool http_is_tls(const char *url)
{
	char *scheme cleanup_free = part_of(url, CURLUPART_SCHEME);

	return scheme && strcmp(scheme, "https") == 0;
}

bool http_is_loopback(const char *url)
{
	char *host cleanup_free = part_of(url, CURLUPART_HOST);
	struct in_addr v4;

	if (!host)
		return false;
	return strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
	       (inet_pton(AF_INET, host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127);
}

int http_query_escape(const char *text, struct strbuf *out)
{
	int r = 0;

	for (const char *p = text; *p && r == 0; p++) {
		if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~",
			   *p))
			r = strbuf_addc(out, *p);
		else
			r = strbuf_addf(out, "%%%02X", (unsigned int)(unsigned char)*p);
	}
	return r;
}
