// SPDX-License-Identifier: MIT
/*
 * Put: text and numbers into a buffer that has the room, for requests and answers. Each returns the
 * place behind what it has written; nothing is terminated.
 */
#pragma once
#include "lib/base/prelude.h"

static inline char *tuck_put_text(char *at, const char *text) {
    size_t len = strlen(text);
    memcpy(at, text, len);
    return at + len;
}

static inline char *tuck_put_uint(char *at, uint64_t number) {
    char digits[20];
    size_t len = 0;
    do
        digits[len++] = (char)('0' + number % 10);
    while (number /= 10);
    while (len > 0)
        *at++ = digits[--len];
    return at;
}
