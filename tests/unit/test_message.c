// SPDX-License-Identifier: MIT
/*
 * The short way, which knows only what the go command writes, against the long way through framing and jansson; and
 * the answers against jansson as their reader.
 */
#include "tests/unit/unit.h"

#include "lib/base/clock.h"
#include "protocol/base64.h"
#include "protocol/frame.h"
#include "protocol/message.h"

#include <inttypes.h>
#include <jansson.h>

#define A1  "qxWcnC5pHpFE38q9zLcruuzB831Bbc3A2HJjQokD22A="
#define A2  "fG9wRPLN9vf3GExT0+DGWojmRky2T6Mqd1h72un33+o="
#define O1  "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="
#define O0  "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
#define GET "\"Command\":\"get\",\"ActionID\":\"" A1 "\""
#define PUT "\"Command\":\"put\",\"ActionID\":\"" A1 "\",\"OutputID\":\"" O1 "\""

// What go commands have written, Go 1.24 and 1.26.
static const char *const real_lines[] = {
    "{\"ID\":1," GET "}",
    "{\"ID\":7," GET "}",
    "{\"ID\":123456," GET "}",
    "{\"ID\":999999999999999999," GET "}",
    "{\"ID\":2," PUT ",\"BodySize\":5}",
    "{\"ID\":3," PUT ",\"BodySize\":67108864}",
    "{\"ID\":3,\"Command\":\"put\",\"ActionID\":\"" A2 "\",\"OutputID\":\"" O0 "\"}",
    "{\"ID\":5,\"Command\":\"close\"}",
};

// In memory of exactly its size: the address sanitizer sees a read beyond.
static uint8_t *copy_of(const char *text, size_t len) {
    uint8_t *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, text, len);
    return copy;
}

static int parse(const char *text, size_t len, struct tuck_request *ret) {
    uint8_t *copy = copy_of(text, len);
    struct tuck_error err = {0};
    int status = tuck_request_parse((struct tuck_slice){copy, len}, ret, &err);
    free(copy);
    assert_true(status == 0 || status == TUCK_EPROTO);
    assert_int_equal(err.code, status);
    return status;
}

static int parse_text(const char *text, struct tuck_request *ret) {
    *ret = (struct tuck_request){0};
    return parse(text, strlen(text), ret);
}

static bool is_same(const struct tuck_request *a, const struct tuck_request *b) {
    if (a->id != b->id || a->command != b->command || a->body_size != b->body_size ||
        a->flaw != b->flaw)
        return false;
    if (a->flaw || (a->command != TUCK_COMMAND_GET && a->command != TUCK_COMMAND_PUT))
        return true;
    return tuck_action_equal(&a->action, &b->action) &&
           (a->command == TUCK_COMMAND_GET || tuck_output_equal(&a->output, &b->output));
}

// What the short way takes, the long way must take to the same end. Returns true if it took it.
static bool assert_both_ways_agree(const char *text, size_t len) {
    struct tuck_request taken, untouched, parsed = {0};
    memset(&taken, 0x5a, sizeof(taken));
    memset(&untouched, 0x5a, sizeof(untouched));
    uint8_t *copy = copy_of(text, len);
    struct tuck_slice rest = {copy, len}, long_rest = {copy, len}, piece = {0};
    bool is_taken = tuck_request_take(&rest, &taken);
    if (is_taken) {
        struct tuck_frame *frame = NULL;
        assert_int_equal(tuck_frame_new(&frame), 0);
        bool is_equal = tuck_frame_next(frame, &long_rest, &piece, NULL) == TUCK_FRAME_MESSAGE &&
                        tuck_request_parse(piece, &parsed, NULL) == 0 && is_same(&taken, &parsed) &&
                        rest.len == long_rest.len && rest.data == long_rest.data;
        if (!is_equal)
            print_message("# %.*s\n", (int)len, text);
        assert_true(is_equal);
        assert_true(taken.id > 0);
        assert_null(taken.flaw);
        tuck_frame_free(frame);
    } else {
        assert_ptr_equal(rest.data, copy);
        assert_int_equal(rest.len, len);
        assert_memory_equal(&taken, &untouched, sizeof(taken));
    }
    free(copy);
    return is_taken;
}

// --- Two ways, one result ------------------------------------------------------------------------

static void what_go_commands_write_takes_the_short_way_to_the_same_result(void **state) {
    (void)state;
    static const char *const around[][2] = {
        {"", ""}, {"\n", "\n\n"}, {"\n\n\n", "\n\n{\"ID\":9,"}, {"", "\"aGVsbG8=\"\n"}, {"", "}"}};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(real_lines); i++) {
        struct tuck_request request;
        assert_int_equal(parse_text(real_lines[i], &request), 0);
        assert_null(request.flaw);
        for (size_t j = 0; j < TUCK_ARRAY_LEN(around); j++) {
            char text[512];
            int len =
                snprintf(text, sizeof(text), "%s%s%s", around[j][0], real_lines[i], around[j][1]);
            assert_true(assert_both_ways_agree(text, (size_t)len));
        }
    }
}

