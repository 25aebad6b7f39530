// SPDX-License-Identifier: MIT
/*
 * The reader of answers (protocol/asking.c). The input is what a helper writes. It is read in one piece, in pieces of
 * random sizes and byte by byte, each piece in memory of exactly its size; each time the same must come out. Where
 * jansson has an opinion it is the oracle: for what is JSON, where an object ends, and what its fields are. It has none
 * on invalid UTF-8, halves of surrogate pairs, NULs and numbers beyond 64 bits, which it refuses or overlooks and which
 * clients have to take.
 */
#include "tests/fuzz/fuzz.h"
#include "protocol/asking.h"
#include "protocol/base64.h"

#include <jansson.h>
#include <strings.h>

#define BYTEWISE_MAX 8192U // a longer input is not read byte by byte

// --- What comes out, as text ---------------------------------------------------------------------

static void print_slice(struct fuzz_text *log, const char *what, struct tuck_slice slice) {
    fuzz_text_print(log, " %s %zu:", what, slice.len);
    fuzz_text_add(log, slice.data, slice.len);
}

static void print_fields(struct fuzz_text *log, const struct tuck_answer_fields *fields) {
    char hex[TUCK_ID_HEX];
    fuzz_check(fields->path.len < TUCK_ANSWER_PATH_ROOM, "a path of %zu bytes", fields->path.len);
    fuzz_check(fields->err.len <= TUCK_ANSWER_ERR_MAX, "an Err of %zu bytes", fields->err.len);
    fuzz_check(!fields->path.data || fields->path.data[fields->path.len] == 0, "no NUL behind");
    fuzz_text_print(log, "answer %lld id flaw %s, flaw %s, oddity %s", (long long)fields->id,
                    fields->id_flaw, fields->flaw, fields->oddity);
    print_slice(log, "err", fields->err);
    fuzz_text_print(log, " names %d %u miss %d size %lld time %d", fields->has_names,
                    fields->commands, fields->is_miss, (long long)fields->size, fields->has_time);
    if (fields->has_time)
        fuzz_text_print(log, " %lld.%09u", (long long)fields->time_s, fields->time_ns);
    fuzz_text_print(log, " output flaw %s", fields->output_flaw);
    tuck_hex(hex, fields->output.bytes, TUCK_ID_BYTES);
    if (!fields->output_flaw && !fields->flaw)
        fuzz_text_print(log, " %.*s", TUCK_ID_HEX, hex);
    fuzz_text_print(log, " path flaw %s", fields->path_flaw);
    print_slice(log, "path", fields->path);
    fuzz_text_print(log, "\n");
}

// Called for each answer with what was read of the input so far; NULL at the end.
typedef void see_answer(void *arg, const struct tuck_answer_fields *fields, size_t end);

static void read_all(struct fuzz_text *log, const uint8_t *data, size_t size, size_t max_piece,
                     uint64_t chance, see_answer *see, void *arg) {
    struct tuck_answer_reader *reader;
    enum tuck_answer_fault fault = 0;
    int status = TUCK_ANSWER_MORE;
    fuzz_check(tuck_answer_reader_new(&reader) == 0, "no memory");
    for (size_t at = 0; at < size && status >= 0;) {
        size_t piece = max_piece < size - at ? max_piece : size - at;
        piece = piece > 1 && max_piece < SIZE_MAX ? 1 + fuzz_random(&chance) % piece : piece;
        uint8_t *copy = malloc(piece);
        fuzz_check(copy, "no memory");
        memcpy(copy, data + at, piece);
        struct tuck_slice input = {copy, piece};
        while (input.len > 0 && status >= 0) {
            struct tuck_answer_fields fields;
            struct tuck_error err = {0};
            size_t before = input.len;
            status = tuck_answer_read(reader, &input, &fields, &fault, &err);
            fuzz_check(input.len < before || status < 0, "nothing was taken");
            fuzz_check(status != TUCK_ANSWER_MORE || input.len == 0, "asks for more too early");
            if (status == TUCK_ANSWER_READ) {
                print_fields(log, &fields);
                if (see)
                    see(arg, &fields, at + piece - input.len);
            } else if (status < 0) {
                fuzz_check(status == TUCK_EPROTO && fault && err.text[0], "status %d", status);
            }
        }
        free(copy);
        at += piece;
    }
    if (status < 0)
        fuzz_text_print(log, "broken, fault %d\n", fault);
    else
        fuzz_text_print(log, tuck_answer_reader_is_idle(reader) ? "end\n" : "unfinished\n");
    tuck_answer_reader_free(reader);
}

