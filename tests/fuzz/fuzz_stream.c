// SPDX-License-Identifier: MIT
/*
 * Framing, messages and base64 together. The input is what a client writes. It is read in one piece, in pieces of
 * random sizes, and byte by byte; each time what reference.c finds must come out. Also: the short way of reading a
 * request gives what the long way gives, and whatever text goes into an answer comes back out of it.
 */
#include "tests/fuzz/fuzz.h"
#include "protocol/base64.h"
#include "protocol/frame.h"
#include "protocol/message.h"
#include "tests/fuzz/reference.h"

#include <jansson.h>

#define BYTEWISE_MAX 8192U // a longer input is not read byte by byte

// --- What comes out, as text ---------------------------------------------------------------------

static void print_id(struct fuzz_text *log, const char *what, const uint8_t id[TUCK_ID_BYTES]) {
    char hex[TUCK_ID_HEX];
    tuck_hex(hex, id, TUCK_ID_BYTES);
    fuzz_text_print(log, " %s %.*s", what, TUCK_ID_HEX, hex);
}

static void print_request(struct fuzz_text *log, int64_t id, char command, bool is_flawed,
                          uint64_t body_size, const struct tuck_action_id *action,
                          const struct tuck_output_id *output) {
    is_flawed |= command != 'p' && body_size > 0; // only put has a body
    fuzz_text_print(log, "request %lld %c size %llu", (long long)id, command,
                    (unsigned long long)body_size);
    if (is_flawed)
        fuzz_text_print(log, " flawed");
    else if (command == 'g' || command == 'p')
        print_id(log, "action", action->bytes);
    if (!is_flawed && command == 'p')
        print_id(log, "output", output->bytes);
    fuzz_text_print(log, "\n");
}

static void print_body(struct fuzz_text *log, bool is_base64, const struct fuzz_text *decoded) {
    fuzz_text_print(log, is_base64 ? "body of %zu bytes: " : "no base64", decoded->len);
    if (is_base64)
        fuzz_text_add(log, decoded->data, decoded->len);
    fuzz_text_print(log, "\n");
}

static bool print_reference(struct fuzz_text *log, const uint8_t *data, size_t size) {
    static const char commands[] = {'?', 'g', 'p', 'c'};
    struct reference_stream stream;
    reference_read(data, size, &stream);
    for (size_t i = 0; i < stream.count; i++) {
        const struct reference_request *request = &stream.request[i];
        print_request(log, request->id, commands[request->command], request->is_flawed,
                      request->body_size, &request->action, &request->output);
        if (request->body_size > 0 && request->is_whole &&
            (request->is_flawed || request->command != REFERENCE_PUT))
            fuzz_text_print(log, "skipped a body\n");
        else if (request->body_size > 0 && request->is_whole)
            print_body(log, request->is_base64,
                       &(struct fuzz_text){(char *)request->body,
                                           request->is_base64 ? request->body_len : 0, 0});
    }
    fuzz_text_print(log, stream.how == REFERENCE_CLOSED   ? "closed\n"
                         : stream.how == REFERENCE_BREACH ? "breach\n"
                                                          : "end\n");
    bool is_open = stream.is_open;
    reference_fini(&stream);
    return is_open;
}

// --- The core, used as lib/serve uses it ---------------------------------------------------------

struct reading {
    struct fuzz_text *log;
    struct tuck_frame *frame;
    struct tuck_base64 base64;
    struct fuzz_text decoded;
    uint8_t *decode; // room to decode the longest piece
    size_t room;
    bool is_skipped, is_base64; // of the present body
    bool is_closed;
    bool is_short; // requests are taken the short way where it goes
};

static void check_same(struct tuck_slice text, const struct tuck_request *request,
                       const struct tuck_request *other) {
    bool is_same = request->id == other->id && request->command == other->command &&
                   request->body_size == other->body_size && !request->flaw == !other->flaw;
    if (is_same && !request->flaw && request->command != TUCK_COMMAND_CLOSE)
        is_same = tuck_action_equal(&request->action, &other->action);
    if (is_same && !request->flaw && request->command == TUCK_COMMAND_PUT)
        is_same = tuck_output_equal(&request->output, &other->output);
    fuzz_check(is_same, "the two ways differ\n%.*s", (int)text.len, (const char *)text.data);
}