static void of_several_requests_the_short_way_takes_one_at_a_time(void **state) {
    (void)state;
    char text[4096] = "";
    size_t len = 0;
    for (size_t i = 0; i < TUCK_ARRAY_LEN(real_lines); i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s\n\n", real_lines[i]);
    struct tuck_slice input = {(uint8_t *)text, len};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(real_lines); i++) {
        struct tuck_request taken, parsed;
        assert_true(tuck_request_take(&input, &taken));
        assert_int_equal(parse_text(real_lines[i], &parsed), 0);
        assert_true(is_same(&taken, &parsed));
    }
    struct tuck_request none;
    assert_false(tuck_request_take(&input, &none));
    assert_int_equal(input.len, 2);
}

static void a_request_that_has_not_arrived_whole_is_left_to_framing(void **state) {
    (void)state;
    for (size_t i = 0; i < TUCK_ARRAY_LEN(real_lines); i++)
        for (size_t len = 0; len < strlen(real_lines[i]); len++)
            assert_false(assert_both_ways_agree(real_lines[i], len));
}

static void the_fields_of_a_real_line_are_read(void **state) {
    (void)state;
    struct tuck_request request;
    uint8_t action[TUCK_ID_BYTES], output[TUCK_ID_BYTES];
    assert_true(tuck_base64_id(A1, 44, action));
    assert_true(tuck_base64_id(O1, 44, output));
    assert_int_equal(parse_text("{\"ID\":42," PUT ",\"BodySize\":1234567890123}", &request), 0);
    assert_int_equal(request.id, 42);
    assert_int_equal(request.command, TUCK_COMMAND_PUT);
    assert_int_equal(request.body_size, 1234567890123);
    assert_memory_equal(request.action.bytes, action, TUCK_ID_BYTES);
    assert_memory_equal(request.output.bytes, output, TUCK_ID_BYTES);
    assert_int_equal(parse_text("{\"ID\":5,\"Command\":\"close\"}", &request), 0);
    assert_int_equal(request.command, TUCK_COMMAND_CLOSE);
    assert_int_equal(request.body_size, 0);
}

static size_t random_number(struct unit_random *random, char *ret_text) {
    size_t digits = 1 + unit_random_below(random, 20);
    for (size_t i = 0; i < digits; i++)
        ret_text[i] = (char)('0' + unit_random_below(random, 10));
    ret_text[digits] = '\0';
    return digits;
}

static void random_lines_of_the_usual_form_come_out_the_same_both_ways(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    int short_count = 0;
    for (int round = 0; round < 5000; round++) {
        char line[512], id[24], size[24], action[45] = {0}, output[45] = {0};
        uint8_t bytes[TUCK_ID_BYTES];
        (void)random_number(&random, id);
        (void)random_number(&random, size);
        unit_random_fill(&random, bytes, sizeof(bytes));
        tuck_base64_write_id(bytes, action);
        unit_random_fill(&random, bytes, sizeof(bytes));
        tuck_base64_write_id(bytes, output);
        if (unit_random_below(&random, 2))
            (void)snprintf(line, sizeof(line),
                           "{\"ID\":%s,\"Command\":\"get\",\"ActionID\":\"%s\"}", id, action);
        else
            (void)snprintf(line, sizeof(line),
                           "{\"ID\":%s,\"Command\":\"put\",\"ActionID\":\"%s\",\"OutputID\":\"%s\","
                           "\"BodySize\":%s}",
                           id, action, output, size);
        short_count += assert_both_ways_agree(line, strlen(line));
    }
    assert_in_range(short_count, 2000, 5000);
}

static size_t mutate(struct unit_random *random, char *text, size_t len) {
    static const char *const splinters[] = {"0",
                                            "9",
                                            "-",
                                            "\"",
                                            "}",
                                            "{",
                                            ",",
                                            ":",
                                            " ",
                                            "=",
                                            "==",
                                            "A",
                                            "/",
                                            "+",
                                            "\\u0041",
                                            "\\",
                                            "\n",
                                            "1e400",
                                            "1.0",
                                            "null",
                                            "\"ID\":3",
                                            ",\"id\":8",
                                            "true",
                                            "00",
                                            "999999999999999999999",
                                            "\"BodySize\":",
                                            "get",
                                            "put",
                                            "close",
                                            "\xc3\xa9",
                                            "\xff",
                                            "[",
                                            "]"};
    for (size_t changes = 1 + unit_random_below(random, 2); changes > 0 && len > 0; changes--) {
        size_t place = unit_random_below(random, len);
        const char *splinter = splinters[unit_random_below(random, TUCK_ARRAY_LEN(splinters))];
        size_t splinter_len = strlen(splinter), gone = 0;
        switch (unit_random_below(random, 6)) {
        case 0: // one byte
            text[place] = (char)unit_random_next(random);
            continue;
        case 1: // one bit
            text[place] = (char)(text[place] ^ 1 << unit_random_below(random, 8));
            continue;
        case 2: // a piece of another kind in between
            break;
        case 3: // in place of something
            gone = 1 + unit_random_below(random, 6);
            break;
        case 4: // something gone
            gone = 1 + unit_random_below(random, 12);
            splinter_len = 0;
            break;
        default: // a letter in the other case
            if ((text[place] | 32) >= 'a' && (text[place] | 32) <= 'z')
                text[place] ^= 32;
            continue;
        }
        gone = gone < len - place ? gone : len - place;
        memmove(text + place + splinter_len, text + place + gone, len - place - gone);
        memcpy(text + place, splinter, splinter_len);
        len = len - gone + splinter_len;
    }
    return len;
}

