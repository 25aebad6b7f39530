// SPDX-License-Identifier: MIT
/*
 * What a client writes, against the reader of a helper and against recorded go commands; and what it reads: each row of
 * SPEC.md 4.3, every answer cut at every place, and the bounds.
 */
#include "tests/unit/unit.h"

#include "lib/base/clock.h"
#include "protocol/asking.h"
#include "protocol/base64.h"

#include <errno.h>
#include <inttypes.h>

#define O1 "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="

// --- Requests ------------------------------------------------------------------------------------

static struct tuck_request request_of(enum tuck_command command, int64_t id, uint64_t body_size) {
    return (struct tuck_request){.id = id,
                                 .command = command,
                                 .body_size = body_size,
                                 .action = unit_action((uint64_t)id),
                                 .output = unit_output((uint64_t)id)};
}

static const char *write_request(const struct tuck_request *request, unsigned form) {
    static char text[TUCK_REQUEST_ROOM + 1];
    size_t len = tuck_request_write(request, form, text);
    assert_true(len <= TUCK_REQUEST_ROOM);
    text[len] = '\0';
    return text;
}

static void requests_have_the_bytes_that_go_commands_write(void **state) {
    (void)state;
    static const char *const action = "qxWcnC5pHpFE38q9zLcruuzB831Bbc3A2HJjQokD22A=";
    struct tuck_request request = {.id = 1, .command = TUCK_COMMAND_GET};
    assert_true(tuck_base64_id(action, 44, request.action.bytes));
    assert_true(tuck_base64_id(O1, 44, request.output.bytes));
    assert_string_equal(write_request(&request, 0),
                        "{\"ID\":1,\"Command\":\"get\",\"ActionID\":"
                        "\"qxWcnC5pHpFE38q9zLcruuzB831Bbc3A2HJjQokD22A=\"}\n\n");
    request.command = TUCK_COMMAND_PUT;
    request.id = INT64_MAX;
    request.body_size = 5;
    assert_string_equal(write_request(&request, 0),
                        "{\"ID\":9223372036854775807,\"Command\":\"put\",\"ActionID\":"
                        "\"qxWcnC5pHpFE38q9zLcruuzB831Bbc3A2HJjQokD22A=\",\"OutputID\":\"" O1
                        "\",\"BodySize\":5}\n\n");
    assert_string_equal(write_request(&request, TUCK_REQUEST_OBJECT_ID),
                        "{\"ID\":9223372036854775807,\"Command\":\"put\",\"ActionID\":"
                        "\"qxWcnC5pHpFE38q9zLcruuzB831Bbc3A2HJjQokD22A=\",\"ObjectID\":\"" O1
                        "\",\"BodySize\":5}\n\n");
    assert_string_equal(write_request(&request, TUCK_REQUEST_BOTH_IDS),
                        "{\"ID\":9223372036854775807,\"Command\":\"put\",\"ActionID\":"
                        "\"qxWcnC5pHpFE38q9zLcruuzB831Bbc3A2HJjQokD22A=\",\"OutputID\":\"" O1
                        "\",\"BodySize\":5,\"ObjectID\":\"" O1 "\"}\n\n");
    request.body_size = 0; // is left out
    assert_string_equal(write_request(&request, TUCK_REQUEST_NO_EMPTY_LINE),
                        "{\"ID\":9223372036854775807,\"Command\":\"put\",\"ActionID\":"
                        "\"qxWcnC5pHpFE38q9zLcruuzB831Bbc3A2HJjQokD22A=\",\"OutputID\":\"" O1
                        "\"}\n");
    request.command = TUCK_COMMAND_CLOSE;
    request.id = 5;
    assert_string_equal(write_request(&request, 0), "{\"ID\":5,\"Command\":\"close\"}\n\n");
}

static void a_helper_reads_what_a_client_writes_by_both_its_ways(void **state) {
    (void)state;
    static const int64_t ids[] = {1, 9, 10, 4294967296, 999999999999999999, INT64_MAX};
    static const uint64_t sizes[] = {0, 1, 4095, UINT64_C(5) << 30, INT64_MAX};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(ids); i++)
        for (size_t j = 0; j < TUCK_ARRAY_LEN(sizes); j++)
            for (unsigned form = 0; form < 8; form++)
                for (int command = TUCK_COMMAND_GET; command <= TUCK_COMMAND_CLOSE; command++) {
                    bool is_put = command == TUCK_COMMAND_PUT;
                    struct tuck_request request =
                                            request_of(command, ids[i], is_put ? sizes[j] : 0),
                                        back;
                    const char *text = write_request(&request, form);
                    struct tuck_slice slice = {(const uint8_t *)text, strlen(text)};
                    assert_int_equal(tuck_request_parse(slice, &back, NULL), 0);
                    assert_null(back.flaw);
                    assert_true(back.id == request.id && back.command == request.command &&
                                back.body_size == request.body_size);
                    if (command != TUCK_COMMAND_CLOSE)
                        assert_true(tuck_action_equal(&back.action, &request.action));
                    if (is_put)
                        assert_true(tuck_output_equal(&back.output, &request.output));
                    if (form == 0 && ids[i] <= 999999999999999999 &&
                        request.body_size <= 999999999999999999)
                        assert_true(tuck_request_take(&slice, &back));
                }
}

