// SPDX-License-Identifier: MIT
#include "lib/client/file.h"
#include "lib/base/io.h"
#include "lib/client/process.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static int bad_file(struct tuck_client_error *error, int os, const char *path, const char *what) {
    char printable[300];
    (void)tuck_client__printable(path, strlen(path), printable, sizeof(printable));
    return tuck_client__fail_os(error, TUCK_CLIENT_BAD_FILE, os, "the answered file '%s' %s",
                                printable, what);
}

static int check_stat(const struct stat *found, const char *path, uint64_t size,
                      struct tuck_client_error *error) {
    if (!S_ISREG(found->st_mode))
        return bad_file(error, 0, path, "is no regular file");
    if ((uint64_t)found->st_size == size)
        return 0;
    char sizes[80];
    (void)snprintf(sizes, sizeof(sizes), "has %llu bytes and not the %llu of its answer",
                   (unsigned long long)found->st_size, (unsigned long long)size);
    return bad_file(error, 0, path, sizes);
}

int tuck_file_look(const char *path, uint64_t size, bool is_strict, uid_t user,
                   struct tuck_client_error *error) {
    struct stat found;
    if ((is_strict ? lstat(path, &found) : stat(path, &found)) < 0)
        return bad_file(error, errno, path, "cannot be looked at");
    int status = check_stat(&found, path, size, error);
    if (status < 0)
        return status;
    // The usual object is its user's own and readable; only others cost a second system call.
    if (found.st_uid == user && (found.st_mode & S_IRUSR))
        return 0;
    if (faccessat(AT_FDCWD, path, R_OK, AT_EACCESS) < 0)
        return bad_file(error, errno, path, "cannot be read");
    return 0;
}

int tuck_file_hash_open(const char *path, uint64_t size, struct tuck_file_hash *ret_hash,
                        struct tuck_client_error *error) {
    // Between the look and here it may have become anything: O_NONBLOCK opens a FIFO without
    // waiting.
    TUCK_CLEANUP(tuck_close_fd)
    int fd = tuck_process_clear_stdio(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    struct stat found;
    if (fd < 0)
        return bad_file(error, -fd, path, "cannot be opened");
    if (fstat(fd, &found) < 0)
        return bad_file(error, errno, path, "cannot be looked at");
    int status = check_stat(&found, path, size, error);
    if (status < 0)
        return status;
    *ret_hash = (struct tuck_file_hash){.fd = TUCK_TAKE_FD(fd), .left = size};
    tuck_digest_init(&ret_hash->digest);
    return 0;
}

int tuck_file_hash_some(struct tuck_file_hash *hash, uint64_t limit, uint8_t *scratch, size_t room,
                        const struct tuck_output_id *expected, struct tuck_client_error *error) {
    for (uint64_t done = 0; hash->left > 0 && done < limit;) {
        size_t len = hash->left < room ? (size_t)hash->left : room;
        ssize_t got = read(hash->fd, scratch, len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return tuck_client__fail_os(error, TUCK_CLIENT_BAD_FILE, errno,
                                        "the answered file cannot be read");
        if (got == 0)
            return tuck_client__fail(error, TUCK_CLIENT_BAD_FILE,
                                     "the answered file shrank while it was read");
        tuck_digest_add(&hash->digest, scratch, (size_t)got);
        hash->left -= (uint64_t)got;
        done += (uint64_t)got;
    }
    if (hash->left > 0)
        return TUCK_FILE_MORE;
    struct tuck_output_id found;
    tuck_digest_end(&hash->digest, &found);
    if (!tuck_output_equal(&found, expected))
        return tuck_client__fail(error, TUCK_CLIENT_WRONG_BYTES,
                                 "the answered file has another SHA-256 than its OutputID");
    return 0;
}

void tuck_file_hash_close(struct tuck_file_hash *hash) {
    tuck_close_fd(&hash->fd);
}
