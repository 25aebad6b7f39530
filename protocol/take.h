// SPDX-License-Identifier: MIT
/*
 * Take: text, numbers and ids off the front of a message that is as a go command or tuck writes it, for
 * requests and answers. Each says whether it was there, and leaves the text as it is where not. Whatever
 * is written in another way is read by the parsers of whole JSON.
 */
#pragma once
#include "protocol/base64.h"

static inline bool tuck_take_text(struct tuck_slice *from, const char *text) {
    size_t len = strlen(text);
    if (from->len < len || memcmp(from->data, text, len) != 0)
        return false;
    from->data += len;
    from->len -= len;
    return true;
}

/** At most 18 digits, so that an int64_t has room for it, and no leading zero. */
static inline bool tuck_take_uint(struct tuck_slice *from, uint64_t *ret_number) {
    uint64_t number = 0;
    size_t digits = 0;
    while (digits < from->len && digits < 19 && from->data[digits] >= '0' &&
           from->data[digits] <= '9')
        number = number * 10 + (from->data[digits++] - (uint64_t)'0');
    if (digits == 0 || digits == 19 || (from->data[0] == '0' && digits > 1))
        return false;
    from->data += digits;
    from->len -= digits;
    *ret_number = number;
    return true;
}

/** In base64, with the quote behind it. */
static inline bool tuck_take_id(struct tuck_slice *from, uint8_t ret_id[TUCK_ID_BYTES]) {
    if (from->len <= TUCK_BASE64_ID_CHARS || from->data[TUCK_BASE64_ID_CHARS] != '"' ||
        !tuck_base64_id((const char *)from->data, TUCK_BASE64_ID_CHARS, ret_id))
        return false;
    from->data += TUCK_BASE64_ID_CHARS + 1;
    from->len -= TUCK_BASE64_ID_CHARS + 1;
    return true;
}
