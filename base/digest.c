/* SPDX-License-Identifier: Apache-2.0 */
#include "base/digest.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

struct hash {
	EVP_MD_CTX *ctx;
	enum digest_alg alg;
};

static const struct {
	const char *name;
	size_t name_len;
	size_t hex_len;
} algs[] = {
	[DIGEST_SHA256] = {"sha256", 6, 64},
	[DIGEST_SHA512] = {"sha512", 6, 128},
};

int digest_parse(const char *text, struct digest *ret)
{
	for (size_t i = 0; i < sizeof(algs) / sizeof(algs[0]); i++) {
		size_t n = algs[i].name_len;

		if (strncmp(text, algs[i].name, n) != 0 || text[n] != ':')
			continue;
		if (strlen(text + n + 1) != algs[i].hex_len ||
		    strspn(text + n + 1, "0123456789abcdef") != algs[i].hex_len)
			return -EINVAL;
		memcpy(ret->text, text, n + 1 + algs[i].hex_len + 1);
		return 0;
	}
	return -EINVAL;
}

enum digest_alg digest_algorithm(const struct digest *d)
{
	return strncmp(d->text, "sha512:", 7) == 0 ? DIGEST_SHA512 : DIGEST_SHA256;
}

const char *digest_algorithm_name(enum digest_alg alg)
{
	return algs[alg].name;
}

const char *digest_hex(const struct digest *d)
{
	return d->text + algs[digest_algorithm(d)].name_len + 1;
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
	return strcmp(a->text, b->text) == 0;
}

struct hash *hash_new(enum digest_alg alg)
{
	struct hash *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->alg = alg;
	h->ctx = EVP_MD_CTX_new();
	if (!h->ctx || EVP_DigestInit_ex(h->ctx, alg == DIGEST_SHA512 ? EVP_sha512() : EVP_sha256(),
					 NULL) != 1) {
		hash_free(h);
		return NULL;
	}
	return h;
}

void hash_free(struct hash *h)
{
	if (!h)
		return;
	EVP_MD_CTX_free(h->ctx);
	free(h);
}

int hash_update(struct hash *h, const void *data, size_t len)
{
	return EVP_DigestUpdate(h->ctx, data, len) == 1 ? 0 : -EIO;
}

int hash_final(struct hash *h, struct digest *ret)
{
	static const char digits[] = "0123456789abcdef";
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned int n = 0;
	char *p = ret->text;

	if (EVP_DigestFinal_ex(h->ctx, md, &n) != 1 || n * 2 != algs[h->alg].hex_len)
		return -EIO;
	memcpy(p, algs[h->alg].name, algs[h->alg].name_len);
	p += algs[h->alg].name_len;
	*p++ = ':';
	for (unsigned int i = 0; i < n; i++) {
		*p++ = digits[md[i] >> 4];
		*p++ = digits[md[i] & 15];
	}
	*p = '\0';
	return 0;
}

int digest_buffer(enum digest_alg alg, const void *data, size_t len, struct digest *ret)
{
	struct hash *h cleanup_hash = hash_new(alg);
	int r;

	if (!h)
		return -ENOMEM;
	r = hash_update(h, data, len);
	return r < 0 ? r : hash_final(h, ret);
}

int digest_fd(enum digest_alg alg, int fd, struct digest *ret)
{
	const size_t size = 1 << 18;
	struct hash *h cleanup_hash = hash_new(alg);
	uint8_t *buf cleanup_free = malloc(size);
	off_t pos = 0;
	int r;

	if (!h || !buf)
		return -ENOMEM;
	for (;;) {
		ssize_t n = pread(fd, buf, size, pos);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return hash_final(h, ret);
		r = hash_update(h, buf, (size_t)n);
		if (r < 0)
			return r;
		pos += n;
	}
}
