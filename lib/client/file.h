// SPDX-License-Identifier: MIT
/*
 * The file behind an answered path: is it what the answer says? Nothing here opens anything but a
 * regular file, and nothing waits for a FIFO or a device. Threads: any; a look at the bytes
 * belongs to one thread at a time.
 */
#pragma once
#include "lib/base/digest.h"
#include "lib/client/status.h"

#include <sys/types.h>

/** A regular file of that size that this process may read. `user` is the effective user.
 * Strict: no symbolic link either. Returns 0 or TUCK_CLIENT_BAD_FILE. */
TUCK_CHECKED int tuck_file_look(const char *path, uint64_t size, bool is_strict, uid_t user,
                                struct tuck_client_error *error);

struct tuck_file_hash {
    int fd; // -1 when nothing is open
    uint64_t left;
    struct tuck_digest digest;
};

/** Opens the file to hash it. Returns 0 or TUCK_CLIENT_BAD_FILE. */
TUCK_CHECKED int tuck_file_hash_open(const char *path, uint64_t size,
                                     struct tuck_file_hash *ret_hash,
                                     struct tuck_client_error *error);

enum { TUCK_FILE_MORE = 1 }; // call again

/** Hashes about `limit` bytes more. Returns 0 when all is read and right, TUCK_FILE_MORE,
 * TUCK_CLIENT_BAD_FILE or TUCK_CLIENT_WRONG_BYTES. `scratch` has `room` bytes. */
TUCK_CHECKED int tuck_file_hash_some(struct tuck_file_hash *hash, uint64_t limit, uint8_t *scratch,
                                     size_t room, const struct tuck_output_id *expected,
                                     struct tuck_client_error *error);
void tuck_file_hash_close(struct tuck_file_hash *hash);