static size_t add(char *at, const char *text) {
    memcpy(at, text, strlen(text) + 1);
    return strlen(text);
}

// --- Answers -------------------------------------------------------------------------------------

struct reading {
    int status; // of the last call
    enum tuck_answer_fault fault;
    size_t answers;
    struct tuck_answer_fields fields; // of the last answer
    char path[TUCK_ANSWER_PATH_ROOM], err[TUCK_ANSWER_ERR_MAX + 1];
};

// Reads all of it in pieces of at most `step` bytes, each in memory of exactly its size.
static void read_in_steps(const char *text, size_t len, size_t step, struct reading *ret) {
    struct tuck_answer_reader *reader = NULL;
    assert_int_equal(tuck_answer_reader_new(&reader), 0);
    memset(ret, 0, sizeof(*ret));
    ret->status = TUCK_ANSWER_MORE;
    for (size_t at = 0; at < len && ret->status >= 0;) {
        size_t piece = step < len - at ? step : len - at;
        uint8_t *copy = malloc(piece);
        assert_non_null(copy);
        memcpy(copy, text + at, piece);
        struct tuck_slice input = {copy, piece};
        struct tuck_error err = {0};
        while (input.len > 0 && ret->status >= 0) {
            struct tuck_answer_fields fields;
            ret->status = tuck_answer_read(reader, &input, &fields, &ret->fault, &err);
            if (ret->status == TUCK_ANSWER_MORE)
                assert_int_equal(input.len, 0);
            if (ret->status != TUCK_ANSWER_READ)
                continue;
            assert_true(tuck_answer_reader_is_idle(reader));
            ret->answers++;
            ret->fields = fields;
            assert_int_equal(fields.path.len && fields.path.data[fields.path.len], 0);
            memcpy(ret->path, fields.path.data ? fields.path.data : (const uint8_t *)"",
                   fields.path.len);
            ret->path[fields.path.len] = '\0';
            memcpy(ret->err, fields.err.data ? fields.err.data : (const uint8_t *)"",
                   fields.err.len);
            ret->err[fields.err.len] = '\0';
        }
        free(copy);
        at += piece;
        if (ret->status < 0) {
            assert_int_equal(ret->status, TUCK_EPROTO);
            assert_int_equal(err.code, TUCK_EPROTO);
            assert_true(err.text[0] && ret->fault);
            struct tuck_slice again = {(const uint8_t *)"{\"ID\":1}", 8};
            struct tuck_answer_fields fields;
            enum tuck_answer_fault fault = 0;
            assert_int_equal(tuck_answer_read(reader, &again, &fields, &fault, NULL), TUCK_EPROTO);
            assert_int_equal(fault, ret->fault);
        }
    }
    if (ret->status == TUCK_ANSWER_MORE && tuck_answer_reader_is_idle(reader))
        ret->status = TUCK_ANSWER_READ; // white space behind the last answer
    tuck_answer_reader_free(reader);
}