static void mutated_lines_come_out_the_same_both_ways(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    int short_count = 0;
    for (int round = 0; round < 40000; round++) {
        char line[1024];
        const char *real = real_lines[unit_random_below(&random, TUCK_ARRAY_LEN(real_lines))];
        size_t len = strlen(real);
        memcpy(line, real, len);
        len = mutate(&random, line, len);
        short_count += assert_both_ways_agree(line, len);
    }
    assert_in_range(short_count, 1000, 39000);
}

static void a_line_cut_anywhere_is_refused_and_nothing_behind_it_is_read(void **state) {
    (void)state;
    static const char *const lines[] = {"{\"ID\":1," PUT
                                        ",\"BodySize\":5,\"x\":[1e400,12345678901234567890123,-1]}",
                                        "{\"ID\":1," GET ",\"a\":\"\\u0041\\\"\"}"};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(lines); i++) {
        struct tuck_request request;
        assert_int_equal(parse_text(lines[i], &request), 0);
        for (size_t len = 0; len < strlen(lines[i]); len++) {
            assert_int_equal(parse(lines[i], len, &request), TUCK_EPROTO);
        }
    }
}

// --- IDs and sizes -------------------------------------------------------------------------------

static void an_id_is_any_integer_of_64_bits_but_zero(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t id; // 0: no answer is possible
    } table[] = {
        {"1", 1},
        {"99999999999999999", 99999999999999999},
        {"999999999999999999", 999999999999999999},
        {"1000000000000000000", 1000000000000000000},
        {"9223372036854775807", INT64_MAX},
        {"-1", -1},
        {"-9223372036854775808", INT64_MIN},
        {"9223372036854775808", 0},
        {"-9223372036854775809", 0},
        {"18446744073709551617", 0},
        {"100000000000000000000", 0},
        {"0", 0},
        {"-0", 0},
        {"1.0", 0},
        {"1e0", 0},
        {"1E2", 0},
        {"1e400", 0},
        {"-1e400", 0},
        {"01", 0},
        {"+1", 0},
        {"0x1", 0},
        {"1_0", 0},
        {"\"1\"", 0},
        {"null", 0},
        {"true", 0},
        {"[1]", 0},
        {"{}", 0},
        {"", 0},
    };
    for (size_t i = 0; i < TUCK_ARRAY_LEN(table); i++) {
        static const char *const forms[] = {"{\"ID\":%s," GET "}", "{" GET ",\"ID\":%s}",
                                            "{\"Command\":\"close\",\"ID\":%s }"};
        for (size_t form = 0; form < TUCK_ARRAY_LEN(forms); form++) {
            char line[512];
            struct tuck_request request = {0};
            const char *gap = strstr(forms[form], "%s");
            (void)snprintf(line, sizeof(line), "%.*s%s%s", (int)(gap - forms[form]), forms[form],
                           table[i].text, gap + 2);
            int status = parse_text(line, &request);
            if (status != (table[i].id ? 0 : TUCK_EPROTO) || request.id != table[i].id)
                print_message("# %s: %d, id %" PRId64 "\n", line, status, request.id);
            assert_int_equal(status, table[i].id ? 0 : TUCK_EPROTO);
            if (status == 0)
                assert_int_equal(request.id, table[i].id);
        }
    }
}

static void a_request_without_an_id_cannot_be_answered(void **state) {
    (void)state;
    struct tuck_request request;
    assert_int_equal(parse_text("{" GET "}", &request), TUCK_EPROTO);
    assert_int_equal(parse_text("{}", &request), TUCK_EPROTO);
    assert_int_equal(parse_text("{\"id \":1," GET "}", &request), TUCK_EPROTO);
}

static void a_negative_id_is_a_flaw_under_that_id(void **state) {
    (void)state;
    struct tuck_request request;
    assert_int_equal(parse_text("{\"ID\":-5," GET "}", &request), 0);
    assert_int_equal(request.id, -5);
    assert_non_null(request.flaw);
    assert_int_equal(parse_text("{\"ID\":-5," PUT ",\"BodySize\":7}", &request), 0);
    assert_int_equal(request.body_size, 7);
    assert_non_null(request.flaw);
    assert_int_equal(parse_text("{\"ID\":-5,\"Command\":\"close\"}", &request), 0);
    assert_non_null(request.flaw);
}

