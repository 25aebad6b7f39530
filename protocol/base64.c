// SPDX-License-Identifier: MIT
#include "protocol/base64.h"

#include <b64/cdecode.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

// The value of each character shifted to its place in a group, one table for each of the four
// places; INVALID marks what is not in the alphabet and survives the or of four. 4 KiB, made once
// before main().
#define INVALID 0x80000000U
static uint32_t places[4][256];
static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

__attribute__((constructor)) static void fill_tables(void) {
    for (int place = 0; place < 4; place++)
        for (int c = 0; c < 256; c++)
            places[place][c] = INVALID;
    for (unsigned value = 0; value < 64; value++)
        for (int place = 0; place < 4; place++)
            places[place][(uint8_t)alphabet[value]] = value << (18 - 6 * place);
}

static bool is_in_alphabet(char c) {
    return places[3][(uint8_t)c] != INVALID;
}

#ifdef __x86_64__
// Eight groups at once, after Mula and Lemire, "Faster Base64 Encoding and Decoding Using AVX2 Instructions", 2018.
// A character is in the alphabet if no bit is common to what its two nibbles stand for: bits 0 to 3 name the columns
// that the alphabet has gaps in, bit 4 the rows that it does not reach. Stops at the first block with anything else.
__attribute__((target("avx2"))) static size_t decode_wide(const uint8_t *in, size_t len,
                                                          uint8_t *out) {
#define BOTH(...) _mm256_setr_epi8(__VA_ARGS__, __VA_ARGS__)
    const __m256i of_low = BOTH(0x15, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x13,
                                0x1a, 0x1b, 0x1b, 0x1b, 0x1a);
    const __m256i of_high = BOTH(0x10, 0x10, 0x01, 0x02, 0x04, 0x08, 0x04, 0x08, 0x10, 0x10, 0x10,
                                 0x10, 0x10, 0x10, 0x10, 0x10);
    // What to add to a character for its value, by its row; '/' shares a row with '+' and has a place of its own.
    const __m256i shift = BOTH(0, 16, 19, 4, -65, -65, -71, -71, 0, 0, 0, 0, 0, 0, 0, 0);
    const __m256i order = BOTH(2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1);
#undef BOTH
    const __m256i slash = _mm256_set1_epi8('/'); // also a mask that keeps a nibble
    size_t at = 0;
    // 32 characters make 24 bytes but 32 are stored: TUCK_BASE64_ROOM() has them while 44 are left.
    for (; len - at >= 44; at += 32, out += 24) {
        __m256i text = _mm256_loadu_si256((const __m256i *)(const void *)(in + at));
        __m256i high = _mm256_and_si256(_mm256_srli_epi32(text, 4), slash);
        __m256i low = _mm256_and_si256(text, slash);
        if (!_mm256_testz_si256(_mm256_shuffle_epi8(of_low, low),
                                _mm256_shuffle_epi8(of_high, high)))
            break;
        __m256i row = _mm256_add_epi8(_mm256_cmpeq_epi8(text, slash), high);
        __m256i value = _mm256_add_epi8(text, _mm256_shuffle_epi8(shift, row));
        __m256i pairs = _mm256_maddubs_epi16(value, _mm256_set1_epi32(0x01400140));
        __m256i groups = _mm256_madd_epi16(pairs, _mm256_set1_epi32(0x00011000));
        __m256i packed = _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(groups, order),
                                                     _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 7, 7));
        _mm256_storeu_si256((__m256i *)(void *)out, packed);
    }
    return at;
}

// The way back, by the same authors: 24 bytes become 32 characters. Returns how many bytes it took, a multiple of 24;
// it leaves at least four, for each half is loaded with four bytes beyond its twelve.
__attribute__((target("avx2"))) static size_t encode_wide(const uint8_t *in, size_t len,
                                                          char *out) {
#define BOTH(...) _mm256_setr_epi8(__VA_ARGS__, __VA_ARGS__)
    const __m256i order = BOTH(1, 0, 2, 1, 4, 3, 5, 4, 7, 6, 8, 7, 10, 9, 11, 10);
    // What to add to a value for its character: place 13 is for 0 to 25, place 0 for 26 to 51, and each value above has
    // a place of its own.
    const __m256i shift =
        BOTH('a' - 26, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52,
             '0' - 52, '0' - 52, '0' - 52, '+' - 62, '/' - 63, 'A', 0, 0);
#undef BOTH
    size_t at = 0;
    for (; len - at >= 28; at += 24, out += 32) {
        __m256i bytes =
            _mm256_set_m128i(_mm_loadu_si128((const __m128i *)(const void *)(in + at + 12)),
                             _mm_loadu_si128((const __m128i *)(const void *)(in + at)));
        bytes = _mm256_shuffle_epi8(bytes, order);
        // Each pair of six-bit values is moved into its bytes by a multiplication.
        __m256i high = _mm256_mulhi_epu16(_mm256_and_si256(bytes, _mm256_set1_epi32(0x0fc0fc00)),
                                          _mm256_set1_epi32(0x04000040));
        __m256i low = _mm256_mullo_epi16(_mm256_and_si256(bytes, _mm256_set1_epi32(0x003f03f0)),
                                         _mm256_set1_epi32(0x01000010));
        __m256i value = _mm256_or_si256(high, low);
        __m256i row = _mm256_or_si256(
            _mm256_subs_epu8(value, _mm256_set1_epi8(51)),
            _mm256_and_si256(_mm256_cmpgt_epi8(_mm256_set1_epi8(26), value), _mm256_set1_epi8(13)));
        _mm256_storeu_si256((__m256i *)(void *)out,
                            _mm256_add_epi8(value, _mm256_shuffle_epi8(shift, row)));
    }
    return at;
}
#endif

