// SPDX-License-Identifier: MIT
/*
 * SHA-256 as a stream, by value and without set-up. It is OpenSSL's low-level interface on purpose:
 * the EVP one loads configuration and providers on first use, 2-3 ms that a short go command would
 * feel, and the result is the same.
 */
#pragma once
#include "lib/base/id.h"

#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

struct tuck_digest {
    SHA256_CTX state;
};

static inline void tuck_digest_init(struct tuck_digest *digest) {
    tuck_verify(SHA256_Init(&digest->state) == 1);
}

static inline void tuck_digest_add(struct tuck_digest *digest, const void *data, size_t len) {
    tuck_verify(SHA256_Update(&digest->state, data, len) == 1);
}

static inline void tuck_digest_end(struct tuck_digest *digest, struct tuck_output_id *ret_id) {
    tuck_verify(SHA256_Final(ret_id->bytes, &digest->state) == 1);
}
