// SPDX-License-Identifier: MIT
/*
 * The oracle is OpenSSL: a text is strict base64 if and only if decoding it with EVP_DecodeBlock() and encoding that
 * again gives the same text. (EVP_DecodeBlock() alone accepts white space and a = anywhere.)
 */
#include "tests/unit/unit.h"

#include "protocol/base64.h"

#include <b64/cdecode.h>
#include <b64/cencode.h>
#include <openssl/evp.h>

#define TEXT_MAX 4096

struct decoded {
    bool is_good;
    size_t len;
    uint8_t data[TEXT_MAX];
};

static void decode_by_openssl(const char *text, size_t len, struct decoded *ret) {
    uint8_t decoded[TEXT_MAX], encoded[TEXT_MAX * 2];
    assert_true(len <= TEXT_MAX);
    *ret = (struct decoded){.is_good = len == 0};
    int got = EVP_DecodeBlock(decoded, (const uint8_t *)text, (int)len);
    size_t padding =
        len >= 2 ? (text[len - 1] == '=') + (text[len - 2] == '=' && text[len - 1] == '=') : 0;
    if (len % 4 != 0 || got < 0 || (size_t)got < padding)
        return;
    ret->len = (size_t)got - padding;
    int again = EVP_EncodeBlock(encoded, decoded, (int)ret->len);
    ret->is_good = (size_t)again == len && memcmp(encoded, text, len) == 0;
    memcpy(ret->data, decoded, ret->len);
}

// Feeds the text in pieces that end at the given places. Each piece is decoded from and into memory of exactly its
// size, so that the address sanitizer sees one byte too many.
static void decode_in_pieces(const char *text, size_t len, const size_t *ends, size_t end_count,
                             struct decoded *ret) {
    struct tuck_base64 decoder;
    size_t at = 0;
    tuck_base64_init(&decoder);
    *ret = (struct decoded){.is_good = true};
    for (size_t i = 0; i <= end_count && ret->is_good; i++) {
        size_t piece = (i < end_count ? ends[i] : len) - at;
        char *from = malloc(piece ? piece : 1);
        uint8_t *to = malloc(TUCK_BASE64_ROOM(piece));
        size_t got = SIZE_MAX;
        assert_non_null(from);
        assert_non_null(to);
        memcpy(from, text + at, piece);
        int status = tuck_base64_add(&decoder, from, piece, to, &got);
        if (status == 0) {
            assert_true(got <= TUCK_BASE64_ROOM(piece));
            memcpy(ret->data + ret->len, to, got);
            ret->len += got;
        } else {
            assert_int_equal(status, TUCK_EPROTO);
            ret->is_good = false;
        }
        free(from);
        free(to);
        at += piece;
    }
    ret->is_good = ret->is_good && tuck_base64_is_complete(&decoder);
}

static void assert_same(const struct decoded *own, const struct decoded *other, const char *text,
                        size_t len) {
    if (own->is_good != other->is_good)
        print_message("# '%.*s' is %s\n", (int)len, text, own->is_good ? "accepted" : "refused");
    assert_int_equal(own->is_good, other->is_good);
    if (!own->is_good)
        return;
    assert_int_equal(own->len, other->len);
    assert_memory_equal(own->data, other->data, own->len);
}

static void one_at_a_time(size_t *ends, size_t len) {
    for (size_t i = 0; i < len; i++)
        ends[i] = i + 1;
}

// Whole, one character at a time, and cut at two random places.
static void assert_as_openssl(const char *text, size_t len, struct unit_random *random) {
    static struct decoded own, expected;
    size_t ends[TEXT_MAX];
    decode_by_openssl(text, len, &expected);
    decode_in_pieces(text, len, NULL, 0, &own);
    assert_same(&own, &expected, text, len);
    one_at_a_time(ends, len);
    decode_in_pieces(text, len, ends, len, &own);
    assert_same(&own, &expected, text, len);
    ends[0] = unit_random_below(random, len + 1);
    ends[1] = ends[0] + unit_random_below(random, len - ends[0] + 1);
    decode_in_pieces(text, len, ends, 2, &own);
    assert_same(&own, &expected, text, len);
}