static bool is_same_text(const char *a, const char *b) {
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool is_same_reading(const struct reading *a, const struct reading *b) {
    const struct tuck_answer_fields *x = &a->fields, *y = &b->fields;
    return a->status == b->status && a->fault == b->fault && a->answers == b->answers &&
           x->id == y->id && is_same_text(x->id_flaw, y->id_flaw) &&
           is_same_text(x->flaw, y->flaw) && is_same_text(x->oddity, y->oddity) &&
           strcmp(a->err, b->err) == 0 && x->err.len == y->err.len &&
           x->has_names == y->has_names && x->commands == y->commands && x->is_miss == y->is_miss &&
           is_same_text(x->output_flaw, y->output_flaw) &&
           tuck_output_equal(&x->output, &y->output) && x->size == y->size &&
           x->has_time == y->has_time && x->time_s == y->time_s && x->time_ns == y->time_ns &&
           is_same_text(x->path_flaw, y->path_flaw) && x->path.len == y->path.len &&
           memcmp(a->path, b->path, x->path.len) == 0;
}

// In one piece, byte by byte, and in two pieces cut at every place: always the same.
static void read_text(const char *text, size_t len, struct reading *ret) {
    static struct reading other;
    read_in_steps(text, len, len ? len : 1, ret);
    for (size_t step = 1; step < len && step < 8; step++) {
        read_in_steps(text, len, step, &other);
        if (!is_same_reading(ret, &other))
            print_message("# in steps of %zu: %.*s\n", step, (int)(len < 300 ? len : 300), text);
        assert_true(is_same_reading(ret, &other));
    }
}

static const struct tuck_answer_fields *read_answer(const char *text) {
    static struct reading reading;
    read_text(text, strlen(text), &reading);
    if (reading.status != TUCK_ANSWER_READ || reading.answers != 1)
        print_message("# %s\n", text);
    assert_int_equal(reading.status, TUCK_ANSWER_READ);
    assert_int_equal(reading.answers, 1);
    reading.fields.path.data = (const uint8_t *)reading.path;
    reading.fields.err.data = (const uint8_t *)reading.err;
    return &reading.fields;
}

static enum tuck_answer_fault fault_of(const char *text, size_t len) {
    static struct reading reading;
    read_text(text, len, &reading);
    if (reading.status >= 0)
        print_message("# accepted: %.*s\n", (int)len, text);
    assert_int_equal(reading.status, TUCK_EPROTO);
    return reading.fault;
}

static void a_hit_is_read_with_all_its_fields(void **state) {
    (void)state;
    const struct tuck_answer_fields *fields =
        read_answer("{\"ID\":4,\"OutputID\":\"" O1 "\",\"Size\":5,\"Time\":"
                    "\"2026-02-11T09:30:00.123456789Z\",\"DiskPath\":\"/home/ann/2c/f24d\"}\n");
    struct tuck_output_id output;
    assert_true(tuck_base64_id(O1, 44, output.bytes));
    assert_int_equal(fields->id, 4);
    assert_null(fields->id_flaw);
    assert_null(fields->flaw);
    assert_null(fields->oddity);
    assert_null(fields->output_flaw);
    assert_true(tuck_output_equal(&fields->output, &output));
    assert_int_equal(fields->size, 5);
    assert_true(fields->has_time);
    assert_int_equal(fields->time_s, 1770802200);
    assert_int_equal(fields->time_ns, 123456789);
    assert_null(fields->path_flaw);
    assert_string_equal((const char *)fields->path.data, "/home/ann/2c/f24d");
    assert_false(fields->is_miss || fields->has_names || fields->err.len);
}

static void an_answer_that_a_helper_of_ours_writes_is_read_back(void **state) {
    (void)state;
    static const char *const paths[] = {"/a", "/with \"quotes\" and \\", "/tab\there", "/\x01\x7f",
                                        "/grün/日本/𝄞"};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(paths); i++) {
        struct tuck_answer answer = {.kind = TUCK_ANSWER_HIT,
                                     .id = INT64_MAX - (int64_t)i,
                                     .output = unit_output(i),
                                     .size = INT64_MAX,
                                     .time_ns = UINT64_C(1770802200000000001),
                                     .text = paths[i]};
        char text[1000];
        text[tuck_answer_write(&answer, text)] = '\0';
        const struct tuck_answer_fields *fields = read_answer(text);
        assert_true(fields->id == answer.id && !fields->flaw && !fields->oddity);
        assert_true(tuck_output_equal(&fields->output, &answer.output));
        assert_true(fields->size == INT64_MAX && fields->time_ns == 1);
        assert_string_equal((const char *)fields->path.data, paths[i]);
    }
    struct tuck_answer hello = {.kind = TUCK_ANSWER_HELLO};
    char text[1000];
    text[tuck_answer_write(&hello, text)] = '\0';
    const struct tuck_answer_fields *fields = read_answer(text);
    assert_true(fields->has_names && fields->id == 0);
    assert_int_equal(fields->commands,
                     1 << TUCK_COMMAND_GET | 1 << TUCK_COMMAND_PUT | 1 << TUCK_COMMAND_CLOSE);
}

static void answers_may_stand_close_together_or_over_many_lines(void **state) {
    (void)state;
    static struct reading reading;
    static const char text[] =
        "{\"ID\":1}{\"ID\":2}\r\n\t {\n  \"ID\" :\t3 ,\n  \"Size\":\n 7\n}\n\n"
        "{}{\"ID\":4,\"Miss\":true}  ";
    read_text(text, sizeof(text) - 1, &reading);
    assert_int_equal(reading.status, TUCK_ANSWER_READ);
    assert_int_equal(reading.answers, 5);
    assert_true(reading.fields.id == 4 && reading.fields.is_miss);
}