static void a_body_size_is_a_whole_number_or_absent(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t size; // -1: what follows in the stream is open
    } table[] = {
        {"0", 0},
        {"1", 1},
        {"null", 0},
        {"999999999999999999", 999999999999999999},
        {"9223372036854775807", INT64_MAX},
        {"9223372036854775808", -1},
        {"18446744073709551621", -1},
        {"99999999999999999999999999", -1},
        {"-1", -1},
        {"-9223372036854775808", -1},
        {"1.5", -1},
        {"5.0", -1},
        {"1e3", -1},
        {"1e400", -1},
        {"1e9", -1},
        {"\"5\"", -1},
        {"\"\"", -1},
        {"true", -1},
        {"[]", -1},
        {"{}", -1},
    };
    for (size_t i = 0; i < TUCK_ARRAY_LEN(table); i++) {
        // The field behind makes some numbers too large for jansson, which then reads the line another way.
        static const char *const behind[] = {"", ",\"x\":1e400",
                                             ",\"x\":123456789012345678901234567890"};
        for (size_t j = 0; j < TUCK_ARRAY_LEN(behind); j++) {
            char line[512];
            struct tuck_request request;
            (void)snprintf(line, sizeof(line), "{\"ID\":1," PUT ",\"BodySize\":%s%s}",
                           table[i].text, behind[j]);
            int status = parse_text(line, &request);
            if (status != (table[i].size < 0 ? TUCK_EPROTO : 0))
                print_message("# %s: %d\n", line, status);
            assert_int_equal(status, table[i].size < 0 ? TUCK_EPROTO : 0);
            if (status == 0)
                assert_int_equal(request.body_size, table[i].size);
        }
    }
}

static void numbers_of_any_magnitude_are_passed_over_where_they_are_not_needed(void **state) {
    (void)state;
    static const char *const numbers[] = {"1e400",
                                          "-1e400",
                                          "1E+999999",
                                          "123456789012345678901234567890",
                                          "1e9",
                                          "0.5",
                                          "-9223372036854775809",
                                          "18446744073709551615",
                                          "[1e400,{\"y\":[-2e999]}]",
                                          "1e-400"};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(numbers); i++) {
        char line[512];
        struct tuck_request request;
        (void)snprintf(line, sizeof(line), "{\"x\":%s,\"ID\":77," PUT ",\"BodySize\":5,\"y\":%s}",
                       numbers[i], numbers[i]);
        assert_int_equal(parse_text(line, &request), 0);
        assert_int_equal(request.id, 77);
        assert_int_equal(request.body_size, 5);
        assert_null(request.flaw);
    }
}

static void an_id_of_19_digits_is_kept_beside_a_number_that_is_too_large(void **state) {
    (void)state;
    struct tuck_request request;
    assert_int_equal(parse_text("{\"ID\":9223372036854775807," GET ",\"x\":1e400}", &request), 0);
    assert_int_equal(request.id, INT64_MAX);
    assert_int_equal(parse_text("{\"x\":1e400,\"ID\":1234567890123456789," PUT
                                ",\"BodySize\":1234567890123456789}",
                                &request),
                     0);
    assert_int_equal(request.id, 1234567890123456789);
    assert_int_equal(request.body_size, 1234567890123456789);
}

static void digits_inside_strings_are_no_numbers(void **state) {
    (void)state;
    struct tuck_request request;
    assert_int_equal(
        parse_text("{\"x\":1e400,\"1e400\\\"123456789012345678901234567890\":\"\\\\\",\"ID\":4," GET
                   "}",
                   &request),
        0);
    assert_int_equal(request.id, 4);
    assert_null(request.flaw);
}

static void a_large_number_excuses_no_other_fault_of_the_json(void **state) {
    (void)state;
    static const char *const lines[] = {
        "{\"ID\":1," GET ",\"x\":1e400,}", "{\"ID\":1," GET ",\"x\":1e400 2}",
        "{\"ID\":1," GET ",\"x\":1e400]", "{\"ID\":1," GET ",\"x\":1e400,\"y\":nul}",
        "{\"ID\":1," GET ",\"x\":1e400,\"y\":\"\n\"}"};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(lines); i++) {
        struct tuck_request request;
        assert_int_equal(parse_text(lines[i], &request), TUCK_EPROTO);
    }
}

// --- Commands, names, flaws ----------------------------------------------------------------------

static void names_count_in_any_letter_case(void **state) {
    (void)state;
    struct tuck_request request, expected;
    assert_int_equal(parse_text("{\"ID\":9," PUT ",\"BodySize\":5}", &expected), 0);
    static const char *const lines[] = {
        "{\"id\":9,\"command\":\"put\",\"actionid\":\"" A1 "\",\"outputid\":\"" O1
        "\",\"bodysize\":5}",
        "{\"ID\":9,\"COMMAND\":\"put\",\"ACTIONID\":\"" A1 "\",\"OUTPUTID\":\"" O1
        "\",\"BODYSIZE\":5}",
        "{\"iD\":9,\"cOMMAND\":\"put\",\"aCTIONid\":\"" A1 "\",\"oUTPUTid\":\"" O1
        "\",\"bODYsIZE\":5}",
        "{\"BodySize\":5,\"OBJECTID\":\"" O1 "\",\"ActionId\":\"" A1
        "\",\"Command\":\"put\",\"Id\":9}",
    };
    for (size_t i = 0; i < TUCK_ARRAY_LEN(lines); i++) {
        assert_int_equal(parse_text(lines[i], &request), 0);
        assert_true(is_same(&request, &expected));
    }
}