static size_t random_text(struct unit_random *random, size_t bytes, char *ret_text) {
    uint8_t data[TEXT_MAX];
    unit_random_fill(random, data, bytes);
    return (size_t)EVP_EncodeBlock((uint8_t *)ret_text, data, (int)bytes);
}

// --- Good texts ----------------------------------------------------------------------------------

static void a_good_text_decodes_as_by_openssl_and_libb64(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    for (size_t bytes = 0; bytes <= 2000; bytes += bytes < 200 ? 1 : 97) {
        char text[TEXT_MAX];
        char by_libb64[TEXT_MAX];
        static struct decoded own;
        size_t len = random_text(&random, bytes, text);
        assert_as_openssl(text, len, &random);
        decode_in_pieces(text, len, NULL, 0, &own);
        base64_decodestate state64;
        base64_init_decodestate(&state64);
        assert_int_equal(base64_decode_block(text, (int)len, by_libb64, &state64), own.len);
        assert_memory_equal(by_libb64, own.data, own.len);
        assert_int_equal(own.len, bytes);
    }
}

static void where_a_text_is_cut_in_two_makes_no_difference(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    for (size_t bytes = 0; bytes <= 100; bytes++) {
        char text[TEXT_MAX];
        static struct decoded own, expected;
        size_t len = random_text(&random, bytes, text);
        decode_by_openssl(text, len, &expected);
        assert_true(expected.is_good);
        for (size_t cut = 0; cut <= len; cut++) {
            decode_in_pieces(text, len, &cut, 1, &own);
            assert_same(&own, &expected, text, len);
        }
    }
}

static void where_a_text_is_cut_in_four_makes_no_difference(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    for (size_t bytes = 10; bytes <= 15; bytes++) {
        char text[TEXT_MAX];
        static struct decoded own, expected;
        size_t len = random_text(&random, bytes, text);
        decode_by_openssl(text, len, &expected);
        size_t ends[3];
        for (ends[0] = 0; ends[0] <= len; ends[0]++)
            for (ends[1] = ends[0]; ends[1] <= len; ends[1]++)
                for (ends[2] = ends[1]; ends[2] <= len; ends[2]++) {
                    decode_in_pieces(text, len, ends, 3, &own);
                    assert_same(&own, &expected, text, len);
                }
    }
}

static void a_long_text_fits_the_room_that_the_macro_names(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    static struct decoded own;
    char text[TEXT_MAX];
    size_t len = random_text(&random, 3000, text);
    for (size_t step = 1; step < 50; step++) {
        size_t ends[TEXT_MAX], count = 0;
        for (size_t at = step; at < len; at += step)
            ends[count++] = at;
        decode_in_pieces(text, len, ends, count, &own);
        assert_true(own.is_good);
        assert_int_equal(own.len, 3000);
    }
}

// --- Bad texts -----------------------------------------------------------------------------------

static void each_byte_at_each_place_is_taken_or_refused_as_by_openssl(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    for (size_t bytes = 1; bytes <= 12; bytes++) {
        char text[TEXT_MAX];
        size_t len = random_text(&random, bytes, text);
        for (size_t place = 0; place < len; place++) {
            char before = text[place];
            for (int c = 0; c < 256; c++) {
                text[place] = (char)c;
                assert_as_openssl(text, len, &random);
            }
            text[place] = before;
        }
    }
}

static void each_byte_at_each_place_of_a_long_text_is_taken_or_refused_as_by_openssl(void **state) {
    (void)state;
    // Long texts are decoded in blocks of many groups, with another table.
    struct unit_random random = unit_random_of(__func__);
    static struct decoded own, expected;
    char text[TEXT_MAX];
    size_t len = random_text(&random, 196, text); // ends with padding
    for (size_t place = 0; place < len; place++) {
        char before = text[place];
        for (int c = 0; c < 256; c++) {
            text[place] = (char)c;
            decode_by_openssl(text, len, &expected);
            size_t cut = unit_random_below(&random, 70);
            decode_in_pieces(text, len, &cut, unit_random_below(&random, 2), &own);
            assert_same(&own, &expected, text, len);
        }
        text[place] = before;
    }
}