static void integers_are_read_only_from_plain_integers_of_64_bits(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool is_good;
        int64_t value;
    } table[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"7", true, 7},
        {"-1", true, -1},
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"9007199254740993", true, INT64_C(9007199254740993)},
        {"null", true, 0},
        {"9223372036854775808", false, 0},
        {"-9223372036854775809", false, 0},
        {"18446744073709551617", false, 0},
        {"99999999999999999999999999999999999999999999999999", false, 0},
        {"1.0", false, 0},
        {"1e0", false, 0},
        {"1E+2", false, 0},
        {"0.5", false, 0},
        {"-0.0e-1", false, 0},
        {"1e999999", false, 0},
        {"\"1\"", false, 0},
        {"true", false, 0},
        {"[1]", false, 0},
        {"{\"a\":1}", false, 0},
    };
    for (size_t i = 0; i < TUCK_ARRAY_LEN(table); i++) {
        char text[200];
        (void)snprintf(text, sizeof(text), "{\"ID\":%s,\"Miss\":true}", table[i].text);
        const struct tuck_answer_fields *fields = read_answer(text);
        assert_int_equal(fields->id_flaw == NULL, table[i].is_good);
        assert_true(fields->id == table[i].value && fields->is_miss && !fields->flaw);
        (void)snprintf(text, sizeof(text), "{\"ID\":3,\"Size\":%s}", table[i].text);
        fields = read_answer(text);
        assert_int_equal(fields->flaw == NULL, table[i].is_good);
        assert_true(fields->size == table[i].value && fields->id == 3 && !fields->id_flaw);
    }
}

static void a_field_of_the_wrong_type_is_named(void **state) {
    (void)state;
    static const struct {
        const char *field, *value, *named;
    } table[] = {
        {"Miss", "\"false\"", "Miss"},
        {"Miss", "0", "Miss"},
        {"Miss", "[true]", "Miss"},
        {"Miss", "{}", "Miss"},
        {"Err", "7", "Err"},
        {"Err", "false", "Err"},
        {"Err", "{\"a\":\"b\"}", "Err"},
        {"DiskPath", "7", "DiskPath"},
        {"DiskPath", "[\"/a\"]", "DiskPath"},
        {"KnownCommands", "\"get\"", "KnownCommands"},
        {"KnownCommands", "{\"get\":1}", "KnownCommands"},
        {"KnownCommands", "[\"get\",1]", "KnownCommands"},
        {"KnownCommands", "[[\"get\"]]", "KnownCommands"},
        {"KnownCommands", "[true]", "KnownCommands"},
        {"OutputID", "7", "OutputID"},
        {"OutputID", "{}", "OutputID"},
        {"Time", "1767225600", "Time"},
        {"Time", "{}", "Time"},
    };
    for (size_t i = 0; i < TUCK_ARRAY_LEN(table); i++) {
        char text[200];
        (void)snprintf(text, sizeof(text), "{\"ID\":3,\"%s\":%s,\"Size\":9}", table[i].field,
                       table[i].value);
        const struct tuck_answer_fields *fields = read_answer(text);
        assert_non_null(fields->flaw);
        assert_int_equal(strncmp(fields->flaw, table[i].named, strlen(table[i].named)), 0);
        assert_true(fields->id == 3 && fields->size == 9);
    }
}

static void null_is_as_good_as_absent(void **state) {
    (void)state;
    const struct tuck_answer_fields *fields =
        read_answer("{\"ID\":null,\"Err\":null,\"KnownCommands\":null,\"Miss\":null,\"OutputID\":"
                    "null,\"Size\":null,\"Time\":null,\"DiskPath\":null}");
    assert_true(!fields->flaw && !fields->id_flaw && !fields->has_names && !fields->has_time);
    assert_true(fields->id == 0 && fields->err.len == 0 && fields->path.len == 0);
    assert_non_null(fields->output_flaw);
    fields = read_answer("{\"ID\":5,\"ID\":null,\"KnownCommands\":[null,\"get\"]}");
    assert_true(fields->id == 5 && !fields->flaw && fields->has_names);
    assert_int_equal(fields->commands, 1 << TUCK_COMMAND_GET);
}

static void names_in_other_case_and_given_twice_count_and_are_noted(void **state) {
    (void)state;
    const struct tuck_answer_fields *fields =
        read_answer("{\"id\":5,\"DISKPATH\":\"/a\",\"mIsS\":false}");
    assert_true(fields->id == 5 && fields->path.len == 2);
    assert_non_null(fields->oddity);
    fields = read_answer("{\"ID\":5,\"ID\":6,\"Size\":1}");
    assert_true(fields->id == 6 && fields->size == 1);
    assert_non_null(fields->oddity);
    fields = read_answer("{\"ID\":5,\"Miss\":true,\"Miss\":false,\"\\u0053ize\":3}");
    assert_true(!fields->is_miss && fields->size == 3);
    fields =
        read_answer("{\"ID\":5,\"IDs\":6,\"I\":7,\"\":8,\"DiskPat\":\"/a\",\"DiskPathx\":\"/b\","
                    "\"ObjectID\":9,\"x\":{\"ID\":7,\"Miss\":true,\"y\":[{\"ID\":8}]}}");
    assert_true(fields->id == 5 && fields->path.len == 0 && !fields->is_miss);
    assert_null(fields->oddity);
    assert_null(fields->flaw);
}