// Whole groups without padding; returns how many characters were good, a multiple of four.
static size_t decode_groups(const char *text, size_t len, uint8_t *out) {
    const uint8_t *in = (const uint8_t *)text;
    size_t at = 0;
#ifdef __x86_64__
    if (len >= 128 && __builtin_cpu_supports("avx2")) {
        at = decode_wide(in, len, out);
        out += at / 4 * 3;
    }
#endif
    for (; at + 4 <= len; at += 4, out += 3) {
        uint32_t group = places[0][in[at]] | places[1][in[at + 1]] | places[2][in[at + 2]] |
                         places[3][in[at + 3]];
        if (group & INVALID)
            break;
        out[0] = (uint8_t)(group >> 16);
        out[1] = (uint8_t)(group >> 8);
        out[2] = (uint8_t)group;
    }
    return at;
}

// One complete group of four that may be padded: 1 to 3 bytes, or 0 if it is not one. Bits beyond
// the last byte must be zero, so that each body has exactly one text.
static size_t decode_edge(const char group[4], uint8_t *out) {
    size_t digits = 0;
    while (digits < 4 && is_in_alphabet(group[digits]))
        digits++;
    for (size_t i = digits; i < 4; i++)
        if (group[i] != '=')
            return 0;
    if (digits < 2)
        return 0;
    uint32_t last = places[3][(uint8_t)group[digits - 1]];
    if ((digits == 2 && (last & 15)) || (digits == 3 && (last & 3)))
        return 0;
    char decoded[8]; // libb64 writes one byte more than it returns
    base64_decodestate state;
    base64_init_decodestate(&state);
    int len = base64_decode_block(group, (int)digits, decoded, &state);
    tuck_verify(len == (int)digits - 1);
    memcpy(out, decoded, (size_t)len);
    return (size_t)len;
}

int tuck_base64_add(struct tuck_base64 *decoder, const char *text, size_t len, uint8_t *ret_data,
                    size_t *ret_len) {
    uint8_t *out = ret_data;
    while (len > 0) {
        if (decoder->is_padded)
            return TUCK_EPROTO;
        if (decoder->carried == 0) {
            size_t good = decode_groups(text, len, out);
            out += good / 4 * 3;
            text += good;
            len -= good;
        }
        while (decoder->carried < 4 && len > 0) {
            if (!is_in_alphabet(*text) && *text != '=')
                return TUCK_EPROTO;
            decoder->carry[decoder->carried++] = *text++;
            len--;
        }
        if (decoder->carried == 4) {
            size_t bytes = decode_edge(decoder->carry, out);
            if (bytes == 0)
                return TUCK_EPROTO;
            decoder->is_padded = bytes < 3;
            decoder->carried = 0;
            out += bytes;
        }
    }
    *ret_len = (size_t)(out - ret_data);
    return 0;
}

bool tuck_base64_id(const char *text, size_t len, uint8_t ret_id[TUCK_ID_BYTES]) {
    struct tuck_base64 decoder;
    uint8_t decoded[TUCK_BASE64_ROOM(TUCK_BASE64_ID_CHARS)];
    size_t decoded_len;
    tuck_base64_init(&decoder);
    if (len != TUCK_BASE64_ID_CHARS ||
        tuck_base64_add(&decoder, text, len, decoded, &decoded_len) != 0 ||
        !tuck_base64_is_complete(&decoder) || decoded_len != TUCK_ID_BYTES)
        return false;
    memcpy(ret_id, decoded, TUCK_ID_BYTES);
    return true;
}

void tuck_base64_encode(const uint8_t *data, size_t len, char *ret_text) {
    char *out = ret_text;
    size_t at = 0;
#ifdef __x86_64__
    if (len >= 128 && __builtin_cpu_supports("avx2")) {
        at = encode_wide(data, len, out);
        out += at / 3 * 4;
    }
#endif
    for (; len - at >= 3; at += 3, out += 4) {
        uint32_t group =
            (uint32_t)data[at] << 16 | (uint32_t)data[at + 1] << 8 | (uint32_t)data[at + 2];
        out[0] = alphabet[group >> 18];
        out[1] = alphabet[group >> 12 & 63];
        out[2] = alphabet[group >> 6 & 63];
        out[3] = alphabet[group & 63];
    }
    if (at == len)
        return;
    uint32_t group = (uint32_t)data[at] << 16 | (len - at == 2 ? (uint32_t)data[at + 1] << 8 : 0);
    out[0] = alphabet[group >> 18];
    out[1] = alphabet[group >> 12 & 63];
    out[2] = len - at == 2 ? alphabet[group >> 6 & 63] : '=';
    out[3] = '=';
}

void tuck_base64_write_id(const uint8_t id[TUCK_ID_BYTES], char ret_text[TUCK_BASE64_ID_CHARS]) {
    tuck_base64_encode(id, TUCK_ID_BYTES, ret_text);
}