static void commands_count_only_as_they_are_spelled(void **state) {
    (void)state;
    static const char *const commands[] = {
        "\"GET\"",        "\"Put\"",     "\"\"", "\"get \"", "\"gets\"",  "\"delete\"",
        "\"get\\u0000\"", "\"\\u0000\"", "1",    "null",     "[\"get\"]", "true"};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(commands); i++) {
        char line[512];
        struct tuck_request request;
        (void)snprintf(line, sizeof(line),
                       "{\"ID\":1,\"ActionID\":\"" A1 "\",\"OutputID\":\"" O1
                       "\",\"BodySize\":3,\"Command\":%s}",
                       commands[i]);
        assert_int_equal(parse_text(line, &request), 0);
        if (request.command != TUCK_COMMAND_OTHER)
            print_message("# %s\n", line);
        assert_int_equal(request.command, TUCK_COMMAND_OTHER);
        assert_int_equal(request.id, 1);
        assert_int_equal(request.body_size, 3);
        assert_non_null(request.flaw);
    }
    struct tuck_request request;
    assert_int_equal(parse_text("{\"ID\":1}", &request), 0);
    assert_non_null(request.flaw);
    assert_int_equal(
        parse_text("{\"ID\":1,\"Command\":\"\\u0067et\",\"ActionID\":\"" A1 "\"}", &request), 0);
    assert_int_equal(request.command, TUCK_COMMAND_GET);
    assert_null(request.flaw);
}

static void ids_that_are_not_32_bytes_of_base64_are_flaws(void **state) {
    (void)state;
    static const char *const ids[] = {
        "null",
        "\"\"",
        "5",
        "[]",
        "{}",
        "true",
        "\"QQ==\"",
        "\"qxWcnC5pHpFE38q9zLcruuzB831Bbc3A2HJjQokD22\"",      // no padding
        "\"qxWcnC5pHpFE38q9zLcruuzB831Bbc3A2HJjQokD22A==\"",   // too much of it
        "\"qxWcnC5pHpFE38q9zLcruuzB831Bbc3A2HJjQokD22B=\"",    // bits beyond the last byte
        "\"qxWcnC5pHpFE38q9zLcruuzB831Bbc3A2HJjQokD22AA\"",    // 33 bytes
        "\"fG9wRPLN9vf3GExT0-DGWojmRky2T6Mqd1h72un33-o=\"",    // the URL alphabet
        "\"qxWcnC5pHpFE38q9zLcruuzB831Bbc3A2HJjQokD22A=\\n\"", // a line end
        "\"\\u0000xWcnC5pHpFE38q9zLcruuzB831Bbc3A2HJjQokD22A=\"",
        "\"" A1 A1 "\"",
    };
    for (size_t i = 0; i < TUCK_ARRAY_LEN(ids); i++) {
        char line[512];
        struct tuck_request request;
        (void)snprintf(line, sizeof(line), "{\"ID\":1,\"Command\":\"get\",\"ActionID\":%s}",
                       ids[i]);
        assert_int_equal(parse_text(line, &request), 0);
        assert_int_equal(request.command, TUCK_COMMAND_GET);
        assert_non_null(request.flaw);
        (void)snprintf(line, sizeof(line),
                       "{\"ID\":1,\"Command\":\"put\",\"ActionID\":\"" A1
                       "\",\"OutputID\":%s,\"BodySize\":5}",
                       ids[i]);
        assert_int_equal(parse_text(line, &request), 0);
        assert_non_null(request.flaw);
        assert_int_equal(request.body_size, 5);
    }
    struct tuck_request request;
    assert_int_equal(parse_text("{\"ID\":1,\"Command\":\"get\"}", &request), 0);
    assert_non_null(request.flaw);
    assert_int_equal(parse_text("{\"ID\":1,\"Command\":\"put\",\"ActionID\":\"" A1 "\"}", &request),
                     0);
    assert_non_null(request.flaw);
}

static void escapes_in_names_and_ids_are_resolved(void **state) {
    (void)state;
    struct tuck_request request, expected;
    assert_int_equal(
        parse_text("{\"ID\":1,\"Command\":\"get\",\"ActionID\":\"" A2 "\"}", &expected), 0);
    assert_int_equal(parse_text("{\"\\u0049D\":1,\"Command\":\"get\",\"Action\\u0049\\u0044\":"
                                "\"fG9wRPLN9vf3GExT0\\u002bDGWojmRky2T6Mqd1h72un33\\u002Bo=\"}",
                                &request),
                     0);
    assert_true(is_same(&request, &expected));
    assert_null(request.flaw);
}

