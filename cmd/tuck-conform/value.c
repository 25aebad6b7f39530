// SPDX-License-Identifier: MIT
#include "cmd/tuck-conform/value.h"
#include "lib/base/digest.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <sys/syscall.h>

#define FLAT_MAX (UINT64_C(512) << 20)

void (*conform_last_words)(const char *text);

void conform_die(const char *format, ...) {
    char text[1000];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    fprintf(stderr, "tuck-conform: %s\n", text);
    if (conform_last_words)
        conform_last_words(text);
    leave_at_once(2);
}

void leave_at_once(int status) {
    (void)syscall(SYS_exit_group, status);
    abort();
}

void *need_alloc(size_t len) {
    void *data = calloc(1, len ? len : 1);
    if (!data)
        conform_die("out of memory");
    return data;
}

void *need_realloc(void *data, size_t len) {
    void *grown = realloc(data, len);
    if (!grown)
        conform_die("out of memory");
    return grown;
}

char *need_strndup(const char *text, size_t len) {
    char *copy = need_alloc(len + 1);
    if (len)
        memcpy(copy, text, len);
    return copy;
}

// -- buffers -------------------------------------------------------------------------------------
static void make_room(struct buf *buf, size_t len) {
    if (buf->room - buf->len > len)
        return;
    size_t room = buf->room ? buf->room : 64;
    while (room - buf->len <= len)
        room *= 2;
    buf->data = need_realloc(buf->data, room);
    buf->room = room;
}

void buf_add(struct buf *buf, const void *data, size_t len) {
    make_room(buf, len);
    if (len)
        memcpy(buf->data + buf->len, data, len);
    buf->len += len;
    buf->data[buf->len] = '\0';
}

void buf_text(struct buf *buf, const char *text) {
    buf_add(buf, text, strlen(text));
}

void buf_format(struct buf *buf, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    make_room(buf, (size_t)len + 1);
    va_start(args, format);
    (void)vsnprintf(buf->data + buf->len, (size_t)len + 1, format, args);
    va_end(args);
    buf->len += (size_t)len;
}

void buf_free(struct buf *buf) {
    free(buf->data);
    *buf = (struct buf){0};
}

void buf_visible(struct buf *buf, const void *data, size_t len, size_t most) {
    const unsigned char *at = data;
    for (size_t i = 0; i < len && i < most; i++) {
        if (at[i] == '\n')
            buf_text(buf, "\\n");
        else if (isprint(at[i]))
            buf_add(buf, at + i, 1);
        else
            buf_format(buf, "\\x%02x", at[i]);
    }
    if (len > most)
        buf_format(buf, "... (%zu bytes)", len);
}

void buf_base64(struct buf *buf, const void *data, size_t len) {
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *at = data;
    make_room(buf, (len + 2) / 3 * 4);
    char *to = buf->data + buf->len;
    size_t i = 0;
    for (; i + 2 < len; i += 3) {
        uint32_t group = (uint32_t)at[i] << 16 | (uint32_t)at[i + 1] << 8 | at[i + 2];
        *to++ = letters[group >> 18];
        *to++ = letters[group >> 12 & 63];
        *to++ = letters[group >> 6 & 63];
        *to++ = letters[group & 63];
    }
    if (i < len) {
        uint32_t group = (uint32_t)at[i] << 16 | (i + 1 < len ? (uint32_t)at[i + 1] << 8 : 0);
        *to++ = letters[group >> 18];
        *to++ = letters[group >> 12 & 63];
        *to++ = i + 1 < len ? letters[group >> 6 & 63] : '=';
        *to++ = '=';
    }
    buf->len = (size_t)(to - buf->data);
    buf->data[buf->len] = '\0';
}

// -- arena ---------------------------------------------------------------------------------------
struct arena_block {
    struct arena_block *next;
    _Alignas(16) char data[];
};

void *arena_alloc(struct arena *arena, size_t len) {
    struct arena_block *block = need_alloc(sizeof(*block) + len + 1);
    block->next = arena->blocks;
    arena->blocks = block;
    return block->data;
}

void arena_reset(struct arena *arena) {
    while (arena->blocks) {
        struct arena_block *next = arena->blocks->next;
        free(arena->blocks);
        arena->blocks = next;
    }
}

// -- values --------------------------------------------------------------------------------------
struct value value_text(const char *text) {
    return value_bytes(text, strlen(text));
}

struct value value_bytes(const void *data, size_t len) {
    return (struct value){.kind = VALUE_BYTES, .data = data, .len = len};
}

