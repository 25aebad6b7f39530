// SPDX-License-Identifier: MIT
/*
 * Values of the case language: byte strings, and bodies that are too large to lie in memory and are
 * made as they are needed. Also the arena that holds what one statement makes, and a growing buffer.
 *
 * Memory: the program that judges gives up when there is none left, so nothing here returns a
 * failure. Threads: none; a worker process has one.
 */
#pragma once
#include "lib/base/id.h"

/** Prints the text as a failure of tuck-conform itself, and ends the process with status 2. */
__attribute__((noreturn, format(printf, 1, 2), cold)) void conform_die(const char *format, ...);

/** Called by conform_die() with the text, before the end; NULL at first. */
extern void (*conform_last_words)(const char *text);

/** Ends the process as _exit() does, and without a search for leaks where a sanitizer would make one: what is allocated
 * for the whole life of a worker goes with it. */
__attribute__((noreturn)) void leave_at_once(int status);

void *need_alloc(size_t len);
void *need_realloc(void *data, size_t len);
char *need_strndup(const char *text, size_t len);

/** A byte string that grows; terminated, so that it can be read as text. Zero is empty. */
struct buf {
    char *data;
    size_t len, room;
};

void buf_add(struct buf *buf, const void *data, size_t len);
void buf_text(struct buf *buf, const char *text);
__attribute__((format(printf, 2, 3), nonnull(2))) void buf_format(struct buf *buf,
                                                                  const char *format, ...);
void buf_free(struct buf *buf);

/** Adds the bytes in a form for people: what cannot be printed as an escape, cut off after `most`
 * with a remark about the rest. */
void buf_visible(struct buf *buf, const void *data, size_t len, size_t most);

/** Adds the padded base64 of the bytes. */
void buf_base64(struct buf *buf, const void *data, size_t len);

/** What one statement allocates; given back as a whole. */
struct arena {
    struct arena_block *blocks;
};

void *arena_alloc(struct arena *arena, size_t len);
void arena_reset(struct arena *arena);

enum value_kind {
    VALUE_BYTES,   // data, len
    VALUE_RANDOM,  // `size` bytes that `seed` decides
    VALUE_PATTERN, // data, len over and over, up to `size` bytes
};

struct value {
    enum value_kind kind;
    const char *data;
    size_t len;
    uint64_t size; // of RANDOM and PATTERN
    uint64_t seed;
};

static inline uint64_t value_size(const struct value *value) {
    return value->kind == VALUE_BYTES ? value->len : value->size;
}

struct value value_text(const char *text);
struct value value_bytes(const void *data, size_t len);

/** Copies [offset, offset + len), which must lie within the value. */
void value_read(const struct value *value, uint64_t offset, size_t len, char *ret_data);

/** The same value as VALUE_BYTES, made in the arena if need be. */
struct value value_flat(struct arena *arena, struct value value);

/** A copy that outlives the arena, released by value_free(). */
struct value value_keep(struct value value);
void value_free(struct value *value);

bool value_is(const struct value *value, const char *text);
bool value_equal(const struct value *a, const struct value *b);

/** SHA-256 of all its bytes. */
void value_digest(const struct value *value, uint8_t ret_digest[TUCK_ID_BYTES]);

/** Reads `12`, `-5`, `64k`, `1MiB`, `5s`, `100ms`, `3h`: sizes in bytes, times in nanoseconds. */
TUCK_CHECKED bool value_number(const struct value *value, int64_t *ret_number);