static void take_request(struct reading *reading, const struct tuck_request *request) {
    static const char commands[] = {[TUCK_COMMAND_OTHER] = '?',
                                    [TUCK_COMMAND_GET] = 'g',
                                    [TUCK_COMMAND_PUT] = 'p',
                                    [TUCK_COMMAND_CLOSE] = 'c'};
    print_request(reading->log, request->id, commands[request->command], request->flaw != NULL,
                  request->body_size, &request->action, &request->output);
    if (request->body_size > 0) {
        tuck_frame_expect_body(reading->frame);
        tuck_base64_init(&reading->base64);
        reading->decoded.len = 0;
        reading->is_skipped = request->flaw || request->command != TUCK_COMMAND_PUT;
        reading->is_base64 = true;
    } else if (request->command == TUCK_COMMAND_CLOSE && !request->flaw) {
        reading->is_closed = true;
    }
}

static int take_message(struct reading *reading, struct tuck_slice text) {
    struct tuck_request request, other;
    struct tuck_slice rest = text;
    int status = tuck_request_parse(text, &request, NULL);
    if (tuck_request_take(&rest, &other)) {
        fuzz_check(status == 0 && rest.len == 0, "status %d, %zu bytes left of\n%.*s", status,
                   rest.len, (int)text.len, (const char *)text.data);
        check_same(text, &request, &other);
    } else {
        fuzz_check(rest.data == text.data && rest.len == text.len, "input was taken");
    }
    if (status == 0)
        take_request(reading, &request);
    return status;
}

// The short way of lib/serve.
static bool take_at_once(struct reading *reading, struct tuck_slice *input) {
    struct tuck_slice before = *input;
    struct tuck_request request, other;
    if (!tuck_frame_is_idle(reading->frame) || !tuck_request_take(input, &request))
        return false;
    fuzz_check(input->data > before.data && input->data + input->len == before.data + before.len,
               "input is lost");
    while (*before.data == '\n')
        before.data++;
    before.len = (size_t)(input->data - before.data);
    fuzz_check(tuck_request_parse(before, &other, NULL) == 0, "only the short way reads\n%.*s",
               (int)before.len, (const char *)before.data);
    check_same(before, &request, &other);
    take_request(reading, &request);
    return true;
}

static int take_body(struct reading *reading, struct tuck_slice piece) {
    if (reading->is_skipped || !reading->is_base64)
        return tuck_frame_doubt_body(reading->frame, piece, NULL);
    fuzz_check(TUCK_BASE64_ROOM(piece.len) <= reading->room, "a piece of %zu bytes", piece.len);
    uint8_t *decoded = reading->decode + reading->room - TUCK_BASE64_ROOM(piece.len);
    size_t len;
    reading->is_base64 =
        tuck_base64_add(&reading->base64, (const char *)piece.data, piece.len, decoded, &len) == 0;
    if (reading->is_base64)
        fuzz_text_add(&reading->decoded, decoded, len);
    return reading->is_base64 ? 0 : tuck_frame_doubt_body(reading->frame, piece, NULL);
}

static int take_input(struct reading *reading, struct tuck_slice input) {
    int status = 0;
    while (status >= 0 && input.len > 0 && !reading->is_closed) {
        struct tuck_slice piece = {0};
        size_t before = input.len;
        if (reading->is_short && take_at_once(reading, &input))
            continue;
        status = tuck_frame_next(reading->frame, &input, &piece, NULL);
        fuzz_check(input.len <= before, "input was added");
        fuzz_check(status != TUCK_FRAME_MORE || input.len == 0,
                   "asks for more and has not read %zu bytes", input.len);
        fuzz_check(status != 0, "no outcome");
        if (status == TUCK_FRAME_MESSAGE) {
            fuzz_check(piece.len <= TUCK_FRAME_MESSAGE_MAX, "a message of %zu bytes", piece.len);
            status = take_message(reading, piece);
        } else if (status == TUCK_FRAME_BODY) {
            fuzz_check(piece.len > 0, "an empty piece of a body");
            status = take_body(reading, piece);
        } else if (status == TUCK_FRAME_BODY_END && reading->is_skipped) {
            fuzz_text_print(reading->log, "skipped a body\n");
        } else if (status == TUCK_FRAME_BODY_END) {
            print_body(reading->log,
                       reading->is_base64 && tuck_base64_is_complete(&reading->base64),
                       &reading->decoded);
        }
    }
    return status < 0 ? status : 0;
}