static void a_byte_outside_the_alphabet_is_refused_as_soon_as_it_is_seen(void **state) {
    (void)state;
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
    for (int c = 0; c < 256; c++) {
        if (c != 0 && strchr(alphabet, c))
            continue;
        for (size_t place = 0; place < 24; place++) {
            char text[24];
            uint8_t out[TUCK_BASE64_ROOM(sizeof(text))];
            size_t got;
            struct tuck_base64 decoder;
            memset(text, 'A', sizeof(text));
            text[place] = (char)c;
            tuck_base64_init(&decoder);
            assert_int_equal(tuck_base64_add(&decoder, text, place, out, &got), 0);
            assert_int_equal(tuck_base64_add(&decoder, text + place, 1, out, &got), TUCK_EPROTO);
        }
    }
}

static void a_text_that_ends_inside_a_group_is_incomplete(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    char text[TEXT_MAX];
    size_t len = random_text(&random, 30, text);
    for (size_t part = 0; part <= len; part++) {
        static struct decoded own;
        decode_in_pieces(text, part, NULL, 0, &own);
        assert_int_equal(own.is_good, part % 4 == 0);
    }
}

static void padding_stands_at_the_end_only_and_is_never_too_much(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool is_good;
    } table[] = {
        {"", true},
        {"AA==", true},
        {"AAA=", true},
        {"AAAA", true},
        {"=", false},
        {"==", false},
        {"===", false},
        {"====", false},
        {"A===", false},
        {"A=", false},
        {"AA=", false},
        {"AA", false},
        {"AAA", false},
        {"AAA==", false},
        {"AA===", false},
        {"AAAA=", false},
        {"AAAA==", false},
        {"AAAA====", false},
        {"=AAA", false},
        {"A=AA", false},
        {"AA=A", false},
        {"==AA", false},
        {"A==A", false},
        {"A=A=", false},
        {"=AA=", false},
        {"AA==AAAA", false},
        {"AAA=AAAA", false},
        {"AA==AA==", false},
        {"AAAAAA==", true},
        {"AAAAAAA=", true},
        {"AA==A", false},
        {"AA== ", false},
        {"AA==\n", false},
        {" AAAA", false},
        {"AAAA\n", false},
        {"AA AA", false},
        {"AAAA\nAAAA", false},
    };
    struct unit_random random = unit_random_of(__func__);
    for (size_t i = 0; i < TUCK_ARRAY_LEN(table); i++) {
        static struct decoded own;
        decode_in_pieces(table[i].text, strlen(table[i].text), NULL, 0, &own);
        if (own.is_good != table[i].is_good)
            print_message("# '%s'\n", table[i].text);
        assert_int_equal(own.is_good, table[i].is_good);
        assert_as_openssl(table[i].text, strlen(table[i].text), &random);
    }
}

static void bits_beyond_the_last_byte_must_be_zero(void **state) {
    (void)state;
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (unsigned value = 0; value < 64; value++) {
        for (unsigned first = 0; first < 64; first++) {
            static struct decoded own;
            char two[] = {alphabet[first], alphabet[value], '=', '='};
            char three[] = {alphabet[63 - first], alphabet[first], alphabet[value], '='};
            decode_in_pieces(two, 4, NULL, 0, &own);
            assert_int_equal(own.is_good, value % 16 == 0);
            decode_in_pieces(three, 4, NULL, 0, &own);
            assert_int_equal(own.is_good, value % 4 == 0);
        }
    }
}

static void nothing_may_follow_padding_in_a_later_piece(void **state) {
    (void)state;
    for (int c = 0; c < 256; c++) {
        struct tuck_base64 decoder;
        uint8_t out[TUCK_BASE64_ROOM(4)];
        size_t got;
        char next = (char)c;
        tuck_base64_init(&decoder);
        assert_int_equal(tuck_base64_add(&decoder, "QQ==", 4, out, &got), 0);
        assert_int_equal(got, 1);
        assert_int_equal(tuck_base64_add(&decoder, "", 0, out, &got), 0);
        assert_int_equal(got, 0);
        assert_true(tuck_base64_is_complete(&decoder));
        assert_int_equal(tuck_base64_add(&decoder, &next, 1, out, &got), TUCK_EPROTO);
    }
}

