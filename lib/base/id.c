// SPDX-License-Identifier: MIT
#include "lib/base/id.h"

void tuck_hex(char *ret_text, const uint8_t *bytes, size_t len) {
    // Eight digits at once: one nibble in each byte of a word, then 0 to 9 and a to f by arithmetic.
    for (; len >= 4; len -= 4, bytes += 4, ret_text += 8) {
        uint64_t spread = bytes[0] | (uint64_t)bytes[1] << 8 | (uint64_t)bytes[2] << 16 |
                          (uint64_t)bytes[3] << 24;
        spread = (spread | spread << 16) & UINT64_C(0x0000ffff0000ffff);
        spread = (spread | spread << 8) & UINT64_C(0x00ff00ff00ff00ff);
        uint64_t nibbles = (spread >> 4 & UINT64_C(0x000f000f000f000f)) |
                           (spread & UINT64_C(0x000f000f000f000f)) << 8;
        uint64_t letters =
            (nibbles + UINT64_C(0x0606060606060606)) >> 4 & UINT64_C(0x0101010101010101);
        uint64_t text = nibbles + UINT64_C(0x3030303030303030) + letters * ('a' - '0' - 10);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        text = __builtin_bswap64(text);
#endif
        memcpy(ret_text, &text, sizeof(text));
    }
    for (; len > 0; len--, bytes++) {
        *ret_text++ = "0123456789abcdef"[*bytes >> 4];
        *ret_text++ = "0123456789abcdef"[*bytes & 15];
    }
}

static int value_of(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool tuck_unhex(uint8_t *ret_bytes, const char *text, size_t len) {
    for (size_t i = 0; i < len; i++) {
        int high = value_of(text[2 * i]);
        int low = high < 0 ? -1 : value_of(text[2 * i + 1]);
        if (low < 0)
            return false;
        ret_bytes[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}