static void an_output_id_is_32_bytes_of_padded_standard_base64(void **state) {
    (void)state;
    static const struct {
        const char *value;
        bool is_base64, is_id;
    } table[] = {
        {"\"" O1 "\"", true, true},
        {"\"\"", true, false},
        {"\"AAAA\"", true, false},
        {"\"LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ\"", false, false},  // no padding
        {"\"LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=\"", false, false}, // URL alphabet
        {"\"LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOL\"", true, false},      // 30 bytes
        {"\"LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQz\"", true, false},  // 33 bytes
        {"\"LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQz\\nYpOLmCQ=\"", true, false},
        {"\"LPJNul\\u002bwow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ\\u003d\"", true, true},
        {"\"" O1 " \"", false, false},
        {"\"" O1 O1 "\"", false, false},
        {"\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"",
         true, false},
        {"[44,242]", true, false},
        {"null", true, false},
    };
    for (size_t i = 0; i < TUCK_ARRAY_LEN(table); i++) {
        char text[300];
        (void)snprintf(text, sizeof(text), "{\"ID\":3,\"OutputID\":%s}", table[i].value);
        const struct tuck_answer_fields *fields = read_answer(text);
        if ((fields->flaw == NULL) != table[i].is_base64 ||
            (!fields->flaw && !fields->output_flaw) != table[i].is_id)
            print_message("# %s: %s, %s\n", text, fields->flaw, fields->output_flaw);
        assert_int_equal(fields->flaw == NULL, table[i].is_base64);
        assert_int_equal(!fields->flaw && !fields->output_flaw, table[i].is_id);
    }
}

static void times_are_read_as_go_reads_them(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool is_good;
        int64_t seconds;
        uint32_t ns;
    } table[] = {
        {"1970-01-01T00:00:00Z", true, 0, 0},
        {"2026-02-11T09:30:00.5Z", true, 1770802200, 500000000},
        {"2026-02-11T09:30:00,25Z", true, 1770802200, 250000000},
        {"2026-02-11T09:30:00.123456789123456789123456789123Z", true, 1770802200, 123456789},
        {"2026-02-11T09:30:00.0000000009Z", true, 1770802200, 0},
        {"2026-02-11T11:30:00+02:00", true, 1770802200, 0},
        {"2026-02-11T00:00:00.000000001-09:30", true, 1770802200, 1},
        {"2026-02-11T09:30:00+00:00", true, 1770802200, 0},
        {"2026-02-11T09:30:00-00:00", true, 1770802200, 0},
        {"0001-01-01T00:00:00Z", true, INT64_C(-62135596800), 0},
        {"0000-01-01T00:00:00Z", true, INT64_C(-62167219200), 0},
        {"9999-12-31T23:59:59.999999999Z", true, INT64_C(253402300799), 999999999},
        {"2024-02-29T00:00:00Z", true, 1709164800, 0},
        {"2000-02-29T00:00:00Z", true, 951782400, 0},
        {"2023-02-29T00:00:00Z", false, 0, 0},
        {"1900-02-29T00:00:00Z", false, 0, 0},
        {"2026-01-02 03:04:05", false, 0, 0},
        {"2026-01-02 03:04:05Z", false, 0, 0},
        {"2026-01-02T03:04:05", false, 0, 0},
        {"2026-01-02t03:04:05Z", false, 0, 0},
        {"2026-01-02T03:04:05z", false, 0, 0},
        {"2026-01-02T03:04:60Z", false, 0, 0},
        {"2026-01-02T24:00:00Z", false, 0, 0},
        {"2026-01-02T03:60:00Z", false, 0, 0},
        {"2026-13-02T03:04:05Z", false, 0, 0},
        {"2026-00-02T03:04:05Z", false, 0, 0},
        {"2026-01-00T03:04:05Z", false, 0, 0},
        {"2026-04-31T03:04:05Z", false, 0, 0},
        {"12026-01-02T03:04:05Z", false, 0, 0},
        {"2026-01-02T03:04:05.Z", false, 0, 0},
        {"2026-01-02T03:04:05.", false, 0, 0},
        {"2026-01-02T03:04:05+0200", false, 0, 0},
        {"2026-01-02T03:04:05+24:00", false, 0, 0},
        {"2026-01-02T03:04:05+02:60", false, 0, 0},
        {"2026-01-02T03:04:05ZZ", false, 0, 0},
        {"2026-1-2T03:04:05Z", false, 0, 0},
        {"", false, 0, 0},
        {"yesterday", false, 0, 0},
    };
    for (size_t i = 0; i < TUCK_ARRAY_LEN(table); i++) {
        char text[300];
        (void)snprintf(text, sizeof(text), "{\"ID\":3,\"Time\":\"%s\"}", table[i].text);
        const struct tuck_answer_fields *fields = read_answer(text);
        if (fields->has_time != table[i].is_good)
            print_message("# %s\n", text);
        assert_int_equal(fields->has_time, table[i].is_good);
        assert_int_equal(fields->flaw == NULL, table[i].is_good);
        if (table[i].is_good)
            assert_true(fields->time_s == table[i].seconds && fields->time_ns == table[i].ns);
    }
}