static void random_damage_is_taken_or_refused_as_by_openssl(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    static const char usual[] = "==== \n\r\t-_.+/AZaz09\"\\{}";
    for (int round = 0; round < 30000; round++) {
        char text[TEXT_MAX];
        size_t len = random_text(&random, unit_random_below(&random, round % 4 ? 60 : 1000), text);
        for (size_t changes = unit_random_below(&random, 3); changes > 0 && len > 0; changes--) {
            size_t place = unit_random_below(&random, len);
            char c = unit_random_below(&random, 2)
                         ? usual[unit_random_below(&random, sizeof(usual) - 1)]
                         : (char)unit_random_next(&random);
            switch (unit_random_below(&random, 4)) {
            case 0: // another character
                text[place] = c;
                break;
            case 1: // one too many
                memmove(text + place + 1, text + place, len++ - place);
                text[place] = c;
                break;
            case 2: // one too few
                memmove(text + place, text + place + 1, --len - place);
                break;
            default: // cut off
                len = place;
            }
        }
        assert_as_openssl(text, len, &random);
    }
}

// --- Encoding ------------------------------------------------------------------------------------

// From and into memory of exactly its size.
static char *encode(const uint8_t *data, size_t len) {
    uint8_t *from = malloc(len ? len : 1);
    char *to = malloc(len ? TUCK_BASE64_CHARS(len) : 1);
    assert_non_null(from);
    assert_non_null(to);
    memcpy(from, data, len);
    tuck_base64_encode(from, len, to);
    free(from);
    return to;
}

static void bytes_of_any_length_are_encoded_as_by_openssl_and_libb64(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    for (size_t len = 0; len < 700; len++) {
        uint8_t data[700], expected[1024];
        char by_libb64[1200]; // with its line ends
        base64_encodestate encoder;
        unit_random_fill(&random, data, len);
        char *own = encode(data, len);
        assert_int_equal(EVP_EncodeBlock(expected, data, (int)len), TUCK_BASE64_CHARS(len));
        assert_memory_equal(own, expected, TUCK_BASE64_CHARS(len));
        base64_init_encodestate(&encoder);
        int used = base64_encode_block((const char *)data, (int)len, by_libb64, &encoder);
        used += base64_encode_blockend(by_libb64 + used, &encoder);
        size_t kept = 0;
        for (int i = 0; i < used; i++)
            if (by_libb64[i] != '\n')
                by_libb64[kept++] = by_libb64[i];
        assert_int_equal(kept, TUCK_BASE64_CHARS(len));
        assert_memory_equal(own, by_libb64, kept);
        free(own);
    }
}

static void every_group_of_three_bytes_is_encoded_as_by_openssl_in_long_runs_too(void **state) {
    (void)state;
    enum { RUN = 3 * 4096 };
    static uint8_t data[RUN], expected[RUN / 3 * 4 + 1];
    for (unsigned high = 0; high < 4096; high++) { // all 2^24 of them
        for (unsigned low = 0; low < 4096; low++) {
            unsigned group = high << 12 | low;
            data[3 * low] = (uint8_t)(group >> 16);
            data[3 * low + 1] = (uint8_t)(group >> 8);
            data[3 * low + 2] = (uint8_t)group;
        }
        static char own[RUN / 3 * 4];
        tuck_base64_encode(data, RUN, own);
        (void)EVP_EncodeBlock(expected, data, RUN);
        assert_memory_equal(own, expected, sizeof(own));
    }
}

static void pieces_of_a_multiple_of_three_bytes_join_without_a_seam(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    for (int round = 0; round < 200; round++) {
        uint8_t data[3000];
        char joined[TUCK_BASE64_CHARS(3000)];
        size_t len = unit_random_below(&random, sizeof(data)), at = 0;
        unit_random_fill(&random, data, len);
        char *whole = encode(data, len);
        while (at < len) {
            size_t piece = 3 + 3 * unit_random_below(&random, 200);
            piece = piece > len - at ? len - at : piece;
            char *part = encode(data + at, piece);
            memcpy(joined + at / 3 * 4, part, TUCK_BASE64_CHARS(piece));
            free(part);
            at += piece;
        }
        assert_memory_equal(joined, whole, TUCK_BASE64_CHARS(len));
        free(whole);
    }
}