// --- The oracle ----------------------------------------------------------------------------------

// Nothing in it that jansson sees otherwise.
static bool has_oracle(const uint8_t *data, size_t size) {
    size_t digits = 0;
    for (size_t i = 0; i < size; i++) {
        digits = data[i] >= '0' && data[i] <= '9' ? digits + 1 : 0;
        if (data[i] == 0 || data[i] >= 0x80 || digits > 18)
            return false;
        if (data[i] == 'e' || data[i] == 'E') // 1e999
            if (i > 0 && data[i - 1] >= '0' && data[i - 1] <= '9')
                return false;
        if (data[i] == '\\' && i + 1 < size && data[i + 1] == 'u' &&
            (i + 2 >= size || data[i + 2] == 'd' || data[i + 2] == 'D' ||
             (i + 3 < size && data[i + 2] == '0' && data[i + 3] == '0')))
            return false;
    }
    return true;
}

struct oracle {
    const uint8_t *data;
    size_t size, at;
    size_t seen;
};

static void skip_blanks(struct oracle *oracle) {
    while (oracle->at < oracle->size && strchr(" \t\r\n", oracle->data[oracle->at]))
        oracle->at++;
}

// The last one of that name in any letter case that is not null.
static const json_t *field(json_t *object, const char *name) {
    const json_t *found = NULL;
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value) {
        if (strcasecmp(key, name) == 0 && !json_is_null(value))
            found = value;
    }
    return found;
}

static void check_string(const json_t *value, struct tuck_slice found, const char *flaw) {
    size_t len = json_is_string(value) ? json_string_length(value) : 0;
    fuzz_check(len == found.len || flaw || found.len == TUCK_ANSWER_ERR_MAX,
               "%zu and not %zu bytes", found.len, len);
    fuzz_check(found.len == 0 || memcmp(json_string_value(value), found.data, found.len) == 0,
               "another text");
}

static bool names_are_strings(const json_t *names) {
    size_t i;
    json_t *name;
    json_array_foreach(names, i, name) {
        if (!json_is_string(name) && !json_is_null(name))
            return false;
    }
    return true;
}

static unsigned commands_of(const json_t *names) {
    static const char *const known[] = {
        [TUCK_COMMAND_GET] = "get", [TUCK_COMMAND_PUT] = "put", [TUCK_COMMAND_CLOSE] = "close"};
    unsigned commands = 0;
    size_t i;
    json_t *name;
    json_array_foreach(names, i, name) {
        unsigned command = TUCK_COMMAND_OTHER;
        for (unsigned j = TUCK_COMMAND_GET; j <= TUCK_COMMAND_CLOSE && json_is_string(name); j++)
            if (strcmp(json_string_value(name), known[j]) == 0)
                command = j;
        if (!json_is_null(name))
            commands |= 1U << command;
    }
    return commands;
}