static void every_day_from_1970_on_is_read_back_from_what_we_write(void **state) {
    (void)state;
    for (uint64_t day = 0; day < 200000; day++) {
        char text[100] = "{\"ID\":3,\"Time\":\"";
        size_t len = strlen(text);
        uint64_t seconds = day * 86400 + day % 86400;
        if (seconds > UINT64_MAX / TUCK_NS_PER_S)
            break;
        len += tuck_clock_format(seconds * TUCK_NS_PER_S + day, text + len);
        memcpy(text + len, "\"}", 3);
        static struct reading reading;
        read_in_steps(text, len + 2, len + 2, &reading);
        assert_true(reading.fields.has_time && reading.fields.time_s == (int64_t)seconds &&
                    reading.fields.time_ns == day);
    }
}

static void paths_keep_what_they_say_or_say_why_they_are_none(void **state) {
    (void)state;
    static const struct {
        const char *value, *path;
        bool is_good;
    } table[] = {
        {"/a", "/a", true},
        {"\\/a\\u002fb", "/a/b", true},
        {"/\\\"\\\\\\b\\f\\n\\r\\t", "/\"\\\b\f\n\r\t", true},
        {"/\\u00e9\\u20ac\\ud834\\udd1e", "/é€𝄞", true},
        {"/\xc3\xa9\xe2\x82\xac\xf0\x9d\x84\x9e", "/é€𝄞", true},
        {"/a\\u0000b", "/a", false},
        {"/\\ud834", "/\xef\xbf\xbd", false},
        {"/\\ud834x", "/\xef\xbf\xbdx", false},
        {"/\\ud834\\n", "/\xef\xbf\xbd\n", false},
        {"/\\ud834\xc3\xa9", "/\xef\xbf\xbdé", false},
        {"/\\udd1e", "/\xef\xbf\xbd", false},
        {"/\\ud834\\ud834\\udd1e", "/\xef\xbf\xbd𝄞", false},
        {"/\xff", "/\xff", false},
        {"/\xc3(", "/\xc3(", false},
        {"/\xc0\x80", "/\xc0\x80", false},
        {"/\xed\xa0\x80", "/\xed\xa0\x80", false},
        {"/\xf4\x90\x80\x80", "/\xf4\x90\x80\x80", false},
        {"/\xe2\x82", "/\xe2\x82", false},
        {"/\xe2\xe2\x82\xac", "/\xe2\xe2\x82\xac", false},
        {"/\x80", "/\x80", false},
    };
    for (size_t i = 0; i < TUCK_ARRAY_LEN(table); i++) {
        char text[300];
        (void)snprintf(text, sizeof(text), "{\"ID\":3,\"DiskPath\":\"%s\"}", table[i].value);
        const struct tuck_answer_fields *fields = read_answer(text);
        if ((fields->path_flaw == NULL) != table[i].is_good)
            print_message("# %s: %s\n", text, fields->path_flaw);
        assert_int_equal(fields->path_flaw == NULL, table[i].is_good);
        assert_string_equal((const char *)fields->path.data, table[i].path);
        assert_null(fields->flaw);
    }
}

static void a_path_of_any_length_is_read_and_never_cut_unnoticed(void **state) {
    (void)state;
    static const size_t lengths[] = {1, 4094, 4095, 4096, 4097, 65536, 1000000};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(lengths); i++) {
        size_t len = lengths[i];
        char *text = malloc(len + 100);
        assert_non_null(text);
        size_t at = add(text, "{\"DiskPath\":\"");
        memset(text + at, '/', len);
        (void)add(text + at + len, "\",\"ID\":3}");
        const struct tuck_answer_fields *fields = read_answer(text);
        assert_int_equal(fields->path_flaw == NULL, len <= 4095);
        assert_int_equal(fields->path.len, len <= 4095 ? len : 4095);
        assert_int_equal(fields->id, 3);
        free(text);
    }
}