static void an_output_goes_by_either_name_and_the_newer_one_wins(void **state) {
    (void)state;
    struct tuck_request request;
    uint8_t output[TUCK_ID_BYTES], other[TUCK_ID_BYTES];
    assert_true(tuck_base64_id(O1, 44, output));
    assert_true(tuck_base64_id(O0, 44, other));
    static const char *const lines[] = {
        "{\"ID\":1,\"Command\":\"put\",\"ActionID\":\"" A1 "\",\"ObjectID\":\"" O1
        "\",\"BodySize\":5}",
        "{\"ID\":1,\"Command\":\"put\",\"ActionID\":\"" A1 "\",\"OutputID\":\"" O1
        "\",\"ObjectID\":\"" O1 "\",\"BodySize\":5}",
        "{\"ID\":1,\"Command\":\"put\",\"ActionID\":\"" A1 "\",\"OutputID\":\"" O1
        "\",\"ObjectID\":\"" O0 "\",\"BodySize\":5}",
        "{\"ID\":1,\"Command\":\"put\",\"ActionID\":\"" A1 "\",\"ObjectID\":\"" O0
        "\",\"OutputID\":\"" O1 "\",\"BodySize\":5}",
        "{\"ID\":1,\"Command\":\"put\",\"ActionID\":\"" A1 "\",\"OutputID\":null,\"ObjectID\":\"" O1
        "\",\"BodySize\":5}",
    };
    for (size_t i = 0; i < TUCK_ARRAY_LEN(lines); i++) {
        assert_int_equal(parse_text(lines[i], &request), 0);
        assert_null(request.flaw);
        assert_memory_equal(request.output.bytes, output, TUCK_ID_BYTES);
    }
}

static void of_a_field_given_twice_the_last_counts(void **state) {
    (void)state;
    struct tuck_request request;
    assert_int_equal(parse_text("{\"ID\":1,\"ID\":2," GET "}", &request), 0);
    assert_int_equal(request.id, 2);
    assert_int_equal(parse_text("{\"ID\":1,\"id\":2," GET "}", &request), 0);
    assert_int_equal(request.id, 2);
    assert_int_equal(parse_text("{\"ID\":1," GET ",\"Command\":\"close\"}", &request), 0);
    assert_int_equal(request.command, TUCK_COMMAND_CLOSE);
    assert_int_equal(parse_text("{\"ID\":1," PUT ",\"BodySize\":5,\"BodySize\":6}", &request), 0);
    assert_int_equal(request.body_size, 6);
}

static void unknown_fields_of_any_kind_are_passed_over(void **state) {
    (void)state;
    static const char *const values[] = {"null",
                                         "true",
                                         "\"x\"",
                                         "\"\\u0000\"",
                                         "[]",
                                         "{\"ID\":5}",
                                         "[[[[[[[[{}]]]]]]]]",
                                         "-0.0",
                                         "\"\\ud83d\\ude00\""};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(values); i++) {
        char line[512];
        struct tuck_request request;
        (void)snprintf(line, sizeof(line), "{\"New\":%s,\"ID\":3," GET ",\"\":%s}", values[i],
                       values[i]);
        assert_int_equal(parse_text(line, &request), 0);
        assert_int_equal(request.id, 3);
        assert_null(request.flaw);
    }
}

static void what_is_no_json_object_cannot_be_answered(void **state) {
    (void)state;
    static const char *const lines[] = {"",
                                        "{",
                                        "}",
                                        "[]",
                                        "[{\"ID\":1}]",
                                        "{\"ID\":1,}",
                                        "{'ID':1}",
                                        "{\"ID\" 1}",
                                        "{ID:1}",
                                        "{\"ID\":1}}",
                                        "{\"ID\":1} x",
                                        "{\"ID\":1",
                                        "{\"ID\":1]",
                                        "{\"a\":\"\t\",\"ID\":1}",
                                        "{\"a\":\"\xff\",\"ID\":1}",
                                        "{\"a\":\"\\x\",\"ID\":1}",
                                        "{\"a\":\"\\ud800\",\"ID\":1}",
                                        "{\"ID\":1,\"a\":01}",
                                        "{\"ID\":1,\"a\":.5}",
                                        "{\"ID\":1/*c*/}",
                                        "\xef\xbb\xbf{\"ID\":1}"};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(lines); i++) {
        struct tuck_request request;
        int status = parse_text(lines[i], &request);
        if (status != TUCK_EPROTO)
            print_message("# %s\n", lines[i]);
        assert_int_equal(status, TUCK_EPROTO);
    }
}

static void a_failure_leaves_the_result_alone(void **state) {
    (void)state;
    static const char *const lines[] = {"{\"ID\":0," GET "}", "{",
                                        "{\"ID\":1,\"Command\":\"get\",\"ActionID\":\"" A1 "\",}",
                                        "{\"ID\":1," PUT ",\"BodySize\":-1}"};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(lines); i++) {
        struct tuck_request request, before;
        memset(&request, 0x5a, sizeof(request));
        memset(&before, 0x5a, sizeof(before));
        assert_int_equal(parse(lines[i], strlen(lines[i]), &request), TUCK_EPROTO);
        assert_memory_equal(&request, &before, sizeof(request));
    }
}