static void check_fields(json_t *object, const struct tuck_answer_fields *fields) {
    const json_t *id = field(object, "ID"), *size = field(object, "Size"),
                 *miss = field(object, "Miss"), *names = field(object, "KnownCommands"),
                 *err = field(object, "Err"), *path = field(object, "DiskPath"),
                 *output = field(object, "OutputID"), *time = field(object, "Time");
    uint8_t bytes[TUCK_ID_BYTES];
    fuzz_check(!fields->id_flaw == (!id || json_is_integer(id)), "ID");
    fuzz_check(fields->id_flaw || fields->id == json_integer_value(id), "ID");
    bool is_good = (!size || json_is_integer(size)) && (!miss || json_is_boolean(miss)) &&
                   (!names || (json_is_array(names) && names_are_strings(names))) &&
                   (!err || json_is_string(err)) && (!path || json_is_string(path)) &&
                   (!output || json_is_string(output) || json_is_array(output)) &&
                   (!time || json_is_string(time));
    fuzz_check(is_good || fields->flaw, "a flaw was not seen");
    bool may_have_flaw = json_is_string(time) || json_is_string(output);
    fuzz_check(!fields->flaw || !is_good || may_have_flaw, "flaw %s", fields->flaw);
    if (!is_good)
        return;
    fuzz_check(fields->size == json_integer_value(size), "Size");
    fuzz_check(fields->is_miss == json_is_true(miss), "Miss");
    fuzz_check(fields->has_names == json_is_array(names), "KnownCommands");
    fuzz_check(fields->commands == commands_of(names), "KnownCommands %u", fields->commands);
    check_string(err, fields->err, NULL);
    check_string(path, fields->path, fields->path_flaw);
    bool is_id = json_is_string(output) &&
                 tuck_base64_id(json_string_value(output), json_string_length(output), bytes);
    fuzz_check(is_id == !fields->output_flaw, "OutputID");
    fuzz_check(!is_id || memcmp(bytes, fields->output.bytes, sizeof(bytes)) == 0, "OutputID");
}

static void check_answer(void *arg, const struct tuck_answer_fields *fields, size_t end) {
    struct oracle *oracle = arg;
    json_error_t why;
    skip_blanks(oracle);
    json_t *object = json_loadb((const char *)oracle->data + oracle->at, oracle->size - oracle->at,
                                JSON_DISABLE_EOF_CHECK, &why);
    fuzz_check(object, "jansson: %s", why.text);
    fuzz_check(json_is_object(object) && oracle->at + (size_t)why.position == end,
               "jansson ends at %zu and not %zu", oracle->at + (size_t)why.position, end);
    if (!fields->oddity) // of names given twice jansson has lost one
        check_fields(object, fields);
    json_decref(object);
    oracle->at = end;
    oracle->seen++;
}

static void check_end(struct oracle *oracle, const struct fuzz_text *log) {
    json_error_t why;
    bool is_end = memmem(log->data, log->len, "end\n", 4) &&
                  memcmp(log->data + log->len - 4, "end\n", 4) == 0;
    skip_blanks(oracle);
    if (oracle->at == oracle->size) {
        fuzz_check(is_end, "only white space is left");
        return;
    }
    json_t *object = json_loadb((const char *)oracle->data + oracle->at, oracle->size - oracle->at,
                                JSON_DISABLE_EOF_CHECK, &why);
    fuzz_check(!is_end && !json_is_object(object), "jansson reads another answer");
    json_decref(object);
}

// --- The target ----------------------------------------------------------------------------------

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const size_t max_pieces[] = {1, 3, 20, 1000};
    struct fuzz_text expected = {0};
    struct oracle oracle = {.data = data, .size = size};
    bool is_judged = has_oracle(data, size);
    read_all(&expected, data, size, SIZE_MAX, 0, is_judged ? check_answer : NULL, &oracle);
    if (is_judged)
        check_end(&oracle, &expected);
    for (size_t i = 0; i < TUCK_ARRAY_LEN(max_pieces); i++) {
        struct fuzz_text found = {0};
        if (size / BYTEWISE_MAX > max_pieces[i])
            continue;
        read_all(&found, data, size, max_pieces[i], fuzz_hash(data, size) + i, NULL, NULL);
        fuzz_check(found.len == expected.len && memcmp(found.data, expected.data, found.len) == 0,
                   "in pieces of at most %zu\n%.*s\nand not\n%.*s", max_pieces[i], (int)found.len,
                   found.data, (int)expected.len, expected.data);
        fuzz_text_fini(&found);
    }
    fuzz_text_fini(&expected);
    return 0;
}