// --- Ids -----------------------------------------------------------------------------------------

static void an_id_is_written_as_by_openssl_and_read_back(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    for (int round = 0; round < 2000; round++) {
        uint8_t id[TUCK_ID_BYTES], back[TUCK_ID_BYTES];
        char text[TUCK_BASE64_ID_CHARS + 4], expected[64];
        unit_random_fill(&random, id, sizeof(id));
        memset(text, '?', sizeof(text));
        tuck_base64_write_id(id, text);
        assert_int_equal(EVP_EncodeBlock((uint8_t *)expected, id, sizeof(id)),
                         TUCK_BASE64_ID_CHARS);
        assert_memory_equal(text, expected, TUCK_BASE64_ID_CHARS);
        assert_memory_equal(text + TUCK_BASE64_ID_CHARS, "????", 4);
        assert_true(tuck_base64_id(text, TUCK_BASE64_ID_CHARS, back));
        assert_memory_equal(back, id, sizeof(id));
    }
}

static void a_text_of_another_length_is_no_id(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    for (size_t bytes = 0; bytes < 60; bytes++) {
        char text[TEXT_MAX];
        uint8_t id[TUCK_ID_BYTES];
        size_t len = random_text(&random, bytes, text);
        assert_int_equal(tuck_base64_id(text, len, id), bytes == TUCK_ID_BYTES);
        if (len > 0)
            assert_false(tuck_base64_id(text, len - 1, id));
    }
}

static void an_id_with_any_other_byte_in_it_is_another_id_or_none(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    char text[TEXT_MAX];
    uint8_t id[TUCK_ID_BYTES], other[TUCK_ID_BYTES];
    size_t len = random_text(&random, TUCK_ID_BYTES, text);
    assert_true(tuck_base64_id(text, len, id));
    for (size_t place = 0; place < len; place++) {
        char before = text[place];
        for (int c = 0; c < 256; c++) {
            static struct decoded expected;
            text[place] = (char)c;
            decode_by_openssl(text, len, &expected);
            bool is_id = expected.is_good && expected.len == TUCK_ID_BYTES;
            assert_int_equal(tuck_base64_id(text, len, other), is_id);
            if (is_id) {
                assert_memory_equal(other, expected.data, TUCK_ID_BYTES);
                assert_int_equal(memcmp(other, id, TUCK_ID_BYTES) == 0, (char)c == before);
            }
        }
        text[place] = before;
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_good_text_decodes_as_by_openssl_and_libb64),
    cmocka_unit_test(where_a_text_is_cut_in_two_makes_no_difference),
    cmocka_unit_test(where_a_text_is_cut_in_four_makes_no_difference),
    cmocka_unit_test(a_long_text_fits_the_room_that_the_macro_names),
    cmocka_unit_test(each_byte_at_each_place_is_taken_or_refused_as_by_openssl),
    cmocka_unit_test(each_byte_at_each_place_of_a_long_text_is_taken_or_refused_as_by_openssl),
    cmocka_unit_test(a_byte_outside_the_alphabet_is_refused_as_soon_as_it_is_seen),
    cmocka_unit_test(a_text_that_ends_inside_a_group_is_incomplete),
    cmocka_unit_test(padding_stands_at_the_end_only_and_is_never_too_much),
    cmocka_unit_test(bits_beyond_the_last_byte_must_be_zero),
    cmocka_unit_test(nothing_may_follow_padding_in_a_later_piece),
    cmocka_unit_test(random_damage_is_taken_or_refused_as_by_openssl),
    cmocka_unit_test(bytes_of_any_length_are_encoded_as_by_openssl_and_libb64),
    cmocka_unit_test(every_group_of_three_bytes_is_encoded_as_by_openssl_in_long_runs_too),
    cmocka_unit_test(pieces_of_a_multiple_of_three_bytes_join_without_a_seam),
    cmocka_unit_test(an_id_is_written_as_by_openssl_and_read_back),
    cmocka_unit_test(a_text_of_another_length_is_no_id),
    cmocka_unit_test(an_id_with_any_other_byte_in_it_is_another_id_or_none),
};

UNIT_MAIN(tests)
