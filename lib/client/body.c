// SPDX-License-Identifier: MIT
#include "lib/client/body.h"
#include "lib/base/io.h"
#include "protocol/base64.h"

#include <errno.h>

static int bad(struct tuck_client_error *error, const char *why) {
    return tuck_client__fail(error, TUCK_CLIENT_BAD_BODY, "the body %s", why);
}

// All of the next len bytes, or a failure: no body ends early.
static int read_source(struct tuck_body *body, uint8_t *to, size_t len,
                       struct tuck_client_error *error) {
    if (body->source.kind == TUCK_CLIENT_BODY_FD) {
        ssize_t got = tuck_pread_full(body->source.fd, to, len, body->done);
        if (got < 0)
            return tuck_client__fail_os(error, TUCK_CLIENT_BAD_BODY, (int)-got,
                                        "the body cannot be read");
        return (size_t)got < len ? bad(error, "ended before its size: the file shrank") : 0;
    }
    while (len > 0) {
        int64_t got = body->source.read(body->source.arg, to, len);
        if (got < 0)
            return bad(error, "cannot be read: its source failed");
        if (got == 0)
            return bad(error, "ended before its size: its source is too short");
        if ((uint64_t)got > len)
            return bad(error, "is broken: its source gave more than there was room for");
        to += got;
        len -= (size_t)got;
    }
    return 0;
}

static bool is_same_file(const struct stat *a, const struct stat *b) {
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

// What can be asked when all has been read.
static int check_end(struct tuck_body *body, struct tuck_client_error *error) {
    struct stat now;
    uint8_t more;
    if (body->source.kind == TUCK_CLIENT_BODY_FD) {
        if (fstat(body->source.fd, &now) < 0)
            return tuck_client__fail_os(error, TUCK_CLIENT_BAD_BODY, errno,
                                        "the body cannot be looked at");
        if (!is_same_file(&body->before, &now))
            return bad(error, "changed while it was read: it is another file by now");
    } else if (body->source.kind == TUCK_CLIENT_BODY_SOURCE) {
        int64_t got = body->source.read(body->source.arg, &more, 1);
        if (got != 0)
            return bad(error, got < 0 ? "cannot be read to its end: its source failed"
                                      : "goes on behind its size: its source is too long");
    }
    return 0;
}

static int check_hash(struct tuck_body *body, struct tuck_client_error *error) {
    struct tuck_output_id found;
    if (!body->is_hashed)
        return 0;
    tuck_digest_end(&body->digest, &found);
    return tuck_output_equal(&found, &body->output)
               ? 0
               : bad(error,
                     "has another SHA-256 than its output id: it changed, or the id is wrong");
}

// The first pass, where the caller gave no output id.
static int find_output(struct tuck_body *body, struct tuck_client_error *error) {
    tuck_digest_init(&body->digest);
    if (body->source.kind == TUCK_CLIENT_BODY_FD) {
        TUCK_CLEANUP(tuck_free) uint8_t *block = malloc(TUCK_BODY_PIECE);
        if (!block)
            return tuck_client__fail(error, TUCK_CLIENT_NO_MEMORY, "no memory to hash a body");
        while (body->done < body->size) {
            uint64_t left = body->size - body->done;
            size_t len = left < TUCK_BODY_PIECE ? (size_t)left : TUCK_BODY_PIECE;
            int status = read_source(body, block, len, error);
            if (status < 0)
                return status;
            tuck_digest_add(&body->digest, block, len);
            body->done += len;
        }
        body->done = 0;
    } else if (body->size > 0) {
        tuck_digest_add(&body->digest, body->source.data, (size_t)body->size);
    }
    tuck_digest_end(&body->digest, &body->output);
    return 0;
}

static int usage(struct tuck_client_error *error, const char *why) {
    return tuck_client__fail(error, TUCK_CLIENT_USAGE, "%s", why);
}

static int look_at_file(struct tuck_body *body, struct tuck_client_error *error) {
    if (fstat(body->source.fd, &body->before) < 0)
        return tuck_client__fail_os(error, TUCK_CLIENT_BAD_BODY, errno,
                                    "the body cannot be looked at");
    if (!S_ISREG(body->before.st_mode))
        return usage(error, "the body's descriptor is not that of a regular file");
    if (body->source.size != 0 && body->source.size != (uint64_t)body->before.st_size)
        return bad(error, "is a file of another size than announced");
    body->size = (uint64_t)body->before.st_size;
    return 0;
}

int tuck_body_open(const struct tuck_client_body *source, const uint8_t *output,
                   struct tuck_body *ret_body, struct tuck_client_error *error) {
    struct tuck_body body = {.source = *source, .size = source->size};
    switch ((enum tuck_client_body_kind)source->kind) {
    case TUCK_CLIENT_BODY_EMPTY:
        body.size = 0;
        break;
    case TUCK_CLIENT_BODY_MEMORY:
        if (source->size > 0 && !source->data)
            return usage(error, "a body in memory has no address");
        if (source->size > SIZE_MAX / 2)
            return usage(error, "a body in memory is larger than memory");
        break;
    case TUCK_CLIENT_BODY_FD: {
        int status = look_at_file(&body, error);
        if (status < 0)
            return status;
        break;
    }
    case TUCK_CLIENT_BODY_SOURCE:
        if (!source->read)
            return usage(error, "a body's source has no function");
        if (!output)
            return usage(error, "a body from a function needs its output id: it is read only once");
        if (source->size > INT64_MAX)
            return usage(error, "a body is larger than 2^63 bytes");
        break;
    default:
        return usage(error, "a body of an unknown kind");
    }
    if (output) {
        memcpy(body.output.bytes, output, TUCK_ID_BYTES);
        body.is_hashed = !(source->flags & TUCK_CLIENT_BODY_TRUSTED);
    } else {
        int status = find_output(&body, error);
        if (status < 0)
            return status;
        // Memory is the caller's word; a file is not.
        body.is_hashed = source->kind == TUCK_CLIENT_BODY_FD;
    }
    tuck_digest_init(&body.digest);
    *ret_body = body;
    return 0;
}

int tuck_body_next(struct tuck_body *body, uint8_t *scratch, char *ret_text, size_t room,
                   size_t *ret_len, bool *ret_is_last, struct tuck_client_error *error) {
    uint64_t left = body->size - body->done;
    size_t most = room / 4 * 3 < TUCK_BODY_PIECE ? room / 4 * 3 : TUCK_BODY_PIECE;
    size_t len = left < most ? (size_t)left : most;
    const uint8_t *data = scratch;
    bool is_last = len == left;
    if (body->source.kind == TUCK_CLIENT_BODY_MEMORY) {
        data = (const uint8_t *)body->source.data + body->done;
    } else if (len > 0) {
        int status = read_source(body, scratch, len, error);
        if (status < 0)
            return status;
    }
    if (body->is_hashed && len > 0)
        tuck_digest_add(&body->digest, data, len);
    body->done += len;
    if (is_last) {
        int status = check_end(body, error);
        if (status == 0)
            status = check_hash(body, error);
        if (status < 0)
            return status;
    }
    if (len > 0)
        tuck_base64_encode(data, len, ret_text);
    *ret_len = TUCK_BASE64_CHARS(len);
    *ret_is_last = is_last;
    return 0;
}