// --- Answers -------------------------------------------------------------------------------------

// Writes into memory of exactly the room that is asked for; the text is the caller's.
static char *write_answer(const struct tuck_answer *answer) {
    size_t room = tuck_answer_room(answer);
    char *exact = malloc(room);
    assert_non_null(exact);
    size_t len = tuck_answer_write(answer, exact);
    assert_true(len <= room);
    char *text = strndup(exact, len);
    free(exact);
    assert_non_null(text);
    assert_int_equal(strlen(text), len); // no NUL in it
    assert_ptr_equal(strchr(text, '\n'), text + len - 1);
    return text;
}

static json_t *read_back(const struct tuck_answer *answer) {
    char *text = write_answer(answer);
    json_error_t why;
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, &why);
    if (!object)
        print_message("# %s: %s\n", text, why.text);
    assert_non_null(object);
    free(text);
    assert_int_equal(json_integer_value(json_object_get(object, "ID")), answer->id);
    return object;
}

static void assert_text(const struct tuck_answer *answer, const char *expected) {
    char *text = write_answer(answer);
    assert_string_equal(text, expected);
    free(text);
}

static void each_kind_of_answer_has_its_fields_and_no_others(void **state) {
    (void)state;
    struct tuck_answer answer = {.kind = TUCK_ANSWER_HELLO};
    assert_text(&answer, "{\"ID\":0,\"KnownCommands\":[\"get\",\"put\",\"close\"]}\n");
    answer = (struct tuck_answer){.kind = TUCK_ANSWER_MISS, .id = 7};
    assert_text(&answer, "{\"ID\":7,\"Miss\":true}\n");
    answer = (struct tuck_answer){.kind = TUCK_ANSWER_PUT, .id = 8, .text = "/a/b"};
    assert_text(&answer, "{\"ID\":8,\"DiskPath\":\"/a/b\"}\n");
    answer = (struct tuck_answer){.kind = TUCK_ANSWER_CLOSE, .id = 9};
    assert_text(&answer, "{\"ID\":9}\n");
    answer = (struct tuck_answer){.kind = TUCK_ANSWER_ERROR, .id = 10, .text = "no"};
    assert_text(&answer, "{\"ID\":10,\"Err\":\"no\"}\n");
    answer = (struct tuck_answer){.kind = TUCK_ANSWER_HIT,
                                  .id = 11,
                                  .size = 5,
                                  .time_ns = UINT64_C(1767323045000000006),
                                  .text = "/a"};
    assert_true(tuck_base64_id(O1, 44, answer.output.bytes));
    assert_text(&answer,
                "{\"ID\":11,\"OutputID\":\"" O1
                "\",\"Size\":5,\"Time\":\"2026-01-02T03:04:05.000000006Z\",\"DiskPath\":\"/a\"}\n");
}

static void numbers_at_their_limits_are_written_in_plain_digits(void **state) {
    (void)state;
    struct tuck_answer answer = {.kind = TUCK_ANSWER_CLOSE, .id = INT64_MAX};
    assert_text(&answer, "{\"ID\":9223372036854775807}\n");
    answer.id = INT64_MIN;
    assert_text(&answer, "{\"ID\":-9223372036854775808}\n");
    answer.id = -1;
    assert_text(&answer, "{\"ID\":-1}\n");
    answer = (struct tuck_answer){.kind = TUCK_ANSWER_HIT,
                                  .id = INT64_MIN,
                                  .size = UINT64_MAX,
                                  .time_ns = UINT64_MAX,
                                  .text = ""};
    char *text = write_answer(&answer);
    assert_non_null(strstr(text, "\"Size\":18446744073709551615,"));
    free(text);
}

static void assert_path_survives(const char *path) {
    struct tuck_answer put = {.kind = TUCK_ANSWER_PUT, .id = 1, .text = path};
    struct tuck_answer hit = {.kind = TUCK_ANSWER_HIT,
                              .id = INT64_MIN,
                              .size = INT64_MAX,
                              .time_ns = UINT64_MAX,
                              .text = path};
    json_t *object = read_back(&put);
    assert_string_equal(json_string_value(json_object_get(object, "DiskPath")), path);
    json_decref(object);
    object = read_back(&hit);
    assert_string_equal(json_string_value(json_object_get(object, "DiskPath")), path);
    assert_int_equal(json_integer_value(json_object_get(object, "Size")), INT64_MAX);
    char time[31];
    (void)tuck_clock_format(UINT64_MAX, time);
    assert_string_equal(json_string_value(json_object_get(object, "Time")), time);
    json_decref(object);
}

