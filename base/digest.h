/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/*
 * digest - content identifiers "ALGORITHM:HEX" (OCI image specification,
 * descriptor.md, "Digests") and streaming hashes that make them.
 *
 * A string from outside becomes a struct digest by digest_parse() before any
 * path is made of it: only sha256 and sha512 with lower-case hex of the exact
 * length pass, so neither "/" nor ".." can be inside.
 */
enum digest_alg { DIGEST_SHA256, DIGEST_SHA512 };

#define DIGEST_TEXT_MAX (7 + 128) /* "sha512:" and 128 hex digits */

struct digest {
	char text[DIGEST_TEXT_MAX + 1];
};

/* -EINVAL when @text (NUL-terminated) is not a digest of a supported algorithm. */
int digest_parse(const char *text, struct digest *ret) __attribute__((warn_unused_result));
enum digest_alg digest_algorithm(const struct digest *d);
/* "sha256" or "sha512". */
const char *digest_algorithm_name(enum digest_alg alg);
/* The digits behind the colon: borrowed from @d. */
const char *digest_hex(const struct digest *d);
bool digest_equal(const struct digest *a, const struct digest *b);

/* A running hash. Not for two threads at once. */
struct hash;
struct hash *hash_new(enum digest_alg alg); /* NULL when out of memory */
void hash_free(struct hash *h);
static inline void hash_freep(struct hash **h)
{
	hash_free(*h);
}
#define cleanup_hash __attribute__((cleanup(hash_freep)))
int hash_update(struct hash *h, const void *data, size_t len) __attribute__((warn_unused_result));
/* Ends the hash; it can only be freed afterwards. */
int hash_final(struct hash *h, struct digest *ret) __attribute__((warn_unused_result));

/* Of a buffer, and of a whole file from its start (uses pread). -errno of the read, or -EIO. */
int digest_buffer(enum digest_alg alg, const void *data, size_t len, struct digest *ret)
	__attribute__((warn_unused_result));
int digest_fd(enum digest_alg alg, int fd, struct digest *ret) __attribute__((warn_unused_result));