static void of_a_long_error_text_the_beginning_is_kept(void **state) {
    (void)state;
    enum { LEN = 10 << 20 };
    static char text[LEN + 100];
    size_t at = add(text, "{\"Err\":\"");
    memset(text + at, 'x', LEN);
    at += LEN;
    at += add(text + at, "\",\"ID\":3}");
    static struct reading reading;
    read_in_steps(text, at, 65536, &reading);
    assert_int_equal(reading.status, TUCK_ANSWER_READ);
    assert_int_equal(reading.fields.err.len, TUCK_ANSWER_ERR_MAX);
    assert_int_equal(reading.fields.id, 3);
}

static void any_number_of_unknown_commands_is_skipped(void **state) {
    (void)state;
    size_t room = 2000000, len = 0;
    char *text = malloc(room);
    assert_non_null(text);
    len = add(text, "{\"KnownCommands\":[\"GET\",\"close\\u0000\",\"\"");
    for (int i = 0; i < 100000; i++)
        len += (size_t)snprintf(text + len, room - len, ",\"other%d\"", i);
    len += add(text + len, ",\"put\"]}");
    static struct reading reading;
    size_t before = unit_allocated_bytes();
    read_in_steps(text, len, 1000, &reading);
    assert_int_equal(reading.status, TUCK_ANSWER_READ);
    assert_int_equal(reading.fields.commands, 1 << TUCK_COMMAND_OTHER | 1 << TUCK_COMMAND_PUT);
    assert_true(unit_allocated_bytes() <= before + 65536);
    free(text);
}

static void what_is_no_json_is_refused(void **state) {
    (void)state;
    static const char *const table[] = {"x",
                                        "[]",
                                        "[{\"ID\":1}]",
                                        "null",
                                        "7",
                                        "\"{}\"",
                                        "true",
                                        "\xef\xbb\xbf{\"ID\":1}",
                                        "// hi\n{\"ID\":1}",
                                        "hello\n{\"ID\":1}",
                                        "}",
                                        "{]",
                                        "{\"a\"}",
                                        "{\"a\":}",
                                        "{\"a\":1,}",
                                        "{,}",
                                        "{\"a\":[1,]}",
                                        "{\"a\":[,1]}",
                                        "{\"a\":1 \"b\":2}",
                                        "{\"a\" 1}",
                                        "{a:1}",
                                        "{'a':1}",
                                        "{\"a\":NaN}",
                                        "{\"a\":Infinity}",
                                        "{\"a\":-}",
                                        "{\"a\":+1}",
                                        "{\"a\":01}",
                                        "{\"a\":-01}",
                                        "{\"a\":1.}",
                                        "{\"a\":.5}",
                                        "{\"a\":1e}",
                                        "{\"a\":1e+}",
                                        "{\"a\":1.e1}",
                                        "{\"a\":1x}",
                                        "{\"a\":tru}",
                                        "{\"a\":nulL}",
                                        "{\"a\":truex}",
                                        "{\"a\":True}",
                                        "{\"a\":\"\\x\"}",
                                        "{\"a\":\"\\u12g4\"}",
                                        "{\"a\":\"\\u12\"}",
                                        "{\"a\":\"\n\"}",
                                        "{\"a\":\"\t\"}",
                                        "{\"a\":[1}}",
                                        "{\"a\":{]}",
                                        "{\"a\":1}}",
                                        "{\"a\":1};",
                                        "{\"a\":1},{}",
                                        "{/**/}",
                                        "{\"a\":1/**/}",
                                        "{{}}",
                                        "{\"a\":1\v}",
                                        "{\"\x01\":1}",
                                        "{\"a\":[1 2]}",
                                        "{\"a\":]}",
                                        "{\"a\":[}",
                                        "{\"a\"::1}",
                                        "{\"a\":--1}",
                                        "{\"a\":1-1}"};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(table); i++)
        assert_int_equal(fault_of(table[i], strlen(table[i])), TUCK_ANSWER_NO_JSON);
    assert_int_equal(fault_of("\0{}", 3), TUCK_ANSWER_NO_JSON);
    assert_int_equal(fault_of("{\"a\":1\0}", 8), TUCK_ANSWER_NO_JSON);
    assert_int_equal(fault_of("{\"a\":tr\0ue}", 11), TUCK_ANSWER_NO_JSON);
    assert_int_equal(fault_of("{\"a\":\"\\\0\"}", 10), TUCK_ANSWER_NO_JSON);
    assert_int_equal(fault_of("{\"a\":\"\0\"}", 9), TUCK_ANSWER_NO_JSON);
}

