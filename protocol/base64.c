// SPDX-License-Identifier: MIT
#include "protocol/base64.h"

#include <b64/cdecode.h>

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

// Whole groups without padding; returns how many characters were good, a multiple of four.
static size_t decode_groups(const char *text, size_t len, uint8_t *out) {
    const uint8_t *in = (const uint8_t *)text;
    size_t at = 0;
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

void tuck_base64_write_id(const uint8_t id[TUCK_ID_BYTES], char ret_text[TUCK_BASE64_ID_CHARS]) {
    char *out = ret_text;
    for (int at = 0; at < TUCK_ID_BYTES; at += 3, out += 4) {
        uint32_t group = (uint32_t)id[at] << 16 | (uint32_t)id[at + 1] << 8;
        if (at + 2 < TUCK_ID_BYTES)
            group |= id[at + 2];
        out[0] = alphabet[group >> 18];
        out[1] = alphabet[group >> 12 & 63];
        out[2] = alphabet[group >> 6 & 63];
        out[3] = at + 2 < TUCK_ID_BYTES ? alphabet[group & 63] : '=';
    }
}