static void any_path_comes_back_from_the_json_as_it_was(void **state) {
    (void)state;
    static const char *const paths[] = {"",
                                        "/",
                                        "/plain/path",
                                        "/with \"quotes\"",
                                        "/back\\slash\\",
                                        "\\\\\\\"\"\"",
                                        "/tab\tnew\nline\r",
                                        "/del\x7f",
                                        "/caf\xc3\xa9/\xe6\x97\xa5\xe6\x9c\xac",
                                        "/\xf0\x9f\x98\x80",
                                        "/\xe2\x80\xa8/\xe2\x80\xa9",
                                        "/<>&'",
                                        "\\u0041",
                                        "/\x01\x02\x03\x1e\x1f",
                                        "\xf4\x8f\xbf\xbf"};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(paths); i++)
        assert_path_survives(paths[i]);
    for (int c = 1; c < 128; c++) {
        char path[8] = {'a', (char)c, 'b', (char)c, (char)c, '\0'};
        assert_path_survives(path);
    }
    struct unit_random random = unit_random_of(__func__);
    for (int round = 0; round < 2000; round++) {
        static const char *const parts[] = {
            "\"", "\\", "\n", "/", "a", "\xc3\xa9", "\xf0\x9f\x98\x80", "\x01", "\x7f", "u0041"};
        char path[256] = "";
        size_t len = 0;
        for (size_t count = unit_random_below(&random, 40); count > 0; count--)
            len += (size_t)snprintf(path + len, sizeof(path) - len, "%s",
                                    parts[unit_random_below(&random, TUCK_ARRAY_LEN(parts))]);
        assert_path_survives(path);
    }
}

static void the_longest_paths_of_the_worst_characters_fit_the_room(void **state) {
    (void)state;
    static const char worst[] = "\x01\"\\\x7f/";
    for (const char *c = worst; *c; c++) {
        for (size_t len = 0; len < 5000; len += 1 + len / 3) {
            char *path = malloc(len + 1);
            assert_non_null(path);
            memset(path, *c, len);
            path[len] = '\0';
            assert_path_survives(path);
            free(path);
        }
    }
}

static void an_error_text_of_any_bytes_is_valid_json(void **state) {
    (void)state;
    struct unit_random random = unit_random_of(__func__);
    for (int round = 0; round < 3000; round++) {
        char text[64];
        unit_random_fill(&random, text, sizeof(text));
        text[unit_random_below(&random, sizeof(text))] = '\0';
        struct tuck_answer answer = {.kind = TUCK_ANSWER_ERROR, .id = 3, .text = text};
        json_t *object = read_back(&answer);
        const char *found = json_string_value(json_object_get(object, "Err"));
        assert_non_null(found);
        assert_int_equal(strlen(found), strlen(text));
        for (size_t i = 0; i < strlen(text); i++)
            assert_int_equal(found[i], (uint8_t)text[i] < 128 ? text[i] : '?');
        json_decref(object);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(what_go_commands_write_takes_the_short_way_to_the_same_result),
    cmocka_unit_test(of_several_requests_the_short_way_takes_one_at_a_time),
    cmocka_unit_test(a_request_that_has_not_arrived_whole_is_left_to_framing),
    cmocka_unit_test(the_fields_of_a_real_line_are_read),
    cmocka_unit_test(random_lines_of_the_usual_form_come_out_the_same_both_ways),
    cmocka_unit_test(mutated_lines_come_out_the_same_both_ways),
    cmocka_unit_test(a_line_cut_anywhere_is_refused_and_nothing_behind_it_is_read),
    cmocka_unit_test(an_id_is_any_integer_of_64_bits_but_zero),
    cmocka_unit_test(a_request_without_an_id_cannot_be_answered),
    cmocka_unit_test(a_negative_id_is_a_flaw_under_that_id),
    cmocka_unit_test(a_body_size_is_a_whole_number_or_absent),
    cmocka_unit_test(numbers_of_any_magnitude_are_passed_over_where_they_are_not_needed),
    cmocka_unit_test(an_id_of_19_digits_is_kept_beside_a_number_that_is_too_large),
    cmocka_unit_test(digits_inside_strings_are_no_numbers),
    cmocka_unit_test(a_large_number_excuses_no_other_fault_of_the_json),
    cmocka_unit_test(names_count_in_any_letter_case),
    cmocka_unit_test(commands_count_only_as_they_are_spelled),
    cmocka_unit_test(ids_that_are_not_32_bytes_of_base64_are_flaws),
    cmocka_unit_test(escapes_in_names_and_ids_are_resolved),
    cmocka_unit_test(an_output_goes_by_either_name_and_the_newer_one_wins),
    cmocka_unit_test(of_a_field_given_twice_the_last_counts),
    cmocka_unit_test(unknown_fields_of_any_kind_are_passed_over),
    cmocka_unit_test(what_is_no_json_object_cannot_be_answered),
    cmocka_unit_test(a_failure_leaves_the_result_alone),
    cmocka_unit_test(each_kind_of_answer_has_its_fields_and_no_others),
    cmocka_unit_test(numbers_at_their_limits_are_written_in_plain_digits),
    cmocka_unit_test(any_path_comes_back_from_the_json_as_it_was),
    cmocka_unit_test(the_longest_paths_of_the_worst_characters_fit_the_room),
    cmocka_unit_test(an_error_text_of_any_bytes_is_valid_json),
};

UNIT_MAIN(tests)