// Reads the input in pieces of 1 to max_piece bytes. Each ends where its memory does, and is gone before the next one
// comes.
static void print_core(struct fuzz_text *log, const uint8_t *data, size_t size, size_t max_piece,
                       bool is_short, uint64_t seed) {
    struct reading reading = {.log = log, .is_short = is_short};
    int status = 0;
    size_t most = max_piece < size ? max_piece : size;
    uint8_t *block = malloc(most + 1);
    reading.room = TUCK_BASE64_ROOM(most);
    reading.decode = malloc(reading.room);
    fuzz_check(block && reading.decode && tuck_frame_new(&reading.frame) == 0, "no memory");
    for (size_t at = 0; at < size && status == 0 && !reading.is_closed;) {
        size_t len = max_piece >= size ? size : 1 + fuzz_random(&seed) % max_piece;
        len = len < size - at ? len : size - at;
        uint8_t *piece = block + most + 1 - len;
        memcpy(piece, data + at, len);
        status = take_input(&reading, (struct tuck_slice){piece, len});
        memset(piece, 0xa5, len);
        at += len;
    }
    if (reading.is_closed)
        fuzz_text_print(log, "closed\n");
    else
        fuzz_text_print(log,
                        status < 0 || !tuck_frame_is_idle(reading.frame) ? "breach\n" : "end\n");
    fuzz_check(status == 0 || status == TUCK_EPROTO, "status %d", status);
    tuck_frame_free(reading.frame);
    fuzz_text_fini(&reading.decoded);
    free(reading.decode);
    free(block);
}

// --- Answers -------------------------------------------------------------------------------------

static void check_answer(const struct tuck_answer *answer, const char *field) {
    size_t room = tuck_answer_room(answer);
    char *text = malloc(room);
    fuzz_check(text, "no memory");
    size_t len = tuck_answer_write(answer, text);
    fuzz_check(len <= room && len > 0 && text[len - 1] == '\n',
               "an answer of %zu bytes in room for %zu", len, room);
    fuzz_check(!memchr(text, '\n', len - 1), "an answer of several lines");
    json_error_t why;
    json_t *object = json_loadb(text, len, 0, &why);
    fuzz_check(object, "%s: %.*s", why.text, (int)len, text);
    fuzz_check(json_integer_value(json_object_get(object, "ID")) == answer->id, "another ID");
    const char *found = json_string_value(json_object_get(object, field));
    fuzz_check(found, "no %s", field);
    if (answer->kind != TUCK_ANSWER_ERROR)
        fuzz_check(strcmp(found, answer->text) == 0, "another %s: '%s' for '%s'", field, found,
                   answer->text);
    json_decref(object);
    free(text);
}

static void check_answers(const uint8_t *data, size_t size) {
    struct tuck_answer answer = {.id = (int64_t)fuzz_hash(data, size),
                                 .size = fuzz_hash(data, size / 2) >> 1};
    answer.time_ns = fuzz_hash(data, size / 3);
    char *text = strndup(size ? (const char *)data : "", size);
    fuzz_check(text, "no memory");
    answer.text = text;
    answer.kind = TUCK_ANSWER_ERROR;
    check_answer(&answer, "Err");
    json_t *utf8 = json_string(text); // NULL for what is no path that the core would hand out
    if (utf8) {
        answer.kind = TUCK_ANSWER_PUT;
        check_answer(&answer, "DiskPath");
        answer.kind = TUCK_ANSWER_HIT;
        check_answer(&answer, "DiskPath");
    }
    json_decref(utf8);
    free(text);
}

// --- The target ----------------------------------------------------------------------------------

static void compare(const struct fuzz_text *expected, const struct fuzz_text *found,
                    const char *how) {
    size_t same = 0;
    while (same < expected->len && same < found->len && expected->data[same] == found->data[same])
        same++;
    if (same == expected->len && same == found->len)
        return;
    while (same > 0 && expected->data[same - 1] != '\n')
        same--;
    fuzz_check(false, "%s\nexpected: %.*s\nfound:    %.*s", how,
               (int)(expected->len - same < 400 ? expected->len - same : 400),
               expected->data + same, (int)(found->len - same < 400 ? found->len - same : 400),
               found->data + same);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct {
        size_t max_piece;
        bool is_short;
        const char *how;
    } ways[] = {
        {SIZE_MAX, false, "in one piece"},
        {SIZE_MAX, true, "in one piece, the short way where it goes"},
        {1, true, "byte by byte"},
        {7, false, "in tiny pieces"},
        {100, true, "in small pieces"},
        {5000, false, "in pieces"},
    };
    struct fuzz_text expected = {0};
    bool is_open = print_reference(&expected, data, size);
    for (size_t i = 0; i < TUCK_ARRAY_LEN(ways); i++) {
        if (size / BYTEWISE_MAX > ways[i].max_piece)
            continue;
        struct fuzz_text found = {0};
        print_core(&found, data, size, ways[i].max_piece, ways[i].is_short,
                   fuzz_hash(data, size) + i);
        if (!is_open)
            compare(&expected, &found, ways[i].how);
        fuzz_text_fini(&found);
    }
    fuzz_text_fini(&expected);
    if (size <= 1000)
        check_answers(data, size);
    return 0;
}