static void an_answer_cut_off_anywhere_is_unfinished(void **state) {
    (void)state;
    static const char text[] = "{\"ID\":4,\"OutputID\":\"" O1 "\",\"Size\":5,\"x\":[null,-1.5e+3,"
                               "{\"y\":\"\\ud834\\udd1e\"}],\"DiskPath\":\"/a\"}";
    for (size_t len = 1; len < sizeof(text) - 1; len++) {
        static struct reading reading;
        read_in_steps(text, len, len, &reading);
        assert_int_equal(reading.status, TUCK_ANSWER_MORE);
        assert_int_equal(reading.answers, 0);
    }
}

static void values_may_be_nested_2048_deep_and_no_deeper(void **state) {
    (void)state;
    for (unsigned depth = 2047; depth <= 2048; depth++) {
        static char text[3 * 2049 + 20];
        size_t len = 0;
        len += add(text, "{\"a\":");
        for (unsigned i = 1; i <= depth; i++)
            text[len++] = '[';
        for (unsigned i = 1; i <= depth; i++)
            text[len++] = ']';
        len += add(text + len, ",\"ID\":3}");
        static struct reading reading;
        read_text(text, len, &reading);
        if (depth < 2048) {
            assert_int_equal(reading.status, TUCK_ANSWER_READ);
            assert_int_equal(reading.fields.id, 3);
        } else {
            assert_int_equal(reading.status, TUCK_EPROTO);
            assert_int_equal(reading.fault, TUCK_ANSWER_TOO_DEEP);
        }
    }
}

static void an_endless_answer_is_given_up_in_constant_memory(void **state) {
    (void)state;
    static const char *const beginnings[] = {"{\"Err\":\"", "{\"a\":\"", "{\"a\":[", "",
                                             "{\"ID\":"};
    static const char *const rest[] = {"x", "\\n", "{},", " ", "1"};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(rest); i++) {
        struct tuck_answer_reader *reader = NULL;
        static char block[3 << 16];
        enum tuck_answer_fault fault = 0;
        struct tuck_answer_fields fields;
        uint64_t total = 0;
        int status = TUCK_ANSWER_MORE;
        for (size_t at = 0; at < sizeof(block); at += strlen(rest[i]))
            memcpy(block + at, rest[i], strlen(rest[i]));
        assert_int_equal(tuck_answer_reader_new(&reader), 0);
        size_t before = unit_allocated_bytes();
        struct tuck_slice input = {(const uint8_t *)beginnings[i], strlen(beginnings[i])};
        if (input.len > 0)
            assert_int_equal(tuck_answer_read(reader, &input, &fields, &fault, NULL),
                             TUCK_ANSWER_MORE);
        for (; status == TUCK_ANSWER_MORE && total <= TUCK_ANSWER_MAX; total += sizeof(block)) {
            input = (struct tuck_slice){(const uint8_t *)block, sizeof(block)};
            status = tuck_answer_read(reader, &input, &fields, &fault, NULL);
        }
        assert_int_equal(status, TUCK_EPROTO);
        assert_int_equal(fault, TUCK_ANSWER_TOO_LONG);
        assert_int_equal(unit_allocated_bytes(), before);
        tuck_answer_reader_free(reader);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(requests_have_the_bytes_that_go_commands_write),
    cmocka_unit_test(a_helper_reads_what_a_client_writes_by_both_its_ways),
    cmocka_unit_test(a_hit_is_read_with_all_its_fields),
    cmocka_unit_test(an_answer_that_a_helper_of_ours_writes_is_read_back),
    cmocka_unit_test(answers_may_stand_close_together_or_over_many_lines),
    cmocka_unit_test(integers_are_read_only_from_plain_integers_of_64_bits),
    cmocka_unit_test(a_field_of_the_wrong_type_is_named),
    cmocka_unit_test(null_is_as_good_as_absent),
    cmocka_unit_test(names_in_other_case_and_given_twice_count_and_are_noted),
    cmocka_unit_test(an_output_id_is_32_bytes_of_padded_standard_base64),
    cmocka_unit_test(times_are_read_as_go_reads_them),
    cmocka_unit_test(every_day_from_1970_on_is_read_back_from_what_we_write),
    cmocka_unit_test(paths_keep_what_they_say_or_say_why_they_are_none),
    cmocka_unit_test(a_path_of_any_length_is_read_and_never_cut_unnoticed),
    cmocka_unit_test(of_a_long_error_text_the_beginning_is_kept),
    cmocka_unit_test(any_number_of_unknown_commands_is_skipped),
    cmocka_unit_test(what_is_no_json_is_refused),
    cmocka_unit_test(an_answer_cut_off_anywhere_is_unfinished),
    cmocka_unit_test(values_may_be_nested_2048_deep_and_no_deeper),
    cmocka_unit_test(an_endless_answer_is_given_up_in_constant_memory),
};

UNIT_MAIN(tests)