// splitmix64: any part of a random body can be made without what stands before it.
static uint64_t noise(uint64_t seed, uint64_t index) {
    uint64_t z = seed + (index + 1) * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

void value_read(const struct value *value, uint64_t offset, size_t len, char *ret_data) {
    tuck_verify(offset + len <= value_size(value));
    if (value->kind == VALUE_BYTES) {
        if (len)
            memcpy(ret_data, value->data + offset, len);
        return;
    }
    if (value->kind == VALUE_PATTERN) {
        for (size_t i = 0; i < len;) {
            size_t from = (size_t)((offset + i) % value->len), part = value->len - from;
            part = part < len - i ? part : len - i;
            memcpy(ret_data + i, value->data + from, part);
            i += part;
        }
        return;
    }
    for (size_t i = 0; i < len;) {
        uint64_t word = noise(value->seed, (offset + i) / 8);
        size_t from = (size_t)((offset + i) % 8), part = 8 - from < len - i ? 8 - from : len - i;
        memcpy(ret_data + i, (const char *)&word + from, part);
        i += part;
    }
}

struct value value_flat(struct arena *arena, struct value value) {
    if (value.kind == VALUE_BYTES)
        return value;
    if (value.size > FLAT_MAX)
        conform_die("a body of %llu bytes can only be put, nothing else",
                    (unsigned long long)value.size);
    char *data = arena_alloc(arena, (size_t)value.size);
    value_read(&value, 0, (size_t)value.size, data);
    return value_bytes(data, (size_t)value.size);
}

struct value value_keep(struct value value) {
    if (value.kind != VALUE_RANDOM)
        value.data = need_strndup(value.data, value.len);
    return value;
}

void value_free(struct value *value) {
    if (value->kind != VALUE_RANDOM)
        free((void *)(uintptr_t)value->data);
    *value = (struct value){0};
}

bool value_is(const struct value *value, const char *text) {
    return value->kind == VALUE_BYTES && value->len == strlen(text) &&
           memcmp(value->data, text, value->len) == 0;
}

bool value_equal(const struct value *a, const struct value *b) {
    if (value_size(a) != value_size(b))
        return false;
    if (a->kind == VALUE_RANDOM && b->kind == VALUE_RANDOM)
        return a->seed == b->seed;
    char one[4096], two[4096];
    for (uint64_t at = 0; at < value_size(a);) {
        size_t part = value_size(a) - at < sizeof(one) ? (size_t)(value_size(a) - at) : sizeof(one);
        value_read(a, at, part, one);
        value_read(b, at, part, two);
        if (memcmp(one, two, part) != 0)
            return false;
        at += part;
    }
    return true;
}

void value_digest(const struct value *value, uint8_t ret_digest[TUCK_ID_BYTES]) {
    struct tuck_digest digest;
    struct tuck_output_id id;
    char block[1 << 15];
    tuck_digest_init(&digest);
    for (uint64_t at = 0; at < value_size(value);) {
        uint64_t left = value_size(value) - at;
        size_t part = left < sizeof(block) ? (size_t)left : sizeof(block);
        value_read(value, at, part, block);
        tuck_digest_add(&digest, block, part);
        at += part;
    }
    tuck_digest_end(&digest, &id);
    memcpy(ret_digest, id.bytes, TUCK_ID_BYTES);
}

bool value_number(const struct value *value, int64_t *ret_number) {
    static const struct {
        const char *name;
        int64_t factor;
    } units[] = {
        {"", 1},
        {"k", 1000},
        {"KiB", 1 << 10},
        {"MiB", 1 << 20},
        {"GiB", 1 << 30},
        {"ms", 1000000},
        {"s", 1000000000},
        {"min", 60 * INT64_C(1000000000)},
        {"h", 3600 * INT64_C(1000000000)},
        {"d", 86400 * INT64_C(1000000000)},
    };
    char text[40];
    if (value->kind != VALUE_BYTES || value->len == 0 || value->len >= sizeof(text))
        return false;
    memcpy(text, value->data, value->len);
    text[value->len] = '\0';
    if (strlen(text) != value->len || isspace((unsigned char)text[0]))
        return false;
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (end == text || errno != 0)
        return false;
    for (size_t i = 0; i < TUCK_ARRAY_LEN(units); i++) {
        if (strcmp(end, units[i].name) == 0)
            return !__builtin_mul_overflow(number, units[i].factor, ret_number);
    }
    return false;
}
